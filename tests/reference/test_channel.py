from __future__ import annotations

import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
from conftest import Start
from pubsub_conformance.oracle.base import put
from pubsub_conformance.oracle.message import pack

import pubsub.waiting
from pubsub import (
    Channel,
    ChannelClosed,
    InvalidMessage,
    InvalidPattern,
    Message,
    fetch,
    publish,
    subscribe,
)

OPERATIONS: dict[str, Callable[[Channel], object]] = {
    "fetch": fetch,
    "subscribe": lambda channel: subscribe(channel, print, 0.01),
    "wait": lambda channel: channel.wait(0),
    "fileno": lambda channel: channel.fileno(),
    "sweep": lambda channel: channel.sweep(),
}


def test_making_a_channel_touches_no_disk(home: Path) -> None:
    channel = Channel(topic="a.=")
    assert not home.exists()
    assert not channel.is_open
    assert channel.topic == "a.="
    with pytest.raises(ChannelClosed, match="opened"):
        _ = channel.directory_path
    channel.close()
    assert not home.exists()


def test_a_channel_has_one_pattern() -> None:
    with pytest.raises(TypeError, match="one pattern"):
        Channel("a", "b")  # type: ignore[arg-type]


def test_a_pattern_is_checked_at_once() -> None:
    with pytest.raises(InvalidPattern):
        Channel("a=b")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_channel_must_be_open(operation: str) -> None:  # CHAN-18
    channel = Channel("a")
    for _ in ("never opened", "closed again"):
        with pytest.raises(ChannelClosed, match="is not open"):
            OPERATIONS[operation](channel)
        with channel:
            OPERATIONS[operation](channel)


def test_opening_again(home: Path) -> None:
    with Channel("a") as channel:
        first = channel.directory_path
        channel.open()
        with channel:
            assert channel.directory_path == first
            assert publish("a", b"unread") == 1
        assert not channel.is_open
        assert not first.exists()
        channel.open()
        assert channel.directory_path != first
        assert fetch(channel) is None
        assert publish("a", b"read") == 1
        assert fetch(channel) is not None
    assert os.listdir(home) == ["tmp"]


def test_its_descriptor_is_readable_while_messages_wait() -> None:
    with Channel("a") as channel:
        for _ in range(2):
            assert select.select([channel], [], [], 0) == ([], [], [])
            publish("a", b"")
            assert select.select([channel], [], [], 0) == ([channel], [], [])
            fetch(channel)


def test_its_descriptor_is_readable_while_an_id_is_in_hand() -> None:  # FETCH-21
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Channel("a") as channel:
        for asked in ("after the fetch", "before it"):
            publish("a", b"")
            held = []
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 64), limits[1]))
                with suppress(OSError):
                    while True:
                        held.append(os.dup(0))
                with pytest.raises(OSError, match="Too many"):
                    fetch(channel)
                assert channel.wait(0)
                assert select.select([channel], [], [], 0) == ([channel], [], []), asked
            finally:
                for number in held:
                    os.close(number)
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert fetch(channel) is not None
            assert fetch(channel) is None
            assert select.select([channel], [], [], 0) == ([], [], [])


def test_threads_that_fetch_share_the_messages() -> None:  # FETCH-11
    count = 500  # a queue holds 512 ids on NetBSD
    with Channel("a") as channel:
        for n in range(count):
            assert publish("a", str(n).encode()) == 1
        together = threading.Barrier(4)

        def fetch_all(_: int) -> list[int]:
            together.wait()
            share = []
            while (message := fetch(channel)) is not None:
                share.append(int(message.content))
            return share

        with ThreadPoolExecutor(4) as pool:
            shares = list(pool.map(fetch_all, range(4)))
    assert sorted(chain(*shares)) == list(range(count))
    assert all(share == sorted(share) for share in shares)


