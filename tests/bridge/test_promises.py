"""The table of promises in pubsub/bridge/README.md: each cell is a test, of core and of JetStream.

A publisher on the machine A numbers its messages, and the history checker judges what comes on the
machines B and C, each by itself. The server, or a bridge, is disturbed after so many messages, not
after so many seconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import pytest
from machines import SECONDS, Machine, Make, Serve, making, needs_server, serving
from pubsub_conformance.judge.check import check
from pubsub_conformance.judge.events import Drained, Event, Open, Publish, Receive
from pubsub_conformance.waiting import now, until

from pubsub import Channel, fetch
from pubsub.bridge.outgoing import MOST_OCTETS

MESSAGES = 1500
FIRST, SECOND = 500, 1000  # after these messages something happens
LAST = 10**6
LARGE = 2**20 - 2**10
SILENT = "does not answer"
REPETITIONS = int(os.environ.get("BRIDGE_REPETITIONS", "1"))

pytestmark = [
    needs_server,
    pytest.mark.timeout(180),
    pytest.mark.parametrize("repetition", range(REPETITIONS)),
]
both = pytest.mark.parametrize("kind", ["core", "stream"])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    yield from serving(tmp_path)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Make]:
    yield from making(tmp_path)


def summed(content: bytes) -> tuple[int, int]:
    return len(content), crc32(content)


class Found(NamedTuple):
    """What came on a machine. The history checker found nothing wrong but this."""

    machine: Machine
    came: list[int]
    lost: list[int]
    doubled: int


class Trio:
    """Three machines, and what is published on A for B and C."""

    def __init__(self, serve: Serve, make: Make, kind: str, *options: str, up: bool = True) -> None:
        self.is_stream = kind == "stream"
        self.server = serve("-js", started=up)
        self.options = [*options]
        if self.is_stream:
            self.options += ["--stream", "s", "--make-stream"]
        self.a, self.b, self.c = make("a"), make("b"), make("c")
        self.importing = self.b, self.c
        self.published: list[Publish] = []
        self.events: dict[Machine, list[Event]] = {}
        self.channels: dict[Machine, Channel] = {}
        for one in self.importing:
            start = now()
            self.channels[one] = one.open("news.+")
            self.events[one] = [Open("its", "news.+", start, now())]
        self.start(self.a)
        if up:  # only one of them makes the stream
            self.a.until_connected()
        for one in self.importing:
            self.start(one)
        if up:
            for one in self.importing:
                one.until_connected()

    @property
    def counted(self) -> list[int]:
        """The numbers of the messages that the channel of the exporting bridge took."""
        return [sent.n for sent in self.published if sent.n != LAST]

    def start(self, machine: Machine) -> None:
        which = ["--export" if machine is self.a else "--import", "news.+"]
        machine.start(self.server.url, *which, *self.options)

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            start = now()
            if self.a.publish("news.a", b"%d" % number):
                about = "news.a", *summed(b"%d" % number)
                self.published.append(Publish("a", number, *about, start, now(), 1))

    def until_imported(self, number: int, **expected: object) -> None:
        for one in self.importing:
            one.until(imported=number, **expected)

    def until_connected(self, connections: int) -> None:
        for one in (self.a, *self.importing):
            one.until_connected(connections)

    def disturbed(self, first: Callable[[], None], second: Callable[[], None]) -> None:
        """Publish, and do something twice meanwhile.

        What was lost before a machine saw the first message of a topic, it cannot know.
        """
        self.publish(0)
        self.until_imported(1)
        self.publish(*range(1, FIRST))
        first()
        self.publish(*range(FIRST, SECOND))
        second()
        self.publish(*range(SECOND, MESSAGES))

    def found(self) -> list[Found]:
        """What came on B and on C until a last message, published when all are connected."""
        self.a.until(connected=True, waiting=0, sent_and_unconfirmed=0)
        for one in self.importing:
            one.until(connected=True)
        self.publish(LAST)
        return [self._found(one) for one in self.importing]

    def _found(self, machine: Machine) -> Found:
        channel, events = self.channels[machine], self.events[machine]
        came: list[int] = []

        def is_last() -> bool:
            start = now()
            while message := fetch(channel):
                came.append(int(message.content))
                about = message.topic, *summed(message.content)
                events.append(Receive("its", "a", came[-1], *about, start, now()))
                start = now()
            return LAST in came

        assert until(is_last, SECONDS), (self.a.lines(), machine.lines())
        start = now()
        assert fetch(channel) is None
        judged = check([*self.published, *events, Drained("its", start, now())])
        assert not judged.contradictions
        wrong = Counter(violation.kind for violation in judged.violations)
        assert {*wrong} <= {"lost", "duplicated"}, judged.violations
        came.remove(LAST)
        lost = sorted({*self.counted} - {*came})
        assert wrong["lost"] == len(lost)
        return Found(machine, came, lost, wrong["duplicated"])


@both
def test_up(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    trio = Trio(serve, machine, kind)
    trio.publish(*range(MESSAGES))
    for found in trio.found():
        assert found.came == trio.counted == [*range(MESSAGES)]
    assert trio.a.until(exported=MESSAGES + 1)["unconfirmed"] == 0
    trio.until_imported(MESSAGES + 1, lost=0, repeated=0, full=0)


@both
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_and_comes_back(
    serve: Serve, machine: Make, kind: str, how: signal.Signals, repetition: int
) -> None:
    trio = Trio(serve, machine, kind)
    trio.disturbed(lambda: trio.server.end(how), trio.server.start)
    trio.until_connected(2)
    for found in trio.found():
        assert not found.doubled
        if trio.is_stream:
            assert not found.lost
        found.machine.until(lost=len(found.lost), repeated=0)
    assert trio.counted == [*range(MESSAGES)]


@both
def test_the_server_is_stopped(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """All bridges give the connection up, and go on; the server then finds new ones."""
    trio = Trio(serve, machine, kind)
    trio.disturbed(lambda: trio.server.send(signal.SIGSTOP), lambda: None)
    assert trio.counted == [*range(MESSAGES)]  # local publishing goes on
    for one in (trio.a, *trio.importing):
        assert until(lambda one=one: one.said(SILENT), SECONDS)  # type: ignore[misc]
    trio.server.send(signal.SIGCONT)
    trio.until_connected(2)
    for found in trio.found():
        assert not found.doubled
        if trio.is_stream:
            assert not found.lost
        found.machine.until(lost=len(found.lost))


@both
def test_the_exporting_bridge_is_killed(
    serve: Serve, machine: Make, kind: str, repetition: int
) -> None:
    """What it had is lost; what is published meanwhile is counted for nobody."""
    trio = Trio(serve, machine, kind)
    trio.disturbed(trio.a.kill, lambda: trio.start(trio.a))
    trio.a.until_started(2)
    trio.publish(*range(MESSAGES, MESSAGES + 10))
    for found in trio.found():
        assert not found.doubled
        assert_one_gap(trio, found)
        assert found.came[-10:] == [*range(MESSAGES, MESSAGES + 10)]


@both
def test_the_exporting_bridge_is_ended(
    serve: Serve, machine: Make, kind: str, repetition: int
) -> None:
    """It sends what it has, and leaves nothing in the base."""
    trio = Trio(serve, machine, kind)
    trio.publish(*range(FIRST))
    assert trio.a.end(signal.SIGTERM) == 0
    assert [entry.name for entry in trio.a.home.iterdir()] == ["tmp"]
    trio.start(trio.a)
    trio.a.until_started(2)
    for found in trio.found():
        assert found.came == [*range(FIRST)]


@both
def test_an_importing_bridge_is_killed(
    serve: Serve, machine: Make, kind: str, repetition: int
) -> None:
    """The stream keeps what comes meanwhile; the message in hand may come twice."""
    trio = Trio(serve, machine, kind)
    trio.disturbed(trio.b.kill, lambda: trio.start(trio.b))
    trio.b.until_started(2)
    at_b, at_c = trio.found()
    assert at_c.came == trio.counted == [*range(MESSAGES)]
    if trio.is_stream:
        assert not at_b.lost
        assert at_b.doubled <= 1
    else:
        assert not at_b.doubled
        assert_one_gap(trio, at_b)


@both
def test_a_full_local_queue_is_waited_for(
    serve: Serve, machine: Make, kind: str, repetition: int
) -> None:
    trio = Trio(serve, machine, kind, "--timeout", "60")
    fill(trio.channels[trio.b])
    trio.publish(*range(100))
    trio.a.until(exported=100)
    trio.c.until(imported=100)
    assert trio.b.status()["imported"] == 0
    for found in trio.found():
        assert found.came == [*range(100)]
    trio.until_imported(101, full=0)


@both
def test_a_local_queue_stays_full(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """The channel with the full queue misses the message, others get it."""
    trio = Trio(serve, machine, kind, "--timeout", "0.1")
    fill(trio.channels[trio.b])
    other = trio.b.open("news.a")
    trio.publish(0, 1)
    assert trio.b.until(imported=2)["full"] == 2
    assert trio.c.until(imported=2)["full"] == 0
    assert drain(other) == drain(trio.channels[trio.c]) == [b"0", b"1"]


@both
def test_nobody_is_there(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    trio = Trio(serve, machine, kind)
    trio.channels[trio.b].close()
    trio.publish(*range(10))
    assert trio.b.until(to_nobody=10)["imported"] == 0
    assert trio.c.until(imported=10)["to_nobody"] == 0


@both
def test_no_server_for_long(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """Memory takes 64 MiB; what comes then is dropped, and is counted as soon as more comes."""
    trio = Trio(serve, machine, kind)
    trio.publish(0)
    trio.until_imported(1)
    trio.server.end()
    trio.a.until(connected=False)
    fits, more = MOST_OCTETS // LARGE, 10
    for _ in range(fits + more):
        assert trio.a.publish("news.a", bytes(LARGE - 1000)) == 1  # headers count, too
    trio.a.until(waiting=fits + 1, dropped=more - 1)
    trio.server.start()
    trio.until_connected(2)
    trio.until_imported(1 + fits + 1)
    trio.publish(LAST)
    trio.until_imported(1 + fits + 2, lost=more - 1)


@both
def test_the_server_comes_later(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """Local publishing goes on. An importer that was never there begins when it is."""
    trio = Trio(serve, machine, kind, up=False)
    everyone = (trio.a, *trio.importing)
    assert until(lambda: all(one.lines() for one in everyone), SECONDS)
    trio.publish(*range(MESSAGES))
    assert trio.counted == [*range(MESSAGES)]
    time.sleep(1)  # several tries, one line
    for one in everyone:
        assert len(one.lines()) == 1
    trio.server.start()
    trio.until_connected(1)
    for found in trio.found():
        assert not found.doubled


def assert_one_gap(trio: Trio, found: Found) -> None:
    """What is lost was published in a row: it was in one place, or on its way at one time."""
    if found.lost:
        first = trio.counted.index(found.lost[0])
        assert trio.counted[first : first + len(found.lost)] == found.lost


def fill(channel: Channel) -> None:
    """Fill the queue of a channel with wake-ups, which a fetch passes over."""
    queue = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
    try:
        while True:
            os.write(queue, bytes(8))
    except BlockingIOError:
        pass
    finally:
        os.close(queue)


def drain(channel: Channel, most: int = 10**6) -> list[bytes]:
    contents: list[bytes] = []
    while len(contents) < most and (message := fetch(channel)):
        contents.append(message.content)
    return contents
