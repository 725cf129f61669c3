"""Fetching and waiting, disturbed."""

from __future__ import annotations

from pubsub_conformance.driver import DriverError, Rejected
from pubsub_conformance.oracle.base import names_in, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import enqueue
from pubsub_conformance.oracle.record import MARKER

from .operation import BIG, WAIT_SECONDS, Operation, fetch
from .scenes import Scene
from .verdict import Verdict


class Fetch(Operation):
    """The fetch of a good message, which another one follows."""

    roles: tuple[str, ...] = ("subscriber",)
    reports = "FETCH-8"
    promises: tuple[str, ...] = ("GUAR-2", "FETCH-3", "FETCH-4", "FETCH-14", "BASE-16")
    expected: tuple[str, ...] = ("first", "second")
    """The contents and error codes that fetches yield, in order, where no call fails."""

    inline = False
    """Whether the channel is opened with the inline lane."""

    def arrange(self, scene: Scene) -> None:
        scene.victim_channel = scene.victim.open("victim", inline=self.inline)
        self.put(scene)

    def put(self, scene: Scene) -> None:
        """Put what is to be fetched into the channel."""
        put(scene.own_channel.directory, a_message("victim", b"first"))
        put(scene.own_channel.directory, a_message("victim", b"second"))

    def request(self, scene: Scene) -> object:
        message = scene.victim.fetch(scene.own_channel)
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
            self._check_lost(verdict, outcome.error)
        else:
            verdict.check_error(self.reports)
        if came == ["nothing"] and self.expected:
            verdict.expect(
                any(hit.errno == "EAGAIN" for hit in verdict.hits) or self._is_skipped(verdict),
                f"{self._keeps(verdict)}: a message is in the queue, so fetch yields it or the"
                " error",
                "nothing",
            )
        came = [*filter("nothing".__ne__, came), *self._rest(scene)]
        right = [list(self.expected)]
        if self._is_skipped(verdict):
            right += [list(self.expected[1:])] + [[]] * (not verdict.is_once)
        verdict.expect(
            came in right,
            f"{self._keeps(verdict)}: all that the queue took is yielded once, in order:"
            f" {', '.join(self.expected) or 'nothing'}",
            ", ".join(came) or "nothing",
        )
        names = names_in(scene.own_channel.directory)
        left = [name for name in names if name not in ("queue", MARKER)]
        excused = any((hit.removes or hit.says_gone) for hit in verdict.hits)
        verdict.expect(not left or excused, "FETCH-4: a fetched file is removed", ", ".join(left))

    def _check_lost(self, verdict: Verdict, error: Rejected) -> None:
        verdict.expect(
            any(hit.says_gone for hit in verdict.hits),
            "FETCH-14: channel-lost only where the queue is not in its place",
            error,
        )

    def _is_skipped(self, verdict: Verdict) -> bool:
        """Whether a call said that the message's file does not exist (FETCH-3)."""
        return any(hit.says_gone and hit.message for hit in verdict.hits)

    def _keeps(self, verdict: Verdict) -> str:
        """The requirement that keeps a message where these calls fail."""
        return "FETCH-8" if any(hit.message for hit in verdict.hits) else "GUAR-2"

    def _rest(self, scene: Scene) -> list[str]:
        """The outcomes of further fetches, until there is nothing more."""
        came = []
        for _ in range(5):
            found = fetch(scene, scene.own_channel)
            if found in ("nothing", "channel-lost"):
                break
            came.append(found)
        return came

    def repeat(self, verdict: Verdict) -> None:
        scene = verdict.scene
        self.put(scene)
        came = self._rest(scene)
        verdict.expect(
            came == list(self.expected),
            f"GUAR-2: the next fetches yield {', '.join(self.expected) or 'nothing'}",
            ", ".join(came) or "nothing",
        )


class FetchInvalid(Fetch):
    """The fetch of a file that is not a message; a good message follows."""

    expected = ("invalid-message", "second")

    def put(self, scene: Scene) -> None:
        bad = put(scene.own_channel.directory, b"not a message", name=str(fresh_id()))
        scene.channels.planted.add(bad)
        put(scene.own_channel.directory, a_message("victim", b"second"))


class FetchMissing(Fetch):
    """The fetch of an id that has no file; a good message follows."""

    expected = ("second",)

    def put(self, scene: Scene) -> None:
        enqueue(scene.own_channel.directory, fresh_id())
        put(scene.own_channel.directory, a_message("victim", b"second"))


class FetchNothing(Fetch):
    """A fetch from an empty queue."""

    expected = ()

    def put(self, scene: Scene) -> None:
        pass


class FetchLarge(Fetch):
    """The fetch of a message that some systems read in several calls."""

    expected = (BIG.decode(), "second")

    def put(self, scene: Scene) -> None:
        put(scene.own_channel.directory, a_message("victim", BIG, {"n": 1}))
        put(scene.own_channel.directory, a_message("victim", b"second"))


class Wait(Fetch):
    """A wait while a message is in the queue."""

    reports = "FETCH-13"
    promises: tuple[str, ...] = ("GUAR-2", "FETCH-14", "BASE-16")
    ready = True

    def request(self, scene: Scene) -> object:
        return scene.victim.wait(scene.own_channel, WAIT_SECONDS)

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        if outcome.killed:
            return
        if outcome.error is not None and outcome.error.code == "channel-lost":
            self._check_lost(verdict, outcome.error)
        elif outcome.error:
            verdict.check_error(self.reports)
        else:
            verdict.expect(
                outcome.result is self.ready, f"FETCH-13: ready is {self.ready}", outcome.describe()
            )
        came = self._rest(scene)
        verdict.expect(
            came == list(self.expected), f"GUAR-2: then {', '.join(self.expected)}", ", ".join(came)
        )

    def repeat(self, verdict: Verdict) -> None:
        lost = any(hit.says_gone for hit in verdict.hits)  # a lost channel stays lost
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
    """A wait for a message that does not come."""

    ready = False
    expected = ()

    def put(self, scene: Scene) -> None:
        pass