def is_waiting(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or frame.f_code.co_filename != pubsub.waiting.__file__:
        return False
    return frame.f_code.co_name == "_sleep"


def test_closing_wakes_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # Waiting is done in slices; one that ends of its own accord would hide a lost wake-up.
    monkeypatch.setattr(pubsub.waiting, "LOOK_SECONDS", 1000.0)
    for _ in range(20):
        channel = Channel("a")
        channel.open()
        path = channel.directory_path
        together = threading.Barrier(4)
        ended: list[str] = []

        def run(channel: Channel, together: threading.Barrier, ended: list[str], n: int) -> None:
            together.wait()
            try:
                if n == 0:
                    channel.wait()
                else:
                    subscribe(channel, print)
                    ended.append("subscribe returned")
            except ChannelClosed:
                ended.append("closed")

        threads = [
            threading.Thread(target=run, args=[channel, together, ended, n]) for n in range(3)
        ]
        for thread in threads:
            thread.start()
        together.wait()
        deadline = time.monotonic() + 30
        while not all(is_waiting(thread) for thread in threads):
            assert time.monotonic() < deadline
        channel.close()
        assert not path.exists()
        for thread in threads:
            thread.join(10)
        assert len(ended) == 3


def test_threads_that_open_and_close_one_channel(
    home: Path, descriptors: Callable[[], object]
) -> None:
    channel = Channel("a")
    with channel:
        fetch(channel)
    before = descriptors()
    errors: list[BaseException] = []

    def run() -> None:
        for _ in range(100):
            try:
                channel.open()
                publish("a", b"")
                channel.wait(0)
                fetch(channel)
                channel.close()
            except ChannelClosed:
                pass
            except BaseException as error:
                errors.append(error)
                raise

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel.close()
    assert errors == []
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []
    assert descriptors() == before


# --- signals: in processes of their own, as the timer of this one is pytest's ---

INTERRUPTED = """
import os, random, signal, sys
from pubsub import Channel, ChannelClosed, fetch, publish, subscribe

use, effect, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Interrupt(BaseException):
    pass


def handler(signum, frame):
    global handled
    handled = True
    if effect == "raise":
        raise Interrupt
    elif effect == "close":
        channel.close()
    else:
        publish("b", b"from the handler")


def collect(message):
    got.append(int(message.content))


def work():
    while not handled:
        if use == "fetch":
            message = fetch(channel)
            if message:
                collect(message)
        elif use == "wait":
            channel.wait(0)
        elif use == "subscribe":
            subscribe(channel, collect)
        elif use == "publish":
            publish("c", b"")
        elif use == "open":
            channel.close()
            channel.open()


signal.signal(signal.SIGALRM, handler)
channel = Channel("a")
channel.open()
for _ in range(rounds):
    channel.open()  # if a handler closed it
    directory = channel.directory_path
    for n in range(5):
        publish("a", str(n).encode())
    got = []
    handled = False
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-4))
        work()
    except Interrupt:
        pass
    except ChannelClosed:
        assert effect == "close"
    if effect == "raise":
        while message := fetch(channel):
            collect(message)
        # Only the message that was just being returned may be lost, and that without a trace: an
        # id that is given up leaves its file behind.
        assert got == sorted(set(got)) and len(got) >= 4, got
        assert os.listdir(directory) == ["queue"]
    if effect == "close" and use != "open":
        assert not directory.exists(), directory
channel.close()
assert os.listdir(os.environ["PUBSUB_HOME"]) == ["tmp"]
assert os.listdir(os.environ["PUBSUB_HOME"] + "/tmp") == []
# Nothing is left of all these channels: the next descriptors are the first free ones.
with channel:
    assert channel.fileno() < 10, channel.fileno()
"""


@pytest.mark.parametrize(
    ("use", "effect"),
    [
        ("fetch", "close"),
        ("wait", "close"),
        ("subscribe", "close"),
        ("open", "close"),
        ("fetch", "raise"),
        ("wait", "raise"),
        ("subscribe", "raise"),
        ("publish", "publish"),
    ],
)
def test_a_signal_at_any_moment(start: Start, use: str, effect: str) -> None:  # FETCH-8
    process = start(INTERRUPTED, use, effect, 300)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")


# --- the end of a process ---

OWNER = """
import signal, sys
from pubsub import Channel, subscribe
channel = Channel("a")
if sys.argv[1] == "sigterm":
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    with channel:
        subscribe(channel, lambda message: print("got it", flush=True))
channel.open()
print("open", flush=True)
sys.stdin.read()
if sys.argv[1] == "error":
    raise SystemExit("an error")
"""


@pytest.mark.parametrize(("how", "status"), [("end", 0), ("error", 1)])
def test_a_process_that_ends_closes_its_channels(
    home: Path, start: Start, how: str, status: int
) -> None:
    process = start(OWNER, how)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    assert len(list(home.glob("a_*"))) == 1
    process.communicate()
    assert process.returncode == status
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


def test_a_handler_that_exits_closes_the_channel(home: Path, start: Start) -> None:
    process = start(OWNER, "sigterm")
    assert process.stdout is not None
    while publish("a", b"are you there?") == 0:
        assert process.poll() is None, process.communicate()
    assert process.stdout.readline() == "got it\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


LARGE = 200_000  # octets, beyond what is read at once
LONG = b'{"a":"%s"}' % bytes(LARGE).replace(b"\0", b"x")
FILES = {
    "content": pack(1, 2, b"a", b"{}", b"c" * LARGE),
    "content after headers as long": pack(1, 2, b"a", LONG, b"c" * LARGE),
    "headers": pack(1, 2, b"a", LONG, b""),
    "an octet missing": pack(1, 2, b"a", b"{}", b"c" * LARGE)[:-1],
    "an octet more": pack(1, 2, b"a", b"{}", b"c" * LARGE) + b"c",
    "an octet more, headers": pack(1, 2, b"a", LONG, b"") + b"c",
    "zeros": bytes(LARGE),
    "ones": b"\xff" * LARGE,
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES.keys())
def test_a_large_file_is_judged_as_a_small_one_is(data: bytes) -> None:
    """Although its content is read apart."""
    with Channel("a") as channel:
        put(channel.directory_path, data, name="1")
        try:
            message = Message.from_bytes(data)
        except InvalidMessage:
            with pytest.raises(InvalidMessage):
                fetch(channel)
        else:
            fetched = fetch(channel)
            assert fetched is not None
            assert (fetched.headers, fetched.content) == (message.headers, message.content)
        assert fetch(channel) is None
        assert os.listdir(channel.directory_path) == ["queue"]
