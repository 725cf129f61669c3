"""The command `pubsub` on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import PUBSUB, StartCommand, assert_clean, await_channels, finished

from pubsub import publish

# A program with whose session the terminal of its stdin is.
CONTROLLED = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal, and the command that it controls. `with` ends both."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._end, theirs = os.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLED, *PUBSUB, *arguments],
            env={**os.environ, **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self.hang_up()

    def line(self) -> bytes:
        """The next line that the terminal shows."""
        found = b""
        while not found.endswith(b"\r\n"):
            found += os.read(self._end, 1)
        return found[:-2]

    def type(self, octets: bytes) -> None:
        """What somebody types."""
        os.write(self._end, octets)

    def hang_up(self) -> None:
        """Close the terminal."""
        if self._end >= 0:
            os.close(self._end)
        self._end = -1

    def code(self) -> int:
        """The exit code of the command, once it has ended."""
        return self._process.wait()


HOSTILE = "\x1b[2J\x07\r\n\t\x7f\x9b1m\u202e\u2028 ü☃".encode() + b"\xff\xc3"
SHOWN = r"\x1b[2J\x07\r\n\t\x7f\x9b1m\u202e\u2028 "


@pytest.mark.parametrize(
    ("environment", "snowman"),
    [({"PYTHONUTF8": "1"}, "ü☃"), ({"PYTHONIOENCODING": "latin-1"}, "ü\\u2603")],
)
def test_what_a_terminal_would_obey_is_escaped(
    home: Path, environment: dict[str, str], snowman: str
) -> None:
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    with Terminal("sub", "-v", "a", **environment) as terminal:
        await_channels(home)
        publish("a", HOSTILE)
        assert terminal.line().decode(encoding) == f"a {SHOWN}{snowman}\\xff\\xc3"
        terminal.type(b"\x03")  # Ctrl-C
        assert terminal.code() == 130
    assert_clean(home)


def test_raw_output_and_pipes_are_not_escaped(home: Path, command: StartCommand) -> None:
    piped = command("sub", "a", "-n", "1")
    with Terminal("sub", "--raw", "a") as terminal:
        await_channels(home, 2)
        publish("a", b"\x1b\x07\n")
        assert terminal.line() == b"\x1b\x07"
        assert finished(piped) == b"\x1b\x07\n\n"
        terminal.hang_up()
        assert terminal.code() == 129
    assert_clean(home)
