from __future__ import annotations

import functools
import logging
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import fresh_id
from pubsub_conformance.oracle.queue import enqueue

from pubsub import (
    Channel,
    ChannelClosed,
    ChannelLost,
    DamagedQueue,
    InvalidMessage,
    Message,
    fetch,
    publish,
    subscribe,
)


def test_it_ends_when_the_callback_closes_the_channel() -> None:
    got = []
    with Channel("a.+") as channel:
        for n in range(3):
            assert publish(f"a.{n}", b"") == 1

        def callback(message: Message) -> None:
            got.append(message.topic)
            if len(got) == 2:
                channel.close()
                assert not channel.directory_path.exists()

        assert subscribe(channel, callback) == 2
    assert got == ["a.0", "a.1"]


def test_it_ends_when_another_thread_closes_the_channel() -> None:
    counts = []
    first = threading.Event()
    channel = Channel("a")
    channel.open()
    thread = threading.Thread(
        target=lambda: counts.append(subscribe(channel, lambda message: first.set()))
    )
    thread.start()
    assert publish("a", b"") == 1
    assert first.wait(10)
    channel.close()
    thread.join()
    assert counts == [1]


def test_an_exception_of_the_callback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def callback(message: Message) -> None:
        if message.content == b"last":
            channel.close()
        raise LookupError(f"no use for {message.content!r}")

    with Channel("a") as channel:
        for content in (b"first", b"last"):
            assert publish("a", content) == 1
        assert subscribe(channel, callback) == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "Traceback" in caplog.text
    assert "LookupError: no use for b'first'" in caplog.text


def test_what_is_not_an_error_of_the_callback_ends_it() -> None:
    def callback(message: Message) -> None:
        raise KeyboardInterrupt

    with Channel("a") as channel:
        assert publish("a", b"") == 1
        with pytest.raises(KeyboardInterrupt):
            subscribe(channel, callback)


def test_what_is_not_a_message_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with Channel("a") as channel:
        id = fresh_id()
        put(channel.directory_path, b"not a message", name=str(id), enqueue=False)
        enqueue(channel.directory_path, id)
        assert publish("a", b"good") == 1
        enqueue(channel.directory_path, b"odd")
        got = []

        def callback(message: Message) -> None:
            got.append(message.content)

        count = 0
        while len(caplog.messages) < 2:
            count += subscribe(channel, callback, timeout_seconds=0.01)
        assert count == 1
        assert got == [b"good"]
        invalid, damaged = caplog.messages
        assert str(channel.directory_path / str(id)) in invalid
        assert "3 octets" in damaged


def test_its_time_is_over_though_messages_never_end() -> None:
    with Channel("a") as channel:
        publish("a", b"")
        begin = time.monotonic()
        # Each message is answered by the next one.
        count = subscribe(channel, lambda message: publish("a", b""), timeout_seconds=0.2)
        assert time.monotonic() - begin >= 0.2
        assert count > 1


def test_its_time_is_over_though_no_message_comes() -> None:
    with Channel("a") as channel:
        begin = time.monotonic()
        assert subscribe(channel, print, timeout_seconds=0.2) == 0
        assert time.monotonic() - begin >= 0.2


def test_a_negative_time_is_refused() -> None:
    with Channel("a") as channel, pytest.raises(ValueError, match="non-negative"):
        subscribe(channel, print, timeout_seconds=-0.1)


def test_it_ends_when_the_base_is_removed(home: Path) -> None:  # FETCH-14
    errors: list[OSError] = []
    first = threading.Event()

    def run() -> None:
        try:
            subscribe(channel, lambda message: first.set())
        except OSError as error:
            errors.append(error)

    with Channel("a") as channel:
        thread = threading.Thread(target=run)
        thread.start()
        publish("a", b"")
        assert first.wait(10)
        shutil.rmtree(home)
        thread.join()
        (error,) = errors
        assert isinstance(error, ChannelLost)
        assert error.filename == str(channel.directory_path)
    assert not home.exists()


def test_it_touches_no_signal_handler() -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in signal.valid_signals()]

    before = handlers()
    during = []
    with Channel("a") as channel:
        publish("a", b"")
        subscribe(channel, lambda message: during.append(handlers()), timeout_seconds=0.01)
    assert [before] == during == [handlers()]


