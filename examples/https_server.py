"""Serves files over HTTPS to an unmodified curl; TLS moves between software and two cards meanwhile.

    .venv/bin/python examples/https_server.py                                          # as root
    .venv/bin/python -m tlsnic.qemu.rights .venv/bin/python examples/https_server.py   # as a user

The server's sockets are those of the KTLS model: sendfile, TLS as a kernel does it, and both directions
offloaded to a card. Two cards are a lagg with failover, and their wires lose frames. curl is in a
network namespace and makes all its requests, an upload too, on one connection. While it does,
`switch_tls`, a program of its own, moves that connection to software and back, and the lagg fails over
to the second card and back. Exit status 0 when every file came through, software and both cards have
encrypted, cards have decrypted, and nothing that a card sent was in clear.
"""

import argparse
import contextlib
import shutil
import signal
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tlsnic.device.wire import WireError
from tlsnic.driver.errors import DriverError
from tlsnic.driver.ktls.control import ControlServer
from tlsnic.driver.ktls.counters import COUNTERS
from tlsnic.driver.ktls.counters import PREFIX as SYSCTL
from tlsnic.driver.ktls.ifnet import NicIfnet
from tlsnic.driver.ktls.kernel import Kernel
from tlsnic.driver.ktls.lagg import Lagg
from tlsnic.driver.ktls.pages import Memory
from tlsnic.driver.ktls.rx_record import KtlsMbufCryptoState
from tlsnic.driver.ktls.session import IPPROTO_TCP, TCP_TLS_MODE_IFNET, TCP_TXTLS_MODE
from tlsnic.driver.ktls.stack import TcpStack
from tlsnic.driver.nic import Nic
from tlsnic.driver.tcp import TcpConfig
from tlsnic.driver.tls.handshake import make_context
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.netns import Netns
from tlsnic.qemu.parts import PartError
from tlsnic.qemu.peer.clear_text import ClearText
from tlsnic.qemu.peer.data import NEAR_ADDRESS, PREFIX, blocks
from tlsnic.qemu.peer.ktls_server import UPLOADS, HttpsServer
from tlsnic.qemu.peer.ktls_steps import Director, Step
from tlsnic.qemu.peer.lagg_wire import two_cards_on_a_bridge
from tlsnic.qemu.peer.openssl import NAME, SUITES, make_files, sha256
from tlsnic.qemu.supervise import Child
from tlsnic.qemu.workdir import work_directory

PORT: Final = 443
TCP: Final = TcpConfig(send_buffer=4 << 20, window=4 << 20)
TIMEOUT_S: Final = 60.0
CARDS: Final = ("tlsnic0", "tlsnic1")
FILES: Final = {"first": 0.35, "second": 0.25, "put": 0.30, "third": 0.10}
"""What curl moves, in this order, and its part of the whole; `put` is uploaded."""
STEPS: Final = (
    Step(0.05, "switch_tls", "-s"),
    Step(0.12, "switch_tls", "-i"),
    Step(0.20, "link", "down"),
    Step(0.28, "switch_tls", "-s"),
    Step(0.38, "switch_tls", "-i"),
    Step(0.48, "link", "up"),
    Step(0.70, "link", "down"),
    Step(0.82, "link", "up"),
    Step(0.92, "switch_tls", "-s"),
)
LEVELS: Final = ("stats.active", "stats.sw_tx_inqueue", "sw.gcm", "ifnet.gcm")
"""Counters that tell how many there are now."""
BLOCK_BYTES: Final = 1 << 20
"""Of a file: from there on it repeats itself, but for the numbers of its blocks."""


class Rig(NamedTuple):
    """What serves."""

    stack: TcpStack
    lagg: Lagg
    nics: list[Nic]
    far: Netns
    control: Path


@contextlib.contextmanager
def serving(folder: Path, options: argparse.Namespace, captures: list[Path]) -> Iterator[Rig]:
    """The stack, with the server's address on a lagg of two cards."""
    impairments = f"loss={options.loss}%,seed={options.seed}"
    with two_cards_on_a_bridge(folder, impairments, captures) as (far, nics):
        kernel = Kernel(Memory(nics[0].access.dma_alloc, nics[0]), cached_pages=1024)
        # With 1 % of loss it would now and then move the connection to software, and for good.
        kernel.sysctl["ifnet_max_rexmit_pct"] = 100
        stack = TcpStack(kernel)
        with contextlib.ExitStack() as closing:
            closing.callback(kernel.close)
            closing.callback(stack.close)
            for nic in nics:
                closing.callback(nic.close)
            cards = [stack.if_attach(NicIfnet(*each)) for each in zip(nics, CARDS, strict=True)]
            # The bridge may take a second to let a port that is up again pass anything; what it sends
            # to the other port until then shall not be lost.
            lagg = Lagg(cards, failover_rx_all=True)
            stack.add_address(lagg, f"{NEAR_ADDRESS}/{PREFIX}")
            control = ControlServer(stack, folder / "ktls.control")
            closing.callback(control.close)
            yield Rig(stack, lagg, nics, far, folder / "ktls.control")


