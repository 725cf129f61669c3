"""The tests of `run` run under pytest, which shows nothing of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..judge.report import note
from ..judge.report.run import RunReport
from ..plugin import COLLECTOR
from ..plugin.collector import Collector
from ..plugin.session import SESSION


def run(arguments: Sequence[str], said: Mapping[str, Any]) -> RunReport | None:
    """Run pytest with these arguments. `said` is the hello of the driver.

    Returns the report, however pytest ended; None if it did not begin.
    """
    # Nothing of the variables that are there for somebody's own tests: xdist's workers and drivers
    # would get them too.
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    judging = _Judging(said)
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="pubsub-", ignore_cleanup_errors=True) as scratch:
        # Where hypothesis would make a .hypothesis in the caller's directory.
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
        # Where pytest would make a pytest-of-USER that stays.
        temporary = f"--basetemp={scratch}/pytest"
        try:
            pytest.main([*arguments, temporary], plugins=[judging, _Terminal()])
        except KeyboardInterrupt:  # the second: pytest ends after the first
            interrupted = True
    return judging.collector.judge(interrupted) if judging.collector else None


class _Judging:
    """Gives the plugin the hello of the driver, and has what it collects."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = said
        self.collector: Collector | None = None

    @pytest.hookimpl(trylast=True)  # after the plugin's own
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[SESSION].hello = dict(self._said)
        self.collector = config.pluginmanager.get_plugin(COLLECTOR)


class _Terminal:
    """On a terminal, a bar shows how far the run is, in the place of pytest's own output."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    @pytest.hookimpl(trylast=True)  # after pytest has made its reporter
    def pytest_configure(self, config: pytest.Config) -> None:
        nowhere = open(os.devnull, "w")  # noqa: SIM115 (as long as the run)
        config.add_cleanup(nowhere.close)
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(pytest.TerminalReporter(config, nowhere), "terminalreporter")

    def pytest_internalerror(self, excrepr: object) -> None:
        note(str(excrepr))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # not in xdist's main process, which collects nothing
            self._begin(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._begin(len(ids))

    def _begin(self, total: int) -> None:
        if self._bar or not sys.stderr.isatty():
            return
        self._bar = Progress(
            *(TextColumn("{task.description}"), BarColumn()),
            *(MofNCompleteColumn(), TimeElapsedColumn()),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread in a process that starts others
            redirect_stdout=False,  # pytest redirects them
            redirect_stderr=False,
            transient=True,
        )
        self._bar.add_task("tests", total=total)
        self._bar.start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._bar and report.when == "teardown":
            self._bar.advance(self._bar.task_ids[0])
            self._bar.refresh()

    @pytest.hookimpl(tryfirst=True)  # before the report
    def pytest_sessionfinish(self) -> None:
        if self._bar:
            self._bar.stop()
