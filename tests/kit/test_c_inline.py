"""What the implementation in C keeps in memory for the inline lane: the kit does not see it.

These are messages in hand and descriptors of queues, with threads, forked children, and programs that
close descriptors which are not theirs. Each program in c/ has to end with 0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from test_c import copy_sources, run_program

PROGRAMS = Path(__file__).parent / "c"
SHARED = (PROGRAMS / "inline.h").read_text()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux marks channels")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in."""
    return copy_sources(tmp_path_factory.mktemp("c") / "c")


@pytest.mark.parametrize("program", sorted(path.stem for path in PROGRAMS.glob("*.c")))
def test_program(
    sources: Path,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (PROGRAMS / f"{program}.c").read_text().replace('#include "inline.h"\n', SHARED, 1)
    run_program(sources, tmp_path, code)
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []
