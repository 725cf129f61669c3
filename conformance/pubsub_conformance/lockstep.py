"""Drawn schedules, step by step through several drivers, against a model (guarantee.md).

One request at a time leaves no doubt about what must come of it: which channel holds which
messages in which order, what each count is, and what stands on the disk. Stress has the
concurrency; a schedule that fails here can be shortened, and is told as a script that fails again.
"""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pubsub_conformance.driver import Driver, DriverError, OpenChannel, Rejected
from pubsub_conformance.oracle.base import Channel
from pubsub_conformance.oracle.message import InvalidMessage
from pubsub_conformance.oracle.topics import matches

SCHEDULES = 15
STEPS = 40  # fewer than the 64 ids that every queue holds: it is full when `fill` says so
SHORTEN_SECONDS = 15.0
"""For the steps of a schedule that fails to be struck out, as far as it fails all the same."""

PATTERNS = ("a", "=", "+", "a.b", "a.=", "+.b")
TOPICS = ("a", "b", "a.b", "a.c.b")
LENGTHS = (0, 5000, 30_000)  # of a content, in repetitions of a short text: up to many pages

NOBODY = "2**31 - 1"  # the id of a process that is not there
LITTER = ("file", "directory", "no FIFO", "staged", "dead", "abandoned")

# The requirement that is broken if, after an operation, something that has to stay is gone, and
# if something is left over.
OPERATIONS = {
    "publish": ("REAP-2", "PUB-14"),
    "open": ("FETCH-17", "CHAN-1"),
    "fetch": ("FETCH-17", "FETCH-4"),
    "close": ("FETCH-17", "CHAN-14"),
    "reap": ("REAP-4", "REAP-3"),
}
CHECKED = sorted(
    {rule for pair in OPERATIONS.values() for rule in pair}
    | {"GUAR-1", "GUAR-2", "GUAR-3", "GUAR-4", "GUAR-5", "GUAR-6"}
    | {"PUB-10", "BASE-10", "CHAN-3", "REAP-5", "REAP-8", "FETCH-1", "FETCH-18"}
)

# Every schedule begins with these lines; `command` and `home` are set before.
BEGINNING = """\
import os
from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import a_message, fresh_id
from pubsub_conformance.oracle.queue import enqueue, fill
from pubsub_conformance.lockstep import messages, names
base = Base(home)
base.make()"""


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def messages(channel: OpenChannel | Channel) -> int:
    """How many message files stand in a channel."""
    return sum(map(str.isdecimal, names(channel.directory)))


def _set(expressions: Sequence[str]) -> str:
    return f"{{{', '.join(expressions)}}}" if expressions else "set()"


@dataclass
class _Message:
    number: int
    topic: str
    content: str  # as Python writes it
    publisher: str

    @property
    def fields(self) -> str:
        return f"{self.topic!r}, {self.content}, {{'n': {self.number}}}"


@dataclass
class _Channel:
    name: str
    owner: str
    pattern: str
    queue: list[_Message] = field(default_factory=list)
    orphans: int = 0
    foreign: list[str] = field(default_factory=list)
    room: bool | None = True
    """None: one can only see. A queue that was full has room after some fetches, or has not."""

    @property
    def files(self) -> int:
        return len(self.queue) + self.orphans


@dataclass
class _Dead:
    """A channel that nobody reads."""

    path: str  # an expression
    files: int
    process_runs: bool
    may_be_reaped: bool = False


class Broken(AssertionError):
    def __init__(self, requirement: str, what: str) -> None:
        super().__init__(what)
        self.requirement = requirement


Step = tuple[str, dict[str, Any]]  # a rule and what was drawn for it


@dataclass(frozen=True)
class Failure:
    error: Broken | DriverError
    steps: Sequence[Step]
    script: Sequence[str]
    base: str

    @property
    def requirement(self) -> str | None:
        """None: the driver failed, and nothing is known."""
        return self.error.requirement if isinstance(self.error, Broken) else None

    def __str__(self) -> str:
        script = "\n".join(self.script)
        return f"{self.error}\nreplay it with this script:\n\n{script}\n\nthe base:\n{self.base}"


def step(method: Callable[..., None]) -> Callable[..., None]:
    """Notes the call, so that it can be made again, or left out."""

    @functools.wraps(method)
    def noted(self: Lockstep, **drawn: Any) -> None:
        self.steps.append((method.__name__, drawn))
        method(self, **drawn)

    return noted


