"""Opening and closing a channel, disturbed."""

from __future__ import annotations

from pubsub_conformance.oracle.base import names_in, put
from pubsub_conformance.oracle.message import a_message
from pubsub_conformance.oracle.queue import has_reader

from .operation import Operation, fetch
from .scenes import Scene
from .verdict import Verdict


class Open(Operation):
    """The opening of a channel, in a base with a dead channel to reap."""

    roles = ("subscriber",)
    reports = "CHAN-21"
    promises = ("CHAN-10", "CHAN-11", "CHAN-13", "CHAN-16", "GUAR-2", "GUAR-7", "BASE-16")

    def arrange(self, scene: Scene) -> None:
        scene.channels.add_dead()

    def request(self, scene: Scene) -> object:
        scene.victim_channel = None
        scene.victim_channel = scene.victim.open("victim")
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


class OpenFirst(Open):
    """The opening of a channel before the base and its parent exist."""

    base_exists = False

    def arrange(self, scene: Scene) -> None:
        pass


class Close(Operation):
    """The closing of a channel with unread messages, a foreign file and a foreign directory."""

    roles = ("subscriber",)
    reports = "CHAN-14"
    promises = ("CHAN-16", "CHAN-18", "GUAR-7", "BASE-16")
    spares = "CHAN-20"

    def arrange(self, scene: Scene) -> None:
        scene.victim_channel = channel = scene.victim.open("victim")
        for content in (b"first", b"second"):
            put(channel.directory, a_message("victim", content))
        (channel.directory / "foreign").write_bytes(b"")
        (channel.directory / "directory").mkdir()
        (channel.directory / "directory" / "deeper").write_bytes(b"")
        scene.channels.planted.add(channel.directory)

    def request(self, scene: Scene) -> object:
        scene.victim.close_channel(scene.own_channel)
        return None

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        directory = scene.own_channel.directory
        if directory.is_dir():
            names = set(names_in(directory))
            verdict.expect(
                {"queue", "foreign", "directory"} <= names and len(names) == 5,
                "CHAN-16: a half-emptied channel is never visible",
                sorted(names),
            )
        if outcome.killed:
            return
        verdict.check_error(self.reports)
        found = fetch(scene, scene.own_channel)
        verdict.expect(
            found == "channel-closed",
            "CHAN-18: after any error, the channel is closed",
            found,
        )
        if directory.is_dir():
            verdict.expect(
                not has_reader(directory),
                "CHAN-14: after any error, the descriptors of the queue are closed",
                f"{directory.name} has a reader",
            )
        left = [directory.name] if directory.is_dir() else []
        left += [f"tmp/{name}" for name in names_in(scene.base.tmp)]
        gone = any(hit.says_gone for hit in verdict.hits)
        verdict.expect(
            not left or outcome.error is not None or gone,
            "CHAN-14: closing removes the directory with everything in it, or fails as io-error",
            f"success, and left: {', '.join(left)}",
        )

    def repeat(self, verdict: Verdict) -> None:
        scene = verdict.scene
        with verdict.expect_success("CHAN-14: without the fault, the next closing works"):
            scene.victim_channel = scene.victim.open("victim")
            directory = scene.victim_channel.directory
            self.request(scene)
            verdict.expect(
                not directory.exists(),
                "CHAN-14: the next closing removes the directory",
                directory.name,
            )
