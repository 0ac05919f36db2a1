"""TX-05: the smallest and largest records, limits of max_plaintext, and records without content.

An empty record of TLS 1.0, whose MAC hides the next record's IV, is what FreeBSD sends
(`ktls_permit_empty_frames`). Other suites may have them too, but TLS 1.3 needs its inner type.
"""

import pytest
from harness.tls_flow import payloads
from harness.tls_forms import LAYOUTS
from harness.tls_stream import marked

from tlsnic.abi.enums import CipherSuite, Diagnostic, TxStatus
from tlsnic.abi.suites import HEADER_BYTES, MAX_PADDING, MAX_PLAINTEXT, RecordKind

pytestmark = pytest.mark.row("TX-05")

LIMITS = (64, 512, 1000, MAX_PLAINTEXT - 1, MAX_PLAINTEXT)
BLOCK = 16


def laid_out(form, content, padding=None, length=None):
    """A record with so many bytes of content, right or not: its framer would not make all of them.

    content: TLS 1.3 with inner type. padding: CBC, what the header says; by default the least.
    length: what the header says instead of what there is.
    """
    layout = form.layout
    minor, room = layout.wire_version & 0xFF, layout.tag_bytes
    if layout.kind is RecordKind.CBC:
        blocks = content + 1 + (0 if form.encrypt_then_mac else layout.tag_bytes)
        least = -blocks % BLOCK
        minor = least if padding is None else padding
        room += least + 1
    body = layout.explicit_bytes + content + room
    header = bytes([23, layout.wire_version >> 8, minor])
    header += (body if length is None else length).to_bytes(2, "big")
    return header + bytes(layout.explicit_bytes) + marked(content) + bytes(room)


def expect_refusal(flows, watch, flow, payload, sequence=None):
    """The card drops a packet with `payload`; nothing leaves, and the flow's state stays."""
    before = flow.tag.query()
    queue = flows.nic.tx[0]
    headers = flow.headers(flow.sent_end if sequence is None else sequence, len(payload))
    watch.collect()  # the event ring is small
    watch.expect(Diagnostic.TLS_RECORD)
    queue.send(headers + payload, mss=1000, send_tag=flow.tag.handle)
    queue.drain(5)
    drop = queue.drops.pop()
    assert (drop.status, drop.detail) == (TxStatus.TLS_DROPPED, Diagnostic.TLS_RECORD)
    assert drop.send_tag == flow.tag.handle
    assert flows.collect() == []
    after = flow.tag.query()
    assert after.not_offloaded == before.not_offloaded + 1
    assert after._replace(not_offloaded=before.not_offloaded) == before


@pytest.mark.parametrize("form", LAYOUTS, ids=str)
def test_tx_05_smallest_and_largest(flows, form):
    flow = flows.open(**form._asdict())
    flow.write(1, MAX_PLAINTEXT, 1, 1, MAX_PLAINTEXT)
    flow.send_rest(20000, mss=1400)
    flow.check()


def test_tx_05_limits(flows, scale):
    """A limit is one of content alone: the host takes TLS 1.3's inner type off a record_size_limit
    (RFC 8449) first."""
    for form in LAYOUTS[:: scale(1, 3)]:
        for limit in LIMITS:
            flow = flows.open(**form._asdict(), openssl=False, max_plaintext=limit)
            flow.write(limit, 1, limit)
            if form.layout.is_tls13:
                flow.write(limit - 9, padding=9)
            flow.send_rest(20000, mss=1400)
            flow.check()
            flow.tag.free()


def test_tx_05_over_long_records_are_refused(flows, watch, scale):
    for form in LAYOUTS[:: scale(1, 3)]:
        inner = int(form.layout.is_tls13)
        for limit in LIMITS:
            flow = flows.open(**form._asdict(), openssl=False, max_plaintext=limit)
            good = laid_out(form, 40)
            for content in (limit + 1, limit + BLOCK, limit + 300):
                expect_refusal(flows, watch, flow, laid_out(form, content + inner))
            expect_refusal(flows, watch, flow, good + laid_out(form, limit + 1 + inner))
            expect_refusal(flows, watch, flow, laid_out(form, 40, length=0xFFFF))
            flow.write(limit)
            flow.send_rest(20000, mss=1400)
            flow.check()
            flow.tag.free()


def test_tx_05_records_that_are_too_short_are_refused(flows, watch, scale):
    for form in LAYOUTS[:: scale(1, 2)]:
        layout = form.layout
        least = len(laid_out(form, int(layout.is_tls13))) - HEADER_BYTES
        flow = flows.open(**form._asdict(), openssl=False)
        for length in {0, 1, layout.tag_bytes, least - BLOCK, least - 1}:
            expect_refusal(flows, watch, flow, laid_out(form, 40, length=length))
        if layout.kind is RecordKind.CBC:
            whole = len(laid_out(form, 40)) - HEADER_BYTES
            expect_refusal(flows, watch, flow, laid_out(form, 40, length=whole + 1))
            expect_refusal(flows, watch, flow, laid_out(form, 40, padding=MAX_PADDING))
        flow.write(40)
        flow.send_rest()
        flow.check()


def test_tx_05_a_length_is_refused_where_it_is_complete(flows, watch):
    """The header's last byte comes in the second packet: the first one has left by then."""
    for suite in (CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM):
        flow = flows.open(suite, max_plaintext=64)
        (entry,) = flow.write(64)
        flow.send(flow.start, HEADER_BYTES - 1)
        assert [payload for _, payload in payloads(flows.collect())] == [entry.record.data[:4]]
        expect_refusal(flows, watch, flow, b"\xff" + entry.record.data[HEADER_BYTES:])
        flow.send_rest()
        flow.check()


@pytest.mark.parametrize("form", [f for f in LAYOUTS if not f.layout.is_tls13], ids=str)
def test_tx_05_empty_records(flows, form):
    flow = flows.open(**form._asdict())
    flow.write(0, 100, 0, 0, 1, 0, 5000, 0)
    flow.send_rest(20000, mss=100)
    flow.write(0, 16)  # each in a packet of its own
    for entry in list(flow.records)[-2:]:
        flow.send(entry.start_sequence, len(entry.record.data))
    flow.check()


def test_tx_05_empty_records_of_tls13_have_a_type(flows, watch):
    form = next(form for form in LAYOUTS if form.layout.is_tls13)
    flow = flows.open(**form._asdict())
    expect_refusal(flows, watch, flow, laid_out(form, 0))
    flow.write(0, 100, 0)
    flow.write(0, padding=200)
    flow.write(7)
    flow.send_rest()
    flow.check()
