"""The process of a driver: started, written to, signalled, and ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..waiting import until
from .group import running
from .output import Output
from .replies import DriverError


class Limits(NamedTuple):
    """How long, and for how much, the client waits. Times are in seconds."""

    start_seconds: float = 30.0
    """From the start of the process to its reply to hello: run times and compilers start slowly."""
    reply_seconds: float = 10.0
    """For one reply, beyond the time that the request itself asks for. No operation takes a second;
    the rest is for a loaded machine, and still short enough for somebody who waits for the
    report."""
    stream_seconds: float = 60.0
    """For a stream whose request sets no end to its time."""
    close_seconds: float = 10.0
    """From the end of stdin, or a signal, to the end of the process."""
    last_words_seconds: float = 1.0
    """For what follows the end of a process at once, but not in the same instant: its exit status
    after the end of its stdout, the rest of its stderr, the end of its children."""
    unread_octets: int = 128 * 2**20
    """Of stdout in memory. The longest reply that the kit asks for is a tenth of that."""


class Process:
    """A process in a group of its own, whose output is read all the time.

    `env` adds to the environment; a value of None removes a variable. Raises DriverError if the
    command cannot be started.
    """

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str | None], limits: Limits
    ) -> None:
        self._patience = limits.last_words_seconds
        variables = {
            name: value for name, value in {**os.environ, **env}.items() if value is not None
        }
        try:
            # A session of its own is a process group of its own: whatever a driver starts can be
            # killed with it, and Ctrl-C reaches the kit alone.
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=variables,
                start_new_session=True,
            )
        except OSError as error:
            raise DriverError(f"{' '.join(command)} cannot be started: {error}") from error
        stdin, stdout, stderr = self._popen.stdin, self._popen.stdout, self._popen.stderr
        assert stdin
        assert stdout
        assert stderr
        os.set_blocking(stdin.fileno(), False)
        self._pipes = stdin, stdout, stderr
        self.output = Output(stdout.fileno(), stderr.fileno(), limits.unread_octets)
        self.pid: int = self._popen.pid
        self.ended = False
        """Whether `end` has been called."""

    def write(self, data: bytes, deadline: float) -> bool:
        """Write to stdin. False: the process did not read it all before `deadline`.

        The deadline is on time.monotonic(). A process that is dead or dying counts as written to:
        reading shows what happened to it.
        """
        stdin = self._pipes[0].fileno()
        rest = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(stdin, selectors.EVENT_WRITE)
            while rest:
                if not selector.select(max(0, deadline - time.monotonic())):
                    return False
                try:
                    rest = rest[os.write(stdin, rest) :]
                except BlockingIOError:  # room for less than one write: wait for more
                    continue
                except BrokenPipeError:
                    return True
        return True

    def close_stdin(self) -> None:
        """Let the process read the end of its stdin."""
        self._pipes[0].close()

    def wait(self, seconds: float) -> int | None:
        """The exit status; None if the process has not ended within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._popen.wait(seconds)
        return None

    def describe_end(self) -> str:
        """How the process ended, such as "exit status 3", or "still running".

        If its stdout has ended, the process is about to end: this waits for it a moment.
        """
        status = self.wait(self._patience) if self.output.ended() else self._popen.poll()
        return describe_status(status)

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, if it runs."""
        if self._popen.poll() is None:
            os.kill(self.pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to the whole process group, if there is one."""
        # macOS: EPERM for a group of zombies
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def left_others(self) -> bool:
        """Whether other processes of the group outlive this one for more than a moment."""
        return not until(lambda: not running(self.pid), self._patience, poll=0.01)

    def end(self) -> None:
        """Leave nothing of the process group, no descriptor and no thread."""
        if self.ended:
            return
        self.ended = True
        self.signal_group(signal.SIGKILL)
        self._popen.wait()
        self.output.stop(self._patience)
        for pipe in self._pipes:
            pipe.close()


def describe_status(status: int | None) -> str:
    """A status of subprocess.Popen in words; None: the process still runs."""
    if status is None:
        return "still running"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
