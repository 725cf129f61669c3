"""Opening, closing, receiving and reaping, disturbed."""

from __future__ import annotations

import os

from pubsub_conformance.driver import DriverError, OpenChannel, Rejected
from pubsub_conformance.oracle.base import fresh_name, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import enqueue, has_reader

from .operation import BIG, WAIT_SECONDS, Operation, list_directory
from .scenes import Scene
from .verdict import Verdict

# --- opening, closing -----------------------------------------------------------------------------


class Open(Operation):
    """A channel, in a base where something is to be reaped."""

    roles = ("subscriber",)

    def arrange(self, scene: Scene) -> None:
        scene.add_dead()

    def request(self, scene: Scene) -> object:
        scene.channel = None
        scene.channel = scene.victim.open("victim")
        return scene.channel.directory.name

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        if not outcome.killed:
            verdict.error_is_right("channel.md, opening")
            if verdict.is_once and verdict.hits[0].errno == "ENOENT" and outcome.error:
                verdict.expect(
                    outcome.error.code != "io-error",
                    "CHAN-11, CHAN-12: where something is gone, opening starts again",
                    outcome.told,
                )
            if outcome.error:
                self._nothing_is_left(verdict)
            else:
                self._receives(verdict)
        if not self.base_is_there:
            scene.populate()

    def _nothing_is_left(self, verdict: Verdict) -> None:
        """An opening that failed left neither a channel nor a directory on its way there."""
        scene = verdict.scene
        names = [name for name in list_directory(scene.base.path) if name.startswith("victim_")]
        names += [f"tmp/{name}" for name in list_directory(scene.base.tmp)]
        # What removes it may fail as well, or (for ever) what has to be done before that.
        excused = not verdict.is_once or verdict.hits[0].removes
        # What the reaping before left in `tmp` is for the next reaper (REAP-11).
        reaping = any((hit.entry or "").startswith("a.+") for hit in verdict.hits)
        verdict.expect(
            not names or excused or reaping,
            "channel.md, opening: after an error the directory is removed",
            names,
        )

    def _receives(self, verdict: Verdict) -> None:
        scene = verdict.scene
        if scene.channel is None:
            return
        if not verdict.expect(
            scene.channel.directory.is_dir() and has_reader(scene.channel.directory),
            "CHAN-10: what was opened is visible and has a reader",
            scene.channel.directory.name,
        ):
            return
        message = a_message("victim", b"first")
        put(scene.channel.directory, message)
        found = fetch(scene, scene.channel)
        verdict.expect(found == "first", "GUAR-2: what was opened receives", found)

    def again(self, verdict: Verdict) -> None:
        scene = verdict.scene
        try:
            if scene.channel:
                scene.victim.close_channel(scene.channel)
            self.request(scene)
        except (Rejected, DriverError) as error:
            verdict.expect(False, "channel.md: the next opening works, the fault is gone", error)
            return
        self._receives(verdict)


class OpenFirst(Open):
    """Neither the base nor its parent is there."""

    base_is_there = False

    def arrange(self, scene: Scene) -> None:
        pass


class Close(Operation):
    """A channel with unread messages, a foreign file and a foreign directory."""

    roles = ("subscriber",)

    def arrange(self, scene: Scene) -> None:
        scene.channel = channel = scene.victim.open("victim")
        for content in (b"first", b"second"):
            put(channel.directory, a_message("victim", content))
        (channel.directory / "foreign").write_bytes(b"")
        (channel.directory / "directory").mkdir()
        (channel.directory / "directory" / "deeper").write_bytes(b"")
        scene.planted.add(channel.directory)

    def request(self, scene: Scene) -> object:
        assert scene.channel
        scene.victim.close_channel(scene.channel)
        return None

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        assert scene.channel
        directory = scene.channel.directory
        if directory.is_dir():
            names = set(list_directory(directory))
            verdict.expect(
                {"queue", "foreign", "directory"} <= names and len(names) == 5,
                "CHAN-16: a half-emptied channel is never visible",
                sorted(names),
            )
        if outcome.killed:
            return
        verdict.error_is_right("CHAN-14")
        found = fetch(scene, scene.channel)
        verdict.expect(
            found == "channel-closed",
            "channel.md, closing: whatever goes wrong, the channel is closed afterwards (CHAN-18)",
            found,
        )
        if directory.is_dir():
            verdict.expect(
                not has_reader(directory),
                "channel.md, closing: the descriptors of its queue are closed",
                f"{directory.name} has a reader",
            )
        left = [directory.name] if directory.is_dir() else []
        left += [f"tmp/{name}" for name in list_directory(scene.base.tmp)]
        gone = any(hit.says_gone for hit in verdict.hits)
        verdict.expect(
            not left or outcome.error is not None or gone,
            "CHAN-14: closing removes the directory with everything in it, or io-error",
            f"success, and there is {', '.join(left)}",
        )

    def again(self, verdict: Verdict) -> None:
        scene = verdict.scene
        try:
            scene.channel = scene.victim.open("victim")
            directory = scene.channel.directory
            self.request(scene)
        except (Rejected, DriverError) as error:
            verdict.expect(False, "CHAN-14: the next closing works, the fault is gone", error)
        else:
            verdict.expect(not directory.exists(), "CHAN-14: the next closing removes it", "")


