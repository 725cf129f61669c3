"""Stress: many processes publish and subscribe at once, and a checker judges what they saw.

Some are stopped (SIGSTOP) or killed (SIGKILL) meanwhile, and those that were killed are replaced.
What each of them does, to which topics, in which sizes and at which moments it is disturbed,
follows from the seed; who meets whom does not. The same seed therefore does the same work again,
but need not fail again: what a run saw is in its history, which can be judged again by itself.

With chaos, the world is disturbed, too: the base is removed under everybody, its file system is
full, or a process may open no more files. What fails meanwhile with the error that says so is no
fault; any other error is, and what was promised before, after and in between is owed all the same.

A run goes by epochs. At the end of each the publishers pause, all queues are read until they are
empty, and what was seen is judged and forgotten: a long run needs no more memory than a short one.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal
import stat
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from sys import intern
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

from pubsub_conformance import __version__
from pubsub_conformance.driver import STREAM_SECONDS, Driver, DriverError, OpenChannel, Rejected
from pubsub_conformance.driver.produced import content_of, identity_of
from pubsub_conformance.judge.check import check
from pubsub_conformance.judge.events import (
    Broken,
    Close,
    Drained,
    Event,
    Lost,
    Open,
    Publish,
    Receive,
    Removed,
    Waited,
    save,
)
from pubsub_conformance.judge.fullness import SMALLEST_QUEUE, full_spans
from pubsub_conformance.judge.leftovers import leftovers, not_reaped
from pubsub_conformance.judge.violations import Violation, render
from pubsub_conformance.linux.disk import Disk
from pubsub_conformance.oracle.queue import waiting
from pubsub_conformance.waiting import now

TOPICS: Final = ("a", "a.b", "a.c", "a.b.c", "b.c")
PATTERNS: Final = (("+",), ("a.=", "=.c"), ("a.b", "a.c"), ("a.+", "+.c"))
"""Subscribers take one of each in turn: the first gets everything, and all overlap."""

LARGEST: Final = 4 * 2**20
"""Octets: many times a pipe, a page and a buffer of a standard library."""

IDLE: Final = 0.1
"""Seconds without a message after which a subscriber looks whether the publishers have ended.
A lost message costs so much, and no time-out."""

ROUND: Final = 5.0
"""Seconds after which it looks even if messages keep coming: well below what a reply may take."""

EPOCHS: Final = (5.0, 10.0, 20.0)
"""Seconds that the first, the second and every later epoch publishes for. Early ones are short, for
what is broken shows soon; late ones are a few hundred thousand events in memory."""

SMALL_QUEUE: Final = 2
"""Pages: what the queues of slow readers are cut down to where the system can do it, so that they
are full now and then. One would not do: a page frees its room as a whole."""

STALE: Final = 1.0
"""Seconds: the stale age for reaping what the killed leave. Nobody is at work meanwhile."""

GRACE: Final = 1.0
"""Seconds beside it: ages may be compared in whole ones."""

LONGEST_STOP: Final = 1.0  # seconds

STALE_AT_WORK: Final = 4.0
"""Seconds: the stale age for reaping while others are at work. A publisher that is stopped for
longer may count a channel that has removed its message (guarantee.md)."""

LONGEST_WANT: Final = 1.0
"""Seconds for which the file system is full, or a process may open no more files."""

LONGEST_WAIT: Final = 1.5
"""Seconds for which a reader waits: a channel that is lost must be reported lost within one."""

PAUSE: Final = 0.02  # seconds after an operation that failed, until the next one

SLACK: Final = (0, 0, 0, 1, 2, 3)
"""How many descriptors, inodes or blocks are left, one drawn each time: an operation that takes
several has to fail at each of them."""

REMOVING: Final = 20
"""How often a base is emptied that others fill; after that it is renamed away."""

TELL: Final = 0.25
"""Seconds between two reports of progress."""

MOST_TOLD: Final = 10  # errors or files left over, in a result

Habit = Literal["steady", "slow", "visitor", "late"]
"""How a subscriber reads: always; a little, with pauses; it opens, reads a little and closes, again
and again; or only once all is published."""

HABITS: Final[tuple[Habit, ...]] = ("steady", "slow", "visitor")

What = Literal["kill", "stop", "remove", "rename", "blocks", "inodes", "descriptors"]
"""What a disturbance does: kills or stops a process; removes the base or renames it away; leaves
next to no blocks or inodes on its file system; lets a process open next to no more files."""

REMOVALS: Final[tuple[What, ...]] = ("remove", "rename")
DISK: Final[tuple[What, ...]] = ("blocks", "inodes")
CHAOS: Final[tuple[What, ...]] = (*REMOVALS, *DISK, "descriptors")

# How often a kind is drawn, in proportion.
OFTEN: Final[dict[What, int]] = {
    "kill": 4,
    "stop": 6,
    "remove": 1,
    "rename": 1,
    "blocks": 1,
    "inodes": 2,
    "descriptors": 3,
}

EXPLAINED: Final[dict[What, frozenset[str]]] = {
    "remove": frozenset({"ENOENT"}),
    "rename": frozenset({"ENOENT"}),
    "blocks": frozenset({"ENOSPC"}),
    "inodes": frozenset({"ENOSPC"}),
    "descriptors": frozenset({"EMFILE"}),
}
"""What an operation may fail with meanwhile. Each may also be a base that cannot be used (BASE-3),
and a removal lets channels be lost, of which the history tells."""


@dataclass(frozen=True)
class Load:
    """How much a run does, and of what. It ends by time or by number, whichever comes first."""

    publishers: int = 4
    readers: tuple[Habit, ...] = HABITS * 2
    seconds: float = math.inf
    messages: float = math.inf
    """Of all publishers together."""
    kills: bool = True
    """And stops."""
    chaos: tuple[What, ...] = ()
    """Of CHAOS. Those of DISK take a base right below the mount point of a Disk."""
    timeouts: tuple[float | None, ...] = (None, None, None, None, 0.02, 0.2)
    """Seconds for which a publisher waits for full queues, one drawn for each burst."""
    largest: int = LARGEST


class Progress(NamedTuple):
    seconds: float
    doing: str
    published: int
    received: int
    backlog: int
    """Ids that lie in the queues."""
    done: dict[What, int]
    """How many disturbances of each kind there were."""
    violations: int
    """Found so far, with errors and files left over."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    seed: int
    seconds: float
    epochs: int
    publishes: int
    receives: int
    due: int
    """Deliveries that had to come. Where there is none, nothing is proved."""
    done: dict[What, int]
    """How many disturbances of each kind there were."""
    excused: dict[str, int]
    """How often each error was met with that a disturbance explains."""
    checking: float
    """Seconds that it took to judge the longest epoch."""
    violations: tuple[Violation, ...]
    errors: tuple[DriverError | Rejected, ...]
    """What drivers and publishes failed with; nothing in a run makes a correct one fail so."""
    leftovers: tuple[str, ...]
    """Names in the base directory, where all was read: of messages that nobody has any more, and
    of what dead processes left and reaping did not remove."""
    interrupted: bool
    evidence: Path | None
    """The directory with history, seed and a copy of the base directory, if anything failed."""

    @property
    def failed(self) -> bool:
        return bool(self.errors or self.violations or self.leftovers)

    @property
    def kills(self) -> int:
        return self.done["kill"]

    @property
    def stops(self) -> int:
        return self.done["stop"]

    @property
    def summary(self) -> str:
        text = (
            f"seed {self.seed}: {self.publishes} publishes, {self.receives} deliveries,"
            f" {self.due} of them due, {told(self.done)} in"
            f" {self.seconds:.0f} s; {len(self.violations)} violations,"
            f" {len(self.errors)} errors, {len(self.leftovers)} files left over"
        )
        if self.excused:
            errors = ", ".join(f"{n} {error}" for error, n in sorted(self.excused.items()))
            text += f"\nexplained by a disturbance: {errors}"
        return f"{text}\nevidence: {self.evidence}" if self.evidence else text

    def __str__(self) -> str:
        """The summary and what there is to say against it, the first few of each kind."""
        told = [self.summary, *map(str, self.errors[:MOST_TOLD]), render(self.violations)]
        told += map("left over: {}".format, self.leftovers[:MOST_TOLD])
        return "\n".join(filter(None, told))


