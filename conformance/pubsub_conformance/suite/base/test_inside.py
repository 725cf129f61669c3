"""What is made in the base, and what lies in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, channel_name, fresh_name
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import (
    GROUP,
    Start,
    as_user,
    snapshot,
    start_as,
    through,
    umask,
)
from pubsub_conformance.suite.roles import (
    EVERYBODY,
    attempt,
    check_that_it_works,
)

from .support import others


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
