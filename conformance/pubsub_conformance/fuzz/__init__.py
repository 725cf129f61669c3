"""Hostile input: drawn, given to a driver, judged by the reaction, and made small if it fails.

Each target is a module: message files (decode), entries of directories (entries), octets in queues
(queues), in those of marked channels (records), and the driver's own requests (requests).
"""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from pubsub_conformance.driver import Driver, DriverError
from pubsub_conformance.judge.report import show_crash

from .decode import Decode
from .entries import Entries
from .queues import Queues
from .records import Records
from .report import Finding, Outcome, Report
from .requests import Requests
from .target import Target, Violation

TARGETS: Mapping[str, type[Target[Any]]] = {
    kind.name: kind for kind in (Decode, Entries, Queues, Records, Requests)
}

SHRINK_SECONDS = 30.0
"""How long an input that fails is made smaller. A hang takes the driver's time limit each time."""

Tell = Callable[[float, str], None]
"""Takes the progress: seconds since the beginning, and a line of text."""


def run(
    command: Sequence[str],
    directory: Path,
    *,
    names: Sequence[str],
    against: Sequence[str] | None = None,
    seed: int,
    seconds: float,
    inputs: float,
    saved: Sequence[Path] = (),
    tell: Tell,
) -> Report:
    """Fuzz these targets one after the other.

    Each target ends when it finds a violation, when its part of `seconds` is over, or after so many
    `inputs`. `saved` files, or the files in saved directories, are judged instead of drawn inputs,
    all of them. `against` starts a second driver that decodes the same files. Bases are made in
    `directory`. Raises DriverError if a driver does not start, OSError and ValueError if a saved
    input cannot be read.
    """
    with Driver(command, directory / "base") as driver:
        roles = driver.hello.roles
    outcomes: list[Outcome] = []
    files = [file for path in saved for file in _files(path)]
    start = time.monotonic()
    try:
        for name in names:
            outcome = Outcome(name)
            outcomes.append(outcome)
            lacking = TARGETS[name].roles - roles
            if lacking:
                outcome.not_run = f"the driver does not claim {', '.join(sorted(lacking))}"
                continue
            target = TARGETS[name](command, directory / name, against)
            search = _Search(target, outcome, seed, start, tell)
            try:
                if saved:
                    search.replay(files)
                else:
                    search.draw(seconds / len(names), inputs)
            finally:
                target.stop()
    except (DriverError, OSError, ValueError):
        raise
    except (KeyboardInterrupt, Exception) as error:
        show_crash(error)
        return Report(against, outcomes, interrupted=True)
    return Report(against, outcomes)


@dataclass(frozen=True)
class _Search:
    """The search for a violation in one target."""

    target: Target[Any]
    outcome: Outcome
    seed: int
    start: float
    tell: Tell

    def say(self, what: str = "") -> None:
        text = f"{self.outcome.target}: {self.outcome.inputs} inputs{what}"
        self.tell(time.monotonic() - self.start, text)

    def draw(self, seconds: float, inputs: float) -> None:
        random = Random(f"{self.seed} {self.target.name}")
        start = time.monotonic()
        violation = None
        while violation is None and self.outcome.inputs < inputs:
            if time.monotonic() > start + seconds:
                return
            input = self.target.draw(random)
            violation = self.target.attempt(input)
            self.outcome.inputs += 1
            self.outcome.seconds = time.monotonic() - start
            if self.outcome.inputs % 100 == 0:
                self.say()
        if violation:
            self.outcome.findings.append(self.smallest(input, violation))

    def smallest(self, input: Any, violation: Violation) -> Finding:
        deadline = time.monotonic() + SHRINK_SECONDS

        def fails(smaller: Any) -> bool:
            """Any violation counts: the smallest input shows best what is wrong."""
            nonlocal violation
            if time.monotonic() > deadline:
                return False
            self.say(f", {violation.requirement}, making the input smaller")
            found = self.target.attempt(smaller)
            violation = found or violation
            return found is not None

        alone = fails(input)
        if alone:
            input = self.target.smaller(input, fails)
        data = self.target.dump(input)
        directory = Path(tempfile.mkdtemp(prefix="pubsub-fuzz-"))
        file = directory / f"{self.target.name}-{violation.requirement}".replace(" ", "-")
        file.write_bytes(data)
        return self.finding(violation, data, file, alone)

    def replay(self, files: Sequence[Path]) -> None:
        for file in files:
            data = file.read_bytes()
            start = time.monotonic()
            violation = self.target.attempt(self.target.load(data))
            self.outcome.seconds += time.monotonic() - start
            self.outcome.inputs += 1
            self.say()
            if violation:
                self.outcome.findings.append(self.finding(violation, data, file, True))

    def finding(self, violation: Violation, data: bytes, file: Path, alone: bool) -> Finding:
        how = f"--replay {file}" if alone else f"--seed {self.seed} --inputs {self.outcome.inputs}"
        against = self.target.against
        options = f" --against {shlex.quote(shlex.join(against))}" if against else ""
        repeat = f"--target {self.target.name} {how}{options} -- {shlex.join(self.target.command)}"
        return Finding(violation.requirement, violation.what, data, file, repeat, alone)


def _files(path: Path) -> list[Path]:
    return sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]
