"""The run: every check in every cell, each in a base directory of its own."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..driver import DriverError
from ..implementations import LANES, Implementation
from ..judge.expected import ExpectedError, Listed, load
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
    failures = load(expected, known, {"lane": LANES}) if expected else {}
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
        _refuse_idle(failures, greeted)
        try:
            for publishing, reading, lane in _cells(greeted):
                cell = Cell(publishing.name, reading.name, lane, [])
                matrix.cells.append(cell)
                for check in _checks(lane):
                    tell(f"{cell}: {check.name}")
                    result = judge(check, publishing, reading, lane, Path(directory), seed)
                    place = publishing.name, reading.name, check.name
                    entry = failures.get((*place, lane)) or failures.get((*place, ""))
                    cell.results.append(result.against(entry))
        except (KeyboardInterrupt, Exception) as error:
            show_crash(error)
            matrix.interrupted = True
            matrix.cells = [cell for cell in matrix.cells if cell.results]
        matrix.seconds = time.monotonic() - began
        return matrix


def _cells(
    implementations: Sequence[Implementation],
) -> Iterator[tuple[Implementation, Implementation, str]]:
    """Who publishes, who reads, and the lane of the reader's channels."""
    for publishing, reading in itertools.product(implementations, repeat=2):
        for lane in reading.lanes:
            yield publishing, reading, lane


def _checks(lane: str) -> list[Check]:
    return [check for check in CHECKS.values() if lane in check.lanes]


def _refuse_idle(failures: Listed, implementations: Sequence[Implementation]) -> None:
    """Raise ExpectedError for an entry that names a cell or a check that is not run."""
    places = {
        (publishing.name, reading.name, check.name, named)
        for publishing, reading, lane in _cells(implementations)
        for check in _checks(lane)
        for named in (lane, "")
    }
    for publisher, reader, check, lane in failures.keys() - places:
        within = f" in the lane {lane}" if lane else ""
        raise ExpectedError(f"{publisher} to {reader}: there is no check {check}{within}")


def judge(
    check: Check,
    publishing: Implementation,
    reading: Implementation,
    lane: str,
    directory: Path,
    seed: int,
) -> Result:
    """Run one check in a new base directory under `directory`."""
    if missing := check.missing(publishing, reading):
        return Result(check.name, Outcome.NOT_APPLICABLE, reason=missing)
    began = time.monotonic()
    rng = random.Random(f"{seed} {check.name}")  # the same work in every cell
    outcome, reason = Outcome.PASS, ""
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as parent:
        pair = Pair(publishing, reading, lane, Path(parent, "base"), rng)
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
