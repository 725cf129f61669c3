"""The base directory: where it is, whom it trusts, what is made inside and what stands in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.world import NO_SHM, SHM_IS_A_FILE, in_a_world_of_its_own, seen_by
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, channel_name, fresh_name
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import (
    GROUP,
    Start,
    as_user,
    refuses,
    snapshot,
    start_as,
    through,
    umask,
)
from pubsub_conformance.suite.roles import (
    EVERYBODY,
    attempt,
    check_that_it_is_refused,
    check_that_it_works,
)


def others(path: Path) -> int:
    """The permission bits for group and others."""
    return path.lstat().st_mode & 0o077


# Where it is.


@through("BASE-1", *EVERYBODY)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_the_environment_names_the_base(
    start: Start, base: Base, role: str, relative: bool
) -> None:
    """With PUBSUB_HOME set, the base is the directory that it names."""
    name = os.path.relpath(base.path) if relative else str(base.path)
    check_that_it_works(role, start(PUBSUB_HOME=name), base)


@through("BASE-2", *EVERYBODY)
@pytest.mark.parametrize("home_is", [None, ""], ids=["unset", "empty"])
def test_the_default_base_is_in_dev_shm(start: Start, role: str, home_is: str | None) -> None:
    """Without PUBSUB_HOME, and where /dev/shm is a directory, the base is /dev/shm/pubsub."""
    world = in_a_world_of_its_own()
    driver = start(prefix=world, PUBSUB_HOME=home_is, TMPDIR="/nowhere")
    check_that_it_works(role, driver, Base(seen_by(driver, "/dev/shm/pubsub")))


@through("BASE-2", *EVERYBODY)
@pytest.mark.parametrize("shm", [NO_SHM, SHM_IS_A_FILE], ids=["missing", "file"])
def test_without_dev_shm_the_default_base_is_in_tmpdir(start: Start, role: str, shm: str) -> None:
    """Where /dev/shm is not a directory, the base is pubsub in the directory TMPDIR."""
    world = in_a_world_of_its_own(shm, "mkdir /tmp/mine")
    driver = start(prefix=world, PUBSUB_HOME=None, TMPDIR="/tmp/mine")
    check_that_it_works(role, driver, Base(seen_by(driver, "/tmp/mine/pubsub")))


@through("BASE-2", *EVERYBODY)
@pytest.mark.parametrize("tmpdir", [None, ""], ids=["unset", "empty"])
def test_without_dev_shm_and_tmpdir_the_default_base_is_in_tmp(
    start: Start, role: str, tmpdir: str | None
) -> None:
    """Where /dev/shm is not a directory and TMPDIR is not set, the base is /tmp/pubsub."""
    driver = start(prefix=in_a_world_of_its_own(NO_SHM), PUBSUB_HOME=None, TMPDIR=tmpdir)
    check_that_it_works(role, driver, Base(seen_by(driver, "/tmp/pubsub")))


@through("BASE-3", "publisher", "subscriber")
@pytest.mark.parametrize("mask", [0o000, 0o077], ids=["umask 000", "umask 077"])
def test_the_base_is_made(start: Start, home: Path, role: str, mask: int) -> None:
    """A base that is not there is made with mode 0700, missing parents included."""
    made = home / "missing" / "pubsub"
    driver = start(prefix=umask(mask), PUBSUB_HOME=str(made))
    attempt(role, driver)
    assert made.is_dir(), f"{role}: the base was not made"
    mode = stat.S_IMODE(made.stat().st_mode) & 0o777
    assert mode == 0o700, f"expected the mode 0700, found {mode:04o}"
    check_that_it_works(role, driver, Base(made))


@through("BASE-3", "publisher", "subscriber")
def test_a_base_that_is_there_stays_as_it_is(driver: Driver, home: Path, role: str) -> None:
    """The mode of a base that is there is not changed."""
    home.mkdir()
    home.chmod(0o750)
    check_that_it_works(role, driver, Base(home))
    assert stat.S_IMODE(home.stat().st_mode) == 0o750


# Whom it trusts.


def with_mode(mode: int) -> Callable[[Base], None]:
    def make(base: Base) -> None:
        base.path.chmod(mode)

    return make


def of_another_user(base: Base) -> None:
    if os.geteuid() != 0:
        not_run("only root can give a directory away")
    os.chown(base.path, 4711, -1)


def move_away(base: Base) -> Path:
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
    """Bases to be, each out of a good one."""
    params = [pytest.param(make, id=make.__name__.replace("_", " ")) for make in made]
    params += [pytest.param(make, id=name.replace("_", " ")) for name, make in named.items()]
    return pytest.mark.parametrize("change", params)


def check_that_a_bad_base_is_refused(
    role: str, driver: Driver, base: Base, change: Callable[[Base], None]
) -> None:
    """A base with a channel in it and a dead one, all good but for the change, is refused."""
    base.make()
    base.dead_channel("a", dead_pid())
    with base.open("a") as channel:
        change(base)
        try:
            check_that_it_is_refused(role, driver, base.path.parent, told(base.path))
            assert channel.fetch_all() == []
        finally:
            # Where the oracle finds its channel, to close it.
            elsewhere = base.path.with_name("elsewhere")
            if elsewhere.exists():
                base.path.unlink()
                elsewhere.rename(base.path)


def told(path: Path) -> str:
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
def test_a_default_base_is_refused(start: Start, role: str, change: Callable[[Base], None]) -> None:
    """A default base that is not a directory, of another user, or open to others, is refused."""
    driver = start(prefix=in_a_world_of_its_own(), PUBSUB_HOME=None)
    base = Base(seen_by(driver, "/dev/shm/pubsub"))
    check_that_a_bad_base_is_refused(role, driver, base, change)


@through("BASE-4", *EVERYBODY)
@cases(
    mode_0700=with_mode(0o700),
    mode_0755=with_mode(0o755),
    mode_1777=with_mode(0o1777),
    mode_1770=with_mode(0o1770),
)
def test_a_default_base_is_used(start: Start, role: str, change: Callable[[Base], None]) -> None:
    """A default base of one's own that nobody else may write to, or that is sticky, is used."""
    driver = start(prefix=in_a_world_of_its_own(), PUBSUB_HOME=None)
    base = Base(seen_by(driver, "/dev/shm/pubsub"))
    base.make()
    change(base)
    check_that_it_works(role, driver, base)


