from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import pubsub
from pubsub.channel import _open_channels

# The one fixture of every test, `home`, may serve all examples of a property.
_UNHEALTHY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
settings.register_profile(
    "quick", max_examples=50, deadline=None, derandomize=True, suppress_health_check=_UNHEALTHY
)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=_UNHEALTHY
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of the kit alone, that is the modules that import nothing of pubsub."""
    for item in items:
        module = item.getparent(pytest.Module)
        if module and not re.search(r"^(from|import) pubsub\b", module.path.read_text(), re.M):
            item.add_marker(pytest.mark.kit)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A base that is not there yet; no test ever touches the default one.

    `pytest --basetemp=DIR` decides on which file system it lies.
    """
    path = tmp_path / "home"
    monkeypatch.setenv("PUBSUB_HOME", str(path))
    yield path
    leaked = list(_open_channels)
    for channel in leaked:
        channel.close()
    assert not leaked, f"the test left channels open: {leaked}"


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program, given as text, that imports what this test imports.

    Warnings are errors in it; stdin, stdout and stderr are pipes. It is killed in the end.
    """
    started = []

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(pubsub.__file__).parent.parent,  # the first place where -c looks
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def descriptors() -> Callable[[], set[tuple[int, int, int]]]:
    """What this process has open: descriptor, device, inode."""

    def look() -> set[tuple[int, int, int]]:
        found = set()
        for descriptor in range(1024):
            try:
                status = os.fstat(descriptor)
            except OSError:
                continue
            found.add((descriptor, status.st_dev, status.st_ino))
        return found

    return look
