"""A run of `faults`: a dry run of each operation, then one disturbance for each point."""

from __future__ import annotations

import itertools
import queue
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.judge.report import count, show_crash
from pubsub_conformance.linux.strace import CannotTrace
from pubsub_conformance.waiting import begin, unfinished

from . import points as listed
from .disturbance import Disturbed, disturb
from .operation import Operation
from .operations import OPERATIONS
from .points import Point, Stop
from .report import Run, Tally, Violation
from .scenes import Stage
from .steps import Step, steps
from .verdict import ENDS, Problem

STRACE_TRIES = 5
"""How often a point is tried. A busy machine may keep strace from attaching in time."""


AFTER_A_STOP = 2
"""How many errors `run_steps` tries of each step that follows what others did to the operation."""

_PACE_SECONDS = 3.0
"""How long it takes to know the pace."""

Tell = Callable[[str], None]
"""Takes a line of progress."""

Report = Callable[[Violation], None]
"""Takes a violation as soon as it is found, in any thread."""


def run(
    command: Sequence[str],
    *,
    operations: Sequence[str] = (),
    faults: Sequence[str] = (),
    only: Sequence[Point] = (),
    other: Sequence[str] = (),
    sample: int | None = None,
    home: str | None = None,
    workers: int = 2,
    tell: Tell = lambda _: None,
    report: Report = lambda _: None,
) -> Run:
    """Disturb each operation (by default all) at each of its points.

    `faults` and `only` select faults and points; `sample` is how many points are run, `workers`
    how many at a time. `other` starts a driver of another implementation, whose processes have to
    go on as well. `home` is the directory for the bases. Raises OSError if it cannot be used.
    """
    result = Run(command, {"the other implementation": other} if other else {}, sampled=sample)
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory:
        try:
            with _at_work(result, operations, Path(directory), workers, tell, report) as work:
                points = [
                    (name, point)
                    for name, tally in result.tallies.items()
                    for point in (only or tally.points)
                    if not faults or point.fault in faults
                ]
                work.points(points if sample is None else listed.sample(points, sample))
        except DriverError as error:
            result.failed.append(str(error))
        except (KeyboardInterrupt, Exception) as error:
            show_crash(error)
            result.interrupted = True
    return result


def run_steps(command: Sequence[str], operations: Sequence[str], home: str | None) -> Run:
    """Disturb each step of these operations, by the errors that `steps` has of it.

    A step that two operations have is disturbed in the first, and after each stop. To start a
    process takes half of the time of a point: one that makes the same calls again and again is
    disturbed at one point after the other. Raises DriverError, and OSError if `home` cannot be
    used.
    """
    result = Run(command, {})
    with (
        tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory,
        _at_work(result, operations, Path(directory), workers=1, keeps=True) as work,
    ):
        work.points(list(_of_each_step(result.tallies)))
        work.end_kept()
    return result


def _of_each_step(tallies: Mapping[str, Tally]) -> Iterator[tuple[str, Point]]:
    before: set[Step] = set()
    for name, tally in tallies.items():
        for step, points in tally.steps.items():
            if tally.stops:
                points = points[:AFTER_A_STOP]
            if tally.stops or step not in before:
                yield from ((name, point) for point in points)
        if not tally.stops:
            before.update(tally.steps)


@contextmanager
def _at_work(
    result: Run,
    operations: Sequence[str],
    directory: Path,
    workers: int,
    tell: Tell = lambda _: None,
    report: Report = lambda _: None,
    keeps: bool = False,
) -> Iterator[_Work]:
    """Workers that know the calls of each operation; what they find is in order at the end."""
    begun = time.monotonic()
    where = directory.resolve()
    work = _Work(result, where, workers, tell, report, keeps)
    try:
        with Driver(result.command, where / "probe") as probe:
            result.hello = probe.hello
        chosen = {}
        for name in operations or OPERATIONS:
            if set(OPERATIONS[name].roles) <= result.hello.roles:
                chosen[name] = OPERATIONS[name]
            else:
                result.not_applicable.append(name)
        work.dry_runs(chosen)
        yield work
    finally:
        work.close()
        order = list(OPERATIONS)
        result.violations.sort(key=lambda found: (order.index(found.operation), str(found.point)))
        result.seconds = time.monotonic() - begun


