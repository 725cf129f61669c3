"""An exception at every bytecode of every operation: nothing leaks, and nothing is lost.

See the theory of operation in pubsub/interruption.py. An operation is run again and again, and an
exception is raised before its first bytecode, then before its second, until it ends untouched.
"""

from __future__ import annotations

import fcntl
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from interrupter import Interrupter, watching

import pubsub.listing
import pubsub.message
import pubsub.staged
from pubsub import Channel, InvalidMessage, Message, fetch, publish, reap, request, subscribe
from pubsub.ids import next_id
from pubsub.place import Place
from pubsub.request import _replies_here, _Waiting


class Interrupt(BaseException):
    """As KeyboardInterrupt is one."""


class Enough(BaseException):
    """Ends a subscribe."""


OPEN = 3  # descriptors of an open channel
MEMORY = "/dev/shm"
NEVER = 10**9  # more bytecodes than any operation has
LARGE = 200_000  # octets, more than are read at once


class Scene:
    """A base, channels in it, and an operation on them. A subclass is an operation."""

    pattern = "a"
    inline = False
    error: type[BaseException] | None = None  # the end of an operation that is not interrupted
    modules: tuple[str, ...] = ()  # those whose bytecodes are interrupted; none: all

    def __init__(self, home: Path) -> None:
        self.home = home
        self.channel = Channel(self.pattern, self.inline)

    def prepare(self) -> None:
        """Before each interruption."""

    def operate(self) -> object:
        """The operation."""
        raise NotImplementedError

    def check(self, interrupted: bool) -> None:
        """Right after it."""

    def finish(self) -> None:
        """After all interruptions."""

    def opened(self) -> int:
        """The number of channels that are open."""
        return int(self.channel.is_open)

    # --- what is there ---

    def visible(self) -> set[str]:
        return set(os.listdir(self.home)) - {"tmp"} if self.home.exists() else set()

    def tmp(self) -> list[str]:
        return os.listdir(self.home / "tmp")


class Opening(Scene):
    def operate(self) -> None:
        self.channel.open()

    def check(self, interrupted: bool) -> None:
        is_open = self.channel.is_open
        assert is_open or interrupted or self.error
        assert self.visible() == ({self.channel.directory_path.name} if is_open else set())
        assert self.tmp() == []
        self.channel.open()
        assert publish("a", b"works") == 1
        assert fetch(self.channel) is not None
        self.channel.close()
        assert self.visible() == set()
        assert self.tmp() == []


class OpeningWithoutDescriptors(Opening):
    """The third descriptor cannot be had: the opening fails, and is interrupted meanwhile."""

    error = OSError

    def operate(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, limits[1]))
        try:
            self.channel.open()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class Reaping(Scene):
    """A killed process left a channel with a message, a staged file and a directory in tmp."""

    def prepare(self) -> None:
        dead = self.home / "a_abcdefABCDEF_4000000"
        dead.mkdir(parents=True)
        os.mkfifo(dead / "queue")
        (dead / "1").touch()
        (self.home / "tmp").mkdir(exist_ok=True)
        (self.home / "tmp/2").touch()
        (self.home / "tmp/-directory/inner").mkdir(parents=True)

    def operate(self) -> None:
        reap(stale_age=-10)

    def check(self, interrupted: bool) -> None:
        reap(stale_age=-10)  # a reaper may leave to the next one what it claimed
        assert self.visible() == set()
        assert self.tmp() == []


class Closing(Scene):
    """Unread messages and a directory of somebody else are in the channel."""

    def prepare(self) -> None:
        self.channel.open()
        publish("a", b"unread")
        (self.channel.directory_path / "inner/most").mkdir(parents=True)

    def operate(self) -> None:
        self.channel.close()

    def check(self, interrupted: bool) -> None:
        if self.channel.is_open:
            assert interrupted
            assert self.visible() == {self.channel.directory_path.name}
            self.channel.close()
        assert self.visible() == set()
        assert self.tmp() == []
        self.channel.open()
        self.channel.close()


class Receiving(Scene):
    """Three messages wait in an open channel. The one that was on its way out may be lost."""

    contents: tuple[bytes, ...] = (b"1", b"2", b"3")
    got: list[bytes]
    lost_at: list[int]

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.channel.open()
        self.runs = 0
        self.lost_at = []

    def prepare(self) -> None:
        self.got = []
        self.runs += 1
        for content in self.contents:
            assert publish("a", content) == 1

    def take(self, message: Message | None) -> None:
        if message is not None:
            self.got.append(message.content)

    def check(self, interrupted: bool) -> None:
        while message := fetch(self.channel):
            self.take(message)
        if interrupted and self.got != list(self.contents):
            lost = set(self.contents) - set(self.got)
            assert len(lost) == 1
            self.lost_at.append(self.runs)
        if not interrupted:
            assert len(self.got) == len(self.contents)
        assert self.got == [content for content in self.contents if content in self.got]
        marker = ["inline"] if self.inline else []
        assert sorted(os.listdir(self.channel.directory_path)) == [*marker, "queue"]
        assert self.tmp() == []

    def finish(self) -> None:
        self.channel.close()


