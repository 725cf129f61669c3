"""The oracle: topics, message files and the layout on disk, written from the specification.

It is the other side of every test: it judges what an implementation left on disk, and puts
there, good and bad, what an implementation is to meet. It prefers being obvious to being
fast, and it leaves out what only an adversary needs: it starts nothing again, for nobody
disturbs it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import shutil
import stat
import string
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

Scalar = str | int | float | bool | None

STALE_AGE = 3600  # seconds

# --- topics.md -----------------------------------------------------------------------------

WORD = r"[A-Za-z0-9-]+"
TERM = rf"(?:{WORD}|=|\+)"
TOPIC = re.compile(rf"{WORD}(?:\.{WORD})*")
PATTERN = re.compile(rf"{TERM}(?:\.{TERM})*")
LONGEST_TOPIC = 200  # octets, of a pattern as well


def is_topic(text: str) -> bool:
    """TOPIC-1."""
    return len(text) <= LONGEST_TOPIC and TOPIC.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """TOPIC-2."""
    return len(text) <= LONGEST_TOPIC and PATTERN.fullmatch(text) is not None


def matches(pattern: str, topic: str) -> bool:
    """Whether the pattern matches the topic; both must be valid (ValueError)."""
    if not (is_pattern(pattern) and is_topic(topic)):
        raise ValueError(f"no pattern and topic: {pattern!r}, {topic!r}")
    words = topic.split(".")
    # What the terms so far can account for: any of these numbers of leading words.
    reached = {0}
    for term in pattern.split("."):
        if term == "+":
            reached = set(range(min(reached) + 1, len(words) + 1))
        else:
            reached = {n + 1 for n in reached if n < len(words) and term in ("=", words[n])}
        if not reached:
            return False
    return len(words) in reached


# --- message.md ----------------------------------------------------------------------------

MAGIC = b"PMSG"
VERSION = 1
LARGEST_INTEGER = 2**53 - 1  # MSG-10

SPACE = r"[ \t\n\r]*"
JSON_STRING = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*"'
JSON_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
# A member of a flat object and what follows it: MSG-8 leaves no room for anything deeper, so
# that there is nothing to recurse into (MSG-12).
MEMBER = re.compile(
    rf"{SPACE}(?P<key>{JSON_STRING}){SPACE}:"
    rf"{SPACE}(?P<value>{JSON_STRING}|{JSON_NUMBER}|true|false|null){SPACE}(?P<next>[,}}])"
)
NO_MEMBERS = re.compile(rf"{SPACE}\{{{SPACE}\}}{SPACE}")
BEGIN = re.compile(rf"{SPACE}\{{")
END = re.compile(SPACE)


class InvalidMessage(ValueError):
    """The bytes are not a message; says why."""


@dataclass(frozen=True)
class Message:
    id: int
    timestamp: int  # microseconds since the epoch
    topic: str
    headers: Mapping[str, Scalar]
    content: bytes

    def __eq__(self, other: object) -> bool:
        """Like JSON, and unlike Python, tells `true` from 1; 1.0 is 1."""
        if not isinstance(other, Message):
            return NotImplemented
        return self._comparable() == other._comparable()

    __hash__ = None  # type: ignore[assignment]

    def _comparable(self) -> tuple[object, ...]:
        headers = {key: (isinstance(value, bool), value) for key, value in self.headers.items()}
        return self.id, self.timestamp, self.topic, headers, self.content


def pack(id: int, timestamp: int, topic: bytes, headers: bytes, content: bytes) -> bytes:
    """The file that holds these fields, valid or not."""
    start = struct.pack(">4sBQQ", MAGIC, VERSION, id, timestamp)
    return start + b"".join(
        struct.pack(">I", len(field)) + field for field in (topic, headers, content)
    )


def encode(message: Message) -> bytes:
    """The message's file; ValueError for what is not to be written (MSG-15)."""
    headers = json.dumps(dict(message.headers), ensure_ascii=False).encode()
    data = pack(
        message.id, message.timestamp, message.topic.encode(), headers, bytes(message.content)
    )
    if decode(data) != message:
        raise ValueError(f"cannot be written as it is: {message}")
    return data


def decode(data: bytes) -> Message:
    """The message that the file holds, or InvalidMessage."""
    rest = data

    def take(size: int, what: str) -> bytes:
        nonlocal rest
        if size > len(rest):
            raise InvalidMessage(f"{what} needs {size} octets, {len(rest)} are left")
        taken, rest = rest[:size], rest[size:]
        return taken

    def take_field(what: str) -> bytes:
        size = int.from_bytes(take(4, f"the length of the {what}"), "big")
        return take(size, f"the {what}")

    if (magic := take(4, "the magic")) != MAGIC:
        raise InvalidMessage(f"the magic is {magic.hex(' ')}")
    if (version := take(1, "the version")[0]) != VERSION:
        raise InvalidMessage(f"the version is {version}")
    id = int.from_bytes(take(8, "the id"), "big")
    timestamp = int.from_bytes(take(8, "the timestamp"), "big")
    topic = take_field("topic").decode("ascii", "replace")
    headers = take_field("headers")
    content = take_field("content")
    if rest:
        raise InvalidMessage(f"{len(rest)} octets follow the content")
    if id == 0:
        raise InvalidMessage("the id is 0")
    if not is_topic(topic):
        raise InvalidMessage(f"the topic is {topic!r}")
    return Message(id, timestamp, topic, decode_headers(headers), content)


