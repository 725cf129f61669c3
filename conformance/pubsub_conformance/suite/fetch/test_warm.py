"""How a channel is lost, whatever its owner did with it before (FETCH-14, FETCH-20)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import Start, refuses
from pubsub_conformance.suite.scenes import close_off, start_without_privileges

from .support import LOST_SECONDS, expect_message, outcome

pytestmark = pytest.mark.timing

Lose = Callable[[OpenChannel, Base], object]


def elsewhere(path: Path) -> Path:
    """Rename a file or directory to a place beside the base."""
    return path.rename(path.parents[path.name != "base"] / f"elsewhere-{time.monotonic_ns()}")


def channel_removed(channel: OpenChannel, _: Base) -> None:
    shutil.rmtree(channel.directory)


def channel_renamed(channel: OpenChannel, base: Base) -> None:
    channel.directory.rename(base.path / f"elsewhere-{channel.directory.name}")


def channel_is_a_file(channel: OpenChannel, base: Base) -> None:
    channel_renamed(channel, base)
    channel.directory.write_bytes(b"")


def channel_is_another(channel: OpenChannel, base: Base) -> None:
    channel_renamed(channel, base)
    channel.directory.mkdir(0o700)
    os.mkfifo(channel.directory / "queue", 0o600)


def channel_is_empty(channel: OpenChannel, base: Base) -> None:
    channel_renamed(channel, base)
    channel.directory.mkdir(0o700)


def channel_is_a_link_to_nothing(channel: OpenChannel, base: Base) -> None:
    channel_renamed(channel, base)
    channel.directory.symlink_to("nowhere")


def queue_removed(channel: OpenChannel, _: Base) -> None:
    (channel.directory / "queue").unlink()


def queue_is_another(channel: OpenChannel, base: Base) -> None:
    queue_removed(channel, base)
    os.mkfifo(channel.directory / "queue", 0o600)


def queue_is_a_file(channel: OpenChannel, base: Base) -> None:
    queue_removed(channel, base)
    (channel.directory / "queue").write_bytes(b"")


def base_removed(_: OpenChannel, base: Base) -> None:
    shutil.rmtree(base.path)


def base_is_a_file(_: OpenChannel, base: Base) -> None:
    base.path.rename(base.path.with_name("elsewhere"))
    base.path.write_bytes(b"")


def base_is_another(_: OpenChannel, base: Base) -> None:
    base.path.rename(base.path.with_name("elsewhere"))
    base.make()


OF_A_CHANNEL: tuple[Lose, ...] = (
    *(channel_removed, channel_renamed, channel_is_a_file, channel_is_another, channel_is_empty),
    *(channel_is_a_link_to_nothing, queue_removed, queue_is_another, queue_is_a_file),
)
LOSSES = pytest.mark.parametrize(
    "losses",
    [OF_A_CHANNEL, [base_removed], [base_is_a_file], [base_is_another]],
    ids=["of a channel", "base removed", "base is a file", "base is another"],
)
"""Those that are looked at together, each on a channel of its own: to notice one takes a second."""


@pytest.mark.requirement("FETCH-14", role="subscriber")
@LOSSES
def test_a_wait_notices_each_loss(driver: Driver, base: Base, losses: Sequence[Lose]) -> None:
    """A wait fails as channel-lost, before its time is over, however the channel was lost."""
    for warm in (False, True):
        channels = [driver.open("a") for _ in losses]
        if warm:
            for channel in channels:
                assert not driver.wait(channel, 0), "the queue is empty"
            sent = base.publish("a")
            for channel in channels:
                assert driver.wait(channel, 1), "the queue holds an id"
                expect_message(driver, channel, sent, "before the channel is lost")
                assert driver.fetch(channel) is None, "the queue is empty"
                assert not driver.wait(channel, 0.01), "the queue is empty"
        for channel, lose in zip(channels, losses, strict=True):
            lose(channel, base)
        for timeout in (0, 2 * LOST_SECONDS) if warm else (0,):
            for channel, lose in zip(channels, losses, strict=True):
                begin = time.monotonic()
                with refuses("channel-lost", what=f"a wait of {timeout:g} s; {_name(lose)}"):
                    driver.wait(channel, timeout)
                took = time.monotonic() - begin
                assert took < LOST_SECONDS, (
                    f"{_name(lose)}: channel-lost came only after {took:.1f} s"
                )
        _restore(base)


@pytest.mark.requirement("FETCH-20", role="subscriber")
@LOSSES
def test_a_fetch_notices_each_loss(driver: Driver, base: Base, losses: Sequence[Lose]) -> None:
    """Fetches from an empty queue soon fail as channel-lost, however the channel was lost."""
    channels = {lose: driver.open("a") for lose in losses}
    sent = base.publish("a")
    for channel in channels.values():
        expect_message(driver, channel, sent, "before the channel is lost")
    for lose, channel in channels.items():
        lose(channel, base)
    deadline = time.monotonic() + LOST_SECONDS
    while channels and time.monotonic() < deadline:
        for lose, channel in list(channels.items()):
            found = outcome(driver, channel)
            if isinstance(found, Rejected):
                assert found.code == "channel-lost", f"{_name(lose)}: found {found}"
                del channels[lose]
            else:
                assert found is None, f"{_name(lose)}: expected no message, found {found}"
        time.sleep(0.05)
    unnoticed = ", ".join(map(_name, channels))
    assert not channels, f"fetching for {LOST_SECONDS:g} s, channel-lost did not come: {unnoticed}"


def _name(lose: Lose) -> str:
    return lose.__name__.replace("_", " ")


def _restore(base: Base) -> None:
    """Make a good base for the next round."""
    if base.path.is_dir():
        shutil.rmtree(base.path)
    else:
        base.path.unlink(missing_ok=True)
    shutil.rmtree(base.path.with_name("elsewhere"), ignore_errors=True)


@pytest.mark.requirement("FETCH-14", role="subscriber")
def test_a_message_of_a_lost_channel_comes_first(driver: Driver, base: Base) -> None:
    """What is in the queue when the channel is moved comes before channel-lost."""
    channel = driver.open("a")
    assert not driver.wait(channel, 0)
    sent = base.publish("a", b"last")
    channel.directory.rename(base.path / "elsewhere")
    assert driver.wait(channel, 0), "an id is in the queue"
    found = driver.fetch(channel)
    assert found is None or found == sent, f"expected the message or none, found {found}"
    with refuses("channel-lost", what="a wait after the last message"):
        driver.wait(channel, 2 * LOST_SECONDS)


@pytest.mark.requirement("FETCH-14", role="subscriber")
@pytest.mark.parametrize("denied", ["base", "channel"])
def test_a_look_that_fails_is_no_loss(start: Start, base: Base, denied: str) -> None:
    """An owner that may not look at its queue keeps waiting, and gets the next message."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    assert not driver.wait(channel, 0)
    place = base.path if denied == "base" else channel.directory
    mode = place.stat().st_mode & 0o777
    for _ in range(2):
        close_off(place, 0)
        try:
            assert not driver.wait(channel, 0), "the queue is empty, and nothing says it is lost"
            assert driver.fetch(channel) is None, "the queue is empty"
        finally:
            place.chmod(mode)
            if os.geteuid() == 0:
                os.chown(place, 0, 0)
        sent = base.publish("a")
        assert driver.wait(channel, 1), "a message came"
        expect_message(driver, channel, sent, "after the look had failed")
