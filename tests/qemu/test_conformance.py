"""The command line of `tlsnic conformance`, and a short run of the suite through it."""

import argparse
import json
from pathlib import Path

import pytest

from tlsnic.qemu import conformance
from tlsnic.qemu.conformance_report import ROWS, Report, Result
from tlsnic.qemu.errors import UserError
from tlsnic.qemu.linux_rows import LINUX_ROWS, ROUTINE, WHEN_NAMED, row_of

SUITE = Path(__file__).resolve().parents[2] / "guest-tests"


def parsed(*words):
    parser = argparse.ArgumentParser()
    conformance.add_arguments(parser)
    return parser.parse_args(words)


def test_rows_and_expression_reach_pytest():
    args = parsed("--rows", "BUS,NET-03", "-k", "ring or vlan")
    command = conformance.suite_command(args, "suite", python="python3", extra=["--x"])
    assert command[:3] == ["python3", "-m", "pytest"]
    assert command[-1] == "suite"
    assert "--rows=BUS,NET-03" in command
    assert command[command.index("-k") + 1] == "ring or vlan"
    assert {"--ktap", "--x"} <= set(command)


@pytest.mark.parametrize("rows", ["BUS-11", "X", ","])
def test_rows_that_do_not_exist_are_refused_before_anything_starts(rows):
    with pytest.raises(UserError, match="--rows"):
        conformance.main(parsed("--rows", rows))


def test_a_report_that_could_not_be_written_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        conformance.main(parsed("--json", str(tmp_path / "missing" / "out.json")))


def test_the_msix_part_names_files_that_exist():
    for name in conformance.MSIX_FILES:
        assert (SUITE / name).is_file()


def test_every_row_has_a_test_named_after_it():
    texts = "".join(path.read_text() for path in SUITE.glob("test_*.py"))
    for row in ROWS:
        assert f"def test_{row.lower().replace('-', '_')}_" in texts, row


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], ["msix", "linux"]),
        (["--rows", "BUS"], ["msix"]),
        (["--rows", "NET"], []),
        (["--rows", "NET,LNX-02"], ["linux"]),
        (["-k", "vlan"], []),
    ],
)
def test_further_guests_are_only_started_where_they_add_something(words, wanted):
    assert [part.name for part in conformance._others(parsed(*words))] == wanted


def test_rows_of_the_linux_driver_alone_need_no_other_guest():
    assert conformance._only_linux(parsed("--rows", "LNX-01,LNX-04"))
    assert not conformance._only_linux(parsed("--rows", "LNX-01,BUS"))
    assert not conformance._only_linux(parsed())


def test_every_body_of_the_linux_driver_has_a_file_and_a_row():
    for name in (*ROUTINE, *WHEN_NAMED):
        body, _, wire = name.partition("@")
        assert (SUITE / "linux" / f"{body}.py").is_file()
        assert row_of(name) in LINUX_ROWS
        assert wire in ("", "loss", "lossy")


def test_results_of_the_second_guest_keep_their_names_apart():
    report = Report({}, [Result("a", ("BUS-09",), "passed", 0.1)])
    (result,) = conformance._renamed(report, "vfio-pci").results
    assert result.name == "a[vfio-pci]"


def test_a_short_run_on_the_host(tmp_path, capfd):
    out = tmp_path / "out.json"
    status = conformance.main(parsed("--rows", "NET-04", "--json", str(out)))
    printed = capfd.readouterr().out
    data = json.loads(out.read_text())
    assert status == 0, printed
    assert data["rows"]["NET-04"]["status"] == "passed"
    assert list(data["rows"]) == ["NET-04"]
    assert printed.startswith("KTAP version 1\n")
    assert printed.splitlines()[-1] == f"guest-tests: {data['passed']} passed, 0 failed"
