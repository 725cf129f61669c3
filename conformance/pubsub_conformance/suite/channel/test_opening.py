"""Opening: made in tmp, visible with a reader, whatever vanishes meanwhile."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from pubsub_conformance.driver import Driver, OpenChannel
from pubsub_conformance.linux.strace import (
    MAKE_DIRECTORY,
    MAKE_FIFO,
    OPEN,
    RENAME,
    fail,
    stop,
    traced,
)
from pubsub_conformance.oracle.base import Base
from pubsub_conformance.oracle.queue import has_reader
from pubsub_conformance.plugin import not_run

from .support import is_received, reads


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_is_visible_with_a_reader(driver: Driver, base: Base) -> None:
    """Right after the rename that makes it visible, the queue has a reader already."""
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        visible = base.channels()
        alive = [has_reader(directory) for directory in visible]
        trace.go_on()
        channel = opened.result()
    assert visible == [channel.directory], f"visible after the rename: {visible}"
    assert alive == [True], "the channel was visible before its queue had a reader"


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_without_a_reader_is_not_visible(driver: Driver, base: Base) -> None:
    """Right after its queue was made, and nobody reads it yet, the base shows nothing of it."""
    base.make()
    with traced(driver, stop(MAKE_FIFO)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        seen = sorted(entry.name for entry in base.path.iterdir())
        trace.go_on()
        channel = opened.result()
    assert seen == ["tmp"], f"the base showed {seen} while the channel was being made"
    assert channel.directory.exists()


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_is_made_in_tmp_and_renamed(driver: Driver, base: Base) -> None:
    """One rename from `tmp` into the base, after the opening of the queue for reading."""
    base.make()
    with traced(driver) as trace:
        channel = driver.open("a")
    calls = trace.calls(*RENAME, *OPEN, *MAKE_DIRECTORY)
    made = [call for call in calls if call.name in MAKE_DIRECTORY and call.errno is None]
    assert not any(channel.directory in call.paths for call in made), "it was made in the base"
    renames = [
        call for call in calls if call.name in RENAME and channel.directory in call.paths[1:]
    ]
    if not made and not renames:
        not_run("the making of the channel was not seen")
    assert len(renames) == 1, f"not one rename to the channel's name: {renames}"
    source = renames[0].paths[0]
    assert source.parent == base.tmp, f"renamed from elsewhere than tmp: {renames[0]}"
    opens = [call for call in calls if source / "queue" in call.paths and reads(call)]
    assert opens, f"the queue was not opened for reading in {source}"
    assert calls.index(opens[0]) < calls.index(renames[0]), "it was visible before it was read"


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_whoever_sees_a_channel_sees_a_reader(driver: Driver, base: Base) -> None:
    """Somebody who looks all the time never sees a channel without a queue or a reader."""
    base.make()
    ended = threading.Event()
    seen: dict[Path, bool] = {}

    def look() -> None:
        while not ended.is_set():
            for name in os.listdir(base.path):
                directory = base.path / name
                if name == "tmp" or directory in seen:
                    continue
                try:
                    seen[directory] = has_reader(directory)
                except FileNotFoundError:
                    # Closed meanwhile, unless the directory is still there.
                    if directory.exists():
                        seen[directory] = False

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(40):
            driver.close_channel(driver.open("a"))
    finally:
        ended.set()
        looking.join()
    deaf = [directory.name for directory, alive in seen.items() if not alive]
    assert not deaf, f"{len(deaf)} of {len(seen)} channels were visible without a reader"


@pytest.mark.requirement("CHAN-11", role="subscriber")
def test_a_directory_that_vanishes_before_the_rename(driver: Driver, base: Base) -> None:
    """A reaper took what was being made: the owner starts again, and its channel receives."""
    base.make()
    with traced(driver, fail(RENAME, "ENOENT", then_stop=True)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        for entry in base.tmp.iterdir():
            shutil.rmtree(entry)
        trace.go_on()
        channel = opened.result()
    _is_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-11", role="subscriber")
def test_tmp_vanishes_before_the_rename(driver: Driver, base: Base) -> None:
    """As before, and `tmp` itself went with it."""
    base.make()
    with traced(driver, fail(RENAME, "ENOENT", then_stop=True)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        shutil.rmtree(base.tmp)
        trace.go_on()
        channel = opened.result()
    _is_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-12", role="subscriber")
def test_a_channel_that_vanishes_after_the_rename(driver: Driver, base: Base) -> None:
    """A reaper had claimed the directory: nothing is left under the name. It starts again."""
    base.make()
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        (visible,) = base.channels()
        shutil.rmtree(visible)
        trace.go_on()
        channel = opened.result()
    assert channel.directory != visible, "it took a channel for open that is gone"
    _is_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-12", role="subscriber")
@pytest.mark.parametrize("there", [True, False], ids=["another queue", "no queue"])
def test_a_queue_that_is_another_after_the_rename(driver: Driver, base: Base, there: bool) -> None:
    """A reaper had emptied the directory before the rename: the queue in it is not its own."""
    base.make()
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        (visible,) = base.channels()
        # Kept elsewhere, so that no later FIFO gets its inode number.
        (visible / "queue").rename(base.path.parent / "own")
        if there:
            os.mkfifo(visible / "queue", 0o600)
        trace.go_on()
        channel = opened.result()
    assert channel.directory != visible, "it took a channel for open whose queue is not its own"
    shutil.rmtree(visible, ignore_errors=True)
    _is_sound(base, driver, channel)


def _is_sound(base: Base, driver: Driver, channel: OpenChannel) -> None:
    """The channel receives, and closing it leaves nothing of it nor of earlier attempts."""
    assert channel.directory in base.channels(), f"not visible:\n{base.tree()}"
    assert has_reader(channel.directory), "nobody reads the channel that was opened"
    assert is_received(base, driver, channel), "the channel that was opened does not receive"
    driver.close_channel(channel)
    assert base.leftovers() == [], f"after closing, this is left:\n{base.tree()}"


@pytest.mark.requirement("CHAN-13", role="subscriber")
def test_an_open_channel_keeps_its_name(driver: Driver, base: Base) -> None:
    """Whatever goes on around it, the directory stays where it is, and it is the same one."""
    channel = driver.open("a")
    inode = channel.directory.stat().st_ino
    _is_used(driver, base, channel)
    assert channel.directory.stat().st_ino == inode, f"moved or replaced:\n{base.tree()}"


@pytest.mark.requirement("CHAN-13", role="subscriber")
def test_an_open_channel_is_not_renamed(driver: Driver, base: Base) -> None:
    """Not even for a moment."""
    channel = driver.open("a")
    with traced(driver) as trace:
        _is_used(driver, base, channel)
    moved = [call for call in trace.calls(*RENAME) if channel.directory in call.paths]
    assert not moved, f"the open channel was renamed: {moved}"


def _is_used(driver: Driver, base: Base, channel: OpenChannel) -> None:
    for _ in range(3):
        assert is_received(base, driver, channel)
        assert driver.fetch(channel) is None
        driver.wait(channel, 0.01)
        driver.close_channel(driver.open("a"))
