"""Ids and their order: the queue says which message comes next, if any."""

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
    expect_message,
    expect_nothing,
)

pytestmark = pytest.mark.timing


@pytest.mark.requirement("FETCH-1", role="subscriber")
def test_messages_come_in_the_order_of_the_queue(driver: Driver, base: Base) -> None:
    """A hundred messages to three topics come in the order of the queue, while more are
    published."""
    channel = driver.open("a.=")
    sent = [base.publish(f"a.{'xyz'[n % 3]}", b"%d" % n, {"n": n}) for n in range(60)]
    for number in range(20):
        expect_message(driver, channel, sent[number], f"message {number} of the queue")
    sent += [base.publish("a.w", b"%d" % n, {"n": n}) for n in range(60, 100)]
    for number in range(20, 100):
        expect_message(driver, channel, sent[number], f"message {number} of the queue")
    expect_nothing(driver, channel, "after the last message")


@pytest.mark.requirement("FETCH-12", role="subscriber")
@pytest.mark.parametrize("order", ["falling", "shuffled"])
def test_neither_ids_nor_files_set_the_order(driver: Driver, order: str, seed: int) -> None:
    """The order of the queue counts, not that of the ids or of the files."""
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
        expect_message(driver, channel, message, f"number {number} of the queue, its ids {order}")


@pytest.mark.requirement("FETCH-12", role="subscriber")
def test_a_file_without_an_id_in_the_queue_is_not_yielded(driver: Driver, base: Base) -> None:
    """A message that is linked but not yet enqueued is not yielded."""
    channel = driver.open("a")
    early = a_message("a", b"linked first, enqueued last")
    put(channel.directory, early, enqueue=False)
    expect_nothing(driver, channel, "the queue is empty, though there is a file")
    expect_message(driver, channel, base.publish("a", b"enqueued"), "the only id in the queue")
    enqueue(channel.directory, early.id)
    expect_message(driver, channel, early, "enqueued at last")


# --- An empty queue, and ids without a message -----------------------------------------------


@pytest.mark.requirement("FETCH-2", role="subscriber")
def test_an_empty_queue_is_said_to_be_empty_at_once(driver: Driver, base: Base) -> None:
    """A fetch from an empty queue yields no message, and does not wait."""
    channel = driver.open("a")
    for when in ("a channel just opened", "the only message was fetched"):
        begin = time.monotonic()
        for _ in range(10):
            expect_nothing(driver, channel, when)
        took = time.monotonic() - begin
        assert took < AT_ONCE_SECONDS, (
            f"{when}: ten fetches from an empty queue took {took:.1f} s; they may not wait"
        )
        expect_message(driver, channel, base.publish("a"), when)


@pytest.mark.requirement("FETCH-3", role="subscriber")
def test_an_id_without_a_file_is_skipped(driver: Driver) -> None:
    """A fetch skips ids whose files do not exist, and yields the message after them."""
    channel = driver.open("a")
    good = [a_message("a", b"first"), a_message("a", b"second")]
    for message in good:
        for _ in range(100):
            enqueue(channel.directory, fresh_id())
        put(channel.directory, message)
    enqueue(channel.directory, fresh_id())
    for message in good:
        expect_message(driver, channel, message, "behind a hundred ids without a file")
    expect_nothing(driver, channel, "the last id of the queue has no file")


@pytest.mark.requirement("FETCH-10", role="subscriber")
def test_an_id_of_0_is_skipped(driver: Driver) -> None:
    """A fetch skips an id of 0, even if there is a file of that name."""
    channel = driver.open("a")
    enqueue(channel.directory, 0)
    expect_nothing(driver, channel, "the queue holds an id of 0")
    foreign = put(channel.directory, b"not a message", name="0")
    good = a_message("a", b"behind it")
    put(channel.directory, good)
    expect_message(driver, channel, good, "behind an id of 0, with a foreign file of this name")
    assert foreign.exists(), "a foreign file named 0 was removed"
