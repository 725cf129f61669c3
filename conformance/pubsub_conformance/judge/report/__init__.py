"""How every report is written: on a console for people, and as JSON with one head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from ... import __version__
from ...requirements import SPEC_VERSION
from ..verdict import Report

REPORT_VERSION = 1
PIPED_COLUMNS = 100
"""The width of a report where no terminal has one."""


def console(file: IO[str] | None = None) -> Console:
    """A console for a report, on stdout by default.

    A terminal gets lines that are wrapped between words. Elsewhere, or with NO_COLOR, the text is
    plain; elsewhere, lines stay whole.
    """
    made = Console(file=file, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width, made.soft_wrap = PIPED_COLUMNS, True
    return made


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


def write(report: Report, path: Path, command: Sequence[str], seed: int | None) -> None:
    """Write a report as JSON to a file. Raises OSError."""
    text = json.dumps(as_json(report, command, seed), indent=2, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
