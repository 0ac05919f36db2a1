"""What a transfer to or from the `openssl` program takes: a network namespace with a card on its
wire, a certificate, files, and a program's frame. For the examples.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tlsnic.abi.enums import CipherSuite
from tlsnic.device.trace.secrets import add_secrets
from tlsnic.device.wire import WireError
from tlsnic.driver.bus import open_bus
from tlsnic.driver.errors import DriverError
from tlsnic.driver.nic import Nic, NicOptions
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.netns import Netns, tap_namespace
from tlsnic.qemu.parts import PartError
from tlsnic.qemu.peer.data import FAR_ADDRESS, PREFIX, blocks
from tlsnic.qemu.peer.device import DeviceProcess
from tlsnic.qemu.workdir import work_directory

TAP, PORT, NAME = "tap0", 4433, "server.example"
SUITES = {
    "1.2": CipherSuite.TLS12_AES_128_GCM | CipherSuite.TLS12_AES_256_GCM,
    "1.3": CipherSuite.TLS13_AES_128_GCM | CipherSuite.TLS13_AES_256_GCM,
}
"""What both ends offer, by version."""
NIC_OPTIONS = NicOptions(tx_entries=1024, rx_entries=1024, tx_bounce_bytes=8 << 20)


def make_files(folder: Path, size_bytes: int, seed: int) -> None:
    """The file to be sent, and the server's certificate and key."""
    with (folder / "file").open("wb") as file:
        file.writelines(blocks(size_bytes, seed))
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    argv += ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", "key.pem", "-out", "cert.pem"]
    argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True)


@contextlib.contextmanager
def card_on_a_wire(
    folder: Path, impairments: str, files: CaptureFiles | None
) -> Iterator[tuple[Netns, Nic]]:
    """A namespace with the kernel's end of a TAP, and a card at the other end.

    impairments: of the wire, as in its grammar. files: for what passes on it, and through the card.
    """
    with contextlib.ExitStack() as stack:
        address = f"{FAR_ADDRESS}/{PREFIX}"
        far = stack.enter_context(tap_namespace(address, tap=TAP, vnet_hdr=True))
        wire = f"tap:{TAP},netns={far.path}"
        bus_capture = record = ""
        if files is not None:
            wire += f"+capture:{files.wire}"
            bus_capture, record = str(files.bus or ""), str(files.record or "")
        wire += f"+impair:{impairments}"
        device = stack.enter_context(
            DeviceProcess(folder, wire, capture=bus_capture, record=record)
        )
        bus = stack.enter_context(open_bus(f"vfio-user:{device.socket_path}"))
        yield far, stack.enter_context(Nic.attach(bus, NIC_OPTIONS))


def sha256(*paths: Path) -> list[str]:
    """The digests of files, by coreutils."""
    done = subprocess.run(["sha256sum", *paths], check=True, capture_output=True, text=True)
    return [line.split()[0] for line in done.stdout.splitlines()]


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with what all transfers have; the first line of `description`."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--size", type=float, default=100, help="megabytes (%(default)s)")
    parser.add_argument("--loss", type=float, default=1, help="per cent of frames (%(default)s)")
    parser.add_argument("--versions", nargs="+", default=list(SUITES), choices=SUITES)
    parser.add_argument("--seed", type=int, default=0, help="of data and loss (%(default)s)")
    parser.add_argument(
        "--pcap", type=Path, metavar="FOLDER", help="write captures and keys for Wireshark"
    )
    parser.add_argument(
        "--bus",
        action="store_true",
        help="with --pcap: also capture what the card saw, and did on its bus",
    )
    parser.add_argument(
        "--record",
        action="store_true",
        help="with --pcap: also record the card's life, for tlsnic replay",
    )
    parser.add_argument(
        "--secrets",
        action="store_true",
        help="with --pcap: put the keys of this run into the captures",
    )
    return parser


class CaptureFiles(NamedTuple):
    """Where to write captures and the key log. `bus` and `record`: of the card, if wanted."""

    wire: Path
    keys: Path
    bus: Path | None
    record: Path | None


def capture_files(options: argparse.Namespace, version: str) -> CaptureFiles | None:
    """The files of a transfer, if there are to be any."""
    folder: Path | None = options.pcap
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"tls{version}"
    bus = folder / f"{stem}.card.pcapng" if options.bus else None
    record = folder / f"{stem}.record" if options.record else None
    return CaptureFiles(folder / f"{stem}.pcapng", folder / f"{stem}.keys", bus, record)


def _embed_secrets(files: CaptureFiles) -> None:
    for capture in (files.wire, files.bus):
        if capture is not None:
            add_secrets(capture, files.keys)


def run_transfers(
    name: str,
    options: argparse.Namespace,
    transfer: Callable[[str, argparse.Namespace, Path], bool],
) -> int:
    """Make files, then a transfer with each version. Exit status 0 when all is well, 1 when not,
    130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    versions: Sequence[str] = options.versions
    try:
        with work_directory() as folder:
            make_files(folder, int(options.size * 1e6), options.seed)
            results = []
            for version in versions:
                results.append(transfer(version, options, folder))
                files = capture_files(options, version)
                if files is not None and options.secrets:
                    _embed_secrets(files)
    except (UserError, PartError, DriverError, WireError, subprocess.TimeoutExpired) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if all(results) else 1
