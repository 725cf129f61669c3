"""What a reaper knew when it reaped before may be otherwise now."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from pubsub_conformance.driver import Driver
from pubsub_conformance.oracle.arrange import dead_pid, let_age
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.suite.helpers import snapshot
from pubsub_conformance.suite.roles import warm_up


@pytest.mark.requirement("REAP-3", role="reaper")
def test_a_process_ends_between_two_reapings(driver: Driver, base: Base) -> None:
    """A channel that was kept because its process ran is removed once the process has ended."""
    for _ in range(2):
        with subprocess.Popen(["sleep", "600"]) as process:
            dead = base.dead_channel("a", process.pid)
            driver.reap()
            assert dead.exists(), "the process of the channel runs"
            process.kill()
            process.wait()
        driver.reap()
        assert not dead.exists(), "the process of the channel has ended"


@pytest.mark.requirement("REAP-3", "REAP-4", role="reaper")
def test_a_reader_goes_and_comes_between_two_reapings(driver: Driver, base: Base) -> None:
    """What decides is whether the queue has a reader now, not whether it had one before."""
    pid = dead_pid()
    channel = base.open("a", pid=pid)
    driver.reap()
    driver.reap(stale_age=0)
    assert channel.directory.exists(), "its queue has a reader"
    channel.stop_reading()
    driver.reap()
    assert not channel.directory.exists(), "its queue has no reader any more"
    waiting = base.dead_channel("a", os.getpid())
    driver.reap()
    assert waiting.exists(), "its process runs, and it is young"
    reader = os.open(waiting / "queue", os.O_RDONLY | os.O_NONBLOCK)
    try:
        let_age(waiting / "queue")
        driver.reap(stale_age=0)
        assert waiting.exists(), "its queue has a reader now"
    finally:
        os.close(reader)
    driver.reap(stale_age=0)
    assert not waiting.exists(), "its queue is stale and has no reader"


@pytest.mark.requirement("REAP-7", "REAP-8", "REAP-9", "REAP-10", role="reaper")
def test_entries_of_tmp_become_stale_between_two_reapings(driver: Driver, base: Base) -> None:
    """An entry of `tmp` that was young, or had a reader, is removed once it is stale and has
    none."""
    base.make()
    for _ in range(2):
        file = base.stage("1" * 18, b"x")
        directory = base.tmp / "directory"
        directory.mkdir()
        os.mkfifo(directory / "queue")
        driver.reap()
        assert file.exists(), "the file is young"
        assert directory.exists(), "the directory is young"
        reader = os.open(directory / "queue", os.O_RDONLY | os.O_NONBLOCK)
        try:
            let_age(file, directory, directory / "queue")
            driver.reap(stale_age=0)
            assert not file.exists(), "the file is stale"
            assert directory.exists(), "the queue of the directory has a reader"
        finally:
            os.close(reader)
        driver.reap(stale_age=0)
        assert not directory.exists(), "the directory is stale, and nobody reads its queue"


@pytest.mark.requirement("REAP-12", "CHAN-16", role="reaper")
def test_the_base_is_replaced_between_two_reapings(driver: Driver, base: Base) -> None:
    """A reaper reaps the base that is there now, and leaves the one that it reaped before."""
    base.make()
    warm_up("reaper", driver, base)
    for number in range(2):
        old = Base(base.path.rename(base.path.with_name(f"before {number}")))
        old.dead_channel("a", dead_pid())
        old.stage("1" * 18, b"x")
        before = snapshot(old.path)
        driver.reap()
        assert snapshot(old.path) == before, "the former base was reaped"
        assert not base.path.exists(), "a reaper makes no base"
        dead = base.dead_channel("a", dead_pid())
        driver.reap()
        assert not dead.exists(), f"the dead channel was left:\n{base.tree()}"
        assert snapshot(old.path) == before, "the former base was reaped"
    shutil.rmtree(base.path)
    driver.reap()
