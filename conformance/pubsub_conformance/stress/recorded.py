"""Publishers and channels whose operations become the events of a history.

`note` takes each event. Operations raise DriverError and Rejected as the driver does; `died` and
`failed` then note what may have become of the operation that was under way.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, NamedTuple

from pubsub_conformance.driver import Driver, Fetched, OpenChannel, Published, Rejected
from pubsub_conformance.driver.produced import content_of, identity_of
from pubsub_conformance.judge.events import (
    Broken,
    Close,
    Drained,
    Event,
    Lost,
    Open,
    Publish,
    Receive,
    Waited,
)
from pubsub_conformance.oracle.record import is_marked
from pubsub_conformance.waiting import now

Note = Callable[[Event], object]


def _identity(headers: Mapping[str, Any]) -> tuple[str, int]:
    """The publisher and the number of a message that a `RecordedPublisher` published.

    For headers that `produce` does not send: a publisher that does not exist, and -1.
    """
    prefix, n = identity_of(headers)
    publisher, _, first = prefix.rpartition("-")
    return (intern(publisher), int(first) + n) if first.isdecimal() else (prefix, -1)


class Burst(NamedTuple):
    """Messages on one topic, one `produce`. `first` is the number of its first one."""

    topic: str
    prefix: str
    first: int
    messages: int
    sizes: Sequence[int]
    timeout: float | None

    def published(
        self, n: int, start: int, end: int, counted: int | None = None, code: str | None = None
    ) -> Publish:
        """The event of message `n` of this burst. Neither count nor code: nobody knows."""
        publisher, number = _identity({"publisher": self.prefix, "n": n})
        data = content_of(self.prefix, n, self.sizes)
        size, crc = len(data), zlib.crc32(data)
        return Publish(
            publisher, number, self.topic, size, crc, start, end, counted, code, self.timeout
        )


class RecordedPublisher:
    """One publisher of a history: its messages are numbered through all its bursts."""

    def __init__(self, note: Note, name: str) -> None:
        self.note, self.name = note, name
        self.published = 0
        """The number of its messages so far, which is the number of the next one."""
        self._under_way: tuple[Burst, int, int] | None = None
        """With the number in the burst of the message that may be under way, and since when."""

    def publish(
        self,
        driver: Driver,
        topic: str,
        messages: int,
        sizes: Sequence[int],
        *,
        timeout: float | None = None,
        within: float | None = None,
    ) -> Iterator[Published]:
        """One `produce`. The request is sent at once; each answer is noted when it is taken.

        `timeout` (seconds) is for full queues, `within` (seconds) limits the whole stream.
        """
        prefix = f"{self.name}-{self.published}"
        burst = Burst(topic, prefix, self.published, messages, tuple(sizes), timeout)
        self._under_way = burst, 0, now()
        stream = driver.produce(topic, prefix, messages, sizes, timeout=timeout, within=within)
        return self._noted(burst, stream)

    def _noted(self, burst: Burst, stream: Iterable[Published]) -> Iterator[Published]:
        for event in stream:
            n, start, end, taken, error = event
            self._note(burst.published(n, start, end, taken, error.code if error else None))
            self._under_way = burst, n + 1, end
            yield event
        self._under_way = None

    @property
    def since(self) -> int:
        """When the publish that is under way began, or the last one ended after that."""
        return self._under_way[2] if self._under_way else 0

    def died(self, end: int | None) -> bool:
        """The process is dead by `end` (None: it may go on living). Whether that was noted."""
        under_way, self._under_way = self._under_way, None
        if under_way is None or end is None:
            return False
        burst, n, since = under_way
        if n == burst.messages:
            return False
        self._note(burst.published(n, since, end))  # in this one, or shortly before or after
        return True

    def failed(self, error: Rejected) -> None:
        """The stream ended with the message that was under way."""
        assert self._under_way
        burst, n, since = self._under_way
        self._note(burst.published(n, since, now(), error.count, error.code))
        self._under_way = None

    def _note(self, event: Publish) -> None:
        self.published = event.n + 1
        self.note(event)


class RecordedChannel:
    """One channel of a history, from its opening to its end."""

    def __init__(self, note: Note, owner: str, pattern: str) -> None:
        """`owner` names the channel in the history, together with its directory."""
        self.note, self.owner, self.pattern = note, owner, pattern
        self.opened: Open | None = None
        self.handle: OpenChannel | None = None
        self.lost = False
        """It was reported lost."""
        self.closing: int | None = None
        """When its closing began."""
        self.since = 0
        """When the operation that is under way began, or its last event after that."""
        self._sign = 0
        """Of life: when the channel's last operation ended."""

    @property
    def name(self) -> str:
        assert self.opened
        return self.opened.channel

    @property
    def open_handle(self) -> OpenChannel:
        assert self.handle, "the channel is not open"
        return self.handle

    @property
    def is_marked(self) -> bool:
        """Whether it had the marker when it was opened."""
        return self.opened is not None and self.opened.marked

    def open(self, driver: Driver, *, inline: bool = False) -> OpenChannel:
        self.since = now()
        # If the process dies now, nobody learns the name of the directory.
        self.opened = Open(f"{self.owner}:?", self.pattern, self.since, None)
        handle = driver.open(self.pattern, inline=inline)
        self._sign = now()
        name = f"{self.owner}:{handle.directory.name}"
        marked = inline and is_marked(handle.directory)
        self.opened = Open(name, self.pattern, self.since, self._sign, marked)
        self.note(self.opened)
        self.handle = handle
        return handle

    def close(self, driver: Driver) -> None:
        self.since = self.closing = now()
        driver.close_channel(self.open_handle)
        self.note(Close(self.name, self.closing, now()))

    def consume(
        self,
        driver: Driver,
        *,
        count: int | None = None,
        idle: float | None = None,
        deadline: float | None = None,
    ) -> Iterator[Receive | Broken]:
        """One `consume`. The request is sent at once; each answer is noted when it is taken."""
        self.since = now()
        stream = driver.consume(self.open_handle, count=count, idle=idle, deadline=deadline)
        return self._noted(stream)

    def _noted(self, stream: Iterable[Fetched]) -> Iterator[Receive | Broken]:
        for start, end, topic, headers, size, crc, error in stream:
            event: Receive | Broken
            if error:
                event = Broken(self.name, error.code, start, end)
            else:
                publisher, n = _identity(headers)
                event = Receive(self.name, publisher, n, intern(topic), size, crc, start, end)
            self.note(event)
            self._sign = self.since = end
            yield event

    def fetch(self, driver: Driver) -> Receive | Broken | Drained:
        start = self.since = now()
        event: Receive | Broken | Drained
        try:
            message = driver.fetch(self.open_handle)
        except Rejected as error:
            if error.code not in {"invalid-message", "damaged-queue"}:
                raise
            event = Broken(self.name, error.code, start, now())
        else:
            end = self._sign = now()
            if message is None:
                event = Drained(self.name, start, end)
            else:
                publisher, n = _identity(message.headers)
                size, crc = len(message.content), zlib.crc32(message.content)
                topic = intern(message.topic)
                event = Receive(self.name, publisher, n, topic, size, crc, start, end)
        self.note(event)
        return event

    def drain(self, driver: Driver) -> None:
        """Fetch until the channel is found empty: a message that is missing then is lost."""
        while not isinstance(self.fetch(driver), Drained):
            pass

    def wait(self, driver: Driver, timeout: float) -> bool:
        """Whether the queue holds something within `timeout` seconds."""
        start = self.since = now()
        ready = driver.wait(self.open_handle, timeout)
        self._sign = now()
        if not ready:
            self.note(Waited(self.name, start, self._sign))
        return ready

    def died(self, killed: int | None, end: int | None) -> None:
        """The process was killed after `killed` (None: it failed by itself).

        It is dead by `end` (None: it may go on living).
        """
        assert self.opened
        if self.handle is None:
            self.note(self.opened)
            self.note(Close(self.name, self.opened.start, end))
            return
        # Until it was killed, it could take messages, unless it was about to close.
        until = self._sign if killed is None else killed
        if self.closing is not None:
            until = min(until, self.closing)
        self.note(Close(self.name, until, end))

    def failed(self, error: Rejected) -> bool:
        """Whether the channel has ended with the operation that failed."""
        assert self.opened
        end = now()
        if self.handle is None:  # it may have been visible for a moment
            self.note(self.opened)
            self.note(Close(self.name, self.opened.start, end))
            return True
        if self.closing is not None:  # it is closed nevertheless; a reaper removes the rest
            self.note(Close(self.name, self.closing, end))
            return True
        if error.code == "channel-lost":
            self.note(Lost(self.name, self.since, end))
            self.lost = True
        return False
