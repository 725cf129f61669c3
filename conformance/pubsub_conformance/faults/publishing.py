"""Publishing, disturbed."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from pubsub_conformance.driver import DriverError
from pubsub_conformance.linux import strace
from pubsub_conformance.linux.calls import Call
from pubsub_conformance.oracle.base import names_in
from pubsub_conformance.oracle.message import Scalar
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.oracle.record import MARKER

from .channels import Receiver, drain
from .operation import BIG, WAIT_SECONDS, Operation
from .points import Hit
from .scenes import Scene
from .verdict import Verdict

TOPIC = "a.b"

HELD = "=.b"
"""The pattern of the held channel. No other channel has it."""


class Publish(Operation):
    """A publish to several channels, of the kit and of bystanders."""

    roles: tuple[str, ...] = ("publisher",)
    reports = "PUB-13"
    promises: tuple[str, ...] = (
        *("GUAR-1", "GUAR-3", "GUAR-5", "GUAR-7", "REAP-2", "BASE-16"),
        *("PUB-3", "PUB-5", "PUB-8", "PUB-10", "PUB-12", "PUB-14", "PUB-17"),
    )
    spares = "REAP-2"
    content = b"content"
    headers: dict[str, Scalar] = {}  # noqa: RUF012 (nobody writes to it)
    timeout: float | None = None
    is_cleaned = False
    """Whether a cleaner removes the staged file, so that staging again may fail (PUB-12)."""

    def arrange(self, scene: Scene) -> None:
        scene.channels.add_oracle("the kit (second channel)", "a.=")

    def request(self, scene: Scene) -> object:
        return scene.victim.publish(TOPIC, self.content, self.headers, self.timeout)

    def judge(self, verdict: Verdict) -> None:
        outcome = verdict.outcome
        receivers = verdict.scene.channels.matching(TOPIC)
        taken = [self._take(verdict, receiver) for receiver in receivers]
        taken_elsewhere = self._take_elsewhere(verdict)
        if outcome.killed:
            return
        count = outcome.error.count or 0 if outcome.error else outcome.result
        if outcome.error is None or outcome.error.code == "io-error":
            due = sum(taken) + taken_elsewhere
            verdict.expect(
                count == due,
                f"GUAR-1: the count is {due}, the number of queues that took the id",
                outcome.describe(),
            )
        verdict.check_error(self.reports)
        self._check_served(verdict, receivers, taken)
        self._check_leftovers(verdict, receivers)

    def _take(self, verdict: Verdict, receiver: Receiver) -> int:
        """Fetch the message from a channel, whole and at most once. Returns how often it came."""
        try:
            messages, faults = receiver.drain()
        except DriverError as error:
            messages, faults = [], [str(error)]
        verdict.expect(not faults, f"PUB-8: {receiver.owner} finds whole messages", faults)
        for message in messages:
            verdict.expect(
                (message.topic, dict(message.headers), message.content)
                == (TOPIC, self.headers, self.content),
                f"GUAR-3: {receiver.owner} gets the message as it was published",
                f"{message.topic} {message.headers} {len(message.content)} octets",
            )
        verdict.expect(
            len(messages) <= 1,
            f"GUAR-1: {receiver.owner} gets the message at most once",
            len(messages),
        )
        return len(messages)

    def _take_elsewhere(self, verdict: Verdict) -> int:
        """Empty the full channel. Returns how many messages were taken beside the receivers."""
        full = verdict.scene.channels.full
        if full is None:
            return 0
        messages, faults = drain(full)
        fill(full.directory)
        verdict.expect(not messages and not faults, "PUB-10: a full queue takes no id", faults)
        return len(messages)

    def _check_served(self, verdict: Verdict, receivers: list[Receiver], taken: list[int]) -> None:
        missed = [receiver for receiver, n in zip(receivers, taken, strict=True) if n == 0]
        error = verdict.outcome.error
        if error is None:
            names = [each.owner for each in missed if not self._is_excused(verdict, each)]
            verdict.expect(
                not names,
                "GUAR-5: each living channel with room gets the message, or the error is reported",
                f"success, and no message for {', '.join(names)}",
            )
        elif verdict.is_once:
            (hit,) = verdict.hits
            if hit.channel or (hit.staged and hit.removes):
                names = [each.owner for each in missed if not verdict.hit_channel(each)]
                verdict.expect(
                    not names,
                    "GUAR-7: the failure of one channel keeps the message from no other",
                    f"no message for {', '.join(names)}",
                )
            if hit.errno == "EMLINK" and hit.call.name in strace.LINK:
                verdict.expect(False, "PUB-3: after EMLINK another copy is staged", error)
            if hit.errno == "ENOENT" and hit.channel is None and not self._may_report(hit, taken):
                verdict.expect(
                    error.code != "io-error",
                    "PUB-17: a publisher passes over a missing entry, or makes it again",
                    error,
                )

    def _may_report(self, hit: Hit, taken: list[int]) -> bool:
        """Whether the publish may report that something beside the channels is gone."""
        return self.is_cleaned

    def _is_excused(self, verdict: Verdict, receiver: Receiver) -> bool:
        return verdict.excuses(receiver)

    def _check_leftovers(self, verdict: Verdict, receivers: list[Receiver]) -> None:
        channels = verdict.scene.channels
        reported = verdict.outcome.error is not None
        excused = any(
            hit.staged and (hit.says_gone or (hit.removes and reported)) for hit in verdict.hits
        )
        self._check_staged(verdict, excused)
        directories = [receiver.directory for receiver in receivers] + channels.dead
        directories += [channels.full.directory] if channels.full else []
        for directory in directories:
            excused = any(
                hit.removes and hit.channel == directory.name and (reported or hit.says_gone)
                for hit in verdict.hits
            )
            left = [
                name
                for name in names_in(directory)
                if name not in ("queue", MARKER) and directory not in channels.planted
            ]
            verdict.expect(
                not left or excused,
                "PUB-10: the link is withdrawn from a channel whose queue did not take the id",
                left,
            )
            for name in left:
                (directory / name).unlink()

    def _check_staged(self, verdict: Verdict, excused: bool) -> None:
        staged = [name for name in names_in(verdict.scene.base.tmp) if name.isdecimal()]
        verdict.expect(
            not staged or excused, "PUB-14: a publish that returns leaves no staged file", staged
        )

    def repeat(self, verdict: Verdict) -> None:
        scene = verdict.scene
        receivers = scene.channels.matching(TOPIC)
        verdict.expect_count(
            lambda: self.request(scene),
            len(receivers),
            f"GUAR-5: without the fault, the next publish reaches all {len(receivers)} channels",
        )
        for receiver in receivers:
            n = self._take(verdict, receiver)
            verdict.expect(n == 1, f"GUAR-5: {receiver.owner} gets the next message once", n)
        self._take_elsewhere(verdict)
        excused = any(hit.staged and (hit.says_gone or hit.removes) for hit in verdict.hits)
        self._check_staged(verdict, excused)


class PublishToOne(Publish):
    """A publish to one channel only."""

    def arrange(self, scene: Scene) -> None:
        for receiver in scene.channels.receivers[1:]:
            receiver.close()
        del scene.channels.receivers[1:]


class PublishLarge(Publish):
    """A publish with headers, and a content that some systems take in several writes."""

    content = BIG
    headers = {"text": "fünf", "number": 5, "none": None}  # noqa: RUF012


class PublishToFull(Publish):
    """A publish to several channels, one of which is full."""

    def arrange(self, scene: Scene) -> None:
        scene.channels.add_full()
        super().arrange(scene)


class PublishWaiting(PublishToFull):
    """A publish that waits for room in a full channel until its time is over."""

    timeout = WAIT_SECONDS


class PublishToDead(Publish):
    """A publish to several channels, one of which has no reader."""

    def arrange(self, scene: Scene) -> None:
        scene.channels.add_dead()
        super().arrange(scene)


def opens_queue(call: Call) -> bool:
    """Whether the call opens a queue."""
    return call.name in strace.OPEN and bool(call.paths) and call.paths[-1].name == "queue"


def writes_staged(call: Call) -> bool:
    """Whether the call writes to a staged file."""
    return (
        call.name in strace.WRITE
        and call.descriptor is not None
        and call.descriptor.parent.name == "tmp"
    )


def lists(call: Call) -> bool:
    """Whether the call lists a directory."""
    return call.name in strace.LIST


def links_into_held(call: Call) -> bool:
    """Whether the call makes a link in the held channel."""
    return call.name in strace.LINK and f"/{HELD}_" in call.args.replace('"', "/")


class PublishCleaned(Publish):
    """A publish before whose first link a cleaner removes all staged files, and `tmp`."""

    stops = (opens_queue, writes_staged)
    is_cleaned = True

    def _is_excused(self, verdict: Verdict, receiver: Receiver) -> bool:
        # A publisher that stages again and finds no base may take the channel for gone as well.
        gone = any(hit.says_gone for hit in verdict.hits)
        return gone or super()._is_excused(verdict, receiver)

    def between(self, scene: Scene) -> None:
        for staged in scene.base.tmp.iterdir():
            staged.unlink()
        scene.base.tmp.rmdir()


class PublishClosing(Publish):
    """A publish during which a channel is closed, before the message is linked into it."""

    stops: tuple[Callable[[Call], bool], ...] = (opens_queue, lists)

    def between(self, scene: Scene) -> None:
        scene.channels.close_oracle(scene.channels.oracles[-1])


class PublishVanishing(Publish):
    """A publish during which the base is removed, when all channels are closed."""

    stops = (lists, writes_staged)

    def between(self, scene: Scene) -> None:
        scene.channels.close_all()
        shutil.rmtree(scene.base.path)

    def judge(self, verdict: Verdict) -> None:
        super().judge(verdict)
        verdict.scene.populate()


class PublishDying(Publish):
    """A publish during which a reader dies, between the link and the write of the id."""

    stops = (links_into_held,)

    def arrange(self, scene: Scene) -> None:
        super().arrange(scene)
        scene.channels.add_held(HELD)

    def between(self, scene: Scene) -> None:
        scene.channels.kill_holder()

    def _take_elsewhere(self, verdict: Verdict) -> int:
        channels = verdict.scene.channels
        channels.kill_holder()  # it is alive if the publish did not come to the link
        lost, channels.lost = channels.lost, 0
        return super()._take_elsewhere(verdict) + lost


class PublishFirst(Publish):
    """A publish before the base and its parent exist."""

    reports = "BASE-3"
    promises = ("PUB-17", "GUAR-7", "BASE-16")
    base_exists = False

    def arrange(self, scene: Scene) -> None:
        pass

    def judge(self, verdict: Verdict) -> None:
        outcome = verdict.outcome
        if not outcome.killed:
            verdict.check_error(self.reports)
        if not outcome.killed and outcome.error is None:
            verdict.expect(
                outcome.result == 0, "PUB-17: the count without a channel is 0", outcome.describe()
            )
            verdict.expect(
                verdict.scene.base.path.is_dir(), "BASE-3: publishing makes the base", "no base"
            )
        verdict.scene.populate()
