"""What rows of receive resync have in common: the card's questions, and answers that tests make up.

With `reader=False` a receive flow's questions wait here, for no record is ever told of to its tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from harness.tls_rx_flow import ReceiveFlow, Record
from harness.tls_stream import marked
from tlsnic.abi import registers as reg
from tlsnic.abi.enums import CommandStatus, EventType
from tlsnic.abi.structures import ResyncRequestEvent, TlsResyncAnswerCommand
from tlsnic.driver.admin import PendingCommand
from tlsnic.driver.errors import CommandError
from tlsnic.driver.nic import Nic
from tlsnic.driver.settings import counter_offsets
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.session import TlsSession

AT_ONCE_US = 1
"""A TLS_RESYNC time-out that has passed when the next packet comes."""
NEVER_US = 0
_HEADER = Struct("!BHH")
_COUNTERS = "RX_TLS_RESYNC_"
_MASK = 0xFFFF_FFFF


def set_timeout(nic: Nic, timeout_us: int) -> None:
    """How long a question waits for its answer."""
    nic.access.write32(reg.TLS_RESYNC, timeout_us)


def counts(nic: Nic) -> dict[str, int]:
    """The card's counters of resync that are not zero, by the lower-case rest of their names."""
    values = {
        name.removeprefix(_COUNTERS).lower(): nic.access.read64(offset)
        for name, offset in counter_offsets().items()
        if name.startswith(_COUNTERS)
    }
    return {name: value for name, value in values.items() if value}


def take_questions(flow: ReceiveFlow) -> list[ResyncRequestEvent]:
    """The card's questions about this flow that nobody has taken yet, the oldest first. Packets
    must have been collected: a question is there before the packet that it is about."""
    nic = flow.flows.nic
    nic.poll_events()
    handle = None if flow.tag is None else flow.tag.handle
    found = []
    for event in list(nic.events.events):
        if isinstance(event, ResyncRequestEvent) and event.handle == handle:
            assert event.type == EventType.RESYNC_REQUEST
            nic.events.events.remove(event)
            found.append(event)
    return found


def take_question(flow: ReceiveFlow, offset: int | None = None) -> ResyncRequestEvent:
    """The one question that there is; fails the test unless it is about this place."""
    (question,) = take_questions(flow)
    if offset is not None:
        assert question.tcp_sequence == flow.at(offset), (
            f"asked about {question.tcp_sequence - flow.sequence & _MASK}, not {offset}"
        )
    return question


def status_of(nic: Nic, pending: PendingCommand) -> CommandStatus:
    """How the card has answered a command."""
    try:
        nic.admin.result(pending)
    except CommandError as error:
        return CommandStatus(error.status)
    return CommandStatus.OK


def answer(
    flow: ReceiveFlow, question: ResyncRequestEvent, number: int | None, /, **changes: int
) -> CommandStatus:
    """Tell the card that record `number` starts there, or with None that none does. `changes` are
    to the command."""
    command = TlsResyncAnswerCommand(
        record_number=number or 0,
        tcp_sequence=question.tcp_sequence,
        handle=question.handle,
        question=question.question,
        found=number is not None,
    )
    nic = flow.flows.nic
    return status_of(nic, nic.admin.submit(command._replace(**changes)))


def hint(flow: ReceiveFlow, offset: int, number: int) -> CommandStatus:
    """Tell the card unasked that record `number` starts at `offset`."""
    assert flow.tag is not None
    return status_of(flow.flows.nic, flow.tag.hint(flow.at(offset), number))


def header(flow: ReceiveFlow, record_bytes: int, content_type: int = 23) -> bytes:
    """The header of a record with so many bytes in all."""
    return _HEADER.pack(content_type, flow.session.layout.wire_version, record_bytes - 5)


def write_holding(flow: ReceiveFlow, size: int, pieces: Mapping[int, bytes]) -> Record:
    """A true record of `size` bytes of plaintext whose ciphertext holds each of `pieces`, by its
    offset in the record: all suites XOR a stream, so that plaintext can be chosen for it.

    OpenSSL's explicit nonces are not known before: not for TLS 1.2 with AES-GCM by OpenSSL.
    """
    session = flow.session
    layout = session.layout
    number = flow.records[-1].number + 1 if flow.records else session.record_number
    plaintext = bytearray(marked(size, len(flow.records)))
    stream = _keystream(session, number, size)
    for offset, piece in pieces.items():
        first = offset - layout.prefix_bytes
        assert first >= 0
        assert first + len(piece) <= size
        for at, byte in enumerate(piece, first):
            plaintext[at] = byte ^ stream[at]
    record = flow.write_plaintext(bytes(plaintext))
    assert record.number == number
    wire = flow.wire[record.start : record.end]
    assert all(wire[at : at + len(piece)] == piece for at, piece in pieces.items())
    return record


def _keystream(session: TlsSession, number: int, size: int) -> bytes:
    from tlsnic.driver.tls.software import SoftwareTls  # noqa: PLC0415 - slow in a guest

    framer = Framer(session)
    framer.next_number = number
    wire: bytes = SoftwareTls(session, number).encrypt(framer.frame(23, bytes(size)))
    return wire[session.layout.prefix_bytes :]
