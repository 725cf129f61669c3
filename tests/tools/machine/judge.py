"""All mutants of an implementation, some at a time: drawn, made, judged, and each result kept."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from . import kit
from .candidates import Candidate, change, text_of
from .draw import draw
from .excuses import Excuses
from .making import Invalid, Maker
from .places import OTHERS, PLACES
from .results import ALIVE, EQUAL, EXCUSED, INVALID, KILLED, SURVIVED, TIME_LIMIT, Result, Results

_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Limits:
    """How long each stage may take, in seconds; how many points of `faults` are tried."""

    run: float = 1200.0
    faults: float = 180.0
    fuzz: float = 10.0
    stress: float = 8.0
    points: int = 100

    @property
    def whole(self) -> float:
        """For all stages of one mutant."""
        return self.run + self.faults + 10 * (self.fuzz + self.stress)


@dataclass(frozen=True)
class Mutant:
    """One that is ready to be made."""

    result: Result  # known as far as it goes
    file: Path
    text: str


@dataclass(frozen=True)
class _Running:
    mutant: Mutant
    process: BaseProcess
    answer: Connection
    scratch: Path
    began: float
    concerned: bool | None


class Judge:
    """Judges the mutants of one implementation."""

    def __init__(
        self, maker: Maker, results: Results, excuses: Excuses, limits: Limits, workers: int
    ) -> None:
        self._maker = maker
        self._results = results
        self._excuses = excuses
        self._limits = limits
        self._workers = workers
        self._tests = kit.collect()
        self._seconds: dict[str, float] = {}
        self._kills: Counter[tuple[str, str]] = Counter()  # by function and test
        for result in results:
            self._learn(result)

    def control(self) -> None:
        """Judges the implementation as it is, and learns how long its tests take.

        Raises RuntimeError if it does not conform.
        """
        file = self._maker.files[0]
        text = file.read_text("utf-8")
        code = self._maker.code(file, text)
        one = self._start(Mutant(Result(file.stem, "", code=code), file, text), None)
        death, self._seconds = one.answer.recv()
        self._clean(one)
        if death:
            raise RuntimeError(f"the {self._maker.name} does not conform without a change: {death}")

    def judge(self, number: int, seed: int, *, again: bool = False, within: str = "") -> None:
        """Judges the first `number` mutants of the draw, of one file or function or of all.

        The tests that concern a mutant look at each first; then the rest of the kit looks at those
        that are still alive. What has a result is left as it is; with `again`, what survived is
        judged once more.
        """
        self._judge(self._mutants(number, seed, again, within), concerned=True)
        self._judge(self._mutants(number, seed, False, within), concerned=False)

    def _judge(self, mutants: Iterator[Mutant], concerned: bool) -> None:
        running: list[_Running] = []
        try:
            while True:
                while len(running) < self._workers and (mutant := next(mutants, None)):
                    if concerned != (mutant.result.outcome == ALIVE):
                        running.append(self._start(mutant, concerned))
                if not running:
                    return
                for one in self._ended(running):
                    running.remove(one)
                    self._take(one)
        finally:
            for one in running:
                self._clean(one)

    # --- what is to be judged ---

    def _mutants(self, number: int, seed: int, again: bool, within: str) -> Iterator[Mutant]:
        files = [f for f in self._maker.files if not within or f.stem == within.split(".")[0]]
        candidates = [made for file in files for made in self._maker.candidates(file)]
        seen = {self._maker.code(file, file.read_text("utf-8")) for file in files}
        for candidate in draw(candidates, seed):
            if within and not f"{candidate.function}.".startswith(f"{within}."):
                continue
            if number == 0:
                return
            known = self._results.get(candidate.name)
            if known is None:
                known, text = self._look(candidate, seen)
                if known.outcome:
                    self._results.add(known)
            else:
                text = None
            if known.outcome in (INVALID, EQUAL):
                continue
            number -= 1
            seen.add(known.code)
            if self._excuses.of(known.key):
                if not known.outcome:
                    known.outcome = EXCUSED
                    self._results.add(known)
                continue
            if known.outcome in (EXCUSED, ALIVE) or (again and known.is_open):
                text = candidate.changed()
            if text is not None:
                yield Mutant(known, candidate.file, text)

    def _look(self, candidate: Candidate, seen: set[str]) -> tuple[Result, str | None]:
        """What is known of a mutant before it is judged, and its text."""
        text = candidate.changed()
        if text is None:
            return Result(candidate.name, INVALID), None
        try:
            code = self._maker.code(candidate.file, text)
        except Invalid:
            return Result(candidate.name, INVALID), None
        key = change(candidate, text).key
        return Result(candidate.name, EQUAL if code in seen else "", key, code), text

    # --- one of them ---

    def _start(self, mutant: Mutant, concerned: bool | None) -> _Running:
        """Begin with the tests that concern a mutant, or with the rest; None: all tests."""
        scratch = Path(tempfile.mkdtemp(prefix="mutant-"))
        scratch.chmod(0o755)  # the kit has drivers run as another user
        here, there = _fork.Pipe(duplex=False)
        tests, number = self._order(mutant)
        if concerned is not None:
            tests = tests[:number] if concerned else tests[number:]
        limits = None if concerned is None else self._limits
        arguments = there, self._maker, mutant, scratch, tests, concerned, limits
        process = _fork.Process(target=_work, args=arguments)
        process.start()
        there.close()
        return _Running(mutant, process, here, scratch, time.monotonic(), concerned)

    def _order(self, mutant: Mutant) -> tuple[list[str], int]:
        """The tests, the likeliest to kill it first, and the number of those that concern it."""
        function, file = mutant.result.function, mutant.file.stem
        pages, _ = PLACES.get(file, OTHERS)
        named = set(re.findall(r"\b[A-Z]+-\d+\b", text_of(mutant.file, function)))
        kills: Counter[str] = Counter()
        nearby: Counter[str] = Counter()
        for (where, test), times in self._kills.items():
            kills[test] += times * (where == function)
            nearby[test] += times * (where.partition(".")[0] == file)

        def concerns(test: str) -> bool:
            return bool(
                named & set(self._tests[test])
                or re.split(r"[/.]", test.removeprefix("test_"))[0] in pages
            )

        def place(test: str) -> tuple[object, ...]:
            return (
                not concerns(test),
                -kills[test],
                not named & set(self._tests[test]),
                -nearby[test],
                self._seconds.get(test, 1.0),
            )

        return sorted(self._tests, key=place), sum(map(concerns, self._tests))

    def _ended(self, running: Sequence[_Running]) -> list[_Running]:
        """Those that came to an end, or to their limit; at least one."""
        first = min(one.began for one in running) + self._limits.whole
        wait([one.answer for one in running], max(0.0, first - time.monotonic()))
        now = time.monotonic()
        return [
            one for one in running if one.answer.poll() or now >= one.began + self._limits.whole
        ]

    def _take(self, one: _Running) -> None:
        """Keep what came of a mutant."""
        result = one.mutant.result
        death: kit.Death | None = kit.Death("run", TIME_LIMIT)
        if one.answer.poll():
            try:
                death, seconds = one.answer.recv()
                self._seconds.update(seconds)
            except EOFError:
                output = (one.scratch / "output").read_text("utf-8", "replace")[-2000:]
                print(f"not judged: {result.key}\n{output}", flush=True)
                self._clean(one)
                return
        self._clean(one)
        result.outcome = KILLED if death else ALIVE if one.concerned else SURVIVED
        result.seconds = round(result.seconds + time.monotonic() - one.began, 2)
        for name, value in vars(death or kit.Death("", "")).items():
            setattr(result, name, value)
        self._results.add(result)
        self._learn(result)
        print(
            f"{result.seconds:6.1f} s  {result.stage or result.outcome:<10}{result.key}", flush=True
        )

    def _learn(self, result: Result) -> None:
        for test in result.tests:
            if test in self._tests:
                self._kills[result.function, test] += 1

    def _clean(self, one: _Running) -> None:
        """End the process, in order if it can, and remove what it made."""
        pid = one.process.pid
        assert pid
        one.process.join(5 if one.answer.poll() else 0)
        if one.process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            one.process.join(20)
        one.process.kill()
        one.process.join()
        one.answer.close()
        shutil.rmtree(one.scratch, ignore_errors=True)


def _work(
    answer: Connection,
    maker: Maker,
    mutant: Mutant,
    scratch: Path,
    tests: Sequence[str],
    concerned: bool | None,
    limits: Limits | None,
) -> None:
    """In a process of its own: the stages, until one kills the mutant. Without limits, `run`."""
    kit.confine(scratch)
    command = maker.make(scratch / "mutant", mutant.file, mutant.text)
    seconds: dict[str, float] = {}
    death = kit.smoke(command, scratch) if concerned else None
    if not death:
        stage = "concerned" if concerned else "run"
        death, seconds = kit.run(command, scratch, stage, tests, exit_first=limits is not None)
    if limits and not (death or concerned):
        death = _further(command, mutant.file, scratch, limits)
    answer.send((death, seconds))


def _further(command: Sequence[str], file: Path, scratch: Path, limits: Limits) -> kit.Death | None:
    """What is in the kit beside `run`."""
    _, operations = PLACES.get(file.stem, OTHERS)
    options = [f"--operation={name}" for name in operations]
    options += ["--sample", str(limits.points), "-n", "1", "--", *command]
    if death := kit.further(scratch, limits.faults, "faults", *options):
        return death
    for name, seconds in (("fuzz", limits.fuzz), ("stress", limits.stress)):
        options = ["--seconds", f"{seconds:g}", "--seed", "1", "--", *command]
        if death := kit.further(scratch, 10 * seconds, name, *options):
            return death
    return None
