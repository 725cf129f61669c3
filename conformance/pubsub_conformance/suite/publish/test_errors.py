"""Errors while publishing: nothing is left, other channels get the message, the count is right."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, DriverError, Rejected
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
from pubsub_conformance.suite.roles import settle
from pubsub_conformance.suite.scenes import close_off, start_without_privileges

from .support import (
    AT_ONCE_SECONDS,
    LARGE,
    check_each_yields,
    nothing_left,
    several,
)

pytestmark = pytest.mark.timing


@pytest.mark.requirement("PUB-12", role="publisher")
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_cleaner_took_the_staged_file(driver: Driver, base: Base, nth: int) -> None:
    """If a link fails because the *staged* file is gone, the message is staged again, and every
    channel gets it."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "ENOENT", nth, then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            for staged in base.tmp.iterdir():
                staged.unlink()
            trace.go_on()
            assert count.result() == 3, "all three channels were open the whole time"
        check_each_yields(channels, b"x")
        nothing_left(base, "the staged file was removed")


@pytest.mark.requirement("PUB-12", role="publisher")
def test_a_cleaner_took_tmp(driver: Driver, base: Base) -> None:
    """If a link fails because `tmp` is gone with the staged file, the message is staged again, and
    every channel gets it."""
    with several(base, 2) as channels:
        with traced(driver, fail(LINK, "ENOENT", then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            for staged in base.tmp.iterdir():
                staged.unlink()
            base.tmp.rmdir()
            trace.go_on()
            assert count.result() == 2, "both channels were open the whole time"
        check_each_yields(channels, b"x")
        nothing_left(base, "tmp was removed")


@pytest.mark.requirement("PUB-12", role="publisher")
def test_a_channel_that_closes_before_the_link(driver: Driver, base: Base) -> None:
    """If a link fails because the *channel* is gone, the channel is passed over without an
    error."""
    base.make()
    linked, count = _publish_to_a_closing_channel(driver, base)
    if linked:
        not_run("the message was linked before the queue was opened")
    assert count == 0, "the channel was closed before the link"


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_staged_file_is_left_by_a_channel_that_closes(driver: Driver, base: Base) -> None:
    """If a link fails because the channel is gone, no staged file is left."""
    base.make()
    _publish_to_a_closing_channel(driver, base)
    left = os.listdir(base.tmp)
    assert left == [], f"a file is left in tmp after the channel was closed before the link: {left}"


def _publish_to_a_closing_channel(driver: Driver, base: Base) -> tuple[bool, int]:
    """Publish while the channel closes. Returns whether a link came first, and the count."""
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
    """If the link into one of three channels fails, the others get the message, and the error is
    reported."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, errno)) as trace:
            _check_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["EIO", "ENOSPC"])
def test_a_write_to_the_queue_that_fails(driver: Driver, base: Base, errno: str) -> None:
    """If the write to one of three queues fails, the others get the message, and the error is
    reported."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        with traced(driver, fail(WRITE, errno), paths=queues) as trace:
            _check_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
@pytest.mark.parametrize("errno", ["EACCES", "EMFILE", "ENFILE", "ENOMEM"])
def test_a_queue_that_cannot_be_opened(driver: Driver, base: Base, errno: str) -> None:
    """If one of three queues cannot be opened, the others get the message, and the error is
    reported: the channel may be alive."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        with traced(driver, fail(OPEN, errno), paths=[*queues, "queue"]) as trace:
            _check_reported(driver, errno, 2, trace)
        got = sorted(len(channel.fetch_all()) for channel in channels)
        assert got == [0, 1, 1], f"messages in the three channels: {got}"


@pytest.mark.requirement("PUB-13", role="publisher")
def test_a_missing_queue_that_cannot_be_looked_at(driver: Driver, base: Base) -> None:
    """If a queue does not exist, a publish reports no error, or the error of a later look at it."""
    queue = base.dead_channel("a", os.getpid(), queue=False) / "queue"
    with traced(driver, fail(LOOK, "EIO"), paths=[queue, "queue"]):
        try:
            found: object = driver.publish("a", b"x")
        except Rejected as error:
            found = (error.code, error.errno, error.count)
    assert found in (0, ("io-error", "EIO", 0)), f"expected 0 or io-error EIO, found {found}"


def _check_reported(driver: Driver, errno: str, count: int, trace: Trace) -> None:
    """A publish in which one of `count` + 1 channels fails has to report error and count."""
    try:
        found = driver.publish("a", b"x")
    except Rejected as rejected:
        error = rejected
    else:
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no call that it could make fail")
        pytest.fail(f"expected io-error {errno} for one channel, found the count {found}")
    assert (error.code, error.errno) == ("io-error", errno), (
        f"expected io-error {errno}, found {error}"
    )
    assert error.count == count, f"{count} queues took the id, the error's count is {error.count}"


@pytest.mark.requirement("PUB-13", role="publisher")
def test_a_channel_without_permission(start: Start, base: Base) -> None:
    """If one of three channels denies access (EACCES), the others get the message, and the error
    is reported."""
    driver = start_without_privileges(start)
    with several(base, 3) as channels:
        driver.publish("a")  # so that it has kept what it keeps of the base
        for channel in channels:
            channel.fetch_all()
        close_off(channels[1].directory, 0o555)
        with pytest.raises(Rejected) as refusal:
            driver.publish("a", b"x")
        channels[1].directory.chmod(0o700)
        error = refusal.value
        assert (error.code, error.errno, error.count) == ("io-error", "EACCES", 2)
        assert [len(channel.fetch_all()) for channel in channels] == [1, 0, 1]


@pytest.mark.requirement("PUB-14", role="publisher")
@pytest.mark.parametrize("calls", [LINK, WRITE, OPEN], ids=["link", "write", "open"])
def test_no_staged_file_is_left_by_an_error(
    driver: Driver, base: Base, calls: tuple[str, ...]
) -> None:
    """A publish leaves no staged file if a link, a write or an open of one channel fails."""
    with several(base, 3) as channels:
        queues = [channel.directory / "queue" for channel in channels]
        paths: list[str | Path] = [] if calls == LINK else [*queues, "queue"]
        with traced(driver, fail(calls, "EIO"), paths=paths) as trace, suppress(Rejected):
            driver.publish("a", b"x")
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no call that it could make fail")
        assert os.listdir(base.tmp) == [], f"a file is left in tmp after an error:\n{base.tree()}"


@pytest.mark.requirement("PUB-3", role="publisher")
def test_a_file_with_too_many_links(driver: Driver, base: Base) -> None:
    """If a link fails with EMLINK, another copy is staged, and every channel gets the message."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "EMLINK", 2)) as trace:
            count = driver.publish("a", b"x")
        if not any(call.injected for call in trace.calls()):
            not_run("strace saw no link that it could make fail")
        assert count == 3, "all three channels had room"
        check_each_yields(channels, b"x")
        nothing_left(base, "a file had too many links")


@pytest.mark.requirement("PUB-14", role="publisher")
def test_no_staged_file_is_left(driver: Driver, base: Base) -> None:
    """A publish leaves no staged file, whether channels match, have readers and room, or not."""

    def nothing_is_left(after: str) -> None:
        left = os.listdir(base.tmp) if base.tmp.exists() else []
        assert not left, f"a file is left in tmp after {after}: {left}"

    with suppress(Rejected):  # PUB-17 says that it succeeds without a base
        driver.publish("a")
    nothing_is_left("a publish without a base")
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
    """If a full file system has no room for the staged file, the publish fails and leaves
    nothing."""
    with base.open("a"):
        driver.publish("a")  # so that it has kept what it keeps of the base
        with traced(driver, fail(WRITE, "ENOSPC")) as trace:
            error: Exception | None = None
            try:
                driver.publish("a", bytes(LARGE))
            except (Rejected, DriverError) as found:
                error = found
        failed = [call for call in trace.calls(*WRITE) if call.injected]
        if not failed or failed[0].descriptor is None or failed[0].descriptor.parent != base.tmp:
            not_run("the writing of the staged file could not be made to fail")
        assert os.listdir(base.tmp) == [], f"a file is left in tmp after the error:\n{base.tree()}"
        assert isinstance(error, Rejected), f"expected io-error ENOSPC, found {error!r}"
        assert (error.code, error.errno) == ("io-error", "ENOSPC")


@pytest.mark.requirement("PUB-15", role="publisher")
def test_without_a_timeout_nothing_is_waited_for(driver: Driver, base: Base) -> None:
    """A publish without a timeout waits neither for a full queue nor for one without a reader."""
    with base.open("a") as channel:
        base.dead_channel("a", os.getpid())
        for held in ("room", "no room"):
            begin = time.monotonic()
            with answers(f"a publish to a queue without a reader and to one with {held}"):
                driver.publish("a")
            took = time.monotonic() - begin
            assert took < AT_ONCE_SECONDS, f"the publish took {took:.1f} s"
            channel.fetch_all()
            fill(channel.directory)


@pytest.mark.requirement("PUB-17", role="publisher")
def test_nobody_is_there(driver: Driver, base: Base) -> None:
    """A publish that no channel matches, with or without a base, has the count 0 and no error."""
    assert not base.path.exists()
    assert driver.publish("a", b"x") == 0, "the base did not exist"
    assert driver.publish("a", b"x") == 0, "the base has no channel"
    settle(driver, base, "a")
    with base.open("b"):
        assert driver.publish("a", b"x") == 0, "no channel matches"
        settle(driver, base, "a")
        assert driver.publish("a", b"x") == 0, "still no channel matches"
    shutil.rmtree(base.tmp)
    assert driver.publish("b", b"x") == 0, "tmp vanished"
    shutil.rmtree(base.path)
    assert driver.publish("b", b"x") == 0, "the base vanished"
