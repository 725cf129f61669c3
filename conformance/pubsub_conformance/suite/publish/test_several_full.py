"""Waiting for room in several full queues at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import wait

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base, Channel
from pubsub_conformance.oracle.queue import fill

from .support import PATIENCE_SECONDS, UNDER_WAY_SECONDS, make_room, publishing, several

pytestmark = pytest.mark.timing


def _as_listed(base: Base, channels: Sequence[Channel]) -> list[Channel]:
    """The channels in the order in which the system lists them."""
    names = [entry.name for entry in os.scandir(base.path)]
    return sorted(channels, key=lambda channel: names.index(channel.directory.name))


@pytest.mark.requirement("PUB-19", role="publisher")
@pytest.mark.parametrize(
    "dying", [[0], [3], [0, 1], [1, 2]], ids=["first", "last", "first two", "middle two"]
)
def test_the_others_are_waited_for(driver: Driver, base: Base, dying: list[int]) -> None:
    """If readers of full queues die, a publish goes on to wait for the other full queues."""
    with several(base, 4) as channels:
        listed = _as_listed(base, channels)
        held = {channel: fill(channel.directory) for channel in listed}
        lost = [listed[index] for index in dying]
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as count:
            wait([count], UNDER_WAY_SECONDS)
            for channel in lost:
                channel.stop_reading()
                wait([count], UNDER_WAY_SECONDS / 5)  # it may look after each of them
            others = [channel for channel in listed if channel not in lost]
            for channel in others:
                make_room(channel, held[channel])
            found = count.result()
        assert found == len(others), (
            f"4 queues were full, and {len(lost)} of their readers died; then the others had room:"
            f" expected the count {len(others)}, found {found}"
        )


@pytest.mark.requirement("PUB-19", role="publisher")
@pytest.mark.parametrize("number", [17, 65])
def test_each_of_many_full_queues_is_tried_again(driver: Driver, base: Base, number: int) -> None:
    """A publish with a timeout waits for each full queue, however many there are."""
    with several(base, number) as channels:
        held = {channel: fill(channel.directory) for channel in channels}
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as count:
            wait([count], UNDER_WAY_SECONDS)
            for channel in channels:
                make_room(channel, held[channel])
            found = count.result()
        assert found == number, (
            f"{number} queues were full, and had room soon: expected the count {number}, found"
            f" {found}"
        )
