"""A signal handler that uses the package at every bytecode of an inline operation.

It does what it is called for, and so does the operation that it interrupts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import needs_inline
from interrupter import Interrupter, watching
from test_inline import contents
from test_kept import kept, queues, warm

import pubsub.listing
from pubsub import Channel, close_kept_queues, publish
from pubsub.place import Place

pytestmark = needs_inline


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Channel("a", inline=True) as channel:
        yield channel
    close_kept_queues()


def everywhere(
    prepare: Callable[[], object],
    operate: Callable[[], object],
    handler: Callable[[], object],
    check: Callable[[], object],
) -> None:
    """Run the handler at each bytecode of the operation in turn."""
    interrupter = Interrupter("capacity", "files", "lane", "listing")
    n = 0
    has_run = True
    with watching():
        prepare()
        operate(), handler(), check()  # bytecodes are seen from a function's second call on
        while has_run:
            prepare()
            n += 1
            try:
                has_run = interrupter.run_handler(operate, n, handler)
                if has_run:
                    check()
            except Exception as error:
                raise AssertionError(f"the handler ran at {interrupter.where}") from error
    assert n > 50


def change(home: Path) -> None:
    (home / "changed").mkdir()
    (home / "changed").rmdir()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("state", ["kept", "opened", "changed", "rested"])
@pytest.mark.parametrize("handler", ["closes", "lists anew", "publishes"])
def test_a_publish_in_a_publish(
    home: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch, state: str, handler: str
) -> None:
    inner = 0 if handler == "closes" else 1

    def prepare() -> None:
        contents(channel)
        if state == "opened":
            close_kept_queues()
            while pubsub.listing.kept(Place.here()) is None:
                publish("nobody", b"")
        else:
            warm()
        contents(channel)
        if state == "changed":
            change(home)
        if state == "rested":
            listing = pubsub.listing._kept[-1]
            assert listing
            listing._used -= 10

    def operate() -> None:
        assert publish("a", b"outer") == 1

    def handle() -> None:
        if handler == "closes":
            close_kept_queues()
            return
        if handler == "lists anew":
            change(home)
        assert publish("a", b"inner") == 1

    def check() -> None:
        assert sorted(contents(channel)) == [b"inner"] * inner + [b"outer"]
        assert len(queues()) == 2 + len(kept())
        assert len(kept()) <= 2  # both may keep the queue: both count (INLINE-22)
        assert sorted(os.listdir(channel.directory_path)) == ["inline", "queue"]
        assert os.listdir(home / "tmp") == []

    everywhere(prepare, operate, handle, check)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("state", ["kept", "opened"])
def test_a_fork_in_a_publish(channel: Channel, state: str) -> None:  # INLINE-22
    """The child goes on with the publish of its parent, and keeps the queue once at most."""
    parent = os.getpid()
    statuses: list[int] = []

    def prepare() -> None:
        contents(channel)
        warm()
        if state == "opened":
            close_kept_queues()
            while pubsub.listing.kept(Place.here()) is None:
                publish("nobody", b"")
        contents(channel)

    def operate() -> None:
        count = 0
        try:
            count = publish("a", b"outer")
        finally:
            if os.getpid() != parent:
                os._exit(0 if count == 1 and len(queues()) <= 3 else 1)
        assert count == 1

    def handle() -> None:
        child = os.fork()
        if child:
            statuses.append(os.waitpid(child, 0)[1])

    def check() -> None:
        if os.getpid() != parent:  # it was forked while nothing was published
            os._exit(0)
        assert statuses.pop() == 0
        assert contents(channel) in ([b"outer"], [b"outer"] * 2)
        assert len(queues()) == 2 + len(kept()) == 3

    everywhere(prepare, operate, handle, check)
