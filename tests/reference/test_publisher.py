from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import threading
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Start

import pubsub.place
from pubsub import Channel, InvalidHeaders, InvalidTopic, PublishFailed, fetch, publish


def test_threads_that_publish() -> None:  # PUB-2, GUAR-4
    count, threads = 100, 4  # all of it fits into the smallest queue that Linux gives
    counts: list[int] = []
    together = threading.Barrier(threads)

    def run(name: int) -> None:
        together.wait()
        counts.append(sum(publish(f"a.{name}", str(n).encode()) for n in range(count)))

    with Channel("a.=") as one, Channel("+") as two:
        workers = [threading.Thread(target=run, args=[name]) for name in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert counts == [2 * count] * threads
        for channel in (one, two):
            got = defaultdict(list)
            ids = set()
            while (message := fetch(channel)) is not None:
                got[message.topic].append(int(message.content))
                ids.add(message.id)
            assert got == {f"a.{name}": list(range(count)) for name in range(threads)}
            assert len(ids) == count * threads


@pytest.mark.parametrize(
    ("topic", "data", "headers", "timeout", "error"),
    [
        ("a.=", b"", None, 0, InvalidTopic),
        ("a", "text", None, 0, TypeError),
        ("a", b"", {"a": [1]}, 0, InvalidHeaders),
        ("a", b"", None, -1, ValueError),
    ],
)
def test_what_is_refused_touches_no_disk(
    home: Path, topic: str, data: bytes, headers: dict[str, Any], timeout: float, error: type
) -> None:
    with pytest.raises(error):
        publish(topic, data, headers, timeout=timeout)
    assert not home.exists()


def test_a_negative_timeout_is_told_in_words() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        publish("a", b"", timeout=-0.001)


def test_a_channel_that_fails_is_reported_with_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # PUB-13
    """The base is so deep that channels of a long pattern lie beyond the longest path."""
    longest = os.pathconf("/", "PC_PATH_MAX") - 1  # less the null octet
    home = str(tmp_path)
    while len(home) < longest - 150:
        home += "/" + "d" * min(99, longest - 151 - len(home))
        os.mkdir(home)
    monkeypatch.setenv("PUBSUB_HOME", home)
    monkeypatch.setattr(pubsub.place, "_DEEPEST", 0)  # or the base is unusable
    topic = ".".join("a" * 100)
    long = ".".join("=" * 100)
    with Channel("+") as short:
        before = os.open(home, os.O_RDONLY)
        queue = -1
        try:
            os.mkdir(f"{long}_abcdefABCDEF_1", dir_fd=before)
            directory = os.open(f"{long}_abcdefABCDEF_1", os.O_RDONLY, dir_fd=before)
            monkeypatch.chdir(tmp_path)  # and back at the end
            os.fchdir(directory)  # macOS before 13 has no mkfifo in a directory's descriptor
            os.mkfifo("queue")
            os.chdir(tmp_path)
            queue = os.open("queue", os.O_RDONLY | os.O_NONBLOCK, dir_fd=directory)
            for _ in range(2):
                with pytest.raises(PublishFailed, match=r"1 queues took .* 1 channels failed") as e:
                    publish(topic, b"")
                assert e.value.errno == errno.ENAMETOOLONG
                assert e.value.count == 1
                ((path, error),) = e.value.failures
                assert path == f"{home}/{long}_abcdefABCDEF_1"
                assert error.errno == errno.ENAMETOOLONG
                assert fetch(short) is not None
            assert os.listdir(f"{home}/tmp") == []
            os.close(directory)
        finally:
            os.close(before)
            if queue >= 0:
                os.close(queue)


def test_a_message_that_the_file_system_does_not_take(home: Path) -> None:  # PUB-14
    """The first write is short, the second fails (Python ignores SIGXFSZ)."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Channel("a") as channel:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
                publish("a", bytes(200_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert os.listdir(home / "tmp") == []
        assert fetch(channel) is None
        assert publish("a", bytes(200_000)) == 1


def test_the_list_of_channels_is_kept_and_refreshed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = 0
    scandir = os.scandir

    def counting(path: str) -> object:
        nonlocal listed
        listed += 1
        return scandir(path)

    with Channel("a") as channel:
        monkeypatch.setattr(os, "scandir", counting)
        deadline = time.monotonic() + 30
        while True:  # not before the clock that stamps files has moved on
            listed = 0
            assert publish("a", b"") == 1
            if not listed:
                break
            assert time.monotonic() < deadline, "the list is never kept"
        listed = 0
        assert [publish(topic, b"") for topic in "abab"] == [1, 0, 1, 0]
        assert listed == 0
        with Channel("+"):
            assert publish("a", b"") == 2
        assert publish("a", b"") == 1
        shutil.rmtree(home)
        assert publish("a", b"") == 0
        with Channel("a"):
            assert publish("a", b"") == 1
        assert channel.is_open


def test_a_publisher_keeps_nothing_of_what_it_published() -> None:
    with Channel("a.=") as channel:

        def work(begin: int) -> None:
            for n in range(begin, begin + 10_000):
                publish(f"b.{n}", b"to nobody")
                if n % 10 == 0:
                    publish(f"a.{n}", b"." * 1000, {"n": n})
                    fetch(channel)

        tracemalloc.start()
        try:
            work(0)
            before = tracemalloc.get_traced_memory()[0]
            work(10_000)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        # 10 000 topics, a string and a place in a dictionary each, are more than a megabyte.
        assert grown < 500_000


def test_no_descriptor_is_left(descriptors: Callable[[], object]) -> None:
    before = descriptors()
    channels = [Channel(pattern) for pattern in ("a", "b")]
    for n in range(500):
        for channel in channels:
            channel.open()
        assert publish("ab"[n % 2], b"") == 1
        assert publish("c", b"") == 0
        channels[n % 2].wait(0)
        assert fetch(channels[n % 2]) is not None
        assert fetch(channels[n % 2]) is None
        for channel in channels:
            channel.close()
    assert descriptors() == before


# --- the guarantee, between processes ---

PUBLISHER = """
import sys
from pubsub import publish
name, messages = sys.argv[1], int(sys.argv[2])
count = 0
for n in range(messages):
    # Full queues are waited for, longer than this test may take.
    count += publish(f"proof.{name}", f"{n} ".encode() * (n % 50 + 1), {"n": n}, timeout=60)
print(count)
"""

SUBSCRIBER = """
import sys
from pubsub import Channel, fetch, subscribe
how, publishers, messages = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
last = {}
count = 0

def take(message):
    global count
    n = message.headers["n"]
    assert message.content == f"{n} ".encode() * (n % 50 + 1), message
    assert n > last.get(message.topic, -1), f"{message} comes after {last[message.topic]}"
    last[message.topic] = n
    count += 1
    if count == publishers * messages and how == "subscribe":
        channel.close()

with Channel("proof.=" if how == "fetch" else "+") as channel:
    print("open", flush=True)
    if how == "subscribe":
        subscribe(channel, take)
    else:
        while count < publishers * messages:
            channel.wait()
            while (message := fetch(channel)) is not None:
                take(message)
print(count, len(last))
"""


@pytest.mark.timeout(300)
def test_what_was_counted_arrives_once_whole_and_in_order(home: Path, start: Start) -> None:
    publishers, messages = 4, 5000
    subscribers = [start(SUBSCRIBER, how, publishers, messages) for how in ("fetch", "subscribe")]
    for process in subscribers:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n", process.communicate()
    started = [start(PUBLISHER, name, messages) for name in range(publishers)]

    def output(process: subprocess.Popen[str]) -> str:
        out, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        return out

    counted = sum(int(output(process)) for process in started)
    assert counted == len(subscribers) * publishers * messages
    for process in subscribers:
        assert output(process) == f"{publishers * messages} {publishers}\n"
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []
