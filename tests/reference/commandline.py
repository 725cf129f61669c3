"""The command `pubsub` as a user runs it: a process."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PUBSUB = (sys.executable, "-m", "pubsub")

DEFINE_PUBSUB = f"""pubsub() {{ {shlex.join(PUBSUB)} "$@"; }}
"""
"""Makes `pubsub` known to a shell script, wherever it is installed."""

StartCommand = Callable[..., "subprocess.Popen[bytes]"]


def ran(*arguments: str | bytes, **settings: Any) -> tuple[int, bytes, bytes]:
    """The exit code, the output and the errors of one command. `settings` are those of `run`."""
    settings = {"input": None if "stdin" in settings else b"", **settings}
    done = subprocess.run([*PUBSUB, *arguments], capture_output=True, check=False, **settings)
    return done.returncode, done.stdout, done.stderr


def finished(process: subprocess.Popen[bytes], code: int = 0) -> bytes:
    """What a command still writes. It ends with this exit code, and says nothing on stderr."""
    out, errors = process.communicate()
    assert (process.returncode, errors or b"") == (code, b"")
    return out


def await_channels(home: Path, number: int = 1) -> None:
    """Wait until this many channels are in the base."""
    while not home.exists() or len(os.listdir(home)) < number + 1:
        time.sleep(0.01)


def assert_clean(home: Path) -> None:
    """No channel is left in the base, and nothing in its tmp."""
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []
