"""flows.*: the flow contexts, their trackers and counters. Never a key, nor anything made from one."""

from itertools import islice
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Final

from tlsnic.device.control.card import Card
from tlsnic.device.control.protocol import (
    ControlError,
    ErrorName,
    Json,
    Kind,
    Method,
    Param,
    slice_params,
)
from tlsnic.device.core.journal import GONE_FLOWS, NOTES_PER_FLOW, RESYNC_NOTES, Note
from tlsnic.device.tls.flow import TxFlow
from tlsnic.device.tls.rx_flow import RxFlow
from tlsnic.device.tls.table import Flow

MAX_FLOWS: Final = 4096
FLOWS_PER_ANSWER: Final = 1024
"""More would keep the card waiting."""
_IPV4_KEY: Final = Struct("!4s4sHH")
_IPV6_KEY: Final = Struct("!16s16sHH")
"""As `headers.flow_key`."""


def _endpoints(flow: Flow) -> tuple[str, str]:
    """Source and destination of the flow's packets."""
    raw = flow.address
    if len(raw) == _IPV4_KEY.size:
        source, destination, source_port, destination_port = _IPV4_KEY.unpack(raw)
        return (
            f"{inet_ntop(AF_INET, source)}:{source_port}",
            f"{inet_ntop(AF_INET, destination)}:{destination_port}",
        )
    source, destination, source_port, destination_port = _IPV6_KEY.unpack(raw)
    return (
        f"[{inet_ntop(AF_INET6, source)}]:{source_port}",
        f"[{inet_ntop(AF_INET6, destination)}]:{destination_port}",
    )


def summary(flow: Flow) -> dict[str, Json]:
    """One flow in short."""
    source, destination = _endpoints(flow)
    transmits = isinstance(flow, TxFlow)
    layout = flow.format.layout
    return {
        "handle": flow.handle,
        "direction": flow.direction.name,
        "suite": layout.suite.name,
        "tls_version": layout.version,
        "local": source if transmits else destination,
        "remote": destination if transmits else source,
        "vlan_id": flow.vlan_id,
        "state": _state(flow),
        "tcp_sequence": flow.sequence,
        "record_number": flow.record_number,
        "packets": flow.packets,
        "payload_bytes": flow.payload_bytes,
        "out_of_order": flow.out_of_order,
        "not_offloaded": flow.refused if isinstance(flow, TxFlow) else flow.not_offloaded,
    }


def _state(flow: Flow) -> str:
    if isinstance(flow, TxFlow):
        return "SENDING" if flow.fence is None else "DESTROYING"
    return flow.tracker_state.name


def details(card: Card, flow: Flow) -> dict[str, Json]:
    """Everything about one flow."""
    record_format = flow.format
    common = {
        **summary(flow),
        "start_sequence": flow.start_sequence,
        "max_plaintext": record_format.max_plaintext,
        "encrypt_then_mac": record_format.encrypt_then_mac,
        "rekey_pending": flow.rekey_pending,
    }
    if isinstance(flow, TxFlow):
        return {**common, **_transmit(card, flow)}
    return {**common, **_receive(flow)}


def _transmit(card: Card, flow: TxFlow) -> dict[str, Json]:
    pace, cursor = flow.pace, flow.cursor
    return {
        "presynced": flow.presynced,
        "record_offset": cursor.position - cursor.start,
        "epochs": [
            {
                "tcp_sequence": flow.start_sequence + epoch.start & 0xFFFF_FFFF,
                "record_number": epoch.first_number,
            }
            for epoch in flow.epochs
        ],
        "rate_bytes_per_s": 0 if pace is None else pace.rate,
        "held_frames": 0 if pace is None else len(pace.frames),
        "held_bytes": 0 if pace is None else pace.held_bytes,
        "due_ns": pace.due_ns if pace is not None and pace.frames else None,
    }


def _receive(flow: RxFlow) -> dict[str, Json]:
    insight = flow.insight
    question = insight.question
    return {
        "questions": flow.questions,
        "auth_failures": flow.auth_failures,
        "host_resyncs": flow.host_resyncs,
        "tag_resyncs": flow.tag_resyncs,
        "resync_host": insight.may_ask,
        "resync_tag": insight.may_try,
        "candidate": insight.candidate,
        "rekey": insight.rekey,
        "question": None
        if question is None
        else {
            "number": question.number,
            "tcp_sequence": question.sequence,
            "record_number": question.record_number,
            "asked_ns": insight.asked_ns,
        },
    }


