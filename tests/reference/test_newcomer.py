"""Programs as a newcomer would write them, each of fewer than 25 lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "newcomer"
PRINTED = {
    "logs": [
        "log.+ log.mail.error disk full",
        "log.+ log.mail.info started",
        "log.+ log.web.error disk full",
        "log.+ log.web.info started",
        "log.=.error log.mail.error disk full",
        "log.=.error log.web.error disk full",
    ],
    "service": ["event.asked hi"] * 3 + ["reply HI"] * 3,
    "workers": ["[0, 1, 4, 9]"],
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_program_of_a_newcomer(home: Path, name: str) -> None:
    program = PROGRAMS / f"{name}.py"
    assert len(program.read_text().splitlines()) < 25
    done = subprocess.run(
        [sys.executable, "-W", "error", program], capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.splitlines()) == PRINTED[name]
    assert done.stderr == ""
    assert os.listdir(home) == ["tmp"]