def run(
    command: Sequence[str],
    home: Path,
    seed: int | None = None,
    load: Load | None = None,
    *,
    evidence: Path | None = None,
    tell: Callable[[Progress], object] = lambda _: None,
) -> Result:
    """Has drivers publish and subscribe in the base directory `home`, and judges what they saw.

    Ends at the end of the first epoch in which anything fails. Then history, seed and a copy of
    the base directory are left in a new directory under `evidence` (default: where temporary
    files go), which the result names. On KeyboardInterrupt it judges what there is.
    """
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    this = _Run(list(command), home, seed, load or Load(), evidence, tell)
    try:
        with ThreadPoolExecutor(len(this.workers)) as pool:
            try:
                return this.go(pool)
            finally:
                this.abort()  # or the threads would not end
    finally:
        for worker in this.workers:
            worker.end()


NAMED: Final[dict[What, str]] = {
    "kill": "kills",
    "stop": "stops",
    "remove": "removals of the base",
    "rename": "renames of it",
    "blocks": "times without blocks",
    "inodes": "without inodes",
    "descriptors": "without descriptors",
}


def told(done: Mapping[What, int]) -> str:
    """How often each kind of disturbance was done, in words."""
    return ", ".join(f"{n} {NAMED[what]}" for what, n in done.items())


