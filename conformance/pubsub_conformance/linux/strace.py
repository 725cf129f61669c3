"""Forced interleavings: strace watches, disturbs and stops a driver in any language.

strace attaches to a running driver right before the request under test, so that the n-th call is
the n-th of this request. (strace counts by thread and by the call's name.) A signal is delivered
after its call was done: `stop(LINK)` stops a driver between its link and its next step. A call that
is made to fail is not done.

If strace cannot be used (not Linux, not installed, no permission), this raises CannotTrace.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from ..driver import Driver
from ..driver.group import running
from ..waiting import put_off, until
from . import Unavailable
from .calls import Call, Continued, Event, Log, Signalled, Stopped
from .last_calls import last_calls
from .processes import BIRTHS, Processes, spellings

ATTACH_SECONDS = 20.0
"""The time limit for strace to attach. It takes milliseconds on an idle machine."""

REPLY_SECONDS = 40.0
"""The time limit for a reply under strace. A busy machine took 10 s for a hundred repetitions."""

STOP_SECONDS = 50.0
"""The time limit for a request to come to its stop. It is longer than that of any reply."""

DETACH_SECONDS = 10.0
"""The time limit for strace to detach and end."""

POLL_SECONDS = 0.002
"""The time between two looks at the log of strace."""

CONTINUE_SECONDS = 0.5
"""How long a driver may take to go on before it is told again."""

# Families of calls. Which name occurs depends on implementation, language and processor.
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
    """strace cannot watch or disturb this driver, or the driver made no such call.

    The text is the reason.
    """


P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Injection:
    """A disturbance by strace."""

    option: str
    fails: float = math.inf
    """How many calls it may make fail."""


def stop(calls: Sequence[str], nth: int | None = 1) -> Injection:
    """The injection that stops the driver after its n-th such call, or after each one (None)."""
    return Injection(_inject(calls, "signal=STOP", nth), 0)


def fail(
    calls: Sequence[str], errno: str, nth: int | None = 1, *, then_stop: bool = False
) -> Injection:
    """The injection that makes the n-th such call, or all of them (None), fail.

    With `then_stop` the driver is stopped after the call.
    """
    option = _inject(calls, f"error={errno}" + ":signal=STOP" * then_stop, nth)
    return Injection(option, 1 if nth else math.inf)


def _inject(calls: Sequence[str], what: str, nth: int | None) -> str:
    return f"inject={_set(calls)}:{what}" + (f":when={nth}" if nth else "")


def _set(calls: Sequence[str]) -> str:
    return ",".join(f"?{name}" for name in calls)  # ?: not every processor has every call


class Request(Generic[T]):
    """A request that a driver under strace works on while the test goes on."""

    def __init__(self, trace: Trace, request: Callable[[], T]) -> None:
        self._trace = trace
        self._request = request
        self._answer: T
        self._error: BaseException | None = None
        self._done = False
        # No future: it has a lock, which the time limit of a test would leave held.
        self._thread = threading.Thread(target=self._make, daemon=True)
        with put_off():
            self._thread.start()

    def _make(self) -> None:
        try:
            self._answer = self._request()
        except BaseException as error:
            self._error = error
        self._done = True

    def done(self) -> bool:
        """Whether the driver has answered."""
        return self._done

    def wait(self) -> None:
        """Wait for the answer, for a moment."""
        self._thread.join(POLL_SECONDS)

    def result(self) -> T:
        """Wait for the answer, past every further stop. Raises the error of the request."""
        self._trace.pass_stops(self)
        while not self._done:  # the trace has ended
            self.wait()
        if self._error:
            raise self._error
        return self._answer


class Trace:
    """A driver under strace."""

    def __init__(self, driver: Driver, path: Path) -> None:
        self._driver = driver
        self._file = path.open("rb")
        """What strace writes. It is closed at the end of the trace."""
        self._processes = Processes(running(driver.pid))
        self._log = Log(self._processes.resolve)
        self._request: Request[Any] | None = None
        self._at = 0
        """The number of events that were looked at for stops."""
        self._last: dict[int, Call] = {}
        """The last call of each thread."""
        self._signalled: deque[int] = deque()
        """The threads that are to stop the driver, or have stopped it."""
        self._stopped: set[int] = set()
        """The threads that have stopped, and of which strace has reported nothing since."""

    def events(self) -> list[Event]:
        """What strace has seen so far."""
        self._read()
        return self._log.events

    def calls(self, *names: str) -> list[Call]:
        """The driver's calls of these names (all calls without names) that strace has seen so far.

        Those of a helper that the driver started are not among them.
        """
        self._read()
        helpers = self._processes.helpers
        calls = (call for call in self._log.calls() if not names or call.name in names)
        return [call for call in calls if call.pid not in helpers]

    def helper_was_hit(self) -> bool:
        """Whether an injection met a helper, before it began the program that it was to run."""
        self._read()
        return self._processes.helper_was_hit

    def last_calls(self) -> str:
        """The last calls that strace has seen, as text, and where the driver was stopped."""
        return last_calls(self.events(), self._processes.helpers)

    def begin(self, request: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Request[T]:
        """Make a request in a thread, so that the test goes on while the driver is stopped."""
        self._request = begun = Request(self, partial(request, *args, **kwargs))
        return begun

    def stopped(self) -> Call:
        """Wait until the driver is stopped. Returns the call after which it stopped.

        Raises CannotTrace if the request ends without such a call, and the error of the request.
        """
        call = self._next_stop()
        if call is None:
            raise CannotTrace("the driver made no such call that strace could stop it at")
        return call

    def stops(self) -> Iterator[Call]:
        """The call of each stop until the request ends. The driver goes on before the next one.

        If the caller ends this early, the driver is still stopped.
        """
        while (call := self._next_stop()) is not None:
            yield call
            self._pass_stop()

    def go_on(self) -> None:
        """Let a stopped driver go on. Waiting for the result passes every further stop.

        There may be some: strace counts the calls of each thread.
        """
        self._signalled.clear()
        self._continue()

    def pass_stops(self, request: Request[Any]) -> None:
        """Let the driver go on from each stop until the request ends, or the trace."""
        while not request.done() and not self._file.closed:
            if self._stop() is not None:
                self._pass_stop()
            request.wait()

    def _next_stop(self) -> Call | None:
        """The call after which the driver is stopped. None: the request has ended."""
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            ended = self._request is not None and self._request.done()
            if (call := self._stop()) is not None:
                return call
            if ended and self._request:
                self._request.result()
                return None
            if time.monotonic() > deadline:
                raise CannotTrace(f"the driver was not stopped within {STOP_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def _stop(self) -> Call | None:
        """The call after which a thread has stopped the driver, once every thread is stopped."""
        news = self.events()[self._at :]
        self._at += len(news)
        for event in news:
            # Each thread for itself: one may stop again before strace reports that another goes on.
            self._stopped.discard(event.pid)
            match event:
                case Call(pid):
                    self._last[pid] = event
                case Signalled(pid) if pid in self._last:
                    self._signalled.append(pid)
                case Stopped(pid):
                    self._stopped.add(pid)
        if self._signalled and _threads(self._signalled[0]) <= self._stopped:
            return self._last[self._signalled[0]]
        return None

    def _pass_stop(self) -> None:
        """Let the driver go on, unless another thread has stopped it at the same time."""
        self._signalled.popleft()
        if not self._signalled:
            self._continue()

    def _continue(self) -> None:
        """Send SIGCONT until strace reports it."""
        begin = len(self.events())
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and running(self._driver.pid):
            with suppress(ProcessLookupError):  # it died: its request reports that
                os.killpg(self._driver.pid, signal.SIGCONT)
            if until(lambda: self._has_continued(begin), CONTINUE_SECONDS):
                return

    def _has_continued(self, begin: int) -> bool:
        return any(isinstance(event, Continued) for event in self.events()[begin:])

    def _read(self) -> None:
        if not self._file.closed:
            self._log.add(self._file.read().decode("ascii", "replace"))

    def _end(self) -> None:
        self._read()
        self._file.close()
        with suppress(ProcessLookupError):
            os.killpg(self._driver.pid, signal.SIGCONT)
        while self._request and not self._request.done():
            self._request.wait()


def _threads(thread: int) -> set[int]:
    """The threads that run, or are stopped, in the process of this thread."""
    found = set()
    for task in Path(f"/proc/{thread}/task").glob("*"):
        with suppress(OSError):  # it has just ended
            state = (task / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
            if state not in "ZX":
                found.add(int(task.name))
    return found


@contextmanager
def traced(
    driver: Driver,
    *injections: Injection,
    paths: Sequence[str | Path] = (),
    helpers: bool = True,
    reply_seconds: float = REPLY_SECONDS,
) -> Iterator[Trace]:
    """Attach strace to a driver: to all threads of all processes of its group.

    `injections` are made by `stop` and `fail`. With `paths`, strace sees, counts and disturbs only
    calls that name one of them (as it is written, or relative to the base), or that use a
    descriptor of one; each may be reached through `/proc/self/fd`. Without
    `helpers`, strace leaves the programs alone that the driver starts. Meanwhile, a reply may take
    `reply_seconds`. Raises CannotTrace.
    """
    if sys.platform != "linux" or not shutil.which("strace"):
        raise CannotTrace("forcing an interleaving needs strace (Linux)")
    with tempfile.TemporaryDirectory() as directory:
        log, messages = Path(directory, "log"), Path(directory, "messages")
        processes = running(driver.pid)
        # -y: descriptors with their paths; -x: unprintable octets in hexadecimal
        command = ["strace", "-f", "-y", "-x", "-s", "64", "-o", str(log)]
        command += [] if helpers else ["-b", "execve"]
        command += ["-e", f"trace=%file,%desc,{_set((*SLEEP, *BIRTHS))}"]
        command += [word for injection in injections for word in ("-e", injection.option)]
        for path in paths:
            command += [word for spelt in _spellings(path, processes) for word in ("-P", spelt)]
        command += [word for process in processes for word in ("-p", str(process))]
        log.touch()
        trace = Trace(driver, log)
        usual = driver.limits
        driver.limits = usual._replace(reply_seconds=reply_seconds)
        with messages.open("wb") as stderr:
            strace = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            _wait_until_attached(strace, messages, processes)
            yield trace
        finally:
            driver.limits = usual
            if seen := trace.last_calls():
                driver.seen.append(seen)
            strace.terminate()  # it detaches, and the driver goes on
            try:
                strace.wait(DETACH_SECONDS)
            except subprocess.TimeoutExpired:
                strace.kill()
                strace.wait()
            trace._end()
            _check_failures(trace, injections)


def _check_failures(trace: Trace, injections: Sequence[Injection]) -> None:
    """strace counts the calls of each thread, and so it may make too many fail."""
    failed = sum(call.injected and call.errno is not None for call in trace.calls())
    if failed > sum(injection.fails for injection in injections):
        raise CannotTrace(f"strace made {failed} calls fail, in several threads of the driver")


def _spellings(path: str | Path, processes: Sequence[int]) -> Iterator[str]:
    relative = f"{path.parent.name}/{path.name}" if isinstance(path, Path) else path
    yield from (str(path), relative)
    yield from spellings(processes, relative)


def _wait_until_attached(
    strace: subprocess.Popen[bytes], messages: Path, processes: list[int]
) -> None:
    deadline = time.monotonic() + ATTACH_SECONDS
    while time.monotonic() < deadline:
        ended = strace.poll() is not None
        words = messages.read_text("utf-8", "replace")
        if ended:
            break
        if all(re.search(rf"Process {process} attached", words) for process in processes):
            return
        time.sleep(POLL_SECONDS)
    raise CannotTrace(
        f"strace cannot attach (try sysctl kernel.yama.ptrace_scope=0): {words.strip()}"
    )