# --- receiving ------------------------------------------------------------------------------------


def fetch(scene: Scene, channel: OpenChannel) -> str:
    """What a fetch comes to: a content, "nothing", or the code of an error."""
    try:
        message = scene.victim.fetch(channel)
    except Rejected as error:
        return error.code
    except DriverError as error:
        return str(error)
    return "nothing" if message is None else message.content.decode("utf-8", "replace")


class Fetch(Operation):
    """Of a good message, with another one behind it."""

    roles = ("subscriber",)
    first: str | None = "first"

    def arrange(self, scene: Scene) -> None:
        scene.channel = scene.victim.open("victim")
        self.put(scene)

    def put(self, scene: Scene) -> None:
        assert scene.channel
        put(scene.channel.directory, a_message("victim", b"first"))
        put(scene.channel.directory, a_message("victim", b"second"))

    expected: tuple[str, ...] = ("first", "second")

    def request(self, scene: Scene) -> object:
        assert scene.channel
        message = scene.victim.fetch(scene.channel)
        return "nothing" if message is None else message.content.decode("utf-8", "replace")

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        if outcome.killed:
            return
        came: list[str] = []
        if outcome.error is None:
            came.append(str(outcome.result))
        elif outcome.error.code in self.expected:
            came.append(outcome.error.code)
        elif outcome.error.code == "channel-lost":
            verdict.expect(
                any(hit.says_gone for hit in verdict.hits),
                "FETCH-14: channel-lost only where the queue is not there",
                outcome.error,
            )
        else:
            verdict.error_is_right("FETCH-8")
        if came == ["nothing"] and self.expected:
            verdict.expect(
                any(hit.errno == "EAGAIN" for hit in verdict.hits) or self._skipped(verdict),
                "FETCH-8, GUAR-2: there is something to fetch, or the error is reported",
                "nothing",
            )
        came = [*filter("nothing".__ne__, came), *self._rest(scene)]
        right = [list(self.expected)]
        if self._skipped(verdict):
            right += [list(self.expected[1:])] + [[]] * (not verdict.is_once)
        verdict.expect(
            came in right,
            "FETCH-8, GUAR-2: all that the queue took is yielded once, in order:"
            f" {', '.join(self.expected) or 'nothing'}",
            ", ".join(came) or "nothing",
        )
        assert scene.channel
        left = [name for name in list_directory(scene.channel.directory) if name != "queue"]
        excused = any((hit.removes or hit.says_gone) for hit in verdict.hits)
        verdict.expect(
            not left or excused, "FETCH-4, FETCH-5: what was fetched is removed", ", ".join(left)
        )

    def _skipped(self, verdict: Verdict) -> bool:
        """Whether a call said that the message's file is not there (FETCH-3)."""
        return any(hit.says_gone and hit.message for hit in verdict.hits)

    def _rest(self, scene: Scene) -> list[str]:
        assert scene.channel
        came = []
        for _ in range(5):
            found = fetch(scene, scene.channel)
            if found in ("nothing", "channel-lost"):
                break
            came.append(found)
        return came

    def again(self, verdict: Verdict) -> None:
        scene = verdict.scene
        self.put(scene)
        came = self._rest(scene)
        verdict.expect(
            came == list(self.expected),
            f"FETCH-8: the next fetches yield {', '.join(self.expected) or 'nothing'}",
            ", ".join(came) or "nothing",
        )


class FetchInvalid(Fetch):
    """Of a file that is not a message, with a good one behind it."""

    expected = ("invalid-message", "second")

    def put(self, scene: Scene) -> None:
        assert scene.channel
        name = str(fresh_id())
        bad = put(scene.channel.directory, b"not a message", name=name)
        scene.planted.add(bad)
        put(scene.channel.directory, a_message("victim", b"second"))


