"""What becomes of the base and its `tmp` between two operations of one process.

An implementation may keep what it knows of them, and descriptors of them, from one operation to the
next. This shows only here.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import Start, snapshot, through, umask
from pubsub_conformance.suite.roles import (
    EVERYBODY,
    attempt,
    check_that_it_works,
    warm_up,
)

from .support import make_things, others


def another_directory(base: Base) -> None:
    base.make()


def a_link_to_another(base: Base) -> None:
    target = Base(base.path.with_name("target"))
    target.make()
    base.path.symlink_to(target.path)


def a_directory_without_tmp(base: Base) -> None:
    base.path.mkdir()


@through("BASE-1", *EVERYBODY)
@pytest.mark.parametrize(
    "replace",
    [another_directory, a_link_to_another, a_directory_without_tmp],
    ids=lambda replace: replace.__name__.replace("_", " "),
)
def test_another_base_takes_the_place(
    driver: Driver, base: Base, role: str, replace: Callable[[Base], None]
) -> None:
    """The base is the directory that has its path now: the one that had it before stays as it
    is."""
    base.make()
    warm_up(role, driver, base)
    for number in range(2):
        before = base.path.rename(base.path.with_name(f"before {number}"))
        (before / "tmp").chmod(0o700)
        old = Base(before)
        dead = old.dead_channel("a", dead_pid())
        with old.open("a") as channel:
            found = snapshot(before)
            replace(base)
            check_that_it_works(role, driver, base)
            assert snapshot(before) == found, f"{role}: the former base was changed: {old.tree()}"
            assert channel.fetch_all() == [], f"{role}: the former base got the message"
        shutil.rmtree(dead)
        if base.path.is_symlink():
            (base.path.resolve()).rename(base.path.with_name(f"target {number}"))
            base.path.unlink()
            base.make()


@through("BASE-3", "publisher", "subscriber")
@pytest.mark.parametrize("mask", [0o000, 0o077], ids=["umask 000", "umask 077"])
def test_a_base_that_is_made_again_has_its_mode(
    start: Start, home: Path, role: str, mask: int
) -> None:
    """A base that is made again has mode 0700, whatever the mode of the one that vanished."""
    base = Base(home)
    base.make(0o2770)
    driver = start(prefix=umask(mask))
    warm_up(role, driver, base)
    for _ in range(2):
        shutil.rmtree(home)
        attempt(role, driver)
        mode = stat.S_IMODE(home.stat().st_mode) & 0o777
        assert mode == 0o700, f"expected the mode 0700, found {mode:04o}"
        with ExitStack() as opened:
            for made in make_things(role, driver, home, opened):
                assert not others(made), f"{made} has the bits {others(made):03o}, the base none"


@through("BASE-8", "publisher", "subscriber")
def test_new_entries_follow_the_mode_that_the_base_has_now(
    start: Start, home: Path, role: str
) -> None:
    """After the mode of the base was changed, no new entry has a bit that the base lacks now, even
    with umask 000."""
    _change_modes(start(prefix=umask(0)), home, role)


@through("BASE-9", "publisher", "subscriber")
def test_new_entries_are_shared_as_the_base_is_now(start: Start, home: Path, role: str) -> None:
    """After the mode of the base was changed, group and others can use new entries as far as the
    base, even with umask 077."""
    _change_modes(start(prefix=umask(0o077)), home, role)


def _change_modes(driver: Driver, home: Path, role: str) -> None:
    base = Base(home)
    base.make()
    warm_up(role, driver, base)
    for mode in (0o770, 0o700, 0o1777, 0o750, 0o770):
        home.chmod(mode)
        base.tmp.chmod(mode & 0o777)  # nobody else does
        shared = mode & 0o077 if mode & 0o022 else 0
        with ExitStack() as opened:
            for made in make_things(role, driver, home, opened):
                bits = {stat.S_IFIFO: 0o022, stat.S_IFREG: 0o044}.get(
                    stat.S_IFMT(made.lstat().st_mode), 0o077
                )
                found = others(made)
                what = f"{made}, in a base whose mode is {mode:04o} now, has the bits {found:03o}"
                wrong = (shared & bits & ~found) | (found & ~mode)
                assert wrong == 0, what
            if role == "subscriber":
                shutil.rmtree(made.parent)


def _remove(base: Base) -> None:
    shutil.rmtree(base.tmp)


def _replace(base: Base) -> None:
    base.tmp.rename(base.path.with_name("elsewhere"))
    base.tmp.mkdir(0o700)


def _move(base: Base) -> None:
    base.tmp.rename(base.path.with_name("elsewhere"))


@through("BASE-11", *EVERYBODY)
@pytest.mark.parametrize("lose", [_remove, _replace, _move], ids=["removed", "replaced", "moved"])
def test_tmp_is_another_or_gone(
    driver: Driver, base: Base, role: str, lose: Callable[[Base], None]
) -> None:
    """After `tmp` was removed or replaced, a process uses the one that is there now, or makes
    it."""
    base.make()
    warm_up(role, driver, base)
    elsewhere = base.path.with_name("elsewhere")
    for _ in range(2):
        dead = base.dead_channel("a", dead_pid())
        with base.open("a") as channel:
            lose(base)
            before = snapshot(elsewhere) if elsewhere.exists() else None
            if role == "publisher":
                assert driver.publish("a") == 1, "one channel is open"
                assert len(channel.fetch_all()) == 1, "the channel got no message"
            elif role == "subscriber":
                opened = driver.open("a")
                driver.close_channel(opened)
                assert not opened.directory.exists(), "the channel was not removed"
            else:
                driver.reap()
                assert not dead.exists(), f"the dead channel still exists:\n{base.tree()}"
            if before is not None:
                assert snapshot(elsewhere) == before, f"{role}: the former tmp was used"
                shutil.rmtree(elsewhere)
            base.make_tmp()
        shutil.rmtree(dead, ignore_errors=True)


@pytest.mark.requirement("BASE-11", "CHAN-14", role="subscriber")
@pytest.mark.parametrize("lose", [_remove, _replace, _move], ids=["removed", "replaced", "moved"])
def test_tmp_is_another_or_gone_at_closing(
    driver: Driver, base: Base, lose: Callable[[Base], None]
) -> None:
    """A channel that was opened before `tmp` was removed or replaced is closed and removed."""
    elsewhere = base.path.with_name("elsewhere")
    for _ in range(2):
        channels = [driver.open("a") for _ in range(2)]
        for channel in channels:
            lose(base)
            driver.close_channel(channel)
            assert not channel.directory.exists(), f"the channel was left:\n{base.tree()}"
            if elsewhere.exists():
                assert os.listdir(elsewhere) == [], "the channel was moved into the former tmp"
                elsewhere.rmdir()
            base.make_tmp()
            assert os.listdir(base.tmp) == [], f"something is left in tmp:\n{base.tree()}"
