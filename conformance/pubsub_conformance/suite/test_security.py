"""Attempts of those who mean harm, and what they come to (security.md has the table of all).

From outside the base, the attacker is a process of another user; that takes root, and setpriv. From
inside, the kit itself is the hostile writer. Each attempt stands between honest steps that work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.linux.strace import LIST, LOOK, MAKE_DIRECTORY, UNLINK, stop, traced
from pubsub_conformance.linux.world import in_a_world_of_its_own, seen_by
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, fresh_name, put
from pubsub_conformance.oracle.message import a_message, encode, fresh_id
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import (
    GROUP,
    Start,
    answers,
    as_user,
    most_memory,
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
from pubsub_conformance.suite.scenes import close_off, start_without_privileges

marked = pytest.mark.requirement

ATTEMPT_SECONDS = 10.0
"""For what an attacker runs: none of it waits for anything."""

GIB = 2**30


@dataclass(frozen=True)
class User:
    """Somebody on this machine; what is run as this user is a process of its own."""

    uid: int
    group: int = GROUP

    def prefix(self, *command: str) -> list[str]:
        return as_user(self.uid, *command, group=self.group)

    def can(self, script: str, *arguments: object, beside: Driver | None = None) -> bool:
        """Whether this shell script ends well, run in the mount namespace of a driver or ours."""
        there = ["nsenter", f"--mount=/proc/{beside.pid}/ns/mnt"] if beside else []
        command = self.prefix(*there)
        try:
            done = subprocess.run(
                [*command, "sh", "-euc", script, "sh", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ATTEMPT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True  # nobody kept it from waiting there
        return done.returncode == 0


VICTIM = User(4712)
MEMBER = User(4713)  # of the victim's group
OUTSIDER = User(4714, group=4715)


def let_in(home: Path) -> None:
    """Make the place where the victim works: all may pass through it, and nobody else write."""
    VICTIM.prefix()  # not run without root
    os.chown(home.parent, VICTIM.uid, GROUP)
    home.parent.chmod(0o755)
    for user in (VICTIM, MEMBER, OUTSIDER):
        if not user.can('cd "$1"', home.parent):
            not_run(f"another user cannot reach {home.parent}")


# --- From outside: another user ------------------------------------------------------------------


def make_private(_: Path) -> None:
    """The implementation makes the base."""


def make_readable(home: Path) -> None:
    """Everybody may look, and only the victim may write."""
    home.mkdir()
    os.chown(home, VICTIM.uid, GROUP)
    home.chmod(0o755)


def make_shared(home: Path) -> None:
    """The group's."""
    home.mkdir()
    os.chown(home, VICTIM.uid, GROUP)
    home.chmod(0o2770)


def bases(**made: Callable[[Path], None]) -> pytest.MarkDecorator:
    """Run the test in a base of each kind; what a shared one asks for is BASE-9."""
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
    """Who may not enter the base reads no message though the umask is 000 and all names known."""
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
        # It is not the parent's doing: a member reads messages, as the group wants it to.
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
    """By hand or with the implementation, another user cannot publish, nor open, nor remove."""
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
    assert victim.fetch(channel) is None, "an outsider's message came"
    assert victim.publish("a", b"honest") == 1
    fetched = victim.fetch(channel)
    assert fetched is not None
    assert fetched.content == b"honest"


# In the place of /dev/shm/pubsub, with what belongs to the victim in /dev/shm/private.
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
    """Each time the base vanished, as at a logout, somebody else has made it first."""
    VICTIM.prefix()  # not run without root
    private = f"mkdir -m 0700 /dev/shm/private; chown {VICTIM.uid} /dev/shm/private"
    driver = start_as(start, VICTIM.prefix(*in_a_world_of_its_own(private)), PUBSUB_HOME=None)
    if shutil.which("nsenter") is None:
        not_run("the attacker has no nsenter to reach the victim's default base")
    place = seen_by(driver, "/dev/shm")
    for planted in PLANTED:
        attempt(role, driver)
        shutil.rmtree(place / "pubsub", ignore_errors=True)
        assert OUTSIDER.can(f"cd /dev/shm; {planted}", beside=driver), f"the kit's own: {planted}"
        check_that_it_is_refused(role, driver, place, f"the default base is another's: {planted}")
        assert OUTSIDER.can("cd /dev/shm; rm -rf pubsub trap", beside=driver)
    attempt(role, driver)


