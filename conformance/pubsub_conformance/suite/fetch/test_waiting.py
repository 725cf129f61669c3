"""Waiting for a message, and a channel that is lost meanwhile."""

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
    _expect,
)


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_wait_burns_no_processor_time(driver: Driver) -> None:
    """While nothing comes, the driver sleeps in the kernel: neither a loop nor many short naps."""
    if not Path(f"/proc/{driver.pid}/stat").exists():
        not_run("this system does not show what another process uses")
    channel = driver.open("a")
    assert not driver.wait(channel, 0), "the queue is empty, and the driver calls it ready"
    time_before, wake_ups_before = _processor_seconds(driver.pid), _wake_ups(driver.pid)
    begin = time.monotonic()
    ready = driver.wait(channel, IDLE_SECONDS)
    took = time.monotonic() - begin
    used = _processor_seconds(driver.pid) - time_before
    wake_ups = _wake_ups(driver.pid) - wake_ups_before
    assert not ready, "the queue is empty, and the driver calls it ready"
    assert took > IDLE_SECONDS * 0.9, f"a wait of {IDLE_SECONDS:g} s was over after {took:.2f} s"
    assert used < IDLE_PROCESSOR_SECONDS, (
        f"a wait of {IDLE_SECONDS:g} s for nothing took {used:.2f} s of processor time"
    )
    assert wake_ups < IDLE_WAKE_UPS, (
        f"a wait of {IDLE_SECONDS:g} s for nothing woke up {wake_ups} times: it does not wait in"
        " the kernel for the queue, it looks at it again and again"
    )


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime


def _wake_ups(pid: int) -> int:
    """How often its threads went to sleep of their own will."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


@contextmanager
def _waiting(driver: Driver, channel: OpenChannel, timeout: float) -> Iterator[Future[bool]]:
    """A wait that goes on meanwhile; the queue must be empty."""
    with ThreadPoolExecutor(1) as thread:
        wait = thread.submit(driver.wait, channel, timeout)
        concurrent.futures.wait([wait], 0.1)
        if wait.done():
            pytest.fail(f"a wait of {timeout:g} s on an empty queue was over at once: {wait}")
        yield wait


@pytest.mark.requirement("FETCH-13", role="subscriber")
def test_a_message_ends_a_wait_without_delay(driver: Driver, base: Base) -> None:
    """The kernel wakes the waiter: no nap has to end first. (Measured against an empty request.)"""
    channel = driver.open("a")
    requests, delays = [], []
    for _ in range(11):
        begin = time.monotonic()
        assert not driver.wait(channel, 0)
        requests.append(time.monotonic() - begin)
        with _waiting(driver, channel, 8) as wait:
            sent = base.publish("a")
            published = time.monotonic()
            assert wait.result(), "a message came, and the wait ended as if there were none"
            delays.append(time.monotonic() - published)
        _expect(driver, channel, sent, "what a wait was ready for")
    delay, request = statistics.median(delays), statistics.median(requests)
    assert delay < DELAY_SECONDS + 5 * request, (
        f"a message ended a wait {1000 * delay:.0f} ms after it had been published (the median of"
        f" {len(delays)}), where a request takes {1000 * request:.0f} ms: the wait adds a delay"
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
def test_a_fetch_tells_that_the_channel_is_lost(driver: Driver, base: Base) -> None:
    """An owner that never waits in the implementation learns of the loss by fetching."""
    channel = driver.open("a")
    assert driver.fetch(channel) is None, "nothing was published"
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
    """Nobody can write to the queue any more, and nothing but a look at the disk tells so."""
    channel = driver.open("a")
    sent = base.publish("a", b"while it is there")
    assert driver.wait(channel, 8), "a message is there, and the wait is not ready"
    _expect(driver, channel, sent, "while the channel is there")
    with _waiting(driver, channel, 2 * LOST_SECONDS) as wait:
        lose(channel, base)
        begin = time.monotonic()
        with refuses("channel-lost", what=f"a wait during: {lose.__name__.strip('_')}"):
            wait.result()
        took = time.monotonic() - begin
    assert took < LOST_SECONDS, (
        f"channel-lost came {took:.1f} s after the queue had gone from its path; the owner has to"
        " look at least once a second"
    )
