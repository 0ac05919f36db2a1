"""The framing of the control channel: nothing on the line can lose more than the frame it hits."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.qemu.framing import Decoder, MessageTooLongError, encode

TEXT = st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | TEXT | st.binary(max_size=40)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT.filter(lambda key: key != "$bytes"), inner, max_size=4)
    ),
    max_leaves=12,
)
NOT_A_SEPARATOR = st.binary(max_size=30).map(lambda data: data.replace(b"\x1e", b""))


def feed_in_pieces(decoder: Decoder, stream: bytes, cuts: list[int]) -> list[object]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    return [message for piece in pieces for message in decoder.feed(piece)]


@given(st.lists(VALUES, max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_messages_arrive_whole_and_in_order_however_the_stream_is_cut(messages, cuts):
    decoder = Decoder()
    stream = b"".join(encode(message) for message in messages)
    assert feed_in_pieces(decoder, stream, cuts) == messages
    assert (decoder.garbage_bytes, decoder.bad_frames) == (0, 0)


@given(
    st.lists(st.tuples(NOT_A_SEPARATOR, VALUES), max_size=6),
    NOT_A_SEPARATOR,
    st.lists(st.integers(0, 10_000), max_size=8),
)
def test_garbage_between_messages_is_counted_and_loses_none(pairs, tail, cuts):
    decoder = Decoder()
    stream = b"".join(garbage + encode(message) for garbage, message in pairs) + tail
    assert feed_in_pieces(decoder, stream, cuts) == [message for _, message in pairs]
    assert decoder.garbage_bytes == sum(len(garbage) for garbage, _ in pairs) + len(tail)
    assert decoder.bad_frames == 0


@given(st.lists(VALUES, min_size=1, max_size=5), st.data())
def test_a_frame_cut_short_loses_only_itself(messages, data):
    frames = [encode(message) for message in messages]
    victim = data.draw(st.integers(0, len(frames) - 1))
    kept = data.draw(st.integers(1, len(frames[victim]) - 1))
    frames[victim] = frames[victim][:kept]
    decoder = Decoder()
    received = decoder.feed(b"".join(frames) + encode("end"))
    assert received == [*messages[:victim], *messages[victim + 1 :], "end"]
    assert decoder.bad_frames == 1


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_at_all_are_survived(pieces):
    decoder = Decoder(max_message_bytes=50)
    for piece in pieces:
        decoder.feed(piece)
    assert decoder.feed(encode({"still": "there"})) == [{"still": "there"}]


def test_a_frame_over_the_limit_is_dropped_and_the_next_one_found():
    decoder = Decoder(max_message_bytes=30)
    fits, too_long = encode("x" * 26), encode("x" * 27)
    assert (len(fits), len(too_long)) == (30, 31)
    assert decoder.feed(too_long + fits) == ["x" * 26]
    assert decoder.bad_frames == 1


def test_an_endless_frame_does_not_collect_memory():
    decoder = Decoder(max_message_bytes=100)
    decoder.feed(b"\x1e")
    for _ in range(50):
        assert decoder.feed(b"a" * 90) == []
    assert decoder.bad_frames == 1
    assert decoder.garbage_bytes > 4000
    assert decoder.feed(encode(1)) == [1]


@pytest.mark.parametrize("value", [object(), {1, 2}, math.nan, {"inner": [object()]}])
def test_what_json_cannot_hold_is_refused_by_the_sender(value):
    with pytest.raises((TypeError, ValueError)):
        encode(value)


def test_a_message_over_the_limit_is_refused_by_the_sender():
    with pytest.raises(MessageTooLongError):
        encode(b"\0" * (13 << 20))


def test_a_frame_is_one_printable_line_for_a_person():
    assert encode({"text": "ü\n", "data": b"\x00"}) == (
        b'\x1e{"text":"\\u00fc\\n","data":{"$bytes":"AA=="}}\n'
    )


@pytest.mark.parametrize("body", [b'{"$bytes":"*"}', b'{"$bytes":5}'])
def test_an_object_that_only_resembles_bytes_stays_an_object(body):
    (value,) = Decoder().feed(b"\x1e" + body + b"\n")
    assert isinstance(value, dict)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'"\x01"'])
def test_a_frame_that_is_not_json_is_counted(body):
    decoder = Decoder()
    assert decoder.feed(b"\x1e" + body + b"\n" + encode(2)) == [2]
    assert decoder.bad_frames == 1
