"""The inline lane (spec/inline.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

MUTANTS = [
    Mutant(
        "INLINE-1",
        "a marker that others may read and write",
        Edit("_mark", "stat.S_IFREG | 0o600", "stat.S_IFIFO | 0o600"),
    ),
    Mutant(
        "INLINE-1",
        "marks no channel",
        Edit("capacity.is_fit", None, "return False"),
    ),
    Mutant(
        "INLINE-2",
        "marks each channel",
        Edit("Inbox.__init__", "self.is_inline = inline", "self.is_inline = True"),
    ),
    Mutant(
        "INLINE-3",
        "marks queues of any size",
        Edit("capacity._SMALLEST", "32 * 1024", "0"),
    ),
    Mutant(
        "INLINE-3",
        "does not look whether the write end shows the fill",
        Edit(
            "capacity.is_fit",
            "os.read(read_end, queue.WORD_OCTETS) == queue.WAKE_UP and told == queue.WORD_OCTETS",
            "os.read(read_end, queue.WORD_OCTETS) == queue.WAKE_UP",
        ),
    ),
    Mutant(
        "INLINE-3",
        "leaves the word of its probe in the queue",
        Edit(
            "capacity.is_fit",
            "os.read(read_end, queue.WORD_OCTETS) == queue.WAKE_UP and told == queue.WORD_OCTETS",
            "told == queue.WORD_OCTETS",
        ),
    ),
    Mutant(
        "INLINE-4",
        "no room for a marker is an error",
        Edit("_mark", "error.errno not in (errno.ENOSPC, errno.EDQUOT)", "True"),
    ),
    Mutant(
        "INLINE-4",
        "reports EDQUOT",
        Edit("_mark", "(errno.ENOSPC, errno.EDQUOT)", "(errno.ENOSPC,)"),
    ),
    Mutant(
        "INLINE-5",
        "follows a link to a marker",
        Edit(
            "_owner_of_marker",
            'os.lstat(f"{path}/{queue.MARKER}")',
            'os.stat(f"{path}/{queue.MARKER}")',
        ),
    ),
    Mutant(
        "INLINE-5",
        "whatever is called inline is a marker",
        Edit("_owner_of_marker", "found and stat.S_ISREG(found.st_mode)", "found"),
    ),
    Mutant(
        "INLINE-5",
        "a marker of any user",
        Edit(
            "Lane.is_marked",
            "return self._marker_owner == queue_status.st_uid",
            "return self._marker_owner != _NOBODY",
        ),
    ),
    Mutant(
        "INLINE-5",
        "compares the marker's owner with the first queue's alone",
        Edit(
            "Lane.is_marked",
            "self._marker_owner = owner",
            "self._marker_owner = owner if owner == queue_status.st_uid else _NOBODY",
        ),
        Edit(
            "Lane.is_marked",
            "return self._marker_owner == queue_status.st_uid",
            "return self._marker_owner != _NOBODY",
        ),
    ),
    Mutant(
        "INLINE-5",
        "writes records to every channel",
        Edit("_owner_of_marker", None, "return os.geteuid()"),
    ),
    Mutant(
        "INLINE-6",
        "zeros instead of the channel's characters",
        Edit("queue.heading", 'path.rsplit("_", 2)[1][:4].encode()', "bytes(4)"),
    ),
    Mutant(
        "INLINE-6",
        "the length includes the padding",
        Edit(
            "queue.body",
            "_length(size)",
            "_length(size + -size % WORD_OCTETS)",
        ),
    ),
    Mutant(
        "INLINE-6",
        "no padding",
        Edit("queue.body", "bytes(-size % WORD_OCTETS)", "b''"),
    ),
    Mutant(
        "INLINE-7",
        "the header first, and then the message",
        Edit(
            "_Delivery._send_record",
            "write(opened, record, self._written)",
            """
            os.write(opened, record[:8])
            write(opened, record[8:], self._written)
            self._written[0] += 8
            """,
        ),
        Edit("Lane.keep", None, "pass"),
    ),
    Mutant(
        "INLINE-7",
        "counts a queue that takes a part",
        Edit("_Delivery._send_record", "self._written[0] != len(record)", "False"),
        Edit("listing._send", "written == size", "written"),
    ),
    Mutant(
        "INLINE-8",
        "the highest bit begins a record",
        Edit(
            "Batch._is_whole", "data.startswith(self._heading, at)", "data[at : at + 1] >= b'\\x80'"
        ),
    ),
    Mutant(
        "INLINE-8",
        "the characters of any channel",
        Edit(
            "Batch._is_whole",
            "data.startswith(self._heading, at)",
            "data.startswith(b'\\x80\\0', at)",
        ),
    ),
    Mutant(
        "INLINE-8",
        "any length",
        Edit("Batch._is_whole", "SHORTEST_MESSAGE <= size <= LONGEST_MESSAGE", "True"),
    ),
    Mutant(
        "INLINE-9",
        "goes on within an invalid record",
        Edit(
            "Inbox._read_record",
            "self.hand.drop()",
            "self.hand._end = self.hand._state[1] + 8; ...",
        ),
    ),
    Mutant(
        "INLINE-10",
        "where a read ends, a record is cut short",
        Edit("Batch._read_on", "not reads[-1]", "not reads[-1] or left > 8"),
    ),
    Mutant(
        "INLINE-10",
        "keeps what is cut short in hand",
        Edit("Batch._read_on", "self._state = (b'', 0, [])", "self._state = (data, at, [])"),
    ),
    Mutant(
        "INLINE-11",
        "removes the file that has the id of a record",
        Edit(
            "Inbox._read_record",
            "return Message.from_bytes(octets)",
            """
            message = Message.from_bytes(octets)
            self._discard(str(message.id))
            return message
            """,
        ),
    ),
    Mutant(
        "INLINE-12",
        "a record of at most 512 octets",
        Edit("queue.LONGEST_MESSAGE", "1016", "512"),
    ),
    Mutant(
        "INLINE-12",
        "a list that may not be kept gets files",
        Edit(
            "_Delivery._enqueue",
            "not lane.is_marked(status)",
            "not lane.is_marked(status) or listing is not lists._kept[-1]",
        ),
    ),
    Mutant(
        "INLINE-13",
        "writes records until the queue is full",
        Edit("capacity.allowance", "size // 2 - octets(write_end)", "size"),
    ),
    Mutant(
        "INLINE-13",
        "takes every queue for one of 64 KiB",
        Edit("capacity.allowance", "fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ)", "65536"),
    ),
    Mutant(
        "INLINE-13",
        "looks once",
        Edit("listing._send", "lane.left -= size", "pass"),
    ),
    Mutant(
        "INLINE-13",
        "writes a sixteenth beyond the half",
        Edit(
            "capacity.allowance",
            "max(min(size // 2 - octets(write_end), size // 16), 0)",
            "size // 16 if octets(write_end) < size // 2 else 0",
        ),
    ),
    Mutant(
        "INLINE-13",
        "does not count the ids that it writes",
        Edit("_Delivery._send_file", "lane.left = 0", "pass"),
    ),
    Mutant(
        "INLINE-14",
        "a message that cannot be staged ends the publish",
        Edit("_Delivery.stage", "self._unstaged = error", "raise"),
        Edit("_Delivery.find", "self._unstaged = error", "raise"),
    ),
    Mutant(
        "INLINE-15",
        "an unstaged message is no record for a queue that is half full",
        Edit(
            "_Delivery._enqueue",
            "error is self._unstaged and self._send_record(lane, opened)",
            "error is self._unstaged and allowance(opened) and self._send_record(lane, opened)",
        ),
    ),
    Mutant(
        "INLINE-16",
        "a refused record is a full queue",
        Edit("_Delivery._send_record", "return False", "raise"),
    ),
    Mutant(
        "INLINE-17",
        "starts over where tmp vanished",
        Edit("_Delivery.stage", "not self._outcome.taken", "True", 2),
    ),
    Mutant(
        "INLINE-18",
        "waits for room in the queue that it opened first",
        Edit("_Delivery.__init__", "self._queue = Descriptors()", "...; self._first = {}"),
        Edit(
            "_Delivery._enqueue",
            "status = os.fstat(opened)",
            """
            first = self._first.setdefault(lane.queue, opened)
            if first == opened:
                self._first[lane.queue] = os.dup(opened)
            elif not select.select([], [first], [], 0)[1]:
                raise BlockingIOError(errno.EAGAIN, "full")
            ...
            """,
        ),
        Edit(
            "_Delivery._enqueue",
            "opened = self._queue.open(lane.queue, queue.WRITE)",
            """
            if lane.queue in self._first:
                opened = -1
            else:
                ...
            """,
        ),
    ),
    Mutant("INLINE-19", "reads as much as there is", Edit("batch._LARGEST", "65_536", "1 << 20")),
    Mutant(
        "INLINE-21",
        "keeps its list whatever changes",
        Edit("listing.kept", "listing.key == place.key()", "True"),
    ),
    Mutant(
        "INLINE-21",
        "keeps the queues of a new list's names",
        Edit(
            "listing._keep",
            "_kept.append(listing)",
            """
            if listing and _kept[-1]:
                listing._lanes.update(_kept[-1]._lanes)
                _kept[-1]._lanes.clear()
            ...
            """,
        ),
    ),
    Mutant("INLINE-22", "keeps a half", Edit("listing._keep", "limit // 8", "limit // 2")),
    Mutant("INLINE-22", "keeps up to 1024", Edit("listing._MOST_KEPT", "256", "1024")),
    Mutant(
        "INLINE-23",
        "keeps whatever number it gets",
        Edit("Descriptors.open", "opened > _STANDARD", "True"),
    ),
    Mutant(
        "INLINE-23",
        "keeps a low number if it can have no other",
        Edit("Descriptors._lifted", "raise", "return self[-1]"),
    ),
    Mutant("INLINE-24", "keeps what it has", Edit("listing._spare", None, "return False")),
    Mutant(
        "INLINE-24",
        "does not know ENFILE",
        Edit("may_try_again", "(errno.EMFILE, errno.ENFILE)", "(errno.EMFILE,)"),
    ),
    Mutant("INLINE-25", "leaves the queue as it is", Edit("capacity.free", None, "pass")),
    Mutant(
        "INLINE-25",
        "reports that a queue cannot be freed",
        Edit("capacity.free", "of_system(OSError)", "()", 2),
    ),
    Mutant(
        "INLINE-25",
        "does not make the queue small",
        Edit("capacity.free", "fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _PAGE)", "pass"),
    ),
    Mutant(
        "INLINE-25",
        "does not read what is left",
        Edit("capacity.free", "left > 0", "False"),
    ),
]
