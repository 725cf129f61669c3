"""The guarantee (guarantee.md), with a few channels and processes."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pubsub_conformance.driver import Driver, DriverError, Rejected
from pubsub_conformance.linux.strace import (
    LINK,
    MAKE_DIRECTORY,
    MAKE_FIFO,
    OPEN,
    RENAME,
    UNLINK,
    stop,
    traced,
)
from pubsub_conformance.oracle.arrange import dead_pid
from pubsub_conformance.oracle.base import Base, put
from pubsub_conformance.oracle.message import Message, Scalar, fresh_id
from pubsub_conformance.oracle.queue import enqueue, fill
from pubsub_conformance.oracle.topics import matches
from pubsub_conformance.plugin import not_run
from pubsub_conformance.suite.helpers import Start, answers, as_user, start_as, through

pytestmark = pytest.mark.timing

MANY = 200
"""How many messages test an order."""

STEPS = (*OPEN, *LINK, *RENAME, *UNLINK, *MAKE_FIFO, *MAKE_DIRECTORY)
"""The calls that are steps of operations on the disk."""

LATE_SECONDS = 100
"""How long a driver may take to reply that is stopped again and again."""

DELICATE: list[tuple[str, dict[str, Scalar], bytes]] = [
    ("a", {}, b""),
    ("a", {"n": 1, "yes": True, "none": None, "ratio": 0.5, "é\0": "\n😀"}, b"Hello"),
    ("A-b.0.-", {"": ""}, bytes(range(256))),
    ("a." * 99 + "aa", {"long": "x" * 100_000}, b"PMSG\1"),
    ("a", {}, b"\0" * 4096),
    ("a", {}, b"\r\n\0" * 21_845),
    ("a", {}, b"\r\n\0\xff" * 250_000),
]
"""Topic, headers and content of messages that a careless implementation damages."""


# Publishers.


@pytest.mark.requirement("GUAR-1", role="publisher")
def test_the_count_is_the_number_of_queues_that_took_the_id(driver: Driver, base: Base) -> None:
    """The count is the number of queues that took the id: full and dead ones, and those of other
    topics, are not counted."""
    base.make()
    assert driver.publish("a") == 0, "there is no channel"
    with ExitStack() as opened:
        taking = [opened.enter_context(base.open(pattern)) for pattern in ("a", "=", "+")]
        full, other, dead = (opened.enter_context(base.open(p)) for p in ("a", "b", "a"))
        fill(full.directory)
        dead.stop_reading()
        base.dead_channel("a", os.getpid(), queue=False)
        for _ in range(4):
            count = driver.publish("a")
            took = [channel.pattern for channel in [*taking, other] if channel.fetch_all()]
            assert count == len(took), f"the count is {count}; these channels got it: {took}"
            if taking:
                taking.pop().close()
        full.fetch_all()
        count = driver.publish("a")
        assert count == len(full.fetch_all()), f"the count is {count}; one queue has room again"


@pytest.mark.requirement("GUAR-3", role="publisher")
def test_a_published_message_is_whole(driver: Driver, base: Base) -> None:
    """The file in the channel is the message that was published, and its name is the id inside."""
    with base.open("+") as channel:
        for topic, headers, content in DELICATE:
            assert driver.publish(topic, content, headers) == 1
            files = channel.files()
            message = channel.fetch()
            assert message is not None
            assert files == [str(message.id)]
            expected = Message(message.id, message.timestamp, topic, headers, content)
            assert message == expected


@pytest.mark.requirement("GUAR-4", role="publisher")
def test_a_publisher_keeps_its_order(driver: Driver, base: Base) -> None:
    """Messages that a process publishes one after the other are in this order in each queue."""
    with base.open("a") as first, base.open("+") as second:
        for n in range(MANY):
            driver.publish("a" if n % 2 else "b", str(n).encode())
        for channel in (first, second):
            found = [int(message.content) for message in channel.fetch_all()]
            assert found == sorted(found), f"not in the order of the publishes: {found}"


@pytest.mark.requirement("GUAR-5", role="publisher")
def test_a_channel_gets_what_is_published_after_it_was_opened(driver: Driver, base: Base) -> None:
    """A channel that opened a moment before a publish gets the message, and so do the others."""
    with ExitStack() as opened:
        channels = []
        for n in range(1, 101):
            channels.append(opened.enter_context(base.open("a" if n % 2 else "+")))
            count = driver.publish("a", str(n).encode())
            missed = [c.directory.name for c in channels if len(c.fetch_all()) != 1]
            assert (count, missed) == (n, []), f"{n} channels were open"


@pytest.mark.requirement("GUAR-5", role="publisher")
def test_channels_that_come_and_go_are_noticed(driver: Driver, base: Base) -> None:
    """Each time a channel closes and another one opens, the new one gets the next message."""
    channel = base.open("a")
    for n in range(100):
        channel.close()
        channel = base.open("a")
        assert driver.publish("a") == 1, f"the publish after change {n} did not reach the channel"
        assert len(channel.fetch_all()) == 1
    channel.close()
    assert driver.publish("a") == 0


def deliver(driver: Driver, base: Base) -> Iterator[tuple[str, list[str], list[str]]]:
    """Publish to many topics. Yields the pattern of each channel, the topics due and received."""
    base.make()
    topics = ["a", "b", "A", "a.b", "a.b.c", "ab", "a-b", "b.a", "a.a"]
    with ExitStack() as opened:
        for pattern in ("a", "=", "+", "a.=", "a.+", "=.b", "+.a", "b"):
            opened.enter_context(base.open(pattern))
        channels = [opened.enter_context(base.open(p)) for p in ("a", "=", "a.=", "+.b", "a.+")]
        for topic in topics:
            driver.publish(topic)
        for channel in channels:
            due = [topic for topic in topics if matches(channel.pattern, topic)]
            yield channel.pattern, due, [message.topic for message in channel.fetch_all()]


@pytest.mark.requirement("GUAR-5", role="publisher")
def test_a_channel_gets_all_that_it_matches(driver: Driver, base: Base) -> None:
    """Each channel gets all messages whose topics its pattern matches."""
    missing = {pattern: set(due) - set(came) for pattern, due, came in deliver(driver, base)}
    assert not any(missing.values()), f"missing, by pattern: {missing}"


@pytest.mark.requirement("GUAR-6", role="publisher")
def test_a_channel_gets_nothing_that_it_does_not_match(driver: Driver, base: Base) -> None:
    """No channel gets a message whose topic its pattern does not match."""
    unwanted = {pattern: set(came) - set(due) for pattern, due, came in deliver(driver, base)}
    assert not any(unwanted.values()), f"unwanted, by pattern: {unwanted}"


@pytest.mark.requirement("GUAR-7", role="publisher")
def test_a_channel_that_fails_does_not_keep_a_message_from_others(
    driver: Driver, base: Base
) -> None:
    """Beside full, dead, vanished and broken channels, each living channel gets every message."""
    with ExitStack() as opened:
        living = []
        for n in range(20):  # in whatever order the publisher meets them
            living.append(opened.enter_context(base.open("a")))
            full, dead, gone, replaced = (opened.enter_context(base.open("a")) for _ in range(4))
            fill(full.directory)
            dead.stop_reading()
            shutil.rmtree(gone.directory)
            (replaced.directory / "queue").unlink()
            if n % 2:
                (replaced.directory / "queue").mkdir()
            base.dead_channel("a", os.getpid())
        for _ in range(3):
            with contextlib.suppress(Rejected):  # PUB-10 and PUB-13 say what it reports
                driver.publish("a")
            reached = [len(channel.fetch_all()) for channel in living]
            assert reached == [1] * len(living), f"messages in the living channels: {reached}"


@pytest.mark.requirement("GUAR-7", role="publisher")
def test_a_channel_that_is_not_accessible_does_not_keep_a_message_from_others(
    start: Start, base: Base
) -> None:
    """Beside channels that deny access, every other channel gets the message."""
    prefix: list[str] = []
    if os.geteuid() == 0:  # to whom nothing is denied
        prefix = as_user(4712)
        base.make(0o1777)
        base.path.parent.chmod(0o711)
        if subprocess.run([*prefix, "test", "-w", base.path]).returncode != 0:
            not_run(f"another user cannot reach {base.path}")
    driver = start_as(start, prefix)
    with ExitStack() as opened:
        living, denied = [], []
        for _ in range(10):
            # The pid of a process that runs: an implementation that looks at it breaks CHAN-9 only.
            living.append(opened.enter_context(base.open("a", pid=driver.pid)))
            denied.append(opened.enter_context(base.open("a", pid=driver.pid)))
        driver.publish("a")  # so that it has kept what it keeps of the base
        for channel in living:
            channel.fetch_all()
        for channel in denied:
            channel.directory.chmod(0)
        with contextlib.suppress(Rejected):  # PUB-13 says what it reports
            driver.publish("a")
        for channel in denied:
            channel.directory.chmod(0o700)
        reached = [len(channel.fetch_all()) for channel in living]
        assert reached == [1] * 10, f"messages in the living channels: {reached}"


# Subscribers.


@pytest.mark.requirement("GUAR-2", role="subscriber")
def test_each_message_is_yielded_once(driver: Driver, base: Base) -> None:
    """Among bad files, ids without files, and ids of 0, each message is yielded once."""
    channel = driver.open("a")
    sent = []
    ids = MANY  # in the queue, with those that have no message
    for n in range(MANY):
        sent.append(base.publish("a", str(n).encode()))
        if n % 5 == 0:
            put(channel.directory, b"bad")
        elif n % 5 == 1:
            enqueue(channel.directory, fresh_id())
        elif n % 5 == 2:
            enqueue(channel.directory, 0)
        ids += n % 5 < 3
    found = []
    # A fetch takes one id at least. FETCH-3, FETCH-5 and FETCH-10 say what it reports of an id that
    # has no message.
    for _ in range(ids + 1):
        with contextlib.suppress(Rejected):
            if (message := driver.fetch(channel)) is not None:
                found.append(message)
    missing = [message for message in sent if message not in found]
    assert not missing, f"{len(missing)} of {len(sent)} messages were not yielded: {missing[:3]}"
    assert len(found) == len(sent), f"{len(sent)} messages were sent, {len(found)} were yielded"


@pytest.mark.requirement("GUAR-2", role="subscriber")
def test_each_channel_yields_its_own_copy(driver: Driver, base: Base) -> None:
    """Each of two channels of a process yields each message once."""
    channels = driver.open("a"), driver.open("+")
    sent = [base.publish("a", str(n).encode()) for n in range(20)]
    for channel in channels:
        assert [driver.fetch(channel) for _ in range(21)] == [*sent, None]


@pytest.mark.requirement("GUAR-3", role="subscriber")
def test_a_fetched_message_is_whole(driver: Driver, base: Base) -> None:
    """A fetch yields the message as the kit published it."""
    channel = driver.open("+")
    for topic, headers, content in DELICATE:
        message = base.publish(topic, content, headers)
        assert driver.fetch(channel) == message


@pytest.mark.requirement("GUAR-3", role=("publisher", "subscriber"))
def test_a_message_is_whole_from_one_process_to_another(start: Start) -> None:
    """A message that one process publishes arrives whole in another."""
    publisher, subscriber = start(), start()
    channel = subscriber.open("+")
    for topic, headers, content in DELICATE:
        assert publisher.publish(topic, content, headers) == 1
        message = subscriber.fetch(channel)
        assert message is not None
        assert message == Message(message.id, message.timestamp, topic, headers, content)


@pytest.mark.requirement("GUAR-4", role="subscriber")
def test_a_subscriber_keeps_the_order(driver: Driver, base: Base) -> None:
    """Messages are yielded in the order of the queue, whatever their ids, times and topics are."""
    channel = driver.open("+")
    ids = [2**56 + n * 7919 % MANY for n in range(MANY)]  # each id once, not in order
    for n, id in enumerate(ids):
        message = Message(id, 2**40 - n, "b" if n % 3 else "a", {}, str(n).encode())
        put(channel.directory, message)
    found = [driver.fetch(channel) for _ in ids]
    assert [message and message.id for message in found] == ids, "not in the order of the queue"


@pytest.mark.requirement("GUAR-7", role="subscriber")
def test_a_channel_that_fails_leaves_the_others_working(driver: Driver, base: Base) -> None:
    """If channels of a process are damaged, full or gone, its other channels yield their
    messages."""
    good, bad, full, gone = (driver.open("a") for _ in range(4))
    put(bad.directory, b"bad")
    enqueue(bad.directory, b"odd")
    fill(full.directory)
    shutil.rmtree(gone.directory)
    sent = base.publish("a")
    for channel in (bad, full, gone):
        with contextlib.suppress(Rejected):
            driver.fetch(channel)
    assert driver.fetch(good) == sent
    assert driver.fetch(good) is None
    later = driver.open("a")
    sent = base.publish("a")
    assert driver.fetch(later) == driver.fetch(good) == sent


@pytest.mark.requirement("GUAR-7", role=("publisher", "subscriber"))
def test_a_stopped_or_killed_subscriber_disturbs_nobody(start: Start) -> None:
    """Beside a subscriber that is stopped, and then killed, another one gets every message."""
    publisher, stopped, good = start(), start(), start()
    stopped.open("a")
    channel = good.open("a")
    assert publisher.publish("a") == 2
    os.killpg(stopped.pid, signal.SIGSTOP)
    with answers("a publish past a stopped subscriber"):
        assert publisher.publish("a") == 2
    stopped.kill()
    stopped.close()  # waits for its end
    with answers("a publish past a killed subscriber"):
        assert publisher.publish("a") == 1
    assert [message is not None for message in (good.fetch(channel) for _ in range(4))] == [
        *[True] * 3,
        False,
    ]


# Locks.


def one_operation(role: str, driver: Driver, base: Base) -> None:
    """Do the role's operation, with every step that might need a lock."""
    if role == "publisher":
        driver.publish("a")
    elif role == "subscriber":
        channel = driver.open("a")
        driver.fetch(channel)
        driver.close_channel(channel)
    else:
        base.dead_channel("a", dead_pid())
        driver.reap()