class Disruption(NamedTuple):
    at: float
    """Seconds since the epoch began."""
    what: What
    victim: str
    """Of what is done to a process."""
    seconds: float
    """After which it ends, if it does."""
    slack: int
    """So many descriptors, or entries and blocks of the file system, are left."""


def disruptions(
    seed: int, epoch: int, victims: Sequence[str], kinds: Sequence[What] = ("kill", "stop")
) -> Iterator[Disruption]:
    """What of these kinds is done in an epoch, to whom, and when; without end."""
    rng = random.Random(f"{seed} disruptions {epoch}")
    often = [OFTEN[what] for what in kinds]
    at = 0.0
    while kinds:
        at += rng.uniform(0.05, 0.6)
        (what,) = rng.choices(kinds, often)
        # Short stops widen the gaps between two system calls, long ones fill queues.
        stop = rng.choice((rng.uniform(0.01, 0.1), rng.uniform(0.3, LONGEST_STOP)))
        seconds = stop if what == "stop" else rng.uniform(0.1, LONGEST_WANT)
        yield Disruption(at, what, rng.choice(victims), seconds, rng.choice(SLACK))


@dataclass
class _Want:
    """A time in which something was not to be had, or was taken away."""

    what: What
    victim: str | None
    """The process that it concerns; None: all."""
    start: int
    end: float = math.inf


