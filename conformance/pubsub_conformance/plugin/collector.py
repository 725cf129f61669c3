"""The main process collects what its workers found, and makes the report of it."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ..judge.outcome import RANK, Outcome, RequirementResult, TestResult, combine
from ..judge.report.machine import file_system_of
from ..judge.report.run import RunReport
from ..names import Unknown, find
from ..pinned import NO_TEST
from .session import Session, name_in_suite

SKIPPED = "the test was not started"
AFTERWARDS = "[descriptors]"
"""Behind the name of a test: what its drivers had open when it ended."""

_FIELDS = ("reason", "expected", "done", "base", "reasons")
"""Of a test's result, where there is something to say."""


class Collector:
    """The plugin of the main process alone."""

    def __init__(self, config: pytest.Config, kit: Session) -> None:
        self._config = config
        self._kit = kit
        self._tests: dict[str, TestResult] = {}
        self._problems: list[str] = []
        self._interrupted = False
        self._started = datetime.datetime.now(datetime.timezone.utc)
        self._clock = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the report of a phase, from whichever process."""
        found = getattr(report, "conformance", None)
        if found is not None:
            self._take(report, found)
        elif report.failed:  # xdist's own report on a worker that died
            self._problems.append(f"{report.nodeid}: {report.longreprtext}")

    def _take(self, report: pytest.TestReport, found: Mapping[str, Any]) -> None:
        """Keep the most serious outcome of a test's three phases.

        Of a test that passed and left descriptors open there are two results: the other one is of
        BASE-16, which the test does not name.
        """
        node = report.nodeid
        if found["afterwards"]:
            node += AFTERWARDS
        self._kit.tests[node] = found["requirements"]
        result = TestResult(
            name_in_suite(node),
            Outcome(found["outcome"]),
            report.duration,
            **{key: found[key] for key in _FIELDS if key in found},
        )
        if found["broken"]:
            self._problems.append(f"{result.name}: {result.reason}")
        before = self._tests.get(node)
        if before is None or RANK[result.outcome] > RANK[before.outcome]:
            self._tests[node] = result

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a test module that cannot be imported."""
        if report.failed:
            self._problems.append(f"{report.nodeid}: {report.longreprtext}")

    def pytest_internalerror(self, excrepr: object) -> None:
        """Note an error of pytest or of the kit."""
        self._problems.append(str(excrepr))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note Ctrl-C: the report is partial."""
        # After the failure that -x awaits, xdist ends by an exception that inherits from this one.
        self._interrupted = excinfo.type is KeyboardInterrupt

    def judge(self, interrupted: bool = False) -> RunReport | None:
        """The report, of all that is known by now. None without a handshake."""
        self._interrupted |= interrupted
        if not self._kit.hello:
            return None
        if not self._interrupted:
            for node in self._kit.tests.keys() - self._tests.keys():
                self._tests[node] = TestResult(name_in_suite(node), Outcome.NOT_RUN, reason=SKIPPED)
        results = []
        for requirement in self._kit.requirements.values():
            if requirement.id not in self._kit.selected:
                continue
            nodes = [node for node, ids in self._kit.tests.items() if requirement.id in ids]
            tests = [
                self._tests[node].about(requirement.id)
                for node in sorted(nodes)
                if node in self._tests
            ]
            if requirement.id in self._kit.without_test:
                results.append(RequirementResult(requirement, Outcome.NOT_RUN, NO_TEST, []))
            elif tests or requirement.untested:
                results.append(combine(requirement, tests, self._kit.expected))
        home = self._config.getoption("home")
        return RunReport(
            implementation=self._kit.hello,
            command=self._kit.command,
            home=home,
            seed=self._config.getoption("seed"),
            started=self._started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self._clock,
            file_system=file_system_of(Path(home or tempfile.gettempdir())),
            results=results,
            problems=[*self._problems, *self._unknown_tests()],
            expected=self._kit.expected,
            requirements=self._config.getoption("requirements"),
            interrupted=self._interrupted,
            complete=self._kit.selected == self._kit.requirements.keys(),
            quiet=self._config.getoption("quiet_report"),
        )

    def _unknown_tests(self) -> Iterator[str]:
        """The entries of the list of expected failures for tests that do not exist."""
        if self._interrupted:
            return
        for requirement, test in self._kit.expected:
            names = [
                name_in_suite(node) for node, ids in self._kit.tests.items() if requirement in ids
            ]
            known = dict.fromkeys([*(name.partition("[")[0] for name in names), *names])
            if test and test not in known and requirement in self._kit.selected:
                try:
                    find(test, known, f"test of {requirement}")
                except Unknown as error:
                    yield f"the list of expected failures: {error}"
