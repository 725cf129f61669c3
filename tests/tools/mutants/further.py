"""Mutants that the suite's tests of one requirement need not catch.

Fuzzing, faults, stress, soak, and the matrix are tested by them.
"""

from __future__ import annotations

from mutation import Edit, Mutant

from . import publish

# --- fuzz ---

_PARSED = "magic, version, id, timestamp, topic_size = _HEAD.unpack_from(data)"

BELIEVES_A_LENGTH = Mutant(
    "MSG-13",
    "believes a length",
    Edit("decode", _PARSED, "bytes(int.from_bytes(data[21:25], 'big')); ..."),
)
DIES_OF_HALF_A_PAIR = Mutant(
    "MSG-11",
    "dies of half a pair",
    Edit(
        "decode",
        _PARSED,
        r"""
        if b"\\ud800" in data:
            raise SystemExit(3)
        ...
        """,
    ),
)
DIES_OF_A_REQUEST = Mutant(
    "DRIVER-5",
    "dies of what is not JSON",
    Edit("main", "(ValueError, RecursionError, BadRequest)", "(RecursionError, BadRequest)"),
)

# --- faults ---

FORGETS_THE_STAGED_FILE = Mutant(
    "PUB-14",
    "forgets the staged file where the base cannot be listed",
    Edit(
        "_Delivery.find",
        "return lists.list_anew(place, base, self._staged.path if self._staged else None)",
        """
        try:
            ...
        except OSError:
            self._copies._made.clear()
            raise
        """,
    ),
)
LEAKS_A_DESCRIPTOR = Mutant(
    "PUB-13",
    "leaks a descriptor where a link fails",
    Edit(
        "_Delivery._send_file",
        """
        if error.errno not in _TAKEN:
            raise
        """,
        """
        if error.errno not in _TAKEN:
            os.dup(self._queue[-1])
            raise
        """,
    ),
)
GIVES_THE_ID_UP = Mutant(
    "FETCH-8",
    "gives the id in hand up where its open file cannot be looked at",
    Edit(
        "Inbox._read_message",
        "head, content = read(file[0])",
        """
        try:
            os.fstat(file[0])
        except OSError:
            self.hand.drop()
            raise
        ...
        """,
    ),
)
NOTES_WHAT_IT_PUBLISHES = Mutant(
    "REAP-7",
    "notes what it is about to publish beside tmp, and strikes it out in the end",
    Edit(
        "_Delivery.run",
        "self._deliver(listing, lanes, timeout)",
        """
        note = f"{listing.base.path}/note-{os.getpid()}"
        os.close(os.open(note, os.O_WRONLY | os.O_CREAT))
        ...
        os.unlink(note)
        """,
    ),
)

TAKES_SILENCE_FOR_FULL = Mutant(
    "INLINE-12",
    "takes a queue that does not say how full it is for half full",
    Edit("capacity.allowance", "queue.LONGEST_RECORD", "0"),
)
TAKES_A_REFUSAL_FOR_FULL = Mutant(
    "INLINE-16",
    "takes a kept queue that refuses a record for full",
    Edit(
        "listing._send",
        """
        if written is not None:
            raise cut_short(written, size)
        """,
        """
        ...
        outcome.full.append(lane.path)
        continue
        """,
    ),
)
DROPS_A_BATCH = Mutant(
    "FETCH-8",
    "drops all that is in hand where a descriptor is lacking",
    Edit(
        "Inbox._open_message",
        """
        if error.errno == errno.EACCES and denies_reading(name, directory):
            raise InvalidMessage("it may not be read") from error
        """,
        """
        ...
        self.hand._state = ([], 0)
        """,
    ),
)
REPORTS_A_QUEUE_THAT_STAYS_LARGE = Mutant(
    "INLINE-25",
    "reports that the queue of a channel that closes stays large",
    Edit("capacity.free", None, "fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, _PAGE); ..."),
)

# --- run: what is open after each test ---

LEAVES_A_QUEUE_OPEN = Mutant(
    "BASE-16",
    "leaves the queue open where its id is taken",
    Edit(
        "_Delivery._send_file",
        "self._stage_again(self._copies.renew, staged)",
        """
        os.dup(self._queue[-1])
        ...
        """,
    ),
)

# --- lockstep ---

WRITES_NO_RECORDS = Mutant(
    "INLINE-12", "writes no records", Edit("Lane.is_marked", None, "return False")
)

# --- stress ---

