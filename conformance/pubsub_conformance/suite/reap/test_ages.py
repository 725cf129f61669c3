"""Ages: what a reaper keeps shortly before it is stale, and removes shortly after.

The driver's clock is set ahead of that of the files, so nobody waits for an hour.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import STALE_AGE, Base, fresh_name
from pubsub_conformance.oracle.message import fresh_id
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.clock import (
    AFTER_SECONDS,
    AGES,
    BEFORE_SECONDS,
    HUGE,
    start_with_clock,
)
from pubsub_conformance.suite.helpers import Start

from .support import RUNNING

pytestmark = pytest.mark.timing


def _file(base: Base) -> Path:
    return base.stage(str(fresh_id()), b"left over")


def _directory(base: Base) -> Path:
    left = base.tmp / fresh_name()
    left.mkdir()
    os.mkfifo(left / "queue")
    return left


def _channel(base: Base) -> Path:
    return base.dead_channel("a", RUNNING)


def _without_queue(base: Base) -> Path:
    return base.dead_channel("a", dead_pid(), queue=False)


MAKE: dict[str, Callable[[Base], Path]] = {
    "file in tmp": _file,
    "directory in tmp": _directory,
    "channel of a process that runs": _channel,
    "directory without a queue": _without_queue,
}
"""What is removed once it is stale, and only then."""

REMOVED = dict(zip(MAKE, ("REAP-7", "REAP-9", "REAP-3", "REAP-6"), strict=True))
KEPT = dict(zip(MAKE, ("REAP-8", "REAP-10", "REAP-5", "REAP-6"), strict=True))
"""The requirements that say so."""

removed_and_kept = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.requirement(REMOVED[kind], KEPT[kind], role="reaper"))
        for kind in MAKE
    ],
)
kept = pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.requirement(KEPT[kind], role="reaper")) for kind in MAKE],
)


def _kept(base: Base, kind: str, reap: Callable[[], object]) -> Path:
    """Make an entry, which `reap` has to leave: BEFORE_SECONDS later it would be stale."""
    begin = time.time()
    left = MAKE[kind](base)
    reap()
    took = time.time() - begin
    if not left.exists():
        assert took >= BEFORE_SECONDS, f"a {kind} was removed {BEFORE_SECONDS} s before it is stale"
        not_run(f"it took {took:.1f} s to make an entry and to reap")
    return left


@removed_and_kept
def test_an_entry_becomes_stale(start: Start, base: Base, tmp_path: Path, kind: str) -> None:
    """A reaper keeps what is a few seconds younger than the stale age, and removes what is a few
    seconds older, for stale ages of a second to years, and for the usual one, an hour."""
    driver, clock = start_with_clock(start, base, tmp_path)
    for given in (None, *AGES):
        age = STALE_AGE if given is None else given

        def reap(given: float | None = given) -> None:
            driver.reap(given)

        clock.set(age - BEFORE_SECONDS)
        left = _kept(base, kind, reap)
        clock.set(age + AFTER_SECONDS)
        reap()
        assert not left.exists(), (
            f"a {kind} is {age + AFTER_SECONDS:g} s old, and the stale age is {age:g} s"
            f"{'' if given else ' unless one is given'}: expected nothing of it, found\n"
            f"{base.tree()}"
        )


@pytest.mark.requirement(*KEPT.values(), role="reaper")
def test_an_opening_keeps_what_is_not_stale(start: Start, base: Base, tmp_path: Path) -> None:
    """Opening a channel keeps what has not changed for a little less than an hour."""
    driver, clock = start_with_clock(start, base, tmp_path)
    clock.set(STALE_AGE - BEFORE_SECONDS)
    for kind in MAKE:
        _kept(base, kind, lambda: driver.close_channel(driver.open("b")))


@pytest.mark.requirement("REAP-1", role="subscriber")
def test_an_opening_removes_what_is_stale(start: Start, base: Base, tmp_path: Path) -> None:
    """Opening a channel removes what has not changed for a little more than an hour."""
    driver, clock = start_with_clock(start, base, tmp_path)
    for make in MAKE.values():
        make(base)
    clock.set(STALE_AGE + AFTER_SECONDS)
    driver.close_channel(driver.open("b"))
    assert not base.leftovers(), (
        f"after an opening, everything is stale and nothing has a reader; found\n{base.tree()}"
    )


@kept
def test_a_stale_age_of_many_years(driver: Driver, base: Base, kind: str) -> None:
    """A reaper keeps what is seconds old, however large the stale age is: it does not overflow."""
    base.make()
    left = MAKE[kind](base)
    for age in HUGE:
        driver.reap(age)
        assert left.exists(), f"a {kind} that is seconds old was removed; the stale age is {age} s"


@kept
def test_a_clock_that_was_set_back(start: Start, base: Base, tmp_path: Path, kind: str) -> None:
    """A reaper keeps what is younger than its clock says it can be, whatever the stale age is."""
    driver, clock = start_with_clock(start, base, tmp_path)
    left = MAKE[kind](base)
    for back in (10, 3600, 2**30, int(time.time()) - 1000):
        clock.set(-back)
        for given in (None, 0, 1, 60):
            driver.reap(given)
            assert left.exists(), (
                f"a {kind} was changed after the time of the reaper's clock, which was set back by"
                f" {back} s: it is not stale, but was removed (stale age: {given or STALE_AGE} s)"
            )


@pytest.mark.requirement("REAP-3", "REAP-5", role="reaper")
def test_a_queue_that_was_modified_last(start: Start, base: Base, tmp_path: Path) -> None:
    """A queue becomes stale when the stale age has passed since the later of its st_ctime and its
    st_mtime."""
    driver, clock = start_with_clock(start, base, tmp_path)
    left = _channel(base)
    later = 1000
    modified = (left / "queue").stat().st_ctime + later
    os.utime(left / "queue", (modified, modified))
    clock.set(STALE_AGE + later / 2)
    driver.reap()
    assert left.exists(), (
        f"the queue was modified {STALE_AGE - later / 2:g} s ago, so it is not stale, and its"
        " process runs: its channel has to stay"
    )
    clock.set(STALE_AGE + later + AFTER_SECONDS)
    driver.reap()
    assert not left.exists(), f"a queue without a reader is stale; found\n{base.tree()}"


@pytest.mark.requirement("REAP-7", "REAP-9", role="reaper")
@pytest.mark.parametrize("kind", ["file in tmp", "directory in tmp"])
def test_an_entry_of_tmp_is_as_old_as_its_status(
    start: Start, base: Base, tmp_path: Path, kind: str
) -> None:
    """The age of an entry of `tmp` is the time since its st_ctime, whatever its st_mtime is."""
    driver, clock = start_with_clock(start, base, tmp_path)
    left = MAKE[kind](base)
    later = time.time() + 2 * STALE_AGE
    os.utime(left, (later, later))
    clock.set(STALE_AGE + AFTER_SECONDS)
    driver.reap()
    assert not left.exists(), (
        f"the status of a {kind} has not changed for over an hour (its st_mtime is in the future):"
        f" expected nothing of it, found\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-4", "REAP-10", role="reaper")
def test_a_reader_protects_at_any_age(start: Start, base: Base, tmp_path: Path) -> None:
    """A reaper keeps a channel, and a directory in `tmp`, whose queue has a reader, at any age."""
    driver, clock = start_with_clock(start, base, tmp_path)
    with base.open("a", pid=dead_pid()) as channel:
        coming = _directory(base)
        reading = os.open(coming / "queue", os.O_RDONLY | os.O_NONBLOCK)
        try:
            for ahead in (STALE_AGE + AFTER_SECONDS, 86400, 2**32):
                clock.set(ahead)
                driver.reap()
                for left in (channel.directory, coming):
                    assert left.exists(), (
                        f"{left.name} is {ahead} s old, but its queue has a reader; found\n"
                        f"{base.tree()}"
                    )
        finally:
            os.close(reading)