class Lockstep(RuleBasedStateMachine):
    """Every step is a line of Python, and so is every check that fails: together, the script.

    "base" is the kit's own publisher and subscriber; it stands in for what is not claimed.
    """

    command: ClassVar[Sequence[str]]
    roles: ClassVar[frozenset[str]]
    under: ClassVar[str | None]
    failures: ClassVar[list[Failure]]

    def __init__(self) -> None:
        super().__init__()
        self.closing = contextlib.ExitStack()
        directory = tempfile.TemporaryDirectory(
            prefix="pubsub-", dir=self.under, ignore_cleanup_errors=True
        )
        home = Path(self.closing.enter_context(directory), "base")
        self.script = [
            "import tempfile",
            "from pathlib import Path",
            f"command = {list(self.command)}",
            "home = Path(tempfile.mkdtemp(), 'base')",
        ]
        self.variables: dict[str, Any] = {"command": self.command, "home": home}
        self.steps: list[Step] = []
        self.failure: Failure | None = None
        self.channels: list[_Channel] = []
        self.dead: list[_Dead] = []
        self.drivers: set[str] = set()
        self.in_base: list[str] = ["'tmp'"]
        self.in_tmp: list[str] = []
        self.made = 0
        self.do("open", BEGINNING)

    # Doing and looking.

    def do(self, operation: str, line: str) -> Any:
        """The value of `it` after this line."""
        self.script.append(line)
        try:
            exec(line, self.variables)
        except DriverError as error:
            self._fail(error)
        except InvalidMessage as error:
            self._fail(Broken("GUAR-3", f"{line}: {error}"))
        except Rejected as error:
            meant = {"publish": "GUAR-1", "fetch": "GUAR-2"}
            lost = "GUAR-3" if error.code == "invalid-message" else None
            name = lost or meant.get(operation) or OPERATIONS[operation][1]
            self._fail(Broken(name, f"{line}: expected success, found {error}"))
        return self.variables.get("it")

    def check(self, requirement: str, expression: str) -> None:
        """`expression` compares: LEFT == RIGHT, or sets, LEFT <= RIGHT."""
        if not eval(expression, self.variables):
            sides = re.split(" == | <= ", expression)
            told = [f"{eval(side, self.variables)!r}"[:200] for side in sides]
            found = f"the sides are {' and '.join(told)}"
            self.script.append(f"assert {expression}, {found!r}")
            self._fail(Broken(requirement, f"expected {expression}; {found}"))

    def _fail(self, error: Broken | DriverError) -> None:
        tree = self.variables["base"].tree()
        self.failure = Failure(error, list(self.steps), list(self.script), tree)
        self.failures.append(self.failure)
        raise error

    def fresh(self, letter: str) -> str:
        self.made += 1
        return f"{letter}{self.made}"

    def has_channel(self) -> bool:
        return bool(self.channels)

    def _channel(self, which: int) -> _Channel:
        return self.channels[which % len(self.channels)]

    def started(self, party: str, role: str) -> str:
        """The party; the kit itself for a role that the drivers do not have."""
        if party == "base" or role not in self.roles:
            return "base"
        if party not in self.drivers:
            self.do("open", f"{party} = Driver(command, home)")
            self.closing.callback(self._end, party)
            self.drivers.add(party)
        return party

    def _end(self, party: str) -> None:
        if self.failure:
            self.variables[party].kill()
        self.do("close", f"{party}.close()")

    def look(self, operation: str) -> None:
        """What is on the disk is what the model knows, no less and no more."""
        gone, left = OPERATIONS[operation]
        reaps = operation == "reap" or (operation == "open" and "reaper" in self.roles)  # REAP-1
        if reaps:
            gone, _ = OPERATIONS["reap"]
        living = [f"{channel.name}.directory.name" for channel in self.channels]
        dead = [f"{dead.path}.name" for dead in self.dead if not dead.may_be_reaped]
        maybe = [f"{dead.path}.name" for dead in self.dead if dead.may_be_reaped]
        reaped = "REAP-5" if reaps else gone
        for requirement, stay in ((gone, living), (reaped, dead), ("BASE-10", self.in_base)):
            self.check(requirement, f"{_set(stay)} <= names(base.path)")
        allowed = [*living, *dead, *maybe, *self.in_base]
        self.check(left, f"names(base.path) <= {_set(allowed)}")
        staged = "REAP-8" if reaps else gone
        self.check(staged, f"{_set(self.in_tmp)} <= names(base.tmp)")
        self.check(left, f"names(base.tmp) <= {_set(self.in_tmp)}")
        for channel in self.channels:
            others = "FETCH-18" if reaps and channel.owner == "base" else gone
            self.check(others, f"messages({channel.name}) == {channel.files}")
            stay = ["'queue'", *channel.foreign]
            mine = gone if reaps else "CHAN-3"
            self.check(mine, f"{_set(stay)} <= names({channel.name}.directory)")

    # The rules.

    which = st.integers(0, 7)
    drivers_only = st.sampled_from(("d1", "d2"))
    parties = st.sampled_from(("base", "d1", "d2"))
    patterns = st.sampled_from(PATTERNS)

    @initialize(first=patterns, second=patterns, third=patterns)
    def begin(self, first: str, second: str, third: str) -> None:
        """Rules are drawn evenly, or not at all; without this, half the schedules have nothing
        to publish to."""
        for party, pattern in (("d1", first), ("d2", second), ("base", third)):
            self.open(party=party, pattern=pattern)

    @rule(party=parties, pattern=patterns)
    @step
    def open(self, party: str, pattern: str) -> None:
        party = self.started(party, "subscriber")
        channel = _Channel(self.fresh("c"), party, pattern)
        # The kit's own looks like one of another container: its process is not there.
        pid = f", pid={NOBODY}" if party == "base" else ""
        self.do("open", f"{channel.name} = {party}.open({pattern!r}{pid})")
        if party != "base":  # REAP-1
            for dead in self.dead:
                dead.may_be_reaped |= not dead.process_runs
        self.channels.append(channel)
        self.look("open")

    @precondition(has_channel)
    @rule(which=which)
    @step
    def close(self, which: int) -> None:
        self._close(self._channel(which))

    def _close(self, channel: _Channel) -> None:
        self.channels.remove(channel)
        if channel.owner == "base":
            self.do("close", f"{channel.name}.close()")
        else:
            self.do("close", f"{channel.owner}.close_channel({channel.name})")
        self.look("close")

    @rule(party=parties, topic=st.sampled_from(TOPICS))
    @step
    def publish(self, party: str, topic: str) -> None:
        self._publish(party, topic, 1)

    @rule(party=parties, topic=st.sampled_from(TOPICS), repeat=st.sampled_from(LENGTHS))
    @step
    def publish_at_length(self, party: str, topic: str, repeat: int) -> None:
        self._publish(party, topic, repeat)

    def _publish(self, party: str, topic: str, repeat: int) -> None:
        party = self.started(party, "publisher")
        self.made += 1
        content = f"b'{self.made}:'" + (f" * {repeat}" if repeat != 1 else "")
        message = _Message(self.made, topic, content, party)
        count = self.do("publish", f"it = {party}.publish({message.fields})")
        reached = 0
        for channel in self.channels:
            expected: bool | None = False
            if matches(channel.pattern, topic):
                expected = channel.room
                if expected is None:
                    files = messages(self.variables[channel.name])
                    expected = files == channel.files + 1
            if expected:
                reached += 1
                channel.queue.append(message)
            rule = "GUAR-5" if expected else "GUAR-6"
            if not expected and matches(channel.pattern, topic):
                rule = "PUB-10"
            self.check(rule, f"messages({channel.name}) == {channel.files}")
        for dead in self.dead:
            if not dead.may_be_reaped:
                self.check("PUB-10", f"len(names({dead.path})) == {dead.files}")
        if party != "base":
            assert isinstance(count, int)
            self.check("GUAR-1", f"it == {reached}")
        self.look("publish")

    @precondition(has_channel)
    @rule(which=which)
    @step
    def fetch(self, which: int) -> None:
        self._fetch(self._channel(which))

    @precondition(has_channel)
    @rule(which=which)
    @step
    def drain(self, which: int) -> None:
        self._drain(self._channel(which))

    def _drain(self, channel: _Channel) -> None:
        while self._fetch(channel) is not None:
            pass

    def _fetch(self, channel: _Channel) -> object:
        own = channel.owner == "base"
        line = f"{channel.name}.fetch()" if own else f"{channel.owner}.fetch({channel.name})"
        found = self.do("fetch", f"it = {line}")
        # Of a message that its queue did not take, the kit gets nothing.
        count = "GUAR-1" if own else "GUAR-2"
        if channel.queue:
            due = channel.queue.pop(0)
            self.check(count, "(it is None) == False")
            later = {message.number: message.publisher for message in channel.queue}
            requirement = "GUAR-3"
            if (number := found.headers.get("n")) in later:
                requirement = "GUAR-4" if own or later[number] == due.publisher else "FETCH-1"
            fields = f"({due.fields})"
            self.check(requirement, f"(it.topic, it.content, dict(it.headers)) == {fields}")
            channel.room = channel.room or None
        else:
            self.check(count, "it == None")
            channel.room = True
        self.check("FETCH-4", f"messages({channel.name}) == {channel.files}")
        self.look("fetch")
        return found

    @precondition(has_channel)
    @rule(which=which)
    @step
    def fill(self, which: int) -> None:
        channel = self._channel(which)
        self.do("open", f"fill({channel.name}.directory)")
        channel.room = False

    @precondition(has_channel)
    @rule(which=which, what=st.sampled_from(("id", "orphan", "file", "directory")))
    @step
    def disturb(self, which: int, what: str) -> None:
        """Ids without a file, a file without an id, or what is no business of version 1."""
        channel = self._channel(which)
        directory = f"{channel.name}.directory"
        if what == "id":
            if channel.room:
                self.do("open", f"enqueue({directory}, fresh_id())")
        elif what == "orphan":
            self.do("open", f"put({directory}, a_message(), enqueue=False)")
            channel.orphans += 1
        else:
            name = repr(self.fresh("lane-"))
            made = "mkdir" if what == "directory" else "touch"
            self.do("open", f"({directory} / {name}).{made}()")
            channel.foreign.append(name)

    @rule(what=st.sampled_from((*LITTER, "d1", "d2")))
    @step
    def litter(self, what: str) -> None:
        """What others leave in the base; a driver leaves its channels if it is killed."""
        name = self.fresh("x")
        if what not in LITTER:
            self._kill(what)
        elif what in ("dead", "abandoned"):
            runs = what == "abandoned"
            process = "os.getpid()" if runs else NOBODY
            self.do("open", f"{name} = base.dead_channel('+', {process})")
            self.dead.append(_Dead(name, 1, runs))
        elif what == "staged":
            self.do("open", f"{name} = base.stage(str(fresh_id()), b'')")
            self.in_tmp.append(f"{name}.name")
        else:
            entry = f"+_{name:0>12}_{self.made}" if what == "no FIFO" else name
            made = "touch" if what == "file" else "mkdir"
            self.do("open", f"{name} = home / {entry!r}; {name}.{made}()")
            if what == "no FIFO":
                self.do("open", f"({name} / 'queue').touch()")
            self.in_base.append(f"{name}.name")

    @precondition(lambda self: "reaper" in self.roles)
    @rule(party=drivers_only)
    @step
    def reap(self, party: str) -> None:
        self.do("reap", f"{self.started(party, 'reaper')}.reap()")
        self.dead = [dead for dead in self.dead if dead.process_runs]
        self.look("reap")

    def _kill(self, party: str) -> None:
        """Its channels stay behind, dead; another process takes its place when it is needed."""
        if party not in self.drivers:
            return
        self.do("open", f"{party}.kill(); {party}.close()")
        self.drivers.remove(party)
        for channel in [channel for channel in self.channels if channel.owner == party]:
            self.channels.remove(channel)
            files = 1 + channel.files + len(channel.foreign)
            self.dead.append(_Dead(f"{channel.name}.directory", files, False))

    def teardown(self) -> None:
        with self.closing:
            if not self.failure:
                for channel in list(self.channels):
                    self._drain(channel)
                    self._close(channel)


