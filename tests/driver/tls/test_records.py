"""Records in the TCP stream, against a model that keeps every byte by its sequence number."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tlsnic.driver.tls.framing import LaidOutRecord
from tlsnic.driver.tls.records import START_MARKER, Entry, RecordMap

MASK = 0xFFFF_FFFF


def record(number, size):
    data = (number.to_bytes(4, "big") * (size // 4 + 1))[:size]
    return LaidOutRecord(number, 23, data, 5, size - 21, 0)


def filled(start, *sizes):
    records = RecordMap(start)
    for number, size in enumerate(sizes):
        records.add(records.end_sequence, record(number, size))
    return records


class RecordMachine(RuleBasedStateMachine):
    """Adding, acknowledging and rekeying in any order, near every wrap."""

    @initialize(start=st.one_of(st.integers(0, MASK), st.integers(MASK - 300, MASK)))
    def begin(self, start):
        self.start = start
        self.map = RecordMap(start)
        self.model = []  # (position, record, epoch), acknowledged ones included
        self.end = self.acked = self.epoch = self.newest_epoch_at = 0

    def sequence(self, position):
        return self.start + position & MASK

    @rule(size=st.integers(22, 300))
    def add(self, size):
        new = record(len(self.model), size)
        entry = self.map.add(self.sequence(self.end), new)
        self.model.append((self.end, new, self.epoch))
        assert entry == (self.sequence(self.end), new, self.epoch)
        self.end += size

    @rule(size=st.sampled_from([1 << 28, 1 << 29]))
    def pass_much(self, size):
        """Gigabytes go by: one record stands for them."""

        class Huge(bytes):
            def __len__(self):
                return size

        new = LaidOutRecord(len(self.model), 23, Huge(), 5, size - 21, 0)
        self.map.add(self.sequence(self.end), new)
        self.model.append((self.end, new, self.epoch))
        self.end += size
        self.acknowledge_all()

    def acknowledge_all(self):
        self.map.ack(self.sequence(self.end))
        self.acked = self.end
        assert len(self.map) == 0

    @rule(back=st.integers(0, 700))
    def ack(self, back):
        position = max(self.end - back, 0)
        held = [at for at, r, _ in self.model if at + len(r.data) > self.acked]
        gone = [at for at, r, _ in self.model if self.acked < at + len(r.data) <= position]
        assert self.map.ack(self.sequence(position)) == len(gone)
        assert len(self.map) == len(held) - len(gone)
        if gone:
            last = next(r for at, r, _ in self.model if at == gone[-1])
            self.acked = gone[-1] + len(last.data)

    @rule(back=st.integers(0, 3))
    def rekey(self, back):
        held = [at for at, _, _ in self.model if at >= max(self.acked, self.newest_epoch_at)]
        at = held[-back] if 0 < back <= len(held) else self.end
        self.epoch = self.map.new_epoch(self.sequence(at))
        self.newest_epoch_at = at
        self.model = [(p, r, self.epoch if p >= at else e) for p, r, e in self.model]

    @rule(back=st.integers(-100, 900))
    def get(self, back):
        position = self.end - back
        got = self.map.get(self.sequence(position))
        if position < 0:
            assert got is START_MARKER
            return
        expected = [
            (self.sequence(at), r, epoch)
            for at, r, epoch in self.model
            if at <= position < at + len(r.data) and at >= self.acked
        ]
        assert got == (expected[0] if expected else None)
        assert self.map.is_boundary(self.sequence(position)) == (
            position == self.end or bool(expected and expected[0][0] == self.sequence(position))
        )

    @rule(back=st.integers(0, 900), length=st.integers(0, 900))
    def read(self, back, length):
        position = max(self.end - back, self.acked)
        held = b"".join(bytes(r.data) for at, r, _ in self.model if at >= self.acked)
        offset = position - self.acked
        if position + length > self.end:
            with pytest.raises(LookupError):
                self.map.read(self.sequence(position), length)
        else:
            read = self.map.read(self.sequence(position), length)
            assert read == held[offset : offset + length]

    @invariant()
    def the_end_is_where_the_next_record_goes(self):
        assert self.map.end_sequence == self.sequence(self.end)


TestRecords = RecordMachine.TestCase


def test_records_come_in_stream_order():
    records = filled(MASK - 10, 30)
    with pytest.raises(ValueError, match="0x13"):
        records.add(18, record(1, 30))
    assert isinstance(records.get(MASK), Entry)


def test_what_was_sent_long_ago_is_not_taken_for_data_before_the_start():
    records = RecordMap(0)
    for number in range(5):
        size = 1 << 29
        big = LaidOutRecord(number, 23, range(size), 5, size, 0)  # stands for its length only
        records.add(records.end_sequence, big)
        records.ack(records.end_sequence)
    assert records.get(records.end_sequence - 10) is None
    assert records.get(MASK - 10) is None


@pytest.mark.parametrize("sequence", [7, 29, 31, 91, MASK])
def test_a_rekey_starts_with_a_record(sequence):
    with pytest.raises(ValueError, match="no record starts"):
        filled(0, 30, 30, 30).new_epoch(sequence)


def test_rekeys_go_forward():
    records = filled(0, 30, 30, 30)
    records.new_epoch(60)
    with pytest.raises(ValueError, match="later rekey"):
        records.new_epoch(30)


def test_lookup_is_a_search_not_a_scan():
    looked = 0

    class Counting(list):
        def __getitem__(self, index):
            nonlocal looked
            looked += 1
            return super().__getitem__(index)

    records = filled(0, *[30] * 4096)
    records._entries = Counting(records._entries)
    records._starts = Counting(records._starts)
    assert records.get(30 * 3000 + 4).record.number == 3000
    assert looked <= 16
