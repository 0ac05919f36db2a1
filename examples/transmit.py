"""Sends a file to an unmodified OpenSSL server; the card encrypts it, over a wire that loses frames.

    .venv/bin/python examples/transmit.py                                          # as root
    .venv/bin/python -m tlsnic.qemu.rights .venv/bin/python examples/transmit.py   # as a user

The server is `openssl s_server` in a network namespace, at the kernel's end of a TAP; `sha256sum`
compares. This side is TCP of our own, a handshake by OpenSSL, and a send tag. It is the shortest
program that shows TLS transmit offload. Exit status 0 when every byte came through, the card dropped
nothing, and some of what the wire lost was encrypted again with presync.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tlsnic.driver.tcp import TcpConfig, TcpError
from tlsnic.driver.tcp.host import Host
from tlsnic.driver.tls.framing import ALERT
from tlsnic.driver.tls.handshake import Handshake, make_context
from tlsnic.driver.tls.send_tag import OutcomeKind
from tlsnic.driver.tls.stream import CLOSE_NOTIFY, TlsSender, shake_hands
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.data import FAR_ADDRESS, NEAR_ADDRESS
from tlsnic.qemu.peer.openssl import (
    NAME,
    PORT,
    SUITES,
    TAP,
    capture_files,
    card_on_a_wire,
    make_parser,
    run_transfers,
    sha256,
)
from tlsnic.qemu.supervise import Child

TCP = TcpConfig(send_buffer=4 << 20)
KINDS = (OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC, OutcomeKind.SOFTWARE)
READ_BYTES = 1 << 20
TIMEOUT_S = 60.0


@contextlib.contextmanager
def openssl_server(far: Netns, folder: Path, version: str) -> Iterator[Child]:
    """A server for one connection, that writes what it decrypts to the file `received`."""
    argv = ["openssl", "s_server", f"-tls{version.replace('.', '_')}", "-accept", str(PORT)]
    argv += ["-cert", f"{folder}/cert.pem", "-key", f"{folder}/key.pem", "-quiet", "-naccept", "1"]
    stdin, end = os.pipe()  # at the end of its input it would stop
    try:
        with (folder / "received").open("wb") as out, (folder / "server.log").open("wb") as log:
            yield far.spawn(argv, name="the server", stdin=stdin, stdout=out, stderr=log)
    finally:
        os.close(stdin)
        os.close(end)


def connect(host: Host, folder: Path, version: str, key_log: Path | None) -> TlsSender:
    """TCP, handshake, and the card takes over."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            connection = host.connect(FAR_ADDRESS, PORT, config=TCP)
            break
        except TcpError:  # refused: the server does not listen yet
            if time.monotonic() > deadline_s:
                raise
    context = make_context(server_side=False, suites=SUITES[version])
    context.load_verify_locations(folder / "cert.pem")
    if key_log is not None:
        context.keylog_filename = str(key_log)
    handshake = Handshake(context, server_side=False, server_hostname=NAME)
    shake_hands(host, connection, handshake, TIMEOUT_S)
    return TlsSender(host, connection, handshake.transmit_session())


def send_file(host: Host, sender: TlsSender, path: Path, label: str) -> None:
    """Send the file and close the connection."""
    connection = sender.connection

    def has_room() -> bool:
        connection.read()  # session tickets
        return connection.writable > TCP.send_buffer // 2 or connection.closed

    def is_over() -> bool:
        connection.read()
        return connection.at_end or connection.closed

    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        while data := memoryview(file.read(READ_BYTES)):
            while data := data[sender.write(data) :]:
                if not host.run(has_room, TIMEOUT_S):
                    raise TcpError("the connection is stuck")
            if sys.stdout.isatty():
                print(f"\r{label}: {file.tell() / size_bytes:4.0%} ", end="", flush=True)
    host.run(has_room, TIMEOUT_S)
    sender.write(CLOSE_NOTIFY, ALERT)
    connection.close(time.monotonic_ns())
    if not host.run(is_over, TIMEOUT_S):
        raise TcpError("the server does not close the connection")


def transfer(version: str, options: argparse.Namespace, folder: Path) -> bool:
    """Send the file once, and report. Whether everything is as it must be."""
    files = capture_files(options, version)
    impairments = f"loss={options.loss}%,seed={options.seed}"
    with (
        card_on_a_wire(folder, impairments, files) as (far, nic),
        openssl_server(far, folder, version) as server,
    ):
        host = Host(nic, [NEAR_ADDRESS])
        sender = connect(host, folder, version, files and files.keys)
        started_s = time.monotonic()
        send_file(host, sender, folder / "file", f"TLS {version}")
        took_s = time.monotonic() - started_s
        server.wait(TIMEOUT_S)
        flow = sender.tag.query()
        sender.free()
        card = nic.statistics()
        (link,) = json.loads(far.ip("-j", "-s", "link", "show", TAP))
    hashes = sha256(folder / "file", folder / "received")
    lost = card["TX_FRAMES"] - link["stats64"]["rx"]["packets"]
    dropped = flow.not_offloaded + sum(
        count for name, count in card.items() if name.startswith("TX_DROP")
    )
    tag = sender.tag.counters
    dropped += tag.tx_tls_drop_no_sync_data + tag.tx_tls_drop_bypass_req
    tcp = sender.connection.statistics
    megabytes = (folder / "file").stat().st_size / 1e6
    in_order, presync, software = (sender.packets[kind] for kind in KINDS)
    print(
        f"\rTLS {version} {sender.tag.session.suite.name}: {megabytes:g} MB in {took_s:.1f} s, "
        f"{megabytes / took_s:.1f} MB/s\n"
        f"  SHA-256 sent      {hashes[0]}\n"
        f"  SHA-256 received  {hashes[1]}  {'equal' if hashes[0] == hashes[1] else 'DIFFERENT'}\n"
        f"  wire     {card['TX_FRAMES']} frames sent, {lost} of them lost; "
        f"TCP sent {tcp.retransmits} packets again, after {tcp.timeouts} time-outs\n"
        f"  records  {sender.records} encrypted by the card, all in order at first; "
        f"{sender.repeated_records} presynced, to send parts again\n"
        f"  packets  {in_order} in order, {presync} presynced, {software} in software, "
        f"{dropped} dropped\n"
        f"  card     {flow.packets} packets, {flow.payload_bytes} bytes, {flow.presynced} presynced, "
        f"{card['TX_DROP_TLS']} dropped",
        flush=True,
    )
    return hashes[0] == hashes[1] and not dropped and (presync > 0 or lost == 0)


if __name__ == "__main__":
    sys.exit(run_transfers("transmit", make_parser(__doc__).parse_args(), transfer))
