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
from typing import Any, TypeVar

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.judge.report import count, show_crash
from pubsub_conformance.linux.strace import CannotTrace, traced
from pubsub_conformance.waiting import begin, unfinished

from . import points as listed
from .disturbance import Disturbed, disturb
from .operation import Operation
from .operations import OPERATIONS
from .points import Point, Stop
from .report import Run, Tally, Violation
from .scenes import Stage
from .steps import Step, of_lane, steps
from .verdict import ENDS, Problem

STRACE_TRIES = 5
"""How often a point is tried. On a busy machine strace may attach too late, or meet too much."""


AFTER_A_STOP = 2
"""How many errors `run_steps` tries of each step that follows what others did to the operation."""

_PACE_SECONDS = 3.0
"""How long it takes to know the pace."""

T = TypeVar("T")

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
    process takes half of the time of a point: one that makes the same calls again and again, from
    the second time on, is disturbed at one point after the other. Raises DriverError, and OSError
    if `home` cannot be used.
    """
    result = Run(command, {})
    with (
        tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory,
        _at_work(result, operations, Path(directory), workers=1, keeps=True) as work,
    ):
        work.steps(list(_of_each_step(result.tallies)))
        work.end_kept()
    return result


def _of_each_step(tallies: Mapping[str, Tally]) -> Iterator[tuple[str, tuple[Step, int]]]:
    before: set[Step] = set()
    for name, tally in tallies.items():
        # What a process does only the first time is disturbed in a new one.
        found = {**tally.steps, **(tally.warm.steps if tally.warm else {})}
        stops = (tally.warm or tally).stops
        for step, points in found.items():
            if "inline" in OPERATIONS[name].roles and not of_lane(step):
                continue  # it is disturbed in the operations without the lane
            if stops or step not in before:
                for n in range(len(points[:AFTER_A_STOP] if stops else points)):
                    yield name, (step, n)
        if not stops:
            before.update(found)


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
            # Before any scene: to arrange one takes what a system without strace need not have.
            try:
                with traced(probe):
                    pass
            except CannotTrace as reason:
                result.not_run = str(reason)
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
        tally = self.result.tallies[name]
        if not self.keeps:
            self._list(stage, name, tally)
            return
        stops = bool(OPERATIONS[name].stops)
        first = disturb(stage, name, tally, None, judge=not stops, keep=True)
        self._note(name, None, first)
        if not stops:
            _add(tally, first, stage, None)
        warm = Tally()
        calls = self._list(stage, name, warm, keep=True)
        again = disturb(stage, name, warm, None, judge=False, keep=True)
        if _names(again, stage) == calls:
            tally.warm = warm

    def _list(self, stage: Stage, name: str, tally: Tally, *, keep: bool = False) -> Counter[str]:
        """List the points of an operation: in new processes, or in the one that has done it before.

        Returns how many calls of each name it makes where nobody stops it.
        """
        tests = OPERATIONS[name].stops
        plain = ran = disturb(stage, name, tally, None, judge=not tests, keep=keep)
        for passes in tests:
            numbered = listed.numbered(plain.calls)
            found = (Stop(call.name, n, passes) for n, call in numbered if passes(call))
            tally.stops += itertools.islice(found, 1)
        stops: Sequence[Stop | None] = tally.stops or [None]
        for stop in stops:
            if tests:
                ran = disturb(stage, name, tally, None, stop=stop, keep=keep)
            self._note(name, None, ran)
            _add(tally, ran, stage, stop)
        return _names(plain, stage)

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
        self._each_point(points, self._disturb)

    def steps(self, steps: list[tuple[str, tuple[Step, int]]]) -> None:
        """Disturb these steps of operations, each by one of its points."""
        self._each_point(steps, self._disturb_step)

    def _each_point(self, points: list[tuple[str, T]], do: Callable[[Stage, str, T], None]) -> None:
        self._each(points, "points", lambda stage, each: self._try(stage, each[0], each[1], do))

    def _try(self, stage: Stage, name: str, point: T, do: Callable[[Stage, str, T], None]) -> None:
        tally = self.result.tallies[name]
        for _ in range(STRACE_TRIES):
            failure = ""
            try:
                do(stage, name, point)
            except CannotTrace as untraced:  # in the dry runs it could
                failure = str(untraced)
                continue
            except (OSError, DriverError, Rejected):  # while the scene was made or ended
                failure = traceback.format_exc()
                tally.warm = None  # try a new process
                continue
            break
        if failure:
            with self.lock:
                self.result.failed.append(f"{name}, {point}: {failure}")
                tally.run["failed"] += 1

    def _disturb(self, stage: Stage, name: str, point: Point) -> None:
        tally = self.result.tallies[name]
        self._count(name, point, _bounded(stage, name, tally, point))

    def _disturb_step(self, stage: Stage, name: str, of: tuple[Step, int]) -> None:
        tally = self.result.tallies[name]
        step, n = of
        if tally.warm and step in tally.warm.steps:
            point = tally.warm.steps[step][n]
            ran = _bounded(stage, name, tally.warm, point, keep=True)
            if not (ran and ran.problems):
                self._count(name, point, ran)
                return
        # A problem is that of this point alone if a new process has it, too.
        if not tally.steps:
            self._list(stage, name, tally)
        if n < len(points := tally.steps.get(step, [])):
            ran = _bounded(stage, name, tally, points[n])
            self._count(name, points[n], ran)
            if not (ran and ran.problems):
                tally.warm = None

    def _count(self, name: str, point: Point, ran: Disturbed | None) -> None:
        with self.lock:
            self.result.tallies[name].run[ran.kind if ran else "same"] += 1
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
        if self.result.not_run:
            return

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
    stage: Stage, name: str, tally: Tally, point: Point, *, keep: bool = False
) -> Disturbed | None:
    """The run with this fault; None if it would be the same as the error that comes once.

    A lasting error ends where it reaches a call that cannot have it. It never reaches the reply: to
    see that none comes takes seconds. Where strace lets go of a driver, it may meet the reading of
    the next request, and nothing shows that: a problem has to come twice.
    """
    ran = _ended(stage, name, tally, point, keep=keep)
    if ran and ran.problems and point.ever and point.call in tally.own:
        ran = _ended(stage, name, tally, point, keep=keep)
    return ran


def _ended(stage: Stage, name: str, tally: Tally, point: Point, *, keep: bool) -> Disturbed | None:
    """The run with this fault, which lasts as long as it may."""
    last = tally.own.get(point.call) if point.ever else None
    ran = disturb(stage, name, tally, point, last=last, keep=keep)
    while ran.last is not None:
        if ran.last <= point.nth:
            return None
        ran = disturb(stage, name, tally, point, last=ran.last, keep=keep)
    return ran


def _add(tally: Tally, ran: Disturbed, stage: Stage, stop: Stop | None) -> None:
    """Add the points of an operation that was disturbed by nothing but this stop."""
    points = listed.points(ran.calls, stage.where)
    tally.points += [point for point in points if tally.stop_for(point) == stop]
    for step, points in steps(ran.calls, stage.where, stage.path, stop).items():
        if points and tally.stop_for(points[0]) == stop:
            tally.steps[step] = points
    if stop == tally.stop_for(None):
        tally.calls = sum(listed.concerns(call, stage.where) for call in ran.calls)
        tally.descriptors = ran.descriptors
        tally.own = listed.conversation(ran.calls)


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