def curl(folder: Path, version: str) -> list[str]:
    """The command: all requests, to be made on one connection."""
    common = ["--silent", "--show-error", "--cacert", f"{folder}/cert.pem"]
    common += ["--tlsv" + version, "--tls-max", version]
    common += ["--resolve", f"{NAME}:{PORT}:{NEAR_ADDRESS}"]
    common += ["--write-out", "%{http_code} %{num_connects}\\n"]
    got, url = f"{folder}/got", f"https://{NAME}:{PORT}"
    operations = (
        [f"{url}/first", "-o", f"{got}/first", f"{url}/second", "-o", f"{got}/second"],
        ["--head", f"{url}/first", "-o", f"{got}/head"],
        ["--range", "1000-4999", f"{url}/first", "-o", f"{got}/part"],
        [f"{url}/missing", "-o", f"{got}/missing"],
        ["--upload-file", f"{folder}/put", f"{url}/{UPLOADS}/put", "-o", f"{got}/answer"],
        [f"{url}/third", "-o", f"{got}/third"],
    )
    command = ["curl"]
    for number, operation in enumerate(operations):
        command += ["--next"] * bool(number) + common + operation
    return command


ANSWERS: Final = ["200 1", "200 0", "200 0", "206 0", "404 0", "201 0", "200 0"]
"""What curl says of them: the status, and how many connections it had to make."""


def transfer(version: str, rig: Rig, folder: Path) -> bool:
    """Let curl make its requests, and report. Whether everything is as it must be."""
    sysctl, site = rig.stack.kernel.sysctl, folder / "site"

    def make_server_context() -> ssl.SSLContext:
        context = make_context(server_side=True, suites=SUITES[version])
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return context

    for name in ("got", f"site/{UPLOADS}"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "got").mkdir()
    size_bytes = sum(path.stat().st_size for path in (*site.iterdir(), folder / "put"))
    before, cards_before = sysctl.snapshot(), [nic.statistics() for nic in rig.nics]
    listener = rig.stack.listen(PORT, TCP)
    director = Director(STEPS, size_bytes, rig.far, rig.lagg, rig.control)
    server = HttpsServer(listener, make_server_context, site, director.moved)
    try:
        with (folder / "curl.log").open("wb") as log:
            client = rig.far.spawn(curl(folder, version), name="curl", stdout=log, stderr=log)
        serve(rig, server, director, client)
    finally:
        director.end()
        rig.stack.unlisten(PORT)
    answers = (folder / "curl.log").read_text().splitlines()
    if client.wait(TIMEOUT_S) or not server.connections or answers != ANSWERS:
        print(f"TLS {version}: curl said {answers}", *server.failures, director.failure, sep="\n  ")
        return False
    pairs = [(site / name, folder / "got" / name) for name in FILES if name != "put"]
    pairs.append((folder / "put", site / UPLOADS / "put"))
    counts = Counter({name: sysctl[name] - before[SYSCTL + name] for name in COUNTERS})
    cards = [
        {name: count - old[name] for name, count in nic.statistics().items()}
        for nic, old in zip(rig.nics, cards_before, strict=True)
    ]
    return report(version, server, director, size_bytes, pairs, counts, cards)


def serve(rig: Rig, server: HttpsServer, director: Director, client: Child) -> None:
    """Take turns until curl has ended and its connection too; note how it is encrypted."""
    shown = None
    while client.poll() is None or server.is_busy or director.is_busy:
        if client.poll() is not None:
            director.end()
        rig.stack.turn(0.1)
        server.accept()
        if server.connections:
            mode = server.connections[-1].so.getsockopt(IPPROTO_TCP, TCP_TXTLS_MODE)
            now = (mode, rig.lagg.active)
            if now != shown and rig.lagg.active:
                shown = now
                how = "by the card" if mode == TCP_TLS_MODE_IFNET else "in software"
                director.note(f"  encrypted {how}, sent by {rig.lagg.active[0].if_xname}")


