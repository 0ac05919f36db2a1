"""Ranges, against sets of bytes; and gaps."""

from hypothesis import given
from hypothesis import strategies as st

from tlsnic.device.timeline.coverage import Coverage, Gaps
from tlsnic.device.timeline.model import Gap

ranges = st.lists(
    st.tuples(st.integers(-20, 60), st.integers(0, 15)).map(lambda one: (one[0], sum(one))),
    max_size=25,
)


@given(ranges, st.integers(-30, 80), st.integers(0, 60))
def test_each_byte_belongs_to_the_first_who_brought_it(added, low, size):
    coverage, owners = Coverage(), {}
    for owner, (begin, end) in enumerate(added):
        new = coverage.add(begin, end, owner)
        fresh = [at for at in range(begin, end) if at not in owners]
        assert [at for left, right in new for at in range(left, right)] == fresh
        owners.update(dict.fromkeys(fresh, owner))
    assert coverage.high == (max(owners) + 1 if owners else None)
    found = list(coverage.within(low, low + size))
    assert {at: who for begin, end, who in found for at in range(begin, end)} == {
        at: who for at, who in owners.items() if low <= at < low + size
    }
    missing = coverage.missing(low, low + size)
    assert [at for begin, end in missing for at in range(begin, end)] == [
        at for at in range(low, low + size) if at not in owners
    ]


def test_renamed_owners():
    coverage = Coverage()
    coverage.add(0, 5, 0)
    coverage.add(5, 9, 1)
    coverage.rename([7, 3])
    assert list(coverage.within(0, 9)) == [(0, 5, 7), (5, 9, 3)]


def test_a_gap_is_filled_in_pieces():
    gaps = Gaps()
    gaps.see(10, 30, 1)
    gaps.see(40, 50, 2)
    gaps.fill(15, 20, 3)
    gaps.fill(28, 45, 4)
    assert gaps.all() == [
        Gap(10, 15, 1, None),
        Gap(15, 20, 1, 3),
        Gap(20, 28, 1, None),
        Gap(28, 30, 1, 4),
        Gap(40, 45, 2, 4),
        Gap(45, 50, 2, None),
    ]
