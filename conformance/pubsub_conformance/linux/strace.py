"""Forced interleavings: a driver in any language, watched, disturbed and stopped by strace.

strace attaches to a driver that runs already, right before the request under test, so that the
n-th call is the n-th of this request. (It counts by thread and by the call's name.) A signal is
delivered when the call it belongs to has been done: `stop(LINK)` stops a driver between its link
and whatever it does next. A call that is made to fail is not done.

Where strace cannot be used (not Linux, not installed, no permission), this raises CannotTrace.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..driver import Driver
from . import Unavailable

ATTACH_SECONDS = 20.0
"""From the start of strace to its word that it has attached. Milliseconds on an idle machine."""

STOP_SECONDS = 20.0
"""From the start of a request to the call at which it is to stop; beyond any reply's time."""

DETACH_SECONDS = 10.0
"""For strace to let go and end."""

POLL_SECONDS = 0.002
"""Between two looks at what strace wrote."""

# Families of calls: which of its names an implementation, a language or a processor uses is open.
OPEN = ("open", "openat", "openat2")
LINK = ("link", "linkat")
RENAME = ("rename", "renameat", "renameat2")
UNLINK = ("unlink", "unlinkat")
MAKE_FIFO = ("mknod", "mknodat")
MAKE_DIRECTORY = ("mkdir", "mkdirat")
LIST = ("getdents", "getdents64")
LOOK = ("stat", "lstat", "newfstatat", "fstatat64", "statx", "access", "faccessat", "faccessat2")
WRITE = ("write", "writev", "pwrite64", "pwritev")
SLEEP = (
    *("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"),
    *("nanosleep", "clock_nanosleep", "futex", "rt_sigtimedwait"),
)


class CannotTrace(Unavailable):
    """strace cannot watch or disturb this driver, or the driver made no such call; why."""


P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A system call that was done, failed, or was made to fail."""

    pid: int  # of the thread
    name: str
    args: str
    result: int | None
    errno: str | None
    injected: bool

    @property
    def paths(self) -> list[Path]:
        """The paths among the arguments, each led by the directory it is relative to."""
        return [Path(at or "", os.fsdecode(_octets(text))) for at, text in _PATH.findall(self.args)]

    @property
    def descriptor(self) -> Path | None:
        """What the descriptor stands for that is the first argument."""
        found = re.match(r"\d+<([^>]*)>", self.args)
        return Path(found[1]) if found else None

    @property
    def data(self) -> bytes:
        """The first string among the arguments; cut if it is long."""
        found = _STRING.search(self.args)
        return _octets(found[1]) if found else b""

    @property
    def flags(self) -> set[str]:
        """The `O_…` of an open."""
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
    """What a string of strace's stands for: its escapes are C's, and so Python's."""
    octets = ast.literal_eval(f'b"{text}"')
    assert isinstance(octets, bytes)
    return octets


def parse(log: str) -> list[Call]:
    """The calls of a log, in the order in which they ended."""
    return [event for event in _events(log) if isinstance(event, Call)]


def _events(log: str) -> Iterator[Call | int]:
    """The calls, and at each stop the thread that it hit."""
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
            signalled.remove(stopped["pid"])  # strace may tell a stop twice
            yield int(stopped["pid"])


def stop(calls: Sequence[str], nth: int | None = 1) -> str:
    """Stop the driver after its n-th such call, or after each (None)."""
    return _inject(calls, "signal=STOP", nth)


def fail(calls: Sequence[str], errno: str, nth: int | None = 1, *, then_stop: bool = False) -> str:
    """Have the n-th such call, or all of them (None), fail without being done."""
    return _inject(calls, f"error={errno}" + ":signal=STOP" * then_stop, nth)


def _inject(calls: Sequence[str], what: str, nth: int | None) -> str:
    return f"inject={_set(calls)}:{what}" + (f":when={nth}" if nth else "")


def _set(calls: Sequence[str]) -> str:
    return ",".join(f"?{name}" for name in calls)  # ?: not every processor has every call


