"""Closing a channel, disturbed."""

from __future__ import annotations

import shutil
from pathlib import Path

from pubsub_conformance.linux import strace
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.oracle.base import names_in, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import has_reader

from .operation import Operation, fetch
from .scenes import Scene
from .verdict import Verdict


class Close(Operation):
    """The closing of a channel with unread messages, a foreign file and a foreign directory."""

    roles: tuple[str, ...] = ("subscriber",)
    reports = "CHAN-14"
    promises: tuple[str, ...] = ("CHAN-16", "CHAN-18", "GUAR-7", "BASE-16")
    spares = "CHAN-20"
    inline = False
    """Whether the channel is opened with the inline lane."""

    def arrange(self, scene: Scene) -> None:
        scene.victim_channel = channel = scene.victim.open("victim", inline=self.inline)
        self.put(channel.directory)
        (channel.directory / "foreign").write_bytes(b"")
        (channel.directory / "directory").mkdir()
        (channel.directory / "directory" / "deeper").write_bytes(b"")
        scene.channels.planted.add(channel.directory)

    def put(self, directory: Path) -> None:
        """Put unread messages into the channel."""
        for content in (b"first", b"second"):
            put(directory, a_message("victim", content))

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
        self._check_closed(verdict, directory)
        left = [directory.name] if directory.is_dir() else []
        left += [f"tmp/{name}" for name in names_in(scene.base.tmp)]
        gone = any(hit.says_gone for hit in verdict.hits)
        verdict.expect(
            not left or outcome.error is not None or gone,
            "CHAN-14: closing removes the directory with everything in it, or fails as io-error",
            f"success, and left: {', '.join(left)}",
        )

    def _check_closed(self, verdict: Verdict, directory: Path) -> None:
        """The channel, whose directory may be there, has to be closed."""
        found = fetch(verdict.scene, verdict.scene.own_channel)
        verdict.expect(
            found == "channel-closed", "CHAN-18: after any error, the channel is closed", found
        )
        if (directory / "queue").exists():
            verdict.expect(
                not has_reader(directory),
                "CHAN-14: after any error, the descriptors of the queue are closed",
                f"{directory.name} has a reader",
            )

    def repeat(self, verdict: Verdict) -> None:
        scene = verdict.scene
        with verdict.expect_success("CHAN-14: without the fault, the next closing works"):
            scene.victim_channel = scene.victim.open("victim", inline=self.inline)
            directory = scene.victim_channel.directory
            self.request(scene)
            verdict.expect(
                not directory.exists(),
                "CHAN-14: the next closing removes the directory",
                directory.name,
            )


def claims(call: Call) -> bool:
    """Whether the call renames a channel into `tmp`."""
    return call.name in strace.RENAME and [path.parent.name for path in call.paths[1:]] == ["tmp"]


def removes_claimed_message(call: Call) -> bool:
    """Whether the call removes a message of a channel that was claimed."""
    names = [path.name.isdecimal() for path in call.paths]
    return call.name in strace.UNLINK and names == [True]


class CloseLate(Close):
    """The closing of a channel into which a publisher makes a late link."""

    stops = (removes_claimed_message, claims)
    promises = (*Close.promises, "CHAN-17")

    def between(self, scene: Scene) -> None:
        for name in names_in(scene.base.tmp):
            (scene.base.tmp / name / str(fresh_id())).write_bytes(b"late")


class CloseSwapped(Close):
    """The closing of a channel in whose place another process puts another directory."""

    promises = (*Close.promises, "CHAN-20", "CHAN-22")

    @staticmethod
    def looks(call: Call) -> bool:
        """Whether the call looks at the channel under its path."""
        names = [path.name.partition("_")[0] for path in call.paths]
        return call.name in (*strace.LOOK, *strace.OPEN) and names == ["victim"]

    stops = (looks,)

    def between(self, scene: Scene) -> None:
        directory = scene.own_channel.directory
        directory.rename(self._aside(scene))
        directory.mkdir()
        (directory / "foreign").write_bytes(b"")

    def _aside(self, scene: Scene) -> Path:
        return scene.base.path.with_name("aside")

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        directory = scene.own_channel.directory
        in_tmp = [scene.base.tmp / name for name in names_in(scene.base.tmp)]
        kept = [one for one in (directory, *in_tmp) if (one / "foreign").exists()]
        verdict.expect(bool(kept), "CHAN-20: the foreign directory stays", names_in(scene.base.tmp))
        if not outcome.killed:
            verdict.check_error(self.reports)
            verdict.expect(
                kept == [directory] or bool(verdict.hits),
                "CHAN-22: the foreign directory is put back",
                kept,
            )
            self._check_closed(verdict, self._aside(scene))
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(self._aside(scene), ignore_errors=True)
