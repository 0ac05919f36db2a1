"""Rows, deadlines and reports: the suite's hooks into pytest."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.environment import SIDE_GUEST, Environment, has_msix, side
from tlsnic.qemu.conformance_handover import REPORT_METHOD
from tlsnic.qemu.conformance_report import (
    FAILED,
    PASSED,
    ROWS,
    SKIPPED,
    Report,
    Result,
    ktap_end,
    ktap_result,
    ktap_start,
    parse_rows,
)

ENVIRONMENT = pytest.StashKey[Environment]()
DETAILS = pytest.StashKey[dict[str, object]]()
_DEADLINE_S = {SIDE_GUEST: 60.0}
_DEFAULT_DEADLINE_S = 30.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suite."""
    group = parser.getgroup("conformance")
    group.addoption("--ktap", action="store_true", help="KTAP on standard output")
    group.addoption("--rows", default="", help="only these rows: BUS,NET-03")
    group.addoption("--conformance-json", metavar="FILE", help="write the report there")
    group.addoption(
        "--share",
        metavar="N/OF",
        default="1/1",
        help="only every OF-th file, from the N-th on: the others have theirs",
    )


@pytest.hookimpl(trylast=True)  # when pytest's own reporter is there already
def pytest_configure(config: pytest.Config) -> None:
    """Markers, and the reporter."""
    for line in (
        "row(id, ...): rows of the conformance list that the test belongs to",
        'side(name): the test is made for "host" or "guest" only',
        "msix: the test needs MSI-X, which uio_pci_generic does not have",
        "nic(**options): NicOptions of the nic fixture",
        "root: needs the right to make namespaces and TAP devices",
        "deadline(seconds): time for each of set-up, test and clean-up",
    ):
        config.addinivalue_line("markers", line)
    config.pluginmanager.register(Conformance(config), "tlsnic-conformance")


