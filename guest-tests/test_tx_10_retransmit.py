"""TX-10, TX-11, TX-12: what is sent again has the same bytes, and the stream goes on behind it."""

import pytest
from harness.tls_flow import payloads

from tlsnic.abi.enums import CipherSuite
from tlsnic.abi.suites import BLOCK_BYTES
from tlsnic.driver.tls.send_tag import OutcomeKind

KINDS = {
    "GCM, TLS 1.2": {"suite": CipherSuite.TLS12_AES_128_GCM},
    "GCM, TLS 1.3": {"suite": CipherSuite.TLS13_AES_256_GCM},
    "ChaCha20, TLS 1.2": {"suite": CipherSuite.TLS12_CHACHA20_POLY1305},
    "ChaCha20, TLS 1.3": {"suite": CipherSuite.TLS13_CHACHA20_POLY1305},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
    "CBC, TLS 1.1": {"suite": CipherSuite.TLS11_AES_CBC_SHA1},
    "CBC, MAC then encrypt": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA384,
        "encrypt_then_mac": False,
    },
    "CBC, encrypt then MAC": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA256,
        "encrypt_then_mac": True,
    },
}
WAYS = {"presync": OutcomeKind.PRESYNC, "software": OutcomeKind.SOFTWARE}
every_kind = pytest.mark.parametrize("kind", KINDS)


def send_again(flow, places):
    """Send `places` (offset from the flow's start, bytes) once more, through the card and in
    software. Both must give the same packets, and the reassembler holds them against the first."""
    found = {}
    expected_sequence = flow.tag.expected_sequence
    for way, kind in WAYS.items():
        flow.tag.fallback = way
        resent = flow.stream.resent_bytes
        for offset, length in places:
            outcome = flow.send(flow.start + offset, length)
            assert outcome.kind is kind, (way, offset, length)
        found[way] = payloads(flow.flows.collect())
        assert [len(payload) for _, payload in found[way]] == [length for _, length in places]
        assert flow.stream.resent_bytes - resent == sum(length for _, length in places)
    flow.tag.fallback = "presync"
    assert found["presync"] == found["software"]
    assert flow.tag.expected_sequence == expected_sequence, "a retransmit moved the in-order state"
    return found["presync"]


def offset_of(flow, entry):
    return entry.start_sequence - flow.start & 0xFFFF_FFFF


