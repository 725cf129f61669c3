"""Right implementations in other languages: the kit refuses nothing in them.

Each was written from `spec/` and DRIVER.md alone, with what its language has: Node.js without
`openat` and `mkfifo`, Go with all the threads of its run time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DRIVERS = Path(__file__).parent / "drivers"


def conforms(*command: str) -> None:
    run = [sys.executable, "-m", "pubsub_conformance", "run", "-n", "0", "--seed", "1", "--"]
    done = subprocess.run([*run, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(1800)  # seconds: a whole run of the kit in one process
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/fd")
def test_an_implementation_in_node() -> None:
    """It reaches its directories by /proc/self/fd, and has mkfifo make its queues."""
    node = shutil.which("node")
    if not node:
        pytest.skip("needs node")
    conforms(node, str(DRIVERS / "node/driver.js"))


@pytest.mark.timeout(1800)  # seconds: a whole run of the kit in one process
@pytest.mark.skipif(sys.platform != "linux", reason="calls of Linux by number")
def test_an_implementation_in_go(tmp_path: Path) -> None:
    """Its run time naps, and moves its work from thread to thread."""
    if not shutil.which("go"):
        pytest.skip("needs go")
    build = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOCACHE": str(tmp_path / "cache")}
    driver = tmp_path / "driver"
    command = ["go", "build", "-o", str(driver), "."]
    subprocess.run(command, cwd=DRIVERS / "go", env={**os.environ, **build}, check=True)
    conforms(str(driver))
