"""Message ids: large ones, rising ones, and ids that are taken (PUB-1 to PUB-3)."""

from __future__ import annotations

import functools
import itertools
from contextlib import suppress
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.linux.strace import (
    LINK,
    OPEN,
    Trace,
    fail,
    traced,
)
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.message import a_message, encode
from pubsub_conformance.plugin import not_run

from .support import (
    ids_in,
    name_in,
    nothing_left,
    several,
)

pytestmark = pytest.mark.timing

TRIES = 10
"""How often a call is made to fail, until it is the one that is meant."""


@pytest.mark.requirement("PUB-1", role="publisher")
def test_ids_are_large(driver: Driver, base: Base) -> None:
    """Every id is at least 2^56 and has at most 64 bits."""
    with base.open("a") as channel:
        for _ in range(20):
            assert driver.publish("a") == 1
        assert channel.files(), f"no message file in the channel:\n{base.tree()}"
        for name in channel.files():
            assert 2**56 <= int(name) < 2**64, f"the id {name} is not from 2^56 to 2^64 - 1"


@pytest.mark.requirement("PUB-23", role="publisher")
def test_ids_are_no_records(driver: Driver, base: Base) -> None:
    """Every id is less than 2^63, so that it looks like a record in no marked channel."""
    with base.open("a") as channel:
        for _ in range(20):
            assert driver.publish("a") == 1
        for name in channel.files():
            assert int(name) < 2**63, f"expected an id of less than 2^63, found {name}"


@pytest.mark.requirement("PUB-2", role="publisher")
def test_ids_of_one_process_rise(driver: Driver, base: Base) -> None:
    """The ids of one process rise in a channel, however fast messages follow one another."""
    ids: list[int] = []
    with base.open("a") as channel:
        for _ in range(8):
            for _ in range(20):
                driver.publish("a")
            # Even the smallest queue has room for 64 ids.
            done = driver.produce("a", "p", 40, [10]).finish()
            assert done.taken == 40, f"the queue had room for 40 ids, found {done}"
            ids += ids_in(channel)
            for name in channel.files():
                (channel.directory / name).unlink()
    assert len(ids) == 8 * 60
    fallen = [(before, after) for before, after in itertools.pairwise(ids) if after <= before]
    assert not fallen, f"pairs of ids that do not rise: {fallen[:5]}"