def places_in(flow, entry):
    """Parts of one record, by name: offset in the stream and bytes."""
    record = entry.record
    total, body = len(record.data), record.prefix_bytes
    tag = body + record.content_bytes
    parts = {
        "whole record": (0, total),
        "all but the last byte": (0, total - 1),
        "first part": (0, total // 3),
        "header alone": (0, 5),
        "first byte": (0, 1),
        "rest of the header": (3, body + 100 - 3),
        "all behind header and nonce": (body, total - body),
        "middle": (total // 3, total // 3),
        "middle, on block borders": (body + 2 * BLOCK_BYTES, 7 * BLOCK_BYTES),
        "one byte in the middle": (body + 333, 1),
        "content up to the tag": (body + 50, tag - body - 50),
        "middle into the tag": (tag - 40, 45),
        "tag alone": (tag, total - tag),
        "second half of the tag": (total - 8, 8),
        "last byte": (total - 1, 1),
    }
    start = offset_of(flow, entry)
    return {name: (start + at, length) for name, (at, length) in parts.items()}


@pytest.mark.row("TX-10")
@every_kind
def test_tx_10_parts_of_a_record(flows, kind):
    """The second of three records; then the stream ends, and OpenSSL reads all of it."""
    flow = flows.open(**KINDS[kind])
    _, entry, _ = flow.write(500, 1200, 300)
    flow.send_rest(700)
    flow.check()
    before = flow.tag.query()
    places = places_in(flow, entry)
    send_again(flow, places.values())
    after = flow.tag.query()
    assert after.presynced - before.presynced == len(places)
    assert after.tcp_sequence == before.tcp_sequence
    assert after.record_number == before.record_number
    flow.write(100)
    assert [outcome.kind for outcome in flow.send_rest()] == [OutcomeKind.IN_ORDER]
    flow.check()


@pytest.mark.row("TX-10")
@every_kind
def test_tx_10_record_that_is_still_being_sent(flows, kind):
    """Parts of the record that the in-order state is inside of, which goes on afterwards."""
    flow = flows.open(**KINDS[kind])
    entry = flow.write(2000)[0]
    body = entry.record.prefix_bytes
    flow.send(flow.start, 1111)
    flows.collect()
    send_again(flow, [(0, 1111), (0, 100), (2, 700), (body, 200), (600, 511), (1110, 1)])
    flow.send_rest(500)
    flow.check()


@pytest.mark.row("TX-10")
@pytest.mark.parametrize("kind", ["GCM, TLS 1.3", "CBC, encrypt then MAC"])
def test_tx_10_long_record_cut_by_the_card(flows, kind):
    """A retransmit in segments, with sizes other than the first time's."""
    flow = flows.open(**KINDS[kind])
    entry = flow.write(16384)[0]
    total = len(entry.record.data)
    flow.send_rest(total, mss=1400)
    flow.check()
    for way, outcome_kind in WAYS.items():
        flow.tag.fallback = way
        for at, length in ((0, total), (1400, 4200), (total - 3000, 3000)):
            outcome = flow.send(flow.start + at, length, mss=999)
            assert outcome.kind is outcome_kind
        found = payloads(flows.collect())
        assert len(found) == -(-total // 999) + 5 + 4
    assert flow.stream.resent_bytes == 2 * (total + 4200 + 3000)
    flow.check()


@pytest.mark.row("TX-10")
def test_tx_10_retransmit_is_counted(nic, flows):
    flow = flows.open()
    flow.write(1000)
    flow.send_rest()
    before = nic.counters()
    flow.send(flow.start + 100, 50)
    flow.send(flow.start + 1000, 20)
    flow.check()
    after = nic.counters()
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown["TX_TLS_PRESYNC"] == 2
    assert grown["TX_TLS_OOO"] == 2
    assert grown["TX_TLS_ENCRYPTED_PACKETS"] == 2
    assert grown["TX_TLS_ENCRYPTED_BYTES"] == 70
    assert (flow.tag.counters.tx_tls_ooo, flow.tag.counters.tx_tls_encrypted_packets) == (2, 3)


@pytest.mark.row("TX-11")
@every_kind
def test_tx_11_retransmit_across_records(flows, kind):
    """From every part of one record into every part of the next one or the one after."""
    flow = flows.open(**KINDS[kind])
    entries = flow.write(400, 333, 200, 500)
    flow.send_rest(600)
    flow.check()
    starts = [offset_of(flow, entry) for entry in entries]
    first, second = entries[0].record, entries[1].record
    tag = starts[0] + first.prefix_bytes + first.content_bytes
    begins = {
        "start": starts[0],
        "header": starts[0] + 3,
        "content": starts[0] + first.prefix_bytes + 77,
        "tag": tag + 5,
        "last byte": starts[1] - 1,
    }
    ends = {
        "header": starts[1] + 2,
        "first of the content": starts[1] + second.prefix_bytes + 1,
        "content": starts[1] + second.prefix_bytes + 90,
        "tag": starts[2] - 3,
        "end": starts[2],
        "header of the third": starts[2] + 4,
        "content of the third": starts[2] + second.prefix_bytes + 33,
        "end of the third": starts[3],
        "content of the fourth": starts[3] + 250,
    }
    send_again(flow, [(at, end - at) for at in begins.values() for end in ends.values()])
    flow.write(50)
    assert [outcome.kind for outcome in flow.send_rest()] == [OutcomeKind.IN_ORDER]
    flow.check()


@pytest.mark.row("TX-11")
def test_tx_11_retransmit_across_a_key_update(flows):
    """Records of both keys in one packet."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM)
    flow.write(300)
    update = flow.key_update()
    flow.write(400, 200)
    flow.send_rest(256)
    flow.check()
    at = offset_of(flow, update)
    end = at + len(update.record.data)
    send_again(flow, [(0, end + 500), (at - 20, 200), (at + 3, 40), (end - 1, 2), (end, 300)])
    flow.write(100)
    flow.send_rest()
    flow.check()


@pytest.mark.row("TX-12")
@every_kind
def test_tx_12_stream_goes_on_after_a_retransmit(flows, kind):
    """A retransmit between any two packets, posted with them: nothing is waited for."""
    flow = flows.open(**KINDS[kind])
    flow.write(700, 20, 900)
    size = flow.end - flow.start & 0xFFFF_FFFF
    at, kinds = 0, []
    with flow.queue.batch():
        while at < size:
            length = min(171, size - at)
            kinds.append(flow.send(flow.start + at, length).kind)
            at += length
            if at > 300:
                kinds.append(flow.send(flow.start + at - 300, 200).kind)
    assert kinds.count(OutcomeKind.IN_ORDER) == -(-size // 171)
    assert set(kinds) == {OutcomeKind.IN_ORDER, OutcomeKind.PRESYNC}
    flow.check()
    assert flow.stream.resent_bytes


@pytest.mark.row("TX-12")
@every_kind
def test_tx_12_retransmit_over_the_edge(flows, kind):
    """One that reaches beyond what was sent: with it the in-order state moves (UPDATE_STATE)."""
    flow = flows.open(**KINDS[kind])
    for edge in ("content", "header", "tag", "end of a record", "first byte"):
        starts = [offset_of(flow, entry) for entry in flow.write(400, 500, 600)]
        sent = {
            "content": starts[1] + 200,
            "header": starts[1] + 3,
            "tag": starts[2] - 6,
            "end of a record": starts[1],
            "first byte": starts[0] + 1,
        }[edge]
        flow.send(flow.sent_end, flow.start + sent - flow.sent_end & 0xFFFF_FFFF)
        ends = (starts[1] + 250, starts[1] + 370, starts[2] - 5, starts[2], starts[2] + 2)
        for back, end in zip((170, 1, 130, 60, 7), ends, strict=True):
            if end <= sent:
                continue
            begin = max(0, sent - back)
            outcome = flow.send(flow.start + begin, end - begin)
            assert outcome.kind is OutcomeKind.PRESYNC, (edge, begin, end)
            sent = end
            flow.queue.drain(5)
            assert flow.tag.expected_sequence == flow.start + sent & 0xFFFF_FFFF
            assert flow.tag.query().tcp_sequence == flow.tag.expected_sequence
        assert {outcome.kind for outcome in flow.send_rest(300)} == {OutcomeKind.IN_ORDER}
    flow.check()


@pytest.mark.row("TX-12")
def test_tx_12_same_packet_over_and_over(flows):
    """An ACK that never comes: the last packet again and again, then new data."""
    flow = flows.open(CipherSuite.TLS13_CHACHA20_POLY1305)
    flow.write(900)
    flow.send_rest()
    for _ in range(5):
        assert flow.send(flow.start + 500, 300).kind is OutcomeKind.PRESYNC
        flow.write(30)
        assert {outcome.kind for outcome in flow.send_rest()} == {OutcomeKind.IN_ORDER}
    flow.check()
    assert flow.stream.resent_bytes == 5 * 300
