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

BIRTHS = ("clone", "clone3", "fork", "vfork")
"""The calls that make a thread or a process."""

MORE = 32
"""How many descriptors more than now a driver may have open in one request of a test."""

_PLACES = ("/dev/fd", "/proc/self/fd", "/proc/thread-self/fd")

_LINE = re.compile(r"(?P<thread>\d+) +(?P<text>.*)")
_UNFINISHED = re.compile(r"(?P<begun>.*?) *<unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed> ?(?P<rest>.*)")
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
        self._threads = {
            thread: process for process in self._opened for thread in _threads(process)
        }

    def helpers(self, log: str) -> set[int]:
        """The ids of the threads of all helpers that the log shows."""
        threads, _ = self._families(log)
        return {thread for thread, process in threads.items() if process not in self._opened}

    def _families(self, log: str) -> tuple[dict[int, int], dict[int, int]]:
        """The process of each thread, and the parent of each process that began meanwhile."""
        threads = dict(self._threads)
        parents: dict[int, int] = {}
        for thread, text in _calls(log):
            if birth := _BIRTH.fullmatch(text):
                child, parent = int(birth["child"]), threads.get(thread, thread)
                if "CLONE_THREAD" in birth["flags"]:
                    threads[child] = parent
                else:
                    threads[child], parents[child] = child, parent
        return threads, parents

    def resolve(self, log: str) -> str:
        """The log, with the path of the directory in the place of each `/proc/…/fd/N`."""
        if "/fd/" not in log:
            return log
        threads, parents = self._families(log)
        opened = {process: dict(paths) for process, paths in self._opened.items()}
        begun: dict[int, str] = {}
        lines = []
        for line in log.splitlines():
            if found := _LINE.fullmatch(line):
                thread, text = int(found["thread"]), found["text"]
                process = threads.get(thread, thread)
                if process not in opened:
                    opened[process] = dict(opened.get(parents.get(process, 0), {}))
                text = _resolved(text, process, opened)
                lines.append(f"{thread} {text}")
                if unfinished := _UNFINISHED.fullmatch(text):
                    begun[thread] = text = unfinished["begun"]
                elif resumed := _RESUMED.fullmatch(text):
                    text = begun.pop(thread, "") + resumed["rest"]
                _note(text, process, opened)
        return "".join(f"{line}\n" for line in lines)


def _calls(log: str) -> Iterator[tuple[int, str]]:
    """The thread and the text of each call that ended."""
    begun: dict[int, str] = {}
    for line in log.splitlines():
        if found := _LINE.fullmatch(line):
            thread, text = int(found["thread"]), found["text"]
            if unfinished := _UNFINISHED.fullmatch(text):
                begun[thread] = unfinished["begun"]
                continue
            if resumed := _RESUMED.fullmatch(text):
                text = begun.pop(thread, "") + resumed["rest"]
            yield thread, text


def _resolved(text: str, process: int, opened: dict[int, dict[int, str]]) -> str:
    def directory(found: re.Match[str]) -> str:
        owner = int(found["process"] or process)
        path = opened.get(owner, {}).get(int(found["number"]))
        return f'"{path}' if path else found[0]

    return _THROUGH.sub(directory, text)


def _note(text: str, process: int, opened: dict[int, dict[int, str]]) -> None:
    """Note where the descriptors lead that a call shows, among them the one that it opened."""
    paths = opened[process]
    for found in _DESCRIPTOR.finditer(_STRING.sub('""', text)):
        paths[int(found["number"])] = found["path"]
    if renamed := _RENAME.fullmatch(text):
        sides = renamed.group(1, 2), renamed.group(3, 4)
        old, new = (name if name.startswith("/") else f"{at}/{name}" for at, name in sides)
        for paths in opened.values():
            for number, path in paths.items():
                if f"{path}/".startswith(f"{old}/"):
                    paths[number] = new + path[len(old) :]


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