def decode_headers(data: bytes) -> dict[str, Scalar]:
    """MSG-7 to MSG-12; InvalidMessage."""
    if not data:
        return {}
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage(f"the headers are not UTF-8: {error}") from None
    if NO_MEMBERS.fullmatch(text):
        return {}
    found: dict[str, Scalar] = {}
    begin = BEGIN.match(text)
    if begin is None:
        raise InvalidMessage(f"the headers are not an object: {text[:60]!r}")
    at, more = begin.end(), True
    while more:
        member = MEMBER.match(text, at)
        if member is None:
            raise InvalidMessage(f"not a key with a scalar: {text[at : at + 60]!r}")
        key = _string(member["key"])
        if key in found:
            raise InvalidMessage(f"the key {key!r} occurs twice")
        found[key] = _scalar(member["value"])
        at, more = member.end(), member["next"] == ","
    if not END.fullmatch(text, at):
        raise InvalidMessage(f"something follows the headers' object: {text[at : at + 60]!r}")
    return found


def _scalar(token: str) -> Scalar:
    if token in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[token]
    if token.startswith('"'):
        return _string(token)
    if token.lstrip("-").isdecimal():
        # Of many digits it is too large anyway; int() would take its time, or refuse.
        if len(token) > len(str(-LARGEST_INTEGER)) or abs(int(token)) > LARGEST_INTEGER:
            raise InvalidMessage(f"not an interoperable integer: {token[:60]}")
        return int(token)
    if not math.isfinite(float(token)):
        raise InvalidMessage(f"not finite as a double: {token[:60]}")
    return float(token)


def _string(token: str) -> str:
    text = json.loads(token)
    assert isinstance(text, str)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidMessage(f"a lone surrogate in {token[:60]}")  # MSG-11
    return text


def fresh_id() -> int:
    """An id as publish.md recommends it, of at least 2^56 (PUB-1) and rising (PUB-2)."""
    global _last
    _last = max(_last + 1, now())
    return _last << 10 | secrets.randbits(10)


_last = 0


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def a_message(
    topic: str = "a",
    content: bytes = b"",
    headers: Mapping[str, Scalar] | None = None,
    id: int | None = None,
) -> Message:
    return Message(fresh_id() if id is None else id, now(), topic, headers or {}, content)


# --- base.md, channel.md, publish.md, fetch.md -----------------------------------------------

CHANNEL_NAME = re.compile(
    rf"(?P<pattern>{PATTERN.pattern})_(?P<random>[A-Za-z0-9]{{12}})_(?P<pid>[1-9][0-9]{{0,9}})"
)
MESSAGE_NAME = re.compile(r"[1-9][0-9]{0,19}")


def fresh_name() -> str:
    """12 characters with 71 random bits in them."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(12))


def channel_name(pattern: str, pid: int) -> str:
    return f"{pattern}_{fresh_name()}_{pid}"


def has_reader(channel_dir: Path) -> bool:
    """CHAN-9; what is not known (no queue there, say) is an OSError."""
    try:
        os.close(os.open(channel_dir / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def enqueue(channel_dir: Path, data: int | bytes) -> None:
    """Write an id, or these very octets, to the queue in one write."""
    octets = data.to_bytes(8, "big") if isinstance(data, int) else data
    queue = os.open(channel_dir / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        written = os.write(queue, octets)
    finally:
        os.close(queue)
    if written != len(octets):
        raise OSError(errno.EAGAIN, f"the queue took {written} of {len(octets)} octets")


def fill(channel_dir: Path, id: int = 0) -> int:
    """Write the id until the queue is full; how many times that was.

    0 is what a subscriber skips (FETCH-10).
    """
    queue = os.open(channel_dir / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    count = 0
    try:
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(queue, id.to_bytes(8, "big"))
                count += 1
    finally:
        os.close(queue)
    return count


def put(
    channel_dir: Path, message: Message | bytes, *, name: str | None = None, enqueue: bool = True
) -> Path:
    """Put a file into the channel, as a publisher does: make it in `tmp`, link it, enqueue it.

    The name is the message's id, or fresh, unless one is given; what is enqueued is the name.
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


_enqueue = enqueue  # for put(), which has a parameter of that name


