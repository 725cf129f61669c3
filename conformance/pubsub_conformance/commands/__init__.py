"""The command line: `pubsub-conformance COMMAND …`, a module for each command."""

from __future__ import annotations

import argparse
import io
import sys
import traceback
from collections.abc import Sequence

from .. import __version__
from ..driver import DriverError
from ..implementations import NotGreeted, Unusable
from ..judge.events import BadHistory
from ..judge.expected import ExpectedError
from ..judge.report import lose_stdout, note
from ..requirements import SpecError
from ..surroundings import Unsuitable, settle
from . import bench, check, docs, faults, fuzz, matrix, run, soak, stress
from . import list as list_
from .options import EXIT_CODES, refuse_unknown
from .outputs import give_up, refusal

COMMANDS = (run, stress, check, soak, faults, fuzz, matrix, bench, list_, docs)
"""In the order of `--help`."""
WITHOUT_DRIVER = ("check", "matrix", "bench", "list", "docs")
"""The commands with no driver's command after `--`: there, it changes nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process). Returns the exit code.

    It is 2 after an exception: 1 is the verdict of a command that came to its end.
    """
    if argv is None:
        try:
            settle()
        except Unsuitable as reason:
            note(f"nothing can be judged: {reason}")
            return 2
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
    if arguments[:1] and arguments[0] in WITHOUT_DRIVER:
        arguments = [word for word in arguments if word != "--"]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    try:
        options = _options(arguments[:at])
        options.driver, options.arguments = arguments[at + 1 :], arguments
        if reason := refusal(options):
            note(reason)
            return 2
        code: int = options.run(options)
    except (DriverError, NotGreeted) as error:
        return give_up(str(error), options)
    except (OSError, BadHistory, ExpectedError, SpecError, Unusable) as error:
        note(str(error))
        return 2
    except KeyboardInterrupt:  # the second: the first ends a run early, with a report
        return 2
    except Exception:
        note(traceback.format_exc().rstrip())
        return 2
    return code


def _flush() -> bool:
    """Write what stdout still holds. Returns whether that was possible."""
    try:
        sys.stdout.flush()
    except OSError as error:
        lose_stdout(error)
        return False
    return True


def _options(words: Sequence[str]) -> argparse.Namespace:
    """What a command line asks for. Exits if it is wrong, or asks for help."""
    parser = argparse.ArgumentParser(
        prog="pubsub-conformance",
        description="Tests an implementation of the pubsub specification through its driver.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(subparsers)
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2)
    options, unknown = parser.parse_known_args(words)
    if unknown:  # argparse would show the usage of the whole program
        refuse_unknown(subparsers.choices[options.command], unknown)
    return options
