"""The command line: `pubsub-conformance COMMAND …`, a module for each command."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import sys
import traceback
from collections.abc import Sequence

from .. import __version__
from ..driver import DriverError
from ..implementations import Unusable
from ..judge.events import BadHistory
from ..judge.expected import ExpectedError
from ..judge.report import lose_stdout
from ..requirements import SpecError
from . import bench, check, faults, fuzz, matrix, run, soak, stress
from . import list as list_
from .options import EXIT_CODES

COMMANDS = (run, stress, check, soak, faults, fuzz, matrix, bench, list_)
"""In the order of `--help`."""
DESCRIPTORS = 1024
"""Enough for every test; some hold two hundred at once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process). Returns the exit code.

    It is 2 after an exception: 1 is the verdict of a command that came to its end.
    """
    if sys.stdout is None:  # it was closed
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: any encoding will do
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
    except SystemExit as end:
        # argparse ends with 0 and 2; rich ends with 1 where nobody reads its output any more.
        if _flush() and end.code != 1:
            raise
        code = 2
    except OSError as error:  # of the help: before Python 3.12 argparse lets it through
        lose_stdout(error)
        code = 2
    return code if _flush() else 2


def _run(argv: Sequence[str]) -> int:
    arguments = [*argv]
    # By hand: argparse's own "--" differs between versions of Python.
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = _parser().parse_args(arguments[:at])
    options.driver, options.arguments = arguments[at + 1 :], arguments
    try:
        _allow_descriptors()
        code: int = options.run(options)
    except (OSError, BadHistory, DriverError, ExpectedError, SpecError, Unusable) as error:
        with contextlib.suppress(OSError):
            print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the second: the first ends a run early, with a report
        return 2
    except Exception:
        with contextlib.suppress(OSError):
            traceback.print_exc()
        return 2
    return code


def _allow_descriptors() -> None:
    """Raise the limit on descriptors that a shell set: 256 is usual on macOS, and few are left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _flush() -> bool:
    """Write what stdout still holds. Returns whether that was possible."""
    try:
        sys.stdout.flush()
    except OSError as error:
        lose_stdout(error)
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pubsub-conformance",
        description="Tests an implementation of the pubsub specification through its driver.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)
    return parser
