"""Driver and card together on receive: a TCP peer's records over a bad link, with a virtual clock."""

import random

import pytest
from flows import make_session

from tlsnic.abi.enums import CipherSuite, TlsTrackerState
from tlsnic.driver.tls.alerts import TlsError
from tlsnic.driver.tls.framing import HANDSHAKE
from tlsnic.driver.tls.handshake import key_update_message
from tlsnic.driver.tls.receive_stream import Offloaded
from tlsnic.driver.tls.receive_tag import Resync

GCM12, GCM13 = CipherSuite.TLS12_AES_128_GCM, CipherSuite.TLS13_AES_128_GCM
CHACHA12, CHACHA13 = (
    CipherSuite.TLS12_CHACHA20_POLY1305,
    CipherSuite.TLS13_CHACHA20_POLY1305,
)
ALL = (GCM12, CipherSuite.TLS12_AES_256_GCM, CHACHA12, GCM13, CHACHA13)
RESYNC = [Resync.HOST, Resync.TAG, Resync.BOTH, Resync.NONE]
FULLY, PARTLY, NOT = Offloaded
MASK = 0xFFFF_FFFF


def fill(stream, total, *, seed=1, most=16384):
    """Records of random lengths; their plaintext."""
    source = random.Random(seed)
    plaintext = b""
    while len(plaintext) < total:
        piece = source.randbytes(source.choice([most, most, source.randint(1, most)]))
        stream.add(piece)
        plaintext += piece
    return plaintext


def equal(stream, count, size=8000):
    """Records of one length; their plaintext."""
    source = random.Random(count)
    pieces = [source.randbytes(size) for _ in range(count)]
    for piece in pieces:
        stream.add(piece)
    return b"".join(pieces)


def lose_at(rig, *offsets):
    """Lose the peer's packets that have these bytes of its stream, the first time they are sent."""
    start = rig.near.read_sequence
    left = set(offsets)

    def rule(end, frame):
        if end or not left:
            return True
        first = int.from_bytes(frame[38:42], "big") - start & MASK
        size = int.from_bytes(frame[16:18], "big") - 20 - (frame[46] >> 4) * 4
        hit = {at for at in left if first <= at < first + size}
        left.difference_update(hit)
        return not hit

    rig.link.rule = rule


def test_a_good_link_has_all_records_decrypted(rig):
    for suite in ALL:
        one = rig()
        stream = one.open(make_session(suite))
        plaintext = fill(stream, 300_000)
        one.send(stream)
        assert one.data == plaintext
        assert set(one.receiver.records) == {FULLY}
        tag = one.receiver.tag
        state = tag.query()
        assert state.tracker_state == TlsTrackerState.OFFLOAD
        assert state.record_number == len(stream.numbers)
        counters = tag.counters
        assert counters.rx_tls_decrypted_packets == state.packets
        assert counters.rx_tls_decrypted_bytes == len(stream.wire)
        assert counters.rx_tls_resync_req_start == 0
        one.receiver.free()
        assert not one.nic.receive_tags


@pytest.mark.parametrize(
    "link",
    [
        {"ip_version": 6},
        {"vlan": 33},
        {"vlan": 33, "strip": True},
        {"ip_version": 6, "vlan": 0, "strip": True, "coalesce": True},
    ],
    ids=str,
)
def test_the_flow_is_found_by_its_addresses_and_vlan(rig, link):
    rig = rig(**link)
    stream = rig.open(make_session(GCM13))
    plaintext = equal(stream, 10)
    rig.send(stream)
    assert rig.data == plaintext
    assert rig.receiver.records == {FULLY: 10}


@pytest.mark.parametrize("coalesce", [False, True])
@pytest.mark.parametrize("resync", RESYNC)
@pytest.mark.parametrize("suite", [GCM12, CHACHA13])
def test_it_always_arrives_and_offload_always_comes_back(rig, suite, resync, coalesce):
    rig = rig(loss=0.02, reorder=0.02, duplicate=0.01, coalesce=coalesce, seed=5)
    stream = rig.open(make_session(suite), resync=resync)
    plaintext = fill(stream, 400_000, most=4000)
    rig.send(stream)
    assert rig.data == plaintext
    lossy = rig.receiver.records.copy()
    assert lossy[FULLY] > 0
    assert lossy[PARTLY] > 0
    rig.link.loss = rig.link.reorder = rig.link.duplicate = 0
    plaintext += equal(stream, 40)
    rig.send(stream)
    assert rig.data == plaintext
    assert (rig.receiver.records - lossy)[FULLY] >= 30
    tag = rig.receiver.tag
    state = tag.query()
    assert state.tracker_state == TlsTrackerState.OFFLOAD
    assert state.auth_failures == 0
    counters = tag.counters
    if resync in (Resync.TAG, Resync.NONE):
        assert state.questions == counters.rx_tls_resync_req_start == 0
    if resync is Resync.HOST:
        assert state.questions == counters.rx_tls_resync_req_start > 0
        assert state.host_resyncs == counters.rx_tls_resync_res_ok > 0
    assert bool(state.tag_resyncs) is (resync in (Resync.TAG, Resync.BOTH))


