"""Where the base is, and how an implementation makes it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.namespace import NO_SHM, SHM_IS_A_FILE, empty_places, seen_by
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.base.support import SHM, start_on_the_default_base
from pubsub_conformance.suite.helpers import (
    Start,
    through,
    umask,
)
from pubsub_conformance.suite.roles import (
    EVERYBODY,
    attempt,
    check_that_it_works,
)


@through("BASE-1", *EVERYBODY)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_the_environment_names_the_base(
    start: Start, base: Base, role: str, relative: bool
) -> None:
    """If PUBSUB_HOME is set, the base is the directory that it names."""
    name = os.path.relpath(base.path) if relative else str(base.path)
    check_that_it_works(role, start(PUBSUB_HOME=name), base)


@through("BASE-1", *EVERYBODY)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_the_path_goes_up_behind_a_link(
    start: Start, base: Base, home: Path, role: str, relative: bool
) -> None:
    """`link/..` is the directory above the one that the link leads to, as for every program."""
    elsewhere, link = home.parent / "elsewhere", home.parent / "links" / "link"
    elsewhere.mkdir()
    link.parent.mkdir()
    link.symlink_to(elsewhere)
    name = f"{os.path.relpath(link) if relative else link}/../{home.name}"
    check_that_it_works(role, start(PUBSUB_HOME=name), base)


@through("BASE-2", *EVERYBODY)
@pytest.mark.parametrize("home_is", [None, ""], ids=["unset", "empty"])
def test_the_default_base_is_in_dev_shm(start: Start, role: str, home_is: str | None) -> None:
    """Without PUBSUB_HOME, if /dev/shm is a directory, the base is /dev/shm/pubsub."""
    world = empty_places()
    driver = start(prefix=world, PUBSUB_HOME=home_is, TMPDIR="/nowhere")
    check_that_it_works(role, driver, Base(seen_by(driver, "/dev/shm/pubsub")))


@through("BASE-2", *EVERYBODY)
@pytest.mark.parametrize("shm", [NO_SHM, SHM_IS_A_FILE], ids=["missing", "file"])
def test_without_dev_shm_the_default_base_is_in_tmpdir(
    start: Start, home: Path, role: str, shm: str
) -> None:
    """If /dev/shm is not a directory, the base is `pubsub` in the directory that TMPDIR names."""
    if shm == NO_SHM and not SHM.exists():  # then no namespace has to hide it
        check_that_it_works(role, *start_on_the_default_base(start, home))
        return
    world = empty_places(shm, "mkdir /tmp/mine")
    driver = start(prefix=world, PUBSUB_HOME=None, TMPDIR="/tmp/mine")
    check_that_it_works(role, driver, Base(seen_by(driver, "/tmp/mine/pubsub")))


@through("BASE-2", *EVERYBODY)
@pytest.mark.parametrize("tmpdir", [None, ""], ids=["unset", "empty"])
def test_without_dev_shm_and_tmpdir_the_default_base_is_in_tmp(
    start: Start, role: str, tmpdir: str | None
) -> None:
    """If /dev/shm is not a directory and TMPDIR is not set, the base is /tmp/pubsub."""
    driver = start(prefix=empty_places(NO_SHM), PUBSUB_HOME=None, TMPDIR=tmpdir)
    check_that_it_works(role, driver, Base(seen_by(driver, "/tmp/pubsub")))


@through("BASE-3", "publisher", "subscriber")
@pytest.mark.parametrize("mask", [0o000, 0o077], ids=["umask 000", "umask 077"])
def test_the_base_is_made(start: Start, home: Path, role: str, mask: int) -> None:
    """A base that does not exist is made with mode 0700, and its missing parents as well."""
    made = home / "missing" / "pubsub"
    driver = start(prefix=umask(mask), PUBSUB_HOME=str(made))
    attempt(role, driver)
    assert made.is_dir(), f"{role}: the base was not made"
    mode = stat.S_IMODE(made.stat().st_mode) & 0o777
    assert mode == 0o700, f"expected the mode 0700, found {mode:04o}"
    check_that_it_works(role, driver, Base(made))


@through("BASE-3", "publisher", "subscriber")
@pytest.mark.parametrize("ending", ["/", "//", "/.", "/./", "//.", "/./.", "/new/.."])
def test_the_base_is_made_however_it_is_spelled(
    start: Start, home: Path, role: str, ending: str
) -> None:
    """The directory that the path names gets mode 0700, not that of a parent."""
    made = home / "missing" / "pubsub"
    driver = start(prefix=umask(0o022), PUBSUB_HOME=f"{made}{ending}")
    attempt(role, driver)
    mode = stat.S_IMODE(made.stat().st_mode) & 0o777
    assert mode == 0o700, f"expected the mode 0700, found {mode:04o}"
    check_that_it_works(role, driver, Base(made))


@through("BASE-3", "publisher", "subscriber")
def test_a_base_that_is_there_stays_as_it_is(driver: Driver, home: Path, role: str) -> None:
    """An implementation does not change the mode of a base that exists."""
    home.mkdir()
    home.chmod(0o750)
    check_that_it_works(role, driver, Base(home))
    assert stat.S_IMODE(home.stat().st_mode) == 0o750