@through("BASE-4", "publisher", "subscriber")
def test_a_default_base_of_user_0_is_used(start: Start, role: str) -> None:
    """A sticky default base of user 0 is used by another user, one of a third user is not."""
    world = as_user(4712, *in_a_world_of_its_own())
    driver = start_as(start, world, PUBSUB_HOME=None)
    base = Base(seen_by(driver, "/dev/shm/pubsub"))
    base.make(0o1777)
    check_that_it_works(role, driver, base)
    base.path.rename(base.path.with_name("before"))
    base.make(0o1777)
    os.chown(base.path, 4713, -1)
    check_that_it_is_refused(role, driver, base.path.parent, told(base.path))


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
def test_an_explicit_base_is_refused(
    driver: Driver, base: Base, role: str, change: Callable[[Base], None]
) -> None:
    """An explicit base that is no directory, or open to all, is refused."""
    check_that_a_bad_base_is_refused(role, driver, base, change)


@through("BASE-5", *EVERYBODY)
@cases(
    a_link_to_it,
    of_another_user,
    mode_0700=with_mode(0o700),
    mode_0770=with_mode(0o770),
    mode_2770=with_mode(0o2770),
    mode_1777=with_mode(0o1777),
)
def test_an_explicit_base_is_used(
    driver: Driver, base: Base, role: str, change: Callable[[Base], None]
) -> None:
    """An explicit base may be a symbolic link, another user's, a group's, and sticky."""
    base.make()
    change(base)
    check_that_it_works(role, driver, base)


