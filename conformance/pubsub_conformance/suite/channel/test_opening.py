"""Opening: a channel is made in `tmp` and visible with a reader, whatever vanishes meanwhile."""

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

from .support import check_sound, is_received, reads

pytestmark = pytest.mark.timing


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_is_visible_with_a_reader(driver: Driver, base: Base) -> None:
    """Right after the rename that makes a channel visible, its queue has a reader."""
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
    """Right after a queue was made, when nobody reads it yet, its channel is not visible."""
    base.make()
    with traced(driver, stop(MAKE_FIFO)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        seen = sorted(entry.name for entry in base.path.iterdir())
        trace.go_on()
        channel = opened.result()
    assert seen == ["tmp"], f"while the channel was being made, the base held {seen}"
    assert channel.directory.exists()


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_channel_is_made_in_tmp_and_renamed(driver: Driver, base: Base) -> None:
    """Opening makes a channel in `tmp`, opens its queue for reading, and renames it into the
    base."""
    base.make()
    with traced(driver) as trace:
        channel = driver.open("a")
    calls = trace.calls(*RENAME, *OPEN, *MAKE_DIRECTORY)
    made = [call for call in calls if call.name in MAKE_DIRECTORY and call.errno is None]
    assert not any(channel.directory in call.paths for call in made), "made in the base, not in tmp"
    renames = [
        call for call in calls if call.name in RENAME and channel.directory in call.paths[1:]
    ]
    if not made and not renames:
        not_run("the making of the channel was not seen")
    assert len(renames) == 1, f"expected one rename to the channel's name, found {renames}"
    source = renames[0].paths[0]
    assert source.parent == base.tmp, f"not renamed from tmp: {renames[0]}"
    opens = [call for call in calls if source / "queue" in call.paths and reads(call)]
    assert opens, f"the queue was not opened for reading in {source}"
    assert calls.index(opens[0]) < calls.index(renames[0]), "visible before it had a reader"


@pytest.mark.requirement("CHAN-10", role="subscriber")
def test_a_visible_channel_always_has_a_reader(driver: Driver, base: Base) -> None:
    """While channels open and close, none in the base is ever without a queue or a reader."""
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
                    # It was closed meanwhile, unless the directory still exists.
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
    """If the directory vanishes before the rename, the owner starts again, and its channel
    receives."""
    base.make()
    with traced(driver, fail(RENAME, "ENOENT", then_stop=True)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        for entry in base.tmp.iterdir():
            shutil.rmtree(entry)
        trace.go_on()
        channel = opened.result()
    check_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-11", role="subscriber")
def test_tmp_vanishes_before_the_rename(driver: Driver, base: Base) -> None:
    """If `tmp` vanishes before the rename, the owner starts again, and its channel receives."""
    base.make()
    with traced(driver, fail(RENAME, "ENOENT", then_stop=True)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        shutil.rmtree(base.tmp)
        trace.go_on()
        channel = opened.result()
    check_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-12", role="subscriber")
def test_a_channel_that_vanishes_after_the_rename(driver: Driver, base: Base) -> None:
    """If the channel vanishes right after the rename, the owner starts again under another
    name."""
    base.make()
    with traced(driver, stop(RENAME)) as trace:
        opened = trace.begin(driver.open, "a")
        trace.stopped()
        (visible,) = base.channels()
        shutil.rmtree(visible)
        trace.go_on()
        channel = opened.result()
    assert channel.directory != visible, "it kept a channel that is gone"
    check_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-12", role="subscriber")
@pytest.mark.parametrize("there", [True, False], ids=["another queue", "no queue"])
def test_a_queue_that_is_another_after_the_rename(driver: Driver, base: Base, there: bool) -> None:
    """If the queue is another one, or gone, after the rename, the owner starts again."""
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
    assert channel.directory != visible, "it kept a channel whose queue is not its own"
    shutil.rmtree(visible, ignore_errors=True)
    check_sound(base, driver, channel)


@pytest.mark.requirement("CHAN-13", role="subscriber")
def test_an_open_channel_keeps_its_name(driver: Driver, base: Base) -> None:
    """The directory of an open channel stays in its place, whatever happens."""
    channel = driver.open("a")
    inode = channel.directory.stat().st_ino
    _use(driver, base, channel)
    assert channel.directory.stat().st_ino == inode, f"moved or replaced:\n{base.tree()}"


@pytest.mark.requirement("CHAN-13", role="subscriber")
def test_an_open_channel_is_not_renamed(driver: Driver, base: Base) -> None:
    """The directory of an open channel is not renamed, not even for a moment."""
    channel = driver.open("a")
    with traced(driver) as trace:
        _use(driver, base, channel)
    moved = [call for call in trace.calls(*RENAME) if channel.directory in call.paths]
    assert not moved, f"the open channel was renamed: {moved}"


def _use(driver: Driver, base: Base, channel: OpenChannel) -> None:
    """Publish, fetch, wait, and open and close another channel."""
    for _ in range(3):
        assert is_received(base, driver, channel)
        assert driver.fetch(channel) is None
        driver.wait(channel, 0.01)
        driver.close_channel(driver.open("a"))
