"""The run: every check in every cell, each in a base directory of its own."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..driver import DriverError
from ..implementations import Implementation
from ..judge.expected import load
from ..judge.outcome import Outcome
from ..judge.report import show_crash
from ..judge.report.machine import file_system_of
from .checks import CHECKS, Check
from .parties import Finding, Pair
from .report import Cell, Matrix, Result


def run(
    commands: Mapping[str, Sequence[str]],
    *,
    seed: int,
    expected: Path | None = None,
    home: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Matrix:
    """Have every implementation publish to every other one and to itself.

    `home` is the directory for the base directories. `tell` gets a line of progress. On
    an exception the report has the cells so far. Raises Unusable, ExpectedError and, for
    `home`, OSError.
    """
    known = {"publisher": commands, "reader": commands, "check": CHECKS}
    failures = load(expected, known) if expected else {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="pubsub-", dir=home, ignore_cleanup_errors=True
    ) as directory:
        greeted = [
            Implementation.greet_to_judge(name, command, Path(directory, "base"))
            for name, command in commands.items()
        ]
        texts = {check.name: check.text for check in CHECKS.values()}
        matrix = Matrix(greeted, texts, seed, file_system_of(Path(directory)), [])
        try:
            for publishing in greeted:
                for reading in greeted:
                    cell = Cell(publishing.name, reading.name, [])
                    matrix.cells.append(cell)
                    for check in CHECKS.values():
                        tell(f"{publishing.name} to {reading.name}: {check.name}")
                        result = judge(check, publishing, reading, Path(directory), seed)
                        place = publishing.name, reading.name, check.name
                        cell.results.append(result.against(failures.get(place)))
        except (KeyboardInterrupt, Exception) as error:
            show_crash(error)
            matrix.interrupted = True
            matrix.cells = [cell for cell in matrix.cells if cell.results]
        matrix.seconds = time.monotonic() - began
        return matrix


def judge(
    check: Check, publishing: Implementation, reading: Implementation, directory: Path, seed: int
) -> Result:
    """Run one check in a new base directory under `directory`."""
    if missing := check.missing(publishing, reading):
        return Result(check.name, Outcome.NOT_APPLICABLE, reason=missing)
    began = time.monotonic()
    rng = random.Random(f"{seed} {check.name}")  # the same work in every cell
    outcome, reason = Outcome.PASS, ""
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as parent:
        pair = Pair(publishing, reading, Path(parent, "base"), rng)
        try:
            with pair.drivers:
                check.story(pair)
        except Finding as error:
            outcome, reason = Outcome.FAIL, str(error)
        except DriverError as error:
            outcome, reason = Outcome.DRIVER_ERROR, str(error)
        except FileNotFoundError as error:  # of a file that must be there
            outcome, reason = Outcome.FAIL, str(error)
        except OSError as error:
            outcome, reason = Outcome.NOT_RUN, f"the machine refused: {error}"
    passed = outcome is Outcome.PASS
    done = "" if passed else "\n".join(party.last_words for party in pair.started)
    return Result(check.name, outcome, time.monotonic() - began, reason, done=done)
