"""Which base directories can be trusted (BASE-4 to BASE-7)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.namespace import empty_places, seen_by
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.base.support import start_on_the_default_base
from pubsub_conformance.suite.helpers import (
    Start,
    as_user,
    refuses,
    start_as,
    through,
)
from pubsub_conformance.suite.roles import (
    EVERYBODY,
    attempt,
    check_that_it_is_refused,
    check_that_it_works,
    cold_or_warm,
    warm_up,
)


def with_mode(mode: int) -> Callable[[Base], None]:
    """The change that gives the base this mode."""

    def make(base: Base) -> None:
        base.path.chmod(mode)

    return make


def of_another_user(base: Base) -> None:
    if os.geteuid() != 0:
        not_run("only root can give a directory away")
    os.chown(base.path, 4711, -1)


def move_away(base: Base) -> Path:
    """Rename the base. Returns its new path, from which the test moves it back."""
    return base.path.rename(base.path.with_name("elsewhere"))


def a_link_to_it(base: Base) -> None:
    base.path.symlink_to(move_away(base))


def a_link_to_one_open_to_all(base: Base) -> None:
    base.path.chmod(0o777)
    a_link_to_it(base)


def a_file(base: Base) -> None:
    move_away(base)
    base.path.write_bytes(b"")


def a_fifo(base: Base) -> None:
    move_away(base)
    os.mkfifo(base.path)


def a_link_to_a_file(base: Base) -> None:
    elsewhere = move_away(base)
    (elsewhere / "file").write_bytes(b"")
    base.path.symlink_to(elsewhere / "file")


def a_link_to_nothing(base: Base) -> None:
    base.path.symlink_to(move_away(base) / "nothing")


def cases(*made: Callable[[Base], None], **named: Callable[[Base], None]) -> pytest.MarkDecorator:
    """Run the test with each change of a good base."""
    params = [pytest.param(make, id=make.__name__.replace("_", " ")) for make in made]
    params += [pytest.param(make, id=name.replace("_", " ")) for name, make in named.items()]
    return pytest.mark.parametrize("change", params)


def check_that_a_bad_base_is_refused(
    role: str, driver: Driver, base: Base, change: Callable[[Base], None], warm: bool = False
) -> None:
    """A base with a living and a dead channel has to be refused after the change."""
    base.make()
    if warm:
        get_warm(role, driver, base)
    base.dead_channel("a", dead_pid())
    with base.open("a") as channel:
        change(base)
        try:
            check_that_it_is_refused(role, driver, base.path.parent, describe(base.path))
            assert channel.fetch_all() == []
        finally:
            # The kit closes its channel there.
            elsewhere = base.path.with_name("elsewhere")
            if elsewhere.exists():
                base.path.unlink()
                elsewhere.rename(base.path)
            base.path.chmod(0o700)
            if os.geteuid() == 0:
                os.chown(base.path, 0, -1)
    check_that_it_works(role, driver, base)


def get_warm(role: str, driver: Driver, base: Base) -> None:
    """Have the role work in the base. For a publisher, another directory takes its place then.

    A publisher need not check a directory again that it knows already (BASE-7).
    """
    warm_up(role, driver, base)
    if role == "publisher":
        base.path.rename(base.path.with_name("before"))
        base.make()


def describe(path: Path) -> str:
    """Mode and owner of the base."""
    status = path.lstat()
    return f"the base is {stat.filemode(status.st_mode)}, owner {status.st_uid}"


@through("BASE-4", *EVERYBODY)
@cases(
    a_link_to_it,
    a_file,
    a_fifo,
    of_another_user,
    mode_0777=with_mode(0o777),
    mode_0720=with_mode(0o720),
    mode_0702=with_mode(0o702),
)
@cold_or_warm
def test_a_default_base_is_refused(
    start: Start, home: Path, role: str, change: Callable[[Base], None], warm: bool
) -> None:
    """A default base is refused if it is no directory, belongs to another user, or is open to
    others, and is used again after that."""
    driver, base = start_on_the_default_base(start, home)
    check_that_a_bad_base_is_refused(role, driver, base, change, warm)


@through("BASE-4", *EVERYBODY)
@cases(
    mode_0700=with_mode(0o700),
    mode_0755=with_mode(0o755),
    mode_1777=with_mode(0o1777),
    mode_1770=with_mode(0o1770),
)
def test_a_default_base_is_used(
    start: Start, home: Path, role: str, change: Callable[[Base], None]
) -> None:
    """A default base of the user is used if nobody else may write to it, or if it is sticky."""
    driver, base = start_on_the_default_base(start, home)
    base.make()
    change(base)
    check_that_it_works(role, driver, base)


@through("BASE-4", "publisher", "subscriber")
def test_a_default_base_of_user_0_is_used(start: Start, role: str) -> None:
    """A sticky default base is used if it belongs to user 0, and refused if to a third user."""
    world = as_user(4712, *empty_places())
    driver = start_as(start, world, PUBSUB_HOME=None)
    base = Base(seen_by(driver, "/dev/shm/pubsub"))
    base.make(0o1777)
    check_that_it_works(role, driver, base)
    base.path.rename(base.path.with_name("before"))
    base.make(0o1777)
    os.chown(base.path, 4713, -1)
    check_that_it_is_refused(role, driver, base.path.parent, describe(base.path))


@through("BASE-5", *EVERYBODY)
@cases(
    a_file,
    a_fifo,
    a_link_to_a_file,
    a_link_to_nothing,
    a_link_to_one_open_to_all,
    mode_0777=with_mode(0o777),
    mode_0702=with_mode(0o702),
)
@cold_or_warm
def test_an_explicit_base_is_refused(
    driver: Driver, base: Base, role: str, change: Callable[[Base], None], warm: bool
) -> None:
    """An explicit base is refused if it is no directory, or if all users may write to it, and is
    used again after that."""
    check_that_a_bad_base_is_refused(role, driver, base, change, warm)


@through("BASE-5", *EVERYBODY)
@cases(
    a_link_to_it,
    of_another_user,
    mode_0700=with_mode(0o700),
    mode_0770=with_mode(0o770),
    mode_2770=with_mode(0o2770),
    mode_1777=with_mode(0o1777),
)
@cold_or_warm
def test_an_explicit_base_is_used(
    driver: Driver, base: Base, role: str, change: Callable[[Base], None], warm: bool
) -> None:
    """An explicit base may be a symbolic link, belong to another user, be shared by a group, or
    be sticky."""
    base.make()
    if warm:
        get_warm(role, driver, base)
    change(base)
    check_that_it_works(role, driver, base)


@through("BASE-6", *EVERYBODY)
def test_the_refusal_of_a_base_helps(driver: Driver, base: Base, role: str) -> None:
    """The text of the error base-unusable names the directory and PUBSUB_HOME."""
    base.make(0o777)
    with pytest.raises(Rejected) as refusal:
        attempt(role, driver)
    assert refusal.value.code == "base-unusable"
    assert str(base.path) in refusal.value.detail, "the text does not name the directory"
    assert "PUBSUB_HOME" in refusal.value.detail, "the text does not name PUBSUB_HOME"


@pytest.mark.requirement("BASE-7", role="publisher")
@pytest.mark.parametrize("link", [False, True], ids=["directory", "link"])
def test_a_publisher_looks_at_the_base_again(driver: Driver, home: Path, link: bool) -> None:
    """After another directory took the base's place, a publisher examines it before it uses it."""
    place = home.parent / "real" if link else home
    if link:
        home.symlink_to(place)

    def change_to(number: int, mode: int) -> Base:
        """Put a new directory into the base's place."""
        if number:
            place.rename(place.with_name(f"before {number}"))
        base = Base(place)
        base.make(mode)
        return base

    first = change_to(0, 0o700).open("a")
    assert driver.publish("a") == 1
    assert len(first.fetch_all()) == 1

    bad = change_to(1, 0o777).open("a")
    with refuses("base-unusable", what="a publish to a base that all users may write to"):
        driver.publish("a")
    assert bad.fetch_all() == []

    good = change_to(2, 0o700).open("a")
    assert driver.publish("a") == 1
    assert len(good.fetch_all()) == 1
    assert first.fetch_all() == [], "a channel of the base that was moved away got the message"
    for channel in (first, bad, good):
        channel.stop_reading()