@pytest.mark.requirement("PUB-3", role="publisher")
def test_an_id_taken_in_a_channel(driver: Driver, base: Base) -> None:
    """If another process's message has the id in a channel, it stays, and this one gets a fresh
    id."""
    with base.open("a") as channel:
        with traced(driver, fail(LINK, "EEXIST", then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"ours")
            taken = name_in(channel, trace.stopped())
            # Only now: strace failed the link because of a file that did not exist yet.
            other = encode(a_message("a", b"another's", id=int(taken.name)))
            taken.write_bytes(other)
            trace.go_on()
            assert count.result() == 1, "one channel with room was open"
        assert taken.exists(), f"the other process's message was removed:\n{base.tree()}"
        assert taken.read_bytes() == other, "the other process's message was overwritten"
        message = channel.fetch()
        assert message is not None, "the message was counted, but no id in the queue has a file"
        assert message.content == b"ours", "the id in the queue is that of the other message"
        assert message.id != int(taken.name)
        taken.unlink()
        nothing_left(base, "a publish whose id was taken in a channel")


@pytest.mark.requirement("PUB-3", role="publisher")
def test_an_id_taken_in_the_second_channel(driver: Driver, base: Base) -> None:
    """If the id is taken in the second channel, the first channel keeps the message, and the
    others get it under a fresh id."""
    with several(base, 3) as channels:
        with traced(driver, fail(LINK, "EEXIST", nth=2, then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"ours")
            call = trace.stopped()
            taken = next(path for path in call.paths if path.parent != base.tmp)
            taken.write_bytes(b"another's")
            trace.go_on()
            assert count.result() == 3, "three channels with room were open"
        assert taken.read_bytes() == b"another's", "the other process's file was overwritten"
        taken.unlink()
        messages = [channel.fetch_all() for channel in channels]
        contents = [[message.content for message in each] for each in messages]
        assert contents == [[b"ours"]] * 3, (
            f"expected the message once in each channel, found {contents}"
        )
        ids = {message.id for each in messages for message in each}
        assert int(taken.name) in ids, "the first channel has to keep the first id"
        assert len(ids) == 2, f"expected one id before the clash and one after it, found {ids}"
        nothing_left(base, "a publish whose id was taken in the second channel")


@pytest.mark.requirement("PUB-13", "GUAR-1", role="publisher")
@pytest.mark.parametrize("taken", ["EEXIST", "EMLINK"])
def test_a_second_copy_that_cannot_be_staged(driver: Driver, base: Base, taken: str) -> None:
    """If a channel needs another copy and none can be staged, the others get the message under the
    id of the first."""
    driver.publish("a")  # so that it has kept what it keeps of the base
    with several(base, 4) as channels:
        for _ in range(TRIES):
            with traced(driver, fail(LINK, taken, 2)) as trace:
                driver.publish("a")
            for channel in channels:
                channel.fetch_all()
            opened = [call for call in trace.calls(*OPEN) if _staged_by(base, call)]
            if len({call.name for call in opened}) != 1 or len(opened) != 2:
                not_run("the making of two staged files was not seen")
            again = opened[1]
            refusing = fail((again.name,), "ENOSPC", _number(again, trace))
            with traced(driver, fail(LINK, taken, 2), refusing) as trace:
                found = _counted(driver)
            yielded = [len(channel.fetch_all()) for channel in channels]
            if any(call.injected and _staged_by(base, call) for call in trace.calls(*OPEN)):
                break
        else:
            not_run("no publish made the same calls as the one before")
        assert sum(yielded) == found[1], (
            f"{found[1]} queues took the message, and these are yielded by the channels: {yielded}"
        )
        assert found == ("ENOSPC", 3), f"expected io-error ENOSPC and the count 3, found {found}"
        nothing_left(base, "a publish that could not stage another copy")


def _counted(driver: Driver) -> tuple[str | None, int | None]:
    """The error and the count of a publish."""
    try:
        return None, driver.publish("a", b"x")
    except Rejected as error:
        return error.errno, error.count


@pytest.mark.requirement("PUB-3", "PUB-6", role="publisher")
def test_an_id_taken_in_tmp(driver: Driver, base: Base) -> None:
    """If another process's staged file has the id, it stays unchanged, and this message is staged
    under a fresh id."""
    staged_by = functools.partial(_staged_by, base)
    with base.open("a") as channel:
        # A run time may move the work to another thread; strace counts the calls of each.
        for _ in range(TRIES):
            name, nth = _staging_open(driver, base, channel)
            with traced(driver, fail((name,), "EEXIST", nth, then_stop=True)) as trace:
                count = trace.begin(driver.publish, "a", b"ours")
                staged = None
                with suppress(Rejected):  # another call was made to fail
                    staged = next(filter(None, map(staged_by, trace.stops())), None)
                if staged is not None:
                    staged.write_bytes(b"another's")
                    trace.go_on()
                    assert count.result() == 1, "one channel with room was open"
                    break
            channel.fetch_all()
        else:
            not_run("no publish made the same calls as the one before")
        assert staged.exists(), f"the other process's staged file was removed:\n{base.tree()}"
        assert staged.read_bytes() == b"another's", "the other staged file was overwritten"
        staged.unlink()
        assert [message.content for message in channel.fetch_all()] == [b"ours"]
        nothing_left(base, "a publish whose id was taken in tmp")


def _staged_by(base: Base, call: Call) -> Path | None:
    """The staged file that this call makes, if it makes one."""
    if "O_CREAT" not in call.flags or not call.paths or call.paths[0].parent != base.tmp:
        return None
    return call.paths[0]


def _staging_open(driver: Driver, base: Base, channel: Channel) -> tuple[str, int]:
    """Name and number of the call of a publish that makes the staged file.

    They are those of a publish that finds the base unchanged. Its messages are fetched again.
    """
    assert driver.publish("a") == 1
    with traced(driver) as trace:
        assert driver.publish("a") == 1
    channel.fetch_all()
    calls = trace.calls(*OPEN)
    staging = next((call for call in calls if _staged_by(base, call)), None)
    if staging is None:
        not_run("the making of the staged file was not seen")
    return staging.name, _number(staging, trace)


def _number(call: Call, trace: Trace) -> int:
    """The number of a call among those of its name in its thread, as strace counts them."""
    same = [other for other in trace.calls(call.name) if other.pid == call.pid]
    return same.index(call) + 1
