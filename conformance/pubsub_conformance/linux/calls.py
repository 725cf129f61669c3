"""What strace writes, as calls and stops."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
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


_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PATH = re.compile(rf"(?:(?:AT_FDCWD|\d+)<([^>]*)>, *)?{_STRING.pattern}")
_CALL = re.compile(
    r"(?P<pid>\d+) +(?P<name>\w+)\((?P<args>.*)\) += (?P<result>-?\d+|\?)(?:<.*>)?"
    r"(?: (?P<errno>E[A-Z0-9]+) \(.*?\))?(?P<injected> \(INJECTED\))?.*"
)
_UNFINISHED = re.compile(r"(?P<pid>\d+) +(?P<begun>\w+\(.*?) *<unfinished \.\.\.>")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed> ?(?P<rest>.*)")
_SIGNAL = re.compile(r"(?P<pid>\d+) +--- SIGSTOP \{.*")
_STOPPED = re.compile(r"(?P<pid>\d+) +--- stopped by SIGSTOP ---")


def _octets(text: str) -> bytes:
    """The octets of a string that strace wrote with the escapes of C, which Python shares."""
    octets = ast.literal_eval(f'b"{text}"')
    assert isinstance(octets, bytes)
    return octets


def parse(log: str) -> list[Call]:
    """The calls of a log, in the order in which they ended."""
    return [event for event in events(log) if isinstance(event, Call)]


def events(log: str) -> Iterator[Call | int]:
    """The calls, and at each stop the id of the stopped thread."""
    begun: dict[str, str] = {}
    signalled: set[str] = set()
    for line in log.splitlines():
        if unfinished := _UNFINISHED.fullmatch(line):
            begun[unfinished["pid"]] = unfinished["begun"]
            continue
        if resumed := _RESUMED.fullmatch(line):
            line = f"{resumed['pid']} {begun.pop(resumed['pid'], '')}{resumed['rest']}"
        if call := _CALL.fullmatch(line):
            yield Call(
                int(call["pid"]),
                call["name"],
                call["args"],
                None if call["result"] == "?" else int(call["result"]),
                call["errno"],
                call["injected"] is not None,
            )
        elif sent := _SIGNAL.fullmatch(line):
            signalled.add(sent["pid"])
        elif (stopped := _STOPPED.fullmatch(line)) and stopped["pid"] in signalled:
            signalled.remove(stopped["pid"])  # strace may report a stop twice
            yield int(stopped["pid"])
