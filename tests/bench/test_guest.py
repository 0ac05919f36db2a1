"""The HTTPS table: its arithmetic, and how it is shown. The guest is replaced by known figures."""

from types import SimpleNamespace

import pytest
from bench import guest, guest_report
from bench.measure import Effort
from rich.console import Console

from tlsnic.qemu import linux

MBYTES = 20_000_000
# Seconds of a transfer and of CPU, in each of three rounds: the last is of a machine twice as slow.
ROUNDS = {
    "userland": [(1.0, 1.0), (1.0, 1.2), (2.0, 2.0)],
    "kernel": [(0.8, 0.9), (0.8, 0.9), (1.6, 1.8)],
    "card": [(0.5, 0.4), (0.5, 0.4), (1.0, 0.8)],
}


@pytest.fixture
def rows(monkeypatch):
    """What comes of the figures above, for one case."""
    asked = []

    def launch(script, *, on_call, timeout_s):
        asked.append((script, timeout_s))
        for figures in zip(*ROUNDS.values(), strict=True):
            for way, (elapsed_s, cpu_s) in zip(ROUNDS, figures, strict=True):
                on_call["bench.figure"](
                    way=way,
                    suite="AES-128-GCM",
                    workers=1,
                    bytes=MBYTES,
                    elapsed_s=elapsed_s,
                    cpu_s=cpu_s,
                )
        return SimpleNamespace(exit_status=0)

    monkeypatch.setattr(linux, "launch_linux", launch)
    found = guest.run(Effort(rounds=3))
    assert asked[0][0] == ["speed.py", "3", "20"]
    return found


def test_ratios_are_taken_within_each_round(rows):
    beside_kernel, beside_userland = rows
    case = beside_kernel.case
    assert case.goodput("card") == 40.0
    assert case.cpu("userland") == pytest.approx(60.0)
    assert beside_userland.ratio == case.faster("userland") == 2.0
    assert beside_kernel.ratio == case.faster("kernel") == pytest.approx(1.6)
    assert case.share("userland") == pytest.approx(0.4)
    assert case.share("kernel") == pytest.approx(4 / 9)


def test_goodput_or_cpu_is_enough(rows):
    assert [row.met for row in rows] == [True, True]
    case = rows[0].case
    cheap = case.figures["kernel"]
    case.figures["kernel"] = [
        guest.Figure("kernel", "AES-128-GCM", 1, MBYTES, figure.elapsed_s, figure.cpu_s / 2)
        for figure in cheap
    ]
    assert rows[0].met is False
    assert rows[0].as_dict()["met"] is False


def test_names_are_the_benchmarks_own(rows):
    assert [row.name for row in rows] == [
        "guest.AES-128-GCM.1.kernel",
        "guest.AES-128-GCM.1.userland",
    ]


def test_a_guest_that_fails_is_no_figure(monkeypatch):
    failed = SimpleNamespace(exit_status=1, output="AssertionError: TlsTxSw", console="")
    monkeypatch.setattr(linux, "launch_linux", lambda script, **options: failed)
    with pytest.raises(RuntimeError, match="TlsTxSw"):
        guest.run(Effort(rounds=1))


def test_the_table_has_every_way_and_verdict(rows, capsys):
    guest_report.show(rows, Console(width=120))
    said = capsys.readouterr().out
    for words in (*guest.WAYS.values(), "40.0", "2.00 ×", "0.40 ×", "reached"):
        assert words in said


def test_the_same_figures_give_the_same_plot(rows, tmp_path):
    for name in ("a.svg", "b.svg"):
        guest_report.plot(rows, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"kTLS on the card" in (tmp_path / "a.svg").read_bytes()
