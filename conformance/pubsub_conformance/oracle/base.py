"""The oracle's base: its channels, and the kit's own publisher and subscriber.

Written from base.md, channel.md, publish.md and fetch.md. The kit examines with it what an
implementation leaves on disk, and makes with it good and bad entries that an implementation has to
deal with. The oracle repeats no step that fails, for nobody disturbs it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import re
import shutil
import stat
import string
from collections.abc import Mapping
from pathlib import Path

from .message import (
    DamagedQueue,
    InvalidMessage,
    Message,
    Scalar,
    a_message,
    decode,
    encode,
    fresh_id,
)
from .queue import enqueue as _enqueue
from .queue import open_queue
from .record import MARKER, WORD, characters, length_of
from .topics import PATTERN, is_pattern, matches

STALE_AGE = 3600
"""The usual stale age, in seconds."""

CHANNEL_NAME = re.compile(
    rf"(?P<pattern>{PATTERN.pattern})_(?P<random>[A-Za-z0-9]{{12}})_(?P<pid>[1-9][0-9]{{0,9}})"
)
MESSAGE_NAME = re.compile(r"[1-9][0-9]{0,19}")


_random = random.Random()  # not the one of all, to which hypothesis gives the same seed again


def fresh_name() -> str:
    """A name for a directory in `tmp`, or a part of a channel's name: 12 random characters."""
    return "".join(_random.choices(string.ascii_letters + string.digits, k=12))


def channel_name(pattern: str, pid: int) -> str:
    """A fresh name for a channel of this pattern and process (CHAN-1)."""
    return f"{pattern}_{fresh_name()}_{pid}"


def put(
    channel_dir: Path, message: Message | bytes, *, name: str | None = None, enqueue: bool = True
) -> Path:
    """Put a file into a channel as a publisher does: make it in `tmp`, link it, enqueue its id.

    Its name is the given one, the message's id, or for octets a fresh id. Returns the path of the
    file. Raises OSError, and ValueError for a message that may not be written.
    """
    if isinstance(message, Message):
        id, data = message.id, encode(message)
    else:
        id, data = fresh_id(), message
    name = str(id) if name is None else name
    base = Base(channel_dir.parent)
    base.make_tmp()
    staged = base.stage(fresh_name(), data)
    os.link(staged, channel_dir / name)
    staged.unlink()
    if enqueue:
        _enqueue(channel_dir, int(name))
    return channel_dir / name


def names_in(directory: Path) -> list[str]:
    """The sorted names in a directory; none if it does not exist, or is none."""
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


