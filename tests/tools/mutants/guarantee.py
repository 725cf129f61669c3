"""The guarantee (spec/guarantee.md)."""

from __future__ import annotations

from mutation import Edit, Mutant

from .fetch import OUT_OF_ORDER

MUTANTS = [
    Mutant(
        "GUAR-1",
        "counts matching channels, not queues (formix-pubsub)",
        Edit(
            "_Delivery._deliver",
            """
            if self._enqueue(listing, lane):
                taken.append(lane.path)
            else:
                outcome.gone.append(lane.path)
            """,
            """
            taken.append(lane.path)
            self._enqueue(listing, lane)
            """,
        ),
    ),
    Mutant(
        "GUAR-2",
        "reads two ids at once and forgets one",
        Edit(
            "Hand.take",
            "size = self._queue.readinto(self._word)",
            "...; size = self._queue.readinto(self._word) or size",
        ),
    ),
    Mutant(
        "GUAR-3",
        "cuts contents at a page",
        Edit("decode", "data[begin:] if content is None else content", "(...)[:4096]"),
    ),
    Mutant("GUAR-4", "takes the second id before the first", OUT_OF_ORDER),
    Mutant(
        "GUAR-5",
        "keeps its list of channels for ever",
        Edit(
            "kept",
            "listing.key == place.key()",
            "True",
        ),
    ),
    Mutant(
        "GUAR-6",
        "delivers by first letter",
        Edit("Listing.matching", "matches(pattern, topic)", "... or pattern[0] == topic[0]"),
    ),
    Mutant(
        "GUAR-7",
        "ends at the first full queue",
        Edit("_Delivery._deliver", "full.append(lane)", "...; break"),
    ),
    Mutant(
        "GUAR-7",
        "an error of a kept queue ends the publish",
        Edit("listing._send", "outcome.failed.append((lane.path, error))", "raise"),
    ),
    Mutant(
        "GUAR-8",
        "publishers lock tmp",
        Edit(
            "_Delivery._deliver",
            None,
            """
            import fcntl
            lock = os.open(os.path.dirname(self._staged.path), os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                ...
            finally:
                os.close(lock)
            """,
        ),
    ),
    Mutant(
        "GUAR-1",
        "counts in one octet",
        Edit("publish", "len(outcome.taken)", "... % 256"),
    ),
    Mutant(
        "GUAR-5",
        "at most 1024 channels",
        Edit(
            "deliver",
            "listing.matching(message.topic)",
            "(...)[:1024]",
            times=2,
        ),
    ),
]
