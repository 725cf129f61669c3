"""The command line: `pubsub-conformance run … -- COMMAND…` and `pubsub-conformance list`."""

import argparse
import os
import random
import shlex
import sys
import tempfile
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pubsub_conformance import __version__, requirements

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

EXIT_CODES = "Exit codes: 0 conforms, 1 does not conform, 2 could not be judged, or interrupted."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if "--" in arguments:  # by hand: argparse's own "--" differs between versions of Python
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.action == "list":
            return _list(options.ids or command)
        if not command:
            parser.error("run: the driver's command is missing: run [options] -- COMMAND…")
        return _run(options, command)
    except requirements.SpecError as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pubsub-conformance",
        description="Tests an implementation of the pubsub specification through its driver.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    actions = parser.add_subparsers(dest="action", required=True)
    run = actions.add_parser(
        "run",
        usage="%(prog)s [options] -- COMMAND…",
        help="test an implementation",
        description="Tests the implementation whose driver is started by COMMAND (see DRIVER.md).",
        epilog=EXIT_CODES,
    )
    add = run.add_argument
    add("--requirement", action="append", default=[], metavar="ID", help="only this one, as PUB-7")
    add("--section", action="append", default=[], metavar="NAME", help="only this page of the spec")
    add("--role", action="append", default=[], metavar="ROLE", help="only what binds this role")
    add("--home", metavar="DIR", help="test on the file system of DIR (default: TMPDIR or /tmp)")
    add("--expected", metavar="FILE", help="failures that are expected, with reasons (TOML)")
    add("--json", metavar="FILE", help="write the report as JSON too")
    add("--junit", metavar="FILE", help="write pytest's JUnit XML too")
    # Two and not one a core: a verdict must not depend on how busy the machine is.
    add("-n", default="2", dest="workers", metavar="N", help="tests at a time, or auto (default 2)")
    add("--seed", type=int, metavar="N", help="repeat a run's randomness (default: drawn, shown)")
    show = actions.add_parser(
        "list",
        help="list the requirements",
        description="Lists all requirements, or shows those named in full.",
    )
    show.add_argument("ids", nargs="*", metavar="ID")
    return parser


def _run(options: argparse.Namespace, command: Sequence[str]) -> int:
    seed = random.randrange(2**32) if options.seed is None else options.seed
    arguments = [*ISOLATED, "--driver", shlex.join(command), f"--seed={seed}"]
    arguments += [f"--hypothesis-seed={seed}", f"--numprocesses={options.workers}"]
    if options.workers != "0":
        arguments += ["--dist", "worksteal"]
    for kind in ("requirement", "section", "role"):
        arguments += [f"--{kind}={name}" for name in getattr(options, kind)]
    for option, value in (
        ("--home", options.home and os.path.abspath(options.home)),
        ("--expected", options.expected),
        ("--json", options.json),
        ("--junitxml", options.junit),
    ):
        if value:
            arguments += [f"{option}={value}"]
    with tempfile.TemporaryDirectory() as scratch:
        # Where hypothesis would make a .hypothesis in the caller's directory.
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", scratch)
        code = int(pytest.main([*arguments, *SUITE], plugins=[_Terminal()]))
    return code if code in (0, 1, 2) else 2


class _Terminal:
    """Pytest's own output gives way to a bar that shows how far the run is, on a terminal."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    @pytest.hookimpl(trylast=True)  # after pytest has made its reporter
    def pytest_configure(self, config: pytest.Config) -> None:
        nowhere = open(os.devnull, "w")  # noqa: SIM115 (as long as the run)
        config.add_cleanup(nowhere.close)
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(pytest.TerminalReporter(config, nowhere), "terminalreporter")

    def pytest_internalerror(self, excrepr: object) -> None:
        print(excrepr, file=sys.stderr)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # not in xdist's main process, which collects nothing
            self._begin(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._begin(len(ids))

    def _begin(self, total: int) -> None:
        if self.bar or not sys.stderr.isatty():
            return
        self.bar = Progress(
            *(TextColumn("{task.description}"), BarColumn()),
            *(MofNCompleteColumn(), TimeElapsedColumn()),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread in a process that starts others
            redirect_stdout=False,  # pytest redirects them
            redirect_stderr=False,
            transient=True,
        )
        self.bar.add_task("tests", total=total)
        self.bar.start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.bar and report.when == "teardown":
            self.bar.advance(self.bar.task_ids[0])
            self.bar.refresh()

    @pytest.hookimpl(tryfirst=True)  # before the report
    def pytest_sessionfinish(self) -> None:
        if self.bar:
            self.bar.stop()


def _list(ids: Sequence[str]) -> int:
    known = requirements.load()
    for name in ids:
        if name not in known:
            print(f"there is no requirement {name!r}", file=sys.stderr)
            return 2
    for requirement in map(known.__getitem__, ids or known):
        roles = ", ".join(requirement.roles)
        if ids:
            print(f"{requirement.id} ({requirement.level}; {roles}; {requirement.file})")
            print(requirement.text)
            if requirement.untested:
                print(f"Untested: {requirement.untested}")
            print()
        else:
            words = " ".join(requirement.text.split())
            print(f"{requirement.id:<10}{requirement.level:<8}{words}")
    return 0
