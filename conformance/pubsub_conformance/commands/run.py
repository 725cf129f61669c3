"""`run`: test an implementation. The tests run under pytest, which shows nothing of its own."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .. import requirements
from ..judge.report import note
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_json,
    add_seed,
    add_workers,
    positive,
)

SUITE = ["--pyargs", "pubsub_conformance.suite"]

# Only what the kit itself needs, and nothing of the pytest settings and plugins that are there for
# somebody's own tests.
ISOLATED = (
    *("-c", os.devnull, "--rootdir", str(requirements.PACKAGE), "--disable-plugin-autoload"),
    "--noconftest",  # pytest would load the one of the caller's directory
    *("-p", "no:cacheprovider", "-p", "no:terminalprogress"),
    *("-p", "xdist.plugin", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin"),
    *("-p", "pubsub_conformance.plugin"),
)

WORKER = "import sys; sys.path = [path for path in sys.path if path]; exec(sys.argv[3])"
"""What a worker of xdist runs first: like the main process, it imports nothing from the current
directory. The arguments are those of Python, `-u -c PROGRAM`."""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run",
        help="test an implementation",
        description="Tests the implementation whose driver COMMAND starts (see DRIVER.md).",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    for option, metavar, what in (
        ("--requirement", "ID", "this requirement, as PUB-7"),
        ("--section", "NAME", "this page of the specification, as publish"),
        ("--role", "ROLE", "the requirements of this role, as publisher"),
    ):
        add(option, action="append", default=[], metavar=metavar, help=f"test only {what}")
    add_home(parser)
    add("--expected", metavar="FILE", help="failures that are expected, with reasons (TOML)")
    add_json(parser)
    add("--junit", metavar="FILE", help="write pytest's JUnit XML too")
    add_workers(parser, "tests at a time, or auto: two for each processor (default 2)", _workers)
    add("-x", "--exitfirst", action="store_true", help="end with the first test that fails")
    add_seed(parser)
    add_driver(parser, run)


def _workers(text: str) -> int:
    """A number of workers; 0: the main process tests. Raises argparse.ArgumentTypeError."""
    if text == "auto":  # half of the time they wait: for a process to start, for a clock to tick
        return 2 * (os.cpu_count() or 1)
    return 0 if text == "0" else positive(text)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code."""
    arguments = [*ISOLATED, "--driver", shlex.join(options.driver)]
    arguments += [f"--seed={options.seed}", f"--hypothesis-seed={options.seed}"]
    if options.workers:
        python = shlex.join([sys.executable, "-u", "-c", WORKER])
        arguments += ["--tx", f"{options.workers}*popen//python={python}", "--dist", "worksteal"]
    if options.exitfirst:
        arguments.append("--exitfirst")
    for kind in ("requirement", "section", "role"):
        arguments += [f"--{kind}={name}" for name in getattr(options, kind)]
    for option, value in (
        ("--home", options.home and os.path.abspath(options.home)),
        ("--expected", options.expected),
        ("--json", options.json),
        ("--junitxml", options.junit),
    ):
        if value:
            arguments.append(f"{option}={value}")
    # Nor anything of the variables: xdist's workers and drivers would get them too.
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="pubsub-", ignore_cleanup_errors=True) as scratch:
        # Where hypothesis would make a .hypothesis in the caller's directory.
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
        # Where pytest would make a pytest-of-USER that stays.
        arguments.append(f"--basetemp={scratch}/pytest")
        code = int(pytest.main([*arguments, *SUITE], plugins=[_Terminal()]))
    return code if code in (0, 1, 2) else 2


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
