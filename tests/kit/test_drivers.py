"""Right implementations in other languages: the kit refuses nothing in them.

Each was written from `spec/` and DRIVER.md alone, with what its language has: Node.js without
`openat` and `mkfifo`, Go with all the threads of its run time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVERS = Path(__file__).parent / "drivers"

MACHINE = (
    r"(.* )?needs .*|only root .*|another user cannot .*|this (machine|system) .*|it took .*"
    r"|no mount namespace .*|strace cannot attach .*"
)
"""What the machine, or its user, lacks: the reasons why no driver's test is run."""

GO_CLOCK = "libfaketime does not reach the driver's clock"
"""Go asks the kernel for the time, not the C library. Nothing but these requirements needs it."""
GO_CLOCK_NEEDED = {"GUAR-5", "MSG-5", "PUB-1", "PUB-2", "PUB-19", "PUB-21", "REAP-2"}
GO_THREADS = r"strace made \d+ calls fail, in several threads of the driver"
"""strace counts the calls of each thread, and Go moves its work from one to the other."""


def not_run(report: Path, *command: str) -> dict[str, set[str]]:
    """Run the kit, which finds no fault. Returns the requirements of each reason of the driver's
    why a test was not run."""
    run = [sys.executable, "-m", "pubsub_conformance", "run", "-n", "2", "--seed", "1"]
    done = subprocess.run(
        [*run, "--json", report, "--", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for verdict in json.loads(report.read_text())["requirements"]:
        for test in verdict["tests"]:
            reason = test.get("reason", "")
            if test["outcome"] == "not run" and not re.fullmatch(MACHINE, reason, re.DOTALL):
                found.setdefault(reason, set()).add(verdict["id"])
    return found


@pytest.mark.timeout(1800)  # seconds: a whole run of the kit
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/fd")
def test_an_implementation_in_node(tmp_path: Path) -> None:
    """It reaches its directories by /proc/self/fd, and has mkfifo make its queues."""
    node = shutil.which("node")
    if not node:
        pytest.skip("needs node")
    assert not_run(tmp_path / "report.json", node, str(DRIVERS / "node/driver.js")) == {}


@pytest.mark.timeout(1800)  # seconds: a whole run of the kit
@pytest.mark.skipif(sys.platform != "linux", reason="calls of Linux by number")
def test_an_implementation_in_go(tmp_path: Path) -> None:
    """Its run time naps, and moves its work from thread to thread."""
    if not shutil.which("go"):
        pytest.skip("needs go")
    build = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOCACHE": str(tmp_path / "cache")}
    driver = tmp_path / "driver"
    command = ["go", "build", "-o", str(driver), "."]
    subprocess.run(command, cwd=DRIVERS / "go", env={**os.environ, **build}, check=True)
    reasons = not_run(tmp_path / "report.json", str(driver))
    assert reasons.pop(GO_CLOCK, set()) <= GO_CLOCK_NEEDED
    assert [reason for reason in reasons if not re.fullmatch(GO_THREADS, reason)] == []