# --- From inside: another user of the group -------------------------------------------------------


@pytest.mark.requirement("BASE-9", role=("publisher", "subscriber"))
def test_a_member_neither_takes_ids_nor_alters_a_message(start: Start, home: Path) -> None:
    """In a group's base, umask 000, the queue is closed to readers and a message to writers."""
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
    """Closing ends; the channel is not visible any more, and nothing else of it is left."""
    driver = start_without_privileges(start)
    channel = driver.open("a")
    for _ in range(8):  # before and behind the others in whatever order
        planted = channel.directory / fresh_name()
        planted.mkdir()
        (planted / "planted").write_bytes(b"")
        put(channel.directory, a_message("a", b"unread"))
        close_off(planted, 0)
    with answers("closing what cannot be removed whole"), contextlib.suppress(Rejected):
        driver.close_channel(channel)
    assert not channel.directory.exists(), f"the channel is still visible:\n{base.tree()}"
    left = [entry for entry in base.tmp.glob("*/*") if not entry.is_dir()]
    assert not left, f"some things resisted, and these were left for it: {left}"
    again = driver.open("a")
    driver.close_channel(again)
    assert not again.directory.exists()


# --- From inside: messages ------------------------------------------------------------------------


@pytest.fixture
def outside(home: Path) -> Path:
    """A directory of the victim's beside the base, with old files in it."""
    path = home.parent / "outside"
    (path / "inner").mkdir(parents=True)
    path.chmod(0o700)
    for name in ("precious", "inner/precious"):
        (path / name).write_bytes(b"precious")
        (path / name).chmod(0o600)
    return path


