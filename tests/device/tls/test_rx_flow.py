"""Receive flows with real ciphers: what comes decrypted, and what the host says of it."""

import pytest
from tracker_bench import AEAD, AS_ON_WIRE, AUTH_FAILED, DECRYPTED, GCM13, Host, Wire

from tlsnic.device.tls.record import WipedKey
from tlsnic.device.tls.tracker_states import State

SUITES = pytest.mark.parametrize("case", AEAD, ids=lambda case: case.id)


def stream(case=GCM13, sizes=(60,) * 8, **options):
    wire = Wire(case, **options)
    number = wire.number
    for size in sizes:
        wire.add(size)
    return wire, number


@SUITES
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 13, 64, 97, 1000, 5000])
def test_in_order_all_comes_decrypted(case, size):
    wire, _ = stream(case, (1, 300, 0 if case is not GCM13 else 5, 60, 2000, 16, 1))
    host = Host(wire, number=0)
    assert set(host.feed(0, len(wire), size)) == {DECRYPTED}
    assert host.state is State.OFFLOAD
    assert host.flow.payload_bytes == len(wire)
    assert host.flow.record_number == 7


@SUITES
def test_lost_header_is_asked_about(case):
    wire, _ = stream(case, (60,) * 20)
    host = Host(wire, number=0)
    host.take(0, 50)
    verdict = host.take(100, 400)
    assert verdict.state is AS_ON_WIRE
    assert verdict.question is not None
    assert host.state is State.TRACK
    host.take(400, 900)
    assert host.answer()
    end = next(e.start for e in wire.records if e.start >= 900)
    host.take(900, end)
    assert set(host.feed(end, len(wire), 77)) == {DECRYPTED}
    assert host.flow.host_resyncs == 1


@SUITES
def test_tag_settles(case):
    wire, _ = stream(case, (60,) * 20)
    host = Host(wire, number=0, host=False, tag=True)
    host.take(0, 50)
    host.feed(100, 400)
    assert host.state is State.OFFLOAD
    assert host.flow.tag_resyncs == 1
    end = next(e.start for e in wire.records if e.start >= 400)
    host.take(400, end)
    assert set(host.feed(end, len(wire), 77)) == {DECRYPTED}


@SUITES
@pytest.mark.parametrize("whole", [True, False])
def test_forged_record_halts(case, whole):
    wire, _ = stream(case, (60,) * 5)
    wire.wire[wire.records[3].start - 1] ^= 1
    host = Host(wire, number=0)
    states = host.feed(0, len(wire), len(wire) if whole else 50)
    assert states.count(AUTH_FAILED) == 1
    assert host.state is State.HALTED


# Keys.

KEY_UPDATE = b"\x18\x00\x00\x01\x00"
TICKET = b"\x04\x00\x00\x03abc"


def rekeyed(before=3, after=4, *, content=KEY_UPDATE, kind=22):
    """Records with the first key, the last of which says so, and then with another one."""
    wire = Wire()
    for _ in range(before):
        wire.add(60)
    wire.add(0, content=content, kind=kind)
    new = wire.new_key(1)
    for _ in range(after):
        wire.add(60)
    return wire, new


