"""A record: everything that passed the boundary of the cards of a process, in full, for a replay.

It is a pcapng file with the interfaces of a capture; a frame's own record is on the interface
"device", and the frame on "wire" behind it. Blocks with keys are sealed with AES-256-GCM. The key of
that seal is in a file of its own, so that who gives a record away decides whether its keys go along.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tlsnic.abi.enums import DeviceInput, DmaPurpose, TraceFlags, TraceType
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import TraceDmaRead, TraceDmaWrite, TraceFrame, TraceInput
from tlsnic.device.core.host import Buffer
from tlsnic.device.trace.capture import INTERFACES, NAMES
from tlsnic.device.trace.reader import read_trace
from tlsnic.device.wire import Direction, PcapngWriter, WireError

FORMAT: Final = 1
KEY_SUFFIX: Final = ".key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_ID_BYTES: Final = 8
_TITLE: Final = "tlsnic record"
_END: Final = "end of the record"
_FIX: Final = "replay a file of tlsnic device --record, with this version"

_ON: Final = {
    TraceType.REGISTER_READ: "registers",
    TraceType.REGISTER_WRITE: "registers",
    TraceType.DMA_READ: "dma",
    TraceType.DMA_WRITE: "dma",
    TraceType.INTERRUPT: "interrupts",
    TraceType.TLS_PACKET: "tls",
    TraceType.TLS_EVENT: "tls",
    TraceType.INPUT: "device",
    TraceType.FRAME: "device",
}
_NUMBER: Final = {int(kind): NAMES.index(name) for kind, name in _ON.items()}
# Plain numbers, because operations of enumerations are calls of Python functions.
_SECRET: Final = int(TraceFlags.SECRET)
_DMA_WRITE: Final = int(TraceType.DMA_WRITE)
_FRAME: Final = int(TraceType.FRAME)
_COMPLETION: Final = int(DmaPurpose.COMPLETION)
_COMPLETIONS: Final = NAMES.index("completions")
_WIRE: Final = NAMES.index("wire")
_TYPE, _FLAGS, _NOW_NS = 0, 2, 3
"""Indices in every trace structure."""
_OUTBOUND: Final = TraceFrame._fields.index("outbound")
_PURPOSE: Final = TraceDmaWrite._fields.index("purpose")
_OUTPUTS: Final = frozenset((TraceType.REGISTER_READ, TraceType.DMA_WRITE, TraceType.INTERRUPT))


class Seal:
    """Hides blocks with keys."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self.identity = hashlib.sha256(b"tlsnic record key" + key).digest()[:_ID_BYTES].hex()
        """Tells keys apart, and nothing else about them."""

    def close(self, record: Structure, data: Buffer) -> bytes:
        """`data`, which belongs to `record`, sealed."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, record.pack())

    def open(self, record: Structure, sealed: bytes) -> bytes:
        """What `close` was given. WireError: it is not that."""
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, rest, record.pack())
        except (InvalidTag, ValueError):
            raise WireError("a sealed block of the record was changed", _FIX) from None


class RecordFile:
    """A sink that keeps everything, of all cards of a process.

    Args:
        path: the pcapng file, made or emptied; PATH.key gets the key of the seal. Only their owner
            may read either.
        epoch_ns: time since 1970 at which the cards' clock was 0; None: as time.monotonic_ns.

    Raises:
        WireError: a file cannot be written; also from `put`, `flush` and `close`.
    """

    takes_secrets = True

    def __init__(self, path: str, *, epoch_ns: int | None = None) -> None:
        self.path = path
        if epoch_ns is None:
            epoch_ns = time.time_ns() - time.monotonic_ns()
        self._epoch_ns = epoch_ns
        self._now_ns = 0
        key = os.urandom(_KEY_BYTES)
        self._seal = Seal(key)
        _write_key(path + KEY_SUFFIX, key)
        self._writer = PcapngWriter(
            path,
            INTERFACES,
            comment="tlsnic: run it again with tlsnic replay",
            mode=0o600,
        )
        self._begun = False

    @property
    def size_bytes(self) -> int:
        """Of the file, once it is flushed."""
        return self._writer.size_bytes

    def put(self, record: Structure, data: Buffer = b"") -> None:
        """See `Sink`."""
        if not self._begun:
            self._begun = True
            self._now_ns = record[_NOW_NS]
            self._mark(f"{_TITLE} {FORMAT}, key {self._seal.identity}")
        kind = record[_TYPE]
        now_ns = self._now_ns = record[_NOW_NS]
        if kind == _FRAME:
            direction = Direction.OUTBOUND if record[_OUTBOUND] else Direction.INBOUND
            self._write(_NUMBER[kind], (record.pack(),), now_ns, direction)
            self._write(_WIRE, (data,), now_ns, direction)
            return
        if record[_FLAGS] & _SECRET:
            data = self._seal.close(record, data)
        interface = _NUMBER[kind]
        if kind == _DMA_WRITE and record[_PURPOSE] == _COMPLETION:
            interface = _COMPLETIONS
        direction = Direction.OUTBOUND if kind in _OUTPUTS else Direction.INBOUND
        self._write(interface, (record.pack(), data), now_ns, direction)

    def flush(self) -> None:
        """See `Sink`."""
        self._writer.flush()

    def close(self) -> None:
        """See `Sink`; may be called twice."""
        if not self._writer.closed:
            self._mark(_END)
            self._writer.close()

    def _mark(self, text: str) -> None:
        record = TraceInput(TraceType.INPUT, 0, 0, self._now_ns, DeviceInput.MARK)
        self._write(
            _NUMBER[TraceType.INPUT],
            (record.pack(), text.encode()),
            self._now_ns,
            Direction.INBOUND,
        )

    def _write(
        self, interface: int, parts: tuple[Buffer, ...], now_ns: int, direction: Direction
    ) -> None:
        self._writer.write(parts, now_ns + self._epoch_ns, direction, interface=interface)


def _write_key(path: str, key: bytes) -> None:
    """A file that others cannot read, nor could have opened before."""
    try:
        Path(path).unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(key.hex() + "\n")
    except OSError as error:
        raise WireError(
            f"cannot write {path}: {error.strerror}", "choose another place for the record"
        ) from error


class NotARecord(WireError):
    """The file is something else, or of another version."""


class Recorded(NamedTuple):
    """A record of a file that is read."""

    number: int
    """Of its packet in the file, counted from 1 as Wireshark does; of a frame, the second one."""
    record: Structure
    data: bytes


class RecordReader:
    """Iterates over the records of a file.

    Args:
        path: the file.
        key_path: the key of its seal; None: PATH.key. Only read when there is something sealed.

    Raises:
        NotARecord: at once.
        WireError: it cannot be read; from the iterator: a sealed block cannot be opened.
    """

    def __init__(self, path: str, key_path: str | None = None) -> None:
        self.path = path
        self._key_path = key_path or path + KEY_SUFFIX
        self._seal: Seal | None = None
        self._records = read_trace(path)
        self._number = 0
        self._identity = self._begin()
        self.damage: str | None = None
        """At the end: why the file is not whole; None: it is."""

    def __iter__(self) -> Iterator[Recorded]:
        ended = False
        while True:
            try:
                item = next(self._records, None)
            except WireError as error:
                self.damage = error.message
                return
            if item is None:
                break
            _, record, data = item
            self._number += 2 if isinstance(record, TraceFrame) else 1
            if isinstance(record, TraceInput) and record.input == DeviceInput.MARK:
                ended = data == _END.encode()
                if ended:
                    continue
            if isinstance(record, TraceDmaRead) and record.flags & TraceFlags.SECRET:
                if self._seal is None:
                    self._seal = self._read_key()
                data = self._seal.open(record, data)
            yield Recorded(self._number, record, data)
        if not ended:
            self.damage = "the device did not end it: it was killed, or the disk was full"

    def _begin(self) -> str:
        """The key's identity, from the first record."""
        try:
            first = next(self._records, None)
        except WireError as error:
            if not Path(self.path).is_file():
                raise
            raise NotARecord(f"{self.path} is no record: {error.message}", _FIX) from None
        self._number = 1
        if first is not None:
            title, _, version = first.data.decode(errors="replace").rpartition(", key ")
            name, _, number = title.rpartition(" ")
            if isinstance(first.record, TraceInput) and name == _TITLE:
                if number != str(FORMAT):
                    raise NotARecord(
                        f"{self.path} is a record of format {number}; this version reads {FORMAT}",
                        "replay it with the version of tlsnic that wrote it",
                    )
                return version
        raise NotARecord(f"{self.path} is no record, perhaps a capture", _FIX)

    def _read_key(self) -> Seal:
        path = self._key_path
        try:
            seal = Seal(bytes.fromhex(Path(path).read_text()))
        except OSError as error:
            raise WireError(
                f"{self.path} has TLS flows, and their keys are sealed: cannot read {path}: "
                f"{error.strerror}",
                f"put {self.path}{KEY_SUFFIX} beside it, or name it with --key",
            ) from None
        except ValueError:
            raise WireError(f"{path} is no key of a record", "find the right one") from None
        if seal.identity != self._identity:
            raise WireError(f"{path} is the key of another record", "find the right one")
        return seal
