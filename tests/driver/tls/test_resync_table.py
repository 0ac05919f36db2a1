"""The resync table against a dictionary of all records, and the schedule of hints."""

from hypothesis import given
from hypothesis import strategies as st

from tlsnic.driver.tls.hint_schedule import HintSchedule
from tlsnic.driver.tls.resync_table import MAX_RUN_RECORDS, MAX_RUNS, ResyncTable

MASK = 0xFFFF_FFFF
NEAR_WRAP = 0xFFFF_F000


class Model:
    """All records since the table began anew, in runs that are never merged or forgotten."""

    def __init__(self):
        self.runs = []  # dictionaries of sequence: number, of records of one length each
        self.length = None
        self.next = None

    def add(self, sequence, length, number):
        if (sequence, number) != self.next or not length:
            self.runs = []
        if length:
            same = self.runs and self.length == length and len(self.runs[-1]) < MAX_RUN_RECORDS
            if not same:
                self.runs.append({})
            self.runs[-1][sequence] = number
        self.length, self.next = length, (sequence + length & MASK, number + 1)

    @property
    def known(self):
        return {at: n for run in self.runs[-MAX_RUNS:] for at, n in run.items()}

    @property
    def forgotten(self):
        return {at for run in self.runs[:-MAX_RUNS] for at in run}


LENGTHS = st.sampled_from([22, 30, 1000, 16406])
STEPS = st.one_of(
    st.tuples(st.just("run"), LENGTHS, st.integers(1, 40)),
    st.tuples(st.just("gap"), st.integers(1, 5000), st.integers(0, 3)),
    st.tuples(st.just("renumber"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("clear"), st.just(0), st.just(0)),
)


@given(
    st.lists(STEPS, max_size=80),
    st.integers(0, MASK) | st.just(NEAR_WRAP),
    st.lists(st.integers(-20_000, 20_000), max_size=20),
)
def test_it_answers_as_a_dictionary_of_the_newest_runs(steps, sequence, offsets):
    table, model, number = ResyncTable(), Model(), 0
    for kind, value, count in steps:
        if kind == "run":
            for _ in range(count):
                table.add(sequence, value, number)
                model.add(sequence, value, number)
                sequence, number = sequence + value & MASK, number + 1
        elif kind == "gap":
            sequence, number = sequence + value & MASK, number + count
        elif kind == "renumber":
            number = value
        else:
            table.add(sequence, 0, number)
            model.add(sequence, 0, number)
    known = model.known
    assert len(table) == len(model.runs[-MAX_RUNS:])
    for at, n in known.items():
        assert table.lookup(at) == n
    for at in model.forgotten - known.keys():
        assert table.lookup(at) is None
    for offset in offsets:
        at = sequence + offset & MASK
        assert table.lookup(at) == known.get(at)
    assert table.lookup(sequence) is known.get(sequence)


def fill(table, sequence, lengths, number=0):
    for length in lengths:
        table.add(sequence, length, number)
        sequence, number = sequence + length & MASK, number + 1
    return sequence, number


def test_equal_lengths_share_an_entry_up_to_2048_records():
    table = ResyncTable()
    end, _ = fill(table, NEAR_WRAP, [16406] * 2048)
    assert len(table) == 1
    table.add(end, 16406, 2048)
    assert len(table) == 2
    assert table.lookup(NEAR_WRAP) == 0
    assert table.lookup(NEAR_WRAP + 2047 * 16406 & MASK) == 2047
    assert table.lookup(end) == 2048
    assert table.lookup(end + 1) is None
    assert table.lookup(end + 16406 & MASK) is None
    assert table.lookup(NEAR_WRAP - 1) is None


def test_a_full_table_evicts_the_oldest_run():
    table = ResyncTable()
    end, number = fill(table, 1000, [50, 50, 60] + [70, 80] * 15)
    assert len(table) == MAX_RUNS
    assert table.lookup(1000) == 0
    fill(table, end, [90], number)
    assert len(table) == MAX_RUNS
    assert table.lookup(1000) is None
    assert table.lookup(1050) is None
    assert table.lookup(1100) == 2
    assert table.lookup(end) == number


def test_the_fullest_table_reaches_over_a_gigabyte():
    table = ResyncTable()
    end, number = fill(table, 5, [16640] * MAX_RUN_RECORDS * MAX_RUNS)
    assert len(table) == MAX_RUNS
    assert table.lookup(5) == 0
    assert table.lookup(5 + 16640 * 40_000) == 40_000
    fill(table, end, [16640], number)
    assert table.lookup(5 + 16640 * 2047) is None
    assert table.lookup(5 + 16640 * 2048) == 2048


def test_gaps_lengths_of_zero_and_new_numbers_begin_anew():
    table = ResyncTable()
    fill(table, 100, [10, 10])
    table.add(121, 10, 2)  # one byte further
    assert table.lookup(100) is None
    assert table.lookup(121) == 2
    table.add(131, 10, 0)  # the keys have changed
    assert table.lookup(121) is None
    assert table.lookup(131) == 0
    table.add(141, 0, 1)
    assert len(table) == 0
    assert table.lookup(131) is None
    table.add(141, 10, 1)
    assert table.lookup(141) == 1


def test_hints_come_after_these_records():
    schedule = HintSchedule()
    for _ in range(2):
        hinted = [n for n in range(1, 600) if schedule.missed()]
        assert hinted == [3, 5, 9, 17, 33, 65, 129, 257, 385, 513]
        schedule.offloaded()
    assert not schedule.missed()
    schedule.offloaded()
    assert [schedule.missed() for _ in range(3)] == [False, False, True]
