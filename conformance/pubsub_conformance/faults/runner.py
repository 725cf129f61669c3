"""Dry runs, then one run for each point."""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.linux import strace
from pubsub_conformance.linux.strace import CannotTrace

from . import points as listed
from .operation import Operation
from .operations import OPERATIONS
from .points import Hit, Point
from .report import Run, Tally, Violation
from .scenes import Scene, Stage
from .verdict import Outcome, Problem, Verdict

STRACE_TRIES = 5
"""Where strace could attach once, it can again, if not at the first try on a busy machine."""


Tell = Callable[[str], None]


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
) -> Run:
    """Disturbs the operations (all, unless some are named); OSError if `home` cannot be used."""
    begun = time.monotonic()
    result = Run(command, {"the other implementation": other} if other else {}, sampled=sample)
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=home) as directory:
        where = Path(directory).resolve()
        work = _Work(result, where, workers, tell)
        try:
            with Driver(command, where / "probe") as probe:
                result.hello = probe.hello
            chosen = {}
            for name in operations or OPERATIONS:
                if set(OPERATIONS[name].roles) <= result.hello.roles:
                    chosen[name] = OPERATIONS[name]
                else:
                    result.not_applicable.append(name)
            work.dry_runs(chosen)
            if result.not_run:
                return result
            points = [
                (name, point)
                for name, tally in result.tallies.items()
                for point in (only or tally.points)
                if not faults or point.fault in faults
            ]
            work.points(points if sample is None else listed.sample(points, sample))
        except DriverError as error:
            result.failed.append(str(error))
        except KeyboardInterrupt:
            result.interrupted = True
        finally:
            work.close()
    order = list(OPERATIONS)
    result.violations.sort(key=lambda one: (order.index(one.operation), str(one.point)))
    result.seconds = time.monotonic() - begun
    return result


class _Work:
    """The workers, each with a stage of its own."""

    def __init__(self, result: Run, where: Path, workers: int, tell: Tell) -> None:
        self.result = result
        self.where = where
        self.workers = workers
        self.tell = tell
        self.lock = threading.Lock()
        self.stages: list[Stage] = []
        self.ended = threading.Event()  # nothing more is begun

    def stage(self, number: int) -> Stage:
        with self.lock:
            while len(self.stages) <= number:
                where = self.where / f"worker-{len(self.stages)}"
                where.mkdir()
                self.stages.append(Stage(where, self.result.command, self.result.others))
            return self.stages[number]

    def dry_runs(self, operations: dict[str, Operation]) -> None:
        self.result.tallies.update((name, Tally()) for name in operations)
        self._each(list(operations), "dry runs", lambda stage, name: self._dry(stage, name))

    def _dry(self, stage: Stage, name: str) -> None:
        """What calls there are; and without a fault nothing may be wrong."""
        operation, tally = OPERATIONS[name], self.result.tallies[name]
        if operation.stops:
            plain = disturb(stage, name, tally, None, judge=False)
            for holds in operation.stops:
                found = [(call.name, n) for n, call in listed.numbered(plain.calls) if holds(call)]
                tally.stops += found[:1]
        stops: list[tuple[str, int] | None] = [*tally.stops] or [None]
        for stop in stops:
            ran = disturb(stage, name, tally, None, stop=stop)
            self._note(name, None, ran)
            points = listed.points(ran.calls, stage.where)
            if stop is None or stop is tally.stops[0]:
                tally.calls = sum(listed.concerns(one, stage.where) for one in ran.calls)
                tally.descriptors = ran.descriptors
                tally.own = {one.name for one in ran.calls if listed.is_own(one)}
                tally.points += [one for one in points if stop is None or one.call != stop[0]]
            else:
                tally.points += [one for one in points if one.call == tally.stops[0][0] != stop[0]]

    def points(self, points: list[tuple[str, Point]]) -> None:
        self._each(points, "points", self._point)

    def _point(self, stage: Stage, named: tuple[str, Point]) -> None:
        name, point = named
        for _ in range(STRACE_TRIES):
            told = ""
            try:
                self._disturb(stage, name, point)
            except CannotTrace as untraced:  # strace has attached to others before
                told = str(untraced)
                continue
            except (OSError, DriverError, Rejected):  # in what the scene needs, before or after
                told = traceback.format_exc()
            break
        if told:
            with self.lock:
                self.result.failed.append(f"{name}, {point}: {told}")

    def _disturb(self, stage: Stage, name: str, point: Point) -> None:
        tally = self.result.tallies[name]
        ran = disturb(stage, name, tally, point)
        while ran.last is not None:  # what is for ever reached the driver's own conversation
            if ran.last <= point.nth:
                with self.lock:
                    tally.run["same"] += 1  # as the fault that comes once
                return
            ran = disturb(stage, name, tally, point, last=ran.last)
        with self.lock:
            tally.run[ran.kind] += 1
        self._note(name, point, ran)

    def _note(self, name: str, point: Point | None, ran: Disturbed) -> None:
        if ran.problems and not self.ended.is_set():  # Ctrl-C ends strace as well
            violation = Violation(
                name, point, ran.call, ran.outcome.told, tuple(ran.problems), ran.tree
            )
            with self.lock:
                self.result.violations.append(violation)

    def _each(self, jobs: list[Any], what: str, do: Callable[[Stage, Any], None]) -> None:
        todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for job in jobs:
            todo.put(job)

        def work(number: int) -> None:
            try:
                while not self.ended.is_set():
                    try:
                        job = todo.get_nowait()
                    except queue.Empty:
                        return
                    do(self.stage(number), job)
            except BaseException:
                self.ended.set()
                raise

        with ThreadPoolExecutor(self.workers) as pool:
            working = [pool.submit(work, number) for number in range(self.workers)]
            try:
                # Not by joining threads: a join that Ctrl-C interrupts takes them for ended.
                while wait(working, 0.2).not_done:
                    done = len(jobs) - todo.qsize()
                    wrong = len(self.result.violations)
                    self.tell(f"{what}: {done} of {len(jobs)}, {wrong} violations")
            except BaseException:
                self.ended.set()
                raise
        for future in working:
            fault = future.exception()
            if isinstance(fault, CannotTrace):
                self.result.not_run = str(fault)
            elif fault:
                raise fault

    def close(self) -> None:
        for stage in self.stages:
            stage.close()


