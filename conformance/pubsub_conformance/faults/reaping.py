"""Reaping, disturbed."""

from __future__ import annotations

import os

from pubsub_conformance.oracle.base import fresh_name, names_in, put
from pubsub_conformance.oracle.message import a_message, fresh_id

from .closing import claims
from .operation import Operation
from .scenes import Scene
from .verdict import Verdict


class Reap(Operation):
    """Reaping with dead channels, stale entries of `tmp`, and an orphan in the reaper's channel."""

    roles = ("reaper",)
    reports = "REAP-11"
    promises: tuple[str, ...] = ("REAP-3", "REAP-4", "REAP-7", "REAP-9", "CHAN-16", "BASE-16")
    spares = "REAP-4"

    def arrange(self, scene: Scene) -> None:
        channels = scene.channels
        channels.add_dead()
        channels.add_dead()
        self.litter(scene)
        if "subscriber" in scene.victim.hello.roles:
            scene.victim_channel = scene.victim.open("victim")
            # That opening has reaped the dead channels.
            channels.dead.clear()
            channels.add_dead()
            channels.add_dead()
            put(scene.victim_channel.directory, a_message("victim", b"orphan"), enqueue=False)

    def litter(self, scene: Scene) -> None:
        """Put into `tmp` what a publisher and a subscriber leave there when they are killed."""
        scene.base.stage(str(fresh_id()), b"half a mess")
        directory = scene.base.tmp / fresh_name()
        directory.mkdir()
        os.mkfifo(directory / "queue")
        (directory / str(fresh_id())).write_bytes(b"")

    def request(self, scene: Scene) -> object:
        scene.victim.reap(0)
        return None

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        if outcome.killed:
            return
        verdict.check_error(self.reports)
        left = self._left(scene)
        if verdict.point is None:
            # An implementation that counts whole seconds takes nothing for stale yet.
            scene.stage.slow_clock = bool(left)
        if verdict.is_once:
            (hit,) = verdict.hits
            entry = hit.entry
            own = scene.victim_channel.directory.name if scene.victim_channel else None
            if entry and entry != own and not hit.says_gone:
                verdict.expect(
                    outcome.error is None,
                    "REAP-11: an entry that cannot be examined or removed is passed over silently",
                    outcome.describe(),
                )
                if not scene.stage.slow_clock:
                    verdict.expect(
                        len(left) <= 1, "REAP-11: such an entry keeps no other from removal", left
                    )

    def _left(self, scene: Scene) -> list[str]:
        names = [path.name for path in scene.channels.dead if path.exists()]
        return names + [f"tmp/{name}" for name in names_in(scene.base.tmp)]

    def repeat(self, verdict: Verdict) -> None:
        scene = verdict.scene
        with verdict.expect_success("REAP-11: without the fault, the next reaping works"):
            self.request(scene)
            left = self._left(scene)
            if not scene.stage.slow_clock:
                verdict.expect(not left, f"{_rule(left)}: the next reaping removes all", left)


class ReapRevived(Reap):
    """Reaping a channel whose owner opens its queue after the reaper has claimed it."""

    promises = ("REAP-13", "REAP-4", "CHAN-16", "BASE-16")
    stops = (claims,)

    def arrange(self, scene: Scene) -> None:
        scene.channels.add_dead()

    def between(self, scene: Scene) -> None:
        (claimed,) = scene.base.tmp.iterdir()
        scene.channels.revive(claimed)

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        if scene.channels.revived and not outcome.killed:
            verdict.check_error(self.reports)
            (directory,) = scene.channels.dead
            in_tmp = [scene.base.tmp / name for name in names_in(scene.base.tmp)]
            kept = [one for one in (directory, *in_tmp) if len(names_in(one)) == 2]
            gone = any(hit.says_gone for hit in verdict.hits)  # then nobody can read the queue
            verdict.expect(
                gone or kept == [directory] or (bool(kept) and bool(verdict.hits)),
                "REAP-13: a channel with a reader is renamed back, or at least left alone in tmp",
                scene.base.tree(),
            )
        scene.channels.let_go()

    def repeat(self, verdict: Verdict) -> None:
        with verdict.expect_success("REAP-11: without the fault, the next reaping works"):
            self.request(verdict.scene)


def _rule(left: list[str]) -> str:
    """The requirement that removes the first of these."""
    if not left or not left[0].startswith("tmp/"):
        return "REAP-3"
    return "REAP-7" if left[0].removeprefix("tmp/").isdecimal() else "REAP-9"
