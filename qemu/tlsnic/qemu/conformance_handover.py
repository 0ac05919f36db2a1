"""The call by which a guest hands over the suite's report."""

from __future__ import annotations

from collections.abc import Mapping

from tlsnic.qemu.conformance_report import Report

REPORT_METHOD = "conformance.report"
"""Its one argument is `report`, as `Report.to_json` makes it."""


class Handover:
    """Takes the report of one guest: `report` is None until it has come."""

    def __init__(self) -> None:
        self.report: Report | None = None

    def take(self, report: Mapping[str, object]) -> None:
        """What answers REPORT_METHOD."""
        self.report = Report.from_json(report)
