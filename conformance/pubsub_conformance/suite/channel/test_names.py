"""The name and the entries of a channel's directory."""

from __future__ import annotations

import os
import stat

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.driver.group import running
from pubsub_conformance.oracle.base import CHANNEL_NAME, Base

from .support import foreign_entries


@pytest.mark.requirement("CHAN-1", role="subscriber")
@pytest.mark.parametrize("pattern", ["a", "=", "+", "news.=.eu-1.+", "A.0.-"])
def test_the_name_of_a_channel(driver: Driver, base: Base, pattern: str) -> None:
    """The name of a channel has the pattern, 12 characters, and the id of the process that
    reads."""
    channel = driver.open(pattern)
    assert channel.directory in base.channels(), f"the base has no such channel:\n{base.tree()}"
    name = CHANNEL_NAME.fullmatch(channel.directory.name)
    assert name, f"{channel.directory.name!r} is not the name of a channel"
    assert name["pattern"] == pattern
    # The driver may be the child of a wrapper, so the owner may be any process of its group.
    driver_is = running(driver.pid)
    assert int(name["pid"]) in driver_is, f"the process is not one of the driver's: {driver_is}"


@pytest.mark.requirement("CHAN-1", "CHAN-13", role="subscriber")
def test_names_are_fresh(driver: Driver) -> None:
    """No two channels get the same name, however often a pattern is opened."""
    names = []
    for _ in range(25):
        channels = [driver.open("a"), driver.open("a")]
        for channel in channels:
            names.append(channel.directory.name)
            driver.close_channel(channel)
    random = {name.split("_")[1] for name in names}
    assert len(random) == len(names), f"the random parts of these names repeat: {sorted(names)}"


@pytest.mark.requirement("CHAN-2", role="subscriber")
def test_a_channel_has_a_fifo(driver: Driver, base: Base) -> None:
    """The directory of a new channel holds a FIFO named `queue`, and nothing else."""
    channel = driver.open("a")
    assert os.listdir(channel.directory) == ["queue"], f"found:\n{base.tree()}"
    mode = (channel.directory / "queue").lstat().st_mode
    assert stat.S_ISFIFO(mode), f"the queue is no FIFO: {stat.filemode(mode)}"


@pytest.mark.requirement("CHAN-3", role="publisher")
def test_a_publisher_ignores_foreign_entries(driver: Driver, base: Base) -> None:
    """Foreign entries of a channel do not disturb a publish, and stay unchanged."""
    with base.open("a") as channel:
        foreign = foreign_entries(channel.directory)
        for _ in range(3):
            assert driver.publish("a", b"x") == 1
        assert [message.content for message in channel.fetch_all()] == [b"x"] * 3
        assert set(channel.files()) == foreign, f"foreign entries were touched:\n{base.tree()}"


@pytest.mark.requirement("CHAN-3", role="subscriber")
def test_a_subscriber_ignores_foreign_entries(driver: Driver, base: Base) -> None:
    """A subscriber neither fetches nor removes foreign entries of its channel."""
    channel = driver.open("a")
    foreign = foreign_entries(channel.directory)
    assert driver.fetch(channel) is None
    sent = [base.publish("a", b"x") for _ in range(3)]
    assert [driver.fetch(channel) for _ in range(4)] == [*sent, None]
    left = set(os.listdir(channel.directory)) - {"queue"}
    assert left == foreign, f"foreign entries were touched:\n{base.tree()}"


@pytest.mark.requirement("CHAN-23", role="publisher")
def test_a_publisher_ignores_the_marker_bridge(driver: Driver, base: Base) -> None:
    """A channel that holds a file `bridge` gets each message, and keeps the file."""
    with base.open("a") as channel:
        marker = channel.directory / "bridge"
        marker.touch(mode=0o600)
        for _ in range(3):
            assert driver.publish("a", b"x") == 1
        assert [message.content for message in channel.fetch_all()] == [b"x"] * 3
        assert marker.exists(), f"the marker was removed:\n{base.tree()}"


@pytest.mark.requirement("CHAN-23", role="subscriber")
def test_a_subscriber_ignores_the_marker_bridge(driver: Driver, base: Base) -> None:
    """An owner fetches from a channel that holds a file `bridge`, and closing removes both."""
    channel = driver.open("a")
    (channel.directory / "bridge").touch(mode=0o600)
    sent = [base.publish("a", b"x") for _ in range(3)]
    assert [driver.fetch(channel) for _ in range(4)] == [*sent, None]
    driver.close_channel(channel)
    assert base.leftovers() == [], f"something is left after closing:\n{base.tree()}"
