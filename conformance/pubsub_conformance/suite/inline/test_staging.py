"""Staging: a message is staged for the channels that need a file, and records need none."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.namespace import own_tmpfs, seen_by
from pubsub_conformance.linux.strace import WRITE, stop, traced
from pubsub_conformance.oracle.base import Base, fresh_name, names_in
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, refuses
from pubsub_conformance.suite.publish.support import ids_in, nothing_left
from pubsub_conformance.suite.scenes import (
    close_off,
    start_without_privileges,
    tmp_is_a_file,
    tmp_is_a_link,
)

from .support import check_lanes, lanes_in, marked, parts_in, settled, usual_room

pytestmark = pytest.mark.timing

TRIES = 12
"""How often two channels are opened until the marked one is served first. Their names are random,
so an implementation that sorts names fails to do so once in 4096 runs."""


def tmp_denies_writing(base: Base) -> None:
    close_off(base.tmp, 0o555)


spoilt = pytest.mark.parametrize(
    "spoil",
    [tmp_is_a_file, tmp_is_a_link, tmp_denies_writing],
    ids=lambda spoil: spoil.__name__.replace("_", " "),
)
"""Run the test for each of these ways in which a message cannot be staged."""

Spoil = Callable[[Base], None]


@contextlib.contextmanager
def without_tmp(base: Base, spoil: Spoil) -> Iterator[None]:
    """Spoil `tmp`, and give the base a good one in the end."""
    spoil(base)
    try:
        yield
    finally:
        if base.tmp.is_dir() and not base.tmp.is_symlink():
            base.tmp.chmod(0o700)
            shutil.rmtree(base.tmp)
        else:
            base.tmp.unlink()
        base.make_tmp()


def check_reported(driver: Driver, count: int, content: bytes, what: str) -> None:
    """The publish has to fail with io-error, and with this count."""
    try:
        found: object = driver.publish("a", content)
    except Rejected as error:
        found = error
        if (error.code, error.count) == ("io-error", count):
            return
    pytest.fail(f"{what}: expected io-error with the count {count}, found {found}")


@pytest.mark.requirement("INLINE-14")
@spoilt
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_message_that_cannot_be_staged(
    start: Start, base: Base, spoil: Spoil, warm: bool
) -> None:
    """If a message cannot be staged, marked channels get the record; an unmarked channel beside
    them is an io-error with their number, and without one there is no error."""
    driver = start_without_privileges(start)
    with marked(base, 2) as channels:
        with base.open("a") as other:
            if warm:
                settled(driver, base, *channels, other)
            with without_tmp(base, spoil):
                for number in range(2):
                    what = f"publish {number} to two marked channels and an unmarked one"
                    check_reported(driver, 2, b"x", what)
                    for channel in channels:
                        check_lanes(channel, ["record"], what)
                    assert ids_in(other) == [], "an id was written, but nothing could be staged"
                    assert other.files() == []
        with without_tmp(base, spoil):
            for number in range(2):
                try:
                    count = driver.publish("a", b"x")
                except Rejected as error:
                    pytest.fail(f"publish {number}: no channel needs a file, but found {error}")
                assert count == 2, "two marked channels are open"
                for channel in channels:
                    check_lanes(channel, ["record"], f"publish {number} to two marked channels")


@pytest.mark.requirement("INLINE-14")
@pytest.mark.parametrize("spoil", [tmp_is_a_file, tmp_is_a_link])
def test_a_large_message_that_cannot_be_staged(driver: Driver, base: Base, spoil: Spoil) -> None:
    """If a message is too large for a record and cannot be staged because `tmp` is no directory,
    no queue takes it, and the error is base-unusable, as without the lane."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        with without_tmp(base, spoil):
            with refuses("base-unusable", what="a publish of 5000 octets"):
                driver.publish("a", bytes(5000))
            assert parts_in(channel) == [], "the publish failed, but wrote to the queue"


