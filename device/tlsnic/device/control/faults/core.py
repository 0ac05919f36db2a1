"""Faults inside the card: questions that get lost, flows that are refused.

They are put in front of a method of one object, and there is nothing there while they are off. What
stands at the card's boundary does not see them, so a record made meanwhile can only be replayed by
someone who switches them on at the same place: each is a MARK there.
"""

from typing import Any

from tlsnic.abi.enums import EventType
from tlsnic.device.control.faults.base import AFTER, COUNT, Fault
from tlsnic.device.control.faults.wire import HANDLE
from tlsnic.device.control.protocol import Kind, Param
from tlsnic.device.tls.flow import TxFlow
from tlsnic.device.tls.table import Flow, TableFull


class LoseQuestions(Fault):
    """Questions that the driver never sees."""

    NAME = "lose_questions"
    WHAT = "RESYNC_REQUEST events are not written; the sequence numbers of events show a gap"
    SEEN = (
        "a gap in the events' sequence numbers; the flow stays in TRACK until TLS_RESYNC runs out"
    )
    MUST = "give hints or wait for the next question; never wait for one that must come"
    PARAMS = (COUNT, AFTER, HANDLE)

    def start(self) -> None:
        events = self.card.nic.events
        publish = type(events).publish

        def lose(event: EventType, *values: int, **fields: Any) -> None:
            wanted = self.settings["handle"] in (None, fields.get("handle"))
            if event is EventType.RESYNC_REQUEST and wanted and self.act():
                events.skip()
            else:
                publish(events, event, *values, **fields)

        setattr(events, "publish", lose)  # noqa: B010 - of this one object

    def stop(self) -> None:
        vars(self.card.nic.events).pop("publish", None)


class RefuseFlows(Fault):
    """A card without room for flows."""

    NAME = "refuse_flows"
    WHAT = "TLS_FLOW_CREATE finds no free flow context"
    SEEN = "the command's status is TABLE_FULL"
    MUST = "leave the connection to software, and not ask again for each packet"
    PARAMS = (
        COUNT,
        AFTER,
        Param(
            "direction", Kind.STRING, "of the flows", "any",
            choices=("any", "transmit", "receive"),
        ),
    )  # fmt: skip

    def start(self) -> None:
        flows = self.card.nic.flows
        add = type(flows).add
        wanted = self.settings["direction"]

        def refuse(flow: Flow) -> int:
            direction = "transmit" if isinstance(flow, TxFlow) else "receive"
            if wanted in ("any", direction) and self.act():
                raise TableFull
            return add(flows, flow)

        setattr(flows, "add", refuse)  # noqa: B010 - of this one object

    def stop(self) -> None:
        vars(self.card.nic.flows).pop("add", None)
