"""Waiting for a message, and channels that are lost meanwhile."""

from __future__ import annotations

import concurrent.futures
import os
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.driver.group import running
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import refuses

from .support import (
    ASLEEP_SECONDS,
    DELAY_SECONDS,
    LOST_SECONDS,
    PART_SECONDS,
    PROCESSOR_SECONDS,
    WAKE_UPS,
    WATCHED_SECONDS,
    expect_message,
)

pytestmark = pytest.mark.timing


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_wait_burns_no_processor_time(driver: Driver) -> None:
    """A wait sleeps in the kernel until something comes: no busy loop, and no short naps."""
    if not Path(f"/proc/{driver.pid}/task/{driver.pid}/schedstat").exists():
        not_run("this system does not show when the threads of another process run")
    # Threads of a run time may be busy while the driver has nothing to do.
    idle = [_uses(driver.pid) for _ in range(2)]
    busy = {thread for thread in idle[0] if all(use.get(thread, NOTHING).is_much for use in idle)}
    channel = driver.open("a")
    parts: list[list[_Use]] = []
    begin = time.monotonic()
    with _waiting(driver, channel, WATCHED_SECONDS) as wait:
        while not wait.done():
            uses = _uses(driver.pid)
            if not wait.done():
                parts.append([use for thread, use in uses.items() if thread not in busy])
        assert not wait.result(), "the queue is empty, but the wait is ready"
    took = time.monotonic() - begin
    assert took > WATCHED_SECONDS * 0.9, f"a wait of {WATCHED_SECONDS:g} s took {took:.2f} s"
    if not parts:
        not_run(f"this machine is too busy to watch a wait of {WATCHED_SECONDS:g} s")
    # A run time may work at the start of a wait (Go's monitor wakes up sixty times).
    seconds = min(sum(use.seconds for use in part) for part in parts)
    wake_ups = min(sum(use.wake_ups for use in part) for part in parts)
    where = f"in the quietest {PART_SECONDS:g} s of a wait of {WATCHED_SECONDS:g} s"
    assert seconds < PROCESSOR_SECONDS, (
        f"{where} on an empty queue, the driver's threads wanted to run for {seconds:.2f} s"
    )
    assert wake_ups < WAKE_UPS, (
        f"{where} on an empty queue, the driver's threads woke up {wake_ups} times: it looks at the"
        " queue again and again, instead of waiting in the kernel"
    )


class _Use(NamedTuple):
    """How much of the machine a thread used."""

    seconds: float
    """For how long it ran, or would have run if other programs had let it."""
    wake_ups: int
    """How often it went to sleep of its own will."""

    @property
    def is_much(self) -> bool:
        """Whether it is too much for PART_SECONDS of a wait."""
        return self.seconds >= PROCESSOR_SECONDS or self.wake_ups >= WAKE_UPS


NOTHING = _Use(0, 0)


def _uses(group: int) -> dict[int, _Use]:
    """What each thread of a driver's processes uses in the next PART_SECONDS."""
    before = dict(_used(group))
    time.sleep(PART_SECONDS)
    return {
        thread: _Use(
            used.seconds - before.get(thread, NOTHING).seconds,
            used.wake_ups - before.get(thread, NOTHING).wake_ups,
        )
        for thread, used in _used(group)
    }


def _used(group: int) -> Iterator[tuple[int, _Use]]:
    """What each thread has used since its start."""
    for process in running(group):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):  # it has just ended
                ran, waited, _ = map(int, (thread / "schedstat").read_text().split())
                status = (thread / "status").read_text()
                switches = re.findall(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.MULTILINE)
                yield int(thread.name), _Use((ran + waited) / 1e9, int(switches[0]))


