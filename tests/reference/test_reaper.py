"""What the kit cannot see from outside: the kit's own tests of reaping are the larger part."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import Start

from pubsub import Channel, reap

OWNER = """
import sys
from pubsub import Channel
for n in range(int(sys.argv[1])):
    Channel("a").open()
print("open", flush=True)
sys.stdin.read()
"""


def test_reaping_where_nothing_is_makes_nothing(home: Path) -> None:
    reap()
    assert not home.exists()


def test_what_was_killed_is_reaped_by_the_next_opening(home: Path, start: Start) -> None:
    killed, living = start(OWNER, 3), start(OWNER, 1)
    for process in (killed, living):
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(home.glob("a_*"))) == 4  # nobody has removed anything
    with Channel("b"):
        (left,) = home.glob("a_*")
        assert left.name.endswith(f"_{living.pid}")
    assert os.listdir(home / "tmp") == []


def test_several_reapers_at_once(home: Path, start: Start) -> None:  # REAP-14
    killed = start(OWNER, 100)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "open\n"
    killed.kill()
    killed.wait()
    together = threading.Barrier(4)

    def reap_at_once(_: int) -> None:
        together.wait()
        reap()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reap_at_once, range(4)))  # raises the errors
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []
