"""registers.*: values without side effects, and accesses as a driver's."""

from typing import Final

from tlsnic.abi import registers as r
from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import (
    ControlError,
    ErrorName,
    Json,
    Kind,
    Method,
    Param,
)

_MAPS: Final = {0: r.BAR0, 2: r.BAR2}
MAX_ITEMS: Final = 1024
_WIDTHS: Final = (8, 16, 32, 64)
_ALL: Final = {
    bar: tuple(
        (register.address(index), register.size_bytes)
        for register in registers.registers
        if not register.side_effects
        for index in range(register.array_count)
    )
    for bar, registers in _MAPS.items()
}


def _item(item: Json, size_bytes: int) -> tuple[int, int]:
    """Offset and bytes of one of `items`."""
    if (
        isinstance(item, list)
        and len(item) == 2
        and all(type(number) is int for number in item)
        and item[1] in _WIDTHS
        and 0 <= item[0] <= size_bytes - item[1] // 8
    ):
        return item[0], item[1] // 8
    raise ControlError(
        ErrorName.BAD_PARAMETER,
        "items has pairs of an offset in the BAR and a width of 8, 16, 32 or 64 bits",
        "write for example [[0, 32]]",
    )


def values(card: Card, bar: int | None, items: list[Json] | None, **other: bool) -> Json:
    """Values as they are, by BAR and offset."""
    peek = card.nic.peek
    if other["all"]:
        wanted = [
            (number, *entry) for number in _MAPS if bar in (None, number) for entry in _ALL[number]
        ]
    else:
        if items is None or len(items) > MAX_ITEMS:
            raise ControlError(
                ErrorName.BAD_PARAMETER,
                f"registers.values needs up to {MAX_ITEMS} items",
                "or all: true",
            )
        number = bar or 0
        wanted = [(number, *_item(item, _MAPS[number].size_bytes)) for item in items]
    return {
        "now_ns": card.clock_ns(),
        "values": [
            [number, offset, peek(number, offset, size_bytes)]
            for number, offset, size_bytes in wanted
        ],
    }


def _access(bar: int, offset: int, width: int) -> int:
    """Bytes of an access. ControlError: it would leave the BAR."""
    size = width // 8
    if offset + size > _MAPS[bar].size_bytes:
        raise ControlError(
            ErrorName.BAD_PARAMETER, f"offset {offset:#x} and {size} bytes leave BAR {bar}"
        )
    return size


def read(card: Card, bar: int, offset: int, width: int) -> Json:
    """A read like a driver's."""
    size = _access(bar, offset, width)
    card.core.advance(card.clock_ns())
    return {"value": card.core.read(bar, offset, size)}


def write(card: Card, bar: int, offset: int, width: int, value: int) -> Json:
    """A write like a driver's."""
    size = _access(bar, offset, width)
    if value >> width:
        raise ControlError(ErrorName.BAD_PARAMETER, f"value {value:#x} has more than {width} bits")
    card.core.advance(card.clock_ns())
    card.core.write(bar, offset, size, value)
    return {}


_BAR: Final = Param("bar", Kind.INTEGER, "0: registers, 2: doorbells", 0, choices=(0, 2))
_ACCESS: Final = (
    _BAR,
    Param("offset", Kind.INTEGER, "byte offset in the BAR", high=0xFFFF_FFFF),
    Param("width", Kind.INTEGER, "bits", 32, choices=_WIDTHS),
)

METHODS: Final = (
    Method(
        "registers.values",
        values,
        "Values of registers without any side effect: no diagnostic, nothing latched, nothing "
        "cleared. `all` leaves out registers whose read has side effects.",
        "{now_ns, values: [[bar, offset, value], …]}",
        (
            Param(
                "bar",
                Kind.INTEGER,
                "0: registers, 2: doorbells; for `all`, none: both",
                None,
                choices=(0, 2),
            ),
            Param("items", Kind.LIST, "pairs of byte offset and width in bits", None),
            Param("all", Kind.BOOLEAN, "all registers, instead of `items`", False),
        ),
    ),
    Method(
        "registers.read",
        read,
        "A real read, as a driver's: with its side effects and diagnostics.",
        "{value}",
        _ACCESS,
        changes=True,
    ),
    Method(
        "registers.write",
        write,
        "A real write, as a driver's: rings doorbells, raises diagnostics.",
        "{}",
        (*_ACCESS, Param("value", Kind.INTEGER, "what is written")),
        changes=True,
    ),
)
