"""`tlsnic secrets`: put the key log of a test's peer into a capture, so that Wireshark decrypts it.

The secrets come from the TLS library at one end of the connection (SSLKEYLOGFILE), never from the
card. They become a Decryption Secrets Block in front of the packets. Of the key log only those
secrets are taken that belong to a connection in the capture.
"""

import argparse
import contextlib
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from tlsnic.device.wire import LINKTYPE_ETHERNET, PcapngReader, WireError
from tlsnic.device.wire.pcapng import (
    ENHANCED_PACKET,
    PACKET_OBSOLETE,
    SECRETS_TLS_KEY_LOG,
    SECTION_HEADER,
    SIMPLE_PACKET,
    secrets_block,
)

DESCRIPTION: Final = (
    "Put the secrets that a TLS library logged (SSLKEYLOGFILE) into a capture, so that Wireshark and "
    "tshark decrypt it by itself. Whoever has the file can then read the connections in it."
)
_CLIENT_HELLO: Final = re.compile(rb"\x16\x03[\x00-\x03]..\x01...\x03\x03(.{32})", re.DOTALL)
"""Record and handshake headers (RFC 8446, 5.1 and 4.1.2), up to the client's random."""
_LINE: Final = re.compile(rb"[A-Z0-9_]+ ([0-9A-Fa-f]{64}) [0-9A-Fa-f]+")
_PACKETS: Final = (ENHANCED_PACKET, SIMPLE_PACKET, PACKET_OBSOLETE)
_UNKNOWN_LENGTH: Final = b"\xff" * 8
_SECTION_LENGTH_AT: Final = 16
_COPY_BYTES: Final = 1 << 20


def key_log_lines(key_log: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Client random and whole line of each secret; other lines are passed over."""
    for line in key_log.splitlines():
        if match := _LINE.fullmatch(line.strip()):
            yield bytes.fromhex(match[1].decode()), line.strip() + b"\n"


def connections(reader: PcapngReader) -> set[bytes]:
    """The client randoms of all TLS connections that begin in a capture."""
    return {
        random
        for packet in reader
        if packet.link_type == LINKTYPE_ETHERNET
        for random in _CLIENT_HELLO.findall(packet.data)
    }


def add_secrets(capture: Path, key_log: Path, out: Path | None = None) -> int:
    """Write `capture` with the secrets of its connections to `out`, or in place.

    Returns:
        The number of secrets that were added; those that the capture has already are not.

    Raises:
        WireError: a file cannot be read or written, is no capture or no key log, or none of the
            secrets belongs to a connection in the capture. Nothing is written then.
    """
    try:
        lines = list(key_log_lines(key_log.read_bytes()))
        with capture.open("rb") as stream:
            reader = PcapngReader(stream, str(capture))
            randoms = connections(reader)
    except OSError as error:
        raise WireError(f"cannot read {error.filename}: {error.strerror}") from error
    if not lines:
        raise WireError(f"{key_log} is no key log", "write one with SSLKEYLOGFILE")
    known = {line for _, secrets in reader.secrets for _, line in key_log_lines(secrets)}
    fitting = [line for random, line in lines if random in randoms]
    if not fitting:
        raise WireError(
            f"no secret in {key_log} belongs to one of the {len(randoms)} TLS connections that "
            f"begin in {capture}",
            "take the key log and the capture of the same run",
        )
    added = list(dict.fromkeys(line for line in fitting if line not in known))
    if added or out is not None:
        _rewrite(capture, out or capture, b"".join(added))
    return len(added)


def _rewrite(capture: Path, out: Path, secrets: bytes) -> None:
    """Copy a capture, with the secrets in front of its first packet.

    Not before the interfaces, where they could be, too: editcap of Wireshark 4.0 refuses such files.
    """
    try:
        with capture.open("rb") as source, _replacing(out) as target:
            head = source.read(12)
            order = "<" if head[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
            source.seek(0)
            first = True
            while head := source.read(8):
                block_type, length = struct.unpack(order + "II", head)
                if block_type in _PACKETS or (block_type == SECTION_HEADER and not first):
                    source.seek(-len(head), os.SEEK_CUR)
                    break
                block = bytearray(head + source.read(length - len(head)))
                if first:
                    block[_SECTION_LENGTH_AT : _SECTION_LENGTH_AT + 8] = _UNKNOWN_LENGTH
                    first = False
                target.write(block)
            if secrets:
                target.write(secrets_block(secrets, SECRETS_TLS_KEY_LOG, order))
            shutil.copyfileobj(source, target, _COPY_BYTES)
    except OSError as error:
        raise WireError(f"cannot write {out}: {error.strerror}") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file, only for its owner, that takes the place of `path` once it is whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `tlsnic secrets`."""
    parser.description = DESCRIPTION
    parser.add_argument("capture", type=Path, metavar="CAPTURE", help="pcapng file")
    parser.add_argument("key_log", type=Path, metavar="KEYLOG", help="file of SSLKEYLOGFILE")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="where to write it (default: in place)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Add the secrets, and say how many. Returns the exit status; WireError as `add_secrets`."""
    count = add_secrets(arguments.capture, arguments.key_log, arguments.output)
    where = arguments.output or arguments.capture
    print(f"{where}: {count} secret{'s' * (count != 1)} added; keep the file to yourself")
    return 0
