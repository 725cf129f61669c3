"""Attacks by another user, from outside the base and from its group."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pubsub_conformance.driver import Rejected
from pubsub_conformance.linux.namespace import empty_places, seen_by
from pubsub_conformance.oracle.base import Base, fresh_name, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import (
    GROUP,
    Start,
    answers,
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
)
from pubsub_conformance.suite.scenes import close_off, start_without_privileges

from .support import MEMBER, OUTSIDER, VICTIM, let_in, marked


def make_private(_: Path) -> None:
    """Leave the base for the implementation to make."""


def make_readable(home: Path) -> None:
    """Make a base that all may read, and only the victim may write."""
    home.mkdir()
    os.chown(home, VICTIM.uid, GROUP)
    home.chmod(0o755)


def make_shared(home: Path) -> None:
    """Make a base of the group."""
    home.mkdir()
    os.chown(home, VICTIM.uid, GROUP)
    home.chmod(0o2770)


def bases(**made: Callable[[Path], None]) -> pytest.MarkDecorator:
    """Run the test in a base of each kind: BASE-9 for a shared base, BASE-8 for the others."""
    roles = ("publisher", "subscriber")
    marks = {name: marked("BASE-9" if name == "shared" else "BASE-8", role=roles) for name in made}
    params = [pytest.param(make, id=name, marks=marks[name]) for name, make in made.items()]
    return pytest.mark.parametrize("make", params)


READING = (
    'ls "$1"',
    'ls "$1/tmp"',
    'ls "$2"',
    'cat "$2/$3"',
    'head -c 8 "$2/queue"',
    'exec 3<>"$2/queue"',
)


@bases(private=make_private, shared=make_shared)
def test_an_outsider_reads_nothing(start: Start, home: Path, make: Callable[[Path], None]) -> None:
    """A user who may not enter the base reads no message, even with umask 000 and known names."""
    let_in(home)
    make(home)
    victim = start_as(start, VICTIM.prefix(*umask(0)))
    channel = victim.open("a")
    assert victim.publish("a", b"secret") == 1
    (message,) = (entry.name for entry in channel.directory.iterdir() if entry.name != "queue")
    for script in READING:
        assert not OUTSIDER.can(script, home, channel.directory, message), (
            f"an outsider did {script}"
        )
    if make is make_shared:
        # The parent directory is not the reason: a member of the group can read the message.
        assert MEMBER.can('cat "$1"', channel.directory / message), "a member could not read"
    fetched = victim.fetch(channel)
    assert fetched is not None
    assert fetched.content == b"secret"


WRITING = (
    'mkdir "$1/a_aaaaaaaaaaaa_1"',
    'rm -r "$1/tmp"',
    'mv "$1/tmp" "$1/elsewhere"',
    'mv "$2" "$1/elsewhere"',
    'rm "$2/queue"',
    'rm -r "$2"',
    'ln -s /etc/passwd "$2/1"',
    'printf 12345678 >>"$2/queue"',
    ': >"$1/tmp/1"',
    'mkfifo "$1/tmp/fifo"',
    'chmod 777 "$1"',
)


@bases(private=make_private, readable=make_readable, shared=make_shared)
def test_an_outsider_changes_nothing(
    start: Start, home: Path, make: Callable[[Path], None]
) -> None:
    """Another user cannot publish, open a channel or remove anything, by hand or through the
    implementation."""
    let_in(home)
    make(home)
    victim = start_as(start, VICTIM.prefix(*umask(0)))
    channel = victim.open("a")
    before = snapshot(home.parent)
    for script in WRITING:
        assert not OUTSIDER.can(script, home, channel.directory), f"an outsider did {script}"
    attacker = start_as(start, OUTSIDER.prefix())
    for what, attack in (
        ("a publish", lambda: attacker.publish("a", b"forged")),
        ("an opening", lambda: attacker.open("a")),
    ):
        with refuses("base-unusable", "io-error", what=f"{what} by an outsider"):
            attack()
    if "reaper" in attacker.hello.roles:
        with contextlib.suppress(Rejected):
            attacker.reap(stale_age=0)
    assert snapshot(home.parent) == before, f"an outsider changed something:\n{Base(home).tree()}"
    assert victim.fetch(channel) is None, "the outsider's message arrived"
    assert victim.publish("a", b"honest") == 1
    fetched = victim.fetch(channel)
    assert fetched is not None
    assert fetched.content == b"honest"


# What an outsider makes in the place of /dev/shm/pubsub. /dev/shm/private belongs to the victim.
PLANTED = (
    "mkdir -m 0700 pubsub",
    "mkdir -m 1777 pubsub; mkdir -m 1777 pubsub/tmp pubsub/a_aaaaaaaaaaaa_1;"
    " mkfifo -m 0666 pubsub/a_aaaaaaaaaaaa_1/queue",
    "ln -s private pubsub",
    "mkdir -m 1777 trap; ln -s trap pubsub",
    "mkfifo -m 0666 pubsub",
)


@through("BASE-4", *EVERYBODY)
def test_another_user_makes_the_default_base(start: Start, role: str) -> None:
    """A default base that another user made, after the base had vanished, is refused."""
    VICTIM.prefix()  # without root, the test is not run
    private = f"mkdir -m 0700 /dev/shm/private; chown {VICTIM.uid} /dev/shm/private"
    driver = start_as(start, VICTIM.prefix(*empty_places(private)), PUBSUB_HOME=None)
    if shutil.which("nsenter") is None:
        not_run("the attacker has no nsenter to reach the victim's default base")
    place = seen_by(driver, "/dev/shm")
    for planted in PLANTED:
        attempt(role, driver)
        shutil.rmtree(place / "pubsub", ignore_errors=True)
        assert OUTSIDER.can(f"cd /dev/shm; {planted}", beside=driver), f"cannot plant: {planted}"
        check_that_it_is_refused(role, driver, place, f"another user made the base: {planted}")
        assert OUTSIDER.can("cd /dev/shm; rm -rf pubsub trap", beside=driver)
    attempt(role, driver)


# --- From inside: another user of the group --------------------------------------------------


@pytest.mark.requirement("BASE-9", role=("publisher", "subscriber"))
def test_a_member_neither_takes_ids_nor_alters_a_message(start: Start, home: Path) -> None:
    """In a base of the group, with umask 000, a member can neither read a queue nor write to a
    message file."""
    let_in(home)
    make_shared(home)
    victim = start_as(start, VICTIM.prefix(*umask(0)))
    channel = victim.open("a")
    assert victim.publish("a", b"as it was") == 1
    (message,) = (entry for entry in channel.directory.iterdir() if entry.name != "queue")
    assert MEMBER.can('test -w "$1"; test -r "$2"', channel.directory, message), "not shared"
    for script in ('head -c 8 "$1/queue"', 'exec 3<>"$1/queue"', 'printf x >>"$2"', ': >"$2"'):
        assert not MEMBER.can(script, channel.directory, message), f"a member did {script}"
    fetched = victim.fetch(channel)
    assert fetched is not None
    assert fetched.content == b"as it was"


@pytest.mark.requirement("CHAN-17", role="subscriber")
def test_somebody_plants_what_the_owner_cannot_remove(start: Start, base: Base) -> None:
    """If a channel holds entries that its owner cannot remove, closing ends, hides the channel,
    and removes all else."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    for _ in range(8):  # so that some come before messages in any order
        planted = channel.directory / fresh_name()
        planted.mkdir()
        (planted / "planted").write_bytes(b"")
        put(channel.directory, a_message("a", b"unread"))
        close_off(planted, 0)
    with answers("the closing of a channel that cannot be removed"), contextlib.suppress(Rejected):
        driver.close_channel(channel)
    assert not channel.directory.exists(), f"the channel is still visible:\n{base.tree()}"
    left = [entry for entry in base.tmp.glob("*/*") if not entry.is_dir()]
    assert not left, f"beside the entries that cannot be removed, these were left: {left}"
    again = driver.open("a")
    driver.close_channel(again)
    assert not again.directory.exists()
