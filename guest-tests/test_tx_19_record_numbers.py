"""TX-19: record numbers are 64 bits wide: they carry past 32, and end at 2^64 - 1.

OpenSSL starts each connection at zero, so the judge is `cryptography`, record by record. A record
after the last number is refused: RFC 8446 section 5.3 and RFC 5246 section 6.1 forbid a wrap.
"""

import pytest
from harness.tls_forms import LAYOUTS
from harness.tls_open import open_records
from harness.tls_start import make_session
from harness.tls_stream import marked

from tlsnic.abi.enums import Diagnostic, TxStatus
from tlsnic.driver.tls.framing import Framer
from tlsnic.driver.tls.send_tag import OutcomeKind

pytestmark = pytest.mark.row("TX-19")

LAST = 2**64 - 1
CARRIES = (8, 16, 31, 32, 33, 48, 63)


def open_at(flows, form, number, **fields):
    return flows.open(session=make_session(**form._asdict(), record_number=number, **fields))


def judge(flow, number):
    """All that was sent opens with consecutive numbers from `number` on, and with no others."""
    wire = flow.check()
    session = flow.tag.session
    found = open_records(session, wire, number)
    assert b"".join(record.content for record in found) == bytes(flow.plaintext)
    if flow.framer.session.layout.explicit_bytes == 8:
        numbers = [int.from_bytes(record.explicit, "big") for record in found]
        assert numbers == [*range(number, number + len(found))]
    return found


@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_19_past_32_bits(flows, form):
    first = 2**32 - 2
    flow = open_at(flows, form, first)
    flow.write(100, 2000, 100, 1, 3000)
    flow.send_rest(6000, mss=1000)
    assert flow.tag.query().record_number == 2**32 + 3
    # Again, one record at a time: the presync blocks say their numbers, on both sides.
    for entry in flow.records:
        size = len(entry.record.data)
        for offset in (0, size // 2):
            outcome = flow.send(entry.start_sequence + offset, size - offset, mss=1448)
            assert outcome.kind is OutcomeKind.PRESYNC
    flow.write(50)
    flow.send_rest()
    assert len(judge(flow, first)) == 6


def test_tx_19_other_carries(flows, scale):
    for bits in CARRIES:
        for form in LAYOUTS[:: scale(1, 3)]:
            flow = open_at(flows, form, 2**bits - 2)
            flow.write(10, 10, 10, 10)
            flow.send_rest(1000)
            judge(flow, 2**bits - 2)
            assert flow.tag.query().record_number == 2**bits + 2
            flow.tag.free()


def test_tx_19_number_of_the_flow_and_not_of_the_session(flows):
    """A connection that goes on in the card after some records in software."""
    for form in LAYOUTS[:4]:
        session = make_session(**form._asdict())
        number = 2**32 - 1
        flow = flows.open(session=session, record_number=number)
        flow.write(20, 20)
        flow.send_rest()
        judge(flow, number)


@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_19_ends_at_the_last_number(flows, watch, form):
    """The last two records go; a third is refused, alone and together with the one before."""
    flow = open_at(flows, form, LAST - 1)
    flow.write(100, 100)
    with pytest.raises(OverflowError, match="no record numbers"):
        flow.framer.frame(23, bytes(1))
    more = Framer(make_session(**form._asdict())).frame(23, marked(100)).data
    first, last = flow.records
    flow.send(flow.start, len(first.record.data))

    def refuse(payload):
        queue = flows.nic.tx[0]
        watch.expect(Diagnostic.TLS_RECORD)
        headers = flow.headers(flow.sent_end, len(payload))
        queue.send(headers + payload, checksum=True, send_tag=flow.tag.handle)
        queue.drain(5)
        drop = queue.drops.pop()
        assert (drop.status, drop.detail) == (TxStatus.TLS_DROPPED, Diagnostic.TLS_RECORD)

    refuse(last.record.data + more)
    assert flow.tag.query().record_number == LAST
    flow.send_rest()
    refuse(more)
    flow.send(last.start_sequence, len(last.record.data))
    assert len(judge(flow, LAST - 1)) == 2


def test_tx_19_a_flow_that_starts_with_the_last_number(flows):
    for form in LAYOUTS[:4]:
        flow = open_at(flows, form, LAST)
        flow.write(5000)
        flow.send_rest(1400)
        assert len(judge(flow, LAST)) == 1
