"""A command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ROWS = 24


def on_terminal(
    command: Sequence[str], columns: int, directory: Path, environment: Mapping[str, str]
) -> tuple[int, list[str]]:
    """The exit status of a command, and the lines that it leaves on a terminal of this width."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    kept = {name: text for name, text in environment.items() if name not in ("COLUMNS", "LINES")}
    with open(ours, "rb", buffering=0) as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**kept, "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        written = bytearray()
        try:
            while part := output.read(65536):
                written += part
        except OSError:  # EIO: nobody has the terminal open any more
            pass
    lines = _CONTROL.sub("", written.decode()).replace("\r\n", "\n").split("\n")
    # A bar overwrites its line.
    return process.wait(), [line.rpartition("\r")[2] for line in lines]