@through("BASE-6", *EVERYBODY)
def test_the_refusal_of_a_base_helps(driver: Driver, base: Base, role: str) -> None:
    """The text of a base-unusable error names the directory and PUBSUB_HOME."""
    base.make(0o777)
    with pytest.raises(Rejected) as no:
        attempt(role, driver)
    assert no.value.code == "base-unusable"
    assert str(base.path) in no.value.detail, "the text does not name the directory"
    assert "PUBSUB_HOME" in no.value.detail, "the text does not name PUBSUB_HOME"


@pytest.mark.requirement("BASE-7", role="publisher")
@pytest.mark.parametrize("link", [False, True], ids=["directory", "link"])
def test_a_publisher_looks_at_the_base_again(driver: Driver, home: Path, link: bool) -> None:
    """After another directory took the base's place, it is judged anew and published to."""
    place = home.parent / "real" if link else home
    if link:
        home.symlink_to(place)

    def change_to(number: int, mode: int) -> Base:
        """Put a new directory in the base's place."""
        if number:
            place.rename(place.with_name(f"before {number}"))
        base = Base(place)
        base.make(mode)
        return base

    first = change_to(0, 0o700).open("a")
    assert driver.publish("a") == 1
    assert len(first.fetch_all()) == 1

    bad = change_to(1, 0o777).open("a")
    with refuses("base-unusable", what="publish, after a directory open to all took its place"):
        driver.publish("a")
    assert bad.fetch_all() == []

    good = change_to(2, 0o700).open("a")
    assert driver.publish("a") == 1
    assert len(good.fetch_all()) == 1
    assert first.fetch_all() == [], "a channel of a base that was moved away got the message"
    for channel in (first, bad, good):
        channel.stop_reading()


# What is made inside.


def make_things(role: str, driver: Driver, home: Path, opened: ExitStack) -> list[Path]:
    """Have the role make all that it makes in a base that is there, and nothing of it yet."""
    if role == "subscriber":
        directory = driver.open("a").directory
        made = [directory, directory / "queue"]
    else:
        channel = opened.enter_context(Base(home).open("a", pid=driver.pid))
        (home / "tmp").rmdir()  # for the publisher to make
        driver.publish("a")
        made = [channel.directory / name for name in channel.files()]
    tmp = home / "tmp"
    return [tmp, *made] if tmp.exists() else made  # whoever needs none makes none (BASE-11)


@through("BASE-8", "publisher", "subscriber")
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o770])
def test_nothing_is_opened_wider_than_the_base(
    start: Start, home: Path, role: str, mode: int
) -> None:
    """With umask 000, nothing that is made has a bit for group or others that the base lacks."""
    home.mkdir()
    home.chmod(mode)
    driver = start(prefix=umask(0))
    with ExitStack() as opened:
        for made in make_things(role, driver, home, opened):
            assert not others(made) & ~mode, (
                f"{made} has the bits {others(made):03o}, the base {mode & 0o077:03o}"
            )


@through("BASE-9", "publisher", "subscriber")
@pytest.mark.parametrize("mode", [0o770, 0o2770, 0o1777])
def test_a_shared_base_is_shared_whatever_the_umask(
    start: Start, home: Path, role: str, mode: int
) -> None:
    """With umask 077, what is made in a base of group or others can be used by them."""
    home.mkdir()
    home.chmod(mode)
    driver = start(prefix=umask(0o077))
    with ExitStack() as opened:
        for made in make_things(role, driver, home, opened):
            what = made.lstat().st_mode
            expected = mode & 0o077
            if stat.S_ISFIFO(what):
                found, expected = others(made) & 0o022, expected & 0o022
            elif stat.S_ISREG(what):
                found, expected = others(made) & 0o066, expected & 0o044
            else:
                found = others(made)
            assert found == expected, (
                f"{made} ({stat.filemode(what)}) in a base of mode {mode:04o}:"
                f" expected the bits {expected:03o}, found {found:03o}"
            )


