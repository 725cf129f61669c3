"""What must hold after a fault, whatever the operation was."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.oracle.arrange import let_age
from pubsub_conformance.oracle.base import CHANNEL_NAME, MESSAGE_NAME
from pubsub_conformance.oracle.message import InvalidMessage, decode
from pubsub_conformance.oracle.queue import has_reader

from .points import Hit, Point
from .scenes import Participant, Receiver, Scene, identity


@dataclass(frozen=True)
class Problem:
    """One sentence of the specification that was not kept."""

    expected: str  # with the requirement's id
    found: str


@dataclass
class Outcome:
    """What the disturbed operation came to."""

    result: object = None
    error: Rejected | None = None
    broken: DriverError | None = None
    hits: list[Hit] = field(default_factory=list)
    killed: bool = False

    @property
    def told(self) -> str:
        if self.killed:
            return "the process was killed"
        if self.broken:
            return str(self.broken)
        return f"the error {self.error}" if self.error else f"success, {self.result!r}"


@dataclass
class Verdict:
    """Collects what is wrong."""

    scene: Scene
    point: Point | None  # None: a dry run
    outcome: Outcome
    problems: list[Problem] = field(default_factory=list)

    def expect(self, holds: bool, expected: str, found: object) -> bool:
        if not holds:
            self.problems.append(Problem(expected, str(found)))
        return holds

    # How the fault bears on what may be expected.

    @property
    def hits(self) -> list[Hit]:
        return self.outcome.hits

    @property
    def is_once(self) -> bool:
        return len(self.hits) == 1

    def excused(self, receiver: Receiver) -> bool:
        """Whether a call said that this channel was gone or full, or may have done so."""
        said = [hit for hit in self.hits if hit.says_gone or hit.says_full]
        return any(hit.channel in (None, receiver.directory.name) for hit in said) and (
            not self.is_once or said[0].channel is not None
        )

    def concerned(self, receiver: Receiver) -> bool:
        return any(hit.channel == receiver.directory.name for hit in self.hits)

    # The checks.

    def error_is_right(self, requirement: str, *codes: str) -> None:
        """An error says what the system said."""
        error = self.outcome.error
        if error is None or not self.expect(
            bool(self.hits), f"{requirement}: no error where nothing failed", error
        ):
            return
        right = error.code in ("io-error", "base-unusable", *codes)
        self.expect(right, f"{requirement}: io-error (or base-unusable, BASE-3)", error)
        if error.code == "base-unusable":
            about_base = any(hit.channel is None and not hit.staged for hit in self.hits)
            self.expect(about_base, f"{requirement}: io-error, for the base is usable", error)
        if error.code == "io-error":
            errnos = {hit.errno for hit in self.hits}
            # What is repeated is repeated a bounded number of times; then any error is right.
            bounded = not self.is_once and errnos & {"ENOENT", "EMLINK", "EINTR"}
            right = error.errno in errnos or bool(bounded)
            self.expect(right, f"{requirement}: errno {' or '.join(sorted(errnos))}", error)

    def visible_is_whole(self) -> None:
        """Right after the fault, before anybody else does anything."""
        scene = self.scene
        if not scene.base.path.is_dir():
            return
        for entry in scene.base.path.iterdir():
            if not CHANNEL_NAME.fullmatch(entry.name) or entry in scene.planted:
                continue
            try:
                names = os.listdir(entry)
            except FileNotFoundError:
                continue
            self.expect(
                "queue" in names,
                "CHAN-16: a half-emptied channel is never visible (nor CHAN-10: a half-made one)",
                f"{entry.name} has no queue",
            )
            for name in filter(MESSAGE_NAME.fullmatch, names):
                if entry / name in scene.planted:
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

    def living_are_unharmed(self) -> None:
        for receiver in self.scene.receivers:
            try:
                same = identity(receiver.directory / "queue") == receiver.queue
                found = "" if same else "another queue"
                if not found and not has_reader(receiver.directory):
                    found = "a queue without a reader"
            except OSError as error:
                found = str(error)
            self.expect(
                not found,
                f"REAP-4, CHAN-13: the channel of {receiver.name} lives on, in its place",
                found,
            )
        for directory in self.scene.living() - {one.directory for one in self.scene.receivers}:
            self.expect(
                directory.is_dir(), "REAP-4: a living channel is not removed", f"no {directory}"
            )

    def others_go_on(self) -> None:
        """Others open channels, publish, receive, and reap: after a crash fresh processes as well.

        Starting these takes most of the time of a point, and after an error the process that met it
        goes on before our eyes.
        """
        scene = self.scene
        others = {f"the bystander, {who}": one for who, one in scene.stage.bystanders.items()}
        fresh: list[Driver] = []
        receivers = scene.matching("go.on")
        opened: list[Receiver] = []
        try:
            if self.outcome.killed or self.point is None:
                for label, command in scene.stage.commands.items():
                    fresh.append(Participant(command, scene.base.path))
                    others[f"a fresh process of {label}"] = fresh[-1]
            for who, driver in others.items():
                if "subscriber" in driver.hello.roles:
                    try:
                        channel = driver.open("go.=")
                    except (DriverError, Rejected) as error:
                        self.expect(False, f"GUAR-7, GUAR-8: {who} can open a channel", error)
                    else:
                        opened.append(
                            Receiver(who, "go.=", channel.directory, None, driver, channel)
                        )
            self._all_receive(others, receivers + opened)
            self._reaping_cleans(others, receivers + opened)
            for receiver in opened:
                assert receiver.driver
                assert receiver.handle
                receiver.driver.close_channel(receiver.handle)
        except (DriverError, Rejected) as error:
            self.expect(False, "GUAR-7, GUAR-8: everybody else goes on", error)
        finally:
            for driver in fresh:
                try:
                    driver.close()
                except DriverError as error:
                    self.expect(False, "a fresh process ends in good order", error)

    def _all_receive(self, publishers: dict[str, Driver], receivers: list[Receiver]) -> None:
        sent = []
        for who, driver in publishers.items():
            if "publisher" not in driver.hello.roles:
                continue
            sent.append(f"from {who}".encode())
            try:
                count: object = driver.publish("go.on", sent[-1], {"n": len(sent)})
            except (DriverError, Rejected) as error:
                count = error
            self.expect(
                count == len(receivers),
                f"GUAR-5, GUAR-7: {who} publishes to {len(receivers)} living channels",
                count,
            )
        for receiver in receivers:
            messages, faults = receiver.drain()
            contents = [message.content for message in messages]
            self.expect(
                contents == sent and not faults,
                f"GUAR-2, GUAR-3: {receiver.name} receives {len(sent)} messages, each once",
                faults or contents,
            )

    def _reaping_cleans(self, others: dict[str, Driver], receivers: list[Receiver]) -> None:
        """Nothing is left but what is alive."""
        reapers = [driver for driver in others.values() if "reaper" in driver.hello.roles]
        if not reapers:
            return
        own = {one.directory for one in receivers} | self.scene.living()
        left = self._left(own)
        for attempt in range(2):
            if left and (attempt or self.scene.stage.slow_clock):
                let_age(*left)
            reapers[-1].reap(0)
            left = self._left(own)
            if not left:
                return
        names = ", ".join(str(path.relative_to(self.scene.base.path)) for path in left)
        self.expect(
            False, "REAP-3, REAP-7, REAP-9: reaping leaves nothing of the dead behind", names
        )

    def _left(self, own: set[Path]) -> list[Path]:
        base = self.scene.base
        return [
            entry
            for directory in (base.path, base.tmp)
            if directory.is_dir()
            for entry in sorted(directory.iterdir())
            if entry not in own and entry != base.tmp
        ]

    def victim_ends(self) -> None:
        """What the fault left of a process that survived it: it ends in good order."""
        try:
            self.scene.victim.close()
        except DriverError as error:
            self.expect(False, "DRIVER.md: at the end of stdin a driver exits with 0", error)
