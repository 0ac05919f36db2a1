"""Record boundaries, from bytes in any order."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st
from trace_bench import make_records

from tlsnic.device.timeline.framing import Framing


def pieces_of(wire, cuts):
    edges = [0, *cuts, len(wire)]
    return list(itertools.pairwise(edges))


@given(st.data())
def test_whole_streams_in_any_order(data):
    wire, begins = make_records(data.draw(st.lists(st.integers(0, 400), min_size=1, max_size=15)))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=30)))
    framing = Framing(0)
    for begin, end in data.draw(st.permutations(pieces_of(wire, cuts))):
        framing.add(begin, memoryview(wire)[begin:end])
    records = framing.finish()
    assert [(one.begin, one.end) for one in records] == list(itertools.pairwise(begins))
    assert {one.content_type for one in records} == {23}


@given(st.data())
def test_with_bytes_missing_all_that_is_found_is_right(data):
    wire, begins = make_records([300] * 30)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=30)))
    pieces = data.draw(st.permutations(pieces_of(wire, cuts)))
    lost = data.draw(st.integers(0, len(pieces)))
    known = data.draw(st.booleans())
    framing = Framing(0 if known else None)
    for begin, end in pieces[lost:]:
        framing.add(begin, memoryview(wire)[begin:end])
    records = framing.finish()
    begun = [one.begin for one in records]
    assert set(begun) <= set(begins)
    assert begun == sorted(set(begun))
    if not lost and not known:
        assert begun == begins[:-1]


def test_it_goes_on_behind_a_header_that_never_came():
    wire, begins = make_records([2000] * 12)
    framing = Framing(0)
    framing.add(0, memoryview(wire)[: begins[4] + 2])
    framing.add(begins[4] + 7, memoryview(wire)[begins[4] + 7 :])
    assert [one.begin for one in framing.finish()] == begins[:4] + begins[5:-1]


def test_bytes_that_are_no_records():
    noise = random.Random(3).randbytes(200_000)
    framing = Framing(0)
    framing.add(0, memoryview(noise))
    assert framing.finish() == []
