"""A command of the kit that is interrupted, as by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def begun(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the test: Popen alone waits for one that hangs, for ever."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(
    arguments: Sequence[str], words: Collection[str]
) -> subprocess.CompletedProcess[str]:
    """Run it until its progress on stderr has one of these words, then send SIGINT."""
    command = [sys.executable, "-m", "pubsub_conformance", *arguments]
    with begun(command) as process:
        assert process.stderr
        for line in process.stderr:
            if any(word in line for word in words):
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
