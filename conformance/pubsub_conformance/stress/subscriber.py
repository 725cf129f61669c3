"""A stress worker that subscribes, in one of the habits of the load."""

from __future__ import annotations

from typing import Final

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.judge.events import Broken, Drained, Receive
from pubsub_conformance.waiting import now

from .lanes import asks
from .load import PATTERNS, Habit
from .recorded import RecordedChannel
from .room import room
from .scene import Scene
from .worker import Worker

IDLE: Final = 0.1
"""Seconds without a message after which a subscriber checks whether the publishers have ended. A
lost message delays a run by this much, and does not end in a timeout."""

ROUND: Final = 5.0
"""Seconds after which it checks even if messages keep coming: well below the limit of a reply."""

LONGEST_WAIT: Final = 1.5
"""Seconds for which it waits: a channel that is lost must be reported lost within one."""

STALE_AT_WORK: Final = 4.0
"""Seconds: the stale age for reaping while others are at work. A publisher that is stopped for
longer may count a channel that has removed its message (guarantee.md)."""


class Subscriber(Worker[Scene]):
    """It has one channel at a time."""

    def __init__(self, scene: Scene, name: str, habit: Habit, place: int) -> None:
        """`place` is its number among the subscribers; it decides the patterns."""
        super().__init__(scene, name)
        self.habit, self.place = habit, place
        self.received = self.broken = 0
        self.channel: RecordedChannel | None = None
        self._patterns = PATTERNS[place % len(PATTERNS)]
        self.opened = 0
        """The number of channels that it has opened, and how many of them were marked."""
        self.marked = 0
        self._reaping = 0
        """When its last reaping began."""

    @property
    def since(self) -> int:
        return max(self._reaping, self.channel.since if self.channel else 0)

    def ready(self, driver: Driver) -> bool:
        if self.habit != "visitor" and not self.channel:
            self._open(driver)
        return True

    def turn(self, driver: Driver) -> bool:
        ending, published = self.host.ending, self.host.published
        if self.habit == "late":
            published.wait()
        last = published.is_set()
        if self.channel and self.channel.lost:
            self._close(driver, self.channel)
        if self.habit == "visitor":
            if not last and not self.channel:
                self._open(driver)
            if self.channel:
                self._consume(driver, self.channel, self.rng.randint(1, 100))
                self._close(driver, self.channel)
            return last
        channel = self.channel or self._open(driver)
        if self.habit == "slow" and not ending.is_set():
            self._consume(driver, channel, self.rng.randint(1, 100))
            ending.wait(self.rng.random() * self.rng.choice((0.01, 0.1, 1.0, 3.0)))
            if "reaper" in driver.hello.roles:
                self._reap(driver, STALE_AT_WORK)  # old messages wait in its own channel
            return False
        self._consume(driver, channel)
        found = channel.fetch(driver)  # the end of a stream does not say whether it is empty
        self._count(found)
        if not isinstance(found, Drained):
            return False
        if not self.host.load.chaos:
            return last
        # A wait reports that the base was removed.
        ready = channel.wait(driver, 0.0 if last else self.rng.uniform(0, LONGEST_WAIT))
        return last and not ready

    def reap(self, stale: float) -> bool:
        """Have dead processes' files reaped that are older than this (seconds). Whether it can."""
        driver = self.process.current
        if driver is None:
            return True
        if "reaper" not in driver.hello.roles:
            return False

        def step(driver: Driver) -> bool:
            self._reap(driver, stale)
            return True

        self.guarded(step)
        return True

    def died(self, killed: int | None, end: int | None) -> None:
        if self.channel:
            self.channel.died(killed, end)
        self.channel = None

    def failed(self, error: Rejected) -> None:
        if self.channel and self.channel.failed(error):
            self.host.unclosed += self.channel.closing is not None
            self.channel = None

    def _reap(self, driver: Driver, stale: float) -> None:
        self._reaping = now()
        driver.reap(stale)

    def _open(self, driver: Driver) -> RecordedChannel:
        self.opened += 1
        owner = f"{self.name}.{self.opened}"
        channel = RecordedChannel(self.host.note, owner, self.rng.choice(self._patterns))
        self.channel = channel
        inline = asks(self.host.lane, driver.hello.roles, self.place + self.opened)
        handle = channel.open(driver, inline=inline)
        self.marked += channel.is_marked
        self.host.rooms[channel.name] = room(handle.directory, self.habit in ("slow", "late"))
        return channel

    def _close(self, driver: Driver, channel: RecordedChannel) -> None:
        channel.close(driver)
        self.channel = None

    def _consume(self, driver: Driver, channel: RecordedChannel, count: int | None = None) -> None:
        for event in channel.consume(driver, count=count, idle=IDLE, deadline=ROUND):
            self._count(event)

    def _count(self, event: Receive | Broken | Drained) -> None:
        self.received += isinstance(event, Receive)
        self.broken += isinstance(event, Broken)
