"""A reader that dies must not end its publisher: SIGPIPE (PUB-16)."""

from __future__ import annotations

import os
import signal
import sys
from itertools import starmap

# The function in C. Its wrapper makes an enumeration of the answer, and takes twenty times as long.
_handler = sys.modules["_signal"].getsignal
_SIGPIPE = int(signal.SIGPIPE)
_IGNORED = int(signal.SIG_IGN)


def write(descriptor: int, octets: bytes, written: list[int]) -> None:
    """Write to a queue, and note in `written` how many octets it took. Raises OSError.

    Python ignores SIGPIPE, but a program may have undone that, as filters do before `| head`.
    """
    if _handler(_SIGPIPE) == _IGNORED:
        written.extend(starmap(os.write, ((descriptor, octets),)))
    else:
        block = Block()
        with block, block:
            block.begin()
            written.extend(starmap(os.write, ((descriptor, octets),)))


def is_ignored() -> bool:
    """Whether no reader's death can end this process, as Python has it at first."""
    return bool(_handler(_SIGPIPE) == _IGNORED)


class Block:
    """Keeps SIGPIPE from this thread, unless the program does. `with block, block:` ends it."""

    def __init__(self) -> None:
        self._is_ours = False

    def __enter__(self) -> None:
        pass

    def begin(self) -> None:
        if signal.SIGPIPE not in signal.pthread_sigmask(signal.SIG_BLOCK, ()):
            self._is_ours = True  # before the call: a handler that it runs may raise
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            if signal.SIGPIPE in signal.sigpending():
                signal.sigwait((signal.SIGPIPE,))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPIPE,))
            self._is_ours = False