class Fetching(Receiving):
    def operate(self) -> None:
        self.take(fetch(self.channel))

    def finish(self) -> None:
        # It is lost where fetch returns: the caller is interrupted before it has the message.
        assert self.lost_at == [*range(self.runs - len(self.lost_at), self.runs)]
        assert len(self.lost_at) < 40
        super().finish()


class Getting(Fetching):
    def operate(self) -> None:
        self.take(self.channel.get(0))


class FetchingLargeOnes(Fetching):
    contents = (b"1" * LARGE, b"2" * LARGE)


class FetchingNothing(Fetching):
    contents = ()


class FetchingAnotherFile(Receiving):
    """A file that is not a message is in front of the messages."""

    error = InvalidMessage

    def prepare(self) -> None:
        queue = os.open(self.channel.directory_path / "queue", os.O_WRONLY)
        os.write(queue, self.bad())
        os.close(queue)
        super().prepare()

    def bad(self) -> bytes:
        """What comes first in the queue."""
        (self.channel.directory_path / "1").touch()
        return (1).to_bytes(8, "big")

    def operate(self) -> None:
        self.take(fetch(self.channel))

    def check(self, interrupted: bool) -> None:
        try:
            super().check(interrupted)
        except InvalidMessage:
            assert interrupted
            super().check(interrupted)

    def finish(self) -> None:
        assert self.lost_at == []
        super().finish()


class WaitingForNothing(Fetching):
    contents = ()

    def operate(self) -> None:
        assert not self.channel.wait(0.001)


class Waiting(Receiving):
    def operate(self) -> None:
        assert self.channel.wait(10)

    def finish(self) -> None:
        assert self.lost_at == []
        super().finish()


class Subscribing(Receiving):
    error = Enough

    def operate(self) -> None:
        subscribe(self.channel, self.callback)

    def callback(self, message: Message) -> None:
        self.take(message)
        if len(self.got) == len(self.contents):
            raise Enough

    def finish(self) -> None:
        assert len(self.lost_at) < 60 * len(self.contents)
        super().finish()


class Publishing(Scene):
    """To one channel, whose base is listed anew."""

    patterns: tuple[str, ...] = ("a",)
    content = b"content"
    timeout = 0.0
    kept = False
    full = 0  # so many of the channels are full

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.channels = [Channel(pattern, self.inline) for pattern in self.patterns]
        for n, channel in enumerate(self.channels):
            channel.open()
            if n < self.full:
                fill(channel)
        self.before = self.files()

    def prepare(self) -> None:
        if not self.kept:
            pubsub.close_kept_queues()
        self.list_and_keep()
        for channel in self.channels[self.full :]:
            drain(channel)

    def list_and_keep(self) -> None:
        while self.kept and pubsub.listing.kept(Place.here()) is None:
            publish("b", b"")

    def operate(self) -> None:
        assert publish("a", self.content, timeout=self.timeout) == self.expected()

    def expected(self) -> int:
        return len(self.channels) - self.full

    def opened(self) -> int:
        return sum(channel.is_open for channel in self.channels)

    def files(self) -> list[list[str]]:
        return [sorted(os.listdir(channel.directory_path)) for channel in self.channels]

    def check(self, interrupted: bool) -> None:
        count = 0
        for channel in self.channels[self.full :]:
            got = [*iter(lambda channel=channel: fetch(channel), None)]  # type: ignore[misc]
            assert [message.content for message in got] in ([], [self.content])
            count += len(got)
        assert count == self.expected() or interrupted
        assert self.files() == self.before
        assert self.tmp() == []

    def finish(self) -> None:
        for channel in self.channels[: self.full]:
            drain(channel)
        assert publish("a", b"works") == len(self.channels)
        for channel in self.channels:
            channel.close()


