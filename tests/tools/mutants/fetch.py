"""Fetching and waiting (spec/fetch.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

OUT_OF_ORDER = Edit(
    "Channel._next",
    """
    if not inbox.hand.take():
        inbox.when_empty()
        return None
    """,
    """
    was_empty = not inbox.hand
    ...
    if was_empty and inbox._is_readable():
        reaper.os.write(inbox._queue[1], inbox.hand._word)
        inbox.hand.drop()
        inbox.hand.take()
    """,
)

MUTANTS = [
    Mutant("FETCH-1", "takes the second id before the first", OUT_OF_ORDER),
    Mutant(
        "FETCH-2",
        "waits for a message",
        Edit("Channel._next", "inbox.when_empty()", "self.wait(1)"),
    ),
    Mutant(
        "FETCH-3",
        "a missing file is the end (formix-pubsub)",
        Edit(
            "Channel._next",
            """
            if message is None:
                return self._pass_over(inbox)
            """,
            "pass",
        ),
    ),
    Mutant(
        "FETCH-4",
        "leaves the file",
        Edit(
            "Inbox.take_message",
            """
            self._discard(name)
            return hand.message
            """,
            "return hand.message",
        ),
    ),
    Mutant(
        "FETCH-5",
        "leaves what is no message",
        Edit(
            "Inbox.take_message",
            """
            self._discard(name)
            hand.drop()
            """,
            "hand.drop()",
        ),
    ),
    Mutant(
        "FETCH-6",
        "the name does not matter",
        Edit("Inbox._read_message", "message.id != id", "not message.id"),
    ),
    Mutant(
        "FETCH-7",
        "follows links",
        Edit(
            "queue.READ",
            "os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW",
            "os.O_RDONLY | os.O_NONBLOCK",
        ),
    ),
    Mutant(
        "FETCH-8",
        "gives the id up",
        Edit(
            "Inbox._open_message",
            """
            if error.errno == errno.EACCES and denies_reading(name, directory):
                raise InvalidMessage("it may not be read") from error
            """,
            "...; self.hand.drop()",
        ),
    ),
    Mutant(
        "FETCH-9",
        "stray octets are not reported",
        Edit(
            "Hand.take",
            'raise DamagedQueue(f"{size} octets in the queue are no id")',
            "return False",
        ),
    ),
    Mutant(
        "FETCH-10",
        "0 is the end",
        Edit(
            "Hand.take",
            """
            if size is None:
                return False
            """,
            """
            ...
            if size == 8 and not any(self._word):
                return False
            """,
        ),
    ),
    Mutant(
        "FETCH-12",
        "takes the smallest file",
        Edit(
            "Inbox.take_message",
            "name = str(id)",
            """
            names = [int(name) for name in os.listdir(self.path) if name.isdigit()]
            id = min(names, default=id)
            ...
            """,
        ),
    ),
    Mutant("FETCH-13", "waits without sleeping", Edit("LOOK_SECONDS", "0.5", "0")),
    Mutant(
        "FETCH-14",
        "does not look",
        Edit("waiting._sleep", "inboxes[channel].look()", "None"),
    ),
    Mutant(
        "FETCH-14",
        "does not take a file in the place of the channel for a loss",
        Edit(
            "Inbox.look",
            "of_system(FileNotFoundError, NotADirectoryError)",
            "of_system(FileNotFoundError)",
        ),
    ),
    Mutant(
        "FETCH-17",
        "removes by age alone",
        Edit(
            "Inbox.sweep",
            "stale and not self.hand and not self._is_readable()",
            "stale and not self.hand",
        ),
    ),
    Mutant(
        "FETCH-17",
        "sees the queue empty before it lists the files",
        Edit(
            "Inbox.sweep",
            "stale = []",
            "is_empty = not self.hand and not self._is_readable(); ...",
        ),
        Edit(
            "Inbox.sweep",
            "stale and not self.hand and not self._is_readable()",
            "stale and is_empty",
        ),
    ),
    Mutant(
        "FETCH-17",
        "does not look at what is in hand",
        Edit(
            "Inbox.sweep",
            "stale and not self.hand and not self._is_readable()",
            "stale and not self._is_readable()",
        ),
    ),
    Mutant(
        "FETCH-18",
        "reapers remove old messages of the living",
        Edit(
            "reap",
            """
            if _is_dead(path, pid, stale_before, runs):
                _reap_directory(base, path)
            """,
            """
            for name in os.listdir(path):
                file = f"{path}/{name}"
                if name.isdigit() and os.lstat(file).st_ctime < stale_before:
                    os.unlink(file)
            ...
            """,
        ),
    ),
    Mutant(
        "FETCH-19",
        "waits for the file to become readable",
        Edit(
            "Inbox._open_message",
            "error.errno == errno.EACCES and denies_reading(name, directory)",
            "not error.errno",
        ),
    ),
    Mutant(
        "FETCH-21",
        "sleeps on the id in hand",
        Edit("waiting._sleep", "inbox.hand", "False"),
    ),
    Mutant(
        "FETCH-22",
        "skips for ever",
        Edit("Channel._pass_over", "range(inbox.waiting() + 1)", "iter(int, 1)"),
    ),
    Mutant(
        "FETCH-22",
        "skips for ever in a marked channel",
        Edit(
            "Channel._pass_over",
            "range(inbox.waiting() + 1)",
            "iter(int, 1) if inbox.is_inline else ...",
        ),
    ),
    Mutant(
        "FETCH-15",
        "timeouts by the clock on the wall",
        Edit("clock.monotonic", "time.CLOCK_MONOTONIC", "time.CLOCK_REALTIME"),
    ),
    Mutant(
        "FETCH-17",
        "whatever is there after ten minutes is an orphan",
        Edit("Inbox.when_empty", "self.sweep(STALE_AGE)", "self.sweep(0)"),
    ),
    Mutant(
        "FETCH-17",
        "an age of 32 bits in an inbox",
        Edit("Inbox.sweep", "wall_clock() - stale_age", "wall_clock() - stale_age % 2**32"),
    ),
    Mutant(
        "FETCH-8",
        "gives the id in hand up after five errors",
        Edit(
            "Inbox.take_message",
            "raise located(error, f'{self.path}/{name}') from error",
            """
            errors = Inbox.take_message.__dict__
            errors[self.path] = errors.get(self.path, 0) + 1
            if errors[self.path] % 6 == 5:
                hand.drop()
            ...
            """,
        ),
    ),
    Mutant(
        "FETCH-3",
        "skips a thousand ids at most",
        Edit("Channel._pass_over", "inbox.waiting() + 1", "min(..., 1000)"),
    ),
    Mutant(
        "FETCH-1",
        "ids with a sign",
        Edit(
            "Hand.id",
            'int.from_bytes(self._word, "big")',
            'int.from_bytes(self._word, "big", signed=True)',
        ),
    ),
    Mutant(
        "FETCH-13",
        "a timeout of 31 bits in milliseconds",
        Edit(
            "clock.deadline",
            "monotonic() + plain if plain > 0 else 0.0",
            "monotonic() + plain % (2**31 / 1000) if plain > 0 else 0.0",
        ),
    ),
]
