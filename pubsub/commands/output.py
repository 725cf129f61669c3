"""What a command writes: octets at once to stdout, notes to stderr; what a terminal may show."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

_STDOUT = 1


class ReaderLeft(Exception):
    """Nobody reads the output any more."""


def write(octets: bytes) -> None:
    """Write to stdout, past all buffers, unless it is closed. Raises ReaderLeft, OSError."""
    if sys.stdout is None:
        return
    try:
        left = memoryview(octets)
        while left:
            try:
                left = left[os.write(_STDOUT, left) :]
            except BlockingIOError:  # others have this file, too, and made it so
                poll = select.poll()
                poll.register(_STDOUT, select.POLLOUT)
                poll.poll()
    except BrokenPipeError:
        raise ReaderLeft from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, "stdout") from error


def write_text(text: str) -> None:
    """Write text to stdout in its encoding. Raises ReaderLeft, OSError."""
    write(text.encode(encoding(), "backslashreplace"))


def look_for_reader() -> None:
    """Raise ReaderLeft if nobody reads the output any more."""
    poll = select.poll()
    poll.register(_STDOUT, 0)
    if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
        raise ReaderLeft


def is_terminal() -> bool:
    """Whether the output goes to a terminal."""
    return os.isatty(_STDOUT)


def encoding() -> str:
    """The encoding of the output."""
    return sys.stdout.encoding if sys.stdout else "utf-8"


def note(command: str, text: str) -> None:
    """Write one line to stderr, with the name of the command."""
    if sys.stderr:
        with suppress(OSError):  # nobody can read it
            print(f"pubsub {command}".rstrip() + f": {printable(text)}", file=sys.stderr)


def printable(text: str) -> str:
    """The text, with escapes for the characters that a terminal would obey, or not show.

    These are control characters, those that change the direction of the text, line ends, and what
    is no character.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    if character.isprintable():
        return True
    from unicodedata import category  # seldom needed

    return category(character) == "Zs"  # a space of some width