def list_(card: Card, first: int, count: int) -> Json:
    """Some of the flows."""
    flows = card.nic.flows
    return {
        "total": len(flows),
        "flows": [
            summary(flow) for flow in islice(flows, first, first + min(count, FLOWS_PER_ANSWER))
        ],
    }


def show(card: Card, handle: int) -> Json:
    """One flow."""
    return details(card, find(card, handle))


def find(card: Card, handle: int) -> Flow:
    """The flow of a handle. ControlError: there is none."""
    flow = card.nic.flows.get(handle)
    if flow is None:
        gone = card.nic.flows.was_destroyed(handle)
        raise ControlError(
            ErrorName.NOT_FOUND,
            f"flow {handle:#x} {'was destroyed' if gone else 'was never made'}",
            "see flows.list",
        )
    return flow


def _note(note: Note) -> dict[str, Json]:
    return {
        "now_ns": note.now_ns,
        "handle": note.handle,
        "event": note.event.name,
        "tcp_sequence": note.tcp_sequence,
        "record_number": note.record_number,
        "old_state": note.old_state.name,
        "new_state": note.new_state.name,
        "question": note.question,
    }


def history(card: Card, handle: int) -> Json:
    """What happened to one flow."""
    journal = card.nic.journal
    flow = card.nic.flows.get(handle)
    notes = journal.history_of_gone(handle) if flow is None else journal.history(flow)
    if flow is None and not notes:
        find(card, handle)
    return [_note(note) for note in notes]


def resync_log(card: Card, count: int) -> Json:
    """The last questions, answers and hints of all flows."""
    return [_note(note) for note in list(card.nic.journal.resync)[-count:]]


HANDLE: Final = Param("handle", Kind.INTEGER, "of the flow", high=0xFFFF_FFFF)
_SUMMARY: Final = (
    "{handle, direction: TRANSMIT | RECEIVE, suite, tls_version, local, remote, vlan_id, state: "
    "SENDING | DESTROYING | OFFLOAD | SEARCH | TRACK | HALTED, tcp_sequence, record_number, packets, "
    "payload_bytes, out_of_order, not_offloaded}"
)
_NOTES: Final = (
    "[{now_ns, handle, event (of TlsEvent), tcp_sequence, record_number, old_state, new_state, "
    "question}]"
)

METHODS: Final = (
    Method(
        "flows.list",
        list_,
        "The flows, in the order they were made. `local` is the side of the card's host. An answer has "
        f"{FLOWS_PER_ANSWER} at most; `total` says how many there are.",
        f"{{total, flows: [{_SUMMARY}]}}",
        tuple(slice_params("flow", 256, MAX_FLOWS)),
    ),
    Method(
        "flows.show",
        show,
        "One flow with everything but keys.",
        f"{_SUMMARY[:-1]}, start_sequence, max_plaintext, encrypt_then_mac, rekey_pending; TRANSMIT: "
        "presynced, record_offset, epochs: [{tcp_sequence, record_number}], rate_bytes_per_s, "
        "held_frames, held_bytes, due_ns; RECEIVE: questions, auth_failures, host_resyncs, "
        "tag_resyncs, resync_host, resync_tag, candidate: TCP sequence number or null, rekey: the same, "
        "question: {number, tcp_sequence, record_number, asked_ns} or null}",
        (HANDLE,),
    ),
    Method(
        "flows.history",
        history,
        f"The last {NOTES_PER_FLOW} things that happened to a flow besides packets, oldest first; "
        f"also of the last {GONE_FLOWS} flows that are gone.",
        _NOTES,
        (HANDLE,),
    ),
    Method(
        "resync.log",
        resync_log,
        "The last questions of the card, and answers and hints of the host, oldest first.",
        _NOTES,
        (
            Param(
                "count",
                Kind.INTEGER,
                f"how many of the last, {RESYNC_NOTES} at most",
                32,
                1,
                RESYNC_NOTES,
            ),
        ),
    ),
)
