"""Every benchmark runs, on next to no work: what it says about speed is not looked at."""

import json
from dataclasses import replace

import pytest
from bench import loss, stages, suite, tls_receive
from bench.measure import Effort

from tlsnic.qemu.cli import main

QUICK = Effort(rounds=1, scale=0.01)


# test_guest.py and test_ktls.py have those two: they need a guest, or rights.
@pytest.mark.parametrize("name", [n for n in suite.BENCHMARKS if n not in ("guest", "ktls")])
def test_a_benchmark_gives_rows_of_its_own_name(name, monkeypatch):
    # Not scaled by the effort; that many are made elsewhere, and their memory is a row of "tls".
    monkeypatch.setattr(tls_receive, "FLOWS", 1000)
    ((ran, rows),) = suite.run([name], QUICK)
    assert ran == name
    assert rows
    assert all(row.name.split(".")[0] == name.split("-", maxsplit=1)[0] for row in rows)
    assert all(row.value > 0 for row in rows)
    assert len({row.name for row in rows}) == len(rows)


def test_the_stages_of_transmit_send_what_they_say():
    bench = stages.Transmit()
    bench.whole(64, super_frames=True)
    assert bench.card.wire.counters.tx_frames == 64
    bench.whole(64, super_frames=False)
    assert bench.card.wire.counters.tx_frames == 64 + 64 * 46
    assert bench.card.nic.counters.tx_sent_packets == 128


def test_the_stages_of_receive_deliver_every_frame():
    bench = stages.Receive()
    bench.whole(640)
    counters = bench.card.nic.counters
    assert counters.rx_frames == 640
    assert counters.rx_checksum_bad == 0


def test_the_command_runs_what_it_is_told_and_writes_the_figures(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert main(["bench", "memory", "--rounds", "1", "--json", str(path)]) == 0
    names = [row["name"] for row in json.loads(path.read_text())["rows"]]
    assert names == ["memory.idle", "memory.attached"]
    assert "memory.idle" in capsys.readouterr().out


def test_the_command_lists_the_benchmarks(capsys):
    assert main(["bench", "--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(suite.BENCHMARKS)


def test_some_are_measured_only_when_they_are_named(monkeypatch):
    for name in suite.BENCHMARKS:
        monkeypatch.setitem(
            suite.BENCHMARKS, name, replace(suite.BENCHMARKS[name], run=lambda effort: [])
        )
    usual = [name for name, _ in suite.run([], QUICK)]
    assert usual == [name for name, one in suite.BENCHMARKS.items() if not one.when_named]
    assert "loss" not in usual
    assert [name for name, _ in suite.run(["loss"], QUICK)] == ["loss"]


def test_the_command_shows_and_draws_the_shares_under_loss(tmp_path, monkeypatch, capsys):
    quick = replace(suite.BENCHMARKS["loss"], run=lambda effort: loss.run(QUICK))
    monkeypatch.setitem(suite.BENCHMARKS, "loss", quick)
    plot = tmp_path / "loss.svg"
    assert main(["bench", "loss", "--plot", str(plot)]) == 0
    assert plot.read_text().startswith("<?xml")
    assert "fully/bound" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "--plot", "loss.svg"], "--plot draws one benchmark"),
        (["bench", "loss", "ktls", "--plot", "both.svg"], "--plot draws one benchmark"),
        (["bench", "warp"], "no benchmark is called warp"),
        (["bench", "--rounds", "0"], "at least one"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(words, said, capsys):
    assert main(words) == 1
    assert said in capsys.readouterr().err
