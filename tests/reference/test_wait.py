"""Waiting for the messages of several channels."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from conftest import needs_inline

from pubsub import Channel, ChannelClosed, ChannelLost, fetch, publish, wait

LONG = 30.0  # seconds that no test takes


@pytest.fixture
def channels() -> Iterator[list[Channel]]:
    """Open channels for a, b and c."""
    with ExitStack() as stack:
        yield [stack.enter_context(Channel(pattern)) for pattern in "abc"]


def test_it_returns_those_that_have_messages(channels: list[Channel]) -> None:
    assert wait(channels, 0) == []
    publish("c", b"")
    publish("a", b"")
    assert wait(channels) == [channels[0], channels[2]]
    assert wait(reversed(channels)) == [channels[2], channels[0]]
    assert fetch(channels[0])
    assert wait((channels[2], channels[2]), LONG) == [channels[2]]


def test_a_message_ends_the_wait(channels: list[Channel]) -> None:
    publisher = threading.Timer(0.05, publish, ["b", b"late"])
    publisher.start()
    assert wait(channels, LONG) == [channels[1]]
    publisher.join()


def test_its_time_is_over(channels: list[Channel]) -> None:
    begin = time.monotonic()
    assert wait(channels, 0.02) == []
    assert time.monotonic() - begin >= 0.02


@needs_inline
def test_what_is_in_hand_ends_the_wait(channels: list[Channel]) -> None:  # INLINE-20, FETCH-21
    with Channel("d", inline=True) as inline:
        publish("d", b"1")
        publish("d", b"2")
        assert fetch(inline)
        publish("b", b"")
        assert wait([*channels, inline], LONG) == [channels[1], inline]
        assert wait([inline], LONG) == [inline]


@needs_inline
def test_what_another_thread_has_in_hand_ends_the_wait(channels: list[Channel]) -> None:
    with Channel("d", inline=True) as inline:
        got: list[list[Channel]] = []
        waiter = threading.Thread(target=lambda: got.append(wait([*channels, inline], LONG)))
        waiter.start()
        while not inline._waiters:
            pass
        with inline._lock:  # the thread that waits cannot fetch: only this one reads the batch
            publish("d", b"1")
            publish("d", b"2")
            assert fetch(inline)
        waiter.join()
        assert got == [[inline]]


@pytest.mark.parametrize("closed", [0, 2])
def test_closing_one_ends_the_wait(channels: list[Channel], closed: int) -> None:
    closer = threading.Timer(0.05, channels[closed].close)
    closer.start()
    with pytest.raises(ChannelClosed, match=repr(channels[closed].topic)):
        wait(channels, LONG)
    closer.join()
    with pytest.raises(ChannelClosed):
        wait(channels)
    assert not any(channel._waiters for channel in channels)


def test_a_signal_handler_that_closes_all_ends_the_wait(channels: list[Channel]) -> None:
    paths = [channel.directory_path for channel in channels]

    def close_all(*_: object) -> None:
        for channel in channels:
            channel.close()
        assert paths[0].exists()  # it is in use

    before = signal.signal(signal.SIGALRM, close_all)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(ChannelClosed):
        wait(channels, LONG)
    signal.signal(signal.SIGALRM, before)
    assert not any(path.exists() for path in paths)


def test_a_lost_channel_ends_the_wait_though_others_have_messages(
    channels: list[Channel],
) -> None:  # FETCH-14
    shutil.rmtree(channels[1].directory_path)
    publish("a", b"")
    with pytest.raises(ChannelLost) as caught:
        list(iter(partial(wait, channels), []))  # there is always one
    assert caught.value.filename == str(channels[1].directory_path)
    assert wait([channels[0], channels[2]]) == [channels[0]]
    channels[1].close()


def test_a_lost_channel_ends_a_wait_for_nothing(channels: list[Channel]) -> None:
    shutil.rmtree(channels[1].directory_path)
    with pytest.raises(ChannelLost):
        wait(channels)
    channels[1].close()


@pytest.mark.parametrize("several", ["abc", [None], 5, Channel("a")])
def test_what_is_no_list_of_channels_is_refused(several: Any) -> None:
    with pytest.raises(TypeError):
        wait(several, 0)


def test_no_channels_and_no_time_are_refused(channels: list[Channel]) -> None:
    with pytest.raises(ValueError, match="channels"):
        wait([])
    with pytest.raises(TypeError, match="timeout_seconds"):
        wait(channels, "1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout_seconds"):
        wait(channels, float("nan"))
