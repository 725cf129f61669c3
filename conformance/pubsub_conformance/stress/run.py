"""Stress: many processes publish and subscribe at once, and a checker judges what they saw.

Some are stopped (SIGSTOP) or killed (SIGKILL) meanwhile, and the killed ones are replaced. What
each of them does, to which topics, in which sizes, and the moments of the disturbances follow from
the seed. Which processes meet does not. So the same seed repeats the work, but need not repeat a
failure: the history of a run is saved instead, and can be judged again by itself.

With chaos, the world is disturbed, too: the base is removed under everybody, its file system is
full, or a process may open no more files. An operation may fail meanwhile with the error that says
so. Any other error is a fault, and all promises before, after and in between hold.

A run has epochs. At the end of each the publishers pause, all queues are read until they are empty,
and what happened is judged and forgotten: a long run needs no more memory than a short one. What
comes of an earlier epoch afterwards comes too late, or twice.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from pubsub_conformance.driver import DriverError
from pubsub_conformance.judge.check import check
from pubsub_conformance.judge.leftovers import leftovers, not_reaped
from pubsub_conformance.linux.disk import Disk
from pubsub_conformance.oracle.queue import waiting_octets
from pubsub_conformance.waiting import begin, unfinished

from ..judge.report import show_crash
from .disturb import Disturber, World
from .evidence import keep
from .load import DISK, Load
from .publisher import Publisher
from .result import Progress, Result
from .scene import Scene
from .subscriber import Subscriber
from .timeline import REPORT_SECONDS, Timeline
from .worker import Worker, crew

EPOCHS: Final = (5.0, 10.0, 20.0)
"""Seconds that the first, the second and every later epoch publishes for. Early ones are short,
because gross faults show soon; late ones are a few hundred thousand events in memory."""

STALE: Final = 1.0
"""Seconds: the stale age for reaping what the killed leave. Nobody is at work meanwhile."""

GRACE: Final = 1.0
"""Seconds beside it: ages may be compared in whole ones."""


def run(
    command: Sequence[str],
    home: Path,
    seed: int,
    load: Load,
    *,
    evidence: Path | None = None,
    tell: Callable[[Progress], object] = lambda _: None,
    not_done: Sequence[str] = (),
) -> Result:
    """Have drivers publish and subscribe in the base directory `home`, and judge what they saw.

    The run ends with the first epoch in which anything fails. Then history, seed and a copy of the
    base directory are left in a new directory in `evidence` (default: where temporary files are),
    which the result names. A KeyboardInterrupt ends it, and what happened until then is judged.
    `tell` gets the progress; `not_done` are disturbances that the result is to list as impossible.
    """
    scene = Scene(command, home, seed, load)
    stress = _Run(scene, evidence, tell, not_done)
    with crew(stress.workers) as pool:
        stress.go(pool)
    return stress.found


class _Run:
    """The thread that commands the workers."""

    def __init__(
        self,
        scene: Scene,
        directory: Path | None,
        tell: Callable[[Progress], object],
        not_done: Sequence[str],
    ) -> None:
        self.scene, self.directory, self.tell = scene, directory, tell
        load = scene.load
        share, rest = divmod(load.messages, load.publishers)
        self.publishers = [
            Publisher(scene, f"p{i}", share + (i < rest)) for i in range(load.publishers)
        ]
        self.subscribers = [
            Subscriber(scene, f"s{i}", habit, i) for i, habit in enumerate(load.readers)
        ]
        disk = Disk(scene.home.parent) if set(load.chaos) & set(DISK) else None
        world = World(scene.home, disk, scene.note)
        victims = {worker.name: worker.process for worker in self.workers}
        self.disturber = Disturber(scene.seed, load, world, victims, scene.troubles)
        done, excused = self.disturber.done, scene.excused
        self.found = Result(scene.seed, done, excused, scene.errors, not_done)
        self.unknown = 0
        """Publishes whose outcome nobody knows."""
        self.judged = True
        """The events of this epoch were judged."""
        self.began = time.monotonic()

    @property
    def workers(self) -> list[Worker[Any]]:
        """The publishers and the subscribers."""
        return [*self.publishers, *self.subscribers]

    @property
    def over(self) -> bool:
        return (
            time.monotonic() - self.began >= self.scene.load.seconds
            or self._received >= self.scene.load.deliveries
            or not any(publisher.left for publisher in self.publishers)
        )

    @property
    def _received(self) -> int:
        return sum(subscriber.received for subscriber in self.subscribers)

    def go(self, pool: ThreadPoolExecutor) -> None:
        """Run to the end, or to an interrupt."""
        try:
            while not self.found.failed and not self.over:
                self._epoch(pool)
                self._judge()
                self._reap()
            if self._left and not self.found.failed:
                # Until everything that the dead have left is stale.
                until = time.monotonic() + STALE + 2 * GRACE
                while time.monotonic() < until:
                    self._report("waiting for what the dead left to be stale")
                    time.sleep(REPORT_SECONDS)
                self._reap()
        except (KeyboardInterrupt, Exception) as error:
            show_crash(error)
            self.found.interrupted = True
            self._stop(pool)
            if not self.judged:
                self._judge()
        if (
            self.found.failed
        ):  # now, while channels are still open, and what lies in them is still there
            self._keep()
        for worker in self.workers:
            worker.end()
        if self.found.failed and not self.found.evidence:
            self._keep()
        self.found.seconds = time.monotonic() - self.began

    def _epoch(self, pool: ThreadPoolExecutor) -> None:
        scene = self.scene
        channels = [s.channel for s in self.subscribers if s.channel]
        scene.begin_epoch([channel.opened for channel in channels if channel.opened])
        self.found.memory.take(self.found.receives)
        self.judged = False
        self._wait(begin(pool, [worker.prepare for worker in self.workers]), "starting")
        timeline = Timeline()
        longest = EPOCHS[min(self.found.epochs, len(EPOCHS) - 1)]
        seconds = min(longest, scene.load.seconds - (time.monotonic() - self.began))
        self.disturber.disturb(timeline, self.found.epochs)
        writing = begin(pool, [publisher.work for publisher in self.publishers])
        reading = begin(pool, [subscriber.work for subscriber in self.subscribers])

        def ended(seconds: float) -> bool:
            return (
                not unfinished(writing, seconds)
                or scene.ending.is_set()
                or self._received >= scene.load.deliveries
            )

        timeline.run(seconds, ended, lambda: self._report("publishing"))
        scene.ending.set()
        for worker in self.workers:
            worker.process.signal(signal.SIGCONT)
        self._wait(writing, "publishing the rest")
        scene.published.set()
        self._wait(reading, "draining")
        self.found.epochs += 1

    def _wait(self, futures: Sequence[Future[None]], doing: str) -> None:
        while unfinished(futures, REPORT_SECONDS):
            self._report(doing)
        for future in futures:
            future.result()

    def _stop(self, pool: ThreadPoolExecutor) -> None:
        """End everything at once."""
        self.scene.ending.set()
        self.scene.published.set()
        for worker in self.workers:
            worker.process.abort()
        pool.shutdown()
        for worker in self.workers:
            worker.bury()

    def _open_channels(self) -> list[Path]:
        """Their directories."""
        handles = [s.channel.handle for s in self.subscribers if s.channel]
        return [handle.directory for handle in handles if handle]

    def _report(self, doing: str) -> None:
        found = self.found
        violations = len(found.violations) or sum(s.broken for s in self.subscribers)
        self.tell(
            Progress(
                time.monotonic() - self.began,
                doing,
                sum(publisher.published for publisher in self.publishers),
                self._received,
                sum(map(waiting_octets, self._open_channels())),
                self.disturber.done,
                violations + len(self.scene.errors) + len(found.leftovers),
            )
        )

    # Judgement.

    def _judge(self) -> None:
        self._report("judging")
        self.found.opened = sum(subscriber.opened for subscriber in self.subscribers)
        self.found.marked = sum(subscriber.marked for subscriber in self.subscribers)
        began, found = time.monotonic(), self.found
        judgement = check(self.scene.history())
        for text in judgement.contradictions[:1]:
            self.scene.blame(DriverError(f"what drivers reported contradicts itself: {text}"))
        found.checking = max(found.checking, time.monotonic() - began)
        found.publishes += judgement.publishes
        found.receives += judgement.receives
        found.due += judgement.due
        found.full += judgement.full
        found.perhaps_records += judgement.perhaps_records
        found.violations = judgement.violations
        self.unknown += self.scene.unknown()
        self.judged = True

    @property
    def _left(self) -> int:
        """The number of processes that may have left a channel."""
        return self.disturber.done.get("kill", 0) + self.scene.unclosed

    def _reap(self) -> None:
        """Have everything reaped that the killed left.

        What nobody can have left, and what should have gone and is still there, is left over.
        """
        channels = {directory.name for directory in self._open_channels()}
        home, left = self.scene.home, self._left
        self.found.leftovers = tuple(leftovers(home, channels, self.unknown, left))
        stale = time.time() - STALE - GRACE
        if not left or self.found.leftovers:
            return
        if all(subscriber.reap(STALE) for subscriber in self.subscribers):
            self.found.leftovers = tuple(not_reaped(home, channels, stale))

    def _keep(self) -> None:
        found = self.found
        history = self.scene.history()
        if not history and not found.publishes:  # the driver did not even start
            return
        self._report("saving")
        directory = keep(self.scene, history, found.epochs, self.directory)
        found.evidence, found.seconds = directory, time.monotonic() - self.began
        (directory / "result.txt").write_text(f"{found}\n", encoding="utf-8")
