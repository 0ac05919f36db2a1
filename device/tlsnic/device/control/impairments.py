"""impairments.*: make the wire bad while it works, and good again."""

import dataclasses
from typing import Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import ControlError, ErrorName, Json, Kind, Method, Param
from tlsnic.device.wire import (
    NO_IMPAIRMENTS,
    Impairments,
    ImpairmentStage,
    Wire,
    WireError,
    format_impairments,
    parse_impairments,
)
from tlsnic.device.wire.stage import Stage

OFF: Final = "off"


def _stage(card: Card) -> ImpairmentStage | None:
    """The impairments of the card's wire, the ones next to the card if there are several."""
    wire: Wire = card.wire
    while isinstance(wire, Stage):
        if isinstance(wire, ImpairmentStage):
            return wire
        wire = wire.inner
    return None


def _shown(settings: Impairments) -> Json:
    if settings == NO_IMPAIRMENTS:
        return None
    shown: dict[str, Json] = dict(format_impairments(settings))
    if settings.rule is not None:
        shown["rule"] = "a program's"
    return shown


def get(card: Card) -> Json:
    """What is done to frames."""
    stage = _stage(card)
    if stage is None:
        return {"tx": None, "rx": None, "counters": None}
    return {
        "tx": _shown(stage.tx),
        "rx": _shown(stage.rx),
        "counters": {
            "tx": dataclasses.asdict(stage.tx_counters),
            "rx": dataclasses.asdict(stage.rx_counters),
        },
    }


def _parsed(settings: Json) -> Impairments:
    if settings == OFF:
        return NO_IMPAIRMENTS
    if not isinstance(settings, dict):
        raise ControlError(ErrorName.BAD_PARAMETER, 'settings is "off" or an object')
    texts = {}
    for key, value in settings.items():
        if isinstance(value, list):
            texts[key] = "/".join(map(str, value))
        elif isinstance(value, float):
            texts[key] = f"{value:.12f}".rstrip("0").rstrip(".")
        elif isinstance(value, str | int) and not isinstance(value, bool):
            texts[key] = str(value)
        else:
            raise ControlError(ErrorName.BAD_PARAMETER, "values are texts and numbers")
    try:
        return parse_impairments(texts)
    except WireError as error:
        raise ControlError(ErrorName.BAD_PARAMETER, error.message, error.fix) from None


def set_(card: Card, side: str, settings: Json, seed: int | None) -> Json:
    """Change it, for one side or both."""
    wanted = _parsed(settings)
    stage = _stage(card)
    if stage is None:
        if wanted == NO_IMPAIRMENTS:
            return get(card)
        stage = ImpairmentStage(card.wire, seed=seed or 0)
        card.exchange_wire(stage)
    elif seed is not None:
        stage.reseed(seed)
    stage.impair(
        tx=wanted if side in ("tx", "both") else None,
        rx=wanted if side in ("rx", "both") else None,
    )
    result = get(card)
    if stage is card.wire and stage.passes_through:
        card.exchange_wire(stage.inner)  # a good wire costs nothing
    return result


METHODS: Final = (
    Method(
        "impairments.get",
        get,
        "What is done to the frames that the card sends (`tx`) and receives (`rx`), and what was "
        "done since it was switched on. null: nothing.",
        "{tx: {key: value} or null, rx: the same, counters: {tx: {frames, lost, corrupted, duplicated, "
        "reordered, delayed, overflowed, super_frames}, rx} or null}",
    ),
    Method(
        "impairments.set",
        set_,
        "Change that, on any wire. Keys and values are those of `+impair:` ([wires.md](wires.md)), and "
        "replace all that were there. While frames are told apart no super-frames pass. Frames on the way "
        "keep what was decided about them.",
        "as impairments.get",
        (
            Param("side", Kind.STRING, "tx, rx or both", "both", choices=("tx", "rx", "both")),
            Param("settings", Kind.ANY, '{"loss": "1%", "delay": "5ms", …} or "off"'),
            Param("seed", Kind.INTEGER, "begin the random streams anew, from this seed", None),
        ),
        changes=True,
    ),
)
