"""The command line: `pubsub-conformance COMMAND …`, a module for each command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import __version__
from ..driver import DriverError
from ..implementations import Unusable
from ..judge.events import BadHistory
from ..judge.expected import ExpectedError
from ..requirements import SpecError
from . import bench, check, faults, fuzz, matrix, run, soak, stress
from . import list as list_
from .options import EXIT_CODES

COMMANDS = (run, stress, check, soak, faults, fuzz, matrix, bench, list_)
"""In the order of `--help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process). Returns the exit code."""
    arguments = [*(sys.argv[1:] if argv is None else argv)]
    # By hand: argparse's own "--" differs between versions of Python.
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = _parser().parse_args(arguments[:at])
    options.driver, options.arguments = arguments[at + 1 :], arguments
    try:
        code: int = options.run(options)
    except (OSError, BadHistory, DriverError, ExpectedError, SpecError, Unusable) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the second: the first ends a run early, with a report
        return 2
    return code


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
