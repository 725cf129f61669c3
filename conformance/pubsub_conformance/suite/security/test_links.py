"""Attacks from inside: links that lead out of the base (BASE-15)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.linux.strace import LIST, MAKE_DIRECTORY, UNLINK, stop, traced
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import (
    Start,
    answers,
    refuses,
    umask,
)
from pubsub_conformance.suite.roles import (
    check_that_it_works,
)

from .support import check_that_it_receives, everything, make_outside, untouched

pytestmark = pytest.mark.timing


@pytest.fixture
def outside(home: Path) -> Path:
    return make_outside(home)


@contextmanager
def led_out(channel: OpenChannel, outside: Path) -> Iterator[Path]:
    """Replace the channel by a link to the outside. Yields where the channel is meanwhile."""
    moved = channel.directory.rename(channel.directory.with_name("moved"))
    channel.directory.symlink_to(outside)
    try:
        yield moved
    finally:
        channel.directory.unlink()
        moved.rename(channel.directory)


@pytest.mark.requirement("BASE-15", role="subscriber")
@pytest.mark.parametrize("what", ["a file", "a message"])
def test_a_channel_is_a_link_when_it_is_fetched_from(
    driver: Driver, outside: Path, what: str
) -> None:
    """If the channel is a link, a fetch neither yields nor removes a file where it leads."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    message = a_message("a", b"of another channel")
    file = outside / str(message.id)
    file.write_bytes(encode(message) if what == "a message" else b"a file")
    with untouched(outside), led_out(channel, outside) as moved:
        enqueue(moved, message.id)
        with contextlib.suppress(Rejected):
            found = driver.fetch(channel)
            assert found is None, f"a message from outside the channel was yielded: {found}"
    check_that_it_receives(driver, channel, "after")


@pytest.mark.requirement("BASE-15", role=("subscriber", "reaper"))
def test_a_channel_is_a_link_when_orphans_are_removed(driver: Driver, outside: Path) -> None:
    """If the channel is a link, stale files where it leads are not removed as orphans."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    files = [outside / str(fresh_id()) for _ in range(3)]
    for file in files:
        file.write_bytes(b"precious")
    let_age(*files)
    with untouched(outside), led_out(channel, outside), contextlib.suppress(Rejected):
        driver.reap(stale_age=0)
    check_that_it_receives(driver, channel, "after")


@pytest.mark.requirement("BASE-12", "BASE-15", role="subscriber")
def test_tmp_is_a_link_when_a_channel_is_closed(driver: Driver, base: Base, outside: Path) -> None:
    """If `tmp` is a link, closing fails as base-unusable: a claim would move the channel out of
    the base."""
    channel = driver.open("a")
    base.make_tmp()  # for an implementation that makes channels elsewhere (CHAN-10)
    base.tmp.rename(base.path / "moved")
    before = everything(outside), outside.stat().st_mtime_ns
    base.tmp.symlink_to(outside)
    with refuses("base-unusable", what="closing a channel where tmp is a symbolic link"):
        driver.close_channel(channel)
    after = everything(outside), outside.stat().st_mtime_ns
    assert after == before, "something was made or removed outside the base"
    base.tmp.unlink()
    driver.close_channel(driver.open("a"))


@pytest.mark.requirement("BASE-15", role="subscriber")
def test_what_is_being_made_becomes_a_link(start: Start, base: Base, outside: Path) -> None:
    """If the directory of a new channel becomes a link, opening changes nothing where it leads."""
    base.make(0o770)
    driver = start(prefix=umask(0o077))
    check_that_it_works("subscriber", driver, base)
    with ExitStack() as after:
        after.enter_context(untouched(outside))
        trace = after.enter_context(traced(driver, stop(MAKE_DIRECTORY, None)))
        opening = trace.begin(driver.open, "a")
        for _ in trace.stops():
            if made := list(base.tmp.iterdir()):
                break
        else:
            not_run("the driver makes no directory in tmp")
        made[0].rename(base.path / "moved")
        made[0].symlink_to(outside)
        swap_back = made[0].unlink
        trace.go_on()
        with answers("an opening whose directory became a link"), contextlib.suppress(Rejected):
            opening.result()
        with contextlib.suppress(FileNotFoundError):
            swap_back()
    check_that_it_works("subscriber", driver, base)


@pytest.mark.requirement("CHAN-15", "BASE-15", role="subscriber")
def test_what_is_being_removed_becomes_a_link(driver: Driver, base: Base, outside: Path) -> None:
    """If directories become links while a channel is removed, nothing changes where they lead."""
    channel = driver.open("a")
    base.make_tmp()  # for an implementation that makes channels elsewhere (CHAN-10)
    for number in range(30):
        (channel.directory / f"lane-{number}").mkdir()
        (channel.directory / f"lane-{number}" / "file").write_bytes(b"")
    away = base.path / "away"
    away.mkdir()
    with untouched(outside), traced(driver, stop(UNLINK)) as trace:
        closing = trace.begin(driver.close_channel, channel)
        trace.stopped()
        # The channel is in its place or in tmp, under any name.
        inner = [file.parent for file in base.path.glob("**/file")]
        for number, entry in enumerate(inner):
            entry.rename(away / str(number))
            entry.symlink_to(outside)
        trace.go_on()
        with answers("a closing whose directories became links"), contextlib.suppress(Rejected):
            closing.result()
    check_that_it_works("subscriber", driver, base)


@pytest.mark.requirement("BASE-15", role="reaper")
@pytest.mark.parametrize("listed", ["the base", "tmp"])
def test_tmp_becomes_a_link_under_a_reaper(
    driver: Driver, base: Base, outside: Path, listed: str
) -> None:
    """If `tmp` becomes a link after a reaper listed it, nothing changes where it leads."""
    base.make()
    (base.tmp / "precious").write_bytes(b"stale")
    (base.tmp / "inner").mkdir()
    let_age(*base.tmp.iterdir(), *outside.iterdir())
    paths = [base.path if listed == "the base" else base.tmp]
    with untouched(outside), traced(driver, stop(LIST), paths=paths) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        base.tmp.rename(base.path / "moved")
        base.tmp.symlink_to(outside)
        trace.go_on()
        with answers("reaping while tmp becomes a link"), contextlib.suppress(Rejected):
            reaping.result()
    base.tmp.unlink()
    check_that_it_works("reaper", driver, base)
