"""Publishing, disturbed."""

from __future__ import annotations

from collections.abc import Callable

from pubsub_conformance.driver import DriverError, Rejected
from pubsub_conformance.linux import strace
from pubsub_conformance.linux.strace import Call
from pubsub_conformance.oracle.message import Scalar
from pubsub_conformance.oracle.queue import fill

from .operation import BIG, WAIT_SECONDS, Operation, list_directory
from .scenes import Receiver, Scene, drain
from .verdict import Verdict

TOPIC = "a.b"
HELD = "=.b"  # a pattern that no other channel has


class Publish(Operation):
    """To several channels, of the kit and of bystanders."""

    roles = ("publisher",)
    content = b"content"
    headers: dict[str, Scalar] = {}  # noqa: RUF012 (nobody writes to it)
    timeout: float | None = None
    is_cleaned = False  # what is staged again for a channel may fail for that channel (PUB-12)

    def arrange(self, scene: Scene) -> None:
        scene.add_oracle("the kit's second", "a.=")

    def request(self, scene: Scene) -> object:
        return scene.victim.publish(TOPIC, self.content, self.headers, self.timeout)

    def judge(self, verdict: Verdict) -> None:
        scene, outcome = verdict.scene, verdict.outcome
        receivers = scene.matching(TOPIC)
        took = [self._taken(verdict, receiver) for receiver in receivers]
        spurned = self._spurned(verdict)
        if outcome.killed:
            return
        count = outcome.error.count or 0 if outcome.error else outcome.result
        if outcome.error is None or outcome.error.code == "io-error":
            verdict.expect(
                count == sum(took) + spurned,
                f"GUAR-1: the count is {sum(took) + spurned}, that of the queues that took it",
                outcome.told,
            )
        verdict.error_is_right("PUB-13")
        self._served(verdict, receivers, took)
        self._clean(verdict, receivers)

    def _taken(self, verdict: Verdict, receiver: Receiver) -> int:
        """How often a channel got it; whatever happened: whole, and at most once."""
        try:
            messages, faults = receiver.drain()
        except DriverError as error:
            messages, faults = [], [str(error)]
        verdict.expect(not faults, f"PUB-8, GUAR-3: {receiver.name} gets whole messages", faults)
        for message in messages:
            verdict.expect(
                (message.topic, dict(message.headers), message.content)
                == (TOPIC, self.headers, self.content),
                f"GUAR-3: {receiver.name} gets it as it was published",
                f"{message.topic} {message.headers} {len(message.content)} octets",
            )
        verdict.expect(
            len(messages) <= 1, f"GUAR-2: {receiver.name} gets it at most once", len(messages)
        )
        return len(messages)

    def _spurned(self, verdict: Verdict) -> int:
        """What full and dead channels took: nothing."""
        scene = verdict.scene
        taken = 0
        if scene.full:
            messages, faults = drain(scene.full)
            taken = len(messages)
            fill(scene.full.directory)
            verdict.expect(not messages and not faults, "PUB-10: a full queue takes no id", faults)
        return taken

    def _served(self, verdict: Verdict, receivers: list[Receiver], took: list[int]) -> None:
        missing = [one for one, n in zip(receivers, took, strict=True) if n == 0]
        error = verdict.outcome.error
        if error is None:
            silent = [one.name for one in missing if not self._excused(verdict, one)]
            verdict.expect(
                not silent,
                "PUB-13, GUAR-5: each living channel with room gets it, or the error is reported",
                f"success, and nothing for {', '.join(silent)}",
            )
        elif verdict.is_once:
            (hit,) = verdict.hits
            if hit.channel or (hit.staged and hit.removes):
                kept = [one.name for one in missing if not verdict.concerned(one)]
                verdict.expect(
                    not kept,
                    "GUAR-7, PUB-13: the failure of one channel keeps it from no other",
                    f"nothing for {', '.join(kept)}",
                )
            if hit.errno == "EMLINK" and hit.call.name in strace.LINK:
                verdict.expect(False, "PUB-3: EMLINK is met with another copy", error)
            if hit.errno == "ENOENT" and hit.channel is None and not self.is_cleaned:
                verdict.expect(
                    error.code != "io-error",
                    "publish.md, steps: what is gone is passed over or made again",
                    error,
                )

    def _excused(self, verdict: Verdict, receiver: Receiver) -> bool:
        return verdict.excused(receiver)

    def _clean(self, verdict: Verdict, receivers: list[Receiver]) -> None:
        scene = verdict.scene
        reported = verdict.outcome.error is not None
        staged = [name for name in list_directory(scene.base.tmp) if name.isdecimal()]
        excused = any(
            hit.staged and (hit.says_gone or (hit.removes and reported)) for hit in verdict.hits
        )
        verdict.expect(
            not staged or excused, "PUB-14: a publish that returns leaves no staged file", staged
        )
        channels = [one.directory for one in receivers] + scene.dead
        channels += [scene.full.directory] if scene.full else []
        for directory in channels:
            excused = any(
                hit.removes and hit.channel == directory.name and (reported or hit.says_gone)
                for hit in verdict.hits
            )
            left = [
                name
                for name in list_directory(directory)
                if name != "queue" and directory not in scene.planted
            ]
            verdict.expect(
                not left or excused,
                "PUB-10: the link is withdrawn where no queue took the id",
                left,
            )
            for name in left:
                (directory / name).unlink()

    def again(self, verdict: Verdict) -> None:
        scene = verdict.scene
        receivers = scene.matching(TOPIC)
        try:
            count: object = self.request(scene)
        except (Rejected, DriverError) as error:
            count = error
        verdict.expect(
            count == len(receivers),
            f"PUB-13: the next publish reaches all {len(receivers)}, for the fault is gone",
            count,
        )
        for receiver in receivers:
            n = self._taken(verdict, receiver)
            verdict.expect(n == 1, f"GUAR-2: {receiver.name} gets the next message once", n)
        self._spurned(verdict)
        staged = [name for name in list_directory(scene.base.tmp) if name.isdecimal()]
        excused = any(hit.staged and (hit.says_gone or hit.removes) for hit in verdict.hits)
        verdict.expect(
            not staged or excused, "PUB-14: a publish that returns leaves no staged file", staged
        )


