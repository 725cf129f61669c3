"""A stress worker that publishes, in bursts that the seed decides."""

from __future__ import annotations

from typing import Final, NamedTuple

from pubsub_conformance.driver import Driver, Rejected

from .load import TOPICS, Load
from .recorded import RecordedPublisher
from .scene import Scene
from .worker import Worker

PATIENCE: Final = 0.4
"""Seconds for which a burst waits for full queues, all its messages together: a publisher that
waits publishes nothing."""


class Burst(NamedTuple):
    """What one `produce` publishes."""

    topic: str
    messages: int
    sizes: tuple[int, ...]
    timeout: float | None


class Publisher(Worker[Scene]):
    """In the history, each of its processes is a publisher, whose messages are numbered."""

    def __init__(self, scene: Scene, name: str, left: float) -> None:
        super().__init__(scene, name)
        self.left = left
        """The number of messages that it has yet to publish."""
        self.published = 0
        self._recorded = RecordedPublisher(scene.note, "")

    @property
    def since(self) -> int:
        return self._recorded.since

    def turn(self, driver: Driver) -> bool:
        if self.host.ending.is_set() or not self.left:
            return True
        life = f"{self.name}-{self.process.lives}"
        if self._recorded.name != life:
            self._recorded = RecordedPublisher(self.host.note, life)
        topic, messages, sizes, timeout = self.draw(self.host.load)
        within = driver.limits.stream_seconds + messages * (timeout or 0)
        stream = self._recorded.publish(
            driver, topic, messages, sizes, timeout=timeout, within=within
        )
        for _, start, end, _, error in stream:
            self.published += 1
            self.left -= error is None
            if error and not self.host.explains(error, start, end, self.name):
                self.host.blame(error)
        return False

    def died(self, killed: int | None, end: int | None) -> None:
        noted = self._recorded.died(end)
        self.published += noted
        self.left -= noted

    def failed(self, error: Rejected) -> None:
        self._recorded.failed(error)
        self.published += 1

    def draw(self, load: Load) -> Burst:
        """The next burst."""
        rng, largest = self.rng, load.largest
        kind, topic, timeout = rng.random(), rng.choice(TOPICS), rng.choice(load.timeouts)
        if kind < 0.1:  # large messages
            count, sizes = rng.randint(1, 4), [rng.randrange(largest + 1) for _ in range(4)]
        elif kind < 0.4:  # very many small messages
            count, sizes = rng.randint(100, 1000), [rng.randrange(100) for _ in range(8)]
        else:  # as in life
            count = rng.randint(1, 50)
            sizes = [0, *(rng.randrange(200) for _ in range(4)), rng.randrange(10_000)]
            sizes.append(rng.randrange(70_000))
        if timeout:
            count = min(count, max(1, round(PATIENCE / timeout)))
        rng.shuffle(sizes)
        cut = tuple(min(size, largest) for size in sizes)
        return Burst(topic, int(min(count, self.left)), cut, timeout)
