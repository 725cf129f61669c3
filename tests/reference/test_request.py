"""Requests and replies."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from pubsub_conformance.oracle.base import put
from test_fork import Child
from test_interrupted import fill

from pubsub import (
    Channel,
    InvalidHeaders,
    InvalidTopic,
    Message,
    NobodyListens,
    NotARequest,
    channels,
    fetch,
    publish,
    reply,
    request,
)
from pubsub.request import _replies
from pubsub.request import _replies_here as replies_here

LONG = 30.0  # seconds that no test takes


@pytest.fixture(autouse=True)
def _forgotten(_closed: None) -> Iterator[None]:
    """The channel for replies, which lives as long as the process, is closed with the test."""
    yield
    for replies in [*_replies.values()]:
        assert replies.requests == replies.readers == {}
        replies.channel.close()
    _replies.clear()


@pytest.fixture
def server() -> Iterator[Channel]:
    """Replies to requests on `double`, with the content twice; not to those that say so."""
    channel = Channel("double")
    channel.open()

    def serve() -> None:
        for message in channel:
            if message.content != b"silence":
                reply(message, message.content * 2, {"of": message.content.decode()})

    thread = threading.Thread(target=serve)
    thread.start()
    yield channel
    channel.close()
    thread.join()


def doubled(content: bytes, timeout_seconds: float | None = LONG) -> bytes | None:
    answer = request("double", content, timeout_seconds=timeout_seconds)
    return answer.content if answer else None


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)  # other threads want the interpreter


def test_a_reply(server: Channel) -> None:
    answer = request("double", b"x", {"priority": 1}, timeout_seconds=LONG)
    assert answer is not None
    assert answer.content == b"xx"
    assert answer.headers["of"] == "x"
    assert doubled(b"for ever", None) == b"for everfor ever"


def test_a_process_has_one_channel_for_all_replies(server: Channel) -> None:
    doubled(b"1")
    before = channels()
    for _ in range(3):
        doubled(b"2")
    assert [info.path for info in channels()] == [info.path for info in before]
    assert len(before) == 2


def test_the_headers_are_those_of_the_seed() -> None:
    with Channel("a") as channel:
        assert request("a", b"", {"mine": True}, timeout_seconds=0) is None
        message = fetch(channel)
    assert message is not None
    assert set(message.headers) == {"response-topic", "correlation-id", "mine"}


def test_nobody_listens(home: Path) -> None:
    with pytest.raises(NobodyListens, match=f"'a'.*{home}"):
        request("a", b"", timeout_seconds=None)


def test_a_full_queue_is_somebody_who_listens() -> None:
    with Channel("a") as channel:
        fill(channel)
        assert request("a", b"", timeout_seconds=0) is None
        assert request("a", b"", timeout_seconds=0.02) is None

        def make_room() -> None:
            message = fetch(channel) or channel.get(LONG)
            assert message is not None
            reply(message, b"there was room")

        answerer = threading.Timer(0.05, make_room)
        answerer.start()
        answer = request("a", b"", timeout_seconds=LONG)
        answerer.join()
    assert answer is not None
    assert answer.content == b"there was room"


def test_its_time_is_over_and_the_late_reply_is_for_nobody(server: Channel) -> None:
    with Channel("late") as late:
        begin = time.monotonic()
        assert request("late", b"", timeout_seconds=0.05) is None
        assert time.monotonic() - begin >= 0.05
        message = fetch(late)
        assert message is not None
        assert reply(message, b"too late") == 1
    publish(str(message.headers["response-topic"]), b"of a stranger")
    assert doubled(b"next") == b"nextnext"


def test_what_is_no_message_is_logged(server: Channel, caplog: pytest.LogCaptureFixture) -> None:
    doubled(b"1")
    put(replies_here().channel.directory_path, b"no message")
    assert doubled(b"2") == b"22"
    assert "not a message" in caplog.text


def test_many_threads(server: Channel) -> None:
    got: dict[bytes, bytes | None] = {}

    def ask(n: int) -> None:
        for k in range(20):
            content = b"%d-%d" % (n, k)
            got[content] = doubled(content)
            assert k % 5 or doubled(b"silence", 0.001) is None

    threads = [threading.Thread(target=ask, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 160
    assert all(answer == content * 2 for content, answer in got.items())


def second(answers: list[bytes | None]) -> tuple[threading.Thread, Callable[[], None]]:
    """A thread that requests something, behind one that does; and what has it answered."""
    channel = Channel("second")
    channel.open()

    def ask() -> None:
        until(lambda: replies_here().waiting())  # the first one reads for it
        answer = request("second", b"", timeout_seconds=LONG)
        answers.append(answer.content if answer else None)

    def answer() -> None:
        message = channel.get(LONG)
        assert message is not None
        reply(message, b"for the second")
        channel.close()

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answer


def test_the_first_one_reads_for_all() -> None:
    answers: list[bytes | None] = []
    thread, answer = second(answers)

    def answer_to_both() -> None:
        until(lambda: replies_here().waiting()[1:])
        answer()
        thread.join()
        message = first.get(LONG)
        assert message is not None
        reply(message, b"for the first")

    with Channel("first") as first:
        answerer = threading.Thread(target=answer_to_both)
        answerer.start()
        answered = request("first", b"", timeout_seconds=LONG)
        answerer.join()
    assert answered is not None
    assert answered.content == b"for the first"
    assert answers == [b"for the second"]


def test_another_one_reads_when_the_time_of_the_first_is_over(server: Channel) -> None:
    answers: list[bytes | None] = []
    thread, answer = second(answers)
    while not (_replies and replies_here().waiting()):  # until the second one was behind
        assert doubled(b"silence", 0.1) is None
    answer()
    thread.join()
    assert answers == [b"for the second"]


class Interrupt(Exception):
    pass


def test_another_one_reads_when_an_exception_ends_the_first(server: Channel) -> None:
    def handler(*_: object) -> None:
        raise Interrupt

    answers: list[bytes | None] = []
    thread, answer = second(answers)
    before = signal.signal(signal.SIGALRM, handler)
    while not (_replies and replies_here().waiting()):  # until the second one was behind
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupt):
            doubled(b"silence")
    signal.signal(signal.SIGALRM, before)
    answer()
    thread.join()
    assert answers == [b"for the second"]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_signal_handler_requests_while_its_thread_waits(server: Channel, is_first: bool) -> None:
    answers: list[bytes | None] = []

    def handler(*_: object) -> None:
        answers.append(doubled(b"inner"))

    others = Channel("others")
    others.open()
    first = threading.Thread(target=request, args=["others", b""], kwargs={"timeout_seconds": LONG})
    if not is_first:
        first.start()
        until(lambda: _replies and replies_here().waiting())
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    assert doubled(b"silence", 0.3) is None
    signal.signal(signal.SIGALRM, before)
    assert answers == [b"innerinner"]
    if not is_first:
        message = others.get(LONG)
        assert message is not None
        reply(message, b"")
        first.join()
    others.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_channel_of_its_own(server: Channel) -> None:
    assert doubled(b"parent") == b"parentparent"
    mine = replies_here().channel.topic
    child = Child(lambda: (doubled(b"child"), replies_here().channel.topic != mine))
    assert child.said == "(b'childchild', True)"
    assert doubled(b"parent") == b"parentparent"
    child.finish()


def test_the_base_was_removed_or_is_another_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> None:
        with Channel("a") as channel:
            thread = threading.Thread(
                target=lambda: reply(channel.get() or Message("a", b""), b"1")
            )
            thread.start()
            assert request("a", b"", timeout_seconds=LONG)
            thread.join()

    ask()
    shutil.rmtree(home)
    ask()
    first = replies_here().channel
    monkeypatch.setenv("PUBSUB_HOME", str(home.with_name("other")))
    ask()
    assert not first.is_open
    assert os.listdir(home) == ["tmp"]


def test_the_channel_is_lost_while_somebody_waits(server: Channel) -> None:
    got: list[bytes | None] = []
    with Channel("a") as channel:
        thread = threading.Thread(
            target=lambda: got.append(getattr(request("a", b""), "content", None))
        )
        thread.start()
        message = channel.get(LONG)
        assert message is not None
        until(lambda: replies_here().waiting())
        shutil.rmtree(replies_here().channel.directory_path)
        until(lambda: reply(message, b"found again"))
        thread.join()
    assert got == [b"found again"]


def test_it_keeps_no_program_alive(home: Path, start: Start) -> None:
    process = start(
        """
