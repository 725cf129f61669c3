"""Which channels there are in the base, and how they are. Looking disturbs nobody.

No queue is opened for reading: its owner alone does that (CHAN-4). Whether a channel is alive shows
when its queue is opened for writing, as publishers and reapers do (CHAN-9).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from . import queue
from .base import Base, ChannelEntry
from .capacity import octets
from .clock import wall_clock
from .files import entries
from .inbox import is_message_name
from .interruption import Descriptors, of_system
from .lane import Lane
from .place import Place, located
from .process import notice_fork
from .topics import check_pattern, overlap

_SHORTEST_RECORD = queue.WORD_OCTETS + queue.SHORTEST_MESSAGE
_MOST_OF_A_COMMAND = 4096  # octets


class ChannelInfo(NamedTuple):
    """One channel in the base, as it was at one moment.

    What may not be looked at, in the channels of other users, is None.
    """

    pattern: str
    """The topics that it receives."""

    pid: int
    """The id of the process that opened it."""

    command: str | None
    """The command line of that process, its arguments joined by spaces; at most 4096 octets of it.

    None if the channel is dead (the id may be another process's by now), and where the system does
    not show it in /proc.
    """

    alive: bool | None
    """Whether somebody reads from its queue; if not, `reap` removes it."""

    waiting: int | None
    """How many messages wait to be fetched: the number of message files.

    The small messages of an inline channel are no files, and nobody but its owner can count them
    in its queue: this is None while the queue may hold one. What the owner has read from the queue
    and not fetched is not counted.
    """

    queue_octets: int | None
    """How many octets are in the queue of an inline channel that is alive; otherwise None."""

    age_seconds: float
    """Seconds since its directory or its queue changed: it was opened, or a message came.

    Fetching changes the directory, too, where the message was a file.
    """

    path: str
    """Its directory."""

    inline: bool | None
    """Whether small messages travel in its queue."""


def channels(pattern: str | None = None) -> list[ChannelInfo]:
    """The channels in the base, by pattern and process id.

    With a `pattern`, only those that can receive a message with a topic that it matches. A topic is
    such a pattern, too: `channels("news.sports")` are those to which a publish there would go.

    Makes no base if there is none, removes nothing, and opens no queue for reading. Dead channels
    are in the list. Raises InvalidPattern, TypeError; BaseUnusable; OSError if the base cannot be
    listed.
    """
    notice_fork()
    if pattern is not None:
        pattern = check_pattern(pattern)
    place = Place.here()
    mode = place.look()
    if mode is None:
        return []
    try:
        found = Base(place.path, mode).channels()
    except of_system(FileNotFoundError):
        return []  # it was removed meanwhile
    except of_system(OSError) as error:
        raise located(error, place.path) from error
    chosen = [entry for entry in found if pattern is None or overlap(pattern, entry.pattern)]
    infos = map(_look_at, sorted(chosen, key=lambda entry: (entry.pattern, entry.pid, entry.path)))
    return [info for info in infos if info]


def _look_at(entry: ChannelEntry) -> ChannelInfo | None:
    """What can be seen of a channel. None: it is gone, or not a channel (BASE-10)."""
    held = Descriptors()
    try:
        with held, held:
            return _info(entry, held)
    except of_system(FileNotFoundError, NotADirectoryError):
        pass
    return None


def _info(entry: ChannelEntry, held: Descriptors) -> ChannelInfo | None:
    """The same. Holds the opened queue; raises FileNotFoundError if the channel is gone."""
    path = entry.path
    status = [os.lstat(path)]
    alive: bool | None = False
    try:
        status.append(os.lstat(f"{path}/queue"))
    except of_system(FileNotFoundError):
        pass
    except of_system(OSError):
        alive = None
    inline: bool | None = None
    queue_octets: int | None = None
    if len(status) > 1:
        if not stat.S_ISFIFO(status[1].st_mode):
            return None
        alive = _is_read(path, held)
        inline = Lane(path).is_marked(status[1])
        if alive and inline:
            queue_octets = octets(held[0])
    changed = max(time for found in status for time in (found.st_mtime, found.st_ctime))
    return ChannelInfo(
        pattern=entry.pattern,
        pid=entry.pid,
        command=None if alive is False else _command(entry.pid),
        alive=alive,
        waiting=None if (queue_octets or 0) >= _SHORTEST_RECORD else _files(path),
        queue_octets=queue_octets,
        age_seconds=max(0.0, wall_clock() - changed),
        path=path,
        inline=inline,
    )


def _is_read(path: str, held: Descriptors) -> bool | None:
    """Whether the queue has a reader. If it has, its write end is held. None: not to be told."""
    alive: bool | None = True
    try:
        held.open(f"{path}/queue", queue.WRITE)
    except of_system(OSError) as error:
        alive = False if error.errno in (errno.ENXIO, errno.ENOENT) else None
    return alive


def _files(path: str) -> int | None:
    """How many message files a channel has. None: it may not be listed."""
    count: int | None = None
    try:
        count = sum(1 for entry in entries(path) if is_message_name(entry.name))
    except of_system(PermissionError):
        pass
    return count


def _command(pid: int) -> str | None:
    """The command line of a process, if the system shows it."""
    held = Descriptors()
    line = b""
    try:
        with held, held:
            line = os.read(held.open(f"/proc/{pid}/cmdline", os.O_RDONLY), _MOST_OF_A_COMMAND)
    except of_system(OSError):
        pass
    return os.fsdecode(line.rstrip(b"\0").replace(b"\0", b" ")) or None
