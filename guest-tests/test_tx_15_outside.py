"""TX-15, TX-16: packets from before the start of offload, and of records that are gone."""

import pytest
from harness.tls_flow import payloads
from harness.tls_raw import Packet, in_order, presynced, state_of
from harness.tls_start import START

from tlsnic.abi.enums import CipherSuite, Diagnostic, PresyncFlags, TxFlags, TxStatus
from tlsnic.abi.structures import TlsPresync
from tlsnic.driver.tls.send_tag import OutcomeKind

HANDSHAKE = bytes(range(200)) * 20
"""What went before the first record: it is not ours to encrypt."""
BEFORE_START = TlsPresync(flags=PresyncFlags.BEFORE_START)
KINDS = {
    "GCM": {"suite": CipherSuite.TLS12_AES_128_GCM},
    "ChaCha20, TLS 1.3": {"suite": CipherSuite.TLS13_CHACHA20_POLY1305},
    "CBC, TLS 1.0": {"suite": CipherSuite.TLS10_AES_CBC_SHA1},
    "CBC, encrypt then MAC": {
        "suite": CipherSuite.TLS12_AES_CBC_SHA256,
        "encrypt_then_mac": True,
    },
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def growth(nic, before, *names):
    after = nic.counters()
    return [after[name] - before[name] for name in names]


@pytest.mark.row("TX-15")
@every_kind
def test_tx_15_before_the_start_as_it_is(flows, kind):
    """A handshake that is sent again after the offload began, also in segments."""
    flow = flows.open(**KINDS[kind])
    flow.write(500, 400)
    flow.send(START, 300)
    flows.collect()
    begin = START - len(HANDSHAKE)
    for at, length, mss in ((begin, 1000, 0), (START - 1, 1, 0), (begin, len(HANDSHAKE), 1400)):
        part = HANDSHAKE[at - begin :][:length]
        assert flow.send(at, length, payload=part, mss=mss).kind is OutcomeKind.PLAIN
        found = payloads(flows.collect())
        assert b"".join(payload for _, payload in found) == part
        assert found[0][0] == at
    assert flow.tag.counters.tx_tls_skip_no_sync_data == 3
    assert flow.tag.query().tcp_sequence == START + 300 & 0xFFFF_FFFF
    assert {outcome.kind for outcome in flow.send_rest(200)} == {OutcomeKind.IN_ORDER}
    flow.check()


@pytest.mark.row("TX-15")
@every_kind
def test_tx_15_straddling_is_dropped(nic, flows, kind):
    """Linux's tx_tls_drop_bypass_req: neither side of it may leave, whatever its ends are."""
    flow = flows.open(**KINDS[kind])
    flow.write(500, 400)
    total = len(flow.records.read(flow.start, 500)) + 100
    before = nic.counters()
    for back, beyond in ((1, 1), (300, 1), (1, 500), (200, 200), (100, total)):
        payload = HANDSHAKE[-back:] + flow.records.read(flow.start, beyond)
        outcome = flow.tag.transmit(
            flow.queue, flow.headers(START - back, len(payload)), START - back, payload
        )
        assert (outcome.kind, outcome.ticket) == (OutcomeKind.DROPPED_BYPASS_REQ, None)
    assert flows.collect() == []
    assert flow.tag.counters.tx_tls_drop_bypass_req == 5
    assert growth(nic, before, "TX_PACKETS") == [1]  # what `collect` sends
    flow.send_rest(300)
    flow.check()


@pytest.mark.row("TX-15")
@every_kind
def test_tx_15_device_passes_what_is_before_the_start(nic, flows, raw, kind):
    """By the presync block that says so, and without TLS."""
    flow = flows.open(**KINDS[kind])
    flow.write(600)
    raw.go_on(flow, 200)
    flows.collect()
    before, state = nic.counters(), state_of(flow)
    for back, length in ((1000, 1000), (1000, 1), (1, 1), (1 << 30, 1400)):
        sequence = START - back
        part = HANDSHAKE[:length]
        packet = Packet(
            flow.headers(sequence, length), part, BEFORE_START.pack(), handle=flow.tag.handle
        )
        assert raw.post(packet).status == TxStatus.OK
        plain = packet._replace(presync=None, handle=0, header_length=0)
        plain = plain._replace(flags=TxFlags.IP_CHECKSUM | TxFlags.L4_CHECKSUM)
        assert raw.post(plain).status == TxStatus.OK
        first, second = flows.collect()
        assert first == second
        assert payloads([first]) == [(sequence, part)]
    names = ("TX_TLS_SKIP_NO_SYNC_DATA", "TX_TLS_ENCRYPTED_PACKETS", "TX_DROP_TLS")
    assert growth(nic, before, *names) == [4, 0, 0]
    assert state_of(flow).tcp_sequence == state.tcp_sequence
    raw.go_on(flow, 300)
    flow.check()


@pytest.mark.row("TX-15")
@every_kind
def test_tx_15_device_drops_lies_about_the_start(nic, flows, raw, watch, kind):
    """Plaintext of records that a presync block calls older than the flow, and what straddles."""
    flow = flows.open(**KINDS[kind])
    flow.write(900, 300)
    raw.go_on(flow, 250)
    flows.collect()
    state, before = state_of(flow), nic.counters()
    past, here = presynced(flow, START + 30, 100), state.tcp_sequence
    lies = {
        "the first record": in_order(flow, START, 250),
        "inside the first record": past,
        "next in order": in_order(flow, here, 300),
        "ahead": in_order(flow, here + 500, 300),
        "half the number space away": past._replace(
            headers=flow.headers(here + (1 << 31) - 1, 100)
        ),
    }
    block = BEFORE_START.pack()
    for name, packet in lies.items():
        watch.expect(Diagnostic.TLS_PRESYNC)
        completion = raw.post(packet._replace(presync=block, prefix=b"", suffix=b""))
        assert completion.status == TxStatus.TLS_DROPPED, name
        assert completion.detail == Diagnostic.TLS_PRESYNC, name
    dropped = len(lies)
    straddling = []
    for back, beyond in ((1, 1), (1, 250), (300, 1), (200, 700)):
        payload = HANDSHAKE[-back:] + flow.records.read(START, beyond)
        packet = Packet(flow.headers(START - back, len(payload)), payload, handle=flow.tag.handle)
        straddling += [
            (packet, Diagnostic.TLS_SEQUENCE),
            (packet._replace(presync=block), Diagnostic.TLS_PRESYNC),
        ]
    for packet, code in straddling:
        watch.expect(code)
        completion = raw.post(packet)
        assert (completion.status, completion.detail) == (TxStatus.TLS_DROPPED, code)
    assert growth(nic, before, "TX_TLS_DROP_BYPASS_REQ") == [len(straddling)]
    before_start = Packet(flow.headers(START - 90, 90), HANDSHAKE[-90:], handle=flow.tag.handle)
    also = (
        BEFORE_START._replace(tcp_sequence=1),
        BEFORE_START._replace(record_number=1),
        BEFORE_START._replace(prefix_length=1),
        BEFORE_START._replace(record_header=bytes(23) + b"\1"),
        BEFORE_START._replace(flags=PresyncFlags.BEFORE_START | PresyncFlags.UPDATE_STATE),
        BEFORE_START._replace(flags=PresyncFlags.BEFORE_START | PresyncFlags.PREFIX),
        BEFORE_START._replace(flags=PresyncFlags.BEFORE_START | 8),
    )
    for lie in also:
        watch.expect(Diagnostic.TLS_PRESYNC)
        completion = raw.post(before_start._replace(presync=lie.pack()))
        assert (completion.status, completion.detail) == (
            TxStatus.TLS_DROPPED,
            Diagnostic.TLS_PRESYNC,
        )
    assert flows.collect() == []
    dropped += len(straddling) + len(also)
    assert growth(nic, before, "TX_DROP_TLS", "TX_TLS_ENCRYPTED_PACKETS") == [dropped, 0]
    assert state_of(flow)._replace(not_offloaded=0, out_of_order=0) == state._replace(
        not_offloaded=0, out_of_order=0
    )
    raw.go_on(flow, 400)
    flow.check()


@pytest.mark.row("TX-16")
@every_kind
@pytest.mark.parametrize("way", ["presync", "software"])
def test_tx_16_acknowledged_record_is_dropped_and_counted(nic, flows, kind, way):
    """Linux's tx_tls_drop_no_sync_data: the record is gone, so nobody can encrypt it."""
    flow = flows.open(**KINDS[kind])
    flow.tag.fallback = way
    first, second, third = flow.write(500, 400, 300)
    flow.send_rest(600)
    flow.check()
    assert flow.tag.ack(second.start_sequence + 10) == 1
    before = nic.counters()
    gone = first.start_sequence
    size = len(first.record.data)
    dropped = ((0, 200), (0, size), (7, 100), (size - 1, 1), (size - 20, 100))
    for at, length in dropped:
        outcome = flow.send(gone + at, length)
        assert (outcome.kind, outcome.ticket) == (OutcomeKind.DROPPED_NO_SYNC_DATA, None)
    assert flows.collect() == []
    assert flow.tag.counters.tx_tls_drop_no_sync_data == len(dropped)
    assert growth(nic, before, "TX_PACKETS", "TX_DROP_TLS") == [1, 0]
    # The record that is acknowledged in part is all there.
    kind_again = {"presync": OutcomeKind.PRESYNC, "software": OutcomeKind.SOFTWARE}[way]
    if way == "software" and flow.tag.session.suite is CipherSuite.TLS10_AES_CBC_SHA1:
        kind_again = OutcomeKind.PRESYNC  # only the card knows the ciphertext block before it
    assert flow.send(second.start_sequence, 100).kind is kind_again
    assert flow.send(third.start_sequence - 9, 200).kind is kind_again
    flow.write(200)
    assert flow.send_rest()[0].kind is OutcomeKind.IN_ORDER
    flow.check()


@pytest.mark.row("TX-16")
def test_tx_16_key_is_gone(nic, flows, raw, watch):
    """The card keeps two keys. A record of a third is dropped there, and comes from software."""
    flow = flows.open(CipherSuite.TLS13_AES_128_GCM)
    for _ in range(2):
        flow.write(300)
        flow.key_update()
        flow.send_rest()
    flow.write(200)
    flow.send_rest()
    flow.check()
    before = nic.counters()
    watch.expect(Diagnostic.TLS_PRESYNC)
    completion = raw.post(presynced(flow, START + 50, 100))
    assert completion.status == TxStatus.TLS_DROPPED
    assert growth(nic, before, "TX_DROP_TLS", "TX_TLS_DROP_NO_SYNC_DATA") == [1, 1]
    assert flow.send(START + 50, 100).kind is OutcomeKind.SOFTWARE
    assert flow.send(START + 400, 50).kind is OutcomeKind.PRESYNC
    assert flow.tag.counters.tx_tls_drop_no_sync_data == 0
    flow.write(100)
    flow.send_rest()
    flow.check()


@pytest.mark.row("TX-16")
def test_tx_16_tls_1_0_record_too_old_for_the_card(nic, flows, raw, watch):
    """It remembers the last ciphertext blocks of 256 records."""
    flow = flows.open(CipherSuite.TLS10_AES_CBC_SHA1)
    entries = flow.write(*[1] * 270)
    flow.send_rest(30000, mss=1400)
    flow.check()
    before = nic.counters()
    for number in (0, 5):
        watch.expect(Diagnostic.TLS_PRESYNC)
        entry = entries[number]
        completion = raw.post(presynced(flow, entry.start_sequence, len(entry.record.data)))
        assert (completion.status, completion.detail) == (
            TxStatus.TLS_DROPPED,
            Diagnostic.TLS_PRESYNC,
        )
    assert growth(nic, before, "TX_DROP_TLS", "TX_TLS_DROP_NO_SYNC_DATA") == [2, 2]
    assert flow.send(entries[5].start_sequence, 40).kind is OutcomeKind.SOFTWARE
    assert flow.send(entries[20].start_sequence, 40).kind is OutcomeKind.PRESYNC
    assert raw.post(presynced(flow, entries[20].start_sequence, 30)).status == TxStatus.OK
    flow.tag.ack(entries[3].start_sequence)
    assert flow.send(entries[2].start_sequence, 30).kind is OutcomeKind.DROPPED_NO_SYNC_DATA
    flow.write(100)
    assert flow.send_rest()[0].kind is OutcomeKind.IN_ORDER
    flow.check()
