"""Again and again: obstacles of several kinds in one reap, several times in a row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.linux.strace import RENAME, stop, traced
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base, fresh_name
from pubsub_conformance.oracle.queue import has_reader

from .support import RUNNING, furnish

pytestmark = pytest.mark.timing

TIMES = (3, 10)
"""How often something happens in one reap."""

again = pytest.mark.parametrize("times", TIMES)


@pytest.mark.requirement("REAP-13", role="reaper")
@again
def test_readers_come_before_each_claim(driver: Driver, base: Base, times: int) -> None:
    """If a reader comes to each of ten channels before it is claimed, a reaper puts back each one,
    and removes the others."""
    dead = dead_pid()
    left = [base.dead_channel("a", dead) for _ in range(times)]
    for directory in left:
        furnish(directory)
    inodes = {directory.lstat().st_ino: directory for directory in left}
    reading: list[int] = []
    try:
        with traced(driver, stop(RENAME, None)) as trace:
            reaping = trace.begin(driver.reap)
            for _ in trace.stops():
                for claimed in base.tmp.iterdir():
                    inode = claimed.lstat().st_ino
                    if inode in inodes:
                        del inodes[inode]
                        queue = os.open(claimed / "queue", os.O_RDONLY | os.O_NONBLOCK)
                        reading.append(queue)
            reaping.result()
        read = [directory for directory in left if directory not in inodes.values()]
        gone = [directory.name for directory in read if not directory.exists()]
        assert not gone, f"the queues of these have had a reader since the claim: {gone}"
        assert all(has_reader(directory) for directory in read), "a queue was replaced"
    finally:
        for queue in reading:
            os.close(queue)
    driver.reap()
    assert not base.leftovers(), f"without readers, something was not reaped\n{base.tree()}"


@pytest.mark.requirement("REAP-14", "REAP-3", role="reaper")
@again
def test_reaping_again_and_again(driver: Driver, base: Base, times: int) -> None:
    """Each of ten reaps in a row removes what has died since, and nothing else."""
    base.make()
    living = [base.open("a", pid=dead_pid()), base.open("a")]
    young = base.dead_channel("a", RUNNING)
    try:
        for number in range(times):
            dead = _leave(base)
            driver.reap()
            left = [path.name for path in dead if path.exists()]
            assert not left, f"reap {number + 1} left {left}"
            assert young.exists(), f"reap {number + 1} removed a young channel"
            for channel in living:
                assert channel.directory.exists(), f"reap {number + 1} removed a living channel"
            message = base.publish("a", b"%d" % number)
            for channel in living:
                assert channel.fetch_all() == [message], "a living channel lost a message"
        in_tmp = [base.stage(str(number + 1), b"left over") for number in range(times)]
        let_age(*in_tmp, young / "queue")
        driver.reap(stale_age=0)
        assert not any(path.exists() for path in [*in_tmp, young]), (
            f"stale entries were left by the last of {times + 1} reaps:\n{base.tree()}"
        )
    finally:
        for channel in living:
            channel.close()


def _leave(base: Base) -> list[Path]:
    """Make a dead channel, one with entries, and one half made."""
    left = [base.dead_channel(pattern, dead_pid()) for pattern in ("a", "+", "b.=")]
    for directory in left[1:]:
        furnish(directory)
    (left[2] / "foreign" / fresh_name()).symlink_to(base.path)
    return left
