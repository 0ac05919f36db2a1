"""Runs of packets come out as the same packets one by one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tracker_bench import AEAD, DECRYPTED, GCM13, MASK, Host, Wire

from tlsnic.device.tls.rx_run import RxRunFlow
from tlsnic.device.tls.tracker_states import State

SUITES = pytest.mark.parametrize("case", AEAD, ids=lambda case: case.id)
KEY_UPDATE = bytes.fromhex("1800000100")
SEEN = (
    "state", "sequence", "record_number", "packets", "payload_bytes", "out_of_order",
    "not_offloaded", "questions", "auth_failures", "host_resyncs", "tag_resyncs",
)  # fmt: skip


class Pair:
    """Two flows of one stream: one takes runs, the other what is in them, packet by packet."""

    def __init__(self, wire, **options):
        self.wire = wire
        self.single = Host(wire, number=0, **options)
        self.run = Host(wire, number=0, **options)
        self.run.flow = RxRunFlow(
            wire.case.format(), wire.opener(), tcp_sequence=wire.sequence, record_number=0,
            address=b"", vlan_id=None, resync_host=options.get("host", True),
            resync_tag=options.get("tag", False), counters=self.run.counters,
        )  # fmt: skip

    def take(self, begin, size, count):
        """`count` packets of `size` bytes from `begin` on. Their verdicts."""
        packets = [
            bytes(self.wire.wire[at : at + size]) for at in range(begin, begin + size * count, size)
        ]
        verdicts, outs = [], []
        for number, packet in enumerate(packets):
            verdicts.append(self.single.take_bytes(begin + number * size, packet))
            outs.append(self.single.out)
        out = bytearray(size * count)
        found = self.run.flow.take_run(
            self.wire.sequence + begin & MASK, memoryview(b"".join(packets)), size,
            memoryview(out), 0, 0,
        )  # fmt: skip
        self.run.questions += [verdict.question for verdict in found if verdict.question]
        self.run.check()
        assert found == verdicts
        for number, verdict in enumerate(found):
            if verdict.state is DECRYPTED:
                assert out[number * size : (number + 1) * size] == outs[number]
        for name in SEEN:
            assert getattr(self.run.flow, name) == getattr(self.single.flow, name), name
        assert vars(self.run.counters) == vars(self.single.counters)
        return found

    def answer(self):
        assert self.run.answer() == self.single.answer()


def wire_of(case, sizes, *, key_update_at=None):
    wire = Wire(case)
    for number, size in enumerate(sizes):
        if number == key_update_at:
            wire.add(kind=22, content=KEY_UPDATE)
        wire.add(size)
    return wire


@SUITES
@pytest.mark.parametrize("size", [1, 7, 40, 97, 1448, 5000])
def test_in_order(case, size):
    wire = wire_of(case, (1, 300, 60, 2000, 16, 1, 16384, 5, 4000))
    pair = Pair(wire)
    count = min(400, len(wire) // size)
    verdicts = pair.take(0, size, count)
    assert {verdict.state for verdict in verdicts} == {DECRYPTED}
    pair.take(size * count, len(wire) - size * count or 1, 1)


@given(data=st.data())
def test_anything(data):
    """Losses, forged bytes, duplicates, runs that begin and end anywhere."""
    case = data.draw(st.sampled_from(AEAD))
    sizes = data.draw(
        st.lists(st.sampled_from([1, 2, 16, 60, 100, 300, 1500]), min_size=5, max_size=25)
    )
    wire = wire_of(case, sizes)
    rng = random.Random(data.draw(st.integers(0, 1 << 20)))
    if data.draw(st.booleans()):
        wire.wire[rng.randrange(len(wire))] ^= 1 << rng.randrange(8)
    mode = data.draw(st.sampled_from([{}, {"host": False, "tag": True}, {"tag": True}]))
    pair = Pair(wire, **mode)
    at = 0
    while at < len(wire):
        size = rng.randint(1, 200)
        count = min(rng.randint(1, 12), (len(wire) - at) // size)
        if not count:
            size, count = len(wire) - at, 1
        pair.take(at, size, count)
        at += size * count
        chance = rng.random()
        if chance < 0.2:
            at = max(0, at - rng.randint(1, 300))
        elif chance < 0.4:
            at += rng.randint(1, 300)
        if pair.run.flow._question is not None and rng.random() < 0.7:
            pair.answer()


@pytest.mark.parametrize("size", [10, 64, 500])
def test_key_update_halts_in_its_place(size):
    wire = wire_of(GCM13, (100,) * 6, key_update_at=3)
    pair = Pair(wire)
    pair.take(0, size, len(wire) // size)
    assert pair.run.flow.state is State.HALTED


def test_a_rekey_that_is_to_come_is_met():
    wire = wire_of(GCM13, (100,) * 3)
    new = wire.new_key(7)
    for _ in range(3):
        wire.add(100)
    pair = Pair(wire)
    pair.single.rekey(new)
    pair.run.rekey(new)
    verdicts = pair.take(0, 50, len(wire) // 50)
    assert {verdict.state for verdict in verdicts} == {DECRYPTED}
    assert pair.run.flow.record_number < 3


def test_a_forged_record_fails_in_its_last_packet():
    wire = wire_of(GCM13, (1000,) * 4)
    wire.wire[1100] ^= 1
    pair = Pair(wire)
    verdicts = pair.take(0, 100, 30)
    assert [verdict.halted for verdict in verdicts].index(True) == 20
