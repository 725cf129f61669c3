"""Errors while publishing: nothing is left, the others are served, the count is right."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import (
    LINK,
    LOOK,
    OPEN,
    WRITE,
    Trace,
    fail,
    stop,
    traced,
)
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, answers
from pubsub_conformance.suite.scenes import close_off, start_without_privileges

from .support import (
    AT_ONCE_SECONDS,
    LARGE,
    nothing_left,
    settle,
    several,
)


@pytest.mark.requirement("PUB-12", role="publisher")
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_cleaner_took_the_staged_file(driver: Driver, base: Base, nth: int) -> None:
    """The link fails because the *staged* file is gone: it is staged again, nobody is missed."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "ENOENT", nth, then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            for staged in base.tmp.iterdir():
                staged.unlink()
            trace.go_on()
            assert count.result() == 3, "all three channels were open the whole time"
        contents = [[message.content for message in each.fetch_all()] for each in channels]
        assert contents == [[b"x"]] * 3, f"each channel is to yield it once, found {contents}"
        nothing_left(base, "the staged file was removed")


@pytest.mark.requirement("PUB-12", role="publisher")
def test_a_cleaner_took_tmp(driver: Driver, base: Base) -> None:
    """As before, and the directory `tmp` went with the staged file."""
    with several(base, 2) as channels:
        with traced(driver, fail(LINK, "ENOENT", then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            for staged in base.tmp.iterdir():
                staged.unlink()
            base.tmp.rmdir()
            trace.go_on()
            assert count.result() == 2, "both channels were open the whole time"
        contents = [[message.content for message in each.fetch_all()] for each in channels]
        assert contents == [[b"x"]] * 2, f"each channel is to yield it once, found {contents}"
        nothing_left(base, "tmp was removed")


@pytest.mark.requirement("PUB-12", role="publisher")
def test_a_channel_that_closes_before_the_link(driver: Driver, base: Base) -> None:
    """The link fails because the *channel* is gone: it is passed over, without an error."""
    base.make()
    linked, count = _publish_to_one_that_closes(driver, base)
    if linked:
        not_run("the message was linked before the queue was opened")
    assert count == 0, "the channel was closed before it got the message"


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_staged_file_is_left_by_a_channel_that_closes(driver: Driver, base: Base) -> None:
    """The link fails because the channel is gone: nothing of the message is left in `tmp`."""
    base.make()
    _publish_to_one_that_closes(driver, base)
    assert os.listdir(base.tmp) == [], "a channel closed before the link"


def _publish_to_one_that_closes(driver: Driver, base: Base) -> tuple[bool, int]:
    """Whether the message was linked before the channel closed, and the count."""
    with base.open("a") as going:
        queue = going.directory / "queue"
        with traced(driver, stop(OPEN), paths=[queue, "queue"]) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            linked = bool(going.files())
            going.close()
            trace.go_on()
            return linked, count.result()


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["ENOSPC", "EACCES", "EPERM", "EXDEV", "EIO"])
def test_a_link_that_fails(driver: Driver, base: Base, errno: str) -> None:
    """The first of three channels fails: the others get the message, then the error is told."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, errno)) as trace:
            _is_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["EIO", "ENOSPC"])
def test_a_write_to_the_queue_that_fails(driver: Driver, base: Base, errno: str) -> None:
    """As with the link: the other channels get the message, then the error is told."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        with traced(driver, fail(WRITE, errno), paths=queues) as trace:
            _is_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["EACCES", "EMFILE", "ENFILE", "ENOMEM"])
def test_a_queue_that_cannot_be_opened(driver: Driver, base: Base, errno: str) -> None:
    """Whether somebody reads there is not known: an error, not a dead channel."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        with traced(driver, fail(OPEN, errno), paths=[*queues, "queue"]) as trace:
            _is_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
def test_a_missing_queue_that_cannot_be_looked_at(driver: Driver, base: Base) -> None:
    """Where opening has said that nothing is there, ENOENT is no error, whatever a look says."""
    queue = base.dead_channel("a", os.getpid(), queue=False) / "queue"
    with traced(driver, fail(LOOK, "EIO"), paths=[queue, "queue"]):
        try:
            told: object = driver.publish("a", b"x")
        except Rejected as no:
            told = (no.code, no.errno, no.count)
    assert told in (0, ("io-error", "EIO", 0)), f"no queue, or the look's EIO; found {told}"


def _is_reported(driver: Driver, errno: str, count: int, trace: Trace) -> None:
    """One channel of `count` + 1 was made to fail; publish has to say so, and how."""
    try:
        found = driver.publish("a", b"x")
    except Rejected as rejected:
        no = rejected
    else:
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no call that it could make fail")
        pytest.fail(f"one channel failed with {errno}, but publish returned {found}, no error")
    assert (no.code, no.errno) == ("io-error", errno), f"expected io-error {errno}, found {no}"
    assert no.count == count, f"{count} queues took the message, the error says {no.count}"


@pytest.mark.requirement("PUB-13", role="publisher")
def test_a_channel_without_permission(start: Start, base: Base) -> None:
    """A channel whose directory takes no file (EACCES): the others get the message."""
    driver = start_without_privileges(start)
    with several(base, 3) as channels:
        driver.publish("a")  # whatever it keeps of the base, it has now
        for channel in channels:
            channel.fetch_all()
        close_off(channels[1].directory, 0o555)
        with pytest.raises(Rejected) as no:
            driver.publish("a", b"x")
        channels[1].directory.chmod(0o700)
        assert (no.value.code, no.value.errno, no.value.count) == ("io-error", "EACCES", 2)
        assert [len(channel.fetch_all()) for channel in channels] == [1, 0, 1]


@pytest.mark.requirement("PUB-14", role="publisher")
@pytest.mark.parametrize("calls", [LINK, WRITE, OPEN], ids=["link", "write", "open"])
def test_no_staged_file_is_left_by_an_error(
    driver: Driver, base: Base, calls: tuple[str, ...]
) -> None:
    """A channel to which something cannot be done: whatever the publish says of it."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        paths: list[str | Path] = [] if calls == LINK else [*queues, "queue"]
        with traced(driver, fail(calls, "EIO"), paths=paths) as trace, suppress(Rejected):
            driver.publish("a", b"x")
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no call that it could make fail")
        assert os.listdir(base.tmp) == [], f"left after an error:\n{base.tree()}"