def fill(channel: Channel) -> None:
    """Fills a queue with ids that no file has."""
    queue = os.open(channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(queue, fcntl.F_SETPIPE_SZ, resource.getpagesize())
    try:
        while True:
            os.write(queue, (2**64 - 1).to_bytes(8, "big"))
    except BlockingIOError:
        os.close(queue)


def drain(channel: Channel) -> None:
    while fetch(channel) or channel.wait(0):
        pass


class PublishingToTheKeptList(Publishing):
    kept = True


class PublishingALargeOne(Publishing):
    content = b"." * LARGE
    kept = True


class PublishingToNobody(Publishing):
    patterns = ()


class PublishingToSeveral(Publishing):
    patterns = ("a", "=", "+")
    kept = True


class PublishingToAFullOne(Publishing):
    patterns = ("a", "=")
    full = 1
    kept = True


class PublishingWithATimeout(PublishingToAFullOne):
    timeout = 0.001


class PublishingATakenId(Publishing):
    """The id is taken, in tmp first, and the next one in the channel."""

    kept = True
    ids = (2**60, 2**60 + 1, 2**60 + 2)

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        for path in (home / "tmp", self.channels[0].directory_path):
            for id in self.ids[:-1]:
                (path / str(id)).write_text("foreign")
        (home / "tmp" / str(self.ids[1])).unlink()
        self.before = self.files()

    def prepare(self) -> None:
        super().prepare()
        ids = iter(self.ids)
        self.name_next_id(lambda: next(ids))

    def check(self, interrupted: bool) -> None:
        self.name_next_id(next_id)
        super().check(interrupted)

    def name_next_id(self, function: Callable[[], int]) -> None:
        for module in (pubsub.message, pubsub.staged):
            vars(module)["next_id"] = function

    def tmp(self) -> list[str]:
        found = super().tmp()
        assert str(self.ids[0]) in found
        return [name for name in found if name != str(self.ids[0])]


class Requesting(Scene):
    """It reads the reply for another thread that waits, too."""

    inline = True
    modules = ("channel", "request")  # other operations have the rest

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.channel.open()
        self.replies = _replies_here()
        self.replies.open()
        self.other = _Waiting(self.replies)

    def prepare(self) -> None:
        headers = {"correlation-id": self.other.id}
        assert publish(self.replies.channel.topic, b"", headers) == 1
        self.replies.requests[self.other.id] = self.other

    def operate(self) -> None:
        assert request("a", b"", timeout_seconds=0) is None

    def check(self, interrupted: bool) -> None:
        assert list(self.replies.requests) == [self.other.id]
        assert self.replies.waiting() == []
        if not self.other.reply:
            assert interrupted
            self.replies.read(0)
        assert self.other.reply.pop().content == b""
        self.other.reply.clear()
        drain(self.channel)
        assert self.tmp() == []

    def opened(self) -> int:
        return 2

    def finish(self) -> None:
        self.replies.requests.clear()
        self.replies.channel.close()
        self.channel.close()


# The operations, with the number of their bytecodes on the Python that has most. A test must see
# half as many: tools that watch bytecodes have been known to miss all of some function.
BYTECODES: dict[type[Scene], int] = {
    Opening: 1376,
    OpeningWithoutDescriptors: 1629,
    Closing: 1254,
    Reaping: 2133,
    Fetching: 569,
    Getting: 600,
    FetchingLargeOnes: 651,
    FetchingNothing: 101,
    FetchingAnotherFile: 508,
    Waiting: 154,
    WaitingForNothing: 273,
    Subscribing: 1838,
    Publishing: 1422,
    PublishingToTheKeptList: 958,
    PublishingALargeOne: 974,
    PublishingToNobody: 1075,
    PublishingToSeveral: 1324,
    PublishingToAFullOne: 1280,
    PublishingWithATimeout: 1757,
    PublishingATakenId: 1854,
    Requesting: 620,
}
# A handler's OSError is the one that the package could take for an error of the system. While the
# callback of a subscribe runs, an Exception is the callback's.
OPERATIONS: list[tuple[type[Scene], type[BaseException]]] = [
    (scene, TimeoutError) for scene in BYTECODES if scene is not Subscribing
]
OPERATIONS += [
    (scene, Interrupt) for scene in (Opening, Closing, Subscribing, PublishingToAFullOne)
]


def descriptors() -> int:
    """The number of descriptors that this process has open, without queues that are kept."""
    kept = [
        len(lane.kept)
        for listing in filter(None, pubsub.listing._kept)
        for lane in listing._lanes.values()
    ]
    return len(os.listdir("/dev/fd")) - sum(kept)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A base in memory where there is one: a disk takes most of the time of so many files."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.path.isdir(MEMORY) else None) as directory:
        home = Path(directory, "home")
        monkeypatch.setenv("PUBSUB_HOME", str(home))
        yield home


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("scene", "kind"),
    OPERATIONS,
    ids=[f"{scene.__name__}-{kind.__name__}" for scene, kind in OPERATIONS],
)
def test_an_exception_at_every_bytecode(
    home: Path, scene: type[Scene], kind: type[BaseException]
) -> None:
    assert interrupt_everywhere(home, scene, kind) >= BYTECODES[scene] / 2


def interrupt_everywhere(home: Path, scene: type[Scene], kind: type[BaseException]) -> int:
    """Interrupt a scene's operation at each bytecode; the number of these."""
    with Channel("c"):
        pass  # the base is there
    stage = scene(home)
    foreign = descriptors() - OPEN * stage.opened()
    interrupter = Interrupter(*stage.modules)
    interrupted = True
    points = 0
    with watching():
        stage.prepare()
        assert not interrupter.run(stage.operate, NEVER, kind(), stage.error)
        stage.check(interrupted=False)
        while interrupted:
            stage.prepare()
            error = kind("of a signal handler")
            interrupted = interrupter.run(stage.operate, points + 1, error, stage.error)
            assert descriptors() == foreign + OPEN * stage.opened(), interrupter.where
            stage.check(interrupted)
            points += interrupted
    stage.finish()
    return points