def again(machine: type[Lockstep], steps: Sequence[Step]) -> Failure | None:
    """How these steps fail, those left out that ask for a channel where there is none."""
    made = machine()
    with contextlib.suppress(Broken, DriverError):
        try:
            for name, drawn in steps:
                if made.channels or "which" not in drawn:
                    getattr(made, name)(**drawn)
        finally:
            made.teardown()
    return made.failure


def shortened(machine: type[Lockstep], failure: Failure) -> Failure:
    """What is left when no step can be struck out, or the time is over.

    Hypothesis would shrink it too; but it tries other things first, and each try starts drivers.
    """
    deadline = time.monotonic() + SHORTEN_SECONDS
    size = len(failure.steps) // 2
    while size:
        found = False
        for start in range(len(failure.steps) - size, -1, -size):
            if time.monotonic() > deadline:
                return failure
            steps = [*failure.steps[:start], *failure.steps[start + size :]]
            shorter = again(machine, steps)
            if shorter and shorter.requirement == failure.requirement:
                failure, found = shorter, True
        size = size if found and size == 1 else size // 2
    return failure


@functools.cache
def failure(command: str, under: str | None, seed: int) -> Failure | None:
    """A schedule that fails."""

    @hypothesis.seed(seed)
    class Machine(Lockstep):
        pass

    Machine.command = shlex.split(command)
    Machine.under = under
    with tempfile.TemporaryDirectory(dir=under) as home, Driver(Machine.command, Path(home)) as one:
        Machine.roles = one.hello.roles
    Machine.failures = []
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=SCHEDULES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except Exception:  # hypothesis's own account of it, which may be that it does not fail again
        if not Machine.failures:
            raise
        return shortened(Machine, Machine.failures[0])
    return None
