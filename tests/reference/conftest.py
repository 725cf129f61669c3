from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from commandline import PUBSUB, StartCommand
from loops import registered

import pubsub
from pubsub.owners import owners


@pytest.fixture(autouse=True)
def _closed(home: Path) -> Iterator[None]:
    """A test that leaves a channel open fails."""
    yield
    leaked = list(owners)
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
def command() -> Iterator[StartCommand]:
    """Start the command `pubsub`; its standard files are pipes. It is killed in the end."""
    started = []

    def start(*arguments: str | bytes, **settings: Any) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen([*PUBSUB, *arguments], **{**pipes, **settings})
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


Result = TypeVar("Result")
Run = Callable[[Coroutine[Any, Any, Result]], Result]


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    if request.param == "asyncio":
        return asyncio.new_event_loop
    found = pytest.importorskip(
        "uvloop", reason="uvloop is not installed: it is not on each system"
    )
    new: Callable[[], asyncio.AbstractEventLoop] = found.new_event_loop
    return new


@pytest.fixture
def loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> Iterator[asyncio.AbstractEventLoop]:
    loop = new_loop()
    yield loop
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True)) if left else None
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert not left


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Run[Any]:
    """Run a coroutine to its end. No reader may be left then."""

    def run(main: Coroutine[Any, Any, Result]) -> Result:
        before = registered(loop)
        result = loop.run_until_complete(asyncio.wait_for(main, 100))
        assert registered(loop) == before
        return result

    return run


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


def _has_fit_queues() -> bool:
    """Whether a new queue has room for 32 KiB, and its size can be asked for (INLINE-3)."""
    ends = os.pipe()
    try:
        return fcntl.fcntl(ends[1], fcntl.F_GETPIPE_SZ) >= 2**15
    except (AttributeError, OSError):
        return False
    finally:
        for end in ends:
            os.close(end)


HAS_FIT_QUEUES = _has_fit_queues()

needs_inline = pytest.mark.skipif(
    not HAS_FIT_QUEUES, reason="new queues are not fit to be marked here (INLINE-3)"
)
