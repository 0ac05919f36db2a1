"""Frames by scapy, the suite's independent oracle: made from layers, and taken apart again.

Layers travel as plain data, so that a guest, where scapy takes ten seconds to import, can have its
frames made and judged on the host: `[["Ether", {...}], ["IP", {...}], ["TCP", {...}], b"payload"]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import NoPayload, Padding, Raw

Layer = list[Any] | bytes
_LAYERS = {
    layer.__name__: layer
    for layer in (
        *(Ether, Dot1Q, Dot1AD, ARP, IP, IPv6, ICMP, TCP, UDP),
        *(IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment),
        *(ICMPv6EchoRequest, ICMPv6EchoReply),
    )
}


def craft(layers: Sequence[Layer]) -> bytes:
    """The frame that `layers` make, outermost first; what is not given is scapy's default.

    Lengths and checksums are filled in by scapy unless a layer sets them. Raises KeyError for a
    layer that is not known.
    """
    packet: Any = None
    for layer in layers:
        if isinstance(layer, bytes):
            part: Any = Raw(layer)
        else:
            name, fields = layer[0], dict(layer[1]) if len(layer) > 1 else {}
            if "options" in fields and name == "TCP":
                fields["options"] = [_option(option) for option in fields["options"]]
            part = _LAYERS[name](**fields)
        packet = part if packet is None else packet / part
    return bytes(packet)


def _option(option: Sequence[Any]) -> tuple[Any, Any]:
    name, value = option
    return name, tuple(value) if isinstance(value, list) else value


def dissect(frame: bytes) -> dict[str, Any]:
    """What scapy finds in `frame`: each layer's fields by the layer's name, and

    payload: bytes after the last header, without padding. padding: bytes after the packet.
    ip_checksum_ok, l4_checksum_ok: whether the sum is the one scapy computes; None when there is
    none. header_bytes: everything before the payload.
    """
    packet: Any = Ether(frame)
    found: dict[str, Any] = {"payload": b"", "padding": b"", "header_bytes": 0}
    layer: Any = packet
    while not isinstance(layer, NoPayload):
        if isinstance(layer, Padding):
            found["padding"] = bytes(layer.load)
        elif isinstance(layer, Raw):
            found["payload"] = bytes(layer.load)
        else:
            found[layer.name if layer.name in _LAYERS else type(layer).__name__] = {
                field.name: _plain(layer.getfieldval(field.name)) for field in layer.fields_desc
            }
            raw_options = getattr(layer, "options", None)
            if isinstance(layer, TCP) and raw_options:
                found["TCP"]["options"] = [[name, _plain(value)] for name, value in raw_options]
        layer = layer.payload
    found["header_bytes"] = len(frame) - len(found["payload"]) - len(found["padding"])
    found["ip_checksum_ok"], found["l4_checksum_ok"] = _sums(packet, frame)
    return found


def _sums(packet: Any, frame: bytes) -> tuple[bool | None, bool | None]:
    again = Ether(frame)
    ip: bool | None = None
    l4: bool | None = None
    for name in ("IP", "TCP", "UDP"):
        if name in again:
            del again[name].chksum
    rebuilt = Ether(bytes(again))
    if IP in packet:
        ip = packet[IP].chksum == rebuilt[IP].chksum
    for kind in (TCP, UDP):
        if kind in packet:
            l4 = packet[kind].chksum == rebuilt[kind].chksum
    return ip, l4


def _plain(value: Any) -> Any:
    """A field's value as data that can travel."""
    if value is None or isinstance(value, (bool, int, str, bytes)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


def craft_many(frames: Sequence[Sequence[Layer]]) -> list[bytes]:
    """`craft` for each."""
    return [craft(layers) for layers in frames]


def dissect_many(frames: Sequence[bytes]) -> list[dict[str, Any]]:
    """`dissect` for each."""
    return [dissect(frame) for frame in frames]