class _Run:
    """What the workers have in common, and the thread that commands them."""

    def __init__(
        self,
        command: list[str],
        home: Path,
        seed: int,
        load: Load,
        evidence: Path | None,
        tell: Callable[[Progress], object],
    ) -> None:
        self.command, self.home, self.seed, self.load = command, home, seed, load
        self.directory, self.tell = evidence, tell
        share, rest = divmod(load.messages, load.publishers)
        self.publishers = [
            _Publisher(self, f"p{i}", share + (i < rest)) for i in range(load.publishers)
        ]
        self.subscribers = [
            _Subscriber(self, f"s{i}", habit, i) for i, habit in enumerate(load.readers)
        ]
        self.workers: list[Worker[_Run]] = [*self.publishers, *self.subscribers]
        self.ending = threading.Event()
        """No more bursts in this epoch."""
        self.published = threading.Event()
        """Nobody publishes any more in this epoch: read until all is empty."""
        self.aborted = False
        # Of this epoch:
        self.events: list[Event] = []
        self.carried: list[Open] = []
        """Channels that were opened in earlier epochs and are still there."""
        self.judged = True
        self.futures: list[Future[None]] = []
        self.rooms: dict[str, int] = {}
        """How many ids each channel certainly holds."""
        # Of the whole run:
        self.errors: list[DriverError | Rejected] = []
        self.violations: tuple[Violation, ...] = ()
        self.leftovers: tuple[str, ...] = ()
        self.evidence: Path | None = None
        self.began = time.monotonic()
        self.quiet_since = time.time()
        self.publishes = self.receives = self.due = self.unknown = 0
        self.epochs = 0
        self.kinds: tuple[What, ...] = (*(("kill", "stop") if load.kills else ()), *load.chaos)
        self.done_so_far: dict[What, int] = dict.fromkeys(("kill", "stop", *load.chaos), 0)
        self.wants: list[_Want] = []
        """Of this epoch."""
        self.disk = Disk(home.parent) if set(load.chaos) & set(DISK) else None
        self.excused: Counter[str] = Counter()
        self.unclosed = 0
        """Channels whose closing failed, with an error that is explained."""
        self.checking = 0.0

    # The course of a run.

    def go(self, pool: ThreadPoolExecutor) -> Result:
        interrupted = False
        try:
            while not self.failed and not self.done():
                self.epoch(pool, EPOCHS[min(self.epochs, len(EPOCHS) - 1)])
                self.judge()
                self.reap()
            if (self.done_so_far["kill"] or self.unclosed) and not self.failed:
                # Until everything that the dead have left is stale.
                while time.time() < self.quiet_since + STALE + 2 * GRACE:
                    self.report("waiting for what the dead left to be stale")
                    time.sleep(TELL)
                self.reap()
        except KeyboardInterrupt:
            interrupted = True
            self.abort()
            wait(self.futures)
            for worker in self.workers:
                worker.bury()
            if not self.judged:
                self.judge()
        if self.failed:  # now, while channels are still open, and what lies in them is still there
            self.save()
        history, self.events = self.events, []
        for worker in self.workers:
            worker.end()
        if self.failed and not self.evidence:
            self.events = history
            self.save()
        return self.result(interrupted)

    def done(self) -> bool:
        return time.monotonic() - self.began >= self.load.seconds or not any(
            publisher.left for publisher in self.publishers
        )

    @property
    def failed(self) -> bool:
        return bool(self.errors or self.violations or self.leftovers)

    def epoch(self, pool: ThreadPoolExecutor, seconds: float) -> None:
        self.wants = []
        self.events, self.carried = [], [s.open.event for s in self.subscribers if s.open]
        self.rooms = {e.channel: self.rooms[e.channel] for e in self.carried}
        self.ending.clear()
        self.published.clear()
        self.judged = False
        self.futures = []
        self.wait_for([pool.submit(worker.prepare) for worker in self.workers], "starting")
        began = time.monotonic()
        until = began + min(seconds, self.load.seconds - (began - self.began))
        if self.errors:  # blame() must not be undone
            self.ending.set()
        writing = [pool.submit(publisher.work) for publisher in self.publishers]
        reading = [pool.submit(subscriber.work) for subscriber in self.subscribers]
        self.futures = [*writing, *reading]
        self.disturb(writing, began, until)
        self.ending.set()
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
        self.wait_for(writing, "publishing the rest")
        self.published.set()
        self.wait_for(reading, "draining")
        self.epochs += 1
        self.quiet_since = time.time()

    def disturb(self, writing: Sequence[Future[None]], began: float, until: float) -> None:
        """Disturbs until the time is over or the publishers have ended."""
        workers = {worker.name: worker for worker in self.workers}
        moments = disruptions(self.seed, self.epochs, list(workers), self.kinds)
        coming = next(moments, None)
        ends: list[tuple[float, Callable[[], object]]] = []
        try:
            while not self.ending.is_set():
                now = time.monotonic()
                for moment in [moment for moment in ends if moment[0] <= now]:
                    ends.remove(moment)
                    moment[1]()
                if now >= until:
                    return
                while coming and began + coming.at <= now:
                    end = self.begin(coming, workers[coming.victim])
                    if end:
                        self.done_so_far[coming.what] += 1
                        ends.append((began + coming.at + coming.seconds, end))
                    coming = next(moments, None)
                soonest = min([until, now + TELL, *(time for time, _ in ends)])
                if coming:
                    soonest = min(soonest, began + coming.at)
                if not wait(writing, max(0.0, soonest - now)).not_done:
                    return
                self.report("publishing")
        finally:
            for _, end in ends:
                end()

    def begin(self, coming: Disruption, victim: Worker[_Run]) -> Callable[[], object] | None:
        """Does it, if it can be done now; what ends it."""
        if coming.what == "kill":
            return victim.rest if victim.kill() else None
        if coming.what == "stop":
            going_on = functools.partial(victim.signal, signal.SIGCONT)
            return going_on if victim.signal(signal.SIGSTOP) else None
        alone = coming.what == "descriptors"
        want = _Want(coming.what, victim.name if alone else None, now())
        lasting = [(w.what in DISK, w.victim) for w in self.wants if w.end == math.inf]
        if (want.what in DISK, want.victim) in lasting:
            return None
        self.wants.append(want)
        undo: Callable[[], object] | None
        if alone:
            undo = victim.limit(coming.slack)
        elif coming.what in REMOVALS:
            undo = self.remove_base(coming.what == "rename")
        else:
            assert self.disk
            self.disk.shrink(**{coming.what: coming.slack})
            undo = self.disk.grow
        if undo is None:
            self.wants.remove(want)
            return None
        if coming.what in REMOVALS:
            want.end = now()
            self.events.append(Removed(want.start, int(want.end)))
            return undo

        def end() -> None:
            undo()
            want.end = now()

        return end

    def remove_base(self, whole: bool) -> Callable[[], object] | None:
        """By one rename, if it shall go as a whole, or file by file under those who work in it."""
        away = self.home.with_name(f"{self.home.name}-{self.epochs}-{len(self.wants)}")
        try:
            for _ in range(0 if whole else REMOVING):
                with suppress(OSError):  # somebody put something new there
                    shutil.rmtree(self.home)
                    break
            else:
                self.home.rename(away)
        except FileNotFoundError:  # nobody has made it since the last time
            return None
        return functools.partial(shutil.rmtree, away, ignore_errors=True)

    def wait_for(self, futures: Sequence[Future[None]], doing: str) -> None:
        self.futures = [*self.futures, *futures]
        while wait(futures, TELL).not_done:
            self.report(doing)
        for future in futures:
            future.result()

    def report(self, doing: str) -> None:
        published = sum(publisher.published for publisher in self.publishers)
        received = sum(subscriber.received for subscriber in self.subscribers)
        queues = [s.open.channel.directory for s in self.subscribers if s.open]
        violations = len(self.violations) or sum(s.broken for s in self.subscribers)
        self.tell(
            Progress(
                time.monotonic() - self.began,
                doing,
                published,
                received,
                sum(map(waiting, queues)),
                self.done_so_far,
                violations + len(self.errors) + len(self.leftovers),
            )
        )

    def blame(self, error: DriverError | Rejected) -> None:
        self.errors.append(error)
        self.ending.set()

    def explains(self, error: Rejected, start: int, end: int, victim: str) -> bool:
        """Whether a disturbance explains what an operation failed with, that began and ended then.

        Whether a channel was lost, the history tells."""
        for want in tuple(self.wants):
            if want.start > end or (want.victim or victim) != victim:
                continue
            if error.code == "channel-lost":
                explained = want.what in REMOVALS
            elif error.code == "base-unusable":
                explained = want.end >= start
            else:
                explained = want.end >= start and error.errno in EXPLAINED[want.what]
            if explained:
                name = error.errno if error.code == "io-error" and error.errno else error.code
                self.excused[name] += 1
                return True
        return False

    def abort(self) -> None:
        """Ends everything; nobody is asked."""
        self.aborted = True
        self.ending.set()
        self.published.set()
        for worker in self.workers:
            worker.kill()

    # Judgement.

    def history(self) -> list[Event]:
        events = [*self.carried, *self.events]
        return [*events, *full_spans(events, self.rooms)]

    def judge(self) -> None:
        self.report("judging")
        began = time.monotonic()
        self.unknown += sum(isinstance(e, Publish) and e.outcome == "unknown" for e in self.events)
        verdict = check(self.history())
        for text in verdict.contradictions[:1]:
            self.blame(DriverError(f"what drivers reported contradicts itself: {text}"))
            return
        self.checking = max(self.checking, time.monotonic() - began)
        self.violations = verdict.violations
        self.publishes += verdict.publishes
        self.receives += verdict.receives
        self.due += verdict.due
        self.judged = True

    def reap(self) -> None:
        """Has everything reaped that the killed left. What nobody can have left, and what should
        have gone and is still there, is left over."""
        channels = {s.open.channel.directory.name for s in self.subscribers if s.open}
        left = self.done_so_far["kill"] + self.unclosed
        self.leftovers = tuple(leftovers(self.home, channels, self.unknown, left))
        stale = time.time() - STALE - GRACE
        if not left or self.leftovers:
            return
        if all(subscriber.reap() for subscriber in self.subscribers):
            self.leftovers = tuple(not_reaped(self.home, channels, stale))

    def save(self) -> None:
        self.report("saving")
        prefix = "pubsub-stress-"
        self.evidence = evidence = Path(tempfile.mkdtemp(prefix=prefix, dir=self.directory))
        if self.home.is_dir():
            _copy(self.home, evidence / "base")
        save(evidence / "history.jsonl", self.history())
        parameters = {
            "kit": __version__,
            "command": self.command,
            "seed": self.seed,
            "epoch": self.epochs,
            # "inf" is no JSON: what does not limit the run is left out.
            "load": {name: v for name, v in asdict(self.load).items() if v != math.inf},
        }
        (evidence / "run.json").write_text(json.dumps(parameters, indent=2), encoding="utf-8")
        (evidence / "result.txt").write_text(f"{self.result(False)}\n", encoding="utf-8")

    def result(self, interrupted: bool) -> Result:
        return Result(
            self.seed,
            time.monotonic() - self.began,
            self.epochs,
            self.publishes,
            self.receives,
            self.due,
            dict(self.done_so_far),
            dict(self.excused),
            self.checking,
            self.violations,
            tuple(self.errors),
            self.leftovers,
            interrupted,
            self.evidence,
        )


