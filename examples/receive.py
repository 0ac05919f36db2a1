"""Takes a file from an unmodified OpenSSL client; the card decrypts it, behind a bad wire.

    .venv/bin/python examples/receive.py                                          # as root
    .venv/bin/python -m tlsnic.qemu.rights .venv/bin/python examples/receive.py   # as a user

The client is `openssl s_client` in a network namespace, at the kernel's end of a TAP; the wire
loses and reorders frames; `sha256sum` compares. This side is TCP of our own, a handshake by OpenSSL
as the server, and a receive tag that answers what the card asks when it has lost its place. It is
the shortest program that shows TLS receive offload. Exit status 0 when every byte came through, the
card has decrypted records, and none failed authentication.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tlsnic.driver.tcp import TcpConfig, TcpError
from tlsnic.driver.tcp.host import Host
from tlsnic.driver.tls.handshake import Handshake, make_context
from tlsnic.driver.tls.receive_stream import Offloaded, TlsReceiver
from tlsnic.driver.tls.receive_tag import Resync
from tlsnic.driver.tls.stream import shake_hands
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.peer.data import NEAR_ADDRESS
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

RESYNC = {
    "host": Resync.HOST,
    "tag": Resync.TAG,
    "both": Resync.BOTH,
    "hints": Resync.NONE,
    "software": None,
}
TCP = TcpConfig(window=4 << 20)
TIMEOUT_S = 60.0


@contextlib.contextmanager
def openssl_client(far: Netns, folder: Path, version: str) -> Iterator[Child]:
    """A client that sends the file and says good-bye."""
    argv = ["openssl", "s_client", f"-tls{version.replace('.', '_')}"]
    argv += ["-connect", f"{NEAR_ADDRESS}:{PORT}", "-servername", NAME]
    argv += ["-CAfile", f"{folder}/cert.pem", "-verify_return_error"]
    argv += ["-quiet", "-no_ign_eof", "-nocommands"]
    with (folder / "file").open("rb") as file, (folder / "client.log").open("wb") as log:
        yield far.spawn(argv, name="the client", stdin=file, stdout=log, stderr=log)


def accept(
    host: Host, far: Netns, folder: Path, version: str, options: argparse.Namespace
) -> TlsReceiver:
    """TCP, handshake, and the card takes over."""
    accepted = host.listen(PORT, TCP)
    context = make_context(server_side=True, suites=SUITES[version])
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    if (files := capture_files(options, version)) is not None:
        context.keylog_filename = str(files.keys)
    if not host.run(lambda: accepted, TIMEOUT_S):
        raise TcpError("the client does not connect")
    connection = accepted.popleft()
    handshake = Handshake(context, server_side=True)
    shake_hands(host, connection, handshake, TIMEOUT_S)
    session, surplus = handshake.receive_session(), handshake.take_surplus()
    return TlsReceiver(host, connection, session, surplus, resync=RESYNC[options.resync])


def receive_file(host: Host, receiver: TlsReceiver, path: Path, label: str) -> None:
    """Take everything up to the end, and close the connection."""
    connection = receiver.connection
    with path.open("wb") as file:
        while not receiver.at_end:
            if not host.run(lambda: receiver.readable or receiver.at_end, TIMEOUT_S):
                raise TcpError("nothing comes any more")
            file.write(receiver.read())
            if sys.stdout.isatty():
                print(f"\r{label}: {file.tell() / 1e6:.0f} MB ", end="", flush=True)
    if not receiver.close_notify:
        raise TcpError("the client has not ended its data")
    connection.close(time.monotonic_ns())
    host.run(lambda: connection.at_end or connection.closed, TIMEOUT_S)


def transfer(version: str, options: argparse.Namespace, folder: Path) -> bool:
    """Take the file once, and report. Whether everything is as it must be."""
    files = capture_files(options, version)
    impairments = f"loss={options.loss}%,reorder={options.reorder}%,seed={options.seed}"
    with card_on_a_wire(folder, impairments, files) as (far, nic):
        host = Host(nic, [NEAR_ADDRESS])
        with openssl_client(far, folder, version):
            receiver = accept(host, far, folder, version, options)
            started_s = time.monotonic()
            receive_file(host, receiver, folder / "received", f"TLS {version}")
            took_s = time.monotonic() - started_s
        tag = receiver.tag
        flow = None if tag is None else tag.query()
        receiver.free()
        card = nic.statistics()
        (link,) = json.loads(far.ip("-j", "-s", "link", "show", TAP))
    hashes = sha256(folder / "file", folder / "received")
    megabytes = (folder / "file").stat().st_size / 1e6
    records = receiver.records
    total = sum(records.values())
    shares = ", ".join(f"{records[how] / total:.1%} {how.value}" for how in Offloaded)
    tcp = receiver.connection.statistics
    print(
        f"\rTLS {version} {receiver.session.suite.name}: {megabytes:g} MB in {took_s:.1f} s, "
        f"{megabytes / took_s:.1f} MB/s\n"
        f"  SHA-256 sent      {hashes[0]}\n"
        f"  SHA-256 received  {hashes[1]}  {'equal' if hashes[0] == hashes[1] else 'DIFFERENT'}\n"
        f"  wire     {link['stats64']['tx']['packets']} frames sent, {card['RX_FRAMES']} arrived; "
        f"TCP got {tcp.out_of_order} out of order, {tcp.duplicates} twice\n"
        f"  records  {total}: {shares} decrypted by the card",
        flush=True,
    )
    if tag is None or flow is None:
        return hashes[0] == hashes[1]
    counts = tag.counters
    print(
        f"  resync   {counts.rx_tls_resync_req_start} questions of the card, "
        f"{counts.rx_tls_resync_req_end} answered, {counts.rx_tls_resync_req_skip} overtaken by "
        f"the next; {counts.rx_tls_resync_res_ok} answers and hints came in time\n"
        f"           {flow.host_resyncs} resyncs by an answer or a hint, {flow.tag_resyncs} by a "
        "record's own tag\n"
        f"  card     {flow.packets} packets decrypted, {flow.not_offloaded} not; "
        f"{flow.out_of_order} out of order, {flow.auth_failures} authentication failures",
        flush=True,
    )
    return hashes[0] == hashes[1] and records[Offloaded.FULLY] > 0 and not flow.auth_failures


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--reorder", type=float, default=1, help="per cent (%(default)s)")
    parser.add_argument(
        "--resync",
        choices=RESYNC,
        default="both",
        help="how the card finds its place (%(default)s)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_transfers("receive", arguments(), transfer))
