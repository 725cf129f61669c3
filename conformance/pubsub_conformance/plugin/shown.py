"""The report at the end of pytest, for those who call pytest and not `pubsub-conformance run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..judge import report
from ..judge.report.run import RunReport
from .collector import Collector


class Shown:
    """Sets the exit code, shows the report, and writes it as JSON if `--json` asks for it."""

    def __init__(self, config: pytest.Config, collector: Collector) -> None:
        self._config = config
        self._collector = collector
        self._session: pytest.Session | None = None
        self._report: RunReport | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge, set the exit code, and write the file."""
        self._report = self._collector.judge()
        if not self._report:  # no handshake, or --collect-only
            return
        self._session = session
        session.exitstatus = self._report.verdict.value
        if path := self._config.getoption("json"):
            command, seed = self._report.command, self._report.seed
            text = report.as_text(self._report, command, seed)
            try:
                Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                report.note(f"--json: {error}")
                session.exitstatus = 2

    def pytest_terminal_summary(self) -> None:
        """Show the report."""
        if self._report and self._session and not report.show(self._report):
            self._session.exitstatus = 2