class FetchMissing(Fetch):
    """Of an id whose file is not there, with a good one behind it."""

    expected = ("second",)

    def put(self, scene: Scene) -> None:
        assert scene.channel
        enqueue(scene.channel.directory, fresh_id())
        put(scene.channel.directory, a_message("victim", b"second"))


class FetchNothing(Fetch):
    """From an empty queue."""

    expected = ()

    def put(self, scene: Scene) -> None:
        pass


class FetchLarge(Fetch):
    """Of a message that takes more than one read on some systems."""

    expected = (BIG.decode(), "second")

    def put(self, scene: Scene) -> None:
        assert scene.channel
        put(scene.channel.directory, a_message("victim", BIG, {"n": 1}))
        put(scene.channel.directory, a_message("victim", b"second"))


class Wait(Fetch):
    """For a message that is there."""

    ready = True

    def request(self, scene: Scene) -> object:
        assert scene.channel
        return scene.victim.wait(scene.channel, WAIT_SECONDS)

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        if outcome.killed:
            return
        lost = outcome.error is not None and outcome.error.code == "channel-lost"
        if lost:
            verdict.expect(
                any(hit.says_gone for hit in verdict.hits),
                "FETCH-14: channel-lost only where the queue is not there",
                outcome.error,
            )
        elif outcome.error:
            verdict.error_is_right("FETCH-13")
        else:
            verdict.expect(
                outcome.result is self.ready, f"FETCH-13: ready is {self.ready}", outcome.told
            )
        came = self._rest(scene)
        verdict.expect(
            came == list(self.expected), f"GUAR-2: then {', '.join(self.expected)}", ", ".join(came)
        )

    def again(self, verdict: Verdict) -> None:
        lost = any(hit.says_gone for hit in verdict.hits)  # and that is for ever
        scene = verdict.scene
        self.put(scene)
        try:
            found: object = self.request(scene)
        except (Rejected, DriverError) as error:
            if lost and isinstance(error, Rejected) and error.code == "channel-lost":
                return
            found = error
        verdict.expect(found is self.ready, f"FETCH-13: the next wait: {self.ready}", found)


class WaitInVain(Wait):
    """For a message that does not come."""

    ready = False
    expected = ()

    def put(self, scene: Scene) -> None:
        pass


# --- reaping --------------------------------------------------------------------------------------


class Reap(Operation):
    """Dead channels, stale files and directories in `tmp`, an orphan of one's own."""

    roles = ("reaper",)

    def arrange(self, scene: Scene) -> None:
        scene.add_dead()
        scene.add_dead()
        self.litter(scene)
        if "subscriber" in scene.victim.hello.roles:
            scene.channel = scene.victim.open("victim")
            # That opening has reaped the dead channels.
            scene.dead.clear()
            scene.add_dead()
            scene.add_dead()
            put(scene.channel.directory, a_message("victim", b"orphan"), enqueue=False)

    def litter(self, scene: Scene) -> None:
        """What a publisher and a subscriber that died have left in `tmp`."""
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
        verdict.error_is_right("REAP-11")
        left = self._left(scene)
        if verdict.point is None:
            scene.stage.slow_clock = bool(left)  # such a one sees only whole seconds
        if verdict.is_once:
            (hit,) = verdict.hits
            entry = hit.entry
            own = scene.channel.directory.name if scene.channel else None
            if entry and entry != own and not hit.says_gone:
                verdict.expect(
                    outcome.error is None,
                    "REAP-11: what cannot be looked at or removed is passed over in silence",
                    outcome.told,
                )
                if not scene.stage.slow_clock:
                    verdict.expect(
                        len(left) <= 1, "REAP-11: and keeps a reaper from nothing else", left
                    )

    def _left(self, scene: Scene) -> list[str]:
        names = [path.name for path in scene.dead if path.exists()]
        return names + [f"tmp/{name}" for name in list_directory(scene.base.tmp)]

    def again(self, verdict: Verdict) -> None:
        scene = verdict.scene
        try:
            self.request(scene)
        except (Rejected, DriverError) as error:
            verdict.expect(False, "REAP-11: the next reaping works, the fault is gone", error)
            return
        left = self._left(scene)
        if not scene.stage.slow_clock:
            verdict.expect(not left, "REAP-3, REAP-7, REAP-9: the next reaping removes all", left)
