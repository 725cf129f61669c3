"""`run`: test an implementation."""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from .. import pinned, requirements
from ..driver.protocol import ROLES
from ..implementations import Implementation, NotGreeted, Unusable
from ..judge import expected
from ..judge.expected import Listed
from ..judge.report.html import run_page
from ..judge.report.machine import file_system_of
from ..judge.report.run import RunReport
from .options import (
    EXIT_CODES,
    Subparsers,
    add_driver,
    add_home,
    add_seed,
    add_several,
    add_workers,
    positive,
    requirement,
    role,
    section,
)
from .outputs import (
    ANNOTATIONS,
    BADGE,
    EXPECTED,
    JSON,
    JUNIT,
    SUMMARY,
    add_outputs,
    as_page,
    finish,
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
    *("-o", "verbosity_assertions=2"),  # whole values: the report cuts them itself
)

WORKER = "import sys; sys.path = [path for path in sys.path if path]; exec(sys.argv[3])"
"""What a worker of xdist runs first: like the main process, it imports nothing from the current
directory. The arguments are those of Python, `-u -c PROGRAM`."""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run",
        help="test an implementation",
        description="Tests the implementation whose driver COMMAND starts: see `pubsub-conformance"
        " docs DRIVER`.",
        epilog=EXIT_CODES,
    )
    add = parser.add_argument
    text = "test only this requirement, as PUB-7"
    add_several(parser, "--requirement", text, metavar="ID", type=requirement)
    text = f"test only this page of the specification: {', '.join(requirements.PREFIXES)}"
    add_several(parser, "--section", text, metavar="NAME", type=section)
    text = f"test only the requirements of this role: {', '.join(ROLES)}"
    add_several(parser, "--role", text, metavar="ROLE", type=role)
    text = "judge by this copy of requirements.json: what is not in it does not count"
    add("--requirements", type=Path, metavar="FILE", help=text)
    add_home(parser)
    add(
        "--expected",
        type=Path,
        metavar="FILE",
        help="failures that are expected, with reasons (TOML)",
    )
    add_outputs(parser, JSON, JUNIT, as_page(run_page), SUMMARY, BADGE, ANNOTATIONS, EXPECTED)
    text = (
        "tests at a time, or auto: two for each processor, or 0: no processes but the driver's"
        " (default 2; 0 for one requirement)"
    )
    add_workers(parser, text, _workers, default=None)
    add("-q", "--quiet", action="store_true", help="show only what is not a pass")
    add("--keep", action="store_true", help="keep the base directories of tests that failed")
    add("-x", "--exitfirst", action="store_true", help="end with the first test that fails")
    add_seed(parser)
    add_driver(parser, run)


def _workers(text: str) -> int:
    """A number of workers; 0: the main process tests. Raises argparse.ArgumentTypeError."""
    if text == "auto":  # half of the time they wait: for a process to start, for a clock to tick
        return 2 * (os.cpu_count() or 1)
    try:
        return 0 if text == "0" else positive(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor auto") from None


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. However the tests end, there is a report.

    Raises SpecError, ExpectedError and, for `--home`, Unusable.
    """
    known = requirements.load()
    if options.requirements:
        known = {**known, **pinned.load(options.requirements, known)}
    listed: Listed = {}
    if options.expected:
        listed = expected.load(options.expected, {"requirement": known}, expected.OF_RUN)
    if options.home and not os.path.isdir(options.home):
        raise Unusable(f"--home: {options.home} is not a directory")
    begun = datetime.datetime.now(datetime.timezone.utc)
    said: dict[str, Any] = {}
    made: RunReport | None = None
    problems = ["the run ended before the first test"]
    interrupted = False
    try:
        with tempfile.TemporaryDirectory(dir=options.home) as directory:
            home = Path(directory, "base")
            said = Implementation.greet_to_judge("the driver", options.driver, home).said
        from . import under_pytest  # only now: a driver that does not start is reported at once

        made = under_pytest.run(_arguments(options), said)
    except NotGreeted as reason:
        problems = [str(reason)]
    except Exception:  # a fault of the kit
        problems = [traceback.format_exc().rstrip()]
    except KeyboardInterrupt:
        interrupted = True
    now = datetime.datetime.now(datetime.timezone.utc)
    report = made or RunReport(
        implementation=said,
        command=options.driver,
        home=options.home,
        seed=options.seed,
        started=begun.isoformat(timespec="seconds"),
        seconds=(now - begun).total_seconds(),
        file_system=file_system_of(Path(options.home or tempfile.gettempdir())),
        results=[],
        problems=problems,
        interrupted=interrupted,
        expected=listed,
    )
    return finish(report, options)


def _arguments(options: argparse.Namespace) -> list[str]:
    """The arguments of pytest."""
    arguments = [*ISOLATED, "-p", "no:pubsub-conformance-shown"]
    arguments += ["--driver", shlex.join(options.driver)]
    arguments += [f"--seed={options.seed}", f"--hypothesis-seed={options.seed}"]
    workers = options.workers
    if workers is None:  # to start two takes longer than most requirements
        workers = 0 if len(set(options.requirement)) == 1 else 2
    if workers:
        python = shlex.join([sys.executable, "-u", "-c", WORKER])
        arguments += ["--tx", f"{workers}*popen//python={python}", "--dist", "worksteal"]
    if options.quiet:
        arguments.append("--quiet-report")
    if options.keep:
        arguments.append("--keep")
    if options.exitfirst:
        arguments.append("--exitfirst")
    for kind in ("requirement", "section", "role"):
        arguments += [f"--{kind}={name}" for name in getattr(options, kind)]
    for option, value in (
        ("--home", options.home and os.path.abspath(options.home)),
        ("--expected", options.expected),
        ("--requirements", options.requirements),
    ):
        if value:
            arguments.append(f"{option}={value}")
    return [*arguments, *SUITE]