class Base:
    """A base directory, and the kit's own publisher and subscriber in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tmp = path / "tmp"
        self._opened: list[Channel] = []

    def make(self, mode: int = 0o700) -> None:
        """Make the base, with exactly this mode, and `tmp` in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(mode)
        self.make_tmp()

    def make_tmp(self) -> None:
        """Make `tmp`, and the base, where they are not there (BASE-3, BASE-11)."""
        self.path.mkdir(0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.tmp.mkdir(0o700)
            self._share(self.tmp, 0o700, 0o077)

    def _share(self, path: Path, owner: int, others: int) -> None:
        """Give what was made here the permission bits of BASE-8 and BASE-9."""
        base = self.path.stat().st_mode & 0o077
        made = path.stat().st_mode & stat.S_ISGID
        path.chmod(made | owner | (base & others if base & 0o022 else 0))

    def channels(self) -> list[Path]:
        """The directories that are channels (BASE-10), dead or alive, sorted."""
        return sorted(entry for entry in self.path.iterdir() if _is_channel(entry))

    def stage(self, name: str, data: bytes) -> Path:
        """Make this file in `tmp`."""
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
        """Publish to every channel that matches, is alive and has room, as an honest publisher."""
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
                queue = os.open(channel_dir / "queue", os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno in (errno.ENXIO, errno.ENOENT):
                    continue  # nobody reads there
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

    def open(self, pattern: str, *, pid: int | None = None) -> Channel:
        """Open a channel of the kit's own; of this process unless a pid is given."""
        if not is_pattern(pattern):
            raise ValueError(f"not a pattern: {pattern!r}")
        being_made = self._make_directory()
        # The reading end first: without a reader the writing end could not be opened.
        read_end = os.open(being_made / "queue", os.O_RDONLY | os.O_NONBLOCK)
        write_end = os.open(being_made / "queue", os.O_WRONLY | os.O_NONBLOCK)
        directory = being_made.rename(self.path / channel_name(pattern, pid or os.getpid()))
        channel = Channel(self, directory, pattern, read_end, write_end)
        self._opened.append(channel)
        return channel

    def dead_channel(self, pattern: str, pid: int, queue: bool = True) -> Path:
        """Make a channel that nobody reads, as a killed subscriber leaves it."""
        # Made in `tmp` as well: a reaper at work does not meet it half-made.
        return self._make_directory(queue).rename(self.path / channel_name(pattern, pid))

    def _make_directory(self, queue: bool = True) -> Path:
        """Make a directory in `tmp` that is to become a channel."""
        self.make_tmp()
        directory = self.tmp / fresh_name()
        directory.mkdir(0o700)
        self._share(directory, 0o700, 0o077)
        if queue:
            os.mkfifo(directory / "queue", 0o600)
            self._share(directory / "queue", 0o600, 0o022)
        return directory

    def tree(self) -> str:
        """What stands in the base, as evidence: type and mode, size in octets, name."""
        lines = [f"{_describe(self.path)} {self.path}"]
        lines += [
            f"{_describe(entry)} {entry.relative_to(self.path)}"
            for entry in sorted(self.path.rglob("*"))
        ]
        return "\n".join(lines).encode(errors="backslashreplace").decode()

    def leftovers(self) -> list[str]:
        """All names in the base, but for `tmp` itself and the channels the kit has not closed."""
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
        return "gone meanwhile"
    return f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {status.st_size:>9}"


class Channel:
    """A channel of the kit's own; a context manager that closes it."""

    def __init__(
        self, base: Base, directory: Path, pattern: str, read_end: int, write_end: int
    ) -> None:
        self.base = base
        self.directory = directory
        self.pattern = pattern
        self.read_end = read_end
        self.write_end = write_end
        self.closed = False
        self._reading = True

    def fetch(self) -> Message | None:
        """The next message, None if the queue is empty, InvalidMessage for a bad file or queue."""
        while True:
            try:
                octets = os.read(self.read_end, 8)
            except BlockingIOError:
                return None
            if len(octets) != 8:
                raise InvalidMessage(f"the queue held {len(octets)} octets, which are no id")
            id = int.from_bytes(octets, "big")
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

    def fetch_all(self) -> list[Message]:
        """What the queue holds now, in its order."""
        messages = []
        while (message := self.fetch()) is not None:
            messages.append(message)
        return messages

    def files(self) -> list[str]:
        """What stands beside the queue."""
        return sorted(entry.name for entry in self.directory.iterdir() if entry.name != "queue")

    def stop_reading(self) -> None:
        """Close the queue and leave the directory, as the death of its owner does."""
        if self._reading:
            self._reading = False
            os.close(self.read_end)
            os.close(self.write_end)

    def close(self) -> None:
        """Take the channel down; nothing if it is closed or gone already."""
        if self.closed:
            return
        self.closed = True
        claimed = self.base.tmp / fresh_name()
        with contextlib.suppress(FileNotFoundError):
            self.directory.rename(claimed)
        self.stop_reading()
        for _ in range(100):  # for a publisher that came late may put another link there
            if not claimed.exists():
                break
            shutil.rmtree(claimed, ignore_errors=True)

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
