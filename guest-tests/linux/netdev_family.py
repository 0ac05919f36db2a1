"""What the kernel tells of an interface's queues by generic netlink, family "netdev".

Numbers are those of linux/netlink.h, linux/genetlink.h and linux/netdev.h.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_NETLINK_GENERIC = 16
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 1, 0x300
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BBxx")
_ATTRIBUTE = struct.Struct("=HH")
# The family of families
_CONTROL, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_QUEUE_GET, _NAPI_GET, _QSTATS_GET = 10, 11, 12
_KINDS = ("rx", "tx")
_FIGURES = {8: "rx_packets", 9: "rx_bytes", 10: "tx_packets", 11: "tx_bytes", 12: "rx_alloc_fail"}
_BY_QUEUE = 1


class QueueInfo(NamedTuple):
    """A queue that is there now, the NAPI instance that polls it, and the interrupt of that."""

    kind: str
    number: int
    napi: int | None
    irq: int | None


def queues(name: str) -> list[QueueInfo]:
    """The queues of an interface."""
    index = socket.if_nametoindex(name)
    napis = {each[2]: each.get(3) for each in _dump(_NAPI_GET, {1: index})}
    return [
        QueueInfo(_KINDS[each[3]], each[1], each.get(4), napis.get(each.get(4)))
        for each in _dump(_QUEUE_GET, {2: index})
    ]


def figures(name: str) -> dict[str, int]:
    """The figures of an interface since it was made, as `tx_packets`."""
    (found,) = _dump(_QSTATS_GET, {1: socket.if_nametoindex(name)})
    return {text: found[number] for number, text in _FIGURES.items() if number in found}


def figures_by_queue(name: str) -> dict[tuple[str, int], dict[str, int]]:
    """The same for each queue, by its kind and number."""
    index = socket.if_nametoindex(name)
    return {
        (_KINDS[each[2]], each[3]): {
            text: each[number] for number, text in _FIGURES.items() if number in each
        }
        for each in _dump(_QSTATS_GET, {1: index, 4: _BY_QUEUE})
    }


def _dump(command: int, attributes: dict[int, int]) -> list[dict[int, int]]:
    """Attributes by number, of every answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC) as link:
        link.settimeout(30)
        (family,) = _ask(link, _CONTROL, _GET_FAMILY, _attribute(_FAMILY_NAME, b"netdev\0"), 0)
        number = int.from_bytes(family[_FAMILY_ID], "little")
        body = b"".join(
            _attribute(at, struct.pack("=I", value)) for at, value in attributes.items()
        )
        return [
            {at: int.from_bytes(value, "little") for at, value in answer.items()}
            for answer in _ask(link, number, command, body, _DUMP)
        ]


def _attribute(number: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), number) + value + padding


def _ask(
    link: socket.socket, family: int, command: int, body: bytes, flags: int
) -> list[dict[int, bytes]]:
    size = _HEADER.size + _GENERIC.size + len(body)
    head = _HEADER.pack(size, family, _REQUEST | flags, next(_sequence), 0)
    link.send(head + _GENERIC.pack(command, 1) + body)
    answers: list[dict[int, bytes]] = []
    while True:
        for kind, content in _messages(link.recv(1 << 16)):
            if kind == _ERROR:
                raise OSError(-struct.unpack_from("=i", content)[0], "netlink")
            if kind == _DONE:
                return answers
            answers.append(dict(_attributes(content[_GENERIC.size :])))
        if not flags & _DUMP:
            return answers


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : size]
        data = data[size + -size % 4 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size, number = _ATTRIBUTE.unpack_from(data)
        yield number, data[_ATTRIBUTE.size : size]
        data = data[size + -size % 4 :]


_sequence = itertools.count(1)
