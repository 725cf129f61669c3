"""The verdict on one disturbance: what must hold after a fault, whatever the operation was."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pubsub_conformance.driver import Driver, DriverError, NoReply, Rejected
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME
from pubsub_conformance.oracle.message import InvalidMessage, decode
from pubsub_conformance.oracle.queue import has_reader

from .channels import Receiver, identity
from .points import Hit, Point
from .scenes import Participant, Scene

ENDS = "DRIVER-6: at the end of stdin a driver exits with 0"


@dataclass(frozen=True)
class Problem:
    """A sentence of the specification that the implementation did not keep."""

    expected: str
    """The requirement's id, a colon, and what it demands here."""
    found: str

    @property
    def requirement(self) -> str:
        """The id of the requirement that is broken."""
        return self.expected.partition(":")[0]

    def __str__(self) -> str:
        return f"expected {self.expected}; found {self.found}"


@dataclass
class Outcome:
    """The outcome of the disturbed request."""

    result: object = None
    error: Rejected | None = None
    broken: DriverError | None = None
    """The driver crashed, hung or wrote no reply."""
    hits: list[Hit] = field(default_factory=list)
    killed: bool = False

    def describe(self) -> str:
        """The outcome in words."""
        if self.killed:
            return "the process was killed"
        if self.broken:
            return str(self.broken)
        return f"the error {self.error}" if self.error else f"success, {self.result!r}"


