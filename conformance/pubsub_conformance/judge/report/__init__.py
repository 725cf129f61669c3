"""How every report is written: on a console for people, and as JSON with one head."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import IO, Any

from rich.console import Console

from ... import __version__
from ...requirements import SPEC_VERSION
from ..verdict import Report

REPORT_VERSION = 1
PIPED_COLUMNS = 100
"""The width of a report where no terminal has one."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise the error, in an except clause; rich would end the process with 1."""
        raise


def console(file: IO[str] | None = None) -> Console:
    """A console for a report, on stdout by default.

    A terminal gets lines that are wrapped between words. Elsewhere, or with NO_COLOR, the text is
    plain; elsewhere, lines stay whole.
    """
    made = _Console(file=file, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width, made.soft_wrap = PIPED_COLUMNS, True
    return made


def lose_stdout(error: OSError) -> None:
    """Report that stdout cannot be written to, as on a full disk, and let it lead nowhere."""
    note(f"stdout: {error}")
    _lose(sys.stdout)


def note(text: str) -> None:
    """Write a line to stderr. If that is not possible, the command goes on without stderr."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _lose(sys.stderr)


def _lose(stream: IO[str]) -> None:
    """Let a stream lead nowhere. Otherwise Python would fail again as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError):  # in a process without a descriptor for it
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def print_page(text: str) -> int:
    """Print a text for reading. Returns the exit code: 2 if nobody can have read it whole."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # after `| head`, which needs no word
        _lose(sys.stdout)
        return 2
    except OSError as error:
        lose_stdout(error)
        return 2
    return 0


def show(report: Report) -> bool:
    """Print a report. Returns whether that was possible; if not, stderr has the error."""
    try:
        report.show(console())
        sys.stdout.flush()
    except OSError as error:
        lose_stdout(error)
        return False
    return True


def show_crash(error: BaseException) -> None:
    """Show an exception of the kit on stderr: the report is partial, as after Ctrl-C."""
    if not isinstance(error, KeyboardInterrupt):
        note("".join(traceback.format_exception(error)).rstrip())


def count(number: int, noun: str) -> str:
    """A number and its noun, such as "1 test" or "2 tests"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def as_json(report: Report, command: Sequence[str], seed: int | None) -> dict[str, Any]:
    """A report as JSON, with the head that all reports have.

    `command` starts the driver; empty, or a seed of None: the report has none.
    """
    return {
        "report": REPORT_VERSION,
        "kit": __version__,
        "spec": SPEC_VERSION,
        **({"command": list(command)} if command else {}),
        **({} if seed is None else {"seed": seed}),
        "exit": report.verdict.value,
        **report.as_dict(),
    }


def as_text(report: Report, command: Sequence[str], seed: int | None) -> str:
    """The text of a report as JSON: see `as_json`."""
    return json.dumps(as_json(report, command, seed), indent=2, ensure_ascii=False) + "\n"