@pytest.mark.parametrize("size", [1, 2, 6, 22, 50, 10000])
@pytest.mark.parametrize("content", [KEY_UPDATE, KEY_UPDATE[:4] + b"\1", TICKET + KEY_UPDATE])
def test_key_update_halts(size, content):
    wire, new = rekeyed(content=content)
    host = Host(wire, number=0)
    end = new.start + 50
    states = host.feed(0, end, size)
    before = new.start // size
    assert states[:before] == [DECRYPTED] * before
    assert set(states[-(-new.start // size) :]) <= {AS_ON_WIRE}
    assert host.state is State.HALTED
    assert host.flow.auth_failures == 0
    host.rekey(new)
    assert host.state is State.OFFLOAD
    assert not host.flow.rekey_pending
    start = wire.records[5].start
    host.feed(end, start, size)
    assert set(host.feed(start, len(wire), size)) == {DECRYPTED}


@pytest.mark.parametrize(
    ("content", "kind"), [(KEY_UPDATE, 23), (TICKET, 22), (b"\x18", 23), (TICKET + b"\x18", 23)]
)
@pytest.mark.parametrize("size", [3, 10000])
def test_what_is_no_key_update(content, kind, size):
    wire = Wire()
    wire.add(60)
    wire.add(0, content=content, kind=kind)
    wire.add(60)
    host = Host(wire, number=0)
    assert set(host.feed(0, len(wire), size)) == {DECRYPTED}


@pytest.mark.parametrize("size", [1, 40, 10000])
def test_padded_key_update(size):
    wire = Wire()
    wire.add(0, content=KEY_UPDATE + b"\x16" + bytes(500), kind=0)
    end = len(wire)
    wire.new_key(1)
    wire.add(60)
    host = Host(wire, number=0)
    assert set(host.feed(0, end, size)) == {DECRYPTED}
    assert host.state is State.HALTED


@pytest.mark.parametrize("size", [7, 10000])
def test_inner_plaintext_of_zeros(size):
    """The device leaves it to the stack to refuse it."""
    wire = Wire()
    wire.add(0, content=bytes(40), kind=0)
    wire.add(60)
    host = Host(wire, number=0)
    assert set(host.feed(0, len(wire), size)) == {DECRYPTED}


def test_rekey_before_the_key_update_passes():
    wire, new = rekeyed()
    host = Host(wire, number=0)
    host.take(0, 20)
    host.rekey(new)
    assert host.flow.rekey_pending
    assert set(host.feed(20, len(wire), 30)) == {DECRYPTED}
    assert not host.flow.rekey_pending
    assert host.flow.record_number == 4


def test_rekey_to_come_while_halted():
    wire, new = rekeyed()
    wire.wire[wire.records[1].start - 1] ^= 1
    host = Host(wire, number=0)
    assert host.take(0, wire.records[1].start + 9).state is AUTH_FAILED
    host.rekey(new)
    assert host.state is State.OFFLOAD
    assert host.take(wire.records[1].start + 9, new.start).state is AS_ON_WIRE
    assert host.take(new.start, len(wire)).state is DECRYPTED


@pytest.mark.parametrize("tag", [False, True])
def test_rekey_whose_place_is_lost(tag):
    wire, new = rekeyed(after=8)
    host = Host(wire, number=0, host=not tag, tag=tag)
    host.rekey(new)
    host.take(0, 20)
    host.take(new.start + 7, wire.records[5].start + 6)
    assert host.state is State.TRACK
    assert host.flow.record_number == 0
    host.take(wire.records[5].start + 6, wire.records[7].start + 8)
    if not tag:
        assert host.answer()
    host.take(wire.records[7].start + 8, wire.records[8].start)
    assert host.take(wire.records[8].start, len(wire)).state is DECRYPTED


@pytest.mark.parametrize("tag", [False, True])
def test_rekey_for_a_place_that_was_not_followed(tag):
    """The KeyUpdate was lost: the tracker follows a record behind it when it is told."""
    wire, new = rekeyed(after=8)
    host = Host(wire, number=0, host=not tag, tag=tag)
    host.take(0, 20)
    host.take(new.start + 7, wire.records[6].start + 6)
    assert host.state is State.TRACK
    host.rekey(new)
    assert host.state is State.TRACK
    assert host.flow.record_number == 0
    host.take(wire.records[6].start + 6, wire.records[7].start)
    if not tag:
        assert host.answer()
    assert host.take(wire.records[7].start, len(wire)).state is DECRYPTED


def test_rekey_while_searching():
    wire, new = rekeyed(after=8)
    host = Host(wire, number=0, host=False, tag=True)
    host.take(0, 20)
    host.take(new.start + 7, new.start + 30)
    assert host.state is State.SEARCH
    host.rekey(new)
    assert host.state is State.SEARCH
    host.take(new.start + 30, wire.records[6].start)
    assert host.take(wire.records[6].start, len(wire)).state is DECRYPTED


@pytest.mark.parametrize("part", [1, 4])
def test_rekey_in_the_bytes_that_the_search_keeps(part):
    wire, new = rekeyed()
    host = Host(wire, number=0)
    host.take(wire.records[0].start + 20, new.start - 3)
    host.take(new.start - 2, new.start + part)
    host.rekey(new)
    assert host.state is State.OFFLOAD
    assert host.take(new.start + part, len(wire)).state is DECRYPTED


def test_rekey_for_a_header_that_was_followed_in_track():
    wire, new = rekeyed(after=6)
    host = Host(wire, number=0)
    host.take(0, 20)
    host.take(wire.records[2].start + 8, wire.records[6].start + 8)
    assert host.state is State.TRACK
    host.rekey(new)
    assert host.state is State.OFFLOAD
    assert host.flow.record_number == 2
    assert host.counters.rx_tls_resync_req_skip == 1
    host.take(wire.records[6].start + 8, wire.records[7].start)
    assert host.take(wire.records[7].start, len(wire)).state is DECRYPTED


def test_rekey_inside_a_candidate_refutes_it():
    wire, new = rekeyed(after=6)
    host = Host(wire, number=0)
    host.take(0, 20)
    host.take(wire.records[2].start - 2, new.start + 8)
    assert host.state is State.TRACK
    host.rekey(new._replace(start=new.start - 3))
    assert host.state is State.SEARCH


def test_rekey_inside_a_record_leads_to_a_search():
    """The host is wrong about the place: nothing is decrypted with a number that is made up."""
    wire, new = rekeyed(after=0)
    host = Host(wire, number=0)
    host.rekey(new._replace(start=wire.records[1].start + 9))
    host.take(0, wire.records[3].start)
    assert host.state is not State.OFFLOAD


def test_tag_settles_a_key_update():
    wire, new = rekeyed(after=2)
    host = Host(wire, number=0, host=False, tag=True)
    host.take(0, 20)
    host.take(wire.records[3].start - 2, new.start + 9)
    assert host.flow.tag_resyncs == 1
    assert host.state is State.HALTED
    host.rekey(new)
    host.take(new.start + 9, wire.records[5].start)
    assert host.take(wire.records[5].start, len(wire)).state is DECRYPTED


def test_further_rekey_replaces_one_to_come():
    wire, new = rekeyed()
    host = Host(wire, number=0)
    host.rekey(new)
    first = host.flow._rekey.opener
    host.rekey(new)
    assert set(host.feed(0, len(wire), 100)) == {DECRYPTED}
    with pytest.raises(WipedKey):
        first.begin(wire.case.format().parse(0, bytes(wire.wire[:5])))


@pytest.mark.parametrize("after", [0, 1, 3])
def test_many_rekeys(after):
    wire = Wire()
    news = []
    for seed in range(12):
        wire.add(30)
        wire.add(0, content=KEY_UPDATE, kind=22)
        news.append(wire.new_key(seed + 1))
        for _ in range(after):
            wire.add(20)
    host = Host(wire, number=0)
    for at in range(0, len(wire), 25):
        host.take(at, min(at + 25, len(wire)))
        while host.rekeyed < 12 and news[host.rekeyed].start <= at + 25:
            host.rekey(news[host.rekeyed])
    assert host.flow.auth_failures == 0
    assert host.rekeyed == 12


def test_wipe_and_repr():
    wire, new = rekeyed()
    host = Host(wire, number=0)
    flow = host.flow
    flow.handle = 0x1234
    host.rekey(new)
    host.take(0, 30)
    openers = [flow._opener, flow._rekey.opener]
    assert "OFFLOAD" in repr(flow)
    assert "0x1234" in repr(flow)
    assert wire.case.keys()[0].hex() not in repr(flow)
    flow.wipe()
    for opener in openers:
        with pytest.raises(WipedKey):
            opener.begin(wire.case.format().parse(0, bytes(wire.wire[:5])))
    assert flow.tracker_state == 1


def test_hint_before_the_rekey_does_not_bring_the_old_key_back():
    wire, new = rekeyed()
    host = Host(wire, number=0)
    host.take(0, new.start + 9)
    assert host.state is State.HALTED
    for start in (0, new.start, wire.records[5].start):
        assert not host.hint(start, 0)
    assert host.take(new.start + 9, wire.records[6].start).state is AS_ON_WIRE
    host.rekey(new)
    assert host.take(wire.records[6].start, len(wire)).state is DECRYPTED


def test_headers_from_before_a_rekey_do_not_count():
    """Halted again, by a bad record: numbers of the key before do not lead to those of this one."""
    wire, new = rekeyed(after=5)
    wire.wire[wire.records[7].start - 1] ^= 1
    host = Host(wire, number=0)
    host.take(0, new.start + 9)
    host.rekey(new)
    host.take(new.start + 9, wire.records[7].start + 9)
    assert host.state is State.HALTED
    assert not host.hint(0)
    assert host.hint(new.start)
    assert host.flow.record_number == 3
    host.take(wire.records[7].start + 9, wire.records[8].start)
    assert host.take(wire.records[8].start, len(wire)).state is DECRYPTED


@pytest.mark.parametrize("how", ["loss", "bad header"])
def test_halted_without_a_chain(how):
    """Nothing is searched; a hint behind is stale, one to come or a rekey ends it."""
    wire, new = rekeyed(after=8)
    if how == "bad header":
        wire.wire[wire.records[5].start] = 99
    for way in ("hint", "rekey"):
        host = Host(wire, number=0, tag=True)
        host.take(0, new.start + 9)
        begin = wire.records[5].start
        host.take(begin + (2 if how == "loss" else -9), wire.records[7].start + 20)
        assert host.state is State.HALTED
        assert not host.hint(wire.records[6].start)
        host.rekey(new)
        assert host.state is State.SEARCH
        end = wire.records[9].start
        host.take(wire.records[7].start + 20, end)
        if way == "hint":
            host.hint(end)
        assert host.take(end, wire.records[10].start).state is DECRYPTED


def test_rekey_that_halted_data_passes_over():
    """Lost together with the place where the new key starts."""
    wire, new = rekeyed(after=4)
    wire.wire[wire.records[1].start - 1] ^= 1
    host = Host(wire, number=0, host=False, tag=True)
    host.rekey(new)
    host.take(0, wire.records[1].start)
    assert host.state is State.HALTED
    host.take(new.start + 3, wire.records[6].start)
    assert host.take(wire.records[6].start, len(wire)).state is DECRYPTED


def test_rekey_to_come_moves_with_the_stream():
    """Sixteen packets from far behind count as ahead, and so does the place of the new key."""
    wire, new = rekeyed(before=40, after=2)
    host = Host(wire, number=0)
    host.take(0, 20)
    host.rekey(new)
    away = -(20 << 20)
    for entry in wire.records[1:35]:
        end = entry.start + entry.total
        host.take_bytes(entry.start + away, bytes(wire.wire[entry.start : end]))
        if host.flow._question is not None:
            question = host.questions[-1]
            host.flow.answer(question.number, question.sequence, True, 16)
    assert host.state is State.OFFLOAD
    assert host.flow.rekey_pending
    assert host.flow.position > 1 << 31
