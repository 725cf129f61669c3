"""What a bridge knows from one run to the next: whose base it serves, and how far it has come."""

from __future__ import annotations

import fcntl
import os
import re
from hashlib import sha256
from pathlib import Path

from .sequences import fresh

_is_origin = re.compile(r"[0-9a-f]{16}").fullmatch
_is_name = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


class StateUnusable(Exception):
    """The directory of the state cannot be used; the text says why."""


def default_directory(base: str) -> Path:
    """Where the state of the bridges of a base is."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(home, "pubsub-bridge", sha256(os.fsencode(base)).hexdigest()[:16])


class State:
    """The files of one bridge. Only one process at a time has them."""

    def __init__(self, directory: Path, name: str) -> None:
        """Raises StateUnusable, also if a bridge of this name serves the base already."""
        if not _is_name(name):
            raise StateUnusable(f"the name {name!r} is not 1 to 64 of [A-Za-z0-9_-]")
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateUnusable(
                    f"a bridge {name!r} of this base is running: give this one another --name"
                ) from None
            self.origin_path = directory / "origin"
            self.origin = _origin(self.origin_path)
            self._runs = os.open(self.origin_path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise StateUnusable(f"{directory}: {error.strerror}") from error
        self._prefix = directory / name

    def begin(self, run: str) -> None:
        """Note a run of a bridge of this base, before it exports. Raises OSError."""
        os.write(self._runs, f"{run}\n".encode())

    def knows(self, run: str) -> bool:
        """Whether this run was noted: if not, it was where another copy of this state is."""
        return run.encode() in os.pread(self._runs, os.fstat(self._runs).st_size, 0).split()

    def progress(self, stream: str) -> Progress:
        """How far the import of this stream has come."""
        return Progress(Path(f"{self._prefix}.{stream}.done"))


class Progress:
    """The last message of a stream that was imported, in a file.

    It is written after each message and never synced: it survives the death of the process, and a
    crash of the machine takes the base along anyway.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        stream, _, done = os.pread(self._file, 256, 0).decode("ascii", "replace").partition(" ")
        self._stream = stream
        self.done: int | None = int(done) if done.strip().isdecimal() else None
        """Its number in the stream; None: nothing is known."""

    def begin(self, stream: str, last: int) -> int:
        """The number of the first message to import.

        `stream` tells streams of one name apart, `last` is the last number there now: a bridge that
        was never there begins behind it.
        """
        if self.done is None:
            self.done = last
        elif stream != self._stream:  # it was removed and made again
            self.done = 0
        self._stream = stream
        self.note(self.done)
        return self.done + 1

    def note(self, done: int) -> None:
        """All messages up to this one are done."""
        self.done = done
        os.pwrite(self._file, f"{self._stream} {done:020}\n".encode(), 0)


def _origin(path: Path) -> str:
    """The name of the base for other bridges: it is made once, whoever comes first."""
    mine = path.with_suffix(f".{os.getpid()}")
    mine.write_text(fresh() + "\n", "ascii")
    try:
        os.link(mine, path)
    except FileExistsError:
        pass
    finally:
        mine.unlink()
    origin = path.read_text("ascii", "replace").partition("\n")[0]  # the runs are behind it
    if not _is_origin(origin):
        raise StateUnusable(f"{path} does not hold 16 hexadecimal digits")
    return origin