class Base:
    """A base directory, and the kit's own publisher and subscriber in it."""

    def __init__(self, path: Path, marked: set[tuple[int, int]] | None = None) -> None:
        """`marked` is that of another base, which is to know this one's marked channels, too."""
        self.path = path
        self.tmp = path / "tmp"
        self.marked: set[tuple[int, int]] = set() if marked is None else marked
        """Device and inode of the queue of each marked channel that was opened."""
        self._opened: list[Channel] = []

    def make(self, mode: int = 0o700) -> None:
        """Make the base, with exactly this mode, and `tmp` in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(mode)
        self.make_tmp()

    def make_tmp(self) -> None:
        """Make the base and `tmp` if they do not exist (BASE-3, BASE-11)."""
        self.path.mkdir(0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.tmp.mkdir(0o700)
            self._share(self.tmp, 0o700, 0o077)

    def _share(self, path: Path, owner: int, others: int) -> None:
        """Give a new entry the permission bits of BASE-8 and BASE-9."""
        base = self.path.stat().st_mode & 0o077
        made = path.stat().st_mode & stat.S_ISGID
        path.chmod(made | owner | (base & others if base & 0o022 else 0))

    def channels(self) -> list[Path]:
        """The directories that are channels (BASE-10), dead or alive, sorted."""
        return sorted(entry for entry in self.path.iterdir() if _is_channel(entry))

    def stage(self, name: str, data: bytes) -> Path:
        """Make a file in `tmp`. Returns its path. Raises OSError."""
        staged = self.tmp / name
        with staged.open("xb") as file:
            file.write(data)
        self._share(staged, 0o600, 0o044)
        return staged

    def publish(
        self,
        topic: str,
        content: bytes = b"",
        headers: Mapping[str, Scalar] | None = None,
    ) -> Message:
        """Publish to every channel that matches, is alive and has room. Returns the message."""
        message = a_message(topic, content, headers)
        data = encode(message)
        self.make_tmp()
        name = str(message.id)
        staged = self.stage(name, data)
        for channel_dir in self.channels():
            pattern = CHANNEL_NAME.fullmatch(channel_dir.name)
            if pattern is None or not matches(pattern["pattern"], topic):
                continue
            try:
                queue = open_queue(channel_dir)
            except OSError as error:
                if error.errno in (errno.ENXIO, errno.ENOENT):
                    continue  # the channel has no reader
                raise
            try:
                os.link(staged, channel_dir / name)
                os.write(queue, message.id.to_bytes(8, "big"))
            except (BlockingIOError, BrokenPipeError):
                (channel_dir / name).unlink(missing_ok=True)
            finally:
                os.close(queue)
        staged.unlink()
        return message

    def open(self, pattern: str, *, pid: int | None = None, inline: bool = False) -> Channel:
        """Open a channel of the kit, with this process's id in its name unless another is given.

        With `inline` it is marked. Raises ValueError for an invalid pattern.
        """
        if not is_pattern(pattern):
            raise ValueError(f"not a pattern: {pattern!r}")
        being_made = self._make_directory()
        # The reading end first: without a reader the writing end could not be opened.
        read_end = os.open(being_made / "queue", os.O_RDONLY | os.O_NONBLOCK)
        write_end = os.open(being_made / "queue", os.O_WRONLY | os.O_NONBLOCK)
        if inline:
            (being_made / MARKER).touch(0o600)
            queue = os.fstat(read_end)
            self.marked.add((queue.st_dev, queue.st_ino))
        directory = being_made.rename(self.path / channel_name(pattern, pid or os.getpid()))
        channel = Channel(self, directory, pattern, read_end, write_end, inline)
        self._opened.append(channel)
        return channel

    def dead_channel(self, pattern: str, pid: int, queue: bool = True) -> Path:
        """Make a channel without a reader, as a killed subscriber leaves it."""
        # It is made in `tmp`, so that a reaper at work does not see it half-made.
        return self._make_directory(queue).rename(self.path / channel_name(pattern, pid))

    def _make_directory(self, queue: bool = True) -> Path:
        """Make a directory in `tmp` that becomes a channel by a rename."""
        self.make_tmp()
        directory = self.tmp / fresh_name()
        directory.mkdir(0o700)
        self._share(directory, 0o700, 0o077)
        if queue:
            os.mkfifo(directory / "queue", 0o600)
            self._share(directory / "queue", 0o600, 0o022)
        return directory

    def tree(self) -> str:
        """A listing of the base, as evidence: type and mode, owner, size in octets, name."""
        lines = [f"{_describe(self.path)} {self.path}"]
        lines += [
            f"{_describe(entry)} {entry.relative_to(self.path)}"
            for entry in sorted(self.path.rglob("*"))
        ]
        return "\n".join(lines).encode(errors="backslashreplace").decode()

    def leftovers(self) -> list[str]:
        """All names in the base except `tmp` itself and the channels that the kit has open."""
        own = {self.tmp, *(channel.directory for channel in self._opened if not channel.closed)}
        channels = own - {self.tmp}
        return [
            str(entry.relative_to(self.path))
            for entry in sorted(self.path.rglob("*"))
            if entry not in own and not channels.intersection(entry.parents)
        ]


def _is_channel(entry: Path) -> bool:
    name = CHANNEL_NAME.fullmatch(entry.name)
    try:
        return (
            name is not None
            and is_pattern(name["pattern"])
            and stat.S_ISDIR(entry.lstat().st_mode)
            and stat.S_ISFIFO((entry / "queue").lstat().st_mode)
        )
    except FileNotFoundError:
        return False


def _describe(path: Path) -> str:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return "gone"
    return f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {status.st_size:>9}"


class Channel:
    """A channel of the kit. A context manager that closes it."""

    def __init__(
        self,
        base: Base,
        directory: Path,
        pattern: str,
        read_end: int,
        write_end: int,
        is_marked: bool,
    ) -> None:
        self.base = base
        self.directory = directory
        self.pattern = pattern
        self.read_end = read_end
        self.write_end = write_end
        self.is_marked = is_marked
        self.closed = False
        self._reading = True

    def fetch(self) -> Message | None:
        """The next message, or None if the queue is empty.

        Raises InvalidMessage for a file or a record that is not a message, and DamagedQueue for
        octets that are no whole id and no whole record.
        """
        while True:
            word = self._read(WORD)
            if not word:
                return None
            if len(word) < WORD:
                raise DamagedQueue(f"the queue held {len(word)} octets, which are no whole id")
            if self.is_marked and (length := length_of(word, characters(self.directory))):
                rest = self._read(length)
                if len(rest) < length:
                    raise DamagedQueue(f"the queue held {len(rest)} of a record's {length} octets")
                return decode(rest[: int.from_bytes(word[6:], "big")])
            id = int.from_bytes(word, "big")
            file = self.directory / str(id)
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(file.lstat().st_mode):
                    raise InvalidMessage(f"{file} is not a regular file")
                data = file.read_bytes()
                file.unlink()
                message = decode(data)
                if message.id != id:
                    raise InvalidMessage(f"the file {id} holds the id {message.id}")
                return message

    def _read(self, octets: int) -> bytes:
        """So many octets of the queue; fewer, if it does not hold as many."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.read_end, octets)
        return b""

    def fetch_all(self) -> list[Message]:
        """All messages in the queue now, in order. Raises InvalidMessage."""
        messages = []
        while (message := self.fetch()) is not None:
            messages.append(message)
        return messages

    def files(self) -> list[str]:
        """The sorted names of the entries beside the queue, and beside the channel's marker."""
        own = {"queue", MARKER} if self.is_marked else {"queue"}
        return sorted(entry.name for entry in self.directory.iterdir() if entry.name not in own)

    def stop_reading(self) -> None:
        """Close the queue and leave the directory, as it is when its owner dies."""
        if self._reading:
            self._reading = False
            os.close(self.read_end)
            os.close(self.write_end)

    def close(self) -> None:
        """Remove the channel. Does nothing if it is closed, or gone already."""
        if self.closed:
            return
        self.closed = True
        claimed = self.base.tmp / fresh_name()
        with contextlib.suppress(FileNotFoundError):
            self.directory.rename(claimed)
        self.stop_reading()
        for _ in range(100):  # a late publisher may put another link there
            if not claimed.exists():
                break
            shutil.rmtree(claimed, ignore_errors=True)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