@dataclass
class Verdict:
    """Checks the promises of the specification one by one, and collects the problems."""

    scene: Scene
    point: Point | None
    """None: nothing was disturbed."""
    outcome: Outcome
    problems: list[Problem] = field(default_factory=list)

    def expect(self, holds: bool, expected: str, found: object) -> bool:
        """Note a problem unless the condition holds. Returns whether it holds."""
        if not holds:
            self.problems.append(Problem(expected, str(found)))
        return holds

    def expect_count(self, publish: Callable[[], object], count: int, expected: str) -> None:
        """Publish, and note a problem unless the result is this count."""
        try:
            found = publish()
        except (DriverError, Rejected) as error:
            found = error
        self.expect(found == count, expected, found)

    @contextmanager
    def expect_success(self, expected: str) -> Iterator[None]:
        """Note a problem if a request in the block fails."""
        try:
            yield
        except (DriverError, Rejected) as error:
            self.expect(False, expected, error)

    @contextmanager
    def expect_undisturbed(self, who: str) -> Iterator[None]:
        """Note a problem if another process fails, or waits for the disturbed one."""
        try:
            yield
        except (DriverError, Rejected) as error:
            hangs = isinstance(error, NoReply) and error.end == "still running"
            rule = "GUAR-8: no wait for a lock" if hangs else "GUAR-7: no harm"
            self.expect(False, f"{rule} of the disturbed process: {who}", error)

    # How the fault bears on what may be expected.

    @property
    def hits(self) -> list[Hit]:
        """The calls that failed."""
        return self.outcome.hits

    @property
    def is_once(self) -> bool:
        """Whether exactly one call failed."""
        return len(self.hits) == 1

    def excuses(self, receiver: Receiver) -> bool:
        """Whether a failed call said, or may have said, that this channel was gone or full."""
        said = [hit for hit in self.hits if hit.says_gone or hit.says_full]
        return any(hit.channel in (None, receiver.directory.name) for hit in said) and (
            not self.is_once or said[0].channel is not None
        )

    def hit_channel(self, receiver: Receiver) -> bool:
        """Whether a failed call was about this channel."""
        return any(hit.channel == receiver.directory.name for hit in self.hits)

    # The checks.

    def check_error(self, requirement: str, *codes: str) -> None:
        """An error has to say what the system said, or to have one of these codes."""
        error = self.outcome.error
        if error is None or not self.expect(
            bool(self.hits), f"{requirement}: no error where no call failed", error
        ):
            return
        interrupted = all(hit.errno == "EINTR" for hit in self.hits)  # spec/README.md
        self.expect(not interrupted, f"{requirement}: an interrupted call is repeated", error)
        right = error.code in ("io-error", "base-unusable", *codes)
        self.expect(right, f"{requirement}: io-error (or base-unusable, BASE-3)", error)
        if error.code == "base-unusable":
            about_base = any(hit.channel is None and not hit.staged for hit in self.hits)
            self.expect(about_base, f"{requirement}: io-error, for the base is usable", error)
        if error.code == "io-error":
            errnos = {hit.errno for hit in self.hits}
            # A step is repeated a bounded number of times; after the last, any error is right.
            bounded = not self.is_once and errnos & {"ENOENT", "EMLINK", "EINTR"}
            right = error.errno in errnos or bool(bounded)
            self.expect(right, f"{requirement}: errno {' or '.join(sorted(errnos))}", error)

    def check_visible(self) -> None:
        """Right after the fault, all that others can see has to be whole."""
        scene = self.scene
        planted = scene.channels.planted
        if not scene.base.path.is_dir():
            return
        # An error that lasted said of these, again and again, that somebody had removed them.
        gone = {hit.channel for hit in self.hits if hit.says_gone and not self.is_once}
        for entry in scene.base.path.iterdir():
            if not CHANNEL_NAME.fullmatch(entry.name) or entry in planted or entry.name in gone:
                continue
            try:
                names = os.listdir(entry)
            except FileNotFoundError:
                continue
            self.expect(
                "queue" in names,
                "CHAN-16: a channel that is half emptied (or half made, CHAN-10) is never visible",
                f"{entry.name} has no queue",
            )
            for name in filter(MESSAGE_NAME.fullmatch, names):
                if entry / name in planted:
                    continue
                try:
                    id = decode((entry / name).read_bytes()).id
                except InvalidMessage as error:
                    self.expect(
                        False, "PUB-5: a message file is complete before its first link", error
                    )
                else:
                    self.expect(
                        str(id) == name, "PUB-5: a message file is complete", f"{name} holds {id}"
                    )

    def check_living(self, rule: str) -> None:
        """Every channel that is alive has to stay, with its queue and its reader."""
        channels = self.scene.channels
        for receiver in channels.receivers:
            try:
                same = identity(receiver.directory / "queue") == receiver.queue
                found = "" if same else "another queue"
                if not found and not has_reader(receiver.directory):
                    found = "a queue without a reader"
            except OSError as error:
                found = str(error)
            self.expect(
                not found,
                f"{rule}: the channel of {receiver.owner} lives on, in its place",
                found,
            )
        for directory in channels.living() - {each.directory for each in channels.receivers}:
            self.expect(
                directory.is_dir(), f"{rule}: a living channel is not removed", f"no {directory}"
            )

    def check_others(self) -> None:
        """The bystanders have to open channels, publish, receive and reap as if nothing happened.

        After a crash, fresh processes have to do so as well. After an error they are left out, for
        the process that met it goes on itself, and their starts take most of the time of a point.
        """
        scene = self.scene
        bystanders = scene.stage.bystanders.items()
        others = {f"the bystander, {label}": driver for label, driver in bystanders}
        fresh: list[Driver] = []
        receivers = scene.channels.matching("go.on")
        opened: list[Receiver] = []
        try:
            with self.expect_undisturbed("everybody else goes on"):
                if self.outcome.killed:
                    for label, command in scene.stage.commands.items():
                        fresh.append(Participant(command, scene.base.path))
                        others[f"a fresh process of {label}"] = fresh[-1]
                for label, driver in others.items():
                    if "subscriber" in driver.hello.roles:
                        with self.expect_undisturbed(f"{label} can open a channel"):
                            opened.append(Receiver.of(label, driver, "go.="))
                self._check_all_receive(others, receivers + opened)
                self._check_reaping(others, receivers + opened)
                for receiver in opened:
                    receiver.close()
        finally:
            for driver in fresh:
                with self.expect_success("DRIVER-6: a fresh process ends with exit status 0"):
                    driver.close()

    def _check_all_receive(self, publishers: dict[str, Driver], receivers: list[Receiver]) -> None:
        sent: list[bytes] = []
        for label, driver in publishers.items():
            if "publisher" not in driver.hello.roles:
                continue
            content = f"from {label}".encode()
            sent.append(content)
            self.expect_count(
                functools.partial(driver.publish, "go.on", content, {"n": len(sent)}),
                len(receivers),
                f"GUAR-7: {label} publishes to {len(receivers)} living channels",
            )
        for receiver in receivers:
            messages, faults = receiver.drain()
            contents = [message.content for message in messages]
            self.expect(
                contents == sent and not faults,
                f"GUAR-7: {receiver.owner} receives {len(sent)} messages, each once",
                faults or contents,
            )

    def _check_reaping(self, others: dict[str, Driver], receivers: list[Receiver]) -> None:
        """Reaping has to leave only what is alive."""
        reapers = [driver for driver in others.values() if "reaper" in driver.hello.roles]
        if not reapers:
            return
        own = {receiver.directory for receiver in receivers} | self.scene.channels.living()
        left = self._left(own)
        for attempt in range(2):
            if left and (attempt or self.scene.stage.slow_clock):
                let_age(*left)
            reapers[-1].reap(0)
            left = self._left(own)
            if not left:
                return
        base = self.scene.base
        for entry in left:
            in_tmp = "REAP-9" if entry.is_dir() else "REAP-7"
            rule = in_tmp if entry.parent == base.tmp else "REAP-3"
            name = entry.relative_to(base.path)
            self.expect(False, f"{rule}: reaping leaves nothing of the dead behind", name)

    def _left(self, own: set[Path]) -> list[Path]:
        base = self.scene.base
        return [
            entry
            for directory in (base.path, base.tmp)
            if directory.is_dir()
            for entry in sorted(directory.iterdir())
            if entry not in own and entry != base.tmp
        ]

    def check_end(self) -> None:
        """A process that survived the fault has to end in good order."""
        with self.expect_success(ENDS):
            self.scene.victim.close()
