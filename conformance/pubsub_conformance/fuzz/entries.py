"""What stands in directories: entries of any name, type and mode in the base, `tmp` and channels.

They are planted beside channels at work; then everything that looks at directories is done once:
publish, fetch, open, reap, close. Those channels work all the same, and what was planted stays as
it is, or goes, as the specification says of its name, type and age.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from pubsub_conformance.driver import Driver, OpenChannel, Rejected
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME, Base, Channel
from pubsub_conformance.oracle.message import a_message, encode
from pubsub_conformance.oracle.topics import is_pattern, matches

from .target import Target, Violation, pruned

Scene = list[Any]
"""What `tmp` is, then lists: [where, name, kind, mode or null]; names as os.fsdecode has them."""

TOPIC = "a.b"
NOBODY = 2**31 - 1  # the id of a process that is not there
ASIDE = "aside"
DEEP = 1500  # directories in one another: more than a path may name, or a stack hold

FILES = ("file", "hard link", "symlink", "dangling", "loop", "FIFO", "socket", "device")
QUEUES = ("queue FIFO", "queue file", "queue directory", "queue link", "queue loop", "queue socket")
DIRECTORIES = ("directory", "tree", "read FIFO", *QUEUES)
TMP = ("file", "symlink", "dangling", "loop", "FIFO", "socket", "device", "missing")

NAMES = (
    *("TMP", "tmp ", ".tmp", "tmp\n", "queue", "-", "--help", "*", "...", " ", "\n", "%s%n"),
    "$HOME",
    *("0", "1", "007", "18446744073709551615", "18446744073709551616", "1" * 20, "1" * 21, "1\n"),
    *("\udcff\udcfe", "\u0661", "\u00e9", "e\u0301", "a" * 255, "\udc80" * 255, "-1", "+1", "1.0"),
)
PATTERNS = ("a.b", "a.+", "+", "=.=", "a.=", "z", "-", "a" * 200)
NO_PATTERNS = ("", ".", "a..b", "a.b+", "a" * 201, "a.", "a b", "\u00e9", "a.b\n", "..", "a_b")
FRESH = ("Ab3dE5gH7jK9", "000000000000")
NO_FRESH = (
    *("", "Ab3dE5gH7jK", "Ab3dE5gH7jK99", "Ab3dE5gH7jK-", "Ab3dE5gH7jK\u00e9"),
    "Ab3dE5gH7jK\u0661",
)
PIDS = (str(NOBODY), str(NOBODY), "9999999999", "1", "self")
NO_PIDS = ("0", "01", "-1", "+1", "", "12345678901", "1\n", "1 ", "\u0661", "1a", "0x1")


class Entries(Target[Scene]):
    name = "entries"
    roles = frozenset({"publisher", "subscriber", "reaper"})

    def draw(self, random: Random) -> Scene:
        tmp = random.choice(TMP) if random.random() < 0.2 else "directory"
        scene: Scene = [tmp]
        for _ in range(random.choice((1, 2, 4, 8, 16))):
            where = random.choice(("base", "base", "base", "tmp", "mine", "other"))
            kinds = FILES if random.random() < (0.2 if where == "base" else 0.5) else DIRECTORIES
            kind = "deep" if random.random() < 0.005 else random.choice(kinds)
            mode = random.choice((None, None, None, 0, 0o444, 0o777, 0o4755, 0o1777))
            scene.append([where, _name(random, where), kind, mode])
        return scene

    def blame(self, input: Scene) -> str:
        return "BASE-10"

    def smaller(self, input: Scene, fails: Callable[[Scene], bool]) -> Scene:
        tmp, planted = input[0], pruned(input[1:], lambda rest: fails([input[0], *rest]))
        if tmp != "directory" and fails(["directory", *planted]):
            tmp = "directory"
        for at, (where, name, kind, _) in enumerate(planted):
            simpler = [*planted[:at], [where, name, kind, None], *planted[at + 1 :]]
            if fails([tmp, *simpler]):
                planted = simpler
        return [tmp, *planted]

    def dump(self, input: Scene) -> bytes:
        return json.dumps(input).encode()

    def load(self, data: bytes) -> Scene:
        scene = json.loads(data)
        if not isinstance(scene, list) or not scene:
            raise ValueError("a scene is a list: what tmp is, then what is planted")
        return scene

    def judge(self, driver: Driver, input: Scene) -> None:
        outside = self.directory / "outside"
        try:
            _Scene(driver, Base(self.home), outside).play(input)
        finally:
            for path in (self.home, outside, self.directory / ASIDE):
                clear(path)


def _name(random: Random, where: str) -> str:
    kind = random.random()
    if kind < (0.65 if where == "base" else 0.2):
        spoiled = random.randrange(6)
        pattern = random.choice(NO_PATTERNS if spoiled == 0 else PATTERNS)
        fresh = random.choice(NO_FRESH if spoiled == 1 else FRESH)
        if spoiled != 1:
            fresh = "".join(random.choices(string.ascii_letters + string.digits, k=12))
        pid = random.choice(NO_PIDS if spoiled == 2 else PIDS)
        return f"{pattern}_{fresh}_{pid}"
    if kind < 0.85:
        return random.choice(NAMES)
    octets = random.randbytes(random.choice((1, 2, 8, 255)))
    return os.fsdecode(octets.replace(b"/", b"\\").replace(b"\0", b"\n"))


@dataclass(frozen=True)
class _Fate:
    """What a reaper does with it: "stays", "goes", or "either"."""

    young: str
    stale: str
    to_stay: str  # the requirement by which it stays
    to_go: str = ""


@dataclass(frozen=True)
class _Planted:
    where: str
    name: str
    kind: str
    path: Path
    before: dict[str, Any]  # what it looked like
    fate: _Fate


class _Scene:
    def __init__(self, driver: Driver, base: Base, outside: Path) -> None:
        self.driver = driver
        self.base = base
        self.outside = outside
        self.readers: list[int] = []
        self.planted: list[_Planted] = []
        self.numbers = iter(range(10**9))
        self.restricted = False  # something that we may not look at ourselves

    def play(self, scene: Scene) -> None:
        tmp, *entries = scene
        self.outside.mkdir(parents=True)
        (self.outside / "file").write_bytes(b"kept")
        (self.outside / "directory").mkdir()
        (self.outside / "directory" / "file").write_bytes(b"kept")
        mine = self.driver.open("a.+")
        other = self.base.open("a.+")
        try:
            self.directories = {
                "base": self.base.path,
                "tmp": self.base.tmp,
                "mine": mine.directory,
                "other": other.directory,
            }
            for where, name, kind, mode in entries:
                self.plant(where, name, kind, mode)
            kept = _look(self.outside)
            if tmp != "directory":
                self.without_tmp(tmp)
                reaped = True if tmp == "missing" else None
                self.check("young", f"reaping with tmp {tmp}", reaped=reaped)
            self.work(mine, other)
            if _look(self.outside) != kept:
                raise Violation("CHAN-15", "something outside the base was changed")
        finally:
            other.stop_reading()
            for reader in self.readers:
                os.close(reader)

    # Planting.

    def plant(self, where: str, name: str, kind: str, mode: int | None) -> None:
        name = name.replace("_self", f"_{os.getpid()}")
        path = self.directories[where] / name
        if name == "queue" and where in ("mine", "other"):
            return
        try:
            self._make(path, kind)
        except OSError as error:  # there already, no such names, or not for us to make
            allowed = ("EEXIST", "EILSEQ", "EPERM", "EACCES", "EINVAL", "ENOTSUP", "ENAMETOOLONG")
            if errno.errorcode.get(error.errno or 0) not in allowed:
                raise
            return
        if mode is not None and kind not in ("symlink", "dangling", "loop", "hard link"):
            path.chmod(mode)
            if os.geteuid() != 0 and mode in (0, 0o444):
                self.restricted = True
        fate = _fate(where, name, kind)
        self.planted.append(_Planted(where, name, kind, path, _look(path), fate))

    def _make(self, path: Path, kind: str) -> None:
        if kind == "file":
            path.touch(exist_ok=False)
            path.write_bytes(encode(a_message(TOPIC)))
        elif kind == "hard link":
            os.link(self._outside(), path)
        elif kind == "symlink":
            path.symlink_to(self.outside / "directory")
        elif kind == "dangling":
            path.symlink_to(self.outside / "nothing")
        elif kind == "loop":
            path.symlink_to(path)
        elif kind in ("FIFO", "socket", "device"):
            kinds = {"FIFO": stat.S_IFIFO, "socket": stat.S_IFSOCK, "device": stat.S_IFCHR}
            os.mknod(path, kinds[kind] | 0o600, os.makedev(1, 3))
        else:
            path.mkdir()
            self._fill(path, kind)

    def _outside(self) -> Path:
        """A file outside the base, one for each link: removing one makes the others look young."""
        file = self.outside / f"file-{next(self.numbers)}"
        file.write_bytes(b"kept")
        return file

    def _fill(self, path: Path, kind: str) -> None:
        queue = path / "queue"
        if kind in ("tree", "queue FIFO", "queue file"):
            (path / "17").write_bytes(b"no message")
            (path / "link").symlink_to(self.outside)
            (path / "up").symlink_to("..")
            (path / "queue2" / "a" / "b").mkdir(parents=True)
            (path / "queue2" / "a" / "link").symlink_to(self.outside / "file")
            os.link(self._outside(), path / "queue2" / "a" / "b" / "18")
        if kind == "deep":
            _dig(path)
        elif kind in ("queue FIFO", "read FIFO"):
            os.mkfifo(queue)
        elif kind == "queue file":
            queue.write_bytes(b"")
        elif kind == "queue directory":
            queue.mkdir()
        elif kind == "queue link":
            queue.symlink_to(self.directories["other"] / "queue")
        elif kind == "queue loop":
            queue.symlink_to("queue")
        elif kind == "queue socket":
            os.mknod(queue, stat.S_IFSOCK | 0o600)
        if kind == "read FIFO":
            self.readers.append(os.open(queue, os.O_RDONLY | os.O_NONBLOCK))

    # What must come of it.

    def work(self, mine: OpenChannel, other: Channel) -> None:
        driver, readers = self.driver, self._readers()
        self.publish(2 + readers, [mine], other)
        self.check("young", "publishing and fetching", reaped=False)
        second = driver.open(TOPIC)
        self.check("young", "opening a channel", reaped=None)  # REAP-1 is a SHOULD
        self.publish(3 + readers, [mine, second], other)
        driver.reap()
        self.check("young", "reaping", reaped=True)
        last = max((_changed(planted.path) for planted in self.planted), default=0.0)
        while time.time() < last + 0.002:
            time.sleep(0.001)  # until all that was planted is stale by an age of nothing
        driver.reap(0)
        self.check("stale", "reaping what is stale", reaped=True)
        self.publish(3 + readers, [mine, second], other)
        for channel in (second, mine):
            try:
                driver.close_channel(channel)
            except Rejected as error:
                if not (self.restricted and error.code == "io-error"):
                    raise Violation("CHAN-14", f"closing: {error}") from None
        self.planted = [planted for planted in self.planted if planted.where != "mine"]
        self.check("stale", "closing", reaped=True)
        if not self.restricted:
            self.only(self.base.path, "base", {"tmp", other.directory.name}, "CHAN-14")
            self.only(self.base.tmp, "tmp", set(), "CHAN-14")

    def _readers(self) -> int:
        """How many of the planted are living channels, and get what is published."""
        found = 0
        for planted in self.planted:
            name = CHANNEL_NAME.fullmatch(planted.name)
            if planted.where == "base" and planted.kind == "read FIFO" and name:
                pattern = name["pattern"]
                found += is_pattern(pattern) and matches(pattern, TOPIC)
        return found

    def publish(self, expected: int, mine: list[OpenChannel], other: Channel) -> None:
        """All who listen get a message, and nothing else."""
        content = os.urandom(8)
        try:
            count: int | None = self.driver.publish(TOPIC, content, {"k": 1})
        except Rejected as error:
            if not (self.restricted and error.code == "io-error"):
                raise Violation("GUAR-1", f"publish: expected {expected}, found {error}") from None
            count = error.count
        if count != expected and not self.restricted:
            raise Violation("GUAR-1", f"publish: expected the count {expected}, found {count}")
        for channel in mine:
            for due in (content, None):
                try:
                    found = self.driver.fetch(channel)
                except Rejected as error:
                    raise Violation("CHAN-3", f"fetch: expected a message, found {error}") from None
                if (found and found.content) != due:
                    raise Violation("GUAR-2", f"fetch: expected {due!r}, found {found}")
        received = [message.content for message in other.fetch_all()]
        if received != [content]:
            raise Violation("GUAR-3", f"the kit's own channel: expected {content!r}, {received}")

    def check(self, age: str, after: str, *, reaped: bool | None) -> None:
        """What was planted is as it was, or gone, where its fate may be that.

        `reaped`: whether it may be gone, and must; None: may, but need not.
        """
        for planted in list(self.planted):
            fate = getattr(planted.fate, age) if reaped is not False else "stays"
            told = f"{planted.kind} {planted.name!r} in {planted.where}, after {after}"
            found = _look(planted.path)
            if not found:
                if fate == "stays" and not self.restricted:
                    rule = planted.fate.to_stay if reaped is not False else "REAP-2"
                    raise Violation(rule, f"{told}: gone, but must stay")
                self.planted.remove(planted)
            elif fate == "goes" and reaped and not self.restricted:
                raise Violation(planted.fate.to_go, f"{told}: still there, but must go")
            elif changed := _difference(planted.before, found, planted.kind):
                raise Violation(planted.fate.to_stay, f"{told}: {changed}")

    def only(self, directory: Path, where: str, names: set[str], rule: str) -> None:
        due = names | {planted.name for planted in self.planted if planted.where == where}
        left = {entry.name for entry in directory.iterdir()} - due
        if left:
            raise Violation(rule, f"left in {where} when all was closed: {sorted(left)}")

    def without_tmp(self, kind: str) -> None:
        """Something else under the name of `tmp`; what was planted in it stands aside meanwhile."""
        tmp, aside = self.base.tmp, self.outside.parent / ASIDE
        tmp.rename(aside)
        made = True
        try:
            if kind != "missing":
                try:
                    self._make(tmp, kind)
                except PermissionError:
                    return
                before = _look(tmp)
                for operation in ("publish", "open", "reap"):
                    self._refused(operation, kind)
                if _difference(before, _look(tmp), kind):
                    raise Violation("BASE-12", f"a {kind} under the name tmp was changed")
                tmp.unlink()
            else:
                self.driver.reap()
                self.driver.publish("z")  # perhaps to nobody
                made = tmp.exists()
        finally:
            if made and stat.S_ISDIR(tmp.lstat().st_mode if os.path.lexists(tmp) else 0):
                clear(tmp)
            if not os.path.lexists(tmp):
                aside.rename(tmp)

    def _refused(self, operation: str, kind: str) -> None:
        fields: dict[str, dict[str, Any]] = {
            "publish": {"topic": TOPIC, "content": "", "headers": {}},
            "open": {"pattern": "a"},
            "reap": {},
        }
        try:
            self.driver.request(operation, **fields[operation])
        except Rejected as error:
            if error.code == "base-unusable":
                return
            raise Violation("BASE-12", f"{operation}, tmp a {kind}: {error}") from None
        if operation != "reap":  # which may have found nothing to remove
            raise Violation("BASE-12", f"{operation}, tmp a {kind}: expected base-unusable")


def _fate(where: str, name: str, kind: str) -> _Fate:
    is_directory = kind not in FILES
    if where == "tmp":
        if kind == "read FIFO":
            return _Fate("stays", "stays", "REAP-10")
        rules = ("REAP-10", "REAP-9") if is_directory else ("REAP-8", "REAP-7")
        return _Fate("stays", "goes", *rules)
    if where in ("mine", "other"):
        orphan = where == "mine" and MESSAGE_NAME.fullmatch(name)
        return _Fate("stays", "either", "FETCH-17") if orphan else _Fate("stays", "stays", "CHAN-3")
    channel = CHANNEL_NAME.fullmatch(name)
    if channel is None or not is_pattern(channel["pattern"]) or not is_directory:
        return _Fate("stays", "stays", "BASE-10")
    runs = channel["pid"] in ("1", str(os.getpid()))
    if kind == "read FIFO":
        return _Fate("stays", "stays", "REAP-4")
    if kind == "queue FIFO":
        return _Fate("stays" if runs else "goes", "goes", "REAP-5", "REAP-3")
    if kind in ("directory", "tree", "deep"):  # without a queue
        return _Fate("stays", "stays" if runs else "goes", "REAP-6", "REAP-6")
    return _Fate("stays", "stays", "BASE-10")


def _look(path: Path, depth: int = 3) -> dict[str, Any]:
    """What stands there and, so deep, in it: relative name to type, mode, inode, size, target."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return {}
    is_directory = stat.S_ISDIR(status.st_mode)
    target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
    size = status.st_size if stat.S_ISREG(status.st_mode) else None
    found: dict[str, Any] = {"": (stat.filemode(status.st_mode), status.st_ino, size, target)}
    if is_directory and depth:
        with contextlib.suppress(PermissionError):
            for entry in path.iterdir():
                for name, what in _look(entry, depth - 1).items():
                    found[f"{entry.name}/{name}"] = what
    return found


def _difference(before: dict[str, Any], after: dict[str, Any], kind: str) -> str | None:
    if kind == "read FIFO":  # it is a living channel, perhaps: messages come
        after = {name: what for name, what in after.items() if name in before}
    if before == after:
        return None
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return f"changed: {names[0]!r} from {before.get(names[0])} to {after.get(names[0])}"


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_ctime
    except FileNotFoundError:
        return 0.0


def _dig(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("deeper", dir_fd=directory)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(directory)


def clear(path: Path) -> None:
    """Removes whatever stands there, of any depth: what lies deeper is moved up first."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISDIR(path.lstat().st_mode):
        path.unlink()
        return
    numbers = iter(range(10**9))
    while entries := list(_listed(path)):
        for entry in entries:
            if not stat.S_ISDIR(entry.lstat().st_mode):
                entry.unlink()
                continue
            for inner in _listed(entry):
                if stat.S_ISDIR(inner.lstat().st_mode):
                    inner.chmod(0o700)
                    inner.rename(path / f"up-{next(numbers)}")
                else:
                    inner.unlink()
            entry.rmdir()
    path.rmdir()


def _listed(directory: Path) -> Iterator[Path]:
    directory.chmod(0o700)
    return iter(list(directory.iterdir()))