@pytest.mark.requirement("INLINE-14")
def test_no_room_for_a_file(start: Start, base: Base) -> None:
    """On a file system without room for another file, marked channels get the record; an unmarked
    one is io-error ENOSPC with their number."""
    place = base.path.with_name("small")
    place.mkdir()
    prefix = own_tmpfs(place, "size=1m,nr_inodes=64")
    driver = start(prefix=prefix, PUBSUB_HOME=str(place / "base"))
    small = Base(seen_by(driver, place / "base"), base.marked)
    small.make()
    with marked(small) as [channel], small.open("a") as other:
        with contextlib.suppress(OSError):
            for _ in range(100):
                (small.path / fresh_name()).touch()
        for number in range(2):
            with pytest.raises(Rejected) as refusal:
                driver.publish("a", b"x")
            error = refusal.value
            found = (error.code, error.errno, error.count)
            assert found == ("io-error", "ENOSPC", 1), (
                f"publish {number}: expected io-error ENOSPC with the count 1, found {error}"
            )
            check_lanes(channel, ["record"], f"publish {number} on a full file system")
            assert ids_in(other) == []
        for entry in small.path.iterdir():
            if entry.is_file():
                entry.unlink()
        assert driver.publish("a", b"x") == 2, "the file system has room again"


@pytest.mark.requirement("INLINE-15")
@spoilt
def test_a_record_for_want_of_a_file(start: Start, base: Base, spoil: Spoil) -> None:
    """If a message cannot be staged, a marked queue that is more than half full gets the record
    nevertheless, and there is no error."""
    driver = start_without_privileges(start)
    with marked(base) as [channel]:
        usual_room(channel)
        for octets in (32768, 61440):
            os.write(channel.write_end, bytes(octets))
            with without_tmp(base, spoil):
                try:
                    count = driver.publish("a", b"x")
                except Rejected as error:
                    pytest.fail(f"the queue had room for a record, but found {error}")
            assert count == 1, f"a queue of 65536 octets that holds {octets} has room for a record"
            check_lanes(channel, ["record"], "a message that could not be staged")


@pytest.mark.requirement("INLINE-15")
def test_neither_a_file_nor_a_record(driver: Driver, base: Base) -> None:
    """If a message cannot be staged and a marked queue is full, the publish fails, and other
    marked channels get the record."""
    with marked(base, 2) as [full, other]:
        fill(full.directory)
        with without_tmp(base, tmp_is_a_file):
            check_reported(driver, 1, b"x", "a full queue and one with room")
        check_lanes(other, ["record"], "the other channel")
        assert [part for part in parts_in(full) if part] == [], "the full queue was written to"


@pytest.mark.requirement("INLINE-17")
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("changed", [False, True], ids=["", "and the base changes"])
def test_tmp_vanishes_after_a_record_was_written(
    driver: Driver, base: Base, changed: bool, warm: bool
) -> None:
    """If `tmp` vanishes after a queue took the record, and another channel needs the file, each
    has the message once, and both are counted."""
    for _ in range(TRIES):
        with marked(base) as [channel], base.open("a") as other:
            queues = [each.directory / "queue" for each in (channel, other)]
            if warm:
                settled(driver, base, channel, other)
            with traced(driver, stop(WRITE), paths=queues) as trace:
                count = trace.begin(driver.publish, "a", b"x")
                first = trace.stopped().descriptor
                shutil.rmtree(base.tmp)
                if changed:
                    base.path.chmod(0o711)
                trace.go_on()
                found = count.result()
                base.path.chmod(0o700)
            lanes = lanes_in(channel), lanes_in(other)
            assert lanes == (["record"], ["file"]), (
                f"expected one record in the marked channel and one file in the other, found"
                f" {lanes}"
            )
            assert found == 2, f"both channels have the message, but the count is {found}"
            assert names_in(base.tmp) == [], f"something is left in tmp:\n{base.tree()}"
            if first == queues[0]:
                return
    not_run("the unmarked channel was always served first")


@pytest.mark.requirement("INLINE-12")
@pytest.mark.requirement("PUB-14", role="publisher")
def test_nothing_is_left_of_records(driver: Driver, base: Base) -> None:
    """A publish leaves nothing in `tmp`, whether marked channels get records or files, are full or
    without a reader."""
    with marked(base, 2) as channels:
        for what in ("records", "records", "files", "full", "dead"):
            if what == "full":
                fill(channels[0].directory)
            if what == "dead":
                channels[1].stop_reading()
            driver.publish("a", bytes(5000 if what == "files" else 10))
            left = os.listdir(base.tmp)
            assert left == [], f"after a publish ({what}), tmp holds {left}"
        channels[0].fetch_all()
    nothing_left(base, "publishes to marked channels")