@pytest.mark.parametrize("resync", RESYNC)
def test_a_loss_inside_of_a_record_costs_no_other(rig, resync):
    """The packet with the end of that record comes decrypted, for the next one's sake."""
    rig = rig()
    stream = rig.open(make_session(GCM13), resync=resync)
    plaintext = equal(stream, 20)
    lose_at(rig, stream.bounds[5] + 4000)
    rig.send(stream)
    assert rig.data == plaintext
    assert rig.receiver.records == {FULLY: 19, PARTLY: 1}
    state = rig.receiver.tag.query()
    assert state.questions == state.host_resyncs == state.tag_resyncs == 0


def test_a_lost_header_is_asked_for_and_answered_when_the_stream_is_there(rig):
    rig = rig()
    stream = rig.open(make_session(GCM13), resync=Resync.HOST)
    plaintext = equal(stream, 60)
    lose_at(rig, stream.bounds[5] + 2)
    rig.send(stream)
    assert rig.data == plaintext
    records = rig.receiver.records
    assert records[NOT] > 0
    assert records[FULLY] > 20
    tag = rig.receiver.tag
    state = tag.query()
    assert state.tracker_state == TlsTrackerState.OFFLOAD
    assert state.questions == tag.counters.rx_tls_resync_req_end == 1
    assert state.host_resyncs == tag.counters.rx_tls_resync_res_ok == 1


def test_a_lost_header_is_settled_by_the_next_records_tag(rig):
    rig = rig()
    stream = rig.open(make_session(GCM12), resync=Resync.TAG)
    plaintext = equal(stream, 20)
    lose_at(rig, stream.bounds[5] + 2)
    rig.send(stream)
    assert rig.data == plaintext
    assert rig.receiver.records[FULLY] >= 16
    assert rig.receiver.tag.query().tag_resyncs == 1


def test_a_lost_header_is_made_good_by_hints(rig):
    rig = rig()
    stream = rig.open(make_session(GCM13), resync=Resync.NONE)
    plaintext = equal(stream, 150)
    lose_at(rig, stream.bounds[5] + 2)
    rig.send(stream)
    assert rig.data == plaintext
    assert rig.receiver.records[FULLY] > 50
    tag = rig.receiver.tag
    assert tag.counters.rx_tls_resync_res_ok >= 1
    assert tag.query().host_resyncs == 1


def test_a_key_update(rig):
    rig = rig(seed=3)
    old, new = make_session(GCM13), make_session(GCM13, seed=2)
    stream = rig.open(old)
    plaintext = equal(stream, 10)
    stream.add(key_update_message(), HANDSHAKE)
    stream.rekey(new)
    plaintext += equal(stream, 40)
    rig.send(stream, until=lambda: rig.receiver.key_expired)
    assert rig.receiver.key_expired
    rig.receiver.rekey(new)
    assert rig.receiver.refusal is None
    rig.send(stream)
    assert rig.data == plaintext
    assert rig.receiver.records[FULLY] > 30
    assert rig.receiver.tag.query().tracker_state == TlsTrackerState.OFFLOAD


def test_a_bad_record_ends_the_connection_and_leaves_what_was_before(rig):
    rig = rig()
    stream = rig.open(make_session(GCM13))
    plaintext = equal(stream, 5)
    stream.wire = stream.wire[:-1] + bytes([stream.wire[-1] ^ 1])
    with pytest.raises(TlsError, match="bad_record_mac: record 4"):
        rig.send(stream)
    assert rig.data == plaintext[: 4 * 8000]
    assert rig.receiver.error.alert == 20
    assert rig.receiver.tag.query().auth_failures == 1
    assert rig.receiver.tag.counters.rx_tls_err == 1
    assert rig.receiver.tag.flow_error is not None


def test_software_takes_over_when_the_tag_is_freed_or_lost(rig):
    rig = rig()
    stream = rig.open(make_session(GCM13))
    plaintext = equal(stream, 10)
    rig.send(stream)
    assert set(rig.receiver.records) == {FULLY}
    rig.receiver.free()
    plaintext += equal(stream, 10)
    rig.send(stream)
    assert rig.data == plaintext
    assert rig.receiver.records == {FULLY: 10, NOT: 10}


@pytest.mark.parametrize("suite", [GCM12, GCM13])
def test_without_the_card(rig, suite):
    rig = rig(loss=0.01, reorder=0.01, duplicate=0.01)
    stream = rig.open(make_session(suite), resync=None)
    plaintext = fill(stream, 300_000)
    rig.send(stream)
    assert rig.data == plaintext
    assert set(rig.receiver.records) == {NOT}
