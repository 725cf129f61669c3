"""Descriptors of queues that a publisher keeps: they go with its list of channels, and are few."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pubsub_conformance.driver import Driver, Rejected
from pubsub_conformance.linux.strace import OPEN, fail, traced
from pubsub_conformance.oracle.base import Base, Channel, fresh_name, names_in
from pubsub_conformance.oracle.queue import fill
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import WITHOUT_STANDARD_ERROR, Start
from pubsub_conformance.suite.publish.support import (
    PATIENCE_SECONDS,
    UNDER_WAY_SECONDS,
    octets_in,
    publishing,
)
from pubsub_conformance.suite.roles import settle
from pubsub_conformance.suite.scenes import NOBODY
from pubsub_conformance.waiting import until

from .support import check_fit, check_lanes, marked, queues_of, settled

pytestmark = pytest.mark.timing

MOST_OPENINGS = 9
"""So many openings of a publish to kept queues are made to fail, one after the other, if there are
as many."""


@contextmanager
def elsewhere(channel: Channel) -> Iterator[None]:
    """Have a channel in `tmp`, with its reader, as it is while it is closed."""
    away = channel.base.tmp / fresh_name()
    channel.directory.rename(away)
    yield
    away.rename(channel.directory)


@pytest.mark.requirement("INLINE-18")
def test_a_channel_closes_while_a_publish_waits(driver: Driver, base: Base) -> None:
    """A publish that waits for room in the queue of a marked channel ends once the channel is gone
    from its path, even if the queue has a reader and gets room then."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        fill(channel.directory)
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as publish:
            begin = time.monotonic()
            if until(publish.done, UNDER_WAY_SECONDS):
                not_run(f"the publish did not wait: {publish.result()}")
            with elsewhere(channel):
                ended = until(publish.done, PATIENCE_SECONDS / 2)
                count = publish.result()
        took = time.monotonic() - begin
        assert ended, f"the channel was gone, but the publish went on waiting, for {took:.0f} s"
        assert count == 0, "the only channel was gone from its path"


@pytest.mark.requirement("INLINE-18")
def test_a_queue_gets_room_after_its_channel_closed(driver: Driver, base: Base) -> None:
    """A publish that waits does not write to a queue whose channel is gone from its path."""
    with marked(base) as [channel]:
        settled(driver, base, channel)
        fill(channel.directory)
        with publishing(driver, "a", timeout=PATIENCE_SECONDS) as publish:
            if until(publish.done, UNDER_WAY_SECONDS):
                not_run(f"the publish did not wait: {publish.result()}")
            with elsewhere(channel):
                octets_in(channel)
                count = publish.result()
                assert count == 0, "the only channel was gone from its path"
                assert octets_in(channel) == b"", "a queue got a message of a publish that waited"


@pytest.mark.requirement("INLINE-21")
def test_a_channel_that_is_closed(driver: Driver, base: Base) -> None:
    """A marked channel that is gone from its path gets nothing and is not counted, even if its
    queue has a reader; a channel that is back gets messages again."""
    with marked(base, 2) as [channel, other]:
        settled(driver, base, channel, other)
        for _ in range(3):
            with elsewhere(channel):
                assert driver.publish("a") == 1, "one channel is left"
                assert octets_in(channel) == b"", "a channel that was closed got a message"
            assert driver.publish("a") == 2, "the channel is back"
            check_lanes(channel, ["record"], "a channel that was elsewhere for a while")
            check_lanes(other, ["record"] * 2, "the other channel")
            settled(driver, base, channel, other)


@pytest.mark.requirement("INLINE-21")
def test_another_channel_of_the_same_name(driver: Driver, base: Base) -> None:
    """A publish reaches the marked channel that has the name now, and no other."""
    with marked(base, 2) as [channel, other]:
        settled(driver, base, channel, other)
        for _ in range(2):
            with elsewhere(channel):
                other.directory.rename(channel.directory)
                settle(driver, base, "a")
                assert driver.publish("a") == 1, "another channel has the name now"
                assert octets_in(channel) == b"", "the channel that had the name got a message"
                assert octets_in(other), "the channel that has the name got no message"
                channel.directory.rename(other.directory)
            settled(driver, base, channel, other)