@pytest.mark.requirement("BASE-9", role="subscriber")
def test_the_set_group_id_bit_stays(start: Start, home: Path) -> None:
    """A directory that the system made with it keeps it, or what is in it loses the group."""
    home.mkdir()
    home.chmod(0o2770)
    (home / "probe").mkdir()
    if not (home / "probe").stat().st_mode & stat.S_ISGID:
        not_run("this system does not hand the set-group-id bit down (and needs none)")
    with ExitStack() as opened:
        for made in make_things("subscriber", start(prefix=umask(0o077)), home, opened):
            if made.is_dir():
                assert made.stat().st_mode & stat.S_ISGID, f"{made} has lost the set-group-id bit"


@pytest.mark.requirement("BASE-9", role=("publisher", "subscriber"))
def test_two_users_of_a_group_meet(start: Start, base: Base) -> None:
    """In a base of their group, with umask 077, one user's message reaches another's channel."""
    sharing = [as_user(uid, *umask(0o077)) for uid in (4712, 4713)]
    base.make(0o2770)
    base.tmp.rmdir()
    os.chown(base.path, -1, GROUP)
    base.path.chmod(0o2770)
    base.path.parent.chmod(0o711)
    if subprocess.run([*sharing[0], "test", "-w", base.path]).returncode != 0:
        not_run(f"another user cannot reach {base.path}")
    subscriber, publisher = (start_as(start, prefix) for prefix in sharing)
    channel = subscriber.open("a")
    for path in (channel.directory, channel.directory / "queue"):
        access = subprocess.run([*sharing[1], "test", "-w", path])
        assert access.returncode == 0, f"{path} is closed to the group:\n{base.tree()}"
    if publisher.publish("a", b"shared") != 1:
        not_run("the message was not published, though permissions let it (CHAN-9, GUAR-5)")
    message = subscriber.fetch(channel)
    assert message is not None
    assert message.content == b"shared"


# What stands in it.


def put_foreign_entries(base: Base, opened: ExitStack) -> None:
    """Entries that are neither `tmp` nor channels; the name of each says why."""
    path = base.path
    (path / "README").write_bytes(b"foreign")
    (path / "lost+found").mkdir()
    (path / "a").symlink_to("README")
    (path / "dangling").symlink_to("nothing")
    os.mkfifo(path / "fifo")
    with contextlib.suppress(OSError):  # not every file system takes a name that is not UTF-8
        os.mkdir(os.fsencode(path) + b"/\xff")
        opened.callback(os.rmdir, os.fsencode(path) + b"/\xff")  # it has no place in a report
    listener = opened.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(os.path.relpath(path / "socket"))  # such names are limited to 100 octets or so

    pid = dead_pid()
    for name in (
        f"a_{fresh_name()[1:]}_{pid}",  # 11 characters
        f"a_{fresh_name()}_0{pid}",
        f"a_{fresh_name()}_",
        f"a_{fresh_name()}_0",
        f"a_{fresh_name()}_12345678901",
        f"a_{fresh_name()}",
        f"a=_{fresh_name()}_{pid}",
        f"a._{fresh_name()}_{pid}",
        f"_{fresh_name()}_{pid}",
        f"a_{fresh_name()}_{pid}\n",
        f"a_{fresh_name()}_{pid}.old",
        f".a_{fresh_name()}_{pid}",
        "a" * 201 + f"_{fresh_name()}_{pid}",
    ):
        (path / name).mkdir()
        os.mkfifo(path / name / "queue")
        # It has a reader, too.
        opened.callback(os.close, os.open(path / name / "queue", os.O_RDONLY | os.O_NONBLOCK))

    def named_like_a_channel() -> Path:
        return path / channel_name("a", pid)

    named_like_a_channel().write_bytes(b"")
    os.mkfifo(named_like_a_channel())
    named_like_a_channel().symlink_to("lost+found")
    directories = [named_like_a_channel() for _ in range(4)]
    for directory in directories:
        directory.mkdir()
    (directories[0] / "queue").write_bytes(b"")
    (directories[1] / "queue").mkdir()
    (directories[2] / "queue").symlink_to(path / "fifo")
    listener = opened.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(os.path.relpath(directories[3] / "queue"))