# Ids of several publishers meet in slow channels all the time.
CLASHES = Mutant(
    "none",
    "ids that clash",
    Edit("_RANDOM_BITS", "10", "3"),
    Edit(
        "next_id",
        "time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000",
        "time.clock_gettime_ns(time.CLOCK_REALTIME) // 10_000_000",
    ),
)
OVERWRITES = Mutant(
    "PUB-3", "overwrites on a clash, of which there are many", publish.OVERWRITES, *CLASHES.edits
)
COUNTS_WITHOUT_ROOM = Mutant(
    "PUB-13",
    "counts a channel though there was no room for the link",
    Edit(
        "_Delivery._deliver",
        "outcome.failed.append((lane.path, error))",
        """
        if error.errno == errno.ENOSPC:
            taken.append(lane.path)
        else:
            ...
        """,
    ),
)
DROPS_WITHOUT_DESCRIPTORS = Mutant(
    "FETCH-8",
    "drops the id in hand on EMFILE alone",
    Edit(
        "Inbox._open_message",
        """
        if error.errno == errno.EACCES and denies_reading(name, directory):
            raise InvalidMessage("it may not be read") from error
        """,
        """
        ...
        if error.errno == errno.EMFILE:
            self.hand.drop()
        """,
    ),
)
NEVER_LOOKS = Mutant(
    "FETCH-14", "waits for ever in a base that is gone", Edit("Inbox.look", None, "return")
)
DIES_WHILE_IT_PUBLISHES = Mutant(
    "none",
    "dies in its 31st message",
    Edit(
        "Driver.produce",
        """
        if n == 0:
            first = start
        """,
        """
        ...
        if n == 30:
            sys.exit(3)
        """,
    ),
)

# --- soak ---

LEAVES_STAGED_FILES = Mutant(
    "PUB-14",
    "leaves the staged file of each publish to a full queue",
    Edit(
        "_Delivery.run",
        "self._copies.remove(self._staged)",
        """
        if self._outcome.taken:
            ...
        else:
            self._copies._made.clear()
        """,
    ),
)
LEAVES_DESCRIPTORS = Mutant(
    "none",
    "leaves a descriptor open at each opening",
    Edit("Inbox._make", "self._tmp.close()", "self._tmp.clear()"),
)
KEEPS_MESSAGES = Mutant(
    "none",
    "keeps each message",
    Edit(
        "Inbox.take_message",
        "return hand.message",
        """
        read.__dict__.setdefault("kept", []).append(hand.message)
        ...
        """,
    ),
)
DIES_AS_IT_OPENS = Mutant("none", "dies", Edit("Driver.open", None, "sys.exit(3); ..."))

# --- matrix ---

MILLISECONDS = Mutant(
    "none",
    "encodes milliseconds",
    Edit("Message.encoded", "self.timestamp", "self.timestamp // 1000"),
)
ONLY_PUBLISHES = Mutant(
    "none",
    "only publishes",
    Edit(
        "Driver.hello",
        '["topics", "codec", "publisher", "subscriber", "reaper", "inline"]',
        '["publisher"]',
    ),
)
NO_INLINE_LANE = Mutant(
    "none",
    "does not know the inline lane",
    Edit(
        "Driver.hello",
        '["topics", "codec", "publisher", "subscriber", "reaper", "inline"]',
        '["topics", "codec", "publisher", "subscriber", "reaper"]',
    ),
    Edit("_owner_of_marker", None, "return _NOBODY"),
)

# --- portability ---

DOES_NOT_ASK_THE_CLOCK = Mutant(
    "PUB-21",
    "does not ask whether the clock has moved on",
    Edit(
        "list_anew",
        "key is not None and key == place.key() and clock > max(key[2:])",
        "key is not None and key == place.key()",
    ),
)

# --- run: its drawn load ---

ENDS_LARGE_MESSAGES_LATER = Mutant(
    "GUAR-3",
    "writes the end of a message above 1 MiB after its first id",
    Edit("Copies._write", "os.write(file, octets)", "os.write(file, memoryview(octets)[:2**20])"),
    Edit("Copies._write", "written < len(octets)", "written < min(len(octets), 2**20)"),
    Edit(
        "_Delivery._send_file",
        "write(opened, staged.word, self._written)",
        """
        ...
        with open(staged.path, "r+b") as file:
            for octets in filter(None, self._copies._encoded):
                file.write(octets)
        """,
    ),
)