@pytest.mark.requirement("INLINE-21", "INLINE-5")
@pytest.mark.parametrize("first", ["marked", "unmarked"])
def test_a_channel_of_the_same_name_without_a_marker(
    driver: Driver, base: Base, first: str
) -> None:
    """If a channel takes the name of one, a publisher finds out anew whether it is marked."""
    with marked(base) as [channel], base.open("a") as other:
        one, two = (channel, other) if first == "marked" else (other, channel)
        settled(driver, base, channel, other)
        with elsewhere(one):
            two.directory.rename(one.directory)
            for when in ("at first", "with a list that was kept"):
                assert driver.publish("a") == 1, f"one channel is left, {when}"
                assert octets_in(one) == b"", "the channel that had the name got a message"
                octets = octets_in(two)
                lane = "record" if octets.startswith(b"\x80\0") else "file"
                expected = "record" if two.is_marked else "file"
                assert lane == expected, f"the channel that has the name now, {when}: a {lane}"
                settle(driver, base, "a")
                octets_in(two)
            for name in names_in(one.directory):
                if name.isdecimal():
                    (one.directory / name).unlink()
            one.directory.rename(two.directory)


@pytest.mark.requirement("INLINE-5")
def test_a_queue_of_another_user_takes_the_place(driver: Driver, base: Base) -> None:
    """A publisher compares the marker's user with the queue's each time it opens a queue: one that
    takes the place of another, under a list that was kept, may be another user's."""
    if os.geteuid():
        not_run("only root can give a queue away")
    with marked(base) as [channel]:
        settled(driver, base, channel)
        channel.stop_reading()
        assert driver.publish("a") == 0, "the only queue has no reader"
        queue = channel.directory / "queue"
        queue.unlink()
        os.mkfifo(queue, 0o600)
        os.chown(queue, NOBODY, NOBODY)
        read_end = os.open(queue, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert driver.publish("a") == 1, "the queue has a reader"
            octets = os.read(read_end, 1024)
        finally:
            os.close(read_end)
        assert len(octets) == 8, (
            f"expected an id, found {octets.hex(' ')}: the marker is not of the queue's user"
        )
        assert channel.files() == [str(int.from_bytes(octets, "big"))]


@pytest.mark.requirement("INLINE-21")
def test_a_base_that_was_made_anew(driver: Driver, base: Base) -> None:
    """If another directory takes the place of the base, a publish reaches its marked channels, and
    not those of the old one, even with the same times and names."""
    with marked(base) as [old]:
        settled(driver, base, old)
        before = base.path.stat()
        base.path.rename(base.path.with_name("moved"))
        base.make()
        with base.open("a", inline=True) as new:
            os.utime(base.path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert driver.publish("a") == 1, "one channel is open in the new base"
            check_lanes(new, ["record"], "the channel of the new base")
            assert octets_in(old) == b"", "the channel of the old base got a message"


@pytest.mark.requirement("INLINE-21")
@pytest.mark.requirement("PUB-22", role="publisher")
def test_a_reader_that_is_gone(driver: Driver, base: Base) -> None:
    """A marked channel whose reader is gone is not counted, keeps no file, and is no error; others
    get the message."""
    with marked(base, 2) as [dead, other]:
        settled(driver, base, dead, other)
        dead.stop_reading()
        for content in (b"x", bytes(5000), b"x"):
            assert driver.publish("a", content) == 1, "one of two queues has no reader"
            assert dead.files() == [], f"a file is left in the dead channel:\n{base.tree()}"
            check_lanes(other, ["file" if len(content) > 1000 else "record"], "the other channel")


@pytest.mark.requirement("INLINE-21")
def test_a_marked_channel_that_opens_after_each_publish(driver: Driver, base: Base) -> None:
    """A publish reaches a marked channel however soon after the last publish it opened, and does
    not count one that closed."""
    check_fit(base)
    for number in range(100):
        assert driver.publish("a") == 0, f"no channel was open (round {number})"
        with base.open("a", inline=True) as channel:
            for _ in range(number % 3 + 1):
                assert driver.publish("a") == 1, f"one channel was open (round {number})"
            check_lanes(channel, ["record"] * (number % 3 + 1), f"round {number}")


def _few(soft: int) -> list[str]:
    """The prefix that runs a command with this limit of open files."""
    return ["sh", "-c", f'ulimit -S -n {soft}; exec "$@"', "sh"]


@pytest.mark.requirement("INLINE-22")
@pytest.mark.parametrize(("soft", "channels"), [(64, 20), (256, 40), (4096, 260)])
def test_few_descriptors_are_kept(start: Start, base: Base, soft: int, channels: int) -> None:
    """A publisher keeps at most an eighth of the descriptors that it may have open, and at most
    256, and publishes to all channels nevertheless: also after it has waited for room in a queue
    that it does not keep."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard not in range(soft, 2**63) and hard != resource.RLIM_INFINITY:
        not_run(f"this process may not have more than {hard} files open")
    mine = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(mine[0], min(hard, 4 * channels)), hard))
    driver = start(prefix=_few(soft))
    try:
        with marked(base, channels) as all_of_them, base.open("c") as full:
            fill(full.directory)
            assert driver.publish("c", timeout=0.2) == 0, "the queue was full"
            settled(driver, base, *all_of_them)
            for _ in range(2):
                assert driver.publish("a") == channels, f"{channels} channels are open"
            most = min(256, soft // 8)
            kept = queues_of(driver)
            assert len(kept) <= most, (
                f"with a limit of {soft} open files, expected at most {most} descriptors that are"
                f" kept, found {len(kept)}"
            )
            for channel in all_of_them:
                check_lanes(channel, ["record"] * 2, f"one of {channels} channels")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, mine)


@pytest.mark.requirement("INLINE-23")
def test_a_publisher_without_standard_error(start: Start, base: Base) -> None:
    """A publisher whose descriptor 2 is free does not keep a queue under this number."""
    driver = start(prefix=WITHOUT_STANDARD_ERROR)
    with marked(base, 3) as channels:
        settled(driver, base, *channels)
        assert driver.publish("a") == 3
        kept = {number: path for number, path in queues_of(driver).items() if number < 3}
        assert not kept, f"expected no queue under the numbers 0 to 2, found {kept}"


@pytest.mark.requirement("INLINE-23")
@pytest.mark.parametrize("inline", [False, True], ids=["unmarked", "marked"])
def test_a_subscriber_without_standard_error(start: Start, base: Base, inline: bool) -> None:
    """An owner whose descriptor 2 is free holds neither its queue nor its directory under this
    number."""
    check_fit(base)
    driver = start(prefix=WITHOUT_STANDARD_ERROR)
    for _ in range(3):
        driver.open("a", inline=inline)
        for number in range(3):
            try:
                path = os.readlink(f"/proc/{driver.pid}/fd/{number}")
            except OSError:
                continue  # it is free
            assert not path.startswith(str(base.path)), f"descriptor {number} leads to {path}"


@pytest.mark.requirement("INLINE-24")
@pytest.mark.parametrize("errno", ["EMFILE", "ENFILE"])
def test_want_of_descriptors(driver: Driver, base: Base, errno: str) -> None:
    """If a queue cannot be opened for want of descriptors, a publisher closes those that it keeps
    and tries again: each channel gets the message, and there is no error."""
    with marked(base) as [channel], base.open("a") as other:
        settled(driver, base, channel, other)
        kept = channel.directory / "queue"
        if kept not in queues_of(driver).values():
            not_run("the driver keeps no descriptor")
        queue = other.directory / "queue"
        with traced(driver, fail(OPEN, errno), paths=[queue, kept, "queue"]) as trace:
            count = driver.publish("a", b"x")
        if not any(call.injected and queue in call.paths for call in trace.calls(*OPEN)):
            not_run("strace saw no opening of the queue that it could make fail")
        assert count == 2, "both channels were open"
        closed = [call for call in trace.calls("close") if call.descriptor == kept]
        assert closed, f"{errno}: the publisher did not close the descriptor that it kept"
        check_lanes(channel, ["record"], "the marked channel")
        check_lanes(other, ["file"], "the unmarked channel")


@pytest.mark.requirement("INLINE-24")
@pytest.mark.parametrize("changed", [False, True], ids=["kept list", "changed base"])
def test_want_of_descriptors_for_a_large_message(driver: Driver, base: Base, changed: bool) -> None:
    """Whichever opening of a publish fails for want of descriptors (the base, `tmp`, the staged
    file), a publisher closes the descriptors that it keeps and tries again: also where it has to
    list the base anew."""
    with marked(base, 2) as channels:
        queues = {channel.directory / "queue" for channel in channels}
        for number in range(1, MOST_OPENINGS + 1):
            with base.open("b"):
                pass  # it changes the base: a publisher that has kept a list makes a new one
            settled(driver, base, *channels)
            if not queues <= set(queues_of(driver).values()):
                not_run("the driver does not keep two descriptors")
            if changed:
                base.open("b").close()
            count: int | None = None
            with traced(driver, fail(OPEN, "EMFILE", number)) as trace, suppress(Rejected):
                count = driver.publish("a", bytes(5000))
            failed = [call for call in trace.calls(*OPEN) if call.injected]
            if not failed:
                break
            calls = trace.calls(*OPEN, "close")
            kept = queues - {call.descriptor for call in calls[: calls.index(failed[0])]}
            if changed and not kept:
                # It had closed them before, with the list that the change made old.
                for channel in channels:
                    channel.fetch_all()
                continue
            assert count == 2, f"two channels were open, and this failed once: {failed[0]}"
            closed = {call.descriptor for call in calls if call.name == "close"}
            assert queues <= closed, (
                f"expected that the publisher closes what it keeps, {queues}, after {failed[0]},"
                f" found that it closed {closed}"
            )
            for channel in channels:
                check_lanes(channel, ["file"], "a large message")
    if number == 1:
        not_run("strace saw no opening that it could make fail")
