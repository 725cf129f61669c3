"""An exception at every bytecode of the inline lane: see test_interrupted.py."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import needs_inline
from test_interrupted import (
    Closing,
    Fetching,
    FetchingAnotherFile,
    Opening,
    OpeningWithoutDescriptors,
    Publishing,
    Receiving,
    Scene,
    Waiting,
    home,
    interrupt_everywhere,
)

import pubsub.capacity
from pubsub import Channel, close_kept_queues, fetch, publish

__all__ = ["home"]
pytestmark = needs_inline

MANY = tuple(b"%d" % n for n in range(50))


class InlineOpening(Opening):
    inline = True

    def check(self, interrupted: bool) -> None:
        if self.channel.is_open:
            assert sorted(os.listdir(self.channel.directory_path)) == ["inline", "queue"]
        super().check(interrupted)


class InlineOpeningWithoutDescriptors(InlineOpening, OpeningWithoutDescriptors):
    pass


class InlineClosing(Closing):
    """A publisher keeps the queue open, in which there are records."""

    inline = True

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.writer = os.open("/dev/null", os.O_RDONLY)

    def prepare(self) -> None:
        super().prepare()
        queue = os.open(self.channel.directory_path / "queue", os.O_WRONLY | os.O_NONBLOCK)
        os.dup2(queue, self.writer)
        os.close(queue)

    def check(self, interrupted: bool) -> None:
        super().check(interrupted)
        assert pubsub.capacity.octets(self.writer) == 0
        assert fcntl.fcntl(self.writer, fcntl.F_GETPIPE_SZ) == resource.getpagesize()

    def finish(self) -> None:
        os.close(self.writer)


class FetchingOneOfABatch(Fetching):
    """At most the one message that was on its way out is lost, not the batch."""

    inline = True
    contents = MANY


class FetchingFromTheHand(Fetching):
    inline = True
    contents = MANY[:3]

    def prepare(self) -> None:
        super().prepare()
        self.take(fetch(self.channel))


class FetchingAFileFromABatch(Fetching):
    """Messages by file, between records."""

    inline = True
    contents = (b"1" * 2000, b"2", b"3" * 2000)


class FetchingABadRecord(FetchingAnotherFile):
    """A record that is not a message is in front of the messages."""

    inline = True

    def bad(self) -> bytes:
        path = str(self.channel.directory_path)
        return pubsub.queue.heading(path) + pubsub.queue.body(bytes(40))


class FetchingWhileAnotherWaits(Fetching):
    """The wake-up for it is owed by the next call, whatever happens to this one."""

    inline = True
    contents = MANY[:4]

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.other = threading.Lock()
        self.other.acquire()
        self.channel._waiters._registered.append((0, self.other))

    def check(self, interrupted: bool) -> None:
        assert self.channel.wait(0)
        poll = select.poll()
        poll.register(self.channel._opened().read_end, select.POLLIN)
        assert poll.poll(0)
        super().check(interrupted)

    def finish(self) -> None:
        self.other.release()
        super().finish()


class FetchingWhileTheProgramPolls(Fetching):
    """What is still there is shown by the descriptor that the program has."""

    inline = True
    contents = (b"1",)

    def prepare(self) -> None:
        super().prepare()
        self.poll = select.poll()
        self.poll.register(self.channel.fileno(), select.POLLIN)

    def check(self, interrupted: bool) -> None:
        before = len(self.got)
        is_shown = self.poll.poll(0)
        super().check(interrupted)
        assert is_shown or len(self.got) == before


class FetchingAnIdWhileTheProgramPolls(FetchingWhileTheProgramPolls):
    inline = False


class WaitingWithAHand(Waiting):
    inline = True
    contents = MANY[:3]

    def prepare(self) -> None:
        super().prepare()
        self.take(fetch(self.channel))


class AskingForTheDescriptor(Receiving):
    inline = True
    contents = MANY[:3]

    def prepare(self) -> None:
        super().prepare()
        self.channel._waiters.program_polls = False
        self.take(fetch(self.channel))

    def operate(self) -> None:
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        assert poll.poll(0)


class InlinePublishing(Publishing):
    """The base is listed anew, and its lists before are closed."""

    inline = True

    def prepare(self) -> None:
        super().prepare()
        (self.home / "changed").mkdir()
        (self.home / "changed").rmdir()


class InlinePublishingToTheKeptList(Publishing):
    """The queues are not opened yet."""

    inline = True
    kept = True
    patterns = ("a", "=")

    def prepare(self) -> None:
        close_kept_queues()
        super().prepare()


class InlinePublishingToKeptQueues(InlinePublishingToTheKeptList):
    def prepare(self) -> None:
        super().prepare()
        publish("a", b"opens")
        for channel in self.channels:
            while fetch(channel):
                pass


class MixedPublishing(InlinePublishingToKeptQueues):
    """Beside the kept queues a channel that has not asked for records."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.channels[1].close()
        self.channels[1]._inline = False
        self.channels[1].open()
        self.before = self.files()


class PublishingToQueuesWithRoomForAnId(InlinePublishingToKeptQueues):
    """By file, after a record was refused. The queues are small: each word takes a moment."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        for channel in self.channels:
            self.with_queue(channel, lambda queue: fcntl.fcntl(queue, fcntl.F_SETPIPE_SZ, 4096))

    def prepare(self) -> None:
        super().prepare()
        for channel in self.channels:
            self.with_queue(channel, lambda queue: os.write(queue, bytes(4088)))

    @staticmethod
    def with_queue(channel: Channel, use: Callable[[int], object]) -> None:
        queue = os.open(channel.directory_path / "queue", os.O_WRONLY)
        use(queue)
        os.close(queue)


class PublishingWhileTheListIsReplaced(InlinePublishingToKeptQueues):
    """Kept queues of the list before are to be closed."""

    def prepare(self) -> None:
        super().prepare()
        (self.home / "changed").mkdir()
        (self.home / "changed").rmdir()


class PublishingWithoutDescriptors(InlinePublishingToKeptQueues):
    """One message by file: kept queues are closed to have a descriptor for it."""

    content = b"." * 2000

    def operate(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            super().operate()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class ClosingKeptQueues(InlinePublishingToKeptQueues):
    def operate(self) -> None:
        close_kept_queues()

    def check(self, interrupted: bool) -> None:
        close_kept_queues()
        assert pubsub.listing._kept == [None]


# As in test_interrupted.py.
BYTECODES: dict[type[Scene], int] = {
    InlineOpening: 1722,
    InlineOpeningWithoutDescriptors: 1950,
    InlineClosing: 1745,
    FetchingOneOfABatch: 729,
    FetchingFromTheHand: 403,
    FetchingAFileFromABatch: 838,
    FetchingABadRecord: 721,
    FetchingWhileAnotherWaits: 828,
    FetchingWhileTheProgramPolls: 400,
    FetchingAnIdWhileTheProgramPolls: 580,
    WaitingWithAHand: 218,
    AskingForTheDescriptor: 221,
    InlinePublishing: 1898,
    InlinePublishingToTheKeptList: 1750,
    InlinePublishingToKeptQueues: 764,
    MixedPublishing: 1308,
    PublishingToQueuesWithRoomForAnId: 1397,
    PublishingWhileTheListIsReplaced: 2775,
    PublishingWithoutDescriptors: 1603,
    ClosingKeptQueues: 256,
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scene", BYTECODES)
def test_an_exception_at_every_bytecode(home: Path, scene: type[Scene]) -> None:
    assert interrupt_everywhere(home, scene, TimeoutError) >= BYTECODES[scene] / 2
