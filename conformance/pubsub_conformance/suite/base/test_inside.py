"""The entries of the base: those that an implementation makes, and foreign ones."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, channel_name, fresh_name
from pubsub_conformance.plugin import not_run
from pubsub_conformance.sockets import make_socket
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
    cold_or_warm,
    warm_up,
)

from .support import make_things, others


def _readable(mode: int) -> int:
    """The read bits of group and others that may both read and write in a base of this mode."""
    return mode & 0o044 & (mode & 0o022) << 1


@through("BASE-8", "publisher", "subscriber")
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o770, 0o775, 0o1773], ids="{:04o}".format)
def test_nothing_is_opened_wider_than_the_base(
    start: Start, home: Path, role: str, mode: int
) -> None:
    """With umask 000, no new entry has a permission bit for group or others that the base lacks,
    and who may not write in the base may read no message."""
    home.mkdir()
    home.chmod(mode)
    driver = start(prefix=umask(0))
    with ExitStack() as opened:
        for made in make_things(role, driver, home, opened):
            allowed = _readable(mode) if made.is_file() else mode
            assert not others(made) & ~allowed, (
                f"{made} has the bits {others(made):03o} in a base of mode {mode:04o}"
            )


@through("BASE-9", "publisher", "subscriber")
@pytest.mark.parametrize(
    "mode", [0o770, 0o2770, 0o1777, 0o775, 0o2775, 0o1773, 0o1732], ids="{:04o}".format
)
def test_a_shared_base_is_shared_whatever_the_umask(
    start: Start, home: Path, role: str, mode: int
) -> None:
    """With umask 077, group and others can use new entries as far as they can use the base."""
    home.mkdir()
    home.chmod(mode)
    driver = start(prefix=umask(0o077))
    with ExitStack() as opened:
        for made in make_things(role, driver, home, opened):
            made_mode = made.lstat().st_mode
            expected = mode & 0o077
            if stat.S_ISFIFO(made_mode):
                found, expected = others(made) & 0o022, expected & 0o022
            elif stat.S_ISREG(made_mode):
                found, expected = others(made) & 0o066, _readable(mode)
            else:
                found = others(made)
            assert found == expected, (
                f"{made} ({stat.filemode(made_mode)}) in a base of mode {mode:04o}:"
                f" expected the bits {expected:03o}, found {found:03o}"
            )


@pytest.mark.requirement("BASE-9", role="subscriber")
def test_the_set_group_id_bit_stays(start: Start, home: Path) -> None:
    """A new directory keeps the set-group-id bit that the system gives it, so that its entries get
    the group."""
    home.mkdir()
    home.chmod(0o2770)
    (home / "probe").mkdir()
    if not (home / "probe").stat().st_mode & stat.S_ISGID:
        not_run("this system gives new directories no set-group-id bit (and needs none)")
    with ExitStack() as opened:
        for made in make_things("subscriber", start(prefix=umask(0o077)), home, opened):
            if made.is_dir():
                assert made.stat().st_mode & stat.S_ISGID, f"{made} has lost the set-group-id bit"


@pytest.mark.requirement("BASE-9", role=("publisher", "subscriber"))
def test_two_users_of_a_group_meet(start: Start, base: Base) -> None:
    """In a base of their group, with umask 077, one user's message reaches another user's
    channel."""
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
        assert access.returncode == 0, f"the group may not write to {path}:\n{base.tree()}"
    if publisher.publish("a", b"shared") != 1:
        not_run("permissions allow the publish, but it reached no channel (CHAN-9, GUAR-5)")
    message = subscriber.fetch(channel)
    assert message is not None
    assert message.content == b"shared"


# Foreign entries, and `tmp`.


def put_foreign_entries(base: Base, opened: ExitStack) -> None:
    """Make entries that are neither `tmp` nor channels; the name of each says why."""
    path = base.path
    (path / "README").write_bytes(b"foreign")
    (path / "lost+found").mkdir()
    (path / "a").symlink_to("README")
    (path / "dangling").symlink_to("nothing")
    os.mkfifo(path / "fifo")
    with contextlib.suppress(OSError):  # not every file system takes a name that is not UTF-8
        os.mkdir(os.fsencode(path) + b"/\xff")
        opened.callback(os.rmdir, os.fsencode(path) + b"/\xff")  # a report cannot show it
    make_socket(path / "socket")

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
        # Each has a reader as well.
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
    make_socket(directories[3] / "queue")


@through("BASE-10", *EVERYBODY)
def test_foreign_entries_are_ignored(driver: Driver, base: Base, role: str) -> None:
    """Entries that are neither `tmp` nor channels disturb no operation, and stay unchanged."""
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
    """A process that needs `tmp` makes it if it does not exist, or does not exist any more."""
    base.make()
    for _ in range(2):
        with base.open("a") as channel:
            shutil.rmtree(base.tmp)
            if role == "publisher":
                driver.publish("a")
                assert len(channel.fetch_all()) == 1, "one channel, without tmp, gets the message"
            else:
                # An implementation that makes channels elsewhere (CHAN-10) needs no tmp.
                driver.close_channel(driver.open("a"))
            base.make_tmp()


@pytest.mark.requirement("BASE-11", role="reaper")
def test_tmp_is_made_to_reap(driver: Driver, base: Base) -> None:
    """A reaper that finds a dead channel, but no `tmp`, makes `tmp` and removes the channel."""
    dead = base.dead_channel("a", dead_pid())
    for entry in base.tmp.iterdir():
        entry.unlink()
    base.tmp.rmdir()
    driver.reap()
    assert not dead.exists(), f"the dead channel still exists:\n{base.tree()}"


@through("BASE-12", *EVERYBODY)
@pytest.mark.parametrize("kind", ["file", "fifo", "link", "dangling"])
@cold_or_warm
def test_a_tmp_that_is_no_directory_is_refused(
    driver: Driver, base: Base, role: str, kind: str, warm: bool
) -> None:
    """Where `tmp` is a file or a symbolic link, an operation that needs it fails as
    base-unusable and changes nothing."""
    base.make()
    if warm:
        warm_up(role, driver, base)
    base.dead_channel("a", dead_pid())
    elsewhere = base.path.with_name("elsewhere")
    with base.open("a") as channel, ExitStack() as restoring:
        base.tmp.rename(elsewhere)
        os.utime(elsewhere, (0, 0))  # so that a new entry changes its time
        restoring.callback(base.make_tmp)  # the kit needs it to close its channel
        restoring.callback(base.tmp.unlink)
        if kind == "file":
            base.tmp.write_bytes(b"")
        elif kind == "fifo":
            os.mkfifo(base.tmp)
        else:
            base.tmp.symlink_to(elsewhere if kind == "link" else "nowhere")
        before = snapshot(base.path.parent)
        of_tmp = snapshot(base.tmp) | snapshot(elsewhere)
        refusal = None
        try:
            attempt(role, driver)
        except Rejected as error:
            refusal = error
        if refusal is None:
            now = snapshot(base.tmp) | snapshot(elsewhere)
            assert now == of_tmp, f"{role}: tmp is a {kind}, and it was used:\n{base.tree()}"
            not_run(f"this {role} does not need tmp")
        what = f"{role}: tmp is a {kind}"
        assert refusal.code == "base-unusable", f"{what}: expected base-unusable, found {refusal}"
        assert snapshot(base.path.parent) == before, f"{what}: refused, but something was changed"
        assert channel.fetch_all() == []
    check_that_it_works(role, driver, base)


@through("BASE-13", "publisher", "subscriber")
def test_a_base_that_vanishes_is_made_again(driver: Driver, base: Base, role: str) -> None:
    """After somebody removed the base, the next operation of a running process makes it again."""
    check_that_it_works(role, driver, base)
    for _ in range(2):
        shutil.rmtree(base.path)
        attempt(role, driver)
        assert base.path.is_dir(), f"{role}: the base was not made again"
        check_that_it_works(role, driver, base)
