"""Again and again: what a publisher repeats or passes over, ten times in one publish."""

from __future__ import annotations

import shutil
from contextlib import suppress

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.linux.strace import LINK, OPEN, fail, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import a_message, encode
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import refuses
from pubsub_conformance.suite.roles import settle
from pubsub_conformance.waiting import until

from .support import (
    PATIENCE_SECONDS,
    UNDER_WAY_SECONDS,
    check_each_yields,
    make_room,
    nothing_left,
    several,
)

pytestmark = pytest.mark.timing

TIMES = (3, 10)
"""How often something happens in one publish."""

FEWEST_TIMES, MOST_TIMES = 20, 1000
"""How often a publisher repeats a step before it gives up, at least and at most."""

again = pytest.mark.parametrize("times", TIMES)


def _stages(base: Base, call: Call) -> bool:
    """Whether this call has made a staged file. It fails if `tmp` is gone."""
    makes = call.errno is None and "O_CREAT" in call.flags
    return makes and bool(call.paths) and call.paths[0].parent == base.tmp


@pytest.mark.requirement("PUB-12", role="publisher")
@again
@pytest.mark.parametrize("what", ["the staged file", "tmp"])
def test_a_cleaner_takes_it_again_and_again(
    driver: Driver, base: Base, what: str, times: int
) -> None:
    """If a cleaner removes each staged file, or `tmp`, ten times, the message is staged again, and
    every channel gets it."""
    with several(base, 3) as channels:
        settle(driver, base, "other")
        with traced(driver, stop(OPEN, None)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            taken = 0
            for call in trace.stops():
                if _stages(base, call):
                    if what == "tmp":
                        shutil.rmtree(base.tmp)
                    else:
                        call.paths[0].unlink()
                    taken += 1
                    if taken == times:
                        break
            if taken < times:
                not_run(f"the making of a staged file was seen {taken} times, not {times}")
            trace.go_on()
            assert count.result() == 3, (
                f"{what} was removed {times} times; all three channels were open the whole time"
            )
        check_each_yields(channels, b"x")
        nothing_left(base, f"{what} was removed {times} times")


@pytest.mark.requirement("PUB-12", "PUB-13", "PUB-14", role="publisher")
def test_a_cleaner_takes_it_for_ever(driver: Driver, base: Base) -> None:
    """If a cleaner removes each staged file, the publish ends with io-error, and leaves nothing.

    The next one is as good as any.
    """
    with base.open("a") as channel:
        with traced(driver, fail(LINK, "ENOENT", None, then_stop=True)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            times = 0
            with suppress(Rejected):
                for times, _ in enumerate(trace.stops(), 1):
                    if times == MOST_TIMES:
                        break
                    for staged in base.tmp.iterdir():
                        staged.unlink()
            if not times:
                not_run("no link was seen")
            assert times < MOST_TIMES, f"the message was staged {times} times, without an end"
            assert times >= FEWEST_TIMES, f"the publish gave up after {times} times"
        with refuses("io-error", what="a publish whose staged files were all removed"):
            count.result()
        nothing_left(base, "a publish whose staged files were all removed")
        assert driver.publish("a", b"x") == 1, "one channel with room is open"
        check_each_yields([channel], b"x")


@pytest.mark.requirement("PUB-3", "PUB-7", role="publisher")
@again
def test_an_id_is_taken_again_and_again(driver: Driver, base: Base, times: int) -> None:
    """If ten ids in a row are taken in a channel, the message gets the next fresh one, and the
    messages of others stay: a name in a channel is never made over one that is there."""
    with several(base, 3) as channels:
        settle(driver, base, "other")
        taken = {}
        with traced(driver, stop(OPEN, None)) as trace:
            count = trace.begin(driver.publish, "a", b"ours")
            for call in trace.stops():
                if _stages(base, call):
                    id = int(call.paths[0].name)
                    other = encode(a_message("a", b"another's", id=id))
                    for channel in channels:
                        (channel.directory / str(id)).write_bytes(other)
                    taken[id] = other
                    if len(taken) == times:
                        break
            if len(taken) < times:
                not_run(f"the making of a staged file was seen {len(taken)} times, not {times}")
            trace.go_on()
            assert count.result() == 3, f"{times} ids were taken; three channels have room"
        for id, other in taken.items():
            for channel in channels:
                file = channel.directory / str(id)
                assert file.exists(), "another's message was removed"
                assert file.read_bytes() == other, "another's message was overwritten"
                file.unlink()
        check_each_yields(channels, b"ours")
        nothing_left(base, f"{times} ids were taken")


@pytest.mark.requirement("PUB-19", "PUB-18", role="publisher")
def test_a_queue_that_is_full_again_and_again(driver: Driver, base: Base) -> None:
    """If a queue is filled again before the message gets its room, four times, the publish goes on
    waiting, and delivers the message when there is room."""
    with base.open("a") as full:
        held = fill(full.directory)
        with traced(driver, stop(LINK, None)) as trace:
            count = trace.begin(driver.publish, "a", b"x", timeout=PATIENCE_SECONDS)
            for _ in range(4):
                trace.stopped()
                held += fill(full.directory)
                trace.go_on()
                until(lambda: not full.files(), UNDER_WAY_SECONDS)  # or it has linked again
                make_room(full, held)
                held = 0
            assert count.result() == 1, "the queue had room in the end"
        assert [message.content for message in full.fetch_all()] == [b"x"]
        nothing_left(base, "a publish to a queue that was full again and again")


@pytest.mark.requirement("PUB-12", "GUAR-7", role="publisher")
@again
def test_channels_that_vanish_once_they_were_listed(driver: Driver, base: Base, times: int) -> None:
    """If ten channels close after the base was listed, the others get the message and are
    counted."""
    with several(base, 3) as channels, several(base, times) as going:
        with traced(driver, stop(LINK)) as trace:
            count = trace.begin(driver.publish, "a", b"x")
            trace.stopped()
            at_work = [one for one in going if one.files()]
            for channel in going:
                channel.close()
            trace.go_on()
            found = count.result()
        assert 3 <= found <= 3 + len(at_work), (
            f"{times} of {times + 3} channels closed after the first link: the count is {found}"
        )
        check_each_yields(channels, b"x")
        nothing_left(base, f"{times} channels closed during a publish")


@pytest.mark.requirement("PUB-10", "GUAR-1", role="publisher")
def test_nobody_reads_in_any_of_many(driver: Driver, base: Base) -> None:
    """A publish passes over channels without a reader, without a queue, and full ones, ten of each
    kind, and counts those that took the message."""
    dead = dead_pid()
    with several(base, 10) as full, several(base, 10) as channels:
        for channel in full:
            fill(channel.directory)
        for _ in range(10):
            base.dead_channel("a", dead)
            base.dead_channel("a", dead, queue=False)
            (base.dead_channel("a", dead, queue=False) / "queue").mkdir()
        for _ in range(10):
            assert driver.publish("a", b"x") == len(channels), "ten channels have room"
            check_each_yields(channels, b"x")
            assert not any(channel.files() for channel in full), "a link was left in a full channel"


@pytest.mark.requirement("BASE-13", "PUB-17", role="publisher")
def test_the_base_vanishes_again_and_again(driver: Driver, base: Base) -> None:
    """If the base vanishes ten times, each publish makes it again, and the next channel gets its
    message."""
    for number in range(10):
        assert driver.publish("a") == 0, f"no channel was open (round {number})"
        assert base.path.is_dir(), "a publish made no base"
        for _ in range(2):
            with base.open("a") as channel:
                assert driver.publish("a", b"x") == 1, f"one channel was open (round {number})"
                assert [message.content for message in channel.fetch_all()] == [b"x"]
        shutil.rmtree(base.path)