@pytest.mark.requirement("PUB-3", role="publisher")
def test_a_file_with_too_many_links(driver: Driver, base: Base) -> None:
    """EMLINK: another copy is staged, and every channel gets the message."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "EMLINK", 2)) as trace:
            count = driver.publish("a", b"x")
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no link that it could make fail")
        assert count == 3, "all three channels had room"
        contents = [[message.content for message in each.fetch_all()] for each in channels]
        assert contents == [[b"x"]] * 3, f"each channel is to yield it once, found {contents}"
        nothing_left(base, "a file had too many links")


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_staged_file_is_left(driver: Driver, base: Base) -> None:
    """Whoever got the message: nobody, because none matches, reads, or has room; one; all."""

    def nothing_is_left(after: str) -> None:
        assert not base.tmp.exists() or os.listdir(base.tmp) == [], f"staged still, after {after}"

    with suppress(Rejected):  # that it needs nobody to have made the base is PUB-17
        driver.publish("a")
    nothing_is_left("a publish in a base that was not there")
    with base.open("b"), base.open("a") as channel:
        driver.publish("c")
        nothing_is_left("a publish that no pattern matches")
        driver.publish("a")
        nothing_is_left("a publish to one channel")
        driver.publish("a", bytes(LARGE))
        nothing_is_left("a large message")
        channel.fetch_all()
        fill(channel.directory)
        driver.publish("a")
        nothing_is_left("a publish to a full queue")
        driver.publish("a", timeout=0.2)
        nothing_is_left("a publish that waited for a full queue")
        channel.stop_reading()
        driver.publish("a")
        nothing_is_left("a publish to a queue without a reader")


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_room_for_the_staged_file(driver: Driver, base: Base) -> None:
    """The file system is full: nothing is left of the attempt, and it is an error."""
    with base.open("a"):
        driver.publish("a")  # whatever it keeps of the base, it has now
        with traced(driver, fail(WRITE, "ENOSPC")) as trace:
            count = trace.begin(driver.publish, "a", bytes(LARGE))
            error = count.exception()
        failed = [call for call in trace.calls(*WRITE) if call.injected]
        if not failed or failed[0].descriptor is None or failed[0].descriptor.parent != base.tmp:
            not_run("the writing of the staged file could not be made to fail")
        assert os.listdir(base.tmp) == [], f"left of the attempt:\n{base.tree()}"
        assert isinstance(error, Rejected), f"expected io-error ENOSPC, found {error!r}"
        assert (error.code, error.errno) == ("io-error", "ENOSPC")


@pytest.mark.requirement("PUB-15", role="publisher")
def test_without_a_timeout_nothing_is_waited_for(driver: Driver, base: Base) -> None:
    """Full queues and queues that nobody reads end a publish at once."""
    with base.open("a") as channel:
        base.dead_channel("a", os.getpid())
        for held in ("room", "no room"):
            begin = time.monotonic()
            with answers(f"a publish to a queue without a reader, and one with {held}"):
                driver.publish("a")
            took = time.monotonic() - begin
            assert took < AT_ONCE_SECONDS, f"it took {took:.1f} s"
            channel.fetch_all()
            fill(channel.directory)


@pytest.mark.requirement("PUB-17", role="publisher")
def test_nobody_is_there(driver: Driver, base: Base) -> None:
    """No base, a base that vanished, no channel, none that matches: 0, and no error."""
    assert not base.path.exists()
    assert driver.publish("a", b"x") == 0, "nobody has made the base"
    assert driver.publish("a", b"x") == 0, "there is no channel"
    settle(driver, base, "a")
    with base.open("b"):
        assert driver.publish("a", b"x") == 0, "no channel matches"
        settle(driver, base, "a")
        assert driver.publish("a", b"x") == 0, "still no channel matches"
    base.tmp.rmdir()
    assert driver.publish("b", b"x") == 0, "tmp vanished"
    for entry in base.path.iterdir():
        entry.rmdir()
    base.path.rmdir()
    assert driver.publish("b", b"x") == 0, "the base vanished"
