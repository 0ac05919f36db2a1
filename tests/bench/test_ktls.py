"""The KTLS tables: figures of made-up samples, why a target is missed, the plot; and a real run."""

from dataclasses import replace

import pytest
from bench import ktls, suite
from bench.ktls import NIC, PLAIN, SOFTWARE, USERLAND, KtlsRow, rows
from bench.ktls_report import explain, plot, show
from bench.ktls_rig import CIPHERS, Sample
from bench.measure import Effort
from needs import needs_taps
from rich.console import Console

from tlsnic.qemu.cli import main

CRYPTO = [dict.fromkeys(CIPHERS, 0.4)] * 3
HOST = {PLAIN: 1.0, USERLAND: 5.0, SOFTWARE[1]: 4.0, SOFTWARE[2]: 4.5}


def made_up(nic, touched=0.0):
    """Three rounds; the middle one is as HOST says, NIC TLS costs `nic`."""
    found = []
    for speed in (1.0, 0.5, 3.0):
        samples = {}
        for cipher in ("", *CIPHERS):
            for mode in HOST | {NIC: nic}:
                if (mode == PLAIN) == (not cipher):
                    cost = (HOST | {NIC: nic})[mode] * speed
                    bytes_touched = round((mode != PLAIN) * (touched if mode == NIC else 1) * 1e9)
                    sample = Sample(10**9, 10 * speed, cost, 2 * speed, bytes_touched)
                    samples[mode, cipher] = sample
        found.append(samples)
    return rows(found, CRYPTO)


def test_figures_are_medians_and_ratios_are_those_of_rounds():
    by_name = {row.name: row for row in made_up(1.2)}
    assert len(by_name) == 9
    nic = by_name["ktls.nic.AES-128-GCM"]
    assert (nic.value, nic.baseline, nic.goodput_mb_s) == (1.2, 4.0, 100.0)
    assert nic.ratio == pytest.approx(0.3)
    assert nic.against_plain == pytest.approx(1.2)
    assert nic.added_s_gb == pytest.approx(0.2)
    assert (nic.device_s_gb, nic.touched, nic.crypto_s_gb) == (2.0, 0.0, 0.4)
    assert nic.met is True
    software = by_name["ktls.sw-1.AES-256-GCM"]
    assert (software.ratio, software.touched, software.met) == (4.0, 1.0, None)
    assert by_name["ktls.plain"].as_dict()["host_s_gb"] == 1.0


@pytest.mark.parametrize(("nic", "touched", "met"), [(1.2, 0.01, False), (1.5, 0.0, False),
                                                     (1.3, 0.004, True)])  # fmt: skip
def test_nic_tls_has_two_targets(nic, touched, met):
    assert [row.met for row in made_up(nic, touched) if row.mode == NIC] == [met, met]


def test_a_miss_is_explained_with_its_figures():
    assert not explain(made_up(1.2))
    first, second = explain(made_up(2.0))
    assert first.startswith("AES-128-GCM: a third of software KTLS is 1.33 s/GB.")
    assert "without any TLS costs 1.00 s/GB, 16 µs for 16 KiB" in first
    assert "for a third it had to cost at most 1.50 s/GB, 25 µs for 16 KiB" in first
    assert "1.00 / 4.00 = 0.25 is the least" in first
    assert "3.00 s/GB in software, of which AES-GCM alone is 0.40; 1.00 with the card" in first
    assert "0.33 of it" in first
    assert second.startswith("AES-256-GCM")


def test_the_table_and_the_plot(tmp_path, capsys):
    found = made_up(2.0)
    show(found, Console(width=400))
    printed = capsys.readouterr().out
    assert ["NIC", "TLS", "AES-128-GCM", "100", "1.00", "2.00", "2.00", "1.00", "2.00", "0.00"] in [
        line.split() for line in printed.splitlines()
    ]
    assert "(missed: at most 0.33)" in printed
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    plot(found, first)
    plot(found, second)
    assert first.read_bytes() == second.read_bytes()
    assert b"NIC TLS, AES-256-GCM" in first.read_bytes()


def test_the_command_draws_it(tmp_path, monkeypatch, capsys):
    quick = replace(suite.BENCHMARKS["ktls"], run=lambda effort: made_up(1.2))
    monkeypatch.setitem(suite.BENCHMARKS, "ktls", quick)
    path = tmp_path / "ktls.svg"
    assert main(["bench", "ktls", "--plot", str(path), "--json", str(tmp_path / "json")]) == 0
    assert path.read_text().startswith("<?xml")
    assert "reached" in capsys.readouterr().out


@pytest.mark.root
@needs_taps
def test_a_run_touches_what_it_should():
    found = {row.name: row for row in ktls.run(Effort(rounds=1, scale=0.05))}
    assert all(isinstance(row, KtlsRow) and row.value > 0 for row in found.values())
    for cipher in CIPHERS:
        assert found[f"ktls.userland.{cipher}"].touched > 5
        assert found[f"ktls.sw-1.{cipher}"].touched == pytest.approx(1, abs=0.05)
        assert found[f"ktls.sw-2.{cipher}"].touched == pytest.approx(1, abs=0.05)
        assert found[f"ktls.nic.{cipher}"].touched < 0.05
        assert found[f"ktls.nic.{cipher}"].device_s_gb > 0
    assert found["ktls.plain"].touched < 0.05
