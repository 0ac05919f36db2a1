"""All methods of the control socket, without a socket: what the server and a replay's shell use."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from tlsnic.device.control import (
    counters,
    device,
    diagnostics,
    faults,
    flows,
    impairments,
    interrupts,
    memory,
    queues,
    registers,
    traces,
)
from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import ControlError, ErrorName, Json, Method, shortened
from tlsnic.device.control.traces import Client

log = logging.getLogger("tlsnic.device")

_MODULES: Final = (
    device, registers, memory, queues, flows, interrupts, counters, diagnostics,
    impairments, faults, traces,
)  # fmt: skip
METHODS: Final[Mapping[str, Method]] = {
    method.name: method for module in _MODULES for method in module.METHODS
}


class Inspector:
    """Looks into cards and changes them, by methods with names (docs/control.md)."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self.cards = list(cards)
        for card in self.cards:
            card.siblings = self.cards

    def close(self) -> None:
        """End captures and traces that were begun here."""
        for card in self.cards:
            card.close()

    def call(self, method: str, params: Mapping[str, Json], client: Client | None = None) -> Json:
        """Carry out a method; returns a JSON value.

        Args:
            method: its name.
            params: its parameters, and `card`: which card, 0 if not given.
            client: whom the events go to that a method starts.

        Raises:
            ControlError: it was not carried out; any other exception was logged.
        """
        known = METHODS.get(method)
        if known is None:
            raise ControlError(
                ErrorName.UNKNOWN_METHOD,
                f"no method {shortened(method)}",
                f"known are: {', '.join(METHODS)}",
            )
        given = dict(params)
        card = self._card(given.pop("card", 0))
        arguments = known.arguments(given)
        if known.subscribes:
            if client is None:
                raise ControlError(ErrorName.UNAVAILABLE, f"{method} needs somebody to listen")
            arguments["client"] = client
        try:
            return known.handler(card, **arguments)
        except ControlError:
            raise
        except Exception as error:
            log.exception("control: %s failed", method)
            if known.changes:
                card.fail()
            raise ControlError(
                ErrorName.INTERNAL,
                f"{method} failed: {type(error).__name__}",
                "the device's log has the details; please report them",
            ) from None

    def _card(self, number: Json) -> Card:
        if isinstance(number, bool) or not isinstance(number, int):
            raise ControlError(ErrorName.BAD_PARAMETER, "card is an integer")
        if not 0 <= number < len(self.cards):
            raise ControlError(
                ErrorName.UNKNOWN_CARD,
                f"no card {shortened(str(number))}",
                f"cards are 0 to {len(self.cards) - 1}",
            )
        return self.cards[number]