class Host(Protocol):
    """What workers need of the run that they belong to."""

    command: list[str]
    home: Path
    seed: int
    aborted: bool
    ending: threading.Event

    def blame(self, error: DriverError | Rejected) -> None: ...

    def explains(self, error: Rejected, start: int, end: int, victim: str) -> bool: ...


RunT = TypeVar("RunT", bound=Host)


class Worker(Generic[RunT]):
    """A driver process, its successors, and the thread that sends it requests."""

    def __init__(self, run: RunT, name: str) -> None:
        self.run, self.name = run, name
        self.rng = random.Random(f"{run.seed} {name}")
        self.lives = 0
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._killed: int | None = None
        self.since = 0
        """When the operation that is under way began, or the last sign of life after that."""

    # For the worker's own thread.

    def driver(self) -> Driver:
        """The process; a new one if there is none."""
        if self._driver is None:
            driver = Driver(self.run.command, self.run.home)
            self.lives += 1
            with self._lock:
                self._driver, self._killed = driver, None
            if not driver.hello.roles >= {"publisher", "subscriber"}:
                raise DriverError("stress takes a driver with the roles publisher and subscriber")
            if self.run.aborted:  # too late for abort() to see it
                self.kill()
        return self._driver

    def prepare(self) -> None:
        """Gets ready for an epoch."""
        self.guarded(self.ready)

    def work(self) -> None:
        """Its part in an epoch."""
        while not self.run.aborted:
            if self.guarded(self.turn):
                return

    def guarded(self, step: Callable[[Driver], bool]) -> bool:
        """Whether it was the last step: it says so, or it failed by itself."""
        try:
            return step(self.driver())
        except DriverError as error:
            with self._lock:
                killed, self._driver, self._killed = self._killed, None, None
            self.died(killed, now())
            if killed is not None:
                return False
            self.run.blame(error)
        except Rejected as error:
            if self.run.explains(error, self.since, now(), self.name):
                self.failed(error)
                self.run.ending.wait(PAUSE)
                return False
            self.died(None, None)
            self.run.blame(error)
        return True

    def ready(self, driver: Driver) -> bool:
        return True

    def turn(self, driver: Driver) -> bool:
        """Some of the work; whether it was the last of the epoch."""
        raise NotImplementedError

    def died(self, killed: int | None, end: int | None) -> None:
        """Notes what becomes of what was under way. `killed` is the time just before the kill, if
        it was one; `end` one at which the process was dead, None if it may go on living."""
        raise NotImplementedError

    def failed(self, error: Rejected) -> None:
        """Notes what becomes of an operation that failed, for a reason that is known."""
        raise NotImplementedError

    # For any thread.

    @property
    def pid(self) -> int | None:
        """Of the process that is at work."""
        with self._lock:
            return None if self._driver is None or self._killed is not None else self._driver.pid

    def kill(self) -> bool:
        with self._lock:
            if self._driver is None or self._killed is not None:
                return False
            self._killed = now()
            self._driver.kill()
            return True

    def rest(self) -> None:
        """Nothing has to be undone after a kill."""

    def limit(self, slack: int) -> Callable[[], object] | None:
        """Lets the process open only so many files more, on Linux; what undoes that."""
        with self._lock:
            if self._driver is None or self._killed is not None:
                return None
            pid = self._driver.pid
            try:
                taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
                free = (number for number in itertools.count() if number not in taken)
                most = next(itertools.islice(free, slack, None))
                before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
            except OSError:  # it has just died by itself
                return None

        def undo() -> None:
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

        return undo

    def signal(self, number: signal.Signals) -> bool:
        with self._lock:
            if self._driver is None or self._killed is not None:
                return False
            try:
                os.killpg(self._driver.pid, number)
            except (ProcessLookupError, PermissionError):  # it has just died by itself
                return False
            return True

    def bury(self) -> None:
        """Notes the death of a process that was killed while its thread had nothing to ask it."""
        with self._lock:
            if self._killed is not None:
                self.died(self._killed, now())

    def end(self) -> None:
        """Ends the process in good order."""
        with self._lock:
            driver, self._driver = self._driver, None
        if driver:
            try:
                driver.close()
            except DriverError as error:
                self.run.blame(error)