class Trace:
    """A driver under strace."""

    def __init__(self, driver: Driver, log: Path) -> None:
        self._driver = driver
        self._log = log
        self._worker = ThreadPoolExecutor(1)
        self._begun: Future[object] | None = None
        self._stops = 0
        self._text: str | None = None  # once it has ended

    def calls(self, *names: str) -> list[Call]:
        """The calls of these names (none: all calls) so far; after the trace, all it saw."""
        return [call for call in parse(self._read()) if not names or call.name in names]

    def begin(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Make a request of the driver that can be stopped meanwhile."""
        begun = self._worker.submit(request, *args, **kwargs)
        self._begun = begun  # type: ignore[assignment]  # Future is invariant
        return begun

    def stopped(self) -> Call:
        """Wait until the driver has stopped where it was told to: after which call.

        A request that comes to its end without that call leaves nothing to force: not run.
        """
        call = self._next_stop()
        if call is None:
            raise CannotTrace("the driver made no such call that strace could stop it at")
        return call

    def stops(self) -> Iterator[Call]:
        """Each stop until the request has ended; the driver goes on when the next is asked for."""
        while (call := self._next_stop()) is not None:
            yield call
            self.go_on()

    def _next_stop(self) -> Call | None:
        """The call after which the driver has stopped; None: the request has ended."""
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            ended = self._begun is not None and self._begun.done()
            if (call := self._stop()) is not None:
                return call
            if ended and self._begun:
                self._begun.result()
                return None
            if time.monotonic() > deadline:
                raise CannotTrace(f"the driver was not stopped within {STOP_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def _stop(self) -> Call | None:
        """The call before the stop that is waited for, once every thread has stopped."""
        stops = 0
        last: dict[int, Call] = {}
        for event in _events(self._read()):
            if isinstance(event, Call):
                last[event.pid] = event
                continue
            stops += 1
            if stops > self._stops and event in last and _all_stopped(event):
                self._stops = stops
                return last[event]
        return None

    def go_on(self) -> None:
        """Let a stopped driver go on."""
        with suppress(ProcessLookupError):  # it died: its request will tell
            os.killpg(self._driver.pid, signal.SIGCONT)

    def _read(self) -> str:
        if self._text is not None:
            return self._text
        try:
            return self._log.read_text("ascii", "replace")
        except FileNotFoundError:
            return ""

    def _end(self) -> None:
        self._text = self._read()
        self.go_on()
        self._worker.shutdown()


def _all_stopped(thread: int) -> bool:
    states = [
        stat.read_text("ascii", "replace").rpartition(")")[2].split()[0]
        for stat in Path(f"/proc/{thread}/task").glob("*/stat")
    ]
    return bool(states) and all(state in "tT" for state in states)


@contextmanager
def traced(driver: Driver, *injections: str, paths: Sequence[str | Path] = ()) -> Iterator[Trace]:
    """Attach strace to a driver (all processes of its group, all threads) for what is inside.

    `injections` are made by `stop` and `fail`. With `paths`, only calls that name one of them, as
    it is written or from a descriptor of the base directory, or use a descriptor of one, are seen,
    counted and disturbed.
    """
    if sys.platform != "linux" or not shutil.which("strace"):
        raise CannotTrace("strace is not there, and so nothing to force an interleaving with")
    with tempfile.TemporaryDirectory() as directory:
        log, said = Path(directory, "log"), Path(directory, "said")
        processes = _group(driver.pid)
        # -y: descriptors with their paths; -x: what is not printable in hexadecimal
        command = ["strace", "-f", "-y", "-x", "-s", "64", "-o", str(log)]
        command += ["-e", f"trace=%file,%desc,{_set(SLEEP)}"]
        command += [word for injection in injections for word in ("-e", injection)]
        command += [word for path in paths for spelt in _spellings(path) for word in ("-P", spelt)]
        command += [word for process in processes for word in ("-p", str(process))]
        trace = Trace(driver, log)
        with said.open("wb") as stderr:
            strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            _wait_until_attached(strace, said, processes)
            yield trace
        finally:
            strace.terminate()  # it detaches, and what it held goes on
            try:
                strace.wait(DETACH_SECONDS)
            except subprocess.TimeoutExpired:
                strace.kill()
                strace.wait()
            trace._end()


def _spellings(path: str | Path) -> Iterator[str]:
    yield str(path)
    if isinstance(path, Path):
        yield f"{path.parent.name}/{path.name}"


def _wait_until_attached(strace: subprocess.Popen[bytes], said: Path, processes: list[int]) -> None:
    deadline = time.monotonic() + ATTACH_SECONDS
    while time.monotonic() < deadline:
        ended = strace.poll() is not None
        words = said.read_text("utf-8", "replace")
        if ended:
            break
        if all(re.search(rf"Process {process} attached", words) for process in processes):
            return
        time.sleep(POLL_SECONDS)
    raise CannotTrace(
        f"strace cannot attach (try sysctl kernel.yama.ptrace_scope=0): {words.strip()}"
    )


def _group(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(int(entry.name)) == leader:
                    found.append(int(entry.name))
    return sorted(found)
