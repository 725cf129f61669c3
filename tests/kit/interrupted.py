"""A command of the kit that is interrupted, as by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Collection, Sequence


def interrupted(
    arguments: Sequence[str], words: Collection[str]
) -> subprocess.CompletedProcess[str]:
    """Run it until its progress on stderr has one of these words, then send SIGINT."""
    command = [sys.executable, "-m", "pubsub_conformance", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if any(word in line for word in words):
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
