"""Inserting and stripping a VLAN tag (IEEE 802.1Q) without copying the payload."""

from struct import Struct
from typing import Final

from tlsnic.device.packet.headers import ETHERTYPE_QINQ, ETHERTYPE_VLAN, Buffer, Headers

TAG_BYTES: Final = 4
_ADDRESSES_BYTES: Final = 12
_TAG: Final = Struct("!HH")


def insert(frame: Buffer, tci: int, ether_type: int = ETHERTYPE_VLAN) -> tuple[Buffer, Buffer]:
    """`frame` with a new outer tag, as two parts: addresses and tag, then the rest as a view.

    `tci` is priority, DEI and VLAN identifier, 16 bits. Where headers are a buffer of their own,
    join the parts of that one. ValueError: no two addresses to put it behind, or not 16 bits.
    """
    if len(frame) < _ADDRESSES_BYTES or not 0 <= tci <= 0xFFFF:
        raise ValueError(f"cannot put tag {tci:#x} into a frame of {len(frame)} bytes")
    return (
        bytes(frame[:_ADDRESSES_BYTES]) + _TAG.pack(ether_type, tci),
        memoryview(frame)[_ADDRESSES_BYTES:],
    )


def strip(frame: Buffer) -> tuple[int, tuple[Buffer, Buffer]] | None:
    """The outer TCI and the frame without its tag as two views; None if it has no whole tag."""
    if len(frame) < _ADDRESSES_BYTES + TAG_BYTES:
        return None
    ether_type, tci = _TAG.unpack_from(frame, _ADDRESSES_BYTES)
    if ether_type not in (ETHERTYPE_VLAN, ETHERTYPE_QINQ):
        return None
    view = memoryview(frame)
    return tci, (view[:_ADDRESSES_BYTES], view[_ADDRESSES_BYTES + TAG_BYTES :])


def inserted(headers: Headers, tci: int) -> Headers:
    """The parse() of a frame after insert(), from the one before it.

    The tag must stay within the parser's limit: a frame with two tags would be seen differently.
    """
    return _moved(headers, TAG_BYTES, tci)


def stripped(headers: Headers, inner_tci: int | None = None) -> Headers:
    """The parse() of a frame after strip(), from the one before; `inner_tci` is of a second tag."""
    return _moved(headers, -TAG_BYTES, inner_tci)


def _moved(headers: Headers, delta: int, tci: int | None) -> Headers:
    return headers._replace(
        vlan_tci=tci,
        l3=headers.l3 + delta,
        l4=headers.l4 + delta,
        payload=headers.payload + delta,
        end=headers.end + delta,
    )
