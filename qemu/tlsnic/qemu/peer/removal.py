"""Surprise removal: a device process is killed under a client that has TLS flows and waits."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tlsnic.abi.enums import CipherSuite
from tlsnic.driver.bus import BusError
from tlsnic.driver.errors import DeviceGoneError, DriverError, RingFullError, SendTagDeadError
from tlsnic.driver.nic import Nic
from tlsnic.driver.tls.framing import APPLICATION_DATA, Framer
from tlsnic.driver.tls.send_tag import SendTag
from tlsnic.driver.tls.session import FlowAddress, TlsSession
from tlsnic.qemu.peer.checks import SMALL, CheckFailed, open_client
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.peer.keys import HEADERS

DEADLINE_S = 60.0
"""Of every wait: far longer than it may last when the card is gone."""
LIMIT_S = 20.0
_KILL_AFTER_S = 0.05
_SUITE = CipherSuite.TLS13_AES_128_GCM
_GONE = "device gone"
_SAYERS = (DeviceGoneError.__name__, SendTagDeadError.__name__)


def removal(
    directory: Path, *, waits: Sequence[str], afterwards: Sequence[str] = ()
) -> dict[str, object]:
    """Each of `waits` (names in `WAITS`) is under way when its device dies, and `afterwards` come
    later: each ends within LIMIT_S with an error that says so, and so does a reset at the end.

    The report has what the first ones said, and the longest of all waits, in seconds.
    """
    said, longest_s = {}, 0.0
    for name in waits:
        with DeviceProcess(directory, "null", name="check-removal") as device:
            client = _Client(device)
            try:
                said[name], took_s = client.lose(name)
                later_s = [client.wait(later)[1] for later in afterwards]
                longest_s = max(longest_s, took_s, *later_s, client.reset())
            finally:
                client.close()
    return {"said": said, "longest_s": longest_s}


class _Client:
    """A driver with two flows, one of which has sent, and its bus."""

    def __init__(self, device: DeviceProcess) -> None:
        self.device = device
        self.bus = open_client(device.socket_path)
        options = SMALL._replace(tx_queues=2, command_timeout_s=DEADLINE_S)
        self.nic = Nic.attach(self.bus, options)
        self.tag, self.other = (self.alloc(port) for port in (5001, 5002))
        record = Framer(self.tag.session).frame(APPLICATION_DATA, bytes(8000))
        self.tag.records.add(self.tag.records.end_sequence, record)
        self.send(0)
        self.nic.drain_tx(LIMIT_S)

    def alloc(self, port: int) -> SendTag:
        address = FlowAddress.make("192.0.2.1", port, "192.0.2.2", 443)
        return self.nic.snd_tag_alloc(_session(), address, 1000)

    def send(self, queue: int) -> None:
        tag = self.tag
        payload = tag.records.read(tag.expected_sequence, 100)
        headers = bytearray(HEADERS)
        headers[16:18] = (40 + 100).to_bytes(2, "big")
        headers[38:42] = tag.expected_sequence.to_bytes(4, "big")
        tag.transmit(self.nic.tx[queue], headers, tag.expected_sequence, payload)

    def fill_ring(self) -> None:
        """Transmit until the ring is full, and wait for room."""
        for _ in range(2 * self.nic.tx[0].entries):
            try:
                self.send(0)
            except RingFullError:
                self.nic.tx[0].wait_free(1, DEADLINE_S)
                return
        raise CheckFailed("a ring of a card that does nothing is never full")

    def drain(self) -> None:
        with contextlib.suppress(RingFullError):
            self.nic.tx[0].send(bytes(60))
        self.nic.drain_tx(DEADLINE_S)

    def move(self) -> None:
        """A packet on another queue than the last one, which is not done."""
        self.send(0)
        self.send(1)

    def lose(self, name: str) -> tuple[str, float]:
        """The wait `name` goes on while the device dies; what it said, and how long it took."""
        pid = self.device.child.pid
        os.kill(pid, signal.SIGSTOP)  # so that nothing is answered
        killer = threading.Timer(_KILL_AFTER_S, self.device.child.kill)
        killer.start()
        try:
            return self.wait(name)
        finally:
            killer.join()

    def reset(self) -> float:
        """Does not bring the card back; how long it took to say so, in seconds."""
        return self._timed("reset", self.nic.reset)[1]

    def wait(self, name: str) -> tuple[str, float]:
        """What the wait `name` says on a card that is gone, and how long it takes, in seconds."""
        said, took_s = self._timed(name, lambda: WAITS[name](self))
        if self.tag.is_alive or self.other.is_alive:
            raise CheckFailed(f"after {name} flows of a card that is gone are alive")
        return said, took_s

    def _timed(self, name: str, wait: Callable[[], object]) -> tuple[str, float]:
        start_s = time.monotonic()
        said = "nothing"
        try:
            wait()
        except (DriverError, BusError) as error:
            said = f"{type(error).__name__}: {error}"
        took_s = time.monotonic() - start_s
        if took_s > LIMIT_S:
            raise CheckFailed(f"{name} took {took_s:.1f} s on a card that is gone")
        if not said.startswith(_SAYERS) or _GONE not in said:
            raise CheckFailed(f"{name} does not say that the card is gone, but {said!r}")
        return said, took_s

    def free(self) -> None:
        """Free says nothing, as what it is for has happened; the tag does."""
        self.tag.free(DEADLINE_S)
        self.tag.query(DEADLINE_S)

    def close(self) -> None:
        """Raises CheckFailed when something stays behind."""
        with contextlib.closing(self.bus):
            self.nic.close()
            if self.bus.dma_live_bytes or self.nic.send_tags:
                raise CheckFailed(f"{self.bus.dma_live_bytes} bytes of DMA memory are left")


def _session() -> TlsSession:
    return TlsSession(_SUITE, bytes(16), bytes(12))


WAITS: dict[str, Callable[[_Client], object]] = {
    "command": lambda client: client.nic.admin.nop(DEADLINE_S),
    "alloc": lambda client: client.alloc(5003),
    "rekey": lambda client: client.tag.modify_rekey(_session(), client.tag.records.end_sequence),
    "rate": lambda client: client.tag.modify_rate(1000),
    "query": lambda client: client.tag.query(DEADLINE_S),
    "free": _Client.free,
    "drain": _Client.drain,
    "full ring": _Client.fill_ring,
    "another queue": _Client.move,
    "receive": lambda client: client.nic.receive(DEADLINE_S),
    "event": lambda client: client.nic.events.next_event(DEADLINE_S),
    "statistics": lambda client: client.nic.statistics(DEADLINE_S),
    "counters": lambda client: client.nic.counters(),
}
"""Everything of the driver that waits for the card, each with a deadline of DEADLINE_S or its own."""