def report(
    version: str,
    server: HttpsServer,
    director: Director,
    size_bytes: int,
    pairs: list[tuple[Path, Path]],
    counts: Counter[str],
    cards: list[dict[str, int]],
) -> bool:
    """Print what has happened. Whether everything is as it must be."""
    (tls,) = server.connections
    megabytes = size_bytes / 1e6
    print(
        f"TLS {version} {tls.suite.name}: {megabytes:g} MB in {director.elapsed_s:.1f} s, "
        f"{megabytes / director.elapsed_s:.1f} MB/s, on one connection"
    )
    equal = True
    for sent, received in pairs:
        hashes = sha256(sent, received)
        equal &= hashes[0] == hashes[1]
        verdict = "equal" if hashes[0] == hashes[1] else f"DIFFERENT: {hashes[1]}"
        print(
            f"  {sent.name:8} {sent.stat().st_size / 1e6:6.1f} MB  SHA-256 {hashes[0]}  {verdict}"
        )
    for at_s, what in director.log:
        print(f"  {at_s:7.2f} s  {what}")
    total = tls.so.so_snd.sb_tls_seqno - tls.first_record
    software = sum(n for name, n in counts.items() if name.endswith("_encrypts"))
    print(
        f"  records sent      {total}: {software} encrypted in software, {total - software} by cards"
    )
    records = tls.so.ktls_rx.records if tls.so.ktls_rx is not None else {}
    states = ", ".join(f"{n} {state.value}" for state, n in records.items())
    print(f"  records received  {sum(records.values())}: {states} by a card")
    for name, card in zip(CARDS, cards, strict=True):
        print(
            f"  {name}  {card['TX_FRAMES']} frames sent; {card['TX_TLS_ENCRYPTED_PACKETS']} packets "
            f"encrypted, {card['TX_TLS_PRESYNC']} presynced, {card['TX_DROP_TLS']} dropped; "
            f"{card['RX_TLS_DECRYPTED_PACKETS']} packets decrypted"
        )
    shown = {name: count for name, count in sorted(counts.items()) if name not in LEVELS and count}
    print("  kern.ipc.tls", *(f"{name} {count}" for name, count in shown.items()), sep="\n    ")
    print(f"  switch_tls  refused and repeated {director.refused} times", flush=True)
    return (
        equal
        and director.is_done
        and not server.failures
        and 0 < software < total
        and all(card["TX_TLS_ENCRYPTED_PACKETS"] for card in cards)
        and not any(card["TX_DROP_TLS"] for card in cards)
        and records[KtlsMbufCryptoState.DECRYPTED] > 0
        and counts["ifnet.reset"] > 0
        and not counts["ifnet.reset_dropped"]
    )


def in_clear(folder: Path, captures: list[Path]) -> bool:
    """Report what of all that the cards sent was in clear. Whether there was anything."""
    files = [path for path in (folder / "site").iterdir() if path.is_file()]
    contents = ClearText([path.read_bytes()[:BLOCK_BYTES] for path in files])
    counts = [contents.count(capture) for capture in captures]
    sent, clear = (sum(column) for column in zip(*counts, strict=True))
    print(f"{sent} frames with data left the cards, {clear} of them in clear")
    return clear > 0 or not sent


def run(options: argparse.Namespace) -> bool:
    """All versions. Whether everything is as it must be."""
    with work_directory() as folder:
        make_files(folder, 0, options.seed)
        (folder / "site").mkdir()
        share = options.size * 1e6 / len(options.versions)
        for number, (name, part) in enumerate(FILES.items()):
            place = folder if name == "put" else folder / "site"
            with (place / name).open("wb") as file:
                file.writelines(blocks(int(part * share), options.seed + number))
        place = options.pcap or folder
        place.mkdir(parents=True, exist_ok=True)
        captures = [place / f"{name}.pcapng" for name in CARDS]
        with serving(folder, options, captures) as rig:
            results = [transfer(version, rig, folder) for version in options.versions]
        return not in_clear(folder, captures) and all(results)


def main() -> int:
    """Exit status 0 when all is well, 1 when not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=float, default=200, help="megabytes (%(default)s)")
    parser.add_argument("--loss", type=float, default=1, help="per cent of frames (%(default)s)")
    parser.add_argument("--versions", nargs="+", default=list(SUITES), choices=SUITES)
    parser.add_argument("--seed", type=int, default=0, help="of data and loss (%(default)s)")
    parser.add_argument("--pcap", type=Path, metavar="FOLDER", help="keep the captures there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if run(options) else 1
    except (UserError, PartError, DriverError, WireError, subprocess.SubprocessError) as error:
        print(f"https_server: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
