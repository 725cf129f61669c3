"""Opening a channel, disturbed."""

from __future__ import annotations

import shutil

from pubsub_conformance.linux import strace
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.oracle.base import names_in, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.queue import has_reader

from .operation import Operation, fetch
from .scenes import Scene
from .verdict import Verdict


class Open(Operation):
    """The opening of a channel, in a base with a dead channel to reap."""

    roles: tuple[str, ...] = ("subscriber",)
    reports = "CHAN-21"
    promises: tuple[str, ...] = (
        "CHAN-10",
        "CHAN-11",
        "CHAN-13",
        "CHAN-16",
        "GUAR-2",
        "GUAR-7",
        "BASE-16",
    )

    inline = False
    """Whether it asks for the inline lane."""

    def arrange(self, scene: Scene) -> None:
        scene.channels.add_dead()

    def request(self, scene: Scene) -> object:
        scene.victim_channel = None
        scene.victim_channel = scene.victim.open("victim", inline=self.inline)
        return scene.victim_channel.directory.name

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        if not outcome.killed:
            verdict.check_error(self.reports)
            if verdict.is_once and verdict.hits[0].errno == "ENOENT" and outcome.error:
                verdict.expect(
                    outcome.error.code != "io-error",
                    "CHAN-11: opening starts again where its directory is gone",
                    outcome.describe(),
                )
            if outcome.error:
                self._check_leftovers(verdict)
            else:
                self._check_receives(verdict)
        if not self.base_exists:
            scene.populate()

    def _check_leftovers(self, verdict: Verdict) -> None:
        """An opening that failed has to leave no channel, and no directory that becomes one."""
        scene = verdict.scene
        names = [name for name in names_in(scene.base.path) if name.startswith("victim_")]
        names += [f"tmp/{name}" for name in names_in(scene.base.tmp)]
        # The removal may fail as well, or (if the error lasts) a call that has to come before it.
        excused = not verdict.is_once or verdict.hits[0].removes
        # An opening reaps first; another reaper removes what that left in `tmp` (REAP-11).
        reaping = any((hit.entry or "").startswith("a.+") for hit in verdict.hits)
        verdict.expect(
            not names or excused or reaping,
            "CHAN-21: after an error the directory is removed",
            names,
        )

    def _check_receives(self, verdict: Verdict) -> None:
        scene = verdict.scene
        channel = scene.victim_channel
        if channel is None:
            return
        if not verdict.expect(
            channel.directory.is_dir() and has_reader(channel.directory),
            "CHAN-10: a channel that was opened is visible and has a reader",
            channel.directory.name,
        ):
            return
        put(channel.directory, a_message("victim", b"first"))
        found = fetch(scene, channel)
        verdict.expect(found == "first", "GUAR-2: a channel that was opened receives", found)

    def repeat(self, verdict: Verdict) -> None:
        scene = verdict.scene
        with verdict.expect_success("CHAN-10: without the fault, the next opening works"):
            if scene.victim_channel:
                scene.victim.close_channel(scene.victim_channel)
            self.request(scene)
            self._check_receives(verdict)


def makes_queue(call: Call) -> bool:
    """Whether the call makes a queue."""
    return call.name in strace.MAKE_FIFO


def reads_new_queue(call: Call) -> bool:
    """Whether the call opens a queue for reading."""
    names = [path.name for path in call.paths[-1:]]
    return call.name in strace.OPEN and names == ["queue"] and "O_RDONLY" in call.flags


class OpenFirst(Open):
    """The opening of a channel before the base and its parent exist."""

    base_exists = False

    def arrange(self, scene: Scene) -> None:
        pass


class OpenCleaned(Open):
    """An opening during which a cleaner removes `tmp`, with the directory that is being made."""

    stops = (makes_queue, reads_new_queue)

    def between(self, scene: Scene) -> None:
        shutil.rmtree(scene.base.tmp)
