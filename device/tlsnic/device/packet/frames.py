"""Frames on their way to the wire, and the buffers that packets are made of."""

from collections.abc import Sequence
from typing import Final

from tlsnic.device.packet.headers import Buffer
from tlsnic.device.packet.vnet import VnetHeader

MIN_FRAME_BYTES: Final = 60
"""Shorter frames are padded with zeros, as IEEE 802.3 asks (without FCS)."""
PADDING: Final = bytes(MIN_FRAME_BYTES)

Frame = tuple[Sequence[Buffer], VnetHeader | None, int, int]
"""Parts, work left to the wire, frames on the wire, bytes on the wire."""


def padded(frame: Frame) -> Frame:
    """The same frame, of at least MIN_FRAME_BYTES."""
    parts, vnet, frames, length = frame
    if length >= MIN_FRAME_BYTES:
        return frame
    return [*parts, PADDING[length:]], vnet, frames, MIN_FRAME_BYTES


def split(parts: list[Buffer], length: int) -> tuple[bytearray, list[Buffer]]:
    """A copy of the first `length` bytes of the packet, and views of the rest."""
    first = parts[0]
    if len(first) > length:
        return bytearray(first[:length]), [first[length:], *parts[1:]]
    head = bytearray()
    rest: list[Buffer] = []
    for part in parts:
        missing = length - len(head)
        if not missing:
            rest.append(part)
            continue
        head += part[:missing]
        if missing < len(part):
            rest.append(part[missing:])
    return head, rest
