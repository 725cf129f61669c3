"""Obstacles: entries that cannot be removed, and processes that act at the same time."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.namespace import own_tmpfs
from pubsub_conformance.linux.strace import RENAME, UNLINK, fail, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, fresh_name
from pubsub_conformance.oracle.message import fresh_id
from pubsub_conformance.oracle.queue import has_reader
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, answers
from pubsub_conformance.suite.scenes import (
    close_off,
    plant_a_deep_one,
    remove_any_depth,
    start_without_privileges,
)

from .support import furnish

pytestmark = pytest.mark.timing


def _leave(base: Base, kind: str) -> Path:
    """Make an entry that a reaper removes once it is stale."""
    if kind == "file in tmp":
        return base.stage(str(fresh_id()), b"left over")
    left = base.dead_channel("a", dead_pid()) if kind == "channel" else base.tmp / fresh_name()
    furnish(left)
    return left


def _kinds_reaped(driver: Driver, base: Base) -> list[str]:
    """The kinds of entries that this reaper removes. (REAP-3, REAP-7 and REAP-9 ask for all.)"""
    base.make()
    left = {kind: _leave(base, kind) for kind in ("channel", "directory in tmp", "file in tmp")}
    let_age(*left.values())
    driver.reap(stale_age=0)
    kinds = [kind for kind, path in left.items() if not path.exists()]
    for path in left.values():
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not kinds:
        not_run("this reaper removes nothing, even without an obstacle")
    return kinds


@pytest.mark.requirement("REAP-11", role="reaper")
def test_what_cannot_be_reaped_keeps_nothing_else_from_it(start: Start, base: Base) -> None:
    """A reaper silently passes over entries that it cannot examine or remove, and removes all
    others."""
    driver = start_without_privileges(start)
    kinds = _kinds_reaped(driver, base)
    dead: list[Path] = []
    for _ in range(8):
        dead += [_leave(base, kind) for kind in kinds]
        _close_off_channels(base)
        unclaimed = base.dead_channel("a", dead_pid())
        furnish(unclaimed)
        close_off(unclaimed, 0o555)
        not_emptied = base.dead_channel("a", dead_pid())
        furnish(not_emptied)
        close_off(not_emptied / "foreign", 0o555)
        for closed, mode in ((".", 0), ("foreign", 0o555)):
            in_tmp = base.tmp / fresh_name()
            furnish(in_tmp)
            close_off(in_tmp / closed, mode)
    let_age(*dead, *base.tmp.iterdir())

    driver.reap(stale_age=0)

    left = [str(path.relative_to(base.path)) for path in dead if path.exists()]
    assert not left, (
        "some directories cannot be examined or removed; a reaper has to remove all others, but"
        f" left {left}"
    )


def _close_off_channels(base: Base) -> list[Path]:
    """Make channels whose readers, if any, this user cannot see."""
    directory, queue = base.dead_channel("a", dead_pid()), base.dead_channel("a", dead_pid())
    close_off(directory, 0)
    close_off(queue / "queue", 0)
    return [directory, queue]


@pytest.mark.requirement("CHAN-9", role="reaper")
def test_what_cannot_be_looked_at_is_not_dead(start: Start, base: Base) -> None:
    """A reaper keeps a channel if it cannot know whether the queue has a reader."""
    driver = start_without_privileges(start)
    unknown = _close_off_channels(base)
    let_age(*unknown)
    driver.reap(stale_age=0)
    lost = [path.name for path in unknown if not path.exists()]
    assert not lost, (
        f"removed, though the reaper could not know whether their queues have a reader: {lost}"
    )


# --- The steps of reaping --------------------------------------------------------------------


def _left_behind(base: Base, where: str) -> Path:
    """Make a dead channel in the base, or a stale directory in tmp, for a reaper to remove."""
    if where == "base":
        left = base.dead_channel("a", dead_pid())
    else:
        base.make()
        left = base.tmp / fresh_name()
        left.mkdir()
        os.mkfifo(left / "queue")
    furnish(left)
    let_age(left, left / "queue")
    return left


def _claimed(base: Base) -> Path:
    """The directory in tmp that a reaper, stopped after its rename, has claimed."""
    found = list(base.tmp.iterdir())
    assert len(found) == 1, f"expected one directory in tmp, which was claimed\n{base.tree()}"
    return found[0]


@pytest.mark.requirement("REAP-12", role="reaper")
@pytest.mark.parametrize("where", ["base", "tmp"])
def test_a_reaper_claims_before_it_removes(driver: Driver, base: Base, where: str) -> None:
    """The first change that a reaper makes is the rename of the whole directory into `tmp`."""
    left = _left_behind(base, where)
    content = sorted(path.relative_to(left) for path in left.rglob("*"))
    with traced(driver, stop((*RENAME, *UNLINK, "rmdir"))) as trace:
        reaping = trace.begin(driver.reap, 0)
        call = trace.stopped()
        assert not left.exists(), (
            f"the reaper's first change on disk was {call}; it has to be the rename of {left.name}"
            f" to a fresh name in tmp\n{base.tree()}"
        )
        claimed = _claimed(base)
        found = sorted(path.relative_to(claimed) for path in claimed.rglob("*"))
        assert found == content, (
            f"{left.name} held {content}; after {call}, the claimed directory holds {found}"
        )
        assert not claimed.name.isdecimal(), (
            f"the claimed directory has the name of a message file: {claimed.name}"
        )
    reaping.result()
    assert not base.leftovers(), f"claimed, but not removed\n{base.tree()}"


@pytest.mark.requirement("REAP-18", role="reaper")
@pytest.mark.parametrize("where", ["base", "tmp"])
def test_what_cannot_be_renamed_is_removed_in_its_place(
    driver: Driver, base: Base, where: str
) -> None:
    """A reaper removes a directory that cannot be renamed (EXDEV, in a container image) in its
    place, its queue first."""
    left = _left_behind(base, where)
    with traced(driver, fail(RENAME, "EXDEV", None), stop((*UNLINK, "rmdir"))) as trace:
        reaping = trace.begin(driver.reap, 0)
        first = True
        for call in trace.stops():  # the first removal of each kind
            assert not first or left.is_dir(), f"{left.name} is gone after the first call, {call}"
            assert not (left / "queue").exists(), (
                f"the first removal was {call}: the queue has to go first, so that publishers see"
                f" no channel\n{base.tree()}"
            )
            first = False
        reaping.result()
    assert not base.leftovers(), (
        f"the directory that cannot be renamed was not removed\n{base.tree()}"
    )


@pytest.mark.requirement("REAP-18", role="reaper")
def test_any_depth_is_removed_in_its_place(start: Start, base: Base) -> None:
    """A reaper removes a channel in its place whose directories are nested deeper than a stack,
    where `tmp` is another file system, and all beside it."""
    base.make()
    driver = start(prefix=own_tmpfs(base.tmp, "size=1m"))
    try:
        dead = [base.dead_channel("a", dead_pid()) for _ in range(5)]
        for path in dead:
            furnish(path)
        plant_a_deep_one(dead[2] / "foreign")
        with answers("reaping"):
            driver.reap()
        left = [path.name for path in dead if path.exists()]
        assert not left, (
            "of five dead channels, one with directories nested 1200 deep, these were left:"
            f" {', '.join(left)}"
        )
    finally:
        remove_any_depth(base.path)


@pytest.mark.requirement("REAP-13", role="reaper")
@pytest.mark.parametrize("where", ["base", "tmp"])
def test_a_reader_that_comes_before_the_claim_keeps_its_channel(
    driver: Driver, base: Base, where: str
) -> None:
    """A reaper looks for a reader again after its claim, and puts back a directory that has one."""
    left = _left_behind(base, where)
    content = sorted(left.rglob("*"))
    with traced(driver, stop(RENAME)) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        reading = os.open(_claimed(base) / "queue", os.O_RDONLY | os.O_NONBLOCK)
        trace.go_on()
        try:
            reaping.result()
            assert sorted(left.rglob("*")) == content, (
                f"the queue of {left.name} has a reader since the claim: the directory has to be"
                f" renamed back unchanged; found\n{base.tree()}"
            )
            assert has_reader(left), "the queue that was renamed back is another one"
        finally:
            os.close(reading)
    driver.reap(stale_age=0)
    assert not base.leftovers(), f"without its reader, the channel was not reaped\n{base.tree()}"


@pytest.mark.requirement("REAP-14", role="reaper")
def test_two_reapers_at_once(start: Start, base: Base) -> None:
    """Two reapers at work at the same time do not fail, and leave nothing."""
    reapers = [start(), start()]
    kinds = _kinds_reaped(reapers[0], base)
    with ThreadPoolExecutor(len(reapers)) as pool:
        for _ in range(3):
            let_age(*[_leave(base, kind) for _ in range(40) for kind in kinds])
            reaping = [pool.submit(reaper.reap, 0) for reaper in reapers]
            for done in reaping:
                done.result()
            assert not base.leftovers(), f"two reapers left something\n{base.tree()}"


@pytest.mark.requirement("REAP-14", role="reaper")
def test_everything_else_is_taken_from_under_a_reaper(driver: Driver, base: Base) -> None:
    """A reaper does not fail if all entries vanish after its first claim, the claimed one too."""
    base.make()
    kinds = ("channel", "directory in tmp", "file in tmp")
    let_age(*[_leave(base, kind) for _ in range(5) for kind in kinds])
    with traced(driver, stop(RENAME)) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        for path in (*base.path.iterdir(), *base.tmp.iterdir()):
            if path != base.tmp:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        trace.go_on()
        reaping.result()
    assert not base.leftovers(), f"left after reaping\n{base.tree()}"


@pytest.mark.requirement("REAP-14", role="reaper")
@pytest.mark.parametrize("kind", ["channel", "directory in tmp", "file in tmp"])
def test_another_process_is_always_faster(driver: Driver, base: Base, kind: str) -> None:
    """If another process is always faster (ENOENT), a reaper does not fail, and removes the
    rest."""
    base.make()
    things = [_leave(base, kind) for _ in range(8)]
    let_age(*things)
    # One of these comes first, whether the reaper sorts its listing or not.
    listed = [Path(entry) for entry in os.scandir(things[0].parent) if Path(entry) in things]
    taken = {listed[0], min(things), max(things)}
    calls = UNLINK if kind == "file in tmp" else RENAME
    paths = [word for path in taken for word in (path, path.name)]
    with traced(driver, fail(calls, "ENOENT", None), paths=paths) as trace:
        driver.reap(stale_age=0)
    if not any(call.injected for call in trace.calls()):
        not_run(f"the driver reaps without {' or '.join(calls)}")
    left = [path.name for path in things if path.exists() and path not in taken]
    assert not left, (
        f"3 of 8 entries (each a {kind}) seemed to be gone when the reaper wanted to remove them:"
        f" it has to remove the others, but left {left}"
    )


@pytest.mark.requirement("REAP-14", role="reaper")
@pytest.mark.parametrize("dead", [False, True], ids=["empty base", "dead channel"])
def test_a_cleaner_has_removed_tmp(driver: Driver, base: Base, dead: bool) -> None:
    """Reaping succeeds in a base whose `tmp` somebody removed, and removes a dead channel there."""
    base.make()
    for _ in range(2):
        if dead:
            left = base.dead_channel("a", dead_pid())
            let_age(left, left / "queue")
        shutil.rmtree(base.tmp, ignore_errors=True)
        driver.reap(stale_age=0)
        assert not base.leftovers(), f"the dead channel was not removed\n{base.tree()}"


@pytest.mark.requirement("REAP-15", role="reaper")
def test_nothing_to_reap(driver: Driver, base: Base) -> None:
    """Reaping where no base exists succeeds, and makes no base."""
    driver.reap()
    assert not base.path.exists(), "reaping made the base"