import threading, pubsub
from pubsub.request import _replies_here
channel = pubsub.Channel("a")
channel.open()

def ask():
    try:
        pubsub.request("a", b"", timeout_seconds=None)
    except pubsub.ChannelClosed:  # as the program ends
        pass

threading.Thread(target=ask, daemon=True).start()
channel.get()
while not _replies_here().waiting():  # a thread that is cut off while it publishes leaves files
    pass
"""
    )
    assert process.communicate(timeout=LONG) == ("", "")
    assert process.returncode == 0
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {"response-topic": "a"},
        {"correlation-id": "1"},
        {"response-topic": 1, "correlation-id": "1"},
        {"response-topic": "a_b", "correlation-id": "1"},
    ],
)
def test_what_is_no_request_cannot_be_replied_to(headers: Any) -> None:
    with pytest.raises(NotARequest, match="response-topic"):
        reply(Message("a", b"", headers), b"")


def test_arguments() -> None:
    message = Message("a", b"", {"response-topic": "a", "correlation-id": 5})
    wrong: Any = "wrong"
    with Channel("a") as channel:
        assert reply(message, b"content") == 1
        answer = fetch(channel)
        assert answer is not None
        assert answer.headers == {"correlation-id": 5}
        with pytest.raises(InvalidHeaders, match="correlation-id"):
            reply(message, b"", {"correlation-id": 6})
        with pytest.raises(InvalidHeaders, match="response-topic"):
            request("a", b"", {"response-topic": "b"})
        with pytest.raises(TypeError, match="request"):
            reply(wrong, b"")
        with pytest.raises(TypeError, match="timeout_seconds"):
            request("a", b"", timeout_seconds=wrong)
        with pytest.raises(TypeError):
            request("a", wrong)
        with pytest.raises(TypeError):
            request("a", b"", wrong)
        with pytest.raises(InvalidTopic):
            request("a.=", b"")
        assert fetch(channel) is None
    assert len(channels()) == 0
