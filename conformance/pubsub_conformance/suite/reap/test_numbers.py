"""Numbers: as many dead channels and stale entries as no array of a fixed size holds."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, channel_name, fresh_name
from pubsub_conformance.oracle.message import fresh_id
from pubsub_conformance.suite.numbers import LONGEST, make_foreign, missing, room_for

from .support import RUNNING

pytestmark = pytest.mark.timing

MANY = 513


def _make_many(base: Base, number: int, pid: int, pattern: str) -> set[str]:
    """Make so many channels without a reader, in the base at once. Returns their names."""
    names = {channel_name(pattern, pid) for _ in range(number)}
    for name in names:
        os.mkdir(base.path / name, 0o700)
        os.mkfifo(base.path / name / "queue", 0o600)
    return names


@pytest.mark.requirement("REAP-3", "REAP-4", "REAP-5", "BASE-10", role="reaper")
@pytest.mark.parametrize(
    ("number", "length"), [(1025, 1), (257, LONGEST)], ids=["short names", "the longest names"]
)
def test_hundreds_of_dead_channels(driver: Driver, base: Base, number: int, length: int) -> None:
    """A reaper removes hundreds of dead channels at once, and nothing else among them: no channel
    with a reader, no young one whose process runs, no foreign entry."""
    base.make()
    pattern = "a" * length
    dead: set[str] = set()
    with room_for(300), ExitStack() as closing:
        foreign = make_foreign(base.path, 100)
        for _ in range(5):
            dead |= _make_many(base, number // 5 + 1, dead_pid(), pattern)
            opened = [closing.enter_context(base.open(pattern, pid=dead_pid())) for _ in range(26)]
            foreign += [channel.directory.name for channel in opened]
            foreign += _make_many(base, 26, RUNNING, pattern)
        driver.reap()
        left = dead & {*os.listdir(base.path)}
        assert not left, f"of {len(dead)} dead channels, {len(left)} were left after one reap"
        gone = missing(foreign, base.path)
        assert not gone, f"{len(gone)} of {len(foreign)} entries that are no dead channels are gone"
        in_tmp = os.listdir(base.tmp)
        assert not in_tmp, f"{len(in_tmp)} claimed directories were left in tmp"


@pytest.mark.requirement("REAP-7", "REAP-9", role="reaper")
def test_hundreds_of_stale_entries_of_tmp(driver: Driver, base: Base) -> None:
    """A reaper removes hundreds of stale files and directories from `tmp` at once."""
    base.make()
    for _ in range(MANY):
        (base.tmp / str(fresh_id())).touch()
        os.mkdir(base.tmp / fresh_name())
    make_foreign(base.tmp, 100)
    let_age(*base.tmp.iterdir())
    driver.reap(stale_age=0)
    left = os.listdir(base.tmp)
    assert not left, f"of {2 * MANY + 100} stale entries of tmp, {len(left)} were left"


@pytest.mark.requirement("REAP-3", role="reaper")
def test_a_dead_channel_with_thousands_of_entries(driver: Driver, base: Base) -> None:
    """A reaper removes a dead channel that holds thousands of messages, wide and deep foreign
    directories, and foreign entries with long names."""
    left = base.dead_channel("a", dead_pid())
    for _ in range(2049):
        (left / str(fresh_id())).touch()
    make_foreign(left, 100)
    for _ in range(257):
        os.mkdir(left / fresh_name())
    inner = left / "deep"
    for _ in range(257):
        inner.mkdir()
        inner = inner / "d"
    driver.reap()
    assert not base.leftovers(), (
        f"a dead channel was not removed: {len(base.leftovers())} entries are left"
    )
