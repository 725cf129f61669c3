"""One disturbance: an operation runs in a fresh scene, with one fault, and is judged."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pubsub_conformance.driver import DriverError, Rejected
from pubsub_conformance.linux import strace
from pubsub_conformance.linux.calls import Call

from . import points as listed
from .operation import Operation
from .operations import OPERATIONS
from .points import Hit, Point, Stop
from .report import Tally
from .scenes import Scene, Stage
from .verdict import Outcome, Problem, Verdict

UNDISTURBED_SECONDS = 60.0
"""For a request whose usual time is not known yet."""

REPETITIONS = 100
"""How often an implementation may repeat a step that fails for ever: each as long as the whole
request took undisturbed, under the same strace on the same machine."""


@dataclass
class Disturbed:
    """One run of an operation, disturbed or not."""

    outcome: Outcome
    calls: list[Call]
    problems: list[Problem] = field(default_factory=list)
    tree: str = ""
    descriptors: int = 0
    """How many the process had open in the end."""
    in_helper: bool = False
    """Whether the disturbance met a process that the driver had just started. It was not judged."""
    last: int | None = None
    """Where a lasting error met a call that cannot fail with it: the number of the last call that
    may fail. The run was not judged."""

    @property
    def kind(self) -> str:
        """ "crash", "error", "helper", or "untouched" if the point was not reached."""
        if self.in_helper:
            return "helper"
        if self.outcome.killed:
            return "crash"
        return "error" if self.outcome.hits or self.outcome.broken else "untouched"

    @property
    def call(self) -> str:
        """The call that was disturbed, as strace shows it."""
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
    stop: Stop | None = None,
    judge: bool = True,
    keep: bool = False,
) -> Disturbed:
    """Run an operation in a fresh scene, with this fault, and judge the outcome.

    With `keep`, the process that served the last scene serves this one, as long as it is sound.
    Without a point it is a dry run. `last` ends a lasting error with the call of this number;
    `between` runs after the call of `stop`. Raises CannotTrace, and DriverError, Rejected or
    OSError if the scene cannot be made.
    """
    operation = OPERATIONS[name]
    if point:
        stop = tally.stop_for(point)
    with stage.scene(operation.base_exists, name if keep else None) as scene:
        operation.arrange(scene)
        options = [stop.injection()] if stop else []
        options += [point.injection(last)] if point else []
        outcome = Outcome()
        patience = REPETITIONS * tally.seconds if point else UNDISTURBED_SECONDS
        patience += scene.victim.limits.reply_seconds
        injections = map(strace.Injection, options)
        with strace.traced(
            scene.victim, *injections, helpers=False, reply_seconds=patience
        ) as trace:
            began = time.monotonic()
            _ask(operation, scene, trace, outcome, stop)
            if not point:
                tally.seconds = max(tally.seconds, time.monotonic() - began)
        calls = trace.calls()
        ran = Disturbed(outcome, calls, tree=scene.base.tree())
        if point and not outcome.killed and trace.helper_was_hit():
            ran.in_helper = True
            return ran
        if point and not point.is_crash:
            outcome.hits = [
                Hit(call, scene.base.path)
                for call in calls
                if call.injected and call.errno == point.fault
            ]
            ran.last = listed.bound(point, last, calls, tally.own)
        if judge and ran.last is None:
            verdict = Verdict(scene, point, outcome)
            _judge(operation, verdict, ran, tally, keep)
            ran.problems = verdict.problems
        elif keep:
            with suppress(Rejected, DriverError):
                scene.keep_victim()
    return ran


def _ask(
    operation: Operation, scene: Scene, trace: strace.Trace, outcome: Outcome, stop: Stop | None
) -> None:
    """Make the request. Where the process stops, let others do what they do in between."""
    try:
        if not stop:
            outcome.result = operation.request(scene)
            return
        begun = trace.begin(operation.request, scene)
        if any(map(stop.passes, trace.stops())):
            operation.between(scene)
        trace.go_on()
        outcome.result = begun.result()
    except Rejected as error:
        outcome.error = error
    except DriverError as error:
        outcome.broken = error
        outcome.killed = error.end == "killed by SIGKILL"


def _judge(
    operation: Operation, verdict: Verdict, ran: Disturbed, tally: Tally, keep: bool
) -> None:
    scene, outcome = verdict.scene, verdict.outcome
    answered = outcome.broken is None or outcome.killed
    verdict.expect(
        answered,
        f"{operation.reports}: the operation ends, without crash or hang",
        outcome.describe(),
    )
    verdict.check_visible()
    verdict.check_living(operation.spares)
    if answered:
        operation.judge(verdict)
    else:
        for receiver in scene.channels.receivers:
            receiver.drain()
    if answered and not outcome.killed:
        operation.repeat(verdict)
        ran.descriptors = _descriptors(scene.victim.pid)
        if tally.descriptors:
            verdict.expect(
                ran.descriptors <= tally.descriptors,
                "BASE-16: after an error no descriptor stays open:"
                f" {tally.descriptors} are open, as without a fault",
                f"{ran.descriptors}: {_open_files(scene.victim.pid)}",
            )
        if keep:
            with verdict.expect_success("DRIVER-6: a driver goes on after an error"):
                scene.keep_victim()
        else:
            verdict.check_end()
    verdict.check_living(operation.spares)
    verdict.check_others()


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _open_files(pid: int) -> str:
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            names.append(os.readlink(entry))
    return ", ".join(names)