@contextlib.contextmanager
def at_work(role: str, driver: Driver, base: Base) -> Iterator[None]:
    """Have a driver do the role's operation again and again while the test goes on."""
    done = threading.Event()

    def work() -> None:
        with contextlib.suppress(DriverError):  # it is killed in the end
            while not done.is_set():
                one_operation(role, driver, base)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        driver.kill()
        thread.join()


@through("GUAR-8", "publisher", "subscriber", "reaper")
def test_nobody_waits_for_one_that_stopped_between_two_steps(
    start: Start, base: Base, role: str
) -> None:
    """While another process is stopped after any of its steps on the disk, every operation
    ends."""
    driver, stopped = start(), start()
    with (
        base.open("a"),
        # Its reply comes after as many operations of the other driver as it has steps.
        traced(stopped, stop(STEPS, None), reply_seconds=LATE_SECONDS) as trace,
    ):
        trace.begin(one_operation, role, stopped, base)
        steps = 0
        for call in trace.stops():
            with answers(f"{role}: an operation while another process is stopped after {call}"):
                one_operation(role, driver, base)
            steps += 1
    if steps < 2:
        not_run(f"strace saw only {steps} steps to stop the driver after")


@through("GUAR-8", "publisher", "subscriber", "reaper")
def test_nobody_waits_for_a_stopped_process(start: Start, base: Base, role: str, seed: int) -> None:
    """While another process is stopped in the middle of its work, every operation ends."""
    moments = random.Random(seed)
    driver, stopped = start(), start()
    stopped.limits = stopped.limits._replace(reply_seconds=LATE_SECONDS)
    with base.open("a"), at_work(role, stopped, base):
        for n in range(50):
            time.sleep(moments.uniform(0, 0.004))  # the moment of the stop is drawn
            os.killpg(stopped.pid, signal.SIGSTOP)
            with answers(f"{role}: an operation while another process is stopped (time {n})"):
                one_operation(role, driver, base)
            os.killpg(stopped.pid, signal.SIGCONT)
    with answers(f"{role}: an operation after another process was killed"):
        one_operation(role, driver, base)
