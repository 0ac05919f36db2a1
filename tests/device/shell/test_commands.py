"""Every command: what people see, what programs get, what the device is asked."""

import json

import pytest
import shell_rig
from shell_rig import FLOW, KEY, FakeBackend, Typed

from tlsnic.abi import registers as r
from tlsnic.abi.layout import Register
from tlsnic.device.shell import decode
from tlsnic.device.shell.shell import QuitShell
from tlsnic.device.shell.table import COMMANDS

NUMBER = (int, float)
MAYBE = (int, float, str, type(None))
REGISTER = {
    "name": str,
    "bar": int,
    "offset": int,
    "width_bits": int,
    "value": (int, type(None)),
    "group": str,
    "description": str,
    "reference": str,
    "read_has_side_effects": bool,
}
FLOW_SHAPE = {
    "handle": int,
    "state": str,
    "local": str,
    "remote": str,
    "share": (float, type(None)),
}
NOTE = {"event": str, "handle": int, "tcp_sequence": int, "record_number": int, "now_ns": int}
TRACE = {"type": int, "type_name": str, "now_ns": int, "text": str, "data": str}

# A line for each command, part of what it prints, and the shape of its JSON.
CASES = [
    ("info", "attached", {"version": str, "pid": int, "uptime_s": float}),
    (
        "pci",
        "Express (v2) Endpoint",
        {"vendor_id": int, "capabilities": [{"id": int, "name": str}]},
    ),
    ("pci --hex", "00: 34 12 5c 71", {"bytes": str}),
    ("cards", "*     0", [{"card": int, "current": bool}]),
    ("use 1", "card 1", {"card": int}),
    ("mark here it is", "here it is", {}),
    ("reset --yes", "RESET_COUNT is 2", {"reset_count": int}),
    ("registers", "device-control", [{"group": str, "registers": [str]}]),
    ("registers STATUS", "RESET_COUNT", [REGISTER]),
    ("registers device-control", "RX_ENABLE=on", [REGISTER]),
    ("registers all", "more with their value after reset", [REGISTER]),
    ("read STATUS", "Device status", [REGISTER]),
    ("write MAX_FRAME 9000", "9000", {"name": str, "written": int, "before": int, "after": int}),
    ("snapshot one", "kept as one", {"name": str, "registers": int}),
    ("snapshot --list", "no snapshots", []),
    ("queues", "the wire: it is busy", [{"kind": str, "number": int, "waits_for": str}]),
    ("queues --all", "DISABLED", [{"kind": str}]),
    (
        "queue tx 0",
        "END_OF_PACKET|TLS",
        {"descriptors": [{"index": int, "structure": MAYBE, "members": dict}], "completions": list},
    ),
    ("queue rx", "DMA_FAULT", {"error": str}),
    ("queue admin", "tls_flow_query_command", {"completions": [{"structure": str}]}),
    ("queue event", "question=5", {"completions": [{"structure": str}]}),
    ("interrupts", "transmit 0", {"mode": str, "vectors": [{"vector": int, "raised": int}]}),
    ("dma", "64 MiB", [{"iova": int, "size": int}]),
    ("flows", "10.77.0.2:40000", {"total": int, "flows": [FLOW_SHAPE]}),
    ("flow 0x10001", "candidate", {**FLOW_SHAPE, "question": dict}),
    ("flow 0x10001 history", "SEARCH → TRACK", [NOTE]),
    ("resync", "ANSWERED", {"lost": [FLOW_SHAPE], "log": [NOTE]}),
    (
        "counters --interval 1",
        "+250",
        {
            "seconds": float,
            "counters": {"TX_FRAMES": {"value": int, "delta": int, "rate_per_s": float}},
        },
    ),
    ("diagnostics", "#diagnostic-value-range", {"total": int, "counts": dict, "recent": [dict]}),
    ("trace --count 11", "vector 3", {"records": [TRACE], "lost": int}),
    ("capture start x.pcapng", "capturing to /", {"path": str}),
    ("capture stop", "999", {"path": str, "packets": int, "bytes": int}),
    ("capture", "the disk is full", [{"path": str}]),
    ("impair rx loss=1% seed=7", "loss=1%", {"rx": {"loss": str}, "tx": MAYBE}),
    ("impair", "as they are", {"rx": MAYBE}),
    ("fault", "swallow_interrupts", [{"name": str, "what": str}]),
    ("fault swallow_interrupts", "off, acted 3 times", [{"seen": str, "must": str}]),
    ("fault drop_frames count=5", "ON count=5, acted 3 times, 2 left", [{"name": str}]),
    ("fault drop_frames on", "ON count=5", [{"name": str}]),
    ("fault drop_frames off", "drop_frames", [{"name": str}]),
    ("fault clear", "drop_frames", [{"name": str}]),
    ("watch --count 2 counters", "TX_FRAMES", {"rounds": [{"counters": dict}]}),
    ("help", "`help COMMAND`", [{"name": str, "usage": str, "examples": [{"line": str}]}]),
    ("help write", "write CONTROL.TX_ENABLE=1 --yes", {"name": str, "examples": list}),
    ("history", "history", [str]),
    ("reconnect", "connected to", {"cards": list}),
]


