"""Soak: channels open and close, processes publish, fetch, die and are replaced; nothing may grow.

Half of the publishers and subscribers live as long as the run, the others are killed now and then.
At intervals the long-lived processes and the base are counted, see `samples`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from pubsub_conformance.driver import Driver, DriverError, OpenChannel
from pubsub_conformance.judge.report import show_crash
from pubsub_conformance.judge.verdict import Verdict, conclude
from pubsub_conformance.oracle.record import is_marked
from pubsub_conformance.waiting import begin, unfinished

from .lanes import Lane, asks
from .room import room
from .samples import Kept, Samples, Series
from .timeline import REPORT_SECONDS, Timeline
from .worker import Host, Worker, crew

PUBLISHERS: Final = 4
SUBSCRIBERS: Final = 6

SAMPLES: Final = 40
LEAST_SAMPLES: Final = 8
SHORTEST: Final = 0.1  # seconds between two samples

BURST: Final = 20
SIZES: Final = (0, 100, 1000, 30_000)
RATE: Final = 200.0
"""Messages a second of each publisher: a subscriber in any language keeps up."""

FULL: Final = "full"
"""A topic whose channel is never read and soon full."""

FILLING: Final = 256
"""Messages at a time until that channel is full: the count of a burst is 0."""

KILL_EVERY: Final = 0.5  # seconds


@dataclass
class Result:
    """What a soak has counted so far, and how it ended."""

    seed: int
    seconds: float = 0.0
    samples: int = 0
    messages: int = 0
    """Published, as drivers reported; and fetched:"""
    fetched: int = 0
    opened: int = 0
    """The number of channels that were opened and read, and how many of all were marked."""
    marked: int = 0
    kills: int = 0
    series: Sequence[Series] = ()
    kept: Sequence[Kept] = ()
    not_checked: Sequence[str] = ()
    errors: Sequence[str] = ()
    driver_errors: int = 0
    """The number of errors of drivers, and not of the implementation."""
    interrupted: bool = False

    @property
    def verdict(self) -> Verdict:
        grows = any(series.grows for series in self.series)
        grows |= any(kept.too_many for kept in self.kept)
        return conclude(
            interrupted=self.interrupted,
            broken=grows or len(self.errors) > self.driver_errors,
            judged=not self.errors and bool(self.series) and self.fetched > 0,
        )

    def __str__(self) -> str:
        lines = [f"{'':<6}{'':<36}{'first':>10}{'median':>10}{'last':>10}"]
        lines += map(str, self.series)
        lines += map(str, self.kept)
        lines += [f"not checked: {what}" for what in self.not_checked]
        lines.append(
            f"seed {self.seed}: {self.samples} samples in {self.seconds:.0f} s;"
            f" {self.messages} published, {self.fetched} fetched, {self.opened} channels opened,"
            f" {self.marked} marked, {self.kills} kills"
        )
        lines += self.errors[:10]
        lines += [series.explain() for series in self.series if series.grows]
        lines += [kept.explain() for kept in self.kept if kept.too_many]
        if self.interrupted:
            lines.append("interrupted: nothing is proved")
        elif not self.series and not self.errors:
            lines.append("too few samples: nothing is proved")
        return "\n".join(lines)

    def show(self, console: Console) -> None:
        console.print(Text(str(self)))

    def as_dict(self) -> dict[str, Any]:
        return {
            **vars(self),
            "series": [series.as_dict() for series in self.series],
            "kept": [kept.as_dict() for kept in self.kept],
        }


class _Ground(Host):
    """The host of soak workers."""

    def __init__(
        self, command: Sequence[str], home: Path, seed: int, channels: int, lane: Lane | None
    ) -> None:
        super().__init__(command, home, seed, lane)
        self.result = Result(seed)
        self.topics = [f"t.{i}" for i in range(max(1, channels // 4))]
        """Each message reaches some four channels."""
        self._lock = threading.Lock()

    def count(self, what: str, more: int) -> None:
        """Add to one of the numbers of the result."""
        with self._lock:
            setattr(self.result, what, getattr(self.result, what) + more)


class _Publisher(Worker[_Ground]):
    def turn(self, driver: Driver) -> bool:
        if self.host.ending.is_set():
            return True
        topic = FULL if self.rng.random() < 0.2 else self.rng.choice(self.host.topics)
        prefix = f"{self.name}-{self.process.lives}"
        stream = driver.produce(topic, prefix, BURST, SIZES, rate=RATE, report="totals")
        self.host.count("messages", stream.finish().messages)
        return False

    def fill(self) -> None:
        """Fill the channel that is never read, before anything is counted."""

        def step(driver: Driver) -> bool:
            stream = driver.produce(FULL, self.name, FILLING, [0], report="totals")
            return stream.finish().taken == 0

        while not self.process.aborted and not self.guarded(step):
            pass

    def reach_all(self) -> None:
        """Publish to every channel, while none opens or closes: keep as many queues as it likes."""

        def step(driver: Driver) -> bool:
            for topic in [FULL, *self.host.topics]:
                stream = driver.produce(topic, self.name, 2, [0], report="totals")
                stream.finish()
            return True

        self.guarded(step)


class _Subscriber(Worker[_Ground]):
    def __init__(self, ground: _Ground, name: str, most: int, sleeps: bool) -> None:
        super().__init__(ground, name)
        self.most = most
        self.sleeps = sleeps
        """It has one channel more, which it does not read."""
        self.open: list[OpenChannel] = []
        self._asked = 0
        """The number of channels that it has asked for."""

    def ready(self, driver: Driver) -> bool:
        if self.sleeps:
            room(self._ask_for(driver, FULL).directory, small=True)
        while len(self.open) < self.most:
            self._open_one(driver)
        return True

    def turn(self, driver: Driver) -> bool:
        if self.host.ending.is_set():
            return True
        for channel in self.open:
            stream = driver.consume(channel, idle=0.0, deadline=1.0, report="totals")
            self.host.count("fetched", stream.finish().messages)
        for _ in range(self.rng.randint(1, 3)):
            if self.open:
                driver.close_channel(self.open.pop(self.rng.randrange(len(self.open))))
        while len(self.open) < self.most:
            self._open_one(driver)
        return False

    def _open_one(self, driver: Driver) -> None:
        self.open.append(self._ask_for(driver, self.rng.choice(self.host.topics)))
        self.host.count("opened", 1)

    def _ask_for(self, driver: Driver, topic: str) -> OpenChannel:
        self._asked += 1
        inline = asks(self.host.lane, driver.hello.roles, self._asked)
        channel = driver.open(topic, inline=inline)
        self.host.count("marked", inline and is_marked(channel.directory))
        return channel

    def died(self, killed: int | None, end: int | None) -> None:
        self.open = []


class _Soak:
    """The thread that commands the workers."""

    def __init__(
        self, ground: _Ground, channels: int, tell: Callable[[float, str], object]
    ) -> None:
        self.ground, self.tell = ground, tell
        quota = [channels // SUBSCRIBERS + (i < channels % SUBSCRIBERS) for i in range(SUBSCRIBERS)]
        self.publishers = [_Publisher(ground, f"p{i}") for i in range(PUBLISHERS)]
        self.subscribers = [
            _Subscriber(ground, f"s{i}", most, i == 0) for i, most in enumerate(quota)
        ]
        self.workers: list[Worker[Any]] = [*self.publishers, *self.subscribers]
        self.samples = Samples()
        self.began = time.monotonic()

    def go(self, pool: ThreadPoolExecutor, seconds: float) -> None:
        self.tell(0.0, "starting")
        for work in ([worker.prepare for worker in self.workers], [self.publishers[0].fill]):
            for future in _wait(begin(pool, work)):
                future.result()
        timeline = Timeline()
        rng = random.Random(f"{self.ground.seed} kills")
        mortal = [*self.publishers[1::2], *self.subscribers[1::2]]

        def kill() -> None:
            self.ground.count("kills", rng.choice(mortal).process.kill())

        timeline.every(KILL_EVERY, kill)
        timeline.every(max(SHORTEST, seconds / SAMPLES), self._sample)
        working = begin(pool, [worker.work for worker in self.workers])
        timeline.run(seconds, self.ground.ending.wait, self._report)
        self.ground.ending.set()
        _wait(working)
        _wait(begin(pool, [publisher.reach_all for publisher in self.publishers]))
        self.samples.count_kept(self._publishers())
        for worker in self.workers:
            worker.end()

    def _sample(self) -> None:
        subscribers = {worker.name: worker.process.pid for worker in self.subscribers[::2]}
        processes = {**self._publishers(), **subscribers}
        self.samples.take(processes, self.ground.home, self.ground.result.kills)
        self.samples.count_kept(self._publishers())

    def _publishers(self) -> dict[str, int | None]:
        """The processes of the long-lived publishers."""
        return {worker.name: worker.process.pid for worker in self.publishers[::2]}

    def _report(self) -> None:
        result = self.ground.result
        self.tell(
            time.monotonic() - self.began,
            f"{len(self.samples.kills)} samples: {result.messages} published,"
            f" {result.fetched} fetched, {result.opened} channels opened,"
            f" {result.kills} kills",
        )


def _wait(futures: list[Future[None]]) -> list[Future[None]]:
    while unfinished(futures, REPORT_SECONDS):
        pass
    return futures


def run(
    command: Sequence[str],
    home: Path,
    *,
    seconds: float,
    channels: int,
    seed: int,
    stale: bool = False,
    lane: Lane | None = None,
    tell: Callable[[float, str], object] = lambda *_: None,
) -> Result:
    """Soak the base directory `home`. After a KeyboardInterrupt, the result is of what there was.

    With `stale`, the clocks of the drivers are so far ahead that what killed processes leave in
    `tmp` is stale within a quarter of the time: then it may not grow, either. `tell` gets the
    progress: seconds, and a line of text.
    """
    ground = _Ground(command, home, seed, channels, lane)
    soak = _Soak(ground, channels, tell)
    result, samples = ground.result, soak.samples
    try:
        with crew(soak.workers) as pool:
            soak.go(pool, seconds)
    except (KeyboardInterrupt, Exception) as error:
        show_crash(error)
        result.interrupted = True
    result.seconds = time.monotonic() - soak.began
    result.samples = len(samples.kills)
    if result.samples >= LEAST_SAMPLES:
        result.series = samples.series(stale=stale)
        result.kept = samples.kept()
    result.not_checked = samples.not_checked
    result.errors = list(map(str, ground.errors))
    result.driver_errors = sum(isinstance(error, DriverError) for error in ground.errors)
    return result
