"""The processes under strace: their descriptors, and which of them are only helpers.

A language without `openat` reaches the entry NAME of an open directory as `/proc/self/fd/N/NAME`.
strace shows this path as the program wrote it. `Processes.resolve` writes the directory's path in
place of the descriptor: the path at this call, for the program may close the descriptor later.

A *helper* is a process that the driver starts, such as `mkfifo`. Its calls are not the driver's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from .calls import LINE, Halves

BIRTHS = ("clone", "clone3", "fork", "vfork")
"""The calls that make a thread or a process."""

MORE = 32
"""How many descriptors more than now a driver may have open in one request of a test."""

_PLACES = ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")

_BIRTH = re.compile(rf"(?:{'|'.join(BIRTHS)})\((?P<flags>.*)\) += (?P<child>\d+).*")
_RENAME = re.compile(
    r'rename(?:at2?)?\((?:[^"]*<([^>]*)>, )?"((?:[^"\\]|\\.)*)", (?:[^"]*<([^>]*)>, )?'
    r'"((?:[^"\\]|\\.)*)".*\) += 0'
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_DESCRIPTOR = re.compile(r"\b(?P<number>\d+)<(?P<path>/[^>]*)>")
_THROUGH = re.compile(
    r'"(?:/dev|/proc/(?:(?P<process>\d+)|self|thread-self))(?:/task/\d+)?/fd/(?P<number>\d+)(?=[/"])'
)


def spellings(processes: Iterable[int], name: str) -> Iterator[str]:
    """The paths by which the processes may reach an entry of any directory that they have open.

    strace compares paths as they are written. Nobody knows the numbers of the descriptors that a
    process will open; the system gives each the lowest number that is free.
    """
    processes = list(processes)
    highest = max((number for process in processes for number in _opened(process)), default=2)
    for place in (*_PLACES, *(f"/proc/{process}/fd" for process in processes)):
        for number in range(highest + 1 + MORE):
            yield f"{place}/{number}/{name}"


class Processes:
    """Processes that strace has just attached to, and that are idle."""

    def __init__(self, processes: Iterable[int]) -> None:
        self._opened = {process: _opened(process) for process in processes}
        """The descriptors of each process."""
        self._drivers = set(self._opened)
        self._threads = {
            thread: process for process in self._opened for thread in _threads(process)
        }
        """The process of each thread."""
        self._halves = Halves()
        self._hit: set[int] = set()
        """The threads of which a call was made to fail, or that were killed."""

    @property
    def helpers(self) -> set[int]:
        """The ids of the threads of all helpers that the log has shown so far."""
        processes = self._threads.items()
        return {thread for thread, process in processes if process not in self._drivers}

    @property
    def helper_was_hit(self) -> bool:
        """Whether an injection has made a call of a helper fail, or killed a helper."""
        return bool(self._hit & self.helpers)

    def resolve(self, line: str) -> str:
        """The next line of the log, with a directory's path in the place of each `/proc/…/fd/N`."""
        found = LINE.fullmatch(line)
        if not found:
            return line
        thread, text = int(found["thread"]), found["text"]
        if thread not in self._threads:
            self._adopt(thread)
        process = self._threads.get(thread, thread)
        text = _resolved(text, process, self._opened)
        call, _ = self._halves.join(thread, text)
        if birth := _BIRTH.fullmatch(call):
            self._add(int(birth["child"]), process, birth["flags"])
        if "(INJECTED)" in text or text.startswith("+++ killed by SIGKILL"):
            self._hit.add(thread)
        _note(call, self._opened.setdefault(process, {}))
        if renamed := _RENAME.fullmatch(call):
            self._rename(renamed)
        return f"{thread} {text}"

    def _adopt(self, thread: int) -> None:
        """Add a thread that works before the call that made it has ended."""
        for parent, call in self._halves.begun.items():
            if call.startswith(tuple(f"{name}(" for name in BIRTHS)):
                self._add(thread, self._threads.get(parent, parent), call)
                return

    def _add(self, child: int, parent: int, flags: str) -> None:
        """Add a thread of this process, or a child of it."""
        if child not in self._threads:
            self._threads[child] = parent if "CLONE_THREAD" in flags else child
            self._opened.setdefault(self._threads[child], dict(self._opened.get(parent, {})))

    def _rename(self, renamed: re.Match[str]) -> None:
        sides = renamed.group(1, 2), renamed.group(3, 4)
        old, new = (name if name.startswith("/") else f"{at}/{name}" for at, name in sides)
        for paths in self._opened.values():
            for number, path in paths.items():
                if f"{path}/".startswith(f"{old}/"):
                    paths[number] = new + path[len(old) :]


def _resolved(text: str, process: int, opened: dict[int, dict[int, str]]) -> str:
    def directory(found: re.Match[str]) -> str:
        owner = int(found["process"] or process)
        path = opened.get(owner, {}).get(int(found["number"]))
        return f'"{path}' if path else found[0]

    return _THROUGH.sub(directory, text)


def _note(call: str, paths: dict[int, str]) -> None:
    """Note where the descriptors lead that a call shows, among them the one that it opened."""
    for found in _DESCRIPTOR.finditer(_STRING.sub('""', call)):
        paths[int(found["number"])] = found["path"]


def _threads(process: int) -> list[int]:
    return [int(thread.name) for thread in Path(f"/proc/{process}/task").iterdir()]


def _opened(process: int) -> dict[int, str]:
    """The descriptors of a process that lead to files, with their paths as strace writes them."""
    opened = {}
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):  # it was that of this listing, or has just been closed
            path = os.fsencode(os.readlink(entry)).removesuffix(b" (deleted)")
            if path.startswith(b"/"):
                opened[int(entry.name)] = "".join(map(_written, path))
    return opened


def _written(octet: int) -> str:
    printable = 0x20 <= octet < 0x7F and chr(octet) not in '"\\<>'
    return chr(octet) if printable else f"\\x{octet:02x}"
