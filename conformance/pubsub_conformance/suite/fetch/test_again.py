"""Again and again: what a fetch passes over, reports, or tries again, ten times in a row."""

from __future__ import annotations

import os
import resource
import shutil

import pytest

from pubsub_conformance import vectors
from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import refuses

from .support import expect_message, expect_nothing, no_descriptor_left, outcome

pytestmark = pytest.mark.timing

TIMES = (3, 10)
"""How often something happens in a row."""

again = pytest.mark.parametrize("times", TIMES)


def _plant(channel: OpenChannel, number: int) -> None:
    """Put something into the channel that is no message, of a kind that the number draws."""
    message = a_message("a", b"never to be yielded")
    path = channel.directory / str(message.id)
    kinds = vectors.table("invalid-message")
    if number % 4 == 0:
        path.write_bytes(b"")
    elif number % 4 == 1:
        path.symlink_to("nowhere")
    elif number % 4 == 2:
        path.write_bytes(encode(a_message("a", b"under the name of another")))
    else:
        path.write_bytes(bytes.fromhex(kinds[number % len(kinds)]["hex"]))
    enqueue(channel.directory, message.id)


@pytest.mark.requirement("FETCH-5", "FETCH-6", "FETCH-7", role="subscriber")
@again
def test_invalid_messages_in_a_row(driver: Driver, base: Base, times: int) -> None:
    """A fetch reports each of ten invalid messages in a row once, and removes it; then it yields
    the message behind them."""
    channel = driver.open("a")
    for _ in range(3):
        for number in range(times):
            _plant(channel, number)
        good = base.publish("a", b"good")
        for number in range(times):
            assert driver.wait(channel, 0), "the queue is not empty"
            with refuses("invalid-message", what=f"fetch {number + 1} of {times} invalid messages"):
                driver.fetch(channel)
        expect_message(driver, channel, good, f"behind {times} invalid messages")
        left = os.listdir(channel.directory)
        assert left == ["queue"], f"everything was fetched or reported; found {left}"


@pytest.mark.requirement("FETCH-5", "FETCH-3", "FETCH-10", "FETCH-9", role="subscriber")
@again
def test_obstacles_of_every_kind_in_turn(driver: Driver, base: Base, times: int) -> None:
    """Ids without a file, ids of 0, invalid messages and good ones come in turn: each good one is
    yielded, each invalid one reported."""
    channel = driver.open("a")
    for number in range(times):
        for _ in range(times):
            enqueue(channel.directory, fresh_id())
            enqueue(channel.directory, 0)
        _plant(channel, number)
        good = base.publish("a", b"%d" % number)
        with refuses("invalid-message", what=f"invalid message {number + 1} of {times}"):
            driver.fetch(channel)
        expect_message(driver, channel, good, f"good message {number + 1} of {times}")
    expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-9", role="subscriber")
@again
def test_stray_octets_again_and_again(driver: Driver, base: Base, times: int) -> None:
    """Stray octets are reported once each time, and never shift what comes later."""
    channel = driver.open("a")
    for number in range(times):
        octets = number % 7 + 1
        enqueue(channel.directory, b"\x01" * octets)
        with refuses("damaged-queue", what=f"a fetch from a queue that holds {octets} octets"):
            driver.fetch(channel)
        expect_nothing(driver, channel, "the octets were reported once")
        if number % 2:
            expect_message(driver, channel, base.publish("a"), f"after {octets} stray octets")


@pytest.mark.requirement("FETCH-8", "FETCH-21", role="subscriber")
@again
def test_an_error_again_and_again(driver: Driver, base: Base, times: int) -> None:
    """A fetch reports the same error of the system ten times, keeps the id in hand each time, and
    yields the message in the end; three times over."""
    if not hasattr(resource, "prlimit"):
        not_run("this system cannot set the limits of another process")
    channel = driver.open("a")
    for _ in range(3):
        first, second = base.publish("a", b"first"), base.publish("a", b"second")
        with no_descriptor_left(driver.pid):
            for number in range(times):
                found = outcome(driver, channel)
                assert isinstance(found, Rejected), f"expected io-error EMFILE, found {found}"
                error = (found.code, found.errno)
                assert error == ("io-error", "EMFILE"), f"try {number + 1}: found {found}"
                assert driver.wait(channel, 0), "an id is in hand: a wait has to be ready"
        expect_message(driver, channel, first, f"in hand through {times} errors")
        expect_message(driver, channel, second, "the message behind it")
        expect_nothing(driver, channel, "all was fetched")


@pytest.mark.requirement("FETCH-10", "FETCH-2", role="subscriber")
@again
def test_stray_wake_ups(driver: Driver, base: Base, times: int) -> None:
    """After each of ten ids of 0, waits and fetches go on as if there had been none."""
    channel = driver.open("a")
    for number in range(times):
        for _ in range(number + 1):
            enqueue(channel.directory, 0)
        driver.wait(channel, 0)  # it may be ready
        expect_nothing(driver, channel, f"the queue held {number + 1} ids of 0")
        assert not driver.wait(channel, 0), "the queue is empty"
        message = base.publish("a", b"%d" % number)
        assert driver.wait(channel, 0), "the queue holds a message"
        expect_message(driver, channel, message, f"after {number + 1} ids of 0")


@pytest.mark.requirement("FETCH-14", role="subscriber")
def test_channels_are_lost_one_after_the_other(driver: Driver, base: Base) -> None:
    """Each of four channels in turn is noticed to be lost, after its messages were yielded."""
    for number in range(4):
        channel = driver.open("a")
        sent = [base.publish("a", b"%d" % n) for n in range(2)]
        expect_message(driver, channel, sent[0], f"channel {number + 1}")
        shutil.rmtree(base.path if number % 2 else channel.directory)
        expect_nothing_of_it(driver, channel, sent[1].content)
        with refuses("channel-lost", what=f"a wait of channel {number + 1}, which is gone"):
            driver.wait(channel, 4)
        driver.close_channel(channel)


def expect_nothing_of_it(driver: Driver, channel: OpenChannel, content: bytes) -> None:
    """What is still in the queue has no file: the fetch may find nothing, or the channel lost."""
    found = outcome(driver, channel)
    if isinstance(found, Rejected):
        assert found.code == "channel-lost", f"the file of {content!r} is gone; found {found}"
    else:
        assert found is None, f"the file of {content!r} is gone; found {found}"


@pytest.mark.requirement("FETCH-17", role="subscriber")
@again
def test_reaping_again_and_again(driver: Driver, base: Base, times: int) -> None:
    """However often an owner looks for orphans, it keeps unread messages, and files that are not
    stale."""
    channel = driver.open("a")
    unread = [base.publish("a", b"%d" % n) for n in range(times)]
    late = a_message("a", b"linked, not yet enqueued")
    put(channel.directory, late, enqueue=False)
    for message in unread:
        for _ in range(times):
            driver.reap()
        expect_message(driver, channel, message, "an owner looked for orphans before")
    for _ in range(times):
        driver.reap()
        expect_nothing(driver, channel, "all was fetched")
    enqueue(channel.directory, late.id)
    expect_message(driver, channel, late, "enqueued at last")
