"""Closing a channel whose owner has seen that it was lost.

An owner may remember that it was lost. What it closes is nevertheless decided by what is under the
channel's path then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import refuses, snapshot

from .support import is_received

pytestmark = pytest.mark.timing


def expect_loss(driver: Driver, channel: OpenChannel) -> None:
    """The owner has to see that its queue is not under the channel's path."""
    with refuses("channel-lost", what="a wait in a channel that is gone"):
        driver.wait(channel, 0)


@pytest.mark.requirement("CHAN-14", role="subscriber")
@pytest.mark.parametrize("moved", ["channel", "queue", "base"])
def test_a_channel_that_comes_back_is_removed(driver: Driver, base: Base, moved: str) -> None:
    """A channel that was moved away, and back, is removed by closing it, though its owner has seen
    that it was gone."""
    for _ in range(2):
        channel = driver.open("a")
        place = {
            "channel": channel.directory,
            "queue": channel.directory / "queue",
            "base": base.path,
        }[moved]
        elsewhere = place.rename(base.path.parent / "elsewhere")
        expect_loss(driver, channel)
        elsewhere.rename(place)
        driver.close_channel(channel)
        assert not channel.directory.exists(), f"the channel was left:\n{base.tree()}"
        assert os.listdir(base.tmp) == [], f"something is left in tmp:\n{base.tree()}"


def another_directory(channel: OpenChannel, _: Base) -> None:
    channel.directory.mkdir()
    (channel.directory / "theirs").write_bytes(b"theirs")


def another_channel(channel: OpenChannel, base: Base) -> None:
    shutil.rmtree(base.path.parent / "elsewhere")
    base.dead_channel("a", os.getpid()).rename(channel.directory)


def another_base(channel: OpenChannel, base: Base) -> None:
    base.path.rename(base.path.with_name("before"))
    base.make()
    another_directory(channel, base)


@pytest.mark.requirement("CHAN-20", role="subscriber")
@pytest.mark.parametrize(
    "replace",
    [another_directory, another_channel, another_base],
    ids=lambda replace: replace.__name__.replace("_", " "),
)
def test_what_took_the_place_of_a_channel_stays(
    driver: Driver, base: Base, replace: Callable[[OpenChannel, Base], None]
) -> None:
    """Closing leaves what is under the channel's path and is not its own, and other channels."""
    other = driver.open("a")
    channel = driver.open("a")
    assert is_received(base, driver, channel)
    channel.directory.rename(base.path.parent / "elsewhere")
    expect_loss(driver, channel)
    replace(channel, base)
    before = contents(channel.directory)
    with contextlib.suppress(Rejected):  # closing a lost channel may fail
        driver.close_channel(channel)
    assert contents(channel.directory) == before, f"something was removed:\n{base.tree()}"
    assert os.listdir(base.tmp) == [], f"something is left in tmp:\n{base.tree()}"
    with refuses("channel-closed", what="a fetch from a channel that was closed"):
        driver.fetch(channel)
    if replace is not another_base:
        assert driver.fetch(other) is not None, "the other channel of the owner has a message"
        assert is_received(base, driver, other)


def contents(directory: Path) -> list[str]:
    """The entries of a directory and itself, by their paths."""
    return sorted(snapshot(directory))
