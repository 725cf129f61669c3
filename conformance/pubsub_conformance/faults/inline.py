"""The operations of the inline lane, disturbed (inline.md)."""

from __future__ import annotations

import os
from pathlib import Path

from pubsub_conformance.oracle import queue
from pubsub_conformance.oracle.base import names_in, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.record import MARKER, is_marked, send

from . import closing, fetching, opening, publishing
from .channels import Receiver
from .points import Hit
from .publishing import TOPIC
from .scenes import Scene
from .verdict import Verdict

TRIES = 100
"""Publishes after which a publisher that keeps its list does so. The first ones follow a change of
the base too soon (PUB-21)."""


def _send(directory: Path, content: bytes) -> None:
    """Put a message into the channel: a record, if the channel is marked."""
    message = a_message("victim", content)
    if is_marked(directory):
        send(directory, message)
    else:
        put(directory, message)


class Open(opening.Open):
    """The opening of a channel with the inline lane."""

    roles = ("subscriber", "inline")
    promises = (*opening.Open.promises, "INLINE-1", "INLINE-3", "INLINE-4")
    inline = True

    def judge(self, verdict: Verdict) -> None:
        channel, outcome = verdict.scene.victim_channel, verdict.outcome
        if verdict.hits and all(map(_prevents_marker, verdict.hits)):
            verdict.expect(
                outcome.error is None,
                "INLINE-4: a channel that cannot be marked opens without a marker",
                outcome.describe(),
            )
        if channel and not verdict.hits:
            verdict.expect(
                is_marked(channel.directory),
                "INLINE-1: a channel that was opened with the lane is marked",
                names_in(channel.directory),
            )
        if channel and any(hit.asks for hit in verdict.hits):
            verdict.expect(
                not is_marked(channel.directory),
                "INLINE-3: a queue that does not say how much it holds is not marked",
                names_in(channel.directory),
            )
        super().judge(verdict)


def _prevents_marker(hit: Hit) -> bool:
    """Whether a failed call says that the channel is to have no marker (INLINE-3, INLINE-4)."""
    is_marker = any(parts[-1] == MARKER for parts in hit.parts)
    return hit.asks or (is_marker and hit.errno == "ENOSPC")


class Publish(publishing.Publish):
    """A publish to channels with and without the marker."""

    roles = ("publisher", "inline")
    promises = (*publishing.Publish.promises, "INLINE-12", "INLINE-14", "INLINE-16")

    def arrange(self, scene: Scene) -> None:
        scene.channels.add_oracle("the kit (marked channel)", "a.=", inline=True)

    def judge(self, verdict: Verdict) -> None:
        outcome = verdict.outcome
        if all(hit.asks for hit in verdict.hits) and not outcome.killed:
            verdict.expect(
                outcome.error is None,
                "INLINE-12: a queue that does not say how full it is is no error",
                outcome.describe(),
            )
            marked = [each for each in verdict.scene.channels.oracles if each.is_marked]
            files = [name for each in marked for name in each.files()]
            verdict.expect(
                not files,
                "INLINE-12: a queue takes a record, also if it does not say how full it is",
                f"files in the channel: {', '.join(files)}",
            )
        super().judge(verdict)

    def _check_served(self, verdict: Verdict, receivers: list[Receiver], taken: list[int]) -> None:
        super()._check_served(verdict, receivers, taken)
        error, described = verdict.outcome.error, verdict.outcome.describe()
        marked = [each.oracle is not None and each.oracle.is_marked for each in receivers]
        served = all(n for n, of_marked in zip(taken, marked, strict=True) if of_marked)
        unstaged = all(hit.in_tmp and not hit.says_gone for hit in verdict.hits)
        verdict.expect(
            served or not (verdict.hits and unstaged),
            "INLINE-14: where staging fails, a marked channel gets the message",
            described,
        )
        verdict.expect(
            error is None or error.code == "io-error" or not any(taken),
            f"INLINE-14: io-error with the count {sum(taken)}, for queues took the message",
            described,
        )
        if not verdict.is_once:
            return
        (hit,) = verdict.hits
        verdict.expect(
            served or not hit.says_full,
            "INLINE-16: a record that a queue refuses is sent by file",
            described,
        )

    def _may_report(self, hit: Hit, taken: list[int]) -> bool:
        # It does not start over once a queue took the message (INLINE-17).
        return any(taken) and not hit.removes


class PublishKept(Publish):
    """A publish of a process that may keep its list, with the queue of a marked channel."""

    promises = (*Publish.promises, "INLINE-21")

    def arrange(self, scene: Scene) -> None:
        super().arrange(scene)
        for _ in range(TRIES):
            scene.victim.publish(TOPIC, b"before")
            if _keeps_a_queue(scene.victim.pid):
                break
        for receiver in scene.channels.receivers:
            receiver.drain()


def _keeps_a_queue(pid: int) -> bool:
    open_files = Path(f"/proc/{pid}/fd").iterdir()
    return any(os.readlink(entry).endswith("/queue") for entry in open_files)


class Fetch(fetching.Fetch):
    """The fetch of a message by file, while two records are behind it in the queue."""

    roles = ("subscriber", "inline")
    expected = ("first", "second", "third")
    inline = True

    def put(self, scene: Scene) -> None:
        put(scene.own_channel.directory, a_message("victim", b"first"))
        for content in (b"second", b"third"):
            _send(scene.own_channel.directory, content)


class Wait(fetching.Wait):
    """A wait while messages are in hand, and not in the queue."""

    roles = ("subscriber", "inline")
    promises = (*fetching.Wait.promises, "FETCH-21")
    expected = ("second", "third")
    inline = True

    def put(self, scene: Scene) -> None:
        for content in (b"first", b"second", b"third"):
            _send(scene.own_channel.directory, content)
        scene.victim.fetch(scene.own_channel)


class Close(closing.Close):
    """The closing of a marked channel with unread messages, whose queue a publisher keeps open."""

    roles = ("subscriber", "inline")
    promises = (*closing.Close.promises, "INLINE-25")
    inline = True

    def put(self, directory: Path) -> None:
        put(directory, a_message("victim", b"first"))
        _send(directory, b"second")

    def arrange(self, scene: Scene) -> None:
        super().arrange(scene)
        scene.channels.keep_writer(scene.own_channel.directory)

    def judge(self, verdict: Verdict) -> None:
        super().judge(verdict)
        outcome, writer = verdict.outcome, verdict.scene.channels.writer
        assert writer is not None
        if all(hit.removes for hit in verdict.hits) and not outcome.killed:
            found = queue.held(writer), queue.size(writer)
            verdict.expect(
                found == (0, os.sysconf("SC_PAGESIZE")),
                "INLINE-25: closing reads the queue empty and gives it the size of one page",
                f"{found[0]} octets in a queue for {found[1]}",
            )
        if verdict.hits and all(hit.frees_queue for hit in verdict.hits):
            verdict.expect(
                outcome.error is None,
                "INLINE-25: an error of reading the queue empty, or of its size, is ignored",
                outcome.describe(),
            )
