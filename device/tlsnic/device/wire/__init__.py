"""The wires of the NIC: what is at the other end of its port.

`open_wire()` opens any of them from a user's text (grammar in `tlsnic.device.wire.spec`); the
protocol they share, and who calls what when, is in `tlsnic.device.wire.base`.
"""

from tlsnic.device.packet.vnet import (
    VNET_DATA_VALID,
    VNET_FORMAT,
    VNET_GSO_ECN,
    VNET_GSO_NONE,
    VNET_GSO_TCPV4,
    VNET_GSO_TCPV6,
    VNET_NEEDS_CSUM,
    VnetHeader,
)

from .base import (
    MAX_FRAME_BYTES,
    Buffer,
    Sink,
    Wire,
    WireCounters,
    WireError,
    WireEvent,
    WireEventKind,
)
from .capture import CaptureStage
from .impair import ImpairmentStage
from .lane import DROP, NO_IMPAIRMENTS, PASS, ImpairmentCounters, Impairments, Verdict
from .memory import MemoryWire, NullWire, SentFrame
from .pair import PairWire, open_pair
from .pcapng import (
    LINKTYPE_ETHERNET,
    LINKTYPE_USER0,
    Direction,
    Interface,
    PcapngWriter,
)
from .pcapng_reader import CapturedFrame, PcapngReader
from .replay import Pace, PcapngWire, Play
from .spec import format_impairments, open_wire, open_wires, parse_impairments
from .stream import (
    StreamWire,
    open_tcp,
    open_tcp_listener,
    open_unix,
    open_unix_listener,
)
from .tap import TapWire

__all__ = [
    "DROP",
    "LINKTYPE_ETHERNET",
    "LINKTYPE_USER0",
    "MAX_FRAME_BYTES",
    "NO_IMPAIRMENTS",
    "PASS",
    "VNET_DATA_VALID",
    "VNET_FORMAT",
    "VNET_GSO_ECN",
    "VNET_GSO_NONE",
    "VNET_GSO_TCPV4",
    "VNET_GSO_TCPV6",
    "VNET_NEEDS_CSUM",
    "Buffer",
    "CaptureStage",
    "CapturedFrame",
    "Direction",
    "ImpairmentCounters",
    "ImpairmentStage",
    "Impairments",
    "Interface",
    "MemoryWire",
    "NullWire",
    "Pace",
    "PairWire",
    "PcapngReader",
    "PcapngWire",
    "PcapngWriter",
    "Play",
    "SentFrame",
    "Sink",
    "StreamWire",
    "TapWire",
    "Verdict",
    "VnetHeader",
    "Wire",
    "WireCounters",
    "WireError",
    "WireEvent",
    "WireEventKind",
    "format_impairments",
    "open_pair",
    "open_tcp",
    "open_tcp_listener",
    "open_unix",
    "open_unix_listener",
    "open_wire",
    "open_wires",
    "parse_impairments",
]
