"""What the guarantee is worth when many processes publish and subscribe at once (guarantee.md).

Three runs are made, once each, and every test looks at all of them for the breach of one promise.
"""

from __future__ import annotations

import functools
import math
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, DriverError
from pubsub_conformance.judge.violations import Kind, render
from pubsub_conformance.plugin import not_run
from pubsub_conformance.stress.load import SHORT, Load
from pubsub_conformance.stress.result import Result
from pubsub_conformance.stress.run import run

pytestmark = pytest.mark.timing

RUNS = {
    # Readers keep up, others come and go: nothing that is due may be missing.
    "busy": Load(
        publishers=4,
        readers=("steady", "steady", "steady", "visitor", "visitor"),
        messages=1000,
        kills=False,
        timeouts=(10.0,),
        largest=300_000,
    ),
    # Nobody reads until all is published: the count alone says what was taken. More messages than
    # stress leaves room for on Linux, and than most other systems have room for.
    "full": Load(
        publishers=2, readers=("late",), messages=2000, kills=False, timeouts=(None,), largest=200
    ),
    "drawn": SHORT,
}


@dataclass(frozen=True)
class Seen:
    """A run, and whether all that it was to publish was published and judged."""

    result: Result
    whole: bool

    def to_the_end(self) -> None:
        """Only a whole run shows that nothing is wrong."""
        if not self.whole:
            findings = [
                *(f"a violation ({found.kind})" for found in self.result.violations),
                *map(str, self.result.errors),
                *map("left over: {}".format, self.result.leftovers),
            ]
            not_run(f"the run ended after {self.result.publishes} messages, with {findings[0]}")


@functools.cache
def _stressed(name: str, command: str, under: str | None, seed: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="pubsub-", dir=under) as directory:
        base = Path(directory, "base")
        return run(shlex.split(command), base, seed, RUNS[name])


@pytest.fixture(params=RUNS)
def seen(request: pytest.FixtureRequest, driver: Driver, seed: int) -> Seen:
    # It takes both roles: not applicable to a driver that has one of them.
    driver.close_channel(driver.open("a"))
    driver.publish("a")
    name: str = request.param
    command, under = request.config.getoption("driver"), request.config.getoption("home")
    result = _stressed(name, command, under, seed)
    for error in result.errors:
        if isinstance(error, DriverError):
            raise error
    publishes, all_of_them = result.publishes, RUNS[name].messages
    whole = publishes == all_of_them if all_of_them < math.inf else not result.errors
    assert result.failed or whole, f"produce did not report every message\n{result.summary}"
    if name == "full" and not result.failed and result.receives == publishes:
        not_run(f"a queue was not full after {publishes} messages")
    return Seen(result, whole)


def _holds(seen: Seen, *kinds: Kind) -> None:
    found = [violation for violation in seen.result.violations if violation.kind in kinds]
    if found:
        pytest.fail(f"{render(found, most=3)}\n{seen.result.summary}", pytrace=False)
    seen.to_the_end()


@pytest.mark.requirement("GUAR-1")
def test_each_count_is_the_number_of_queues_that_took_the_message(seen: Seen) -> None:
    """Each count lies between the channels that certainly got the message and those that can
    have got it; where all channels were read to the end, it is the number of deliveries."""
    _holds(seen, "count")


@pytest.mark.requirement("GUAR-5")
def test_no_message_is_lost(seen: Seen) -> None:
    """A channel that was open before a publish began, was not closed before it ended and had
    room yielded the message before it was found empty."""
    _holds(seen, "lost")


@pytest.mark.requirement("GUAR-2")
def test_no_message_comes_twice(seen: Seen) -> None:
    """No channel yields a message twice. (The test above reports lost messages: nobody sees from
    here whether the publisher or the subscriber lost them.)"""
    _holds(seen, "duplicated")


@pytest.mark.requirement("GUAR-3")
def test_messages_arrive_whole(seen: Seen) -> None:
    """Every message came with topic, headers, size and CRC-32 as it was published, and no fetch
    met with what is not a message."""
    _holds(seen, "torn")


@pytest.mark.requirement("GUAR-4")
def test_messages_of_a_publisher_come_in_order(seen: Seen) -> None:
    """No channel yielded two messages of a publisher in the reverse order of their publishes."""
    _holds(seen, "order")


@pytest.mark.requirement("GUAR-6")
def test_no_message_comes_where_it_does_not_belong(seen: Seen) -> None:
    """No channel yielded a message that does not match its pattern, that nobody published, or
    whose publish was over before the channel was opened."""
    _holds(seen, "unexpected")


@pytest.mark.requirement("PUB-17")
def test_nothing_fails_because_others_are_at_work(seen: Seen) -> None:
    """No publish, open, fetch or close fails while channels come and go, or are full."""
    if seen.result.errors:
        pytest.fail(f"{seen.result.errors[0]}\n{seen.result.summary}", pytrace=False)
    seen.to_the_end()


def _nothing_is_left(seen: Seen, kind: str) -> None:
    """`kind` is a pattern of names in the base."""
    found = [name for name in seen.result.leftovers if re.fullmatch(kind, name)]
    if found:
        names = "\n".join(found[:10])
        pytest.fail(f"left over, first of all:\n{names}\n{seen.result.summary}", pytrace=False)
    seen.to_the_end()


@pytest.mark.requirement("PUB-14")
def test_no_staged_file_is_left_over(seen: Seen) -> None:
    """Once all is read, no message is left in `tmp`."""
    _nothing_is_left(seen, r"tmp/[0-9]+")


@pytest.mark.requirement("PUB-10")
def test_no_link_without_an_id_is_left_over(seen: Seen) -> None:
    """Once all is read, no message is left in a channel."""
    _nothing_is_left(seen, r"(?!tmp/).*/[0-9]+")


@pytest.mark.requirement("CHAN-14")
def test_no_closed_channel_is_left_over(seen: Seen) -> None:
    """Once all is read, no channel is left but those that are open."""
    _nothing_is_left(seen, r"[^/]+|tmp/.*[^0-9].*")
