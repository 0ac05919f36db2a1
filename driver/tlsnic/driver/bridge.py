"""Joins the card to a TAP device, so that the machine's network stack uses it.

    python -m tlsnic.driver.bridge --bus uio:1234:715c --tap tls0

Offloads go through both ways: what the stack leaves to the device in the virtio-net header
becomes L4_CHECKSUM and SEGMENT, what the card checked or joined is told the stack. Super-frames
matter: the work is per packet, and Python in an emulated guest is some thirty times slower.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Sequence

from tlsnic.abi.enums import EventMask, EventType, Offload
from tlsnic.abi.structures import LinkChangeEvent
from tlsnic.driver import vnet
from tlsnic.driver.bus import BusError, open_bus
from tlsnic.driver.errors import DriverError, RingFullError
from tlsnic.driver.events import AnyEvent
from tlsnic.driver.headers import ETHERNET_BYTES
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.driver.tap import OFFLOAD_CHECKSUM, OFFLOAD_TSO4, OFFLOAD_TSO6, Tap
from tlsnic.driver.waiting import GONE_CHECK_S

_MAX_PACKET_BYTES = 65535 + ETHERNET_BYTES + 8  # an IP packet, and two VLAN tags
_BUDGET = 64  # packets one way before it is the other's turn
_POLL_S = 1e-3  # between looks when the card has no interrupts
DEFAULT_BUS = "uio:1234:715c"


class Bridge:
    """Moves packets between a card and a TAP until `stop()`.

    `to_card`, `to_stack` and `dropped` count packets.
    """

    def __init__(self, nic: Nic, tap: Tap) -> None:
        """The card is started and has one queue of each kind at least; both stay the caller's."""
        self.to_card = 0
        self.to_stack = 0
        self.dropped = 0
        self._nic = nic
        self._tap = tap
        self._tx, self._rx = nic.tx[0], nic.rx[0]
        self._header = bytearray(vnet.HEADER_BYTES)
        self._tx_blocked = False
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        nic.events.on(EventType.LINK_CHANGE, self._link_changed)
        tap.set_carrier(nic.link_up)

    def stop(self) -> None:
        """End `run`; may be called from a signal handler or another thread."""
        self._stopping = True
        if self._stop_fd >= 0:
            os.eventfd_write(self._stop_fd, 1)

    def close(self) -> None:
        """Give back what the bridge itself opened."""
        fd, self._stop_fd = self._stop_fd, -1
        os.close(fd)

    def run(self) -> None:
        """Move packets until `stop()`. Raises DeviceGoneError, DeviceResetError, QueueError."""
        poller = select.poll()
        poller.register(self._stop_fd, select.POLLIN)
        queues = (self._rx, self._tx, self._nic.events)
        vectors = {queue.fileno(): queue.vector for queue in queues}
        vectors.pop(-1, None)
        for fd in vectors:
            poller.register(fd, select.POLLIN)
        idle_s = GONE_CHECK_S if vectors else _POLL_S
        tap_fd, tap_watched = self._tap.fd, False
        waiter = self._nic.waiter
        looks = 0
        while not self._stopping:
            busy = self._from_card()
            busy |= self._from_stack()
            if busy:
                continue
            self._nic.events.drain()
            self._tx.reap()
            if tap_watched == self._tx_blocked:  # no use in watching what cannot be sent
                tap_watched = not self._tx_blocked
                if tap_watched:
                    poller.register(tap_fd, select.POLLIN)
                else:
                    poller.unregister(tap_fd)
            for queue in queues if self._tx_blocked else (self._rx, self._nic.events):
                queue.arm()
            ready = self._rx.ready() or self._nic.events.ready()
            if ready or (self._tx_blocked and self._tx.ready()):
                self._tx_blocked = False
                continue
            fired = poller.poll(idle_s * 1000)
            for fd, _ in fired:
                if fd in vectors:
                    waiter.take(vectors[fd])
            looks += 1
            if not fired and (vectors or looks * _POLL_S >= GONE_CHECK_S):
                looks = 0
                self._check()
            self._tx_blocked = False

    def _check(self) -> None:
        self._nic.check()
        self._rx.check()
        self._tx.check()

    def _link_changed(self, event: AnyEvent) -> None:
        if isinstance(event, LinkChangeEvent):
            self._tap.set_carrier(bool(event.link_up))

    def _from_card(self) -> bool:
        packets = self._rx.poll(_BUDGET, copy=False)
        if not packets:
            return False
        write, to_stack = self._tap.write, vnet.to_stack
        for packet in packets:
            try:
                write(to_stack(packet))
            except OSError:  # interface down (EIO), or its queue full (EAGAIN), as on any wire
                self.dropped += 1
            else:
                self.to_stack += 1
        del packets, packet
        self._rx.recycle()
        return True

    def _from_stack(self) -> bool:
        tx, header = self._tx, self._header
        before = tx.posted
        with tx.batch():
            for _ in range(_BUDGET):
                try:
                    room = tx.reserve(_MAX_PACKET_BYTES)
                except RingFullError:
                    self._tx_blocked = True
                    break
                try:
                    length = self._tap.read_into((header, room)) - vnet.HEADER_BYTES
                except BlockingIOError:
                    break
                try:
                    flags, mss, header_length = vnet.to_card(header, room[:length])
                except ValueError:
                    self.dropped += 1
                    continue
                tx.commit(length, flags, 0, 0, mss, header_length)
        self.to_card += tx.posted - before
        return tx.posted != before


