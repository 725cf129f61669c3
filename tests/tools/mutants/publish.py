"""Publishing (spec/publish.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

OVERWRITES = Edit(
    "_Delivery._send_file",
    "self._stage_again(self._copies.renew, staged)",
    "os.unlink(self._link)",
)

MUTANTS = [
    Mutant(
        "PUB-1",
        "ids of 51 bits (formix-pubsub)",
        Edit("next_id", "_last << _RANDOM_BITS | _random.getrandbits(_RANDOM_BITS)", "_last"),
    ),
    Mutant(
        "PUB-2",
        "random within 65 milliseconds (formix-pubsub)",
        Edit(
            "next_id",
            "max(_last + 1, time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000)",
            "(time.time_ns() // 1000) ^ random.getrandbits(16)",
        ),
    ),
    Mutant("PUB-3", "overwrites on a clash", OVERWRITES),
    Mutant(
        "PUB-3",
        "takes a file that has its id for its own",
        Edit("_Delivery._send_file", "self._stage_again(self._copies.renew, staged)", "break"),
    ),
    Mutant(
        "PUB-4",
        "stages before it checks the headers",
        Edit(
            "deliver",
            "encoded = message.encoded()",
            """
            path = f"{make().tmp}/{message.id}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            ...
            os.unlink(path)
            """,
        ),
    ),
    Mutant(
        "PUB-5",
        "writes the rest after the first link",
        Edit("Copies._write", "filter(None, self._encoded)", "[self._encoded.head[:20]]"),
        Edit(
            "_Delivery._send_file",
            "write(opened, staged.word, self._written)",
            """
            with open(self._staged.path, "r+b") as file:
                file.writelines(self._copies._encoded)
            ...
            """,
        ),
    ),
    Mutant(
        "PUB-6",
        "truncates what is there (formix-pubsub)",
        Edit("Copies._write", "os.O_EXCL", "os.O_TRUNC"),
    ),
    Mutant(
        "PUB-7",
        "makes the file in the channel",
        Edit(
            "_Delivery._send_file",
            "os.link(staged.path, self._link)",
            """
            file = os.open(self._link, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(file, "wb") as made:
                made.writelines(self._copies._encoded)
            """,
        ),
    ),
    Mutant(
        "PUB-7",
        "gives the file its name by rename",
        Edit(
            "_Delivery._send_file",
            "os.link(staged.path, self._link)",
            "os.rename(staged.path, self._link)",
        ),
    ),
    Mutant(
        "PUB-8",
        "enqueues before it links",
        Edit(
            "_Delivery._send_file",
            'self._link = f"{lane.path}/{staged.name}"',
            "...; os.write(self._queue[-1], staged.word)",
        ),
        Edit(
            "_Delivery._send_file",
            "write(opened, staged.word, self._written)",
            "self._written.append(8)",
        ),
    ),
    Mutant(
        "PUB-9",
        "two writes",
        Edit(
            "_Delivery._send_file",
            "write(opened, staged.word, self._written)",
            """
            os.write(opened, staged.word[:4])
            self._written.append(os.write(opened, staged.word[4:]))
            """,
        ),
    ),
    Mutant(
        "PUB-10",
        "leaves the link (formix-pubsub)",
        Edit("_Delivery._withdraw", "os.unlink(self._link)", "pass"),
    ),
    Mutant(
        "PUB-11",
        "anything may be a queue",
        Edit(
            "_Delivery._enqueue",
            "stat.S_ISFIFO(status.st_mode)",
            "not stat.S_ISDIR(status.st_mode)",
        ),
    ),
    Mutant(
        "PUB-12",
        "a cleaner's ENOENT is a closed channel",
        Edit("_Delivery._send_file", "os.lstat(staged.path)", ""),
    ),
    Mutant(
        "PUB-13",
        "swallows errors",
        Edit("_Delivery._deliver", "outcome.failed.append((lane.path, error))", "pass"),
    ),
    Mutant(
        "PUB-13",
        "looks after ENOENT too, and tells that where the look fails",
        Edit(
            "_Delivery._enqueue",
            """
            try:
                opened = self._queue.open(lane.queue, queue.WRITE)
            except of_system(FileNotFoundError, NotADirectoryError):
                return False
            except of_system(OSError) as error:
                if error.errno == errno.ENXIO or not is_of_kind(lane.queue, stat.S_ISFIFO):
                    return False
                raise
            """,
            """
            try:
                opened = self._queue.open(lane.queue, queue.WRITE)
            except of_system(OSError) as error:
                if error.errno == errno.ENXIO or not is_of_kind(lane.queue, stat.S_ISFIFO):
                    return False
                raise
            """,
        ),
    ),
    Mutant(
        "PUB-13",
        "ends with the first error of a channel",
        Edit(
            "_Delivery._deliver",
            "outcome.failed.append((lane.path, error))",
            "...; return",
        ),
    ),
    Mutant(
        "PUB-13",
        "gives up the copy that it has if there is no other one",
        Edit(
            "_Delivery._stage_again",
            "self._unstaged = error",
            "self._staged, self._unstaged = None, error",
        ),
    ),
    Mutant(
        "PUB-14",
        "leaves the staged file",
        Edit("_Delivery.run", "self._copies.remove(self._staged)", "self._copies._made.clear()"),
    ),
    Mutant(
        "PUB-15",
        "waits without being asked",
        Edit(
            "_Delivery._deliver",
            "monotonic() + timeout",
            "monotonic() + (timeout or 60)",
        ),
    ),
    Mutant(
        "PUB-16",
        "a reader's death is an error",
        Edit(
            "_Delivery._deliver",
            "of_system(BrokenPipeError)",
            "of_system(FileNotFoundError)",
        ),
    ),
    Mutant(
        "PUB-17",
        "does not make the base (formix-pubsub)",
        Edit(
            "_Delivery.find",
            "base = Base(place.path, place.make())",
            """
            from .base import look
            base = look()
            if base is None:
                raise OSError(errno.EIO, "no base", place.path)
            """,
        ),
    ),
    Mutant(
        "PUB-18",
        "waits with the message linked",
        Edit(
            "_Delivery._send_file",
            "self._withdraw()",
            """
            import sys
            isinstance(sys.exc_info()[1], BlockingIOError) or self._withdraw()
            """,
        ),
    ),
    Mutant(
        "PUB-19",
        "waits and does not try again",
        Edit("_Delivery._deliver", "tuple(full)", "()"),
    ),
    Mutant(
        "PUB-19",
        "tries the first sixteen full queues again",
        Edit("_Delivery._deliver", "tuple(full)", "tuple(full[:16])"),
    ),
    Mutant(
        "PUB-19",
        "tries a full queue for ever",
        Edit("_Delivery._deliver", "deadline - monotonic()", "deadline"),
    ),
    Mutant(
        "PUB-20",
        "waits at the first full queue",
        Edit(
            "_Delivery._deliver",
            "full.append(lane)",
            "...; self._wait_for_room(full, timeout)",
        ),
    ),
    Mutant(
        "PUB-21",
        "the change time does not count",
        Edit("Place.key", "found.st_ctime_ns", "0"),
    ),
    Mutant(
        "PUB-22",
        "keeps who was alive",
        Edit(
            "Listing.matching",
            "matches(pattern, topic)",
            '... and os.path.exists(f"{path}/queue")',
        ),
    ),
    Mutant(
        "PUB-1",
        "ids from the clock alone",
        Edit("ids._last", "2**46", "0"),
    ),
    Mutant(
        "PUB-19",
        "a timeout by the clock on the wall",
        Edit("_Delivery._deliver", "monotonic()", "time.time()", times=2),
    ),
    Mutant(
        "PUB-11",
        "keeps queues open",
        Edit(
            "_Delivery._enqueue",
            "opened = self._queue.open(lane.queue, queue.WRITE)",
            """
            opened = deliver.__dict__.get(lane.queue, -1)
            if opened < 0:
                opened = deliver.__dict__[lane.queue] = os.open(lane.queue, queue.WRITE)
            """,
        ),
    ),
    Mutant(
        "PUB-21",
        "takes the tick of the last change for a later one",
        Edit("list_anew", "clock > max(key[2:])", "clock >= max(key[2:])"),
    ),
    Mutant(
        "PUB-5",
        "takes a part that was written for the whole",
        Edit(
            "Copies._write",
            """
            written = os.write(file, octets)
            while written < len(octets):
                written += os.write(file, memoryview(octets)[written:])
            """,
            "os.write(file, octets)",
        ),
    ),
    Mutant(
        "PUB-5",
        "links the half of a file that it could not stage again",
        Edit("Copies.restage", "self._take_fresh_id()", "pass"),
    ),
    Mutant(
        "PUB-10",
        "forgets a link that the system refuses to remove",
        Edit("_Delivery._withdraw", "FileNotFoundError", "OSError"),
    ),
    Mutant(
        "PUB-19",
        "tries only the first of many full queues again",
        Edit("_Delivery._deliver", "tuple(full)", "tuple(full[:256])"),
    ),
    Mutant(
        "PUB-19",
        "a timeout of 31 bits in milliseconds",
        Edit("publish", "duration(timeout, 'timeout')", "... % (2**31 / 1000)"),
    ),
    Mutant(
        "PUB-12",
        "stages again only once",
        Edit(
            "Copies.restage",
            "self._count_attempt(staged.path)",
            """
            if self._attempts < ATTEMPTS:
                raise OSError(errno.EBUSY, "again", staged.path)
            ...
            """,
        ),
    ),
    Mutant(
        "PUB-12",
        "stages again for ever",
        Edit("Copies.restage", "self._count_attempt(staged.path)", "pass"),
    ),
    Mutant(
        "PUB-3",
        "takes a fresh id only twice",
        Edit(
            "Copies.renew",
            "self._count_attempt(staged.path)",
            """
            if self._attempts < ATTEMPTS - 1:
                raise OSError(errno.EBUSY, "again", staged.path)
            ...
            """,
        ),
    ),
]
