"""The table of promises in pubsub/bridge/README.md: each cell is a test, of core and of JetStream.

A publisher on the machine A numbers its messages; what comes on B is compared. The server, or a
bridge, is disturbed after so many messages, not after so many seconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
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


class Pair:
    """Two machines, and what is published on A for B."""

    def __init__(self, serve: Serve, make: Make, kind: str, *options: str, up: bool = True) -> None:
        self.is_stream = kind == "stream"
        self.server = serve("-js", started=up)
        self.options = [*options]
        if self.is_stream:
            self.options += ["--stream", "s", "--make-stream"]
        self.a, self.b = make("a"), make("b")
        self.counted: list[int] = []
        self.start(self.a)
        if up:  # only one of them makes the stream
            self.a.until_connected()
        self.start(self.b)
        if up:
            self.b.until_connected()
        start = now()
        self.channel = self.b.open("news.+")
        self.events: list[Event] = [Open("b", "news.+", start, now())]

    def start(self, machine: Machine) -> None:
        which = ["--export" if machine is self.a else "--import", "news.+"]
        machine.start(self.server.url, *which, *self.options)

    def publish(self, *numbers: int) -> None:
        for number in numbers:
            start = now()
            if self.a.publish("news.a", b"%d" % number):
                self.counted.append(number)
                sent = Publish("a", number, "news.a", *summed(b"%d" % number), start, now(), 1)
                self.events.append(sent)

    def disturbed(self, first: Callable[[], None], second: Callable[[], None]) -> None:
        """Publish, and do something twice meanwhile.

        What was lost before B saw the first message of a topic, nobody can know.
        """
        self.publish(0)
        self.b.until(imported=1)
        self.publish(*range(1, FIRST))
        first()
        self.publish(*range(FIRST, SECOND))
        second()
        self.publish(*range(SECOND, MESSAGES))

    def received(self) -> list[int]:
        """What came until a last message, which is published when both are connected.

        The history checker judges: some may be lost, nothing else may have happened.
        """
        came = self.came()
        found = check(self.events)
        assert not found.contradictions
        assert {violation.kind for violation in found.violations} <= {"lost"}
        return came

    def came(self) -> list[int]:
        self.a.until(connected=True, waiting=0, sent_and_unconfirmed=0)
        self.b.until(connected=True)
        self.publish(LAST)
        assert self.counted.pop() == LAST
        came: list[int] = []

        def is_last() -> bool:
            start = now()
            while message := fetch(self.channel):
                came.append(int(message.content))
                about = message.topic, *summed(message.content)
                self.events.append(Receive("b", "a", came[-1], *about, start, now()))
            self.events.append(Drained("b", start, now()))
            return LAST in came

        assert until(is_last, SECONDS), (self.a.lines(), self.b.lines())
        return [number for number in came if number != LAST]

    def lost(self, came: list[int]) -> list[int]:
        return sorted(set(self.counted) - set(came))


@both
def test_up(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    pair = Pair(serve, machine, kind)
    pair.publish(*range(MESSAGES))
    assert pair.received() == pair.counted == [*range(MESSAGES)]
    assert pair.a.until(exported=MESSAGES + 1)["unconfirmed"] == 0
    status = pair.b.until(imported=MESSAGES + 1)
    assert status["lost"] == status["repeated"] == status["full"] == 0


@both
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_and_comes_back(
    serve: Serve, machine: Make, kind: str, how: signal.Signals, repetition: int
) -> None:
    pair = Pair(serve, machine, kind)
    pair.disturbed(lambda: pair.server.end(how), pair.server.start)
    pair.a.until_connected(2)
    pair.b.until_connected(2)
    lost = pair.lost(pair.received())
    assert pair.counted == [*range(MESSAGES)]
    if pair.is_stream:
        assert not lost
    status = pair.b.status()
    assert status["lost"] == len(lost)
    assert status["repeated"] == 0


@both
def test_the_server_is_stopped(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """Both bridges give the connection up, and go on; the server then finds two new ones."""
    pair = Pair(serve, machine, kind)
    pair.disturbed(lambda: pair.server.send(signal.SIGSTOP), lambda: None)
    assert pair.counted == [*range(MESSAGES)]  # local publishing goes on
    assert until(lambda: pair.a.said(SILENT) and pair.b.said(SILENT), SECONDS)
    pair.server.send(signal.SIGCONT)
    pair.a.until_connected(2)
    pair.b.until_connected(2)
    lost = pair.lost(pair.received())
    if pair.is_stream:
        assert not lost
    assert pair.b.status()["lost"] == len(lost)


@both
def test_the_exporting_bridge_is_killed(
    serve: Serve, machine: Make, kind: str, repetition: int
) -> None:
    """What it had is lost; what is published meanwhile is counted for nobody."""
    pair = Pair(serve, machine, kind)
    pair.disturbed(pair.a.kill, lambda: pair.start(pair.a))
    assert until(lambda: pair.a.times_connected() == 2, SECONDS), pair.a.lines()
    pair.publish(*range(MESSAGES, MESSAGES + 10))
    came = pair.received()
    assert came[-10:] == [*range(MESSAGES, MESSAGES + 10)]
    assert set(came) <= set(pair.counted)


@both
def test_the_importing_bridge_is_killed(
    serve: Serve, machine: Make, kind: str, repetition: int
) -> None:
    """The stream keeps what comes meanwhile; the message in hand may come twice."""
    pair = Pair(serve, machine, kind)
    pair.disturbed(pair.b.kill, lambda: pair.start(pair.b))
    assert until(lambda: pair.b.times_connected() == 2, SECONDS), pair.b.lines()
    came = pair.came()
    assert came == sorted(came)
    if pair.is_stream:
        assert sorted(set(came)) == pair.counted
        assert len(came) - len(set(came)) <= 1
    else:
        assert len(came) == len(set(came))


@both
def test_a_full_local_queue_is_waited_for(
    serve: Serve, machine: Make, kind: str, repetition: int
) -> None:
    pair = Pair(serve, machine, kind, "--timeout", "60")
    fill(pair.channel)
    pair.publish(*range(100))
    pair.a.until(exported=100)
    assert pair.b.status()["imported"] == 0
    assert pair.received() == [*range(100)]
    assert pair.b.status()["full"] == 0


@both
def test_a_local_queue_stays_full(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """The channel with the full queue misses the message, another one gets it."""
    pair = Pair(serve, machine, kind, "--timeout", "0.1")
    fill(pair.channel)
    other = pair.b.open("news.a")
    pair.publish(0, 1)
    assert pair.b.until(imported=2)["full"] == 2
    assert [*drain(other)] == [b"0", b"1"]


@both
def test_nobody_is_there(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    pair = Pair(serve, machine, kind)
    pair.channel.close()
    pair.publish(*range(10))
    assert pair.b.until(to_nobody=10)["imported"] == 0


@both
def test_no_server_for_long(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """Memory takes 64 MiB; what comes then is dropped, and B counts it as soon as more comes."""
    pair = Pair(serve, machine, kind)
    pair.publish(0)
    pair.b.until(imported=1)
    pair.server.end()
    pair.a.until(connected=False)
    fits, more = MOST_OCTETS // LARGE, 10
    for _ in range(fits + more):
        assert pair.a.publish("news.a", bytes(LARGE - 1000)) == 1  # headers count, too
    pair.a.until(waiting=fits + 1, dropped=more - 1)
    pair.server.start()
    pair.a.until_connected(2)
    pair.b.until(imported=1 + fits + 1)
    pair.publish(LAST)
    pair.b.until(imported=1 + fits + 2, lost=more - 1)


@both
def test_the_server_comes_later(serve: Serve, machine: Make, kind: str, repetition: int) -> None:
    """Local publishing goes on. An importer that was never there begins when it is."""
    pair = Pair(serve, machine, kind, up=False)
    assert until(lambda: bool(pair.a.lines() and pair.b.lines()), SECONDS)
    pair.publish(*range(MESSAGES))
    assert pair.counted == [*range(MESSAGES)]
    time.sleep(1)  # several tries, one line
    for one in (pair.a, pair.b):
        assert len(one.lines()) == 1
    pair.server.start()
    pair.a.until_connected()
    pair.b.until_connected()
    pair.received()


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
