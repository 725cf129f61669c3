"""Getting one message, and iterating over all."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import needs_inline
from pubsub_conformance.oracle.base import put

from pubsub import Channel, ChannelClosed, ChannelLost, InvalidMessage, fetch, publish

LONG = 30.0  # seconds that no test takes


def test_it_waits_for_a_message() -> None:
    with Channel("a") as channel:
        publisher = threading.Timer(0.05, publish, ["a", b"late"])
        publisher.start()
        message = channel.get()
        publisher.join()
    assert message is not None
    assert message.content == b"late"


@pytest.mark.parametrize("seconds", [0, 0.01, -1])
def test_none_says_that_the_time_is_over(seconds: float) -> None:
    with Channel("a") as channel:
        begin = time.monotonic()
        assert channel.get(seconds) is None
        assert time.monotonic() - begin >= seconds
        publish("a", b"1")
        message = channel.get(seconds)
        assert message is not None


@needs_inline
def test_it_takes_what_is_in_hand() -> None:
    with Channel("a", inline=True) as channel:
        for n in range(3):
            publish("a", b"%d" % n)
        messages = [channel.get(0) for _ in range(4)]
    assert [message and message.content for message in messages] == [b"0", b"1", b"2", None]


@pytest.mark.parametrize("seconds", ["1", b"1", []])
@pytest.mark.parametrize("method", ["get", "wait"])
def test_a_time_of_a_wrong_type_is_refused(method: str, seconds: Any) -> None:
    with Channel("a") as channel:
        with pytest.raises(TypeError, match="timeout_seconds"):
            getattr(channel, method)(seconds)
        with pytest.raises(ValueError, match="timeout_seconds"):
            getattr(channel, method)(float("nan"))


def test_a_channel_that_is_closed_has_no_next_message() -> None:
    channel = Channel("a")
    with pytest.raises(ChannelClosed):
        channel.get()
    with pytest.raises(ChannelClosed):
        iter(channel)


def test_closing_it_elsewhere_ends_a_get() -> None:
    channel = Channel("a")
    channel.open()
    closer = threading.Timer(0.05, channel.close)
    closer.start()
    with pytest.raises(ChannelClosed):
        channel.get(LONG)
    closer.join()


def test_a_loop_ends_when_its_body_closes_the_channel() -> None:
    channel = Channel("a")
    channel.open()
    for content in (b"1", b"2", b"unread"):
        publish("a", content)
    got = []
    for message in channel:
        got.append(message.content)
        if len(got) == 2:
            channel.close()
    assert got == [b"1", b"2"]


def test_a_loop_ends_when_another_thread_closes_the_channel() -> None:
    channel = Channel("a")
    channel.open()
    publish("a", b"1")
    closer = threading.Timer(0.05, channel.close)
    closer.start()
    assert [message.content for message in channel] == [b"1"]
    closer.join()


def test_loops_of_several_threads_share_the_messages() -> None:
    channel = Channel("a")
    channel.open()
    got: list[bytes] = []

    def loop() -> None:
        for message in channel:
            got.append(message.content)
            if len(got) == 100:
                channel.close()

    threads = [threading.Thread(target=loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(100):
        publish("a", b"%d" % n)
    for thread in threads:
        thread.join()
    assert sorted(map(int, got)) == [*range(100)]


def test_what_is_no_message_ends_a_loop_and_a_new_one_goes_on() -> None:
    with Channel("a") as channel:
        publish("a", b"1")
        put(channel.directory_path, b"no message")
        publish("a", b"2")
        messages = iter(channel)
        assert next(messages).content == b"1"
        with pytest.raises(InvalidMessage):
            next(messages)
        assert next(iter(channel)).content == b"2"


def test_a_loop_that_is_left_leaves_the_rest() -> None:
    with Channel("a") as channel:
        publish("a", b"1")
        publish("a", b"2")
        for message in channel:
            assert message.content == b"1"
            break
        rest = fetch(channel)
    assert rest is not None
    assert rest.content == b"2"


def test_a_lost_channel_ends_a_get_and_a_loop(home: Path) -> None:  # FETCH-14
    channel = Channel("a")
    channel.open()
    shutil.rmtree(home)
    with pytest.raises(ChannelLost):
        channel.get(LONG)
    with pytest.raises(ChannelLost):
        next(iter(channel))
    for _ in range(2):  # each time, and not only when it is time to look
        with pytest.raises(ChannelLost, match="close the channel, and open it again"):
            fetch(channel)
    channel.close()
    with channel:
        assert publish("a", b"") == 1
