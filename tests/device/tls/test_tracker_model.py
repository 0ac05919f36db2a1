"""All inputs in all states, on a small stream: never decrypted wrongly, and always back.

The stream has look-alikes of headers whose lengths lead to each other and to true headers. At each
packet it arrives or is lost, and the host does one of the things it can. States that are alike are
followed once. From each of them the rest of the stream, which has no look-alikes, is received.
"""

import copy
import itertools

import pytest
from tracker_bench import AS_ON_WIRE, DECRYPTED, Host, NullWire, look_alike

from tlsnic.device.tls.tracker_states import State

CLEAN = b"clean bytes"
KEY_UPDATE = b"\x18\0\0\1\0\x16"
TAIL = 5
"""Clean records at the end, in packets of one."""
NOT_STATE = {
    "_counters", "packets", "payload_bytes", "out_of_order", "not_offloaded", "questions",
    "auth_failures", "host_resyncs", "tag_resyncs", "_headers", "format", "_opener", "address",
}  # fmt: skip


def small_wire(*, rekey=None):
    """Four records, cut in header and body; look-alikes as told; then clean ones.

    rekey: index of the record before which the key changes, which a KeyUpdate says.
    """
    wire = NullWire(max_plaintext=60, sequence=2**32 - 120)
    bodies = [
        b"abc" + look_alike(59) + b"defghijk",  # ends at a header, of the record after the next
        b"lmnop" + look_alike(28) + b"qrstuvw",  # ends in the middle of the next record
        CLEAN,
        look_alike(23) + b"xyz",  # ends in its own tag
    ]
    if rekey is not None:
        del bodies[1:3]
    wire.rekeys = []
    for index, body in enumerate([*bodies, *[CLEAN] * TAIL]):
        if index == rekey:
            wire.add_content(KEY_UPDATE)
            wire.rekeys.append(wire.rekey())
        wire.add(body)
    body_end = wire.starts[-TAIL]
    cuts = {0, body_end, *(new.start for new in wire.rekeys)}
    for start in wire.starts[:-TAIL]:
        cuts |= {start + 2, start + 18}
    cuts = sorted(cut for cut in cuts if cut <= body_end)
    tail = [*wire.starts[-TAIL:], len(wire.wire)]
    packets = [*itertools.pairwise(cuts)]
    return wire, packets, [*itertools.pairwise(tail)]


def clone(host):
    new = copy.copy(host)
    new.flow = flow = copy.copy(host.flow)
    new.counters = flow._counters = copy.copy(host.counters)
    new.questions = host.questions[:]
    flow._log = flow._log[:]
    flow._stream = copy.copy(flow._stream)
    flow._opener = copy.copy(flow._opener)
    if flow._rekey is not None:
        flow._rekey = flow._rekey._replace(opener=copy.copy(flow._rekey.opener))
    flow._kept = flow._kept if flow._kept is None else flow._kept[:]
    flow._inner = flow._inner if flow._inner is None else flow._inner[:]
    return new


def signature(host):
    """Equal for flows that will behave alike."""
    parts = []
    flow = host.flow
    for owner in type(flow).__mro__:
        for name in getattr(owner, "__slots__", ()):
            if name in NOT_STATE:
                continue
            value = getattr(flow, name)
            if name == "_stream":
                value = value and (value.record, value.position, value.body)
            elif name == "_question":
                value = value and (value.sequence, value.record_number)
            elif name in ("_rekey",):
                value = value and (value.start, value.number)
            elif name in ("_log", "_kept", "_inner"):
                value = value if value is None else bytes(value)
            elif name == "_question_ns":
                value = host.now_ns - value > host.timeout_ns
            parts.append(value)
    return (*parts, flow._opener.key, host.timed_out, host.rekeyed)


def host_inputs(host, packets, index):
    """What the host can do before packet `index` comes, by name."""
    wire, flow = host.wire, host.flow
    yield "nothing", lambda it: None
    if flow._question is not None:
        yield "answer", lambda it: it.answer()
        stale = flow._question._replace(number=flow._question.number - 1)
        yield "stale answer", lambda it: stale_answer(it, stale)
        if not host.timed_out:
            yield "time-out", time_out
    halted = flow.state is State.HALTED
    if flow.state is not State.OFFLOAD:
        position = packets[index][0]
        at = max(start for start in wire.starts if start <= position)
        later = wire.starts[wire.starts.index(at) + 1]
        if host.rekeyed == len(wire.rekeys) or later < wire.rekeys[0].start or halted:
            yield "hint", lambda it: it.hint(at)
            yield "early hint", lambda it: it.hint(later)
        stale_at = max(0, at - 1)
        before = max(start for start in wire.starts if start <= stale_at)
        if before < at:
            yield "late hint", lambda it: it.hint(before)
    if host.rekeyed < len(wire.rekeys):
        yield "rekey", lambda it: it.rekey(wire.rekeys[it.rekeyed])


def stale_answer(host, question):
    before = signature(host)
    assert not host.answer(question)
    assert signature(host) == before


def time_out(host):
    host.now_ns += 2000
    host.timed_out = True


def comes_back(host, packets, tail, helps):
    """The rest of the packets, the clean tail, and what a host does that `helps`."""
    for begin, end in packets:
        host.take(begin, end)
    for begin, end in tail:
        if helps == "answers" and host.flow._question is not None:
            host.answer()
        if helps == "hints" and host.state is not State.OFFLOAD:
            host.hint(begin)
        verdict = host.take(begin, end)
    assert host.state is State.OFFLOAD
    assert verdict.state is DECRYPTED


@pytest.mark.parametrize(
    ("host", "tag", "helps"),
    [
        (True, False, "answers"), (False, True, "nothing"), (True, True, "answers"),
        (True, True, "nothing"), (False, False, "hints"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rekey", [None, 1])
def test_all_inputs_in_all_states(host, tag, helps, rekey):
    wire, packets, tail = small_wire(rekey=rekey)
    first = Host(wire, host=host, tag=tag, number=0, timeout_ns=1000)
    level = {signature(first): first}
    seen, states = 0, set()
    for index, (begin, end) in enumerate(packets):
        following = {}
        for it in level.values():
            for _, act in host_inputs(it, packets, index):
                acted = clone(it)
                act(acted)
                if must_rekey(acted, end):
                    acted.rekey(wire.rekeys[0])
                for arrives in (True, False):
                    after = clone(acted)
                    if arrives:
                        after.take(begin, end)
                    following.setdefault(signature(after), after)
        level = following
        seen += len(level)
        for it in level.values():
            states.add(it.state)
            rest = clone(it)
            if rest.rekeyed < len(wire.rekeys):
                rest.rekey(wire.rekeys[0])
            comes_back(rest, packets[index + 1 :], tail, helps)
    assert seen > 500
    assert states == set(State) - ({State.HALTED} if rekey is None else set())


def must_rekey(host, end):
    """What no KeyUpdate has told the device, the host says before the new key comes."""
    rekeys = host.wire.rekeys
    return host.rekeyed < len(rekeys) and end > rekeys[0].start and host.state is not State.HALTED


def test_old_packets_move_nothing():
    """In every state, every packet again, and packets that overlap."""
    wire, packets, _ = small_wire()
    for lost in range(len(packets)):
        host = Host(wire, number=0)
        for index, (begin, end) in enumerate(packets):
            if index == lost:
                continue
            host.take(begin, end)
            before = signature(host)
            for at in range(index + 1):
                assert host.take(packets[at][0], end).state is AS_ON_WIRE
            assert signature(host) == before
