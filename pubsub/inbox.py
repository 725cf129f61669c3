"""One opened channel on disk: its directory, its descriptors, what was read from its queue.

An inbox is stored in its channel before it makes anything, and is dropped after everything of it
is gone. In between, each step of taking it down can be repeated, and whether it is visible is asked
of the disk: an exception from a signal handler may come at any point.

All in the channel's directory is reached by name from a descriptor of it that was opened when it
was made: a process that may write into the base may put another directory in its place, or a
symbolic link that leads out of the base (BASE-15).
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat

from . import capacity, queue, reaper
from .base import STALE_AGE, Base, fresh_in_tmp, fresh_name
from .batch import Batch
from .clock import monotonic, wall_clock
from .files import FileDescriptors, entries, exists, identity, is_of_kind
from .hand import Hand
from .interruption import Descriptors, of_system
from .log import logger
from .message import Message
from .message_file import InvalidMessage
from .place import located
from .reading import denies_reading, read
from .removal import remove
from .spare import may_try_again
from .waiters import Waiters

LOOK_SECONDS = 0.5
"""How often an idle owner looks whether its directory is there (FETCH-14)."""

_SWEEP_SECONDS = 600.0  # FETCH-16: how often an idle owner looks for orphans
is_message_name = re.compile(r"[1-9][0-9]{0,19}").fullmatch


class ChannelLost(OSError):
    """The channel can receive no more: its directory was removed, so that nobody can write to its
    queue (FETCH-14), or this program closed its descriptors.
    """


class Inbox:
    """One opened channel on disk, from its making to its removal.

    Each of its attributes is part of what has to be made, looked after, and taken down.
    """

    path: str
    is_open: bool
    is_inline: bool
    hand: Hand

    def __init__(
        self, base: Base, pattern: str, inline: bool, waiters: Waiters, of_bridge: bool
    ) -> None:
        """An inbox for `pattern` in `base`, of which nothing is on disk yet.

        `inline`: it is to take records; once it is made, whether it does. `waiters` are those who
        wait for its messages. `of_bridge`: a bridge exports by it.
        """
        self.base = base
        self.path = f"{base.path}/{pattern}_{fresh_name()}_{os.getpid()}"
        self.is_open = False
        self.is_inline = inline
        self._waiters = waiters
        self._of_bridge = of_bridge
        waiters.program_polls = False
        self._claimed = fresh_in_tmp()  # the name in `tmp` of what is to be removed
        self._tmp = Descriptors()  # open while something of this inbox may be in `tmp`
        self._directory = FileDescriptors()
        self._queue = FileDescriptors()  # its read end and its write end (CHAN-6, CHAN-7)
        self._is_lost = False
        self.next_look = monotonic() + LOOK_SECONDS
        self._next_sweep = monotonic() + _SWEEP_SECONDS

    @property
    def read_end(self) -> int:
        """The descriptor from which ids are read."""
        return self._queue[0]

    def fileno(self) -> int:
        """The same, for a poll of the program's own: from now on, it shows what is in hand."""
        self._waiters.program_polls = True
        self.hand.settle()
        self.show_hand()
        return self._queue[0]

    def show_hand(self) -> None:
        """Make the queue readable while a message is in hand, if anybody waits (FETCH-21)."""
        if self._waiters and self.hand and not self._is_readable():
            self.wake()

    def _announce(self) -> None:
        """Wake those who cannot see what this thread has in hand (INLINE-20)."""
        if self._waiters:
            self.wake()

    # --- opening and taking down ---

    def make(self) -> OSError | None:
        """Make the directory, begin to receive, become visible: spec/channel.md, steps 2 to 6.

        The system's error is returned. FileNotFoundError and FileExistsError: try another inbox.
        """
        try:
            self._make(self._claimed)
        except of_system(OSError) as error:
            # The names in it are relative to a descriptor, which nobody else knows.
            return located(error, f"{self.base.tmp}/{self._claimed}")
        return None

    def _make(self, name: str) -> None:
        tmp = self.base.open_tmp(self._tmp)
        directory = self.base.make_directory(self._directory, tmp, name)
        self._directory.identity = identity(os.fstat(directory))
        self.base.make_queue(directory, name)
        read_end = self._queue.open("queue", queue.READ, dir_fd=directory)
        self.base.share(read_end, 0o022)
        write_end = self._queue.open("queue", queue.WRITE, dir_fd=directory)
        self._queue.identity = identity(os.fstat(read_end))
        check = self._check_descriptors
        if self.is_inline and capacity.is_fit(read_end, write_end) and _mark(directory):
            self.hand = Batch(read_end, directory, check, self.path, self._announce)
        else:
            self.is_inline = False
            self.hand = Hand(read_end, directory, check)
        if self._of_bridge:
            os.mknod(queue.BRIDGE_MARKER, stat.S_IFREG | 0o600, dir_fd=directory)
        try:
            os.rename(name, self.path, src_dir_fd=tmp)  # CHAN-10
        except of_system(OSError) as error:
            if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):  # the name is taken
                raise FileExistsError(error.errno, error.strerror, self.path) from error
            raise
        if identity(os.lstat(f"{self.path}/queue")) != self._queue.identity:  # CHAN-12
            raise FileNotFoundError(errno.ENOENT, "a reaper had the directory", self.path)
        self._tmp.close()

    def hide(self) -> OSError | None:
        """Rename the directory into `tmp`, if it is visible. The system's error is returned."""
        try:
            if self._directory and self._is_visible():
                name = fresh_in_tmp()
                self._claimed = name
                reaper.claim(self.base, self.path, name, self._tmp)
                self._give_back_another(name)
        except of_system(FileNotFoundError):
            pass  # the base, or this directory, was removed
        except of_system(OSError) as error:
            self._tmp.close()
            return error
        return None

    def _give_back_another(self, name: str) -> None:
        """Undo the claim if it hit another directory, put there since the look (CHAN-22)."""
        claimed = os.stat(name, dir_fd=self._tmp[0], follow_symlinks=False)
        if identity(claimed) != self._directory.identity:
            self._claimed = ""  # it is not ours to remove, even if it cannot be given back
            try:
                os.rename(name, self.path, src_dir_fd=self._tmp[0])
            finally:
                self._tmp.close()  # nothing of this inbox is in `tmp`, nor in the base (BASE-15)

    def _is_visible(self) -> bool:
        """Whether the directory under this path is the one that was made here (CHAN-20)."""
        return identity(os.lstat(self.path)) == self._directory.identity

    def close(self) -> None:
        """Close the descriptors of the hidden directory and its queue.

        The queue and the markers are removed before: their directory can then be removed without
        another descriptor, of which there may be none left.
        """
        self.is_open = False
        self._directory.forget_foreign()
        if self._tmp and self._directory:
            names = ["queue"]
            if self.is_inline:
                names.append(queue.MARKER)
            if self._of_bridge:
                names.append(queue.BRIDGE_MARKER)
            for name in names:
                try:
                    os.unlink(name, dir_fd=self._directory[0])
                except of_system(OSError):
                    pass  # if it is still there, removing the directory will meet the error again
        if self.is_inline:
            self._queue.forget_foreign()
            any(map(capacity.free, self._queue[:1]))
        self._queue.close()
        self._directory.close()

    def remove(self) -> OSError | None:
        """Remove the hidden directory with everything in it (CHAN-14); the system's error."""
        error = remove(self._tmp[0], self._claimed) if self._tmp and self._claimed else None
        self._tmp.close()
        return error

    def abandon(self) -> None:
        """Close the descriptors that a forked child has inherited."""
        for held in (self._tmp, self._directory, self._queue):
            held.close()

    # --- looking after it ---

    def wake(self) -> None:
        """Make the queue readable, for the threads that wait."""
        if self._queue.are_ours():
            try:
                os.write(self._queue[1], queue.WAKE_UP)
            except of_system(BlockingIOError):
                pass  # a full queue is readable

    def when_empty(self) -> None:
        """What an owner does now and then when its queue is empty (FETCH-16, FETCH-20)."""
        now = monotonic()
        if now >= self.next_look:
            self.look()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self.sweep(STALE_AGE)

    def look(self) -> None:
        """Raise ChannelLost if the directory is gone (FETCH-14), or the program closed descriptors.

        By path: a base that was renamed takes the queue along, unchanged but out of reach.
        """
        self.next_look = monotonic() + LOOK_SECONDS
        self._check_descriptors()
        if not self._is_lost:
            try:
                self._is_lost = identity(os.lstat(f"{self.path}/queue")) != self._queue.identity
            except of_system(FileNotFoundError, NotADirectoryError):
                self._is_lost = True
            except of_system(OSError):
                return  # not known; the next look may show it
        if self._is_lost:
            self.next_look = 0.0  # each fetch says so, until the channel closes
            what = "the channel's directory is gone: close the channel, and open it again"
            raise ChannelLost(errno.ENOENT, what, self.path)

    def _check_descriptors(self) -> None:
        """Raise ChannelLost if a number is no longer ours: we would read or empty another file."""
        if not (self._queue.are_ours() and self._directory.are_ours()):
            raise ChannelLost(errno.EBADF, "this program has closed a descriptor", self.path)

    def sweep(self, stale_age: float) -> None:
        """Remove files that are `stale_age` seconds old and of which no id tells (FETCH-17)."""
        self._check_descriptors()
        stale_before = wall_clock() - stale_age
        stale = []
        for entry in self._entries():
            try:
                if (
                    is_message_name(entry.name)
                    and entry.is_file(follow_symlinks=False)
                    and entry.stat(follow_symlinks=False).st_ctime < stale_before
                ):
                    stale.append(entry.name)
            except of_system(FileNotFoundError):
                pass
        # Only now: an id that was written before the listing is still there, or was fetched.
        if stale and not self.hand and not self._is_readable():
            for name in stale:
                self._discard(name)

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            return entries(self._directory[0])
        except of_system(OSError) as error:
            raise located(error, self.path) from error

    def _is_readable(self) -> bool:
        poll = select.poll()
        poll.register(self._queue[0], select.POLLIN)
        return bool(poll.poll(0))

    # --- fetching ---

    def waiting(self) -> int:
        """The number of words in the queue and in hand, or more."""
        return capacity.octets(self._queue[0]) // queue.WORD_OCTETS + self.hand.words

    def take_message(self) -> Message | None:
        """The message that was taken, where it stays; its file is removed.

        None: there is no such file, and the id was dropped (FETCH-3). Raises OSError; and
        InvalidMessage, where what was taken was dropped, too.
        """
        hand = self.hand
        if hand.record is not None:
            return self._read_record(hand.record)
        id = hand.id
        name = str(id)
        if hand.message is None:
            try:
                # FETCH-10: 0 is no message's id.
                hand.message = self._read_message(name, id) if id else None
            except of_system(InvalidMessage) as error:  # FETCH-5
                self._discard(name)
                hand.drop()
                raise InvalidMessage(f"{self.path}/{name}: {error}") from error
            except of_system(OSError) as error:  # FETCH-8
                raise located(error, f"{self.path}/{name}") from error
            except of_system(MemoryError) as error:  # FETCH-8: there may be enough later
                reason = os.strerror(errno.ENOMEM)
                raise OSError(errno.ENOMEM, reason, f"{self.path}/{name}") from error
        if hand.message is None:
            hand.drop()
            self._check_descriptors()  # or is this another file, of which we read a word?
            return None
        self._discard(name)  # FETCH-4
        return hand.message

    def _read_record(self, octets: bytes) -> Message:
        """The message of the record that was taken. No file of its id is touched (INLINE-11)."""
        try:
            return Message.from_bytes(octets)
        except of_system(InvalidMessage) as error:  # INLINE-9
            self.hand.drop()
            raise InvalidMessage(f"{self.path}/queue: a record: {error}") from error

    def _read_message(self, name: str, id: int) -> Message | None:
        """The message in a file of the directory; None if there is no file of that name."""
        file = self.hand.file
        try:  # as `with file, file:`, which takes more time
            try:
                if not self._open_message(name):
                    return None
                head, content = read(file[0])
                file.close()
            except BaseException:
                file.close()
                raise
        except BaseException:
            file.close()
            raise
        message = Message.from_bytes(head, content)
        if message.id != id:  # FETCH-6
            raise InvalidMessage(f"it holds the message {message.id}")
        return message

    def _open_message(self, name: str) -> bool:
        """Open a file of the directory. False: there is none. Raises InvalidMessage, OSError."""
        try:
            self.hand.file.extend(map(self.hand.open, (name,)))
        except of_system(FileNotFoundError, NotADirectoryError):
            return False
        except of_system(OSError) as error:
            if may_try_again(error):
                return self._open_message(name)
            directory = self._directory[0]
            if not exists(name, directory):  # the error was not about this file
                return False
            if not is_of_kind(name, stat.S_ISREG, directory):  # FETCH-7
                raise InvalidMessage("it is not a regular file") from error
            if error.errno == errno.EACCES and denies_reading(name, directory):  # FETCH-19
                raise InvalidMessage("it may not be read") from error
            raise  # FETCH-8
        return True

    def _discard(self, name: str) -> None:
        """Remove a file that was fetched, or that is not a message."""
        directory = self._directory[0]
        try:
            os.unlink(name, dir_fd=directory)
        except of_system(FileNotFoundError):
            pass
        except of_system(OSError) as error:
            if is_of_kind(name, stat.S_ISDIR, directory):
                return  # it is removed with the channel; unlink() has various errors for one
            # The file stays until the channel closes; that is no reason to withhold the message.
            path = f"{self.path}/{name}"
            logger().warning("%s cannot be removed: %s", path, error.strerror)


def _mark(directory: int) -> bool:
    """Make the marker in the directory of a channel (INLINE-1). False: there is no room for it."""
    try:
        os.mknod(queue.MARKER, stat.S_IFREG | 0o600, dir_fd=directory)
    except of_system(OSError) as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False  # INLINE-4
    return True