class _Burst(NamedTuple):
    """Messages on one topic, one `produce`. `first` is the number of its first one."""

    topic: str
    prefix: str
    first: int
    messages: int
    sizes: tuple[int, ...]
    timeout: float | None


class _Publisher(Worker[_Run]):
    """In the history, each process is a publisher of its own, whose messages are numbered."""

    def __init__(self, run: _Run, name: str, left: float) -> None:
        super().__init__(run, name)
        self.left = left
        self.published = 0
        self._number = 0
        """Of the next message of this process."""
        self._under_way: tuple[_Burst, int, int] | None = None
        """With the number in it of the message that may be under way, and since when."""

    def turn(self, driver: Driver) -> bool:
        if self.run.ending.is_set() or not self.left:
            return True
        burst = self._draw()
        self.since = now()
        self._under_way = burst, 0, self.since
        stream = driver.produce(
            burst.topic,
            burst.prefix,
            burst.messages,
            burst.sizes,
            timeout=burst.timeout,
            within=STREAM_SECONDS + burst.messages * (burst.timeout or 0),
        )
        for event in stream:
            n, start, end, count, error = event
            if error and not self.run.explains(error, start, end, self.name):
                self.run.blame(error)
            self._note(burst, n, start, end, count, error.code if error else None)
            self._under_way = burst, n + 1, end
        self._under_way = None
        return False

    def died(self, killed: int | None, end: int | None) -> None:
        if self._under_way:
            burst, n, since = self._under_way
            if (
                n < burst.messages and end is not None
            ):  # inside this one, or shortly before or after
                self._note(burst, n, since, end)
        self._under_way = None
        self._number = 0

    def failed(self, error: Rejected) -> None:
        """The stream ended with the message that was under way."""
        assert self._under_way
        burst, n, since = self._under_way
        self._note(burst, n, since, now(), error.count, error.code)
        self._under_way = None

    def _note(
        self,
        burst: _Burst,
        n: int,
        start: int,
        end: int,
        count: int | None = None,
        code: str | None = None,
    ) -> None:
        data = content_of(burst.prefix, n, burst.sizes)
        size, crc = len(data), zlib.crc32(data)
        publisher, number = _identity({"publisher": burst.prefix, "n": n})
        timeout = burst.timeout
        self.run.events.append(
            Publish(publisher, number, burst.topic, size, crc, start, end, count, code, timeout)
        )
        self._number = number + 1
        self.published += 1
        self.left -= code is None

    def _draw(self) -> _Burst:
        rng, largest = self.rng, self.run.load.largest
        kind, topic, timeout = rng.random(), rng.choice(TOPICS), rng.choice(self.run.load.timeouts)
        if kind < 0.1:  # large ones
            count, sizes = rng.randint(1, 4), [rng.randrange(largest + 1) for _ in range(4)]
        elif kind < 0.4:  # very many small ones
            count, sizes = rng.randint(100, 1000), [rng.randrange(100) for _ in range(8)]
        else:  # as in life
            count = rng.randint(1, 50)
            sizes = [0, *(rng.randrange(200) for _ in range(4)), rng.randrange(10_000)]
            sizes.append(rng.randrange(70_000))
        if timeout:  # or an epoch would not end
            count = min(count, 20)
        rng.shuffle(sizes)
        prefix = f"{self.name}-{self.lives}-{self._number}"
        cut = tuple(min(size, largest) for size in sizes)
        return _Burst(topic, prefix, self._number, int(min(count, self.left)), cut, timeout)