@contextmanager
def _waiting(driver: Driver, channel: OpenChannel, timeout: float) -> Iterator[Future[bool]]:
    """A wait on an empty queue that goes on while the test does."""
    with ThreadPoolExecutor(1) as thread:
        wait = thread.submit(driver.wait, channel, timeout)
        concurrent.futures.wait([wait], ASLEEP_SECONDS)
        if wait.done():
            pytest.fail(f"a wait of {timeout:g} s on an empty queue ended at once: {wait}")
        yield wait


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_message_ends_a_wait_without_delay(driver: Driver, base: Base) -> None:
    """A message ends a wait at once, measured against a wait of 0 seconds.

    Both wake a driver that has slept for as long: a busy machine takes its time for that.
    """
    channel = driver.open("a")
    requests, delays, ended = [], [], []
    for _ in range(11):
        time.sleep(ASLEEP_SECONDS)
        begin = time.monotonic()
        assert not driver.wait(channel, 0)
        requests.append(time.monotonic() - begin)
        with _waiting(driver, channel, 8) as wait:
            wait.add_done_callback(lambda _: ended.append(time.monotonic()))
            sent = base.publish("a")
            published = time.monotonic()
            assert wait.result(), "a message came, but the wait was not ready"
        delays.append(ended[-1] - published)
        expect_message(driver, channel, sent, "the message that ended the wait")
    delay, request = statistics.median(delays), max(requests)
    assert delay < DELAY_SECONDS + 2 * request, (
        f"a message ended a wait {1000 * delay:.0f} ms after it was published (the median of"
        f" {len(delays)}); a wait of 0 s took {1000 * request:.0f} ms at most"
    )


def _remove_channel(channel: OpenChannel, _: Base) -> None:
    shutil.rmtree(channel.directory)


def _remove_queue(channel: OpenChannel, _: Base) -> None:
    (channel.directory / "queue").unlink()


def _link_to_the_queue(channel: OpenChannel, base: Base) -> None:
    queue = channel.directory / "queue"
    queue.symlink_to(queue.rename(base.path.with_name("queue")))


def _rename_base(_: OpenChannel, base: Base) -> None:
    base.path.rename(base.path.with_name("elsewhere"))


def _replace_channel(channel: OpenChannel, base: Base) -> None:
    channel.directory.rename(base.path / "elsewhere")
    channel.directory.mkdir(0o700)
    os.mkfifo(channel.directory / "queue", 0o600)


@pytest.mark.requirement("FETCH-20", role="subscriber")
def test_a_fetch_reports_that_the_channel_is_lost(driver: Driver, base: Base) -> None:
    """Fetches from an empty channel whose directory is gone soon fail as channel-lost."""
    channel = driver.open("a")
    assert driver.fetch(channel) is None, "no message was published"
    _remove_channel(channel, base)
    deadline = time.monotonic() + LOST_SECONDS
    with refuses("channel-lost", what=f"fetching for {LOST_SECONDS} s from a channel that is gone"):
        while time.monotonic() < deadline:
            assert driver.fetch(channel) is None
            time.sleep(0.05)


@pytest.mark.requirement("FETCH-14", role="subscriber")
@pytest.mark.parametrize(
    "lose",
    [_remove_channel, _remove_queue, _link_to_the_queue, _rename_base, _replace_channel],
    ids=lambda lose: lose.__name__.strip("_").replace("_", " "),
)
def test_a_wait_ends_when_the_channel_is_lost(
    driver: Driver, base: Base, lose: Callable[[OpenChannel, Base], None]
) -> None:
    """A wait fails as channel-lost soon after the queue is gone from its place."""
    channel = driver.open("a")
    sent = base.publish("a", b"while it is there")
    assert driver.wait(channel, 8), "a message is in the queue, but the wait is not ready"
    expect_message(driver, channel, sent, "before the channel is lost")
    with _waiting(driver, channel, 2 * LOST_SECONDS) as wait:
        lose(channel, base)
        begin = time.monotonic()
        with refuses("channel-lost", what=f"a wait during: {lose.__name__.strip('_')}"):
            wait.result()
        took = time.monotonic() - begin
    assert took < LOST_SECONDS, (
        f"channel-lost came {took:.1f} s after the queue was gone from its place; the owner has to"
        " look at least once a second"
    )
