"""Any stream, any packets: lost, late, twice, overlapping; a host that is slow, and says stale things.

Ciphertexts are stuffed with look-alikes of headers, lengths included, as no real cipher would make
them. What is marked decrypted is compared with the plaintext in Host.take().
"""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from tracker_bench import AUTH_FAILED, DECRYPTED, Host, NullWire, Wire, case_of, look_alike

from tlsnic.device.tls.tracker_states import State

MOST = 120
PIECES = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.integers(20, MOST + 30).map(look_alike),
    st.sampled_from([b"\x17\x03\x03", b"\x17\x03", b"\x03\x03", b"\x17", b"\x17\x17\x03\x03\x00"]),
)
BODIES = st.lists(PIECES, min_size=1, max_size=6).map(lambda pieces: b"".join(pieces)[:MOST])
TAIL_RECORDS = 16


@st.composite
def deliveries(draw, length):
    """Packets of the bytes before `length` in the order in which they arrive."""
    cuts = draw(st.lists(st.integers(1, max(1, length - 1)), max_size=24, unique=True))
    cuts = sorted({0, length, *cuts})
    packets = []
    for begin, end in itertools.pairwise(cuts):
        fate = draw(st.sampled_from(["arrives"] * 6 + ["lost", "late", "twice", "overlaps"]))
        if fate == "overlaps":
            begin = max(0, begin - draw(st.integers(1, 50)))
        if fate == "late":
            packets.insert(max(0, len(packets) - draw(st.integers(0, 3))), (begin, end))
        elif fate != "lost":
            packets += [(begin, end)] * (2 if fate == "twice" else 1)
    return packets


HOST_DOES = st.sampled_from(
    ["nothing", "nothing", "nothing", "answers", "answers late", "hints", "hints old", "waits"]
)


def act(host, what, begin):
    if what == "answers" and host.flow._question is not None:
        assert host.answer()
    elif what == "answers late" and host.questions:
        question = host.questions[0]
        open_question = host.flow._question
        assert host.answer(question) == (question == open_question)
    elif what in ("hints", "hints old"):
        starts = [start for start in host.wire.starts if start <= begin]
        host.hint(starts[-1] if what == "hints" else starts[len(starts) // 2])
    elif what == "waits":
        host.now_ns += 2000


@settings(max_examples=250)
@given(
    data=st.data(),
    bodies=st.lists(BODIES, min_size=1, max_size=10),
    mode=st.sampled_from([(True, False), (False, True), (True, True), (False, False)]),
    sequence=st.sampled_from([1000, 2**32 - 300, 2**31 - 100]),
    first=st.sampled_from([0, 7, 2**64 - 40]),
)
def test_never_wrong_and_always_back(data, bodies, mode, sequence, first):
    wire = NullWire(max_plaintext=MOST, sequence=sequence, number=first)
    for body in bodies:
        wire.add(body)
    length = len(wire)
    for _ in range(TAIL_RECORDS):
        wire.add(b"clean bytes")
    host = Host(wire, host=mode[0], tag=mode[1], number=first, timeout_ns=1000)
    for begin, end in data.draw(deliveries(length)):
        act(host, data.draw(HOST_DOES), begin)
        assert host.take(begin, end).state is not AUTH_FAILED
    tail = [*wire.starts[len(bodies) :], len(wire)]
    for begin, end in itertools.pairwise(tail):
        if host.flow._question is not None:
            host.answer()
        if mode == (False, False) and host.state is not State.OFFLOAD:
            host.hint(begin)
        verdict = host.take(begin, end)
    assert host.state is State.OFFLOAD
    assert verdict.state is DECRYPTED
    assert verdict.records == 1
    assert host.flow.record_number == wire.number


@settings(max_examples=60)
@given(
    data=st.data(),
    name=st.sampled_from([
        "TLS13_AES_128_GCM", "TLS12_AES_256_GCM", "TLS12_CHACHA20_POLY1305",
        "TLS13_CHACHA20_POLY1305",
    ]),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=8),
    tag=st.booleans(),
)  # fmt: skip
def test_real_ciphers(data, name, sizes, tag):
    wire = Wire(case_of(name))
    for size in sizes:
        wire.add(size)
    length = len(wire)
    for _ in range(6):
        wire.add(50)
    host = Host(wire, host=not tag, tag=tag, number=0)
    for begin, end in data.draw(deliveries(length)):
        assert host.take(begin, end).state is not AUTH_FAILED
    for entry in wire.records[len(sizes) :]:
        if host.flow._question is not None:
            assert host.answer()
        verdict = host.take(entry.start, entry.start + entry.total)
    assert verdict.state is DECRYPTED
    assert host.flow.record_number == wire.number


@settings(max_examples=100)
@given(
    bodies=st.lists(BODIES, min_size=1, max_size=8),
    size=st.integers(1, 400),
    whole=st.booleans(),
)
def test_in_order_everything_is_decrypted(bodies, size, whole):
    wire = NullWire(max_plaintext=MOST)
    for body in bodies:
        wire.add(body)
    host = Host(wire, number=0)
    size = len(wire) if whole else size
    assert set(host.feed(0, len(wire), size)) == {DECRYPTED}
    assert host.flow.packets == -(-len(wire) // size)


@settings(max_examples=100)
@given(noise=st.lists(st.one_of(PIECES, BODIES), max_size=12), cuts=st.integers(1, 100))
def test_noise_is_never_decrypted(noise, cuts):
    """No record at all: nothing is marked, every byte is taken, and questions end."""
    wire = NullWire(max_plaintext=MOST)
    wire.add(b"first")
    end = len(wire)
    wire.wire += b"\0" + b"".join(noise) + bytes(2 * MOST)
    host = Host(wire, number=0, tag=True)
    host.take(0, end)
    for begin in range(end, len(wire), cuts):
        assert host.take(begin, min(begin + cuts, len(wire))).state is not AUTH_FAILED
    assert host.state is State.SEARCH
    assert host.flow.packets == 1
    assert host.flow.sequence == wire.sequence + len(wire)
