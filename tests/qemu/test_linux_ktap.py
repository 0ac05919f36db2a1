"""The little runner of the Linux driver's tests: what it runs, prints and reports."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "guest-tests/linux/ktap.py"


@pytest.fixture(scope="module")
def ktap():
    spec = importlib.util.spec_from_file_location("linux_ktap", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def prepare():
    RAN.append("prepare")


def test_good():
    RAN.append("good")
    return {"share": 0.5}


def test_bad():
    RAN.append("bad")
    assert RAN == "no", "this one is bad"


test_good.__test__ = test_bad.__test__ = False  # for the runner, not for pytest
RAN = []


@pytest.fixture(autouse=True)
def _forget():
    RAN.clear()


def after():
    RAN.append("after")


def run(ktap, tests, *, after=after, **options):
    group = ktap.Group("LNX-01", tests, before=lambda: RAN.append("before"))
    return ktap.run([group], after, **options)


def test_every_test_has_a_line_and_a_result(ktap, capsys):
    report = run(ktap, [prepare, test_good, test_bad])
    assert RAN == ["before", "prepare", "after", "good", "after", "bad", "after"]
    outcomes = [result.outcome for result in report.results]
    assert outcomes == ["passed", "passed", "failed"]
    assert not report.ok
    assert "this one is bad" in report.results[2].text
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["KTAP version 1", "1..3"]
    assert "# share=0.5" in said
    assert any(line.startswith("ok 2 LNX-01 ") and line.endswith("test_good") for line in said)
    assert any(line.startswith("not ok 3 LNX-01 ") for line in said)
    assert said[-1] == "guest-tests: 2 passed, 1 failed"


def test_what_follows_a_test_counts_as_part_of_it(ktap):
    def warns():
        raise AssertionError("in the kernel's log")

    report = run(ktap, [test_good], after=warns)
    assert report.results[0].outcome == "failed"
    assert "in the kernel's log" in report.results[0].text


def test_a_skip_says_why(ktap, capsys):
    def test_of_another_machine():
        raise ktap.Skip("no such machine")

    report = run(ktap, [test_of_another_machine, test_good])
    assert [result.outcome for result in report.results] == ["skipped", "passed"]
    assert "# SKIP no such machine" in capsys.readouterr().out


def test_labels_tell_repetitions_apart(ktap):
    group = ktap.Group("LNX-02", [test_good], label="lossy")
    (result,) = ktap.run([group], after).results
    assert result.name.endswith("test_good[lossy]")
    assert result.rows == ("LNX-02",)


def test_chosen_tests_bring_their_preparation_along(ktap):
    report = run(ktap, [prepare, test_good, test_bad], chosen="good")
    assert RAN == ["before", "prepare", "after", "good", "after"]
    assert report.ok


def test_several_parts_of_names_choose(ktap):
    run(ktap, [prepare, test_good, test_bad], chosen="goo,ad")
    assert [name for name in RAN if name != "after"] == ["before", "prepare", "good", "bad"]


def test_a_group_without_a_chosen_test_is_left_out(ktap):
    run(ktap, [prepare, test_good], chosen="nothing")
    assert RAN == []


def test_a_group_that_only_prepares_is_always_run(ktap):
    run(ktap, [prepare], chosen="nothing")
    assert RAN == ["before", "prepare", "after"]


def after_attempts(ktap, tests, *, attempts, after=after):
    group = ktap.Group("LNX-02", tests, attempts=attempts)
    (result,) = ktap.run([group], after).results
    return result


def test_what_fails_at_first_may_have_more_attempts(ktap, capsys):
    def test_third_time_lucky():
        RAN.append("try")
        assert RAN.count("try") == 3, f"try {RAN.count('try')}"
        return {"share": 0.5}

    result = after_attempts(ktap, [test_third_time_lucky], attempts=3)
    assert RAN == ["try", "after"] * 3
    assert result.outcome == "passed"
    assert result.details["attempts"] == 3
    assert result.details["first"].startswith("AssertionError: try 1")
    assert "attempts=3" in capsys.readouterr().out


def test_more_attempts_are_not_endless(ktap):
    result = after_attempts(ktap, [test_bad], attempts=3)
    assert RAN == ["bad", "after"] * 3
    assert (result.outcome, result.details["attempts"]) == ("failed", 3)


def test_what_follows_a_test_is_not_attempted_again(ktap):
    def warns():
        RAN.append("warns")
        raise AssertionError("in the kernel's log")

    result = after_attempts(ktap, [test_bad], attempts=3, after=warns)
    assert RAN == ["bad", "warns"]
    assert "this one is bad" in result.text
    assert "in the kernel's log" in result.text
