"""`tlsnic device`: serve one or more cards until stopped."""

import argparse
import contextlib
import errno
import logging
import os
import resource
import sys
import time
from collections.abc import Sequence
from typing import Final

from tlsnic.device import vfu
from tlsnic.device.control import Inspector, PortCard
from tlsnic.device.control.server import ControlServer
from tlsnic.device.core import NicConfig
from tlsnic.device.port import Port
from tlsnic.device.server import Server
from tlsnic.device.trace.capture import DEFAULT_SNAP_BYTES, NAMES, CaptureFile, open_capture
from tlsnic.device.trace.record import KEY_SUFFIX, RecordFile
from tlsnic.device.trace.sink import Sink
from tlsnic.device.wire import WireError, open_wires
from tlsnic.device.wire import spec as wire_spec

DESCRIPTION: Final = "Serve the card on a vfio-user socket, for QEMU or the driver on the host."
DEFAULT_MAC: Final = NicConfig().mac
NO_CAPTURE: Final = "none"

log = logging.getLogger("tlsnic.device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tlsnic device`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = DESCRIPTION
    parser.epilog = wire_spec.__doc__
    parser.add_argument(
        "--socket",
        action="append",
        required=True,
        metavar="PATH",
        help="vfio-user socket; once per card",
    )
    parser.add_argument(
        "--wire",
        action="append",
        metavar="WIRE",
        help="what the card's port is plugged into; once per card (default: null)",
    )
    parser.add_argument(
        "--mac",
        action="append",
        metavar="XX:XX:XX:XX:XX:XX",
        help=f"address of the port; once per card (default: {DEFAULT_MAC.hex(':')}, then counting up)",
    )
    parser.add_argument(
        "--link-mbps", type=int, default=10_000, help="link speed shown to the driver"
    )
    parser.add_argument(
        "--ready-fd",
        type=int,
        metavar="FD",
        help="write a line to this descriptor when the sockets are listening",
    )
    parser.add_argument(
        "--capture",
        action="append",
        metavar="PATH[,snap=BYTES][,only=NAME/NAME…]",
        help="capture all that passes the card: frames, and the bus on interfaces of its own, for "
        "Wireshark; once per card, `none` for a card without; snap: bytes kept of packet data in "
        f"memory (default: {DEFAULT_SNAP_BYTES}); only: of {'/'.join(NAMES)}",
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="keep all that passes the cards, to run it again with `tlsnic replay`; keys are sealed, "
        f"and what opens them is in FILE{KEY_SUFFIX}",
    )
    control = parser.add_mutually_exclusive_group()
    control.add_argument(
        "--control",
        metavar="PATH",
        help="socket for `tlsnic shell`, for this user and root (default: SOCKET.control, of the first)",
    )
    control.add_argument("--no-control", action="store_true", help="have no control socket")
    parser.add_argument("--verbose", action="store_true", help="log clients coming and going")


class UsageError(Exception):
    """The options do not fit together, or a value cannot be used."""


def parse_mac(text: str) -> bytes:
    """A MAC address from its usual form.

    Raises:
        UsageError: it is none.
    """
    try:
        mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
        NicConfig(mac=mac)
    except ValueError as error:
        raise UsageError(f"--mac {text}: {error}") from None
    return mac


def configurations(arguments: argparse.Namespace) -> list[NicConfig]:
    """One configuration per card.

    Raises:
        UsageError: see there.
    """
    count = len(arguments.socket)
    for name in ("wire", "mac", "capture"):
        given = getattr(arguments, name)
        if given is not None and len(given) != count:
            raise UsageError(f"--{name} is given {len(given)} times for {count} sockets")
    if arguments.mac is None:
        first = int.from_bytes(DEFAULT_MAC, "big")
        macs = [(first + number).to_bytes(6, "big") for number in range(count)]
    else:
        macs = [parse_mac(text) for text in arguments.mac]
    try:
        return [NicConfig(mac=mac, link_mbps=arguments.link_mbps) for mac in macs]
    except ValueError as error:
        raise UsageError(str(error)) from None


def main(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Returns the exit status."""
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING,
        format="tlsnic device: %(message)s",
        stream=sys.stderr,
    )
    _leave_no_core_dump()
    try:
        configs = configurations(arguments)
        library = vfu.load_library()
        with contextlib.ExitStack() as stack:
            wires = open_wires(arguments.wire or ["null"] * len(configs))
            for wire in wires:
                stack.callback(wire.close)
            records: list[Sink] = []
            if arguments.record is not None:
                records.append(RecordFile(arguments.record))
                stack.callback(records[0].close)
            captures = _open_captures(arguments.capture or [NO_CAPTURE] * len(configs), stack)
            with contextlib.ExitStack() as undo:  # a port that fails leaves none of the others open
                ports = []
                for number, (path, wire, config) in enumerate(
                    zip(arguments.socket, wires, configs, strict=True)
                ):
                    sinks = [*records, *captures[number]]
                    now_ns = time.monotonic_ns()
                    port = Port(
                        path, wire, config,
                        number=number, sinks=sinks, now_ns=now_ns, library=library,
                    )  # fmt: skip
                    ports.append(port)
                    undo.callback(port.close)
                    for capture in captures[number]:
                        capture.watch(number, port.nic.counters)
                control = _open_control(arguments, ports)
                if control is not None:
                    undo.callback(control.close)
                server = stack.enter_context(Server(ports, control=control))
                undo.pop_all()
            server.install_signal_handlers()
            _tell_ready(arguments.socket, arguments.ready_fd)
            server.run()
    except (UsageError, WireError, vfu.VfuError, vfu.VfuAbiError) as error:
        print(f"tlsnic device: {error}", file=sys.stderr)
        return 1
    return 0


def _leave_no_core_dump() -> None:
    """A dump would have the keys of flows in it.

    The limit is one byte, too little for any dump: fs/coredump.c of Linux takes zero for no limit
    where dumps go to a program, but one for a ban.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if most == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def _open_captures(texts: Sequence[str], stack: contextlib.ExitStack) -> list[list[CaptureFile]]:
    """The capture of each card, if it has one; closed by `stack`. WireError: cannot be made."""
    captures = []
    for text in texts:
        files = [] if text == NO_CAPTURE else [open_capture(text)]
        for file in files:
            stack.callback(file.close)
        captures.append(files)
    return captures


def _open_control(arguments: argparse.Namespace, ports: list[Port]) -> ControlServer | None:
    """The control socket, unless there is to be none.

    Raises:
        UsageError: it cannot be made.
    """
    if arguments.no_control:
        return None
    path = arguments.control or f"{arguments.socket[0]}.control"
    cards = [PortCard(port, number) for number, port in enumerate(ports)]
    try:
        return ControlServer(path, Inspector(cards), time.monotonic_ns)
    except vfu.VfuError as error:
        if error.errno == errno.ENAMETOOLONG and not arguments.control:
            log.warning("no control socket: %s; give a shorter one with --control", error)
            return None
        raise UsageError(
            f"control socket: {error}; give another with --control, or --no-control"
        ) from None


def _tell_ready(sockets: list[str], ready_fd: int | None) -> None:
    if ready_fd is not None:
        os.write(ready_fd, b"ready\n")
        os.close(ready_fd)
        return
    for path in sockets:
        print(f"tlsnic device: listening on {path}", flush=True)