class _Work:
    """Workers, each with its own stage."""

    def __init__(
        self, result: Run, where: Path, workers: int, tell: Tell, report: Report, keeps: bool
    ) -> None:
        self.result = result
        self.workers = workers
        self.tell = tell
        self.report = report
        self.keeps = keeps
        """Whether a process may serve several points."""
        self.lock = threading.Lock()
        self.free: queue.SimpleQueue[Stage] = queue.SimpleQueue()
        """The stages on which nobody works."""
        for number in range(workers):
            place = where / f"worker-{number}"
            place.mkdir()
            self.free.put(Stage(place, result.command, result.others))
        self.ended = False
        """Set to begin no further disturbance."""

    def dry_runs(self, operations: dict[str, Operation]) -> None:
        self.result.tallies.update((name, Tally()) for name in operations)
        self._each(list(operations), "dry runs", lambda stage, name: self._dry(stage, name))

    def _dry(self, stage: Stage, name: str) -> None:
        """List the points of an operation. Without a fault, its checks have to hold."""
        operation, tally = OPERATIONS[name], self.result.tallies[name]
        if operation.stops:
            plain = disturb(stage, name, tally, None, judge=False)
            for passes in operation.stops:
                numbered = listed.numbered(plain.calls)
                found = (Stop(call.name, n, passes) for n, call in numbered if passes(call))
                tally.stops += itertools.islice(found, 1)
        stops: Sequence[Stop | None] = tally.stops or [None]
        tally.is_same_again = self.keeps
        for stop in stops:
            if name in stage.kept:
                stage.kept.pop(name).die()
            ran = disturb(stage, name, tally, None, stop=stop, keep=self.keeps)
            self._note(name, None, ran)
            points = listed.points(ran.calls, stage.where)
            tally.points += [point for point in points if tally.stop_for(point) == stop]
            taken = steps(ran.calls, stage.where, stage.path, stop)
            if tally.is_same_again:
                again = disturb(stage, name, tally, None, stop=stop, judge=False, keep=True)
                tally.is_same_again = _names(again, stage) == _names(ran, stage)
            for step, points in taken.items():
                if points and tally.stop_for(points[0]) == stop:
                    tally.steps[step] = points
            if stop == tally.stop_for(None):
                tally.calls = sum(listed.concerns(call, stage.where) for call in ran.calls)
                tally.descriptors = ran.descriptors
                tally.own = {call.name for call in ran.calls if listed.is_own(call)}

    def end_kept(self) -> None:
        """End the processes that served several points, in good order."""
        stage = self.free.get()
        for name, driver in stage.kept.items():
            try:
                driver.close()
            except DriverError as error:
                problem = Problem(ENDS, str(error))
                end = Violation(name, None, "", "after several errors", (problem,), "")
                self.result.violations.append(end)
        stage.kept.clear()
        self.free.put(stage)

    def points(self, points: list[tuple[str, Point]]) -> None:
        if not self.result.not_run:
            self._each(points, "points", self._point)

    def _point(self, stage: Stage, named: tuple[str, Point]) -> None:
        name, point = named
        for _ in range(STRACE_TRIES):
            failure = ""
            try:
                self._disturb(stage, name, point)
            except CannotTrace as untraced:  # in the dry runs it could
                failure = str(untraced)
                continue
            except (OSError, DriverError, Rejected):  # while the scene was made or ended
                failure = traceback.format_exc()
                if self.result.tallies[name].is_same_again:
                    self.result.tallies[name].is_same_again = False  # try a new process
                    continue
            break
        if failure:
            with self.lock:
                self.result.failed.append(f"{name}, {point}: {failure}")
                self.result.tallies[name].run["failed"] += 1

    def _disturb(self, stage: Stage, name: str, point: Point) -> None:
        tally = self.result.tallies[name]
        ran = _bounded(stage, name, tally, point, keep=tally.is_same_again)
        if ran and ran.problems and tally.is_same_again:
            # The problem is that of this point alone if a new process has it, too.
            ran = _bounded(stage, name, tally, point, keep=False)
            tally.is_same_again = ran is not None and bool(ran.problems)
        with self.lock:
            tally.run[ran.kind if ran else "same"] += 1
        if ran:
            self._note(name, point, ran)

    def _note(self, name: str, point: Point | None, ran: Disturbed) -> None:
        if ran.problems and not self.ended:  # Ctrl-C ends strace as well
            violation = Violation(
                name, point, ran.call, ran.outcome.describe(), tuple(ran.problems), ran.tree
            )
            with self.lock:
                self.result.violations.append(violation)
                self.report(violation)

    def _each(self, jobs: list[Any], what: str, do: Callable[[Stage, Any], None]) -> None:
        def work(job: Any) -> None:
            if self.ended:
                return
            stage = self.free.get()
            try:
                do(stage, job)
            except BaseException:
                self.ended = True
                raise
            finally:
                self.free.put(stage)

        begun = time.monotonic()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                working = begin(pool, [partial(work, job) for job in jobs])
                # Not by joining threads: after Ctrl-C in a join, Python takes them for ended.
                while left := unfinished(working, 0.2):
                    done, wrong = len(jobs) - left, len(self.result.violations)
                    spent = time.monotonic() - begun
                    self.tell(
                        f"{what}: {done} of {len(jobs)}, {count(wrong, 'violation')}"
                        f"{_time_left(spent, done, left)}"
                    )
            except BaseException:
                self.ended = True
                raise
        for future in working:
            fault = future.exception()
            if isinstance(fault, CannotTrace):
                self.result.not_run = str(fault)
            elif fault:
                raise fault

    def close(self) -> None:
        while not self.free.empty():
            self.free.get().close()


def _bounded(
    stage: Stage, name: str, tally: Tally, point: Point, *, keep: bool
) -> Disturbed | None:
    """The run with this fault; None if it would be the same as the error that comes once.

    A lasting error ends where it reaches a call that cannot have it.
    """
    ran = disturb(stage, name, tally, point, keep=keep)
    while ran.last is not None:
        if ran.last <= point.nth:
            return None
        ran = disturb(stage, name, tally, point, last=ran.last, keep=keep)
    return ran


def _names(ran: Disturbed, stage: Stage) -> Counter[str]:
    """How many calls of each name concerned the base. Their order depends on that of listings."""
    return Counter(call.name for call in ran.calls if listed.concerns(call, stage.where))


def _time_left(spent: float, done: int, left: int) -> str:
    """About how long the jobs that are left take, at the pace of those that were done."""
    if spent < _PACE_SECONDS or not done:
        return ""
    seconds = spent / done * left
    minutes = round(seconds / 60)
    return f", about {minutes} min left" if minutes > 1 else f", about {seconds:.0f} s left"