class _Subscription(NamedTuple):
    event: Open
    channel: OpenChannel


class _Subscriber(Worker[_Run]):
    def __init__(self, run: _Run, name: str, habit: Habit, place: int) -> None:
        super().__init__(run, name)
        self.habit = habit
        self.received = 0
        self.broken = 0
        self.open: _Subscription | None = None
        self._place = place
        self._opened = 0
        self._last_sign = 0
        """Of life of the channel, on the clock of the history."""
        self._opening: Open | None = None
        self._closing: int | None = None
        self._is_lost = False
        """So it was reported: it is of no use any more."""

    def ready(self, driver: Driver) -> bool:
        if self.habit != "visitor" and not self.open:
            self._open(driver)
        return True

    def turn(self, driver: Driver) -> bool:
        ending, published = self.run.ending, self.run.published
        if self.habit == "late":
            published.wait()
        last = published.is_set()
        if self._is_lost:
            self._close(driver)
        if self.habit == "visitor":
            if not last and not self.open:
                self._open(driver)
            if self.open:
                self._consume(driver, self.rng.randint(1, 100))
                self._close(driver)
            return last
        if not self.open:
            self._open(driver)
        if self.habit == "slow" and not ending.is_set():
            self._consume(driver, self.rng.randint(1, 100))
            ending.wait(self.rng.random() * self.rng.choice((0.01, 0.1, 1.0, 3.0)))
            if "reaper" in driver.hello.roles:
                self.since = now()
                driver.reap(STALE_AT_WORK)  # old messages wait in its own channel
            return False
        self._consume(driver)
        if not self._fetch(driver):
            return False
        if not self.run.load.chaos:
            return last
        # Whoever waits learns that the base was removed.
        ready = self._wait(driver, 0.0 if last else self.rng.uniform(0, LONGEST_WAIT))
        return last and not ready

    def reap(self) -> bool:
        """Whether it can."""
        with self._lock:
            driver = self._driver
        if driver is None:
            return True
        if "reaper" not in driver.hello.roles:
            return False

        def step(driver: Driver) -> bool:
            self.since = now()
            driver.reap(STALE)
            return True

        self.guarded(step)
        return True

    def died(self, killed: int | None, end: int | None) -> None:
        if self._opening:  # nobody learned the name of its directory
            self.run.events.append(self._opening)
            self.run.events.append(Close(self._opening.channel, self._opening.start, end))
        elif self.open:
            # Until it was killed, it could take messages, unless it was about to close.
            until = self._last_sign if killed is None else killed
            if self._closing is not None:
                until = min(until, self._closing)
            self.run.events.append(Close(self.open.event.channel, until, end))
        self.open = self._opening = self._closing = None
        self._is_lost = False

    def failed(self, error: Rejected) -> None:
        end = now()
        if self._opening:  # it may have been visible for a moment
            self.run.events.append(self._opening)
            self.run.events.append(Close(self._opening.channel, self._opening.start, end))
            self._opening = None
        elif self._closing is not None:  # closed all the same; a reaper removes what is left
            assert self.open
            self.run.events.append(Close(self.open.event.channel, self._closing, end))
            self.run.unclosed += 1
            self.open = self._closing = None
            self._is_lost = False
        elif self.open and error.code == "channel-lost":
            self.run.events.append(Lost(self.open.event.channel, self.since, end))
            self._is_lost = True

    def _open(self, driver: Driver) -> None:
        pattern = self.rng.choice(PATTERNS[self._place % len(PATTERNS)])
        self._opened += 1
        name = f"{self.name}.{self._opened}"
        self.since = start = now()
        self._opening = Open(f"{name}:?", pattern, start, None)
        channel = driver.open(pattern)
        self._last_sign = end = now()
        event = Open(f"{name}:{channel.directory.name}", pattern, start, end)
        self.run.rooms[event.channel] = room(channel.directory, self.habit in ("slow", "late"))
        self.run.events.append(event)
        self.open, self._opening = _Subscription(event, channel), None

    def _close(self, driver: Driver) -> None:
        assert self.open
        name, channel = self.open.event.channel, self.open.channel
        self.since = self._closing = now()
        driver.close_channel(channel)
        self.run.events.append(Close(name, self._closing, now()))
        self.open = self._closing = None
        self._is_lost = False

    def _consume(self, driver: Driver, count: int | None = None) -> None:
        assert self.open
        name, channel = self.open.event.channel, self.open.channel
        self.since = now()
        stream = driver.consume(channel, count=count, idle=IDLE, deadline=ROUND)
        for start, end, topic, headers, size, crc, error in stream:
            if error:
                self.run.events.append(Broken(name, error.code, start, end))
                self.broken += 1
            else:
                self._yielded(name, headers, topic, size, crc, start, end)
            self._last_sign = self.since = end

    def _fetch(self, driver: Driver) -> bool:
        """Whether the channel was empty. (The end of a stream does not tell.)"""
        assert self.open
        name, channel, start = self.open.event.channel, self.open.channel, now()
        self.since = start
        try:
            message = driver.fetch(channel)
        except Rejected as error:
            if error.code not in {"invalid-message", "damaged-queue"}:
                raise
            self.run.events.append(Broken(name, error.code, start, now()))
            self.broken += 1
            return False
        end = self._last_sign = now()
        if message is None:
            self.run.events.append(Drained(name, start, end))
            return True
        size, crc = len(message.content), zlib.crc32(message.content)
        self._yielded(name, message.headers, message.topic, size, crc, start, end)
        return False

    def _wait(self, driver: Driver, timeout: float) -> bool:
        """Whether the queue holds something."""
        assert self.open
        self.since = start = now()
        ready = driver.wait(self.open.channel, timeout)
        end = self._last_sign = now()
        if not ready:
            self.run.events.append(Waited(self.open.event.channel, start, end))
        return ready

    def _yielded(
        self,
        name: str,
        headers: Mapping[str, Any],
        topic: str,
        size: int,
        crc: int,
        start: int,
        end: int,
    ) -> None:
        publisher, n = _identity(headers)
        self.run.events.append(Receive(name, publisher, n, intern(topic), size, crc, start, end))
        self.received += 1