def everything(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything at and under a path: its mode, inode, links and content."""
    found = {}
    for entry in [path, *sorted(path.rglob("*"))]:
        status = entry.lstat()
        content = entry.read_bytes() if entry.is_file() else b""
        found[str(entry)] = (status.st_mode, status.st_ino, status.st_nlink, content)
    return found


@contextmanager
def untouched(outside: Path) -> Iterator[None]:
    """Whatever is done inside, and to whatever end: nothing there may have changed."""
    before = everything(outside)
    try:
        yield
    finally:
        assert everything(outside) == before, f"outside the base, {outside} was changed"


def check_that_it_receives(driver: Driver, channel: OpenChannel, where: str) -> None:
    message = a_message("a", where.encode())
    put(channel.directory, message)
    found = driver.fetch(channel)
    assert found == message, f"{where}: expected {message}, found {found}"


@pytest.mark.requirement("FETCH-5", "FETCH-6", role="subscriber")
@pytest.mark.parametrize("what", ["a file", "a message"])
def test_a_hard_link_to_another_file(driver: Driver, outside: Path, what: str) -> None:
    """The victim's own file in place of a message: reported; the link goes and the file stays."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    if what == "a message":
        (outside / "precious").write_bytes(encode(a_message("a", b"for another channel")))
    with untouched(outside):
        planted = channel.directory / str(fresh_id())
        os.link(outside / "precious", planted)
        enqueue(channel.directory, int(planted.name))
        with refuses("invalid-message", what=f"a fetch of a hard link to {what}"):
            driver.fetch(channel)
        assert not planted.exists(), "it was reported, but not removed"
    check_that_it_receives(driver, channel, "after")


def truncate(file: Path, _: Path) -> None:
    os.truncate(file, 100)


def grow(file: Path, _: Path) -> None:
    with file.open("ab") as more:
        more.write(b"more" * 1000)


def overwrite(file: Path, _: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)


def become_a_fifo(file: Path, _: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def become_a_link(file: Path, outside: Path) -> None:
    file.unlink()
    file.symlink_to(outside / "precious")


@pytest.mark.requirement("FETCH-5", "FETCH-7", role="subscriber")
@pytest.mark.parametrize("change", [truncate, grow, overwrite, become_a_fifo, become_a_link])
def test_a_message_changes_while_it_is_fetched(
    driver: Driver, outside: Path, change: Callable[[Path, Path], None]
) -> None:
    """After the reader's first look at the file: it is yielded as it was, or it is invalid."""
    channel = driver.open("a")
    message = a_message("a", b"x" * 100_000)
    file = put(channel.directory, message)
    what = f"a message that is changed ({change.__name__}) while it is fetched"
    with (
        untouched(outside),
        traced(driver, stop((*LOOK, "fstat")), paths=[file, file.name]) as trace,
    ):
        fetching = trace.begin(driver.fetch, channel)
        trace.stopped()
        change(file, outside)
        trace.go_on()
        with answers(what):
            try:
                assert fetching.result() == message, f"{what}: neither refused nor what it was"
            except Rejected as no:
                if no.code != "invalid-message":
                    pytest.fail(f"{what}: expected invalid-message, found {no}")
    check_that_it_receives(driver, channel, "after")


@pytest.mark.requirement("MSG-13", role="subscriber")
def test_a_file_of_a_tebioctet_without_content(driver: Driver) -> None:
    """It costs the attacker nothing (sparse), and must cost the reader no memory."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    message = a_message("a")
    file = put(channel.directory, message, enqueue=False)
    try:
        os.truncate(file, 1024 * GIB)
    except OSError as error:
        not_run(f"no such file can be made here: {error}")
    enqueue(channel.directory, message.id)
    before = most_memory(driver)
    what = "a fetch of a file of 1 TiB"
    with answers(what), refuses("invalid-message", what=what):
        driver.fetch(channel)
    assert most_memory(driver) - before < GIB, "it took more than 1 GiB of memory to refuse it"
    assert not file.exists(), "it was reported, but not removed"
    check_that_it_receives(driver, channel, "after")


@pytest.mark.requirement("FETCH-22", role="subscriber")
def test_ids_without_a_file_come_faster_than_they_are_read(driver: Driver) -> None:
    """A fetch ends all the same; and when the flood is over, the next message comes."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    with (channel.directory / "queue").open("wb", buffering=0) as queue:
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # so that it never runs dry on a busy machine
            with contextlib.suppress(OSError):
                fcntl.fcntl(queue, fcntl.F_SETPIPE_SZ, 2**19)
        flood = [subprocess.Popen(["yes", "1234567"], stdout=queue) for _ in range(2)]
    try:
        assert driver.wait(channel, 8), "no id came"
        with answers("a fetch while somebody floods the queue"):
            assert driver.fetch(channel) is None, "none of these ids has a file"
    finally:
        for process in flood:
            process.kill()
            process.wait()
    while driver.wait(channel, 0):
        assert driver.fetch(channel) is None, "none of these ids has a file"
    check_that_it_receives(driver, channel, "after")


# --- From inside: names and depths ----------------------------------------------------------------


def plant_all_octets(directory: Path) -> None:
    """Files whose names hold every octet that one can hold, and those that mean something."""
    names = [bytes(octet for octet in range(1, 256) if octet != ord("/"))]
    names += [
        b"-rf",
        b"\n",
        b"\x7f\x1b[2J",
        b"\xed\xa0\x80",
        b"\xc3",
        b"\\",
        b"$(id)",
        b"%s%n",
        b"\xff" * 255,
        b"a_\xff\xff\xff\xff\xff\xff_1",
    ]
    for name in names:
        with contextlib.suppress(OSError):  # not every file system takes each
            os.close(os.open(os.fsencode(directory) + b"/" + name, os.O_CREAT | os.O_WRONLY, 0o600))


def plant_a_deep_one(directory: Path) -> None:
    """Directories in one another, deeper than a stack, and beyond the longest path."""
    here = os.open(directory, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("directory", dir_fd=here)
        inner = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.mark.parametrize(
    "plant", [plant_all_octets, plant_a_deep_one], ids=lambda plant: plant.__name__[6:]
)
@pytest.mark.parametrize(
    "role",
    [
        pytest.param("subscriber", marks=marked("CHAN-14", role="subscriber")),
        pytest.param("reaper", marks=marked("REAP-3", role="reaper")),
    ],
)
def test_whatever_is_planted_is_removed(
    driver: Driver, base: Base, role: str, plant: Callable[[Path], None]
) -> None:
    """In a channel that is closed, or in a dead one."""
    try:
        if role == "subscriber":
            channel = driver.open("a")
            plant(channel.directory)
            with answers("closing"):
                driver.close_channel(channel)
        else:
            plant(base.dead_channel("a", dead_pid()))
            with answers("reaping"):
                driver.reap()
        left = [*base.channels(), *base.tmp.iterdir()]
        assert not left, f"left: {left}"
    finally:
        subprocess.run(["rm", "-rf", base.path], check=False)  # some depths are too much for Python


@through("BASE-10", *EVERYBODY)
def test_names_of_any_octets_in_the_base(driver: Driver, base: Base, role: str) -> None:
    """Files with names of every octet stand in the base and in tmp: nobody stumbles over them."""
    base.make()
    plant_all_octets(base.path)
    plant_all_octets(base.tmp)
    before = sorted(os.listdir(os.fsencode(base.path)))
    with answers(f"the {role} in a base with such names"):
        check_that_it_works(role, driver, base)
    assert sorted(os.listdir(os.fsencode(base.path))) == before


# --- From inside: links that lead out of the base ------------------------------------------------


@contextmanager
def led_out(channel: OpenChannel, outside: Path) -> Iterator[Path]:
    """In place of the channel a link to what is outside; where the channel is meanwhile."""
    moved = channel.directory.rename(channel.directory.with_name("moved"))
    channel.directory.symlink_to(outside)
    try:
        yield moved
    finally:
        channel.directory.unlink()
        moved.rename(channel.directory)


@pytest.mark.requirement("BASE-15", role="subscriber")
@pytest.mark.parametrize("what", ["a file", "a message"])
def test_a_channel_is_a_link_when_it_is_fetched_from(
    driver: Driver, outside: Path, what: str
) -> None:
    """A file of the victim's with a message's name is neither yielded nor removed."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    message = a_message("a", b"of another channel")
    file = outside / str(message.id)
    file.write_bytes(encode(message) if what == "a message" else b"a file")
    with untouched(outside), led_out(channel, outside) as moved:
        enqueue(moved, message.id)
        with contextlib.suppress(Rejected):
            found = driver.fetch(channel)
            assert found is None, f"what stands outside the channel was yielded: {found}"
    check_that_it_receives(driver, channel, "after")


@pytest.mark.requirement("BASE-15", role=("subscriber", "reaper"))
def test_a_channel_is_a_link_when_orphans_are_removed(driver: Driver, outside: Path) -> None:
    """Old files of the victim's with messages' names are no orphans of this channel."""
    channel = driver.open("a")
    check_that_it_receives(driver, channel, "before")
    files = [outside / str(fresh_id()) for _ in range(3)]
    for file in files:
        file.write_bytes(b"precious")
    let_age(*files)
    with untouched(outside), led_out(channel, outside), contextlib.suppress(Rejected):
        driver.reap(stale_age=0)
    check_that_it_receives(driver, channel, "after")


@pytest.mark.requirement("BASE-12", "BASE-15", role="subscriber")
def test_tmp_is_a_link_when_a_channel_is_closed(driver: Driver, base: Base, outside: Path) -> None:
    """A claim through the link would carry the channel out of the base: closing is refused."""
    channel = driver.open("a")
    base.make_tmp()  # of one that makes channels elsewhere (CHAN-10)
    base.tmp.rename(base.path / "moved")
    before = everything(outside), outside.stat().st_mtime_ns
    base.tmp.symlink_to(outside)
    with refuses("base-unusable", what="closing a channel where tmp is a symbolic link"):
        driver.close_channel(channel)
    after = everything(outside), outside.stat().st_mtime_ns
    assert after == before, "something was made or removed outside the base"
    base.tmp.unlink()
    driver.close_channel(driver.open("a"))


@pytest.mark.requirement("BASE-15", role="subscriber")
def test_what_is_being_made_becomes_a_link(start: Start, base: Base, outside: Path) -> None:
    """In a group's base: no queue is made where the link leads, and no permission given."""
    base.make(0o770)
    driver = start(prefix=umask(0o077))
    check_that_it_works("subscriber", driver, base)
    with ExitStack() as after:
        after.enter_context(untouched(outside))
        trace = after.enter_context(traced(driver, stop(MAKE_DIRECTORY, None)))
        opening = trace.begin(driver.open, "a")
        while True:
            trace.stopped()
            made = list(base.tmp.iterdir())
            if made:
                break
            trace.go_on()
        made[0].rename(base.path / "moved")
        made[0].symlink_to(outside)
        swap_back = made[0].unlink
        os.killpg(driver.pid, signal.SIGCONT)
        with answers("an opening whose directory was taken away"), contextlib.suppress(Rejected):
            while not opening.done():  # it stops at each mkdir
                trace.go_on()
            opening.result()
        with contextlib.suppress(FileNotFoundError):
            swap_back()
    check_that_it_works("subscriber", driver, base)


@pytest.mark.requirement("CHAN-15", "BASE-15", role="subscriber")
def test_what_is_being_removed_becomes_a_link(driver: Driver, base: Base, outside: Path) -> None:
    """The owner closes; an attacker swaps each directory that was claimed and is still to come."""
    channel = driver.open("a")
    base.make_tmp()  # of one that makes channels elsewhere (CHAN-10)
    for number in range(30):
        (channel.directory / f"lane-{number}").mkdir()
        (channel.directory / f"lane-{number}" / "file").write_bytes(b"")
    away = base.path / "away"
    away.mkdir()
    with untouched(outside), traced(driver, stop(UNLINK)) as trace:
        closing = trace.begin(driver.close_channel, channel)
        trace.stopped()
        # Where it stood, or in tmp, and under whatever name.
        inner = [file.parent for file in base.path.glob("**/file")]
        for number, entry in enumerate(inner):
            entry.rename(away / str(number))
            entry.symlink_to(outside)
        trace.go_on()
        with answers("closing while what is removed is swapped"), contextlib.suppress(Rejected):
            closing.result()
    check_that_it_works("subscriber", driver, base)


@pytest.mark.requirement("BASE-15", role="reaper")
@pytest.mark.parametrize("listed", ["the base", "tmp"])
def test_tmp_becomes_a_link_under_a_reaper(
    driver: Driver, base: Base, outside: Path, listed: str
) -> None:
    """After a listing, tmp leads to old files of the victim's, of the names that stood there."""
    base.make()
    (base.tmp / "precious").write_bytes(b"stale")
    (base.tmp / "inner").mkdir()
    let_age(*base.tmp.iterdir(), *outside.iterdir())
    paths = [base.path if listed == "the base" else base.tmp]
    with untouched(outside), traced(driver, stop(LIST), paths=paths) as trace:
        reaping = trace.begin(driver.reap, 0)
        trace.stopped()
        base.tmp.rename(base.path / "moved")
        base.tmp.symlink_to(outside)
        trace.go_on()
        with answers("reaping while tmp is swapped"), contextlib.suppress(Rejected):
            reaping.result()
    base.tmp.unlink()
    check_that_it_works("reaper", driver, base)
