"""Waiting for a message, and channels that are lost meanwhile."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import refuses

from .support import (
    DELAY_SECONDS,
    IDLE_PROCESSOR_SECONDS,
    IDLE_SECONDS,
    IDLE_WAKE_UPS,
    LOST_SECONDS,
    expect_message,
)


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_wait_burns_no_processor_time(driver: Driver) -> None:
    """A wait sleeps in the kernel until something comes: no busy loop, and no short naps."""
    if not Path(f"/proc/{driver.pid}/stat").exists():
        not_run("this system does not show the processor time of another process")
    channel = driver.open("a")
    assert not driver.wait(channel, 0), "the queue is empty, but the wait is ready"
    time_before, wake_ups_before = _processor_seconds(driver.pid), _wake_ups(driver.pid)
    begin = time.monotonic()
    ready = driver.wait(channel, IDLE_SECONDS)
    took = time.monotonic() - begin
    used = _processor_seconds(driver.pid) - time_before
    wake_ups = _wake_ups(driver.pid) - wake_ups_before
    assert not ready, "the queue is empty, but the wait is ready"
    assert took > IDLE_SECONDS * 0.9, f"a wait of {IDLE_SECONDS:g} s ended after {took:.2f} s"
    assert used < IDLE_PROCESSOR_SECONDS, (
        f"a wait of {IDLE_SECONDS:g} s on an empty queue took {used:.2f} s of processor time"
    )
    assert wake_ups < IDLE_WAKE_UPS, (
        f"a wait of {IDLE_SECONDS:g} s on an empty queue woke up {wake_ups} times: it looks at the"
        " queue again and again, instead of waiting in the kernel"
    )


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


def _wake_ups(pid: int) -> int:
    """How often the threads of a process went to sleep of their own will."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


@contextmanager
def _waiting(driver: Driver, channel: OpenChannel, timeout: float) -> Iterator[Future[bool]]:
    """A wait on an empty queue that goes on while the test does."""
    with ThreadPoolExecutor(1) as thread:
        wait = thread.submit(driver.wait, channel, timeout)
        concurrent.futures.wait([wait], 0.1)
        if wait.done():
            pytest.fail(f"a wait of {timeout:g} s on an empty queue ended at once: {wait}")
        yield wait


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_message_ends_a_wait_without_delay(driver: Driver, base: Base) -> None:
    """A message ends a wait at once, measured against a wait of 0 seconds."""
    channel = driver.open("a")
    requests, delays = [], []
    for _ in range(11):
        begin = time.monotonic()
        assert not driver.wait(channel, 0)
        requests.append(time.monotonic() - begin)
        with _waiting(driver, channel, 8) as wait:
            sent = base.publish("a")
            published = time.monotonic()
            assert wait.result(), "a message came, but the wait was not ready"
            delays.append(time.monotonic() - published)
        expect_message(driver, channel, sent, "the message that ended the wait")
    delay, request = statistics.median(delays), statistics.median(requests)
    assert delay < DELAY_SECONDS + 5 * request, (
        f"a message ended a wait {1000 * delay:.0f} ms after it was published (the median of"
        f" {len(delays)}); a wait of 0 s takes {1000 * request:.0f} ms"
    )


def _remove_channel(channel: OpenChannel, _: Base) -> None:
    shutil.rmtree(channel.directory)


def _remove_queue(channel: OpenChannel, _: Base) -> None:
    (channel.directory / "queue").unlink()


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
    [_remove_channel, _remove_queue, _rename_base, _replace_channel],
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
