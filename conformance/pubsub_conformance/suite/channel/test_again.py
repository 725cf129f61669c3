"""Again and again: an opening that has to start again, a removal that meets late links."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import (
    MAKE_FIFO,
    RENAME,
    UNLINK,
    Request,
    Trace,
    fail,
    stop,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import fresh_id
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import refuses
from pubsub_conformance.waiting import until

from .support import check_sound

pytestmark = pytest.mark.timing

ENDS_SECONDS = 20.0
"""How long an operation may take to give up."""

TIMES = (3, 10)
"""How often something happens in one operation."""

again = pytest.mark.parametrize("times", TIMES)


@pytest.mark.requirement("CHAN-12", role="subscriber")
@again
def test_a_channel_vanishes_after_each_rename(driver: Driver, base: Base, times: int) -> None:
    """If the channel vanishes right after the rename, ten times, the owner starts again each time,
    and its channel receives."""
    base.make()
    with traced(driver, stop(RENAME, None)) as trace:
        opened = trace.begin(driver.open, "a")
        gone = 0
        for _ in trace.stops():
            for visible in base.channels():
                shutil.rmtree(visible)
                gone += 1
            if gone == times:
                break
        assert gone == times, f"the channel vanished {gone} times, and the opening ended"
        trace.go_on()
        channel = opened.result()
    check_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-11", role="subscriber")
@again
@pytest.mark.parametrize("what", ["the directory", "tmp", "the base"])
def test_what_is_made_vanishes_again_and_again(
    driver: Driver, base: Base, what: str, times: int
) -> None:
    """If the directory, `tmp` or the base vanishes after the queue was made, ten times, the owner
    starts again each time, and its channel receives."""
    base.make()
    with traced(driver, stop(MAKE_FIFO, None)) as trace:
        opened = trace.begin(driver.open, "a")
        gone = 0
        for _ in trace.stops():
            for made in [*base.tmp.iterdir()]:
                shutil.rmtree(made)
            if what != "the directory":
                shutil.rmtree(base.tmp if what == "tmp" else base.path)
            gone += 1
            if gone == times:
                break
        if gone < times:
            not_run(f"the making of the queue was seen {gone} times, not {times}")
        trace.go_on()
        channel = opened.result()
    check_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-11", "CHAN-21", role="subscriber")
def test_what_is_made_vanishes_for_ever(driver: Driver, base: Base) -> None:
    """If the directory that an opening makes vanishes each time, the opening ends with io-error,
    and leaves nothing."""
    base.make()
    with traced(driver, fail(RENAME, "ENOENT", None)) as trace:
        opening = trace.begin(driver.open, "a")
        ended = until(opening.done, ENDS_SECONDS)
    if not any(call.injected for call in trace.calls(*RENAME)):
        not_run("no rename was seen that could be made to fail")
    assert ended, "an opening whose directory vanishes each time goes on for ever"
    with refuses("io-error", what="an opening whose directory vanishes each time"):
        opening.result()
    assert base.leftovers() == [], f"something is left of the opening:\n{base.tree()}"


def _link_late(trace: Trace, base: Base, request: Request[None], times: int) -> None:
    """After each removal in a claimed directory, put a file there, so many times."""
    put = 0
    for call in trace.stops():
        for directory in _claimed(base, call.paths):
            (directory / str(fresh_id())).write_bytes(b"late")
            put += 1
            if put == times:
                break
        if put == times:
            break
    if put == 0:
        not_run("no removal in the claimed directory was seen")
    if put == times:  # otherwise the removal has ended before, and has left the last one
        trace.go_on()
    request.result()


def _claimed(base: Base, paths: list[Path] | tuple[Path, ...]) -> list[Path]:
    """The directory of `tmp` that these paths, of a call, are in."""
    return [path.parent for path in paths if path.parent.parent == base.tmp][:1]


@pytest.mark.requirement("CHAN-17", role="subscriber")
@again
def test_late_links_again_and_again(driver: Driver, base: Base, times: int) -> None:
    """If a publisher links ten times into a channel that is being closed, each time after
    something was removed, closing goes on until the directory is gone."""
    channel = driver.open("a")
    base.publish("a", b"unread")
    with traced(driver, stop(UNLINK, None)) as trace:
        _link_late(trace, base, trace.begin(driver.close_channel, channel), times)
    assert base.leftovers() == [], f"something is left after closing:\n{base.tree()}"


@pytest.mark.requirement("CHAN-17", role="reaper")
@again
def test_late_links_into_a_dead_channel(driver: Driver, base: Base, times: int) -> None:
    """If a publisher links ten times into a channel that is being reaped, each time after
    something was removed, the reaper goes on until the directory is gone."""
    left = base.dead_channel("a", dead_pid())
    (left / str(fresh_id())).write_bytes(b"unread")
    with traced(driver, stop(UNLINK, None)) as trace:
        _link_late(trace, base, trace.begin(driver.reap), times)
    assert base.leftovers() == [], f"something is left after reaping:\n{base.tree()}"


@pytest.mark.requirement("CHAN-14", "CHAN-1", "BASE-13", role="subscriber")
def test_opening_and_closing_again_and_again(driver: Driver, base: Base) -> None:
    """Ten times, one channel after the other and several at once: each receives, has a name of
    its own, and leaves nothing; the base is made again each time."""
    names = set()
    for number in range(10):
        channels = [driver.open("a") for _ in range(number % 3 + 1)]
        names |= {channel.directory.name for channel in channels}
        message = base.publish("a", b"%d" % number)
        for channel in channels:
            found = driver.fetch(channel)
            assert found == message, f"expected {message}, found {found}"
            driver.close_channel(channel)
        assert base.leftovers() == [], f"something is left after closing:\n{base.tree()}"
        shutil.rmtree(base.path)
    assert len(names) == 19, f"19 channels had {len(names)} different names"