@dataclass
class Disturbed:
    """One run of an operation."""

    outcome: Outcome
    calls: list[strace.Call]
    problems: list[Problem] = field(default_factory=list)
    tree: str = ""
    descriptors: int = 0
    last: int | None = None  # the number of the last call that may fail and is not the driver's own

    @property
    def kind(self) -> str:
        if self.outcome.killed:
            return "crash"
        return "error" if self.outcome.hits or self.outcome.broken else "untouched"

    @property
    def call(self) -> str:
        if self.outcome.hits:
            return str(self.outcome.hits[0].call)
        return str(self.calls[-1]) if self.outcome.killed and self.calls else ""


def disturb(
    stage: Stage,
    name: str,
    tally: Tally,
    point: Point | None,
    *,
    last: int | None = None,
    stop: tuple[str, int] | None = None,
    judge: bool = True,
) -> Disturbed:
    """Run an operation in a fresh scene, with this fault, and judge what came of it."""
    operation = OPERATIONS[name]
    if point and tally.stops:
        stop = next((one for one in tally.stops if one[0] != point.call), None)
    with stage.scene(operation.base_is_there) as scene:
        operation.arrange(scene)
        injections = [f"inject={stop[0]}:signal=STOP:when={stop[1]}"] if stop else []
        injections += [point.injection(last)] if point else []
        outcome = Outcome()
        with strace.traced(scene.victim, *injections) as trace:
            _ask(operation, scene, trace, outcome, stop is not None)
        calls = trace.calls()
        ran = Disturbed(outcome, calls, tree=scene.base.tree())
        if point and not point.is_crash:
            outcome.hits = [
                Hit(one, scene.base.path)
                for one in calls
                if one.injected and one.errno == point.fault
            ]
            ran.last = _bound(point, last, calls, tally)
            if ran.last is not None:
                return ran
        if judge:
            verdict = Verdict(scene, point, outcome)
            _judge(operation, verdict, ran, tally)
            ran.problems = verdict.problems
    return ran


def _bound(point: Point, last: int | None, calls: list[strace.Call], tally: Tally) -> int | None:
    """The last call that may fail, where the driver's own conversation would fail after it.

    Of its next read, which is under way when strace lets go, the log may not tell.
    """
    own: list[int] = []
    others = [0]
    for n, call in listed.numbered(calls):
        if call.name == point.call:
            (own if call.injected and listed.is_own(call) else others).append(n)
    if own:
        return own[0] - 1
    return max(others) if point.ever and last is None and point.call in tally.own else None


def _ask(
    operation: Operation, scene: Scene, trace: strace.Trace, outcome: Outcome, stops: bool
) -> None:
    """Make the request; where it stops, let happen what happens in between."""
    try:
        if not stops:
            outcome.result = operation.request(scene)
            return
        begun = trace.begin(operation.request, scene)
        with suppress(CannotTrace):  # it ended before it came to the call
            trace.stopped()
            operation.between(scene)
            trace.go_on()
        outcome.result = begun.result()
    except Rejected as error:
        outcome.error = error
    except DriverError as error:
        outcome.broken = error
        outcome.killed = error.end == "killed by SIGKILL"


def _judge(operation: Operation, verdict: Verdict, ran: Disturbed, tally: Tally) -> None:
    scene, outcome = verdict.scene, verdict.outcome
    answered = outcome.broken is None or outcome.killed
    verdict.expect(answered, "GUAR-8, DRIVER.md: an answer; neither crash nor hang", outcome.told)
    verdict.visible_is_whole()
    verdict.living_are_unharmed()
    if answered:
        operation.judge(verdict)
    else:
        for receiver in scene.receivers:
            receiver.drain()
    if answered and not outcome.killed:
        operation.again(verdict)
        ran.descriptors = _descriptors(scene.victim.pid)
        if tally.descriptors:
            verdict.expect(
                ran.descriptors <= tally.descriptors,
                f"no descriptor leaks: {tally.descriptors} are open, as where nothing fails",
                f"{ran.descriptors}: {_open_files(scene.victim.pid)}",
            )
        verdict.victim_ends()
    verdict.living_are_unharmed()
    verdict.others_go_on()


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _open_files(pid: int) -> str:
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            names.append(os.readlink(entry))
    return ", ".join(names)
