"""Ids and their order: the queue says what comes next, and whether anything comes."""

from __future__ import annotations

import random
import time

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import enqueue

from .support import (
    AT_ONCE_SECONDS,
    _expect,
    _expect_nothing,
)


@pytest.mark.requirement("FETCH-1", role="subscriber")
def test_messages_come_in_the_order_of_the_queue(driver: Driver, base: Base) -> None:
    """Three publishers in turn, a hundred messages, fetched while more are coming."""
    channel = driver.open("a.=")
    sent = [base.publish(f"a.{'xyz'[n % 3]}", b"%d" % n, {"n": n}) for n in range(60)]
    for number in range(20):
        _expect(driver, channel, sent[number], f"message {number} of the queue")
    sent += [base.publish("a.w", b"%d" % n, {"n": n}) for n in range(60, 100)]
    for number in range(20, 100):
        _expect(driver, channel, sent[number], f"message {number} of the queue")
    _expect_nothing(driver, channel, "after the last message")


@pytest.mark.requirement("FETCH-12", role="subscriber")
@pytest.mark.parametrize("order", ["falling", "shuffled"])
def test_neither_ids_nor_files_set_the_order(driver: Driver, order: str, seed: int) -> None:
    """Publishers' ids need not rise in a queue, nor be enqueued in the order they were linked."""
    channel = driver.open("a")
    messages = [a_message("a", b"%d" % n, id=2**56 + n) for n in range(30)]
    for message in messages:
        put(channel.directory, message, enqueue=False)
    if order == "falling":
        messages.reverse()
    else:
        random.Random(seed).shuffle(messages)
    for message in messages:
        enqueue(channel.directory, message.id)
    for number, message in enumerate(messages):
        _expect(driver, channel, message, f"number {number} of the queue, its ids {order}")


@pytest.mark.requirement("FETCH-12", role="subscriber")
def test_a_file_that_no_id_speaks_for_is_not_yielded(driver: Driver, base: Base) -> None:
    """Linked, not yet enqueued: its publisher is between two steps."""
    channel = driver.open("a")
    early = a_message("a", b"linked first, enqueued last")
    put(channel.directory, early, enqueue=False)
    _expect_nothing(driver, channel, "the queue is empty, whatever files there are")
    _expect(driver, channel, base.publish("a", b"enqueued"), "the only id in the queue")
    enqueue(channel.directory, early.id)
    _expect(driver, channel, early, "enqueued at last")


# --- An empty queue, and ids without a message -----------------------------------------------


@pytest.mark.requirement("FETCH-2", role="subscriber")
def test_an_empty_queue_is_said_to_be_empty_at_once(driver: Driver, base: Base) -> None:
    """Before the first message, and after the last one."""
    channel = driver.open("a")
    for when in ("a channel just opened", "the only message was fetched"):
        begin = time.monotonic()
        for _ in range(10):
            _expect_nothing(driver, channel, when)
        took = time.monotonic() - begin
        assert took < AT_ONCE_SECONDS, (
            f"{when}: ten fetches from an empty queue took {took:.1f} s; a fetch must not wait"
        )
        _expect(driver, channel, base.publish("a"), when)


@pytest.mark.requirement("FETCH-3", role="subscriber")
def test_an_id_without_a_file_is_skipped(driver: Driver) -> None:
    """One publisher withdrew its message, another's was removed; the next fetch goes past them."""
    channel = driver.open("a")
    good = [a_message("a", b"first"), a_message("a", b"second")]
    for message in good:
        for _ in range(100):
            enqueue(channel.directory, fresh_id())
        put(channel.directory, message)
    enqueue(channel.directory, fresh_id())
    for message in good:
        _expect(driver, channel, message, "behind a hundred ids without a file")
    _expect_nothing(driver, channel, "the last id of the queue has no file")


@pytest.mark.requirement("FETCH-10", role="subscriber")
def test_an_id_of_0_is_skipped(driver: Driver) -> None:
    """0 is no message's id: it only wakes an owner up, even where something is called 0."""
    channel = driver.open("a")
    enqueue(channel.directory, 0)
    _expect_nothing(driver, channel, "the queue holds an id of 0")
    foreign = put(channel.directory, b"not a message", name="0")
    good = a_message("a", b"behind it")
    put(channel.directory, good)
    _expect(driver, channel, good, "behind an id of 0, with a foreign file of this name")
    assert foreign.exists(), "a foreign file called 0 was taken for a message, and removed"
