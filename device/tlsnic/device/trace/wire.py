"""The wire while a trace is taken: frames that the card sends."""

from collections.abc import Callable, Sequence

from tlsnic.abi.enums import TraceType
from tlsnic.abi.structures import TraceFrame
from tlsnic.device.core import Nic
from tlsnic.device.core.host import Buffer
from tlsnic.device.packet.vnet import VnetHeader
from tlsnic.device.trace.memory import Put


def frame_record(
    card: int, now_ns: int, length: int, vnet: VnetHeader | None, *, outbound: bool, taken: bool
) -> TraceFrame:
    """The record of a frame of `length` bytes."""
    work = vnet or VnetHeader()
    return TraceFrame(
        TraceType.FRAME,
        card,
        0,
        now_ns,
        length,
        int(outbound),
        int(taken),
        int(vnet is not None),
        *work,
    )


def work_of(record: TraceFrame) -> VnetHeader | None:
    """What was left to be done to the frame."""
    if not record.has_work:
        return None
    return VnetHeader(
        record.work_flags, record.gso_type, record.header_length,
        record.gso_size, record.csum_start, record.csum_offset,
    )  # fmt: skip


class TracedWire:
    """A `Port` for `PortGate`. `before` is called before a frame leaves."""

    def __init__(self, nic: Nic, card: int, put: Put, before: Callable[[], None]) -> None:
        self._gate = nic.port_gate
        self._card = card
        self._put = put
        self._before = before
        self._journal = nic.journal
        self.takes_super_frames = self._gate.port.takes_super_frames

    def look_at_bits(self) -> bool:
        """Take over what the wire can do; it stays so during an input. True: it has changed."""
        before, self.takes_super_frames = (
            self.takes_super_frames,
            self._gate.port.takes_super_frames,
        )
        return before != self.takes_super_frames

    def send(self, parts: Sequence[Buffer], vnet: VnetHeader | None, now_ns: int) -> bool:
        """Hand a frame to the wire; also one that it does not take is told."""
        self._before()
        frame = b"".join(parts)
        taken = self._gate.port.send(parts, vnet, now_ns)
        now_ns = self._journal.now_ns
        self._put(
            frame_record(self._card, now_ns, len(frame), vnet, outbound=True, taken=taken), frame
        )
        return taken
