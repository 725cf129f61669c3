"""What strace writes, as calls and stops."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """A system call that was done, failed, or was made to fail."""

    pid: int
    """The thread's id."""
    name: str
    args: str
    result: int | None
    errno: str | None
    injected: bool

    @property
    def paths(self) -> list[Path]:
        """The paths among the arguments, each joined to the directory that it is relative to."""
        return [Path(at or "", os.fsdecode(_octets(text))) for at, text in _PATH.findall(self.args)]

    @property
    def descriptor(self) -> Path | None:
        """The file of the descriptor that is the first argument, if it is one."""
        found = re.match(r"\d+<([^>]*)>", self.args)
        return Path(found[1]) if found else None

    @property
    def data(self) -> bytes:
        """The first string among the arguments. strace cuts a long one."""
        found = _STRING.search(self.args)
        return _octets(found[1]) if found else b""

    @property
    def flags(self) -> set[str]:
        """The flags `O_…` of an open."""
        return set(re.findall(r"\bO_[A-Z]+\b", _STRING.sub("", self.args)))

    def __str__(self) -> str:
        return f"{self.name}({self.args}) = {self.errno or self.result}"


@dataclass(frozen=True)
class Begun:
    """A thread makes a system call, which has not ended."""

    pid: int
    name: str


@dataclass(frozen=True)
class Signalled:
    """A thread got SIGSTOP, which is to stop its process."""

    pid: int


@dataclass(frozen=True)
class Stopped:
    """A thread has stopped."""

    pid: int


@dataclass(frozen=True)
class Continued:
    """A process that was stopped goes on: one of its threads got SIGCONT."""

    pid: int


Event = Begun | Call | Signalled | Stopped | Continued

LINE = re.compile(r"(?P<thread>\d+) +(?P<text>.*)")

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PATH = re.compile(rf"(?:(?:AT_FDCWD|\d+)<([^>]*)>, *)?{_STRING.pattern}")
_BEGUN = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\(")
_CALL = re.compile(
    r"(?P<pid>\d+) +(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+|\?)(?:<.*>)?"
    r"(?: (?P<errno>E[A-Z0-9]+) \(.*?\))?(?P<injected> \(INJECTED\))?.*"
)
_UNFINISHED = re.compile(r"(?P<begun>\w+\(.*?) *<unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed> ?(?P<rest>.*)")
_SIGNAL = re.compile(r"(?P<pid>\d+) +--- (?P<name>SIGSTOP|SIGCONT) \{.*")
_STOPPED = re.compile(r"(?P<pid>\d+) +--- stopped by SIGSTOP ---")


def _octets(text: str) -> bytes:
    """The octets of a string that strace wrote with the escapes of C, which Python shares."""
    # Not by `ast`: in Python 3.11 two threads that parse at once end in a SystemError.
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")


class Halves:
    """The calls that a call of another thread interrupts in the log: each has two lines there."""

    def __init__(self) -> None:
        self.begun: dict[int, str] = {}
        """The first half, by thread."""

    def join(self, thread: int, text: str) -> tuple[str, bool]:
        """What is known of the call in the next line, and whether the call has ended."""
        if unfinished := _UNFINISHED.fullmatch(text):
            self.begun[thread] = unfinished["begun"]
            return unfinished["begun"], False
        if resumed := _RESUMED.fullmatch(text):
            return self.begun.pop(thread, "") + resumed["rest"], True
        return text, True


def parse(text: str) -> list[Call]:
    """The calls of a whole log, in the order in which they ended."""
    log = Log()
    log.add(f"{text}\n")
    return log.calls()


class Log:
    """The log of strace, as it grows. `resolve` replaces its lines."""

    def __init__(self, resolve: Callable[[str], str] = str) -> None:
        self._resolve = resolve
        self.events: list[Event] = []
        self._line = ""
        """The last line, whose end strace has not written yet."""
        self._halves = Halves()
        self._at_work: set[int] = set()
        """The threads whose call has begun, and has not ended."""

    def calls(self) -> list[Call]:
        """The calls, in the order in which they ended."""
        return [event for event in self.events if isinstance(event, Call)]

    def add(self, text: str) -> None:
        """Add what strace has written since the last time."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._add_line(self._resolve(line))
        self._note_begin(self._line)

    def _add_line(self, line: str) -> None:
        self._note_begin(line)
        if found := LINE.fullmatch(line):
            text, ended = self._halves.join(int(found["thread"]), found["text"])
            if not ended:
                return
            line = f"{found['thread']} {text}"
        if call := _CALL.fullmatch(line):
            thread = int(call["pid"])
            self._at_work.discard(thread)
            self.events.append(
                Call(
                    thread,
                    call["name"],
                    call["args"],
                    None if call["result"] == "?" else int(call["result"]),
                    call["errno"],
                    call["injected"] is not None,
                )
            )
        elif sent := _SIGNAL.fullmatch(line):
            kind = Signalled if sent["name"] == "SIGSTOP" else Continued
            self.events.append(kind(int(sent["pid"])))
        elif stopped := _STOPPED.fullmatch(line):
            self.events.append(Stopped(int(stopped["pid"])))

    def _note_begin(self, line: str) -> None:
        if (begun := _BEGUN.match(line)) and int(begun["pid"]) not in self._at_work:
            self._at_work.add(int(begun["pid"]))
            self.events.append(Begun(int(begun["pid"]), begun["name"]))
