"""An exception from a signal handler ends the call that it interrupts, and nothing leaks.

Theory of operation
===================

A signal handler may raise: KeyboardInterrupt is one such exception, a program's own time limit
another. Python runs the handler between two bytecodes of any function of this package, those of a
`finally` and of an `__exit__` included. Three rules keep such an exception from doing harm.

*One call of C does something and stores that it did it.* Between `x = os.open(…)` and the end of
that statement there is room for an exception, and then nobody knows the descriptor.
`descriptors.extend(starmap(os.open, …))` has no bytecode between the two. A write to a queue is
noted in the same way. Whether a link or a directory is there, and ours, is asked of the disk.

*What is held is given back twice.* An exception may come while a `with` or a `finally` gives back
what it holds, so each step of giving back can be repeated, and the next frame, or a second `with`
of the same object, repeats it: `with held, held:`. Errors of the system are results there, not
exceptions, so that the repetition is left for a handler's exception.

*An error of the system is told from an exception of a handler.* What a system call raises has no
traceback beyond the frame that made the call; what a handler raises has the handler's frame. Only
the former is for this package to handle: `except of_system(FileNotFoundError):`. The tests of a
program may have put functions of their own into `os`; an error that comes through one of these
counts as the system's.

Python itself leaves gaps, but no signal handler runs in them: Python looks for signals only after
calls, when a function begins and when a loop turns.

- At the end of a `with` it loads None three times and calls `__exit__`. An exception before one of
  these bytecodes leaves the `with` without its exit: SWAP or ROT_TWO, LOAD_CONST or DUP_TOP,
  PRECALL, CALL or CALL_FUNCTION; after an exception PUSH_EXC_INFO and WITH_EXCEPT_START. A lock
  would then be held for ever.
- CPython 3.10 crashes if an exception comes before the POP_EXCEPT of a `return` in an `except`.

Where a loop inside a `with` turns (JUMP_BACKWARD), a handler does run, and CPython 3.12 and 3.13
leave that `with` without its exit: such loops are functions of their own.
"""

from __future__ import annotations

import fcntl
import os
import sys
from functools import partial
from itertools import starmap
from typing import TypeVar

from .spare import may_try_again

_Error = TypeVar("_Error", bound=BaseException)

_STANDARD = 2  # the highest number of a program's standard input, output and error

_PACKAGE = __name__.rpartition(".")[0]
_OURS = frozenset({_PACKAGE, f"{_PACKAGE}.aio", "json"})
"""The packages whose Python code runs in a call of ours."""


class Descriptors(list[int]):
    """The open descriptors that somebody holds. `with held, held:` closes them in the end."""

    __slots__ = ()

    def open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Open a file and hold its descriptor, which is returned. Raises OSError."""
        try:
            if dir_fd is None:
                self.extend(starmap(os.open, ((path, flags, mode),)))
            else:
                self.extend(starmap(partial(os.open, dir_fd=dir_fd), ((path, flags, mode),)))
        except of_system(OSError) as error:
            if not may_try_again(error):
                raise
            return self.open(path, flags, mode, dir_fd=dir_fd)
        opened = self[-1]
        return opened if opened > _STANDARD else self._lifted()

    def _lifted(self) -> int:
        """Replace the last descriptor by a higher number, which is returned.

        A program that has closed its standard files would write its output into our queue.
        """
        try:
            self.extend(map(fcntl.fcntl, self[-1:], (fcntl.F_DUPFD_CLOEXEC,), (_STANDARD + 1,)))
        except of_system(OSError) as error:
            if not may_try_again(error):
                raise
            return self._lifted()
        any(map(os.close, map(self.pop, (-2,))))
        return self[-1]

    def close(self, *details: object) -> None:
        """Close all descriptors. May be repeated: each is closed once."""
        any(map(os.close, map(self.pop, (0,) * len(self))))  # calls all of them: each gives None

    def __enter__(self) -> Descriptors:
        return self

    __exit__ = close  # itself: one call more is too many where `open` was the last that fitted


def of_system(*kinds: type[_Error]) -> tuple[type[_Error], ...]:
    """The kinds that an `except` catches: `kinds`, or none if a signal handler raised the error.

    The error is the one that is being handled, as `except of_system(OSError):` has it.
    """
    traceback = sys.exc_info()[2]
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__", "").rpartition(".")[0] not in _OURS:
            return kinds if frame.f_code in map(code_of, vars(os).values()) else ()
        traceback = traceback.tb_next
    return kinds


def code_of(function: object) -> object:
    """The code that a call of this object runs, if it is Python's."""
    return getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