class Conformance:
    """One run of the suite; other tests of the same session are left alone."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        rows = config.getoption("--rows", default="")
        try:
            self._rows = parse_rows(rows) if rows else frozenset(ROWS)
        except ValueError as error:
            raise pytest.UsageError(f"--rows: {error}") from None
        self._share = share_of(config.getoption("--share", default="1/1"))
        self._folder = Path(__file__).resolve().parents[1]
        self._prefix = f"{self._folder}/"
        self._ktap = bool(config.getoption("--ktap", default=False))
        self._phases: dict[str, list[pytest.TestReport]] = {}
        self._planned = 0
        filtered = bool(rows or config.option.keyword or config.option.markexpr)
        named = [
            word
            for word in config.args
            if Path(word.partition("::")[0]).resolve() not in (self._folder, *self._folder.parents)
        ]
        whole = not filtered and not named and self._share == (1, 1)
        self.report = Report({"side": side()}, complete=whole)
        if self._ktap:
            # Started by `tlsnic conformance`, which ends it this way: clean up as for Ctrl-C.
            signal.signal(signal.SIGTERM, _interrupt)
            # Its place is taken, not its plugin blocked: others look up its options.
            reporter = config.pluginmanager.getplugin("terminalreporter")
            if reporter is not None:
                config.pluginmanager.unregister(reporter)

    def _is_ours(self, item: pytest.Item) -> bool:
        # As text, which the path keeps: its parents are objects that are made each time.
        return str(item.path).startswith(self._prefix)

    # Choosing

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept, left_out = [], []
        files = list(dict.fromkeys(str(item.path) for item in items if self._is_ours(item)))
        number, of = self._share
        mine = set(files[number - 1 :: of])
        for item in items:
            chosen = not self._is_ours(item) or (str(item.path) in mine and self._chosen(item))
            (kept if chosen else left_out).append(item)
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = kept
        self._planned = sum(self._is_ours(item) for item in items)

    def _chosen(self, item: pytest.Item) -> bool:
        rows = rows_of(item)
        if not rows:
            raise pytest.UsageError(f"{item.nodeid} has no row marker")
        if not self._rows & set(rows):
            return False
        wanted = item.get_closest_marker("side")
        no_msix = not has_msix() and item.get_closest_marker("msix") is not None
        if no_msix or (wanted is not None and wanted.args[0] != side()):
            self.report.not_applicable.append(name_of(item))
            return False
        return True

    def pytest_collection_finish(self) -> None:
        if self._ktap:
            self._say(ktap_start(self._planned))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.report.problems.append(
                f"{report.nodeid} was not collected:\n{report.longreprtext}"
            )

    # Deadlines

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self._deadline(item, "set-up"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self._deadline(item, "the test"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self._deadline(item, "clean-up"):
            return (yield)

    @contextmanager
    def _deadline(self, item: pytest.Item, what: str) -> Iterator[None]:
        if not self._is_ours(item):
            yield
            return
        marker = item.get_closest_marker("deadline")
        default_s = _DEADLINE_S.get(side(), _DEFAULT_DEADLINE_S)
        limit_s = float(marker.args[0]) if marker else default_s

        def late(*_: object) -> None:
            pytest.fail(f"{what} took longer than {limit_s:g} s")

        # pytest-timeout, where it is installed, has the same signal: give back what was set.
        before = signal.signal(signal.SIGALRM, late)
        left_s, _ = signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            if left_s:
                signal.setitimer(signal.ITIMER_REAL, left_s)

    # Results

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if self._is_ours(item):
            if report.failed:
                self._add_device_log(report)
            self._phases.setdefault(item.nodeid, []).append(report)
            if report.when == "teardown":
                self._finish(item)
        return report

    def _add_device_log(self, report: pytest.TestReport) -> None:
        environment = self._config.stash.get(ENVIRONMENT, None)
        log = "" if environment is None else environment.device_log()
        if log:
            report.sections.append(("device log", log))

    def _finish(self, item: pytest.Item) -> None:
        phases = self._phases.pop(item.nodeid)
        outcome, text = outcome_of(phases)
        result = Result(
            name_of(item),
            rows_of(item),
            outcome,
            sum(phase.duration for phase in phases),
            text,
            dict(item.stash.get(DETAILS, {})),
        )
        self.report.results.append(result)
        if self._ktap:
            self._say(ktap_result(len(self.report.results), result))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        environment = self._config.stash.get(ENVIRONMENT, None)
        if environment is not None:
            self.report.environment = environment.describe()
        missing = self._planned - len(self.report.results)
        if missing > 0 and not self._config.option.collectonly:
            self.report.problems.append(f"{missing} of {self._planned} tests did not run")
        if environment is not None and environment.side == SIDE_GUEST:
            environment.call(REPORT_METHOD, report=self.report.to_json())
        if environment is not None:
            self.report.problems += environment.close()
        if self._is_reporting and not self._config.option.collectonly:
            self._finish_run(session)

    @property
    def _is_reporting(self) -> bool:
        return self._ktap or bool(self._config.getoption("--conformance-json", default=None))

    def _finish_run(self, session: pytest.Session) -> None:
        path = self._config.getoption("--conformance-json", default=None)
        if path:
            Path(path).write_text(json.dumps(self.report.to_json(), indent=1) + "\n")
        if self._ktap:
            self._say(ktap_end(self.report))
        if not self.report.ok and session.exitstatus in (0, 5):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _say(self, text: str) -> None:
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is None:
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        with capture.global_and_fixture_disabled():
            sys.stdout.write(text)
            sys.stdout.flush()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def rows_of(item: pytest.Item) -> tuple[str, ...]:
    """Rows that a test belongs to. UsageError for one that is not in the list."""
    rows = tuple(row for marker in item.iter_markers("row") for row in marker.args)
    for row in rows:
        if row not in ROWS:
            raise pytest.UsageError(f"{item.nodeid}: there is no row {row!r}")
    return rows


def share_of(text: str) -> tuple[int, int]:
    """(1, 2) of "1/2": the first of two shares. UsageError when it is none."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise pytest.UsageError(f"--share {text}: this is no share; the first of two is 1/2")
    return int(number), int(of)


def name_of(item: pytest.Item) -> str:
    """A test's name for reports: without its folder."""
    return item.nodeid.rpartition("/")[2]


def outcome_of(phases: list[pytest.TestReport]) -> tuple[str, str]:
    """What set-up, call and clean-up of a test come to together, and why.

    A test passes only when it was really called, and all three went well. An expected failure is
    a failure: the rows say what must work.
    """
    for phase in phases:
        if phase.failed or hasattr(phase, "wasxfail"):
            sections = [f"--- {title} ---\n{text}" for title, text in phase.sections if text]
            reason = getattr(phase, "wasxfail", "")
            return FAILED, "\n".join([reason or phase.longreprtext, *sections])
    for phase in phases:
        if phase.skipped:
            reason = phase.longrepr[2] if isinstance(phase.longrepr, tuple) else phase.longreprtext
            return SKIPPED, str(reason).removeprefix("Skipped: ") or "no reason given"
    called = any(phase.when == "call" and phase.passed for phase in phases)
    return (PASSED, "") if called else (FAILED, "the test was never called")