def check(shape, value, path="result"):
    """`value` has at least what `shape` says."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), path
        for name, inner in shape.items():
            assert name in value, f"{path}.{name}"
            check(inner, value[name], f"{path}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), path
        for number, item in enumerate(value if shape else []):
            check(shape[0], item, f"{path}[{number}]")
    else:
        assert isinstance(value, shape), f"{path}: {value!r} is no {shape}"


def test_each_command_has_a_case():
    assert {line.split()[0] for line, _, _ in CASES} | {"diff", "quit"} == set(COMMANDS)


@pytest.mark.parametrize(("line", "part", "_shape"), CASES, ids=[case[0] for case in CASES])
def test_what_people_see(typed, line, part, _shape):
    shown = typed(line)
    assert typed.status == 0, shown
    assert part in shown


@pytest.mark.parametrize(("line", "_part", "shape"), CASES, ids=[case[0] for case in CASES])
def test_what_programs_get(backend, line, _part, shape):
    typed = Typed(backend, as_json=True)
    printed = typed(line)
    assert printed.count("\n") == 1, "one document, on one line"
    document = json.loads(printed)
    assert document["ok"] is True
    assert document["command"] == line
    check(shape, document["result"])


@pytest.mark.parametrize("line", [case[0] for case in CASES])
def test_a_terminal_of_100_columns_gets_everything(line):
    narrow = Typed(FakeBackend())(line)
    assert max(len(each) for each in narrow.splitlines()) <= 100
    wide = Typed(FakeBackend(), width=None)(line)
    if line != "flows":  # has no room for the cipher suites
        assert sorted("".join(narrow.split())) == sorted("".join(wide.split()))


def test_a_pipe_gets_full_width(backend):
    wide = Typed(backend, width=None)
    assert any(
        len(line) > 150
        for line in wide("flows").splitlines() + wide("registers STATUS").splitlines()
    )
    assert "\x1b" not in wide("registers STATUS")


def test_no_key_is_shown_even_when_the_device_gives_one_away(backend):
    lines = [case[0] for case in CASES]
    shown = "".join(Typed(backend)(line) for line in lines)
    shown += "".join(Typed(backend, as_json=True)(line) for line in lines)
    assert KEY.hex() not in shown
    assert KEY.hex(" ") not in shown


BAD = [
    ("nothing", "there is no command"),
    ("re", "may be one of"),
    ("registers NOTHING", "no register NOTHING"),
    ("registers --nothing", "no option"),
    ("registers 'x", "quotation"),
    ("read", "is missing"),
    ("read TX_QUEUE_HEAD", "16 elements"),
    ("write STATUS 1 2", "no FIELD=VALUE"),
    ("write STATUS.LINK_UP=1", "read only"),
    ("write CONTROL.TX_ENABLE=2", "does not fit"),
    ("write MAX_FRAME 0x100000000", "more than 32 bits"),
    ("write MAX_FRAME.BYTES", "no value"),
    ("write MAX_FRAME", "no value"),
    ("write OFFLOAD_ENABLE FRAGILE", "no Offload"),
    ("write RX_COALESCE TIMEOUT_US=1 MAX_FRAME.BYTES=2", "not in RX_COALESCE"),
    ("queue nonsense", "no kind of queue"),
    ("queue tx x", "no number"),
    ("flow", "is missing"),
    ("flow x", "no handle"),
    ("flow 1 story", "none of: history"),
    ("use x", "no card"),
    ("use 0 1", "too much"),
    ("capture start", "PATH is missing"),
    ("impair rx", "what shall happen"),
    ("impair rx loss", "no SETTING=VALUE"),
    ("impair rx loss=1% seed=x", "no seed"),
    ("impair up loss=1", "none of: tx, rx, both"),
    ("fault drop_frames 3", "no SETTING=VALUE"),
    ("fault clear a", "too much"),
    ("fault nothing", "no fault nothing"),
    ("trace nonsense", "none of: register"),
    ("counters --interval soon", "no interval"),
    ("watch", "is missing"),
    ("watch quit", "cannot be watched"),
    ("watch nothing", "no command"),
    ("help nothing", "no command"),
    ("reset hard", "none of: soft, function"),
    ("mark ' '", "needs a text"),
]


@pytest.mark.parametrize(("line", "part"), BAD, ids=[case[0] for case in BAD])
def test_bad_lines_are_refused_with_the_reason(typed, line, part):
    shown = typed(line)
    assert typed.status == 2
    assert part in " ".join(shown.split())


def test_bad_lines_ask_the_device_for_no_change(typed, backend):
    for line, _ in BAD:
        typed(line)
    changing = {"registers.write", "device.reset", "faults.set", "impairments.set", "capture.start"}
    assert not changing & {method for method, _ in backend.calls}


def test_what_the_device_refuses_is_told_with_the_fix(typed):
    shown = typed("flow 3")
    assert typed.status == 1
    assert "never made" in shown
    assert "see flows.list" in shown
    document = json.loads(Typed(typed.backend, as_json=True)("flow 3"))
    assert document["ok"] is False
    assert document["error"]["name"] == "NOT_FOUND"


def test_unknown_card_and_unknown_snapshot(typed):
    assert "cards: 0, 1" in typed("use 7")
    assert typed.status == 1
    assert "there is no snapshot last" in typed("diff")
    assert typed.status == 1


def test_commands_are_about_the_card_in_use(typed, backend):
    typed("use 1")
    typed("info")
    assert backend.calls[-1] == ("device.info", {"card": 1})


def test_empty_lines_and_remarks_do_nothing(typed, backend):
    assert typed("") == typed("   ") == typed("# a remark") == ""
    assert typed.status == 0
    assert backend.calls == []


def test_a_beginning_of_a_command_is_enough(typed):
    assert "RESET_COUNT" in typed("reg STATUS")


# registers


def test_registers_shows_an_element_that_was_asked_for(typed):
    assert "TX_QUEUE_HEAD[3]" in typed("registers TX_QUEUE_HEAD[3]")


def test_registers_of_an_array_leaves_out_what_says_nothing(typed, backend):
    backend.values[0, r.TX_QUEUE_HEAD + 3 * r.TX_QUEUE_STRIDE] = 5
    shown = typed("registers TX_QUEUE_HEAD")
    assert "TX_QUEUE_HEAD[3]" in shown
    assert "TX_QUEUE_HEAD[4]" not in shown
    assert "15 more" in shown
    assert "TX_QUEUE_HEAD[4]" in typed("registers TX_QUEUE_HEAD --all")


def test_one_field_of_a_register(typed):
    shown = typed("registers STATUS.LINK_UP")
    assert "The link is up." in shown
    assert "READY" not in shown


def test_flags_are_shown_by_name(typed, backend):
    backend.values[0, r.OFFLOAD_ENABLE] = 0x20002
    assert "RX_CHECKSUM | RX_TLS" in typed("registers OFFLOAD_ENABLE")


@pytest.fixture
def touchy(monkeypatch):
    """A register whose read has side effects; this version of the card has none."""
    known = decode.by_name()["STATUS"][1]
    register = Register(*known[:5], True, *known[6:])
    places = [decode.Place(0, register, 0)]
    monkeypatch.setattr(decode, "resolve", lambda _expression: (places, None))
    return register


def test_a_read_with_side_effects_is_never_done_by_a_dump(typed, backend, touchy):
    shown = typed("registers STATUS")
    assert "not read" in shown
    assert "A read changes the card's state." in shown
    assert backend.calls == []
    document = json.loads(Typed(backend, as_json=True)("registers STATUS"))
    assert document["result"][0]["value"] is None
    assert document["result"][0]["read_has_side_effects"] is True


def test_a_read_with_side_effects_is_done_when_asked_for_and_flagged(typed, backend, touchy):
    assert "A read changes the card's state." in typed("read STATUS")
    assert [method for method, _ in backend.calls] == ["registers.read"]


def test_dumps_read_without_side_effects(typed, backend):
    for line in ("registers all", "snapshot", "diff", "registers STATUS"):
        typed(line)
    assert {method for method, _ in backend.calls} == {"registers.values"}


def test_write_of_a_field_keeps_the_others(backend):
    typed = Typed(backend, answer=True)
    typed("write CONTROL.TX_ENABLE=1")
    assert backend.values[0, r.CONTROL] == 6
    typed("write CONTROL TX_ENABLE=off RX_ENABLE=0")
    assert backend.values[0, r.CONTROL] == 0


def test_write_of_a_field_does_not_clear_others_by_accident(backend):
    backend.values[0, r.INT_CAUSE] = 0xFF
    typed = Typed(backend, answer=True)
    typed("write INT_CAUSE.VECTORS=0x10")
    (written,) = (params for method, params in backend.calls if method == "registers.write")
    assert (written["offset"], written["width"], written["value"]) == (r.INT_CAUSE, 64, 0x10)


def test_write_forms(backend, typed):
    typed("write MAX_FRAME 9000")
    assert backend.values[0, r.MAX_FRAME] == 9000
    typed("write MAX_FRAME=0x600")
    assert backend.values[0, r.MAX_FRAME] == 0x600
    typed("write RX_COALESCE TIMEOUT_US=50 MAX_SEGMENTS=16")
    assert backend.values[0, r.RX_COALESCE] & 0xFF00FFFF == 0x10000032
    typed("write OFFLOAD_ENABLE RX_CHECKSUM|RSS")
    assert backend.values[0, r.OFFLOAD_ENABLE] == 0x42
    typed(f"write 0:{r.EVENT_ENABLE:#x} DIAGNOSTIC")
    assert backend.values[0, r.EVENT_ENABLE] == 4


@pytest.mark.parametrize(
    "line",
    ["write CONTROL 0", "write INT_CAUSE 1", "write INT_TRIGGER 1", "write TX_DOORBELL_TAIL[0] 3",
     "write RX_QUEUE_CONTROL[2].ENABLE=0", "reset", "reset function"],
)  # fmt: skip
def test_what_acts_is_asked_before(backend, line):
    refused = Typed(backend)
    assert "--yes" in refused(line)
    assert refused.status == 1
    no = Typed(backend, answer=False)
    assert "not done" in no(line)
    assert len(no.questions) == 1
    assert {method for method, _ in backend.calls} <= {"registers.values"}
    yes = Typed(backend, answer=True)
    yes(line)
    assert yes.status == 0
    quiet = Typed(backend)
    quiet(line + " --yes")
    assert quiet.status == 0


def test_diff_names_fields(typed, backend):
    typed("snapshot before")
    backend.values[0, r.CONTROL] = 6
    backend.values[0, r.TX_FRAMES] += 1500
    backend.values[0, r.TX_QUEUE_STATUS] = 1
    shown = typed("diff before")
    assert "CONTROL.TX_ENABLE" in shown
    assert "CONTROL.RX_ENABLE" not in shown
    assert "+1500" in shown
    assert "RUNNING" in shown
    typed("snapshot after")
    backend.values[0, r.CONTROL] = 0
    assert typed("diff before after").count("CONTROL") == 1


def test_snapshots_that_are_kept(typed):
    typed("snapshot one")
    typed("snapshot")
    shown = typed("snapshot --list")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["one", "last"]


# queues, flows


def test_queue_entries_that_say_nothing_are_left_out(typed):
    shown = typed("queue tx 0")
    assert "not mapped" in shown
    assert "empty" not in shown
    assert "empty" in typed("queue tx 0 --all")


def test_queue_begins_where_it_is_told_to(typed, backend):
    typed("queue tx 0 --first 3 --count 1")
    assert backend.calls[-1][1] == {
        "card": 0,
        "kind": "TRANSMIT",
        "number": 0,
        "count": 1,
        "first": 3,
    }


def test_queue_in_error_names_the_reference(typed):
    assert "diagnostic-dma-fault" in "".join(typed("queue rx 0").split())


def test_flows_are_filtered_by_words(typed):
    assert hex(FLOW["handle"]) in typed("flows track 443")
    assert hex(FLOW["handle"]) not in typed("flows sending")
    assert "none of 2 flows" in typed("flows nowhere")


def test_share_of_a_flow(backend):
    document = json.loads(Typed(backend, as_json=True)("flows"))
    assert [flow["share"] for flow in document["result"]["flows"]] == [0.9, None]


# counters


def test_rates_are_between_two_looks(typed):
    assert "per s" in typed("counters")
    shown = typed("counters tx_frames")
    assert "+250" in shown
    assert "500" in shown


def test_counters_that_went_back_have_no_rate(typed, backend):
    typed("counters")
    backend.counters["TX_FRAMES"] = -250
    assert "-" not in typed("counters 'TX_FRAMES' --all").splitlines()[1].split("Frames")[0]


def test_zeros_are_left_out(typed):
    assert "RX_DROP_FILTER" not in typed("counters")
    assert "RX_DROP_FILTER" in typed("counters 'RX_DROP_*' --all")
    assert "all of them are zero" in typed("counters rx_drop")


# trace


def test_trace_has_one_line_for_each_record(typed):
    shown = typed("trace --count 11")
    flat = " ".join(shown.split())
    for part in (
        "read   STATUS = 0x10003  (READY=on, LINK_UP=on, RESET_COUNT=1)",
        "write  TX_DOORBELL_TAIL[0] = 0x9",
        "fetch  descriptor of transmit queue 0 at 0x100000+32  tx_descriptor:",
        "(key material, left out)",
        "store  data at 0x3000+1514  0202",
        "interrupt  MSI-X vector 3",
        "tls    flow 0x10001 rx DECRYPTED 5+1448, 2 end, next 17, OFFLOAD",
        "tls    flow 0x10001 ASKED SEARCH → TRACK",
        "tls    flow 0x20002 CREATED TCP 0 record 0 10.77.0.1 port 443, 10.77.0.2 port 40000",
        "input  MARK 0 0x0 here",
        "frame  60 bytes to the wire",
    ):
        assert " ".join(part.split()) in flat


def test_trace_ends_and_tells_what_was_lost(typed, backend):
    shown = typed("trace --seconds 0.05")
    assert "4 records lost" in shown
    assert "11 records, 4 lost" in shown
    assert backend.traced == 0


def test_trace_filters(typed):
    assert "1 records" in typed("trace interrupt --count 1")
    assert "2 records" in typed("trace --flow 0x10001 --seconds 0.05")
    assert "1 records" in typed("trace --match vector --seconds 0.05")


def test_trace_without_an_end_is_not_for_scripts(backend):
    typed = Typed(backend, as_json=True)
    assert json.loads(typed("trace"))["error"]["name"] == "USAGE"
    assert typed.status == 2
    typed("watch counters")
    assert typed.status == 2


def test_trace_decodes_entries_for_programs(backend):
    document = json.loads(Typed(backend, as_json=True)("trace dma --count 2"))
    entry = document["result"]["records"][0]["entry"]
    assert (entry["structure"], entry["length"], entry["flags_name"]) == (
        "tx_descriptor",
        1514,
        "END_OF_PACKET | TLS",
    )


def test_interrupted_trace_is_stopped(typed, backend):
    backend.interrupt_at = "events"
    typed.shell.interactive = True
    shown = typed("trace")
    assert typed.status == 0
    assert "11 records" in shown
    assert backend.traced == 0


def test_settings_of_faults_and_impairments_get_their_types(typed, backend):
    typed("fault drop_frames count=3 after=0x10 side=tx forever=null")
    typed("fault drop_frames off")
    typed("impair both loss=1% seed=7")
    changing = ("faults.set", "faults.clear", "impairments.set")
    calls = [params for method, params in backend.calls if method in changing]
    settings = {"count": 3, "after": 16, "side": "tx", "forever": None}
    assert calls == [
        {"card": 0, "name": "drop_frames", **settings},
        {"card": 0, "name": "drop_frames"},
        {"card": 0, "side": "both", "settings": {"loss": "1%"}, "seed": 7},
    ]


# the shell itself


def test_interrupted_command_ends_alone(typed, backend):
    backend.interrupt_at = "device.info"
    assert "interrupted" in typed("info")
    assert typed.status == 130
    backend.interrupt_at = None
    typed("info")
    assert typed.status == 0


def test_device_that_is_gone_is_told(typed, backend):
    backend.gone = True
    shown = typed("info")
    assert typed.status == 1
    assert typed.shell.gone
    assert "is gone" in shown
    assert "start it again" in shown


def test_quit(typed):
    with pytest.raises(QuitShell):
        typed("quit")


def test_watch_marks_what_changed():
    from tlsnic.device.shell.commands.general import highlighted  # noqa: PLC0415

    text = highlighted("a 10 b", "a 12 b\nnew")
    marked = "".join(text.plain[span.start : span.end] for span in text.spans)
    assert marked == "2new"
    assert not highlighted("", "first").spans


def test_history_counts(typed):
    for line in ("info", "cards", "history"):
        shown = typed(line)
    rows = [line.split() for line in shown.splitlines()[1:]]
    assert rows == [["1", "info"], ["2", "cards"], ["3", "history"]]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_example_can_be_parsed(command):
    assert command.examples
    for example in command.examples:
        words = shell_rig.split_line(example.line)
        assert words[0] == command.name
        command.parse(words[1:])
    for each in (*command.arguments, *command.options):
        assert each.help


def test_fake_has_every_method_that_is_asked_for():
    assert FakeBackend().call("device.info", {"card": 0})["client"] == "attached"
