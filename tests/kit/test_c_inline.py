"""What the implementation in C keeps in memory for the inline lane: the kit does not see it.

These are messages in hand and descriptors of queues, with threads, forked children, and programs
that close descriptors which are not theirs. Each program in c/ has to end with 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from test_c import copy_sources, need_sanitizer, run_program

PROGRAMS = Path(__file__).parent / "c"
SHARED = (PROGRAMS / "inline.h").read_text()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux marks channels")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to build in."""
    return copy_sources(tmp_path_factory.mktemp("c") / "c")


@pytest.mark.parametrize("program", sorted(path.stem for path in PROGRAMS.glob("inline_*.c")))
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_another_user(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other user may look at the base, but not open it."""
    with tempfile.TemporaryDirectory() as base:
        monkeypatch.setenv("PUBSUB_HOME", base)
        code = (PROGRAMS / "other_user.c").read_text().replace('#include "inline.h"\n', SHARED, 1)
        run_program(sources, tmp_path, code)
        assert os.listdir(base) == ["tmp"]


def test_threads_share_no_memory_unguarded(
    sources: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread sanitizer finds no data race while threads publish and the base changes."""
    need_sanitizer("cc", "thread")
    library = [
        str(path) for path in sources.glob("*.c") if not path.stem.startswith(("driver", "fuzz"))
    ]
    program = tmp_path / "program"
    command = ["cc", "-g", "-O1", "-fsanitize=thread", f"-I{sources}", f"-I{PROGRAMS}"]
    command += ["-o", str(program), str(PROGRAMS / "inline_threads.c"), *library, "-lpthread"]
    subprocess.run(command, check=True)
    subprocess.run([str(program)], check=True)
    assert os.listdir(home) == ["tmp"]
