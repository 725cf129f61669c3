"""Stress: many processes publish and subscribe at once, and a checker judges what they saw.

What is done, to which topics and in which sizes, follows from the seed; who meets whom does
not. The same seed therefore does the same work again, but need not fail again: what a run saw
is in its history, which can be judged again by itself.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from .driver import Driver, DriverError, OpenChannel, Rejected
from .history import (
    BadHistory,
    Broken,
    Close,
    Drained,
    Event,
    Full,
    Open,
    Publish,
    Receive,
    Verdict,
    check,
    save,
)
from .layout import matches

TOPICS: Final = ("a", "a.b", "a.c", "a.b.c", "b.c")
PATTERNS: Final = (("+",), ("a.=", "=.c"), ("a.b", "a.c"), ("a.+", "+.c"))
"""Subscribers take one of each in turn: the first gets everything, and all overlap."""

BURST: Final = 50
"""Messages on one topic before a publisher takes the next."""

LARGEST: Final = 300_000
"""Octets: many times a pipe, a page and a buffer of a standard library."""

IDLE: Final = 0.1
"""Seconds without a message after which a subscriber looks whether the publishers have ended.
A lost message costs so much, and no time-out."""

ROUND: Final = 5.0
"""Seconds after which it looks even if messages keep coming: well below what a reply may take."""

SMALLEST_QUEUE: Final = 64
"""Ids that any FIFO holds: POSIX's least PIPE_BUF is 512 octets."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    seed: int
    verdict: Verdict
    errors: tuple[DriverError | Rejected, ...]
    """What drivers and publishes failed with; nothing in a run makes a correct one fail."""
    leftovers: tuple[str, ...]
    """Names in the base directory, where all was read: of messages that nobody has any more."""
    evidence: Path | None
    """The directory with history, seed and a copy of the base directory, if anything failed."""

    @property
    def failed(self) -> bool:
        return bool(self.errors or self.verdict.violations or self.leftovers)

    @property
    def summary(self) -> str:
        verdict = self.verdict
        text = (
            f"seed {self.seed}: {verdict.publishes} publishes, {verdict.receives} deliveries,"
            f" {verdict.due} of them due; {len(verdict.violations)} violations,"
            f" {len(self.errors)} errors, {len(self.leftovers)} files left over"
        )
        return f"{text}\nevidence: {self.evidence}" if self.evidence else text

    def __str__(self) -> str:
        """The summary and all there is to say against it."""
        found = [
            *self.errors,
            *self.verdict.violations,
            *map("left over: {}".format, self.leftovers),
        ]
        return "\n".join([self.summary, *map(str, found)])


@dataclass(frozen=True)
class _Burst:
    topic: str
    prefix: str
    count: int
    sizes: tuple[int, ...]


class _Run:
    """What the threads of a run, one for each driver, have in common."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.published = threading.Event()
        self.events: list[Event] = []
        self.errors: list[DriverError | Rejected] = []

    def publish(self, driver: Driver, bursts: Sequence[_Burst]) -> None:
        for burst in bursts:
            n, last = 0, _now()
            try:
                stream = driver.produce(
                    burst.topic, burst.prefix, burst.count, burst.sizes, timeout=self.timeout
                )
                for event in stream:
                    if "done" not in event:
                        self._published(burst, event["n"], event)
                        n, last = event["n"] + 1, event["end"]
            except DriverError as error:
                self.errors.append(error)
                if n < burst.count:  # it died inside this one, or shortly before or after
                    self._published(burst, n, {"start": last, "end": _now()})
                return
            except Rejected as error:
                self.errors.append(error)
                return

    def _published(self, burst: _Burst, n: int, event: Mapping[str, Any]) -> None:
        content = _content(burst.prefix, n, burst.sizes)
        error = event.get("error")
        if error:
            self.errors.append(Rejected(error))
        self.events.append(
            Publish(
                burst.prefix,
                n,
                burst.topic,
                len(content),
                zlib.crc32(content),
                event["start"],
                event["end"],
                (error or event).get("count"),
                error["code"] if error else None,
            )
        )

    def subscribe(self, driver: Driver, subscription: _Subscription, *, lazy: bool) -> None:
        """Reads one channel until it is empty and nobody publishes any more."""
        if lazy:
            self.published.wait()
        try:
            while True:
                last = self.published.is_set()
                self._consume(driver, subscription)
                if self._fetch(driver, subscription) and last:
                    return
        except (DriverError, Rejected) as error:
            self._broke_off(subscription, error)

    def come_and_go(self, driver: Driver, name: str, rng: random.Random) -> None:
        """Opens, reads a little and closes, again and again while others publish."""
        life = 0
        while True:
            pattern = rng.choice(rng.choice(PATTERNS))
            try:
                subscription = self.open(driver, f"{name}.{life}", pattern)
            except (DriverError, Rejected) as error:
                self.errors.append(error)
                return
            try:
                self._consume(driver, subscription, count=rng.randint(1, BURST))
                start = _now()
                driver.close_channel(subscription.channel)
            except (DriverError, Rejected) as error:
                self._broke_off(subscription, error)
                return
            self.events.append(Close(subscription.name, start, _now()))
            life += 1
            if self.published.is_set():
                return

    def open(self, driver: Driver, name: str, pattern: str) -> _Subscription:
        start = _now()
        channel = driver.open(pattern)
        end = _now()
        subscription = _Subscription(f"{name}:{channel.directory.name}", channel, end)
        self.events.append(Open(subscription.name, pattern, start, end))
        return subscription

    def _consume(
        self, driver: Driver, subscription: _Subscription, count: int | None = None
    ) -> None:
        name = subscription.name
        for event in driver.consume(subscription.channel, count=count, idle=IDLE, deadline=ROUND):
            if "done" in event:
                return
            start, end = event["start"], event["end"]
            if "error" in event:
                self.events.append(Broken(name, event["error"]["code"], start, end))
            else:
                publisher, n = _identity(event["headers"])
                size, crc = event["size"], event["crc"]
                self.events.append(
                    Receive(name, publisher, n, event["topic"], size, crc, start, end)
                )
            subscription.last_sign = end

    def _fetch(self, driver: Driver, subscription: _Subscription) -> bool:
        """Whether the channel was empty. (The end of a stream does not tell.)"""
        name, start = subscription.name, _now()
        try:
            message = driver.fetch(subscription.channel)
        except Rejected as error:
            if error.code not in {"invalid-message", "damaged-queue"}:
                raise
            self.events.append(Broken(name, error.code, start, _now()))
            return False
        end = subscription.last_sign = _now()
        if message is None:
            self.events.append(Drained(name, start, end))
            return True
        publisher, n = _identity(message.headers)
        size, crc = len(message.content), zlib.crc32(message.content)
        self.events.append(Receive(name, publisher, n, message.topic, size, crc, start, end))
        return False

    def _broke_off(self, subscription: _Subscription, error: DriverError | Rejected) -> None:
        """Nobody reads the channel any more; it may stay open as long as its process lives."""
        self.errors.append(error)
        end = _now() if isinstance(error, DriverError) else None  # that one ended the process
        self.events.append(Close(subscription.name, subscription.last_sign, end))


@dataclass
class _Subscription:
    name: str
    channel: OpenChannel
    last_sign: int
    """Of life, on the clock of the history."""


def run(
    command: Sequence[str],
    home: Path,
    seed: int | None = None,
    *,
    publishers: int = 4,
    messages: int = 250,
    subscribers: int = 3,
    visitors: int = 2,
    timeout: float | None = 10.0,
    lazy: bool = False,
    evidence: Path | None = None,
) -> Result:
    """Publishes `messages` from each publisher to all subscribers, and judges what came.

    `visitors` are subscribers that come and go meanwhile. Publishers wait for full queues up
    to `timeout` seconds (None: not at all). With `lazy`, subscribers read only when all is
    published, and messages are small. Where anything fails, history, seed and a copy of the
    base directory are left in a new directory under `evidence` (default: where temporary
    files go), which the result names.

    Raises DriverError if a driver cannot start or end, or if what drivers report makes no
    sense; one that fails in between is in the result.
    """
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    patterns = [rng.choice(PATTERNS[i % len(PATTERNS)]) for i in range(subscribers)]
    work = [list(_bursts(rng, f"p{i}", messages, lazy)) for i in range(publishers)]
    visits = [random.Random(rng.getrandbits(64)) for _ in range(visitors)]
    this = _Run(timeout)
    # The pool outermost: if anything goes wrong, the end of the drivers ends its threads.
    with (
        ThreadPoolExecutor(publishers + subscribers + visitors) as pool,
        ExitStack() as drivers,
    ):

        def start() -> Driver:
            return drivers.enter_context(Driver(command, home))

        writing = [(start(), bursts) for bursts in work]
        visiting = [(start(), f"v{i}", visit) for i, visit in enumerate(visits)]
        reading = []
        for i, pattern in enumerate(patterns):
            driver = start()
            reading.append((driver, this.open(driver, f"s{i}", pattern)))
        drivers.callback(this.published.set)
        readers = [pool.submit(this.subscribe, *one, lazy=lazy) for one in reading]
        readers += [pool.submit(this.come_and_go, *one) for one in visiting]
        writers = [pool.submit(this.publish, *one) for one in writing]
        for thread in writers:
            thread.result()
        this.published.set()
        for thread in readers:
            thread.result()
        history = [*this.events, *_full(this.events, timeout)]
        try:
            verdict = check(history)
        except BadHistory as error:
            raise DriverError(f"what the drivers reported contradicts itself: {error}") from error
        result = Result(seed, verdict, tuple(this.errors), tuple(_leftovers(home)), None)
        if not result.failed:
            return result
        # Now, while channels are still open, and what lies in them is still there.
        evidence = Path(tempfile.mkdtemp(prefix="pubsub-stress-", dir=evidence))
        if home.is_dir():
            _copy(home, evidence / "base")
        save(evidence / "history.jsonl", history)
        result = replace(result, evidence=evidence)
        (evidence / "result.txt").write_text(f"{result}\n", encoding="utf-8")
        parameters = {
            "command": list(command),
            "seed": seed,
            "publishers": publishers,
            "messages": messages,
            "subscribers": subscribers,
            "visitors": visitors,
            "timeout": timeout,
            "lazy": lazy,
        }
        (evidence / "run.json").write_text(json.dumps(parameters, indent=2), encoding="utf-8")
        return result


def _now() -> int:
    # Not time.monotonic_ns: on macOS that is another clock than the drivers'.
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _bursts(rng: random.Random, publisher: str, messages: int, small: bool) -> Iterator[_Burst]:
    for i, first in enumerate(range(0, messages, BURST)):
        # Most messages are small, as most are in life; one in eight is not.
        sizes = [0, *(rng.randrange(200) for _ in range(4)), rng.randrange(10_000)]
        if not small:
            sizes += [rng.randrange(70_000), rng.randrange(LARGEST)]
        rng.shuffle(sizes)
        count = min(BURST, messages - first)
        yield _Burst(rng.choice(TOPICS), f"{publisher}-{i}", count, tuple(sizes))


def _content(prefix: str, n: int, sizes: Sequence[int]) -> bytes:
    """The content of message n of `produce`, as the driver protocol describes it."""
    text = f"{prefix}:{n}:".encode()
    size = max(sizes[n % len(sizes)], len(text))
    return (text * (size // len(text) + 1))[:size]


def _identity(headers: Mapping[str, Any]) -> tuple[str, int]:
    """Publisher and number; for other headers than `produce` sends, what nobody published."""
    publisher, n = headers.get("publisher"), headers.get("n")
    if len(headers) == 2 and isinstance(publisher, str) and type(n) is int:
        return publisher, n
    return json.dumps(headers), -1


def _full(events: Sequence[Event], timeout: float | None) -> Iterator[Full]:
    """When queues may have been full: not before they can have held SMALLEST_QUEUE ids, and
    for a publish that waits only if it waited (half its time-out: clocks are rounded)."""
    publishes = sorted((e for e in events if isinstance(e, Publish)), key=lambda e: e.start)
    for opened in events:
        if not isinstance(opened, Open):
            continue
        fitting = [
            publish
            for publish in publishes
            if matches(opened.pattern, publish.topic)
            and (publish.end is None or publish.end >= opened.start)
        ]
        if len(fitting) <= SMALLEST_QUEUE:
            continue
        since = fitting[SMALLEST_QUEUE - 1].start
        if not timeout:
            yield Full(opened.channel, since, max(_end(publish) for publish in fitting))
            continue
        for publish in fitting:
            if _end(publish) >= since and _end(publish) - publish.start >= timeout * 1e9 / 2:
                yield Full(opened.channel, publish.start, _end(publish))


def _end(publish: Publish) -> int:
    return publish.start if publish.end is None else publish.end


def _leftovers(home: Path) -> Iterator[str]:
    """Messages, and what else lies in `tmp`; other names may be there for reasons of their own."""
    for directory, _, names in os.walk(home):
        staging = Path(directory) == home / "tmp"
        for name in names:
            if staging or name.isdecimal():
                yield str(Path(directory, name).relative_to(home))


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
