"""What a process inherits, made the same for each run of the kit and so for each driver.

The verdict depends on the driver, the kit and the seed: on nothing else that a shell, a container
or a CI server has. What is not here, as PYTHONPATH, may be what the driver needs to start.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from types import FrameType
from typing import NoReturn

DESCRIPTORS = 1024
"""That a process may open: as many as Linux usually allows. The kit itself needs some 210."""

FEWEST_DESCRIPTORS = 256
LONGEST_FILE = 4 * 2**30  # octets; longer than any message that a test makes
STACK = 8 * 2**20  # octets; the usual size

# Python's settings for where modules are. Its other ones, as -O or "unbuffered", change the kit or
# a driver in Python.
KEPT_OF_PYTHON = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONPLATLIBDIR"),
    *("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"),
)

# `nohup` and a shell's `&` ignore these. Python ignores the last two, and its children do not.
MAY_BE_IGNORED = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ}

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Unsuitable(Exception):
    """Nothing can be judged here. The text is the reason."""


def settle() -> None:
    """Give this process, and what it starts, the surroundings of every run. Raises Unsuitable."""
    _open_streams()
    try:
        os.getcwd()
    except FileNotFoundError:
        raise Unsuitable("the current directory does not exist any more") from None
    _reset_signals()
    end_in_order()
    _set_limits()
    os.umask(0o022)
    for name in [*os.environ]:
        if name.startswith("PYTHON") and name not in KEPT_OF_PYTHON:
            del os.environ[name]
        if name.startswith("LC_") or name in ("LANG", "LANGUAGE"):
            del os.environ[name]
    os.environ["LC_ALL"] = "C.UTF-8"  # where there is none, it is C
    os.environ["TZ"] = "KIT-5:45"  # a zone in which no time is mistaken for UTC


def _open_streams() -> None:
    """Have /dev/null for each stream that is closed: otherwise a file would get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115


def _reset_signals() -> None:
    """Block no signal, and ignore none but those that a shell ignores.

    With SIGCHLD ignored, no process has an exit status.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - MAY_BE_IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def end_in_order() -> None:
    """Have SIGTERM and SIGHUP end this process as Ctrl-C does: with a report, and nothing left.

    The ones that follow change nothing: `timeout` sends two.
    """

    def ignore(number: int, frame: FrameType | None) -> None:
        """Do nothing. Unlike SIG_IGN, a process that is started does not inherit this."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        for each in ENDING:
            signal.signal(each, ignore)
        raise KeyboardInterrupt

    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def _set_limits() -> None:
    """Set the limits that a process inherits, as far as the machine's own allow it."""
    _limit(resource.RLIMIT_NOFILE, DESCRIPTORS)
    _limit(resource.RLIMIT_STACK, STACK)
    _limit(resource.RLIMIT_CORE, 0)  # a driver that crashes would leave a file
    for name in ("FSIZE", "CPU", "DATA", "AS", "NPROC"):
        if (what := getattr(resource, f"RLIMIT_{name}", None)) is not None:
            _limit(what, resource.RLIM_INFINITY)
    if _hard(resource.RLIMIT_NOFILE) < FEWEST_DESCRIPTORS:
        raise Unsuitable(f"the kit needs {FEWEST_DESCRIPTORS} descriptors (ulimit -n)")
    if _hard(resource.RLIMIT_FSIZE) < LONGEST_FILE:
        raise Unsuitable(f"files must be allowed to have {LONGEST_FILE} octets (ulimit -f)")


def _hard(what: int) -> float:
    hard = resource.getrlimit(what)[1]
    return float("inf") if hard == resource.RLIM_INFINITY else hard


def _limit(what: int, soft: int) -> None:
    hard = resource.getrlimit(what)[1]
    if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
        soft = hard
    resource.setrlimit(what, (soft, hard))