def set_up(nic: Nic, tap: Tap, mtu: int, *, promiscuous: bool = False) -> None:
    """Make card and TAP look like one interface to the stack, and bring it up.

    They share the card's MAC address (the TAP's, if the operator gave the card none). Raises
    TapError, and ValueError for an MTU that the card cannot do.
    """
    nic.max_frame_bytes = mtu + ETHERNET_BYTES
    mac = nic.mac_address
    if any(mac):
        tap.set_mac_address(mac)
    else:
        nic.mac_address = tap.mac_address
    nic.set_rx_filter(promiscuous=promiscuous, all_multicast=True)
    offered = nic.capabilities.offloads
    nic.offloads = offered & (Offload.RX_CHECKSUM | Offload.RX_COALESCE)
    offloads = 0
    if Offload.TX_CHECKSUM in offered:
        offloads |= OFFLOAD_CHECKSUM
        offloads |= OFFLOAD_TSO4 if Offload.TSO4 in offered else 0
        offloads |= OFFLOAD_TSO6 if Offload.TSO6 in offered else 0
    tap.set_offloads(offloads)
    tap.set_mtu(mtu)
    tap.set_up()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns 0 after SIGTERM or SIGINT, 1 with one line on stderr otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m tlsnic.driver.bridge", description="Join the card to a TAP device."
    )
    parser.add_argument(
        "--bus", default=DEFAULT_BUS, help="the card, as for open_bus (%(default)s)"
    )
    parser.add_argument("--tap", default="tls0", help="name of the TAP device (%(default)s)")
    parser.add_argument("--mtu", type=int, default=1500, help="bytes (%(default)s)")
    parser.add_argument(
        "--interrupts", choices=("auto", "msix", "intx", "poll"), default="auto", help="%(default)s"
    )
    parser.add_argument("--promiscuous", action="store_true", help="take every frame")
    options = parser.parse_args(arguments)
    try:
        return _bridge(options)
    except (DriverError, BusError, ValueError) as error:
        print(f"bridge: {error}", file=sys.stderr, flush=True)
        return 1


def _bridge(options: argparse.Namespace) -> int:
    nic_options = NicOptions(
        rx_entries=2048,
        interrupts=options.interrupts,
        events=EventMask.LINK | EventMask.QUEUE,
    )
    with (
        open_bus(options.bus) as bus,
        Nic.attach(bus, nic_options, start=False) as nic,
        Tap(options.tap, vnet.HEADER_BYTES) as tap,
    ):
        set_up(nic, tap, options.mtu, promiscuous=options.promiscuous)
        nic.start()
        bridge = Bridge(nic, tap)
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: bridge.stop())
            mac = nic.mac_address.hex(":")
            link = "up" if nic.link_up else "down"
            print(
                f"bridge ready: {tap.name} mac {mac} mtu {options.mtu} link {link} "
                f"interrupts {nic.waiter.kind}",
                flush=True,
            )
            bridge.run()
        finally:
            bridge.close()
        print(
            f"bridge done: {bridge.to_card} packets to the card, {bridge.to_stack} to the stack, "
            f"{bridge.dropped} dropped",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