class PublishToOne(Publish):
    """To one channel only."""

    def arrange(self, scene: Scene) -> None:
        for receiver in scene.receivers[1:]:
            assert receiver.driver
            assert receiver.handle
            receiver.driver.close_channel(receiver.handle)
        del scene.receivers[1:]


class PublishLarge(Publish):
    """With headers, and a content that takes more than one write on some systems."""

    content = BIG
    headers = {"text": "fünf", "number": 5, "none": None}  # noqa: RUF012


class PublishToFull(Publish):
    """One channel is full; the others are not."""

    def arrange(self, scene: Scene) -> None:
        scene.add_full()
        scene.add_oracle("the kit's second", "a.=")


class PublishWaiting(PublishToFull):
    """The same with a timeout: it waits for room, in vain."""

    timeout = WAIT_SECONDS


class PublishToDead(Publish):
    """One channel has no reader."""

    def arrange(self, scene: Scene) -> None:
        scene.add_dead()
        scene.add_oracle("the kit's second", "a.=")


def opens_queue(call: Call) -> bool:
    return call.name in strace.OPEN and bool(call.paths) and call.paths[-1].name == "queue"


def writes_staged(call: Call) -> bool:
    return (
        call.name in strace.WRITE
        and call.descriptor is not None
        and call.descriptor.parent.name == "tmp"
    )


def lists(call: Call) -> bool:
    return call.name in strace.LIST


def links(call: Call) -> bool:
    return call.name in strace.LINK


class PublishCleaned(Publish):
    """A cleaner removes all that is staged, and `tmp`, before the first link."""

    stops = (opens_queue, writes_staged)
    is_cleaned = True

    def _excused(self, verdict: Verdict, receiver: Receiver) -> bool:
        # Who stages again and finds that the base is gone takes the channel for gone with it.
        gone = any(hit.says_gone for hit in verdict.hits)
        return gone or super()._excused(verdict, receiver)

    def between(self, scene: Scene) -> None:
        for staged in scene.base.tmp.iterdir():
            staged.unlink()
        scene.base.tmp.rmdir()


class PublishClosing(Publish):
    """One of the channels is closed before the message is linked into it."""

    stops: tuple[Callable[[Call], bool], ...] = (opens_queue, lists)

    def between(self, scene: Scene) -> None:
        closing = scene.oracles[-1]
        scene.forget(closing)
        closing.close()


class PublishDying(Publish):
    """A reader dies after the message was linked into its channel, before the id is written."""

    def arrange(self, scene: Scene) -> None:
        super().arrange(scene)
        scene.add_held(HELD)

    def between(self, scene: Scene) -> None:
        scene.let_die()

    def _spurned(self, verdict: Verdict) -> int:
        if verdict.scene.held:  # the process did not come so far
            verdict.scene.let_die()
        buried, verdict.scene.buried = verdict.scene.buried, 0
        return super()._spurned(verdict) + buried

    stops = (lambda call: links(call) and f"/{HELD}_" in call.args.replace('"', "/"),)


class PublishFirst(Publish):
    """Neither the base nor its parent is there."""

    base_is_there = False

    def arrange(self, scene: Scene) -> None:
        pass

    def judge(self, verdict: Verdict) -> None:
        outcome = verdict.outcome
        if not outcome.killed:
            verdict.error_is_right("BASE-3")
        if not outcome.killed and outcome.error is None:
            verdict.expect(outcome.result == 0, "PUB-17: nobody is there, 0", outcome.told)
            verdict.expect(
                verdict.scene.base.path.is_dir(), "BASE-3: publishing makes the base", "no base"
            )
        verdict.scene.populate()
