"""Soak: channels open and close, processes publish, fetch, die and are replaced; nothing may grow.

Half of the publishers and subscribers live as long as the run, the others are killed now and then.
At intervals is counted what each of the long-lived has open and in memory, and what lies in the
base. In the end the last quarter of these samples is compared with the second one (the first is
for getting warm): if even the least of the last is above the most of the second, by more than a
margin, it grows.
"""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from pubsub_conformance.driver import Driver, DriverError, OpenChannel, Rejected
from pubsub_conformance.oracle.base import CHANNEL_NAME

from .stress.run import Worker, room

PUBLISHERS: Final = 4
SUBSCRIBERS: Final = 6

SAMPLES: Final = 40
SHORTEST: Final = 0.1  # seconds between two samples

BURST: Final = 20
SIZES: Final = (0, 100, 1000, 30_000)
RATE: Final = 200.0
"""Messages a second of each publisher: a subscriber in any language keeps up."""

FULL: Final = "full"
"""A topic whose channel is never read and soon full."""

KILL_EVERY: Final = 0.5  # seconds

TELL: Final = 0.25


class Kind(NamedTuple):
    """Something that is counted."""

    what: str
    margin: float
    """By how much more it may be: noise."""
    per_kill: bool
    """Each process that is killed may leave one behind, which becomes stale only later."""
    breach: str
    """What is broken if it grows."""


PROCESS: Final = {
    "descriptors": Kind(
        "open descriptors",
        4,
        False,
        "closing a channel ends with its descriptors closed (channel.md, Closing, step 2), and a"
        " publish with that of the queue (publish.md, step 4.4)",
    ),
    "memory": Kind(
        "resident memory, KiB",
        1024,
        False,
        "no requirement by itself: a process that grows ends in ENOMEM",
    ),
}
BASE: Final = {
    "base": Kind(
        "entries of the base",
        10,
        False,
        "CHAN-14: a closed channel is removed; REAP-1, REAP-3: opening reaps those of the dead",
    ),
    "tmp": Kind(
        "entries of tmp",
        10,
        True,
        "PUB-14: no publish leaves its staged file; CHAN-14: no closing leaves a directory",
    ),
    "files": Kind(
        "message files in channels",
        50,
        True,
        "PUB-10: a link that no id tells of is withdrawn; FETCH-4: what was yielded is removed",
    ),
    "base size": Kind("octets of the base directory itself", 8192, False, "as entries of the base"),
    "tmp size": Kind("octets of tmp itself", 8192, True, "as entries of tmp"),
}
ENTRY: Final = 64
"""Octets that one more entry may make a directory larger."""


@dataclass(frozen=True)
class Series:
    """One thing that was counted, again and again."""

    who: str
    """A process, or the base."""
    what: str
    first: float
    median: float
    last: float
    allowed: float
    """The most of the second quarter, and the margin."""
    least: float
    """Of the last quarter."""
    breach: str

    @property
    def grows(self) -> bool:
        return self.least > self.allowed


@dataclass(frozen=True)
class Result:
    seed: int
    seconds: float
    samples: int
    messages: int
    """Published and fetched, as drivers said."""
    fetched: int
    opened: int
    """Channels."""
    kills: int
    series: tuple[Series, ...]
    not_checked: tuple[str, ...]
    errors: tuple[str, ...]
    driver_errors: int
    interrupted: bool

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return 2
        if any(series.grows for series in self.series) or len(self.errors) > self.driver_errors:
            return 1
        return 2 if self.errors or not self.series or not self.fetched else 0

    def as_dict(self) -> dict[str, Any]:
        told = asdict(self)
        told["series"] = [{**asdict(s), "grows": s.grows} for s in self.series]
        return told


class _Counters:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.messages = self.fetched = self.opened = self.kills = 0

    def add(self, **counts: int) -> None:
        with self.lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


