"""A capture of all that passes a card, for Wireshark: frames, and the bus on interfaces of its own.

The bus interfaces have link type USER0; a packet is a trace structure with the bytes that belong to
it, and `abi/lua/tlsnic.lua` dissects it. Frames have comments about what TLS offload did to them:
those of one input of the card are held back, with all that follows, until the input ends.

Key blocks are never in a capture, packet data only in part: see `snap_bytes`.
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from tlsnic.abi.enums import DeviceInput, DmaPurpose, TraceFlags
from tlsnic.abi.layout import Structure
from tlsnic.abi.structures import (
    TraceDmaRead,
    TraceDmaWrite,
    TraceFrame,
    TraceInput,
    TraceInterrupt,
    TraceRegisterRead,
    TraceRegisterWrite,
    TraceTlsEvent,
    TraceTlsPacket,
)
from tlsnic.device.core.counters import Counters
from tlsnic.device.core.host import Buffer
from tlsnic.device.trace.comments import Comments, Remarks, work_text
from tlsnic.device.wire import (
    LINKTYPE_USER0,
    Direction,
    Interface,
    PcapngWriter,
    WireError,
)

DEFAULT_SNAP_BYTES: Final = 64

INTERFACES: Final = (
    Interface("wire", description="frames as they passed the port"),
    Interface("registers", LINKTYPE_USER0, "register accesses and doorbells of the host"),
    Interface("dma", LINKTYPE_USER0, "host memory that the card read or wrote"),
    Interface("interrupts", LINKTYPE_USER0, "MSI-X messages and the INTx line"),
    Interface("completions", LINKTYPE_USER0, "completions, responses and events"),
    Interface("tls", LINKTYPE_USER0, "what TLS offload did to packets and flows"),
    Interface("device", LINKTYPE_USER0, "link, resets, configuration bits, marks"),
)
NAMES: Final = tuple(interface.name for interface in INTERFACES)
_WIRE: Final = 0
_NUMBER: Final = {name: number for number, name in enumerate(NAMES)}

_HOUSEKEEPING: Final = frozenset(
    (
        DeviceInput.ADVANCE,
        DeviceInput.POLL,
        DeviceInput.RECEIVE,
        DeviceInput.WIRE_WRITABLE,
        DeviceInput.FORGET_VIEWS,
    )
)
"""Inputs that say nothing to a person; a record has them."""
_RECEIVE: Final = int(DeviceInput.RECEIVE)
_SECRET: Final = int(TraceFlags.SECRET)
_TRUNCATED: Final = int(TraceFlags.TRUNCATED)
_DATA: Final = int(DmaPurpose.DATA)
_COMPLETION: Final = int(DmaPurpose.COMPLETION)
DROPS: Final = tuple(name for name in Counters.__slots__ if name.startswith("rx_drop_"))


_Packet = tuple[int, tuple[Buffer, ...], int, Direction, int, Remarks]
"""Interface, contents, now_ns, direction, bytes before it was cut, and what is said about it."""


class CaptureFile:
    """A sink that writes a capture. See `Sink` for who calls what.

    Args:
        path: the pcapng file, made or emptied; only its owner may read it.
        snap_bytes: of packet data in host memory, how much is kept. Frames on the wire, descriptors,
            completions and blocks are kept whole.
        only: interfaces that are wanted; None: all.
        epoch_ns: time since 1970 at which the cards' clock was 0; None: so that the first time
            that a card is told is the wall clock's. What comes before has that time, too.

    Raises:
        WireError: the file cannot be written; also from `put`, `flush` and `close`, and then the
            capture has ended: what was written stays a valid file.
        ValueError: an interface is unknown, or `snap_bytes` is negative.
    """

    takes_secrets = False

    def __init__(
        self,
        path: str,
        *,
        snap_bytes: int = DEFAULT_SNAP_BYTES,
        only: Collection[str] | None = None,
        epoch_ns: int | None = None,
    ) -> None:
        wanted = set(NAMES if only is None else only)
        if unknown := wanted.difference(NAMES):
            raise ValueError(f"no interface {min(unknown)!r}; there are {', '.join(NAMES)}")
        if snap_bytes < 0:
            raise ValueError(f"{snap_bytes} bytes cannot be kept")
        self.path = path
        self._snap_bytes = snap_bytes
        self._epoch_ns = epoch_ns
        self._started_ns = 0
        self._comments = Comments()
        self._counters: dict[int, Counters] = {}
        self._early: list[_Packet] = []
        self._held: list[_Packet] | None = None
        self._dropped: tuple[int, ...] = ()
        self._card = 0
        self._wanted = frozenset(wanted)
        self._puts = self._choose(self._wanted)
        self._writer = PcapngWriter(
            path,
            INTERFACES,
            comment="tlsnic: see inside with wireshark -X lua_script:tlsnic.lua",
            mode=0o600,
        )

    def _choose(self, wanted: frozenset[str]) -> Mapping[type[Structure], Callable[..., None]]:
        """What is done with each kind of record."""
        puts: dict[type[Structure], Callable[..., None]] = {TraceInput: self._put_input}
        if "wire" in wanted:
            puts[TraceFrame] = self._put_frame
        if wanted & {"wire", "tls"}:
            puts[TraceTlsPacket] = self._put_tls_packet
            puts[TraceTlsEvent] = self._put_tls_event
        # Any access begins another input, and ends the one before.
        puts[TraceRegisterRead] = puts[TraceRegisterWrite] = self._put_register
        if wanted & {"dma", "completions"}:
            puts[TraceDmaRead] = puts[TraceDmaWrite] = self._put_memory
        if "interrupts" in wanted:
            puts[TraceInterrupt] = self._put_interrupt
        return puts

    @property
    def closed(self) -> bool:
        return self._writer.closed

    @property
    def packets(self) -> int:
        """Packets of all interfaces so far."""
        return self._writer.packets + len(self._early) + len(self._held or ())

    @property
    def size_bytes(self) -> int:
        """Of the file, once it is flushed."""
        return self._writer.size_bytes

    def watch(self, card: int, counters: Counters) -> None:
        """Look at the counters of a card to say which of the frames that came it dropped."""
        self._counters[card] = counters

    def put(self, record: Structure, data: Buffer = b"") -> None:
        """See `Sink`."""
        put = self._puts.get(type(record))
        if put is not None:
            put(record, data)

    def flush(self) -> None:
        """See `Sink`."""
        self._release()
        if self._early:
            self._start_clock(0)
        self._writer.flush()

    def close(self) -> None:
        """See `Sink`; may be called twice."""
        if not self._writer.closed:
            self.flush()
            self._writer.close()

    # What is done with each kind ----------------------------------------------------------------

    def _put_input(self, record: TraceInput, data: Buffer) -> None:
        self._release()
        if self._epoch_ns is None and record.now_ns:
            self._start_clock(record.now_ns)
        if record.input == _RECEIVE:
            if "wire" in self._wanted:
                self._held = []
                self._card = record.card
                self._dropped = self._drops()
        elif record.input not in _HOUSEKEEPING and "device" in self._wanted:
            self._write("device", record, bytes(data), Direction.INBOUND)

    def _put_register(self, record: TraceRegisterRead | TraceRegisterWrite, _data: Buffer) -> None:
        self._release()
        if "registers" in self._wanted:
            read = type(record) is TraceRegisterRead
            direction = Direction.OUTBOUND if read else Direction.INBOUND
            self._write("registers", record, b"", direction)

    def _put_memory(self, record: TraceDmaRead | TraceDmaWrite, data: Buffer) -> None:
        written = type(record) is TraceDmaWrite
        completion = written and record.purpose == _COMPLETION
        name = "completions" if completion else "dma"
        if name not in self._wanted:
            return
        length = len(data)
        if record.flags & _SECRET:
            data, length = b"", record.length
        elif record.purpose == _DATA and length > self._snap_bytes:
            data = data[: self._snap_bytes]
        head = bytearray(record.pack())
        if len(data) < length:
            head[record.OFFSET_FLAGS] |= _TRUNCATED
        direction = Direction.OUTBOUND if written else Direction.INBOUND
        self._packet(
            _NUMBER[name], (head, bytes(data)), record.now_ns, direction, len(head) + length,
            _NOTHING,
        )  # fmt: skip

    def _put_interrupt(self, record: TraceInterrupt, _data: Buffer) -> None:
        self._write("interrupts", record, b"", Direction.OUTBOUND)

    def _put_tls_packet(self, record: TraceTlsPacket, _data: Buffer) -> None:
        self._comments.packet(record)
        if "tls" in self._wanted:
            self._write("tls", record, b"", Direction.UNKNOWN)

    def _put_tls_event(self, record: TraceTlsEvent, _data: Buffer) -> None:
        self._comments.event(record)
        if "tls" in self._wanted:
            self._write("tls", record, b"", Direction.UNKNOWN)

    def _put_frame(self, record: TraceFrame, data: Buffer) -> None:
        if record.outbound:
            if not record.taken:
                return  # it comes again
            direction, remarks = Direction.OUTBOUND, self._comments.outbound(record, data)
        else:
            direction, remarks = Direction.INBOUND, self._comments.inbound(record, data)
        if work := work_text(record):
            remarks.append(work)
        self._packet(_WIRE, (bytes(data),), record.now_ns, direction, len(data), remarks)

    # Into the file ------------------------------------------------------------------------------

    def _write(self, name: str, record: Structure, data: bytes, direction: Direction) -> None:
        original = record.SIZE + len(data)
        now_ns = record[_NOW_NS]
        self._packet(_NUMBER[name], (record.pack(), data), now_ns, direction, original, _NOTHING)

    def _packet(
        self,
        interface: int,
        parts: tuple[Buffer, ...],
        now_ns: int,
        direction: Direction,
        original_bytes: int,
        remarks: Remarks,
    ) -> None:
        held = self._held
        if held is None:
            self._to_file((interface, parts, now_ns, direction, original_bytes, remarks))
        else:
            held.append((interface, parts, now_ns, direction, original_bytes, remarks))

    def _to_file(self, packet: _Packet) -> None:
        epoch_ns = self._epoch_ns
        if epoch_ns is None:
            self._early.append(packet)
            return
        interface, parts, now_ns, direction, original_bytes, remarks = packet
        now_ns = max(now_ns, self._started_ns)
        self._writer.write(
            parts, now_ns + epoch_ns, direction, "\n".join(remarks) if remarks else "",
            interface=interface, original_bytes=original_bytes,
        )  # fmt: skip

    def _start_clock(self, now_ns: int) -> None:
        """The first input that has a time: those before, when the card was made, had none."""
        self._epoch_ns, self._started_ns = time.time_ns() - now_ns, now_ns
        early, self._early = self._early, []
        for packet in early:
            self._to_file(packet)

    def _release(self) -> None:
        """The input has ended: all that can be said about the frames that came has been said."""
        held, self._held = self._held, None
        if held is None:
            return
        self._comments.settle()
        self._remark_drops(held)
        for packet in held:
            self._to_file(packet)

    def _drops(self) -> tuple[int, ...]:
        counters = self._counters.get(self._card)
        return tuple(getattr(counters, name) for name in DROPS) if counters is not None else ()

    def _remark_drops(self, held: list[_Packet]) -> None:
        now = self._drops()
        if now == self._dropped or len(now) != len(self._dropped):
            return
        dropped = {
            name.upper(): new - old
            for name, new, old in zip(DROPS, now, self._dropped, strict=True)
            if new > old
        }
        frames = [
            remarks
            for interface, _, _, direction, _, remarks in held
            if interface == _WIRE and direction is Direction.INBOUND
        ]
        if not dropped or not frames:
            return  # a reset clears the counters
        names = ", ".join(dropped)
        if sum(dropped.values()) >= len(frames):
            for remarks in frames:
                remarks.append(f"dropped: {names}")
            return
        counts = ", ".join(f"{count} {name}" for name, count in dropped.items())
        frames[-1].append(f"of the {len(frames)} frames up to here were dropped: {counts}")


_NOTHING: Final[Remarks] = []
_NOW_NS: Final = 3
"""Index of now_ns in every trace structure."""


def open_capture(text: str) -> CaptureFile:
    """The capture that `PATH[,snap=BYTES][,only=NAME/NAME…]` describes.

    Raises:
        WireError: it describes none, or the file cannot be made.
    """
    path, *options = text.split(",")
    snap_bytes, only = DEFAULT_SNAP_BYTES, None
    for option in options:
        name, _, value = option.partition("=")
        if name == "snap" and value.isdecimal():
            snap_bytes = int(value)
        elif name == "only" and value:
            only = value.split("/")
        else:
            raise WireError(
                f"capture {text}: {option!r} is no option",
                "write PATH[,snap=BYTES][,only=wire/tls]",
            )
    try:
        return CaptureFile(path, snap_bytes=snap_bytes, only=only)
    except ValueError as error:
        raise WireError(f"capture {text}: {error}", f"choose from {'/'.join(NAMES)}") from None
