"""RSY-08: the resync table of the driver: an equal-length run accumulates, a gap restarts, a full table
evicts the oldest, length 0 clears, off-boundary misses, wraps. At most 32 entries of 2^11 records.

mlx5's mlx5e_tls_rx_snd_tag_add_tcp_sequence() and ..._find_tcp_sn_and_tls_rcd(). The last tests have
it filled by the KTLS model, for a card that asks.
"""

import pytest
from harness.ktls import CARD, GCM12, GCM13
from harness.tls_stream import marked

from tlsnic.driver.tls.resync_table import MAX_RUN_RECORDS, MAX_RUNS, ResyncTable

pytestmark = [pytest.mark.row("RSY-08"), CARD]
MASK = 0xFFFF_FFFF


class Filled:
    """A table, and what it must say: `records` by TCP sequence number."""

    def __init__(self, sequence=1000, number=50):
        self.table = ResyncTable()
        self.sequence, self.number = sequence, number
        self.records = {}

    def add(self, length, count=1):
        for _ in range(count):
            self.table.add(self.sequence, length, self.number)
            self.records[self.sequence] = self.number
            self.sequence = self.sequence + length & MASK
            self.number += 1
        return self

    def check(self):
        for sequence, number in self.records.items():
            assert self.table.lookup(sequence) == number, sequence
        assert self.table.lookup(self.sequence) is None, "behind the last"


def test_rsy_08_the_limits():
    assert (MAX_RUNS, MAX_RUN_RECORDS) == (32, 1 << 11)


def test_rsy_08_a_run_of_equal_length_is_one_entry():
    filled = Filled().add(16_413, 500)
    assert len(filled.table) == 1
    filled.check()
    filled.add(16_413, 500).add(100).add(200, 3)
    assert len(filled.table) == 3
    filled.check()


def test_rsy_08_a_long_run_takes_further_entries(scale):
    count = scale(MAX_RUN_RECORDS * 2 + 5, MAX_RUN_RECORDS + 5)
    filled = Filled().add(100, count)
    assert len(filled.table) == -(-count // MAX_RUN_RECORDS)
    first, last = next(iter(filled.records)), filled.sequence - 100 & MASK
    assert filled.table.lookup(first) == 50
    assert filled.table.lookup(first + 100 * MAX_RUN_RECORDS) == 50 + MAX_RUN_RECORDS
    assert filled.table.lookup(last) == filled.number - 1


@pytest.mark.parametrize("what", ["sequence", "number", "back"])
def test_rsy_08_a_gap_restarts(what):
    filled = Filled().add(500, 3).add(700)
    before = dict(filled.records)
    if what == "number":
        filled.number += 1
    else:
        filled.sequence += 700 if what == "sequence" else -700
    filled.records.clear()
    filled.add(900, 2)
    assert len(filled.table) == 1
    filled.check()
    kept = set(filled.records) | {filled.sequence}
    assert all(filled.table.lookup(at) is None for at in before if at not in kept)


def test_rsy_08_a_full_table_evicts_the_oldest():
    filled = Filled()
    for length in range(100, 100 + MAX_RUNS):
        filled.add(length, 2)
    assert len(filled.table) == MAX_RUNS
    filled.check()
    oldest = list(filled.records)
    filled.add(1000)
    assert len(filled.table) == MAX_RUNS
    for at in oldest[:2]:
        del filled.records[at]
        assert filled.table.lookup(at) is None, "the oldest entry is gone, with all its records"
    filled.check()
    filled.add(2000)
    for at in oldest[2:4]:
        del filled.records[at]
        assert filled.table.lookup(at) is None
    filled.check()


def test_rsy_08_length_0_clears():
    filled = Filled().add(300, 5)
    filled.table.add(filled.sequence, 0, filled.number)
    assert len(filled.table) == 0
    assert all(filled.table.lookup(at) is None for at in filled.records)
    filled.records.clear()
    filled.add(300, 2).check()


def test_rsy_08_off_boundary_misses():
    filled = Filled().add(300, 3).add(77, 2)
    for at in range(990, filled.sequence + 10):
        assert filled.table.lookup(at) == filled.records.get(at), at


@pytest.mark.parametrize("before", [1, 150, 300, 1000])
def test_rsy_08_wraps(before):
    """TCP sequence numbers wrap, in a record and between two; record numbers are of 64 bits."""
    filled = Filled((1 << 32) - before, (1 << 32) - 2).add(300, 5).add(90, 3)
    filled.check()
    assert filled.number > 1 << 32
    assert filled.table.lookup((1 << 32) - before - 1) is None


@pytest.mark.root
def test_rsy_08_told_by_the_stack(network):
    """Records that the card has not decrypted go into the table; the first that it has again empties
    it."""
    line = network().connect(GCM13)
    line.enable_rx()
    tag = line.so.so_rcv.sb_tls_info.snd_tag.tag
    line.far_write(marked(8000, 1))
    assert line.read(8000) == marked(8000, 1)
    assert len(tag.table) == 0, "all is well, nothing to be told"
    told = []
    modify = tag.modify

    def watched(sequence, length, number):
        told.append((sequence, length, number))
        modify(sequence, length, number)

    tag.modify = watched
    start = line.inp.rcv_nxt
    first = line.end.far().record_number
    line.network.between("drop", indices=[2, 7])
    pieces = [marked(8000, n) for n in range(2, 12)]
    line.far_write(*pieces)
    assert line.read(80_000) == b"".join(pieces)
    size = 8000 + 22
    assert told
    for sequence, length, number in told:
        assert length in (0, size)
        assert sequence == start + (number - first) * size & MASK
    line.far_write(marked(8000, 20), marked(8000, 21))
    line.read(16_000)
    line.network.run(lambda: not len(tag.table), "the card decrypts again")
    assert told[-1][1] == 0


@pytest.mark.root
@pytest.mark.parametrize("suite", [GCM12, GCM13], ids=lambda suite: suite.name)
def test_rsy_08_answers_from_the_table(network, suite, scale):
    """With a wire that loses much, the card asks and is answered, and comes back each time."""
    line = network().connect(suite)
    line.enable_rx()
    line.network.between("lose", to_card=0.03, seed=9)
    count = scale(80, 30)
    pieces = [marked(9000, n) for n in range(count)]
    line.far_write(*pieces)
    assert line.read(9000 * count) == b"".join(pieces)
    line.network.between("lose")
    line.far_write(*pieces[:6])
    before = line.states().get("DECRYPTED", 0)
    assert line.read(54_000) == b"".join(pieces[:6])
    assert line.states()["DECRYPTED"] > before
    counters = line.network.nics[0].tls_receive_counters
    assert counters.rx_tls_resync_req_end + counters.rx_tls_resync_req_skip <= (
        counters.rx_tls_resync_req_start
    )