class _Run:
    """What the workers have in common."""

    def __init__(self, command: Sequence[str], home: Path, seed: int, channels: int) -> None:
        self.command, self.home, self.seed = list(command), home, seed
        self.aborted = False
        self.ending = threading.Event()
        self.errors: list[DriverError | Rejected] = []
        self.counters = _Counters()
        self.topics = [f"t.{i}" for i in range(max(1, channels // 4))]
        """Each message reaches some four channels."""
        quota = [channels // SUBSCRIBERS + (i < channels % SUBSCRIBERS) for i in range(SUBSCRIBERS)]
        self.publishers = [_Publisher(self, f"p{i}") for i in range(PUBLISHERS)]
        self.subscribers = [
            _Subscriber(self, f"s{i}", most, i == 0) for i, most in enumerate(quota)
        ]
        self.workers: list[_Publisher | _Subscriber] = [*self.publishers, *self.subscribers]
        self.long_lived = [*self.publishers[::2], *self.subscribers[::2]]
        self.mortal = [*self.publishers[1::2], *self.subscribers[1::2]]

    def blame(self, error: DriverError | Rejected) -> None:
        self.errors.append(error)
        self.ending.set()

    def explains(self, error: Rejected, start: int, end: int, victim: str) -> bool:
        return False  # nothing is disturbed but processes, by their death

    def abort(self) -> None:
        self.aborted = True
        self.ending.set()
        for worker in self.workers:
            worker.kill()


class _Publisher(Worker[_Run]):
    def turn(self, driver: Driver) -> bool:
        if self.run.ending.is_set():
            return True
        topic = FULL if self.rng.random() < 0.2 else self.rng.choice(self.run.topics)
        done = driver.produce(
            topic, f"{self.name}-{self.lives}", BURST, SIZES, rate=RATE, report="totals"
        ).finish()
        self.run.counters.add(messages=done.messages)
        return False

    def fill(self) -> None:
        """A queue of the kit's own choosing, before anything is counted."""

        def step(driver: Driver) -> bool:
            driver.produce(FULL, self.name, 2 * ROOM, [0], report="totals").finish()
            return True

        self.guarded(step)

    def died(self, killed: int | None, end: int | None) -> None:
        pass


class _Subscriber(Worker[_Run]):
    def __init__(self, run: _Run, name: str, most: int, sleeps: bool) -> None:
        super().__init__(run, name)
        self.most = most
        self.sleeps = sleeps
        """It has one channel more, which it does not read."""
        self.open: list[OpenChannel] = []

    def ready(self, driver: Driver) -> bool:
        if self.sleeps:
            room(driver.open(FULL).directory, small=True)
        while len(self.open) < self.most:
            self.open_one(driver)
        return True

    def turn(self, driver: Driver) -> bool:
        if self.run.ending.is_set():
            return True
        for channel in self.open:
            done = driver.consume(channel, idle=0.0, deadline=1.0, report="totals").finish()
            self.run.counters.add(fetched=done.messages)
        for _ in range(self.rng.randint(1, 3)):
            if self.open:
                driver.close_channel(self.open.pop(self.rng.randrange(len(self.open))))
        while len(self.open) < self.most:
            self.open_one(driver)
        return False

    def open_one(self, driver: Driver) -> None:
        self.open.append(driver.open(self.rng.choice(self.run.topics)))
        self.run.counters.add(opened=1)

    def died(self, killed: int | None, end: int | None) -> None:
        self.open = []


class _Samples:
    """What was counted so far, by who and what."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.found: dict[tuple[str, str], list[float]] = {}
        self.kills: list[int] = []
        self.not_checked: dict[str, None] = {}
        if not os.path.isdir("/proc/self/fd"):
            self.not_checked["descriptors and memory of processes: there is no /proc here"] = None

    def take(self) -> None:
        for worker in self.run.long_lived:
            pid = worker.pid
            if pid is not None and not self.not_checked:
                for what, value in _of_process(pid).items():
                    self.add(worker.name, what, value)
        for what, value in _of_base(self.run.home).items():
            self.add("base", what, value)
        self.kills.append(self.run.counters.kills)

    def add(self, who: str, what: str, value: float) -> None:
        self.found.setdefault((who, what), []).append(value)

    def series(self) -> list[Series]:
        return [judged(*key, values, self.kills) for key, values in self.found.items()]


def judged(who: str, what: str, values: Sequence[float], kills: Sequence[int]) -> Series:
    """By the second and the last quarter of the values; so many kills there were by each."""
    kind = {**PROCESS, **BASE}[what]
    quarter = len(values) // 4
    earlier, later = values[quarter : 2 * quarter] or values, values[-quarter or -1 :]
    margin = kind.margin
    if kind.per_kill and kills:
        died = kills[-1] - kills[quarter]
        margin += died * (ENTRY if "octets" in kind.what else 1)
    return Series(
        who,
        kind.what,
        values[0],
        statistics.median(values),
        values[-1],
        max(earlier) + margin,
        min(later),
        kind.breach,
    )


def _of_process(pid: int) -> dict[str, float]:
    try:
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:  # it has just died: the run is about to say so
        return {}
    # Anonymous memory alone: pages of programs and libraries come and go as the system likes.
    fields = dict(line.split(":", 1) for line in status.splitlines())
    memory = fields.get("RssAnon") or fields["VmRSS"]
    return {"descriptors": descriptors, "memory": int(memory.split()[0])}


def _of_base(home: Path) -> dict[str, float]:
    names = os.listdir(home)
    channels = [name for name in names if CHANNEL_NAME.fullmatch(name)]
    return {
        "base": len(names),
        "tmp": len(_names(home / "tmp")),
        "files": sum(name.isdecimal() for c in channels for name in _names(home / c)),
        "base size": home.stat().st_size,
        "tmp size": (home / "tmp").stat().st_size,
    }


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:  # closed since
        return []


ROOM: Final = 2048
"""Ids: more than a queue that was made small holds, and most others."""


def run(
    command: Sequence[str],
    home: Path,
    *,
    seconds: float,
    channels: int,
    seed: int,
    tell: Callable[[float, str], object] = lambda *_: None,
) -> Result:
    """Soaks the base directory `home`. On KeyboardInterrupt, the result is of what there was."""
    this = _Run(command, home, seed, channels)
    samples = _Samples(this)
    began = time.monotonic()
    interrupted = False
    try:
        with ThreadPoolExecutor(len(this.workers)) as pool:
            try:
                _soak(this, pool, samples, seconds, tell)
            except KeyboardInterrupt:
                interrupted = True
            except BaseException:
                this.abort()
                raise
            if interrupted or this.errors:
                this.abort()  # or the threads would not end
    finally:
        for worker in this.workers:
            worker.end()
    counters = this.counters
    return Result(
        seed,
        time.monotonic() - began,
        len(samples.kills),
        counters.messages,
        counters.fetched,
        counters.opened,
        counters.kills,
        tuple(samples.series()) if len(samples.kills) >= 8 else (),
        tuple(samples.not_checked),
        tuple(map(str, this.errors)),
        sum(isinstance(error, DriverError) for error in this.errors),
        interrupted,
    )


def _soak(
    this: _Run,
    pool: ThreadPoolExecutor,
    samples: _Samples,
    seconds: float,
    tell: Callable[[float, str], object],
) -> None:
    rng = random.Random(f"{this.seed} kills")
    tell(0.0, "starting")
    for future in [pool.submit(worker.prepare) for worker in this.workers]:
        future.result()
    pool.submit(this.publishers[0].fill).result()
    began = time.monotonic()
    working: list[Future[None]] = [pool.submit(worker.work) for worker in this.workers]
    interval = max(SHORTEST, seconds / SAMPLES)
    next_sample, next_kill = began + interval, began + KILL_EVERY
    while not this.ending.is_set():
        now = time.monotonic()
        if now >= began + seconds:
            break
        if now >= next_kill:
            this.counters.add(kills=rng.choice(this.mortal).kill())
            next_kill = now + KILL_EVERY
        if now >= next_sample:
            samples.take()
            next_sample = now + interval
        counters = this.counters
        tell(
            now - began,
            f"{len(samples.kills)} samples: {counters.messages} published,"
            f" {counters.fetched} fetched, {counters.opened} channels opened,"
            f" {counters.kills} kills",
        )
        soonest = min(now + TELL, next_sample, next_kill, began + seconds)
        this.ending.wait(max(0.0, soonest - time.monotonic()))
    this.ending.set()
    wait(working)


def told(result: Result) -> str:
    """The table, and what there is to say against it."""
    lines = [
        f"{'':<6}{'':<36}{'first':>10}{'median':>10}{'last':>10}",
        *(
            f"{s.who:<6}{s.what:<36}{s.first:>10.0f}{s.median:>10.0f}{s.last:>10.0f}"
            f"  {'GROWS' if s.grows else 'flat'}"
            for s in result.series
        ),
    ]
    lines += [f"not checked: {what}" for what in result.not_checked]
    lines.append(
        f"seed {result.seed}: {result.samples} samples in {result.seconds:.0f} s;"
        f" {result.messages} published, {result.fetched} fetched, {result.opened} channels opened,"
        f" {result.kills} kills"
    )
    lines += result.errors[:10]
    for series in result.series:
        if series.grows:
            lines.append(
                f"{series.who}: {series.what} grow: {series.least:.0f} at least in the last"
                f" quarter, {series.allowed:.0f} allowed (the most of the second quarter, and a"
                f" margin). {series.breach[0].upper()}{series.breach[1:]}."
            )
    if result.interrupted:
        lines.append("interrupted: nothing is proved")
    elif not result.series and not result.errors:
        lines.append("too few samples: nothing is proved")
    return "\n".join(lines)