def _identity(headers: Mapping[str, Any]) -> tuple[str, int]:
    """Publisher and number; for other headers than `produce` sends, what nobody published.

    The prefix of a burst is its publisher's name and the number of its first message.
    """
    prefix, n = identity_of(headers)
    publisher, _, first = prefix.rpartition("-")
    return (intern(publisher), int(first) + n) if first.isdecimal() else (prefix, -1)


def _open_queue(directory: Path) -> int:
    return os.open(directory / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)


def room(directory: Path, small: bool) -> int:
    """How many ids a queue holds at least; on Linux, it is first made as `small` as it may be.

    Read ids free their page only with the last of it, so one page may be as good as taken.
    """
    if not hasattr(fcntl, "F_GETPIPE_SZ"):
        return SMALLEST_QUEUE
    page = os.sysconf("SC_PAGESIZE")
    try:
        queue = _open_queue(directory)
    except OSError:
        return SMALLEST_QUEUE
    try:
        if small:
            fcntl.fcntl(queue, fcntl.F_SETPIPE_SZ, SMALL_QUEUE * page)
        return (fcntl.fcntl(queue, fcntl.F_GETPIPE_SZ) - page) // 8
    except OSError:
        return SMALLEST_QUEUE
    finally:
        os.close(queue)


def _copy(source: Path, target: Path) -> None:
    """A copy of a base directory. A FIFO stays unread, for a reader would take its ids."""
    target.mkdir(exist_ok=True)
    for entry in os.scandir(source):
        path = target / entry.name
        if entry.is_symlink():
            path.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            _copy(Path(entry.path), path)
        elif entry.is_file():
            shutil.copy2(entry.path, path)
        elif stat.S_ISFIFO(entry.stat().st_mode):
            os.mkfifo(path)
