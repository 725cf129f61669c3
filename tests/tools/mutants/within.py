"""Mutants that break a rule about threads or signal handlers of one process.

No driver shows them, for it serves one request at a time. Each must fail the test of the reference
beside it. The keys are the rules of the models (spec/model) that they break.
"""

from __future__ import annotations

from mutation import Edit, Mutant

WITHIN = {
    "EATS_WAKE_UP": (
        Mutant(
            "INLINE-20",
            "announces its first batch only",
            Edit(
                "Inbox._announce",
                "self._waiters",
                "self._waiters and not self.__dict__.setdefault('announced', [])",
            ),
            Edit("Inbox._announce", "self.wake()", "...; self.announced.append(1)"),
        ),
        "test_inline.py::test_a_batch_is_announced_to_who_waits",
    ),
    "LOOK_FIRST": (
        Mutant(
            "INLINE-20",
            "registers as waiting after its look at the hand",
            Edit("Channel._begin_wait", "self._waiters.register(held)", "pass"),
            Edit(
                "wait_for",
                "return _sleep(_begin(channels, held), end)",
                """
                inboxes = _begin(channels, held)
                if any(inbox.hand for inbox in inboxes.values()):
                    return channels
                for channel in channels:
                    channel._waiters.register(held)
                return _sleep(inboxes, end)
                """,
            ),
            Edit(
                "waiting._sleep",
                "{channel for channel, inbox in inboxes.items() if inbox.hand}",
                "set()",
            ),
        ),
        "test_inline.py::test_a_batch_that_is_read_right_after_the_look_wakes_who_waits",
    ),
    "LOSES_BATCH": (
        Mutant(
            "GUAR-2",
            "stores a batch after the call that reads it",
            Edit(
                "Batch._read_on",
                "reads.extend(map(self._queue.read, (_LARGEST - left,)))",
                "octets = self._queue.read(_LARGEST - left); reads.append(octets)",
            ),
        ),
        "test_interrupted_inline.py::test_an_exception_at_every_bytecode[FetchingOneOfABatch]",
    ),
    "NO_USERS": (
        Mutant(
            "INLINE-21",
            "writes to kept queues without the lock",
            Edit(
                "listing.send",
                """
                with _lock:
                    return _send(lanes, body, outcome)
                """,
                "return _send(lanes, body, outcome)",
                times=2,
            ),
        ),
        "test_kept.py::test_a_kept_queue_is_written_to_and_closed_under_one_lock",
    ),
    "NO_WAKE_UP": (
        Mutant(
            "INLINE-20",
            "announces no batch",
            Edit("Inbox._announce", None, "pass"),
        ),
        "test_inline.py::test_a_batch_is_announced_to_who_waits",
    ),
}
