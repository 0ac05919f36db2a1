"""The figures of a flow: for people, and as JSON."""

from __future__ import annotations

from collections import Counter

from tlsnic.abi.enums import TlsDirection, TlsEvent

from .model import TRANSMITTED, Flow, Offloaded

Json = dict[str, object]


def summarize(flow: Flow) -> Json:
    """A flow's figures. Times in seconds, sizes in bytes; shares are of complete records."""
    done = Counter(packet.what for packet in flow.packets)
    answers = Counter(question.answer for question in flow.questions)
    marks = Counter(mark.event for mark in flow.marks)
    filled = [gap for gap in flow.gaps if gap.filled_ns is not None]
    found: Json = {
        "card": flow.card,
        "handle": flow.handle,
        "direction": flow.direction.name.lower(),
        "local": flow.local,
        "remote": flow.remote,
        "suite": flow.suite,
        "start_sequence": flow.start_sequence,
        "begin_ns": flow.begin_ns,
        "duration_s": (flow.end_ns - flow.begin_ns) / 1e9,
        "packets": dict(sorted(done.items())),
        "strays": flow.strays,
        "stream_bytes": sum(end - begin for begin, end, _ in flow.stream),
        "bytes": {fate.name: count for fate, count in flow.bytes_by_fate().items()},
        "records": len(flow.records),
        "gaps": {
            "count": len(flow.gaps),
            "bytes": sum(gap.end - gap.begin for gap in flow.gaps),
            "filled": len(filled),
        },
        "events": {event.name: count for event, count in sorted(marks.items())},
    }
    if flow.direction is TlsDirection.RECEIVE:
        shares = flow.records_by_share()
        found["complete_records"] = shares.total()
        found["records_by_share"] = {how.value: shares[how] for how in Offloaded}
        found["questions"] = {
            "asked": len(flow.questions),
            "answered": answers[TlsEvent.ANSWERED],
            "denied": answers[TlsEvent.DENIED],
            "stale": answers[TlsEvent.STALE],
            "overtaken": answers[None],
        }
    return found


def describe(flow: Flow) -> str:
    """A flow's figures in a few lines."""
    lines = [f"flow {flow.handle:#x}, card {flow.card}: {flow.title}"]
    size = sum(end - begin for begin, end, _ in flow.stream)
    took_s = (flow.end_ns - flow.begin_ns) / 1e9
    lines.append(f"  stream   {size} bytes in {took_s:.3f} s, {len(flow.packets)} packets")
    shown = [f"{count / size:.1%} {fate.value}" for fate, count in flow.bytes_by_fate().items()]
    lines.append(f"  bytes    {', '.join(shown)}")
    if flow.direction is TlsDirection.RECEIVE:
        lines.append(f"  records  {shares(flow)}")
        lines.append(f"  resync   {questions(flow)}")
    else:
        lines.append(f"  records  {len(flow.records)}")
        lines.append(f"  packets  {packets(flow)}")
    done = Counter(packet.what for packet in flow.packets)
    late = [gap for gap in flow.gaps if gap.filled_ns is not None]
    lines.append(
        f"  gaps     {len(flow.gaps)}, of which {len(late)} were filled later; "
        f"{done['NOT_FOLLOWED']} packets dropped by the card or not looked at, "
        f"{done['AUTH_FAILED']} failed authentication"
    )
    return "\n".join(lines)


def shares(flow: Flow) -> str:
    """How much of the complete records came decrypted, as examples/receive.py prints it."""
    found = flow.records_by_share()
    total = found.total()
    if not total:
        return "none complete"
    text = ", ".join(f"{found[how] / total:.1%} {how.value}" for how in Offloaded)
    return f"{total}: {text} decrypted by the card"


def questions(flow: Flow) -> str:
    """What the card asked, and what came of it."""
    answers = Counter(question.answer for question in flow.questions)
    hints = sum(mark.event is TlsEvent.HINTED for mark in flow.marks)
    return (
        f"{len(flow.questions)} questions of the card, {answers[TlsEvent.ANSWERED]} answered, "
        f"{answers[TlsEvent.DENIED]} denied, {answers[TlsEvent.STALE]} answered too late, "
        f"{answers[None]} overtaken or open; {hints} hints"
    )


def packets(flow: Flow) -> str:
    """What was done to packets that go out."""
    done = Counter(packet.outcome for packet in flow.packets)
    shown = [
        f"{done[outcome]} {fate.value}" for outcome, fate in TRANSMITTED.items() if done[outcome]
    ]
    return ", ".join(shown) or "none"
