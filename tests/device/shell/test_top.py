"""The live view: rates between looks, what is on the screen, keys, and its output for scripts."""

import argparse
import io
import json

import pytest
from shell_rig import FLOW, KEY, QUEUES, SECOND, FakeBackend

from tlsnic.device.shell import top
from tlsnic.device.shell.errors import GoneError, ShellError
from tlsnic.device.shell.render import Output


@pytest.fixture
def view(backend):
    return top.View(backend, 0, "rate")


def text_of(view, lines=40, width=100):
    return Output(io.StringIO(), width=width).render([view.shown(lines)])


def looks(backend, **changes):
    """Two looks at a device on which `changes` of the first flow happened in between."""
    before = top.take(backend, 0)
    backend.answers["flows.list"] = {"total": 1, "flows": [{**FLOW, **changes}]}
    now = top.take(backend, 0)
    return before, now


def test_rates_of_counters_flows_and_queues(backend):
    before = top.take(backend, 0)
    backend.answers["flows.list"] = {
        "total": 1,
        "flows": [{**FLOW, "packets": 190, "not_offloaded": 20, "payload_bytes": 220_000}],
    }
    measured = top.measure(before, top.take(backend, 0))
    seconds = measured["seconds"]
    assert seconds == 0.5
    assert measured["rates"]["TX_FRAMES"] == 500
    (flow,) = measured["flows"]
    assert (flow["packets_per_s"], flow["bytes_per_s"]) == (220, 200_000)
    assert flow["share"] == pytest.approx(190 / 210)


def rates_of(backend, moved, packets, queues):
    """Rates of transmit queues that moved so far while the card counted so many packets, in 0.5 s."""
    found = [{**QUEUES[2], "number": number, "producer": 500} for number in range(queues)]
    backend.answers["queues.list"] = found
    backend.counters["TX_PACKETS"] = 0
    before = top.take(backend, 0)
    backend.answers["queues.list"] = [{**each, "producer": (500 + moved) % 512} for each in found]
    backend.counters["TX_PACKETS"] = packets
    measured = top.measure(before, top.take(backend, 0))
    return [queue["packets_per_s"] for queue in measured["queues"]]


def test_rates_of_queues_whose_ring_went_round(backend):
    assert rates_of(backend, 100, 5 * 512 + 100, 1) == [5320.0]
    assert rates_of(backend, 100, 200, 2) == [200.0, 200.0]
    assert rates_of(backend, 100, 1000, 2) == [None, None], "nobody knows which of them went round"


def test_first_look_has_no_rates(backend):
    measured = top.measure(None, top.take(backend, 0))
    assert measured["seconds"] is None
    assert set(measured["rates"].values()) == {None}
    assert measured["flows"][0]["packets_per_s"] is None


def test_reset_in_between_has_no_rates(backend):
    before = top.take(backend, 0)
    backend.answers["device.info"] = {**backend._device_info(), "reset_count": 2}
    assert top.measure(before, top.take(backend, 0))["seconds"] is None


def test_flow_that_is_new_has_no_packets_from_before(backend):
    before, now = looks(backend, handle=0x99)
    assert top.measure(before, now)["flows"][0]["packets_per_s"] == 0


def test_orders():
    flows = [
        {"handle": 1, "packets_per_s": 5.0, "share": None, "packets": 1},
        {"handle": 2, "packets_per_s": 9.0, "share": 0.5, "packets": 3},
        {"handle": 3, "packets_per_s": None, "share": 0.1, "packets": 2},
    ]
    orders = {sort: [flow["handle"] for flow in top.ordered(flows, sort)] for sort in top.SORTS}
    assert orders == {
        "rate": [2, 1, 3],
        "share": [3, 2, 1],
        "handle": [1, 2, 3],
        "packets": [2, 3, 1],
    }


def test_screen_has_queues_flows_drops_and_diagnostics(view):
    view.look()
    view.look()
    shown = text_of(view)
    for part in (
        "transmit 0",
        "the wire: it is busy",
        "0x10001",
        "10.77.0.1:443 ← 10.77.0.2:40000",
        "90.0%",
        "TRACK",
        "frames/s out 500",
        "RX_TLS_ERR 1",
        "VALUE_RANGE 1",
    ):
        assert part in shown
    assert "DISABLED" not in shown
    assert KEY.hex() not in shown


@pytest.mark.parametrize(("width", "lines"), [(100, 24), (80, 24), (100, 50), (200, 20)])
def test_many_flows_and_queues_stay_on_the_screen(backend, view, width, lines):
    flows = [{**FLOW, "handle": handle} for handle in range(1000)]
    backend.answers["flows.list"] = {"total": 1000, "flows": flows}
    backend.answers["queues.list"] = [
        {**QUEUES[2], "number": number, "waits_for": "nothing"} for number in range(16)
    ]
    view.look()
    view.look()
    shown = text_of(view, lines=lines, width=width).rstrip("\n").split("\n")
    assert len(shown) <= lines
    assert max(map(len, shown)) <= width
    assert any("diagnostics" in line for line in shown)


def test_keys(view, backend):
    view.look()
    assert text_of(view).count("(rate)") == 1
    view.press("s")
    assert view.sort == "share"
    assert "(share)" in text_of(view)
    asked = len(backend.calls)
    view.press("p")
    view.look()
    assert len(backend.calls) == asked, "the picture stands still"
    assert "PAUSED" in text_of(view)
    view.press(" ")
    view.look()
    assert len(backend.calls) > asked
    view.press("x")
    assert not view.ended
    view.press("q")
    assert view.ended


def test_one_look_that_fails_is_passed_over(view, backend):
    view.look()
    before = text_of(view)

    def refuse(_method, _params):
        raise ShellError("INTERNAL", "no")

    backend.call = refuse
    view.look()
    assert text_of(view) == before


def test_device_that_goes_away_ends_it(view, backend):
    view.look()
    backend.gone = True
    with pytest.raises(GoneError):
        view.look()


@pytest.fixture
def options():
    parser = argparse.ArgumentParser()
    top.add_arguments(parser)

    def parse(*words):
        return parser.parse_args(words)

    return parse


def test_once_for_people_and_programs(options, capsys):
    backend = FakeBackend()
    assert top.once(backend, 0, options("--once", "--interval", "0.01")) == 0
    assert "frames/s out 500" in capsys.readouterr().out
    assert top.once(backend, 0, options("--json", "--interval", "0.01", "--sort", "handle")) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rates"]["TX_FRAMES"] == 500
    assert [flow["handle"] for flow in document["flows"]] == [0x10001, 0x20002]
    assert KEY.hex() not in json.dumps(document)
    assert document["now_ns"] > SECOND


def test_bad_options_and_no_device(options, capsys, tmp_path):
    assert top.main(options("--interval", "0", "--control", "x")) == 2
    assert top.main(options("--control", str(tmp_path / "none.control"))) == 1
    assert "there is no control socket" in capsys.readouterr().err
