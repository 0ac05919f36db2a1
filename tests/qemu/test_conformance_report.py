"""Results by row, KTAP and JSON of the conformance suite."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsnic.qemu.conformance_report import (
    FAILED,
    MISSING,
    PASSED,
    ROWS,
    SKIPPED,
    Report,
    Result,
    ktap_end,
    ktap_result,
    ktap_start,
    merged,
    parse_rows,
)


def result(name="t", row="NET-01", outcome=PASSED, text="", **details):
    return Result(name, (row,), outcome, 0.5, text, details)


def results_strategy():
    return st.lists(
        st.builds(
            lambda number, row, outcome: result(f"t{number}", row, outcome, "because"),
            st.integers(0, 10**6),
            st.sampled_from(ROWS),
            st.sampled_from([PASSED, FAILED, SKIPPED]),
        ),
        max_size=30,
    )


def test_the_rows_are_those_of_the_list():
    assert len(ROWS) == len(set(ROWS)) == 108
    assert ROWS[0] == "BUS-01"
    assert ROWS[-1] == "KTLS-13"


@given(results_strategy())
def test_a_row_passes_only_when_all_its_tests_did(results):
    rows = Report({}, results, complete=False).rows()
    for row, content in rows.items():
        outcomes = [one.outcome for one in results if row in one.rows]
        assert (content["status"] == PASSED) == (set(outcomes) == {PASSED})
        assert content["tests"] == [one.name for one in results if row in one.rows]


@given(results_strategy())
def test_a_failure_is_never_lost(results):
    report = Report({}, results, complete=False)
    failures = sum(one.outcome == FAILED for one in results)
    assert report.count(FAILED) == failures
    assert not (report.ok and failures)
    assert f"{failures} failed" in report.summary()
    lines = "".join(ktap_result(n, one) for n, one in enumerate(results, 1)).splitlines()
    assert sum(line.startswith("not ok ") for line in lines) == failures


def test_skipped_is_not_passed():
    report = Report({}, [result(), result("s", outcome=SKIPPED, text="no x")], complete=False)
    assert report.rows()["NET-01"]["status"] == SKIPPED
    assert report.ok
    assert report.summary() == "guest-tests: 1 passed, 0 failed, 1 skipped"


def test_nothing_passed_is_not_ok():
    assert not Report({}, [], complete=False).ok
    assert not Report({}, [result(outcome=SKIPPED, text="no x")], complete=False).ok


def test_a_whole_run_without_a_test_for_a_row_fails():
    report = Report({}, [result(row=row) for row in ROWS[1:]])
    assert report.rows()[ROWS[0]]["status"] == MISSING
    assert report.count(FAILED) == 1
    assert not report.ok


def test_a_problem_outside_of_tests_fails_the_run():
    report = Report({}, [result()], complete=False, problems=["collection of x failed"])
    assert report.summary() == "guest-tests: 1 passed, 1 failed"
    assert "# collection of x failed" in ktap_end(report)


def test_the_last_line_is_the_summary():
    report = Report({}, [result()], complete=False)
    assert ktap_end(report).splitlines()[-1] == "guest-tests: 1 passed, 0 failed"


def test_ktap_lines():
    assert ktap_start(3) == "KTAP version 1\n1..3\n"
    assert ktap_result(1, result("a", count=5)) == "# count=5\nok 1 NET-01 a\n"
    failed = ktap_result(2, result("b", outcome=FAILED, text="x\ny"))
    assert failed == "# x\n# y\nnot ok 2 NET-01 b\n"
    skipped = ktap_result(3, result("c", outcome=SKIPPED, text="no\nx"))
    assert skipped == "ok 3 NET-01 c # SKIP no x\n"


def test_a_name_cannot_fake_a_directive():
    line = ktap_result(1, result("a # SKIP really", outcome=FAILED, text="x")).splitlines()[-1]
    assert "#" not in line


def test_json_and_back():
    report = Report(
        {"side": "guest"},
        [result(count=3), result("s", outcome=SKIPPED, text="why")],
        complete=False,
        not_applicable=["z"],
        problems=["p"],
    )
    data = json.loads(json.dumps(report.to_json()))
    assert Report.from_json(data).to_json() == report.to_json()
    assert data["rows"]["NET-01"] == {"status": SKIPPED, "tests": ["t", "s"]}


@pytest.mark.parametrize("data", [{}, {"tests": 1}, {"tests": [{}]}, {"tests": [{"name": "x"}]}])
def test_what_is_no_report_is_refused(data):
    with pytest.raises(ValueError, match="no conformance report"):
        Report.from_json(data)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"outcome": "fine"}, "no outcome"),
        ({"outcome": SKIPPED}, "needs a reason"),
        ({"rows": ()}, "belongs to a row"),
    ],
)
def test_results_that_make_no_sense_are_refused(fields, problem):
    good = {"name": "t", "rows": ("NET-01",), "outcome": PASSED, "duration_s": 0.0}
    with pytest.raises(ValueError, match=problem):
        Result(**{**good, **fields})


def test_merged_runs_fail_when_one_does():
    first = Report({"side": "guest"}, [result("a", row) for row in ROWS])
    second = Report({}, [result("b", "BUS-09", FAILED, "x")], complete=False)
    whole = merged([first, second])
    assert whole.rows()["BUS-09"]["status"] == FAILED
    assert whole.rows()["BUS-08"]["status"] == PASSED
    assert not whole.ok


def test_merged_runs_have_no_test_that_only_one_could_not_run():
    first = Report({}, [result("a")], complete=False, not_applicable=["b", "c", "d"])
    second = Report({}, [result("b"), result("c[vfio]"), result("dd")], complete=False)
    assert merged([first, second]).not_applicable == ["d"]


def test_rows_by_name_and_by_area():
    assert parse_rows("BUS-03") == {"BUS-03"}
    assert parse_rows("net, bus-03") == {"BUS-03", *(row for row in ROWS if row[0] == "N")}


@pytest.mark.parametrize("text", ["", ",", "BUS-11", "B", "FOO", "NET-01,XY"])
def test_rows_that_do_not_exist_are_refused(text):
    with pytest.raises(ValueError, match=r"no row"):
        parse_rows(text)