def test_it_yields_to_a_wait_that_was_interrupted_by_its_end() -> None:
    """A channel that was closed and opened again is not the one that was subscribed to."""
    with Channel("a") as channel:
        publish("a", b"")

        def callback(message: Message) -> None:
            channel.close()

        assert subscribe(channel, callback) == 1
        with pytest.raises(ChannelClosed):
            subscribe(channel, callback)


# --- callbacks that cannot work ---


async def coroutine(message: object) -> None:
    """Nobody awaits it."""


def generator(message: object) -> Iterator[object]:
    yield message


async def asynchronous_generator(message: object) -> AsyncIterator[object]:
    yield message


class Asynchronous:
    async def method(self, message: object) -> None:
        """Nobody awaits it."""

    async def __call__(self, message: object) -> None:
        """Nobody awaits it."""


IDLE: dict[str, Any] = {
    "None": None,
    "str": "print",
    "coroutine": coroutine,
    "generator": generator,
    "asynchronous generator": asynchronous_generator,
    "method": Asynchronous().method,
    "object": Asynchronous(),
    "partial": functools.partial(functools.partial(coroutine)),
    "mock": AsyncMock(),
}


@pytest.mark.parametrize("callback", IDLE.values(), ids=IDLE.keys())
def test_a_callback_that_cannot_work_is_refused(callback: Any) -> None:
    with Channel("a") as channel:
        assert publish("a", b"precious") == 1
        with pytest.raises(TypeError, match="callback"):
            subscribe(channel, callback, 0.01)
        if callback is not None:
            with pytest.raises(TypeError, match="on_error"):
                subscribe(channel, print, 0.01, on_error=callback)
        message = fetch(channel)
        assert message is not None
        assert message.content == b"precious"


@pytest.mark.parametrize("callback", [coroutine, generator, asynchronous_generator])
def test_work_that_a_callback_returns_is_an_error(callback: Callable[[object], object]) -> None:
    """A lambda or a decorator hides what it calls."""
    errors: list[Exception] = []
    with Channel("a") as channel:

        def hear(error: Exception) -> None:
            errors.append(error)
            channel.close()

        assert publish("a", b"") == 1
        assert subscribe(channel, lambda m: callback(m), on_error=hear) == 1
        (error,) = errors
        assert isinstance(error, TypeError)
    with Channel("a") as channel:
        assert publish("a", b"") == 1
        with pytest.raises(TypeError, match="on_error returned"):
            subscribe(channel, lambda m: 1 / 0, on_error=lambda error: callback(error))


def test_on_error_hears_what_the_logger_records_otherwise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Exception] = []
    with Channel("a") as channel:
        id = fresh_id()
        put(channel.directory_path, b"not a message", name=str(id), enqueue=False)
        enqueue(channel.directory_path, id)
        assert publish("a", b"good") == 1
        enqueue(channel.directory_path, b"odd")

        def hear(error: Exception) -> None:
            errors.append(error)
            if len(errors) == 3:
                channel.close()

        assert subscribe(channel, lambda message: 1 / 0, on_error=hear) == 1
    assert [type(error) for error in errors] == [InvalidMessage, ZeroDivisionError, DamagedQueue]
    assert caplog.records == []


def test_an_exception_of_on_error_ends_it() -> None:
    def fail(error: Exception) -> None:
        raise LookupError from error

    with Channel("a") as channel:
        assert publish("a", b"") == 1
        with pytest.raises(LookupError):
            subscribe(channel, lambda message: 1 / 0, on_error=fail)


def test_a_callback_whose_own_channel_is_closed() -> None:
    """That is an error of the callback; the channel that is subscribed to is open."""
    errors: list[Exception] = []
    with Channel("a") as channel:
        assert publish("a", b"") == 1
        other = Channel("b")

        def hear(error: Exception) -> None:
            errors.append(error)
            channel.close()

        assert subscribe(channel, lambda m: fetch(other), on_error=hear) == 1
    assert [type(error) for error in errors] == [ChannelClosed]