@through("BASE-10", *EVERYBODY)
def test_foreign_entries_are_ignored(driver: Driver, base: Base, role: str) -> None:
    """What is neither `tmp` nor a channel disturbs nobody and is not touched."""
    base.make()
    with ExitStack() as opened:
        put_foreign_entries(base, opened)
        before = snapshot(base.path)
        check_that_it_works(role, driver, base)
        if role == "reaper":
            driver.reap(stale_age=0)
        after = snapshot(base.path)
        for name in before.keys() - {str(base.path), str(base.tmp)}:
            assert name in after, f"{name!r} was removed"
            assert after[name] == before[name], f"{name!r} was changed"
        check_that_it_works(role, driver, base)


@through("BASE-11", "publisher", "subscriber")
def test_tmp_is_made(driver: Driver, base: Base, role: str) -> None:
    """A `tmp` that is not there, from the beginning or any more, is made by whoever needs it."""
    base.make()
    for _ in range(2):
        with base.open("a") as channel:
            base.tmp.rmdir()
            if role == "publisher":
                driver.publish("a")
                assert len(channel.fetch_all()) == 1, "published to one channel, without a tmp"
            else:
                # One that makes channels elsewhere (CHAN-10) needs no tmp.
                driver.close_channel(driver.open("a"))
            base.make_tmp()


@pytest.mark.requirement("BASE-11", role="reaper")
def test_tmp_is_made_to_reap(driver: Driver, base: Base) -> None:
    """A reaper that finds something dead and no `tmp` to claim it into makes `tmp`."""
    dead = base.dead_channel("a", dead_pid())
    for entry in base.tmp.iterdir():
        entry.unlink()
    base.tmp.rmdir()
    driver.reap()
    assert not dead.exists(), f"the dead channel is still there:\n{base.tree()}"


@through("BASE-12", *EVERYBODY)
@pytest.mark.parametrize("kind", ["file", "fifo", "link", "dangling"])
def test_a_tmp_that_is_no_directory_is_refused(
    driver: Driver, base: Base, role: str, kind: str
) -> None:
    """Where `tmp` is a file or a symbolic link, whoever needs it fails as base-unusable."""
    base.make()
    base.dead_channel("a", dead_pid())
    elsewhere = base.path.with_name("elsewhere")
    with base.open("a") as channel, ExitStack() as restoring:
        base.tmp.rename(elsewhere)
        os.utime(elsewhere, (0, 0))  # so that whatever is made in it shows
        restoring.callback(base.make_tmp)  # which the kit's channel closes through
        restoring.callback(base.tmp.unlink)
        if kind == "file":
            base.tmp.write_bytes(b"")
        elif kind == "fifo":
            os.mkfifo(base.tmp)
        else:
            base.tmp.symlink_to(elsewhere if kind == "link" else "nowhere")
        before = snapshot(base.path.parent)
        of_tmp = snapshot(base.tmp) | snapshot(elsewhere)
        refused = None
        try:
            attempt(role, driver)
        except Rejected as no:
            refused = no
        if refused is None:
            now = snapshot(base.tmp) | snapshot(elsewhere)
            assert now == of_tmp, f"{role}: tmp is a {kind}, and it was used:\n{base.tree()}"
            not_run(f"this {role} does without tmp")
        what = f"{role}: tmp is a {kind}"
        assert refused.code == "base-unusable", f"{what}: expected base-unusable, found {refused}"
        assert snapshot(base.path.parent) == before, f"{what}: refused, and something was changed"
        assert channel.fetch_all() == []


@through("BASE-13", "publisher", "subscriber")
def test_a_base_that_vanishes_is_made_again(driver: Driver, base: Base, role: str) -> None:
    """After the base was removed under a running process, its next operation makes it again."""
    check_that_it_works(role, driver, base)
    for _ in range(2):
        shutil.rmtree(base.path)
        attempt(role, driver)
        assert base.path.is_dir(), f"{role}: the base was not made again"
        check_that_it_works(role, driver, base)
