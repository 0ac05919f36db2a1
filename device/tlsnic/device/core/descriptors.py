"""Transmit descriptors: their fields, and the parts of a packet's chain."""

from struct import Struct
from typing import Final, NamedTuple

from tlsnic.abi.enums import Diagnostic, TxFlags, TxStatus
from tlsnic.abi.structures import TxDescriptor

DESCRIPTOR: Final = Struct("<QIHHIHHQ")
"""TxDescriptor.STRUCT skips the reserved word; here it is read, because it must be checked."""
DESCRIPTOR_BYTES: Final = TxDescriptor.SIZE

# Plain numbers: arithmetic on IntFlag is slow.
END: Final = int(TxFlags.END_OF_PACKET)
REPORT: Final = int(TxFlags.REPORT)
IP_CHECKSUM: Final = int(TxFlags.IP_CHECKSUM)
L4_CHECKSUM: Final = int(TxFlags.L4_CHECKSUM)
SEGMENT: Final = int(TxFlags.SEGMENT)
VLAN_INSERT: Final = int(TxFlags.VLAN_INSERT)
TLS: Final = int(TxFlags.TLS)
PRESYNC: Final = int(TxFlags.PRESYNC)
PREFIX: Final = int(TxFlags.PREFIX)
SUFFIX: Final = int(TxFlags.SUFFIX)
ANY_TLS: Final = TLS | PRESYNC | PREFIX | SUFFIX
"""What marks a packet that must not leave in clear, on any of its descriptors."""
_ASIDE: Final = PRESYNC | PREFIX | SUFFIX
_UNKNOWN: Final = 0xFFFF & ~sum(TxFlags)

Descriptor = tuple[int, int, int, int, int, int, int, int]
"""address, length, flags, vlan_tci, send_tag, mss, header_length, reserved."""


class Drop(Exception):
    """A packet that is not sent: completion status, diagnostic, and what that is about."""

    def __init__(self, status: TxStatus, code: Diagnostic, operand: int = 0) -> None:
        super().__init__(code.name)
        self.status = status
        self.code = code
        self.operand = operand


class Chain(NamedTuple):
    """The descriptors of a packet with TLS, by what they are for."""

    presync: Descriptor | None
    prefix: list[Descriptor]
    data: list[Descriptor]
    suffix: list[Descriptor]


def check_entries(descriptors: list[Descriptor]) -> int:
    """Bytes of all buffers. Drop: reserved bits, or a buffer without length."""
    total = 0
    for _, length, flags, _, _, _, _, reserved in descriptors:
        if reserved or flags & _UNKNOWN:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_RESERVED, flags)
        if not length:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_LENGTH)
        total += length
    return total


def check_further(descriptors: list[Descriptor]) -> None:
    """Drop: flags that only the first descriptor may have; those of TLS must stop the packet."""
    for descriptor in descriptors[1:]:
        flags = descriptor[2] & ~END
        if flags & ANY_TLS:
            raise Drop(TxStatus.TLS_DROPPED, Diagnostic.TLS_HANDLE, descriptor[4])
        if flags:
            raise Drop(TxStatus.BAD_PACKET, Diagnostic.TX_FLAGS, flags)


def split_chain(descriptors: list[Descriptor]) -> Chain:
    """Presync, prefix, data, suffix, in this order. Drop: another order, or fields where none may be."""
    if len(descriptors) == 1 and not descriptors[0][2] & _ASIDE:
        return Chain(None, [], descriptors, [])
    presync: Descriptor | None = None
    prefix: list[Descriptor] = []
    data: list[Descriptor] = []
    suffix: list[Descriptor] = []
    for number, descriptor in enumerate(descriptors):
        flags = descriptor[2] & ~END
        aside = flags & _ASIDE
        if aside:
            legal = flags == aside and not any(descriptor[3:7])
            if aside == PRESYNC and number == 0:
                presync = descriptor
            elif aside == PREFIX and presync is not None and not data:
                prefix.append(descriptor)
            elif aside == SUFFIX and data:
                suffix.append(descriptor)
            else:
                legal = False
        else:
            legal = bool(flags & TLS) != bool(data) and not suffix
            legal = legal and (not data or not flags)
            data.append(descriptor)
        if not legal:
            raise Drop(TxStatus.TLS_DROPPED, Diagnostic.TX_FLAGS, flags)
    if not data:
        raise Drop(TxStatus.TLS_DROPPED, Diagnostic.TX_FLAGS)
    return Chain(presync, prefix, data, suffix)


def reported_as(descriptors: list[Descriptor]) -> tuple[bool, int]:
    """Whether a packet with TLS asks for a completion, and its send tag: of the first data descriptor."""
    for _, _, flags, _, send_tag, _, _, _ in descriptors:
        if not flags & _ASIDE:
            return bool(flags & REPORT), send_tag
    return False, 0
