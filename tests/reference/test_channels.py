"""The list of the channels in the base."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, needs_inline

from pubsub import BaseUnusable, Channel, InvalidPattern, channels, fetch, publish

DEAD = "a_abcdefABCDEF_4000000"

needs_proc = pytest.mark.skipif(
    not os.path.exists(f"/proc/{os.getpid()}/cmdline"), reason="this system has no such /proc"
)


def test_there_may_be_no_base(home: Path) -> None:
    assert channels() == []
    assert not home.exists()


def test_it_shows_each_channel(home: Path) -> None:
    with Channel("news.=") as news, Channel("jobs"):
        publish("news.sports", b"1")
        publish("news.sports", b"2")
        jobs, found = channels()
        assert jobs.pattern == "jobs"
        assert jobs.waiting == 0
        assert found.pattern == "news.="
        assert found.pid == os.getpid()
        assert found.alive is True
        assert found.waiting == 2
        assert found.path == str(news.directory_path)
        assert found.inline is False
        assert found.queue_octets is None
        assert 0 <= found.age_seconds < 60
        os.utime(news.directory_path / "queue", (0, 0))
        assert channels()[1].age_seconds < 60  # that is a change, too
        assert fetch(news)
        assert channels()[1].waiting == 1
    assert channels() == []
    assert os.listdir(home / "tmp") == []


@needs_proc
def test_it_shows_the_command(home: Path, start: Start) -> None:
    program = "import pubsub; pubsub.Channel('a').open(); print(flush=True); input()"
    process = start(program, "argument of mine", "")
    assert process.stdout
    process.stdout.readline()
    (info,) = channels()
    assert info.pid == process.pid
    assert info.command == f"{sys.executable} -W error -c {program} argument of mine"
    process.kill()
    process.wait()
    (info,) = channels()
    assert info.alive is False
    assert info.command is None


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("a.b", {"a.b", "a.=", "+"}),
        ("a.=", {"a.b", "a.=", "+"}),
        ("+.b", {"a.b", "a.=", "+"}),
        ("c", {"+"}),
        ("+", {"a.b", "a.=", "+"}),
    ],
)
def test_a_pattern_chooses(pattern: str, chosen: set[str]) -> None:
    with Channel("a.b"), Channel("a.="), Channel("+"):
        assert {info.pattern for info in channels(pattern)} == chosen


def test_a_dead_channel_is_left_where_it_is(home: Path) -> None:
    (home / DEAD).mkdir(parents=True)
    (info,) = channels()
    assert info.alive is False
    os.mkfifo(home / DEAD / "queue")
    (home / DEAD / "5").touch()
    (home / DEAD / "05").touch()
    (info,) = channels()
    assert (info.pattern, info.pid, info.alive, info.waiting) == ("a", 4000000, False, 1)
    assert os.listdir(home) == [DEAD]


def test_other_entries_are_no_channels(home: Path) -> None:  # BASE-10
    (home / DEAD).mkdir(parents=True)
    (home / DEAD / "queue").touch()
    (home / "b_abcdefABCDEF_1").symlink_to(DEAD)
    (home / "c_abcdefABCDEF_1").touch()
    assert channels() == []


@needs_inline
def test_what_an_inline_channel_does_not_show() -> None:
    with Channel("a", inline=True) as channel:
        (info,) = channels()
        assert info.inline
        assert (info.waiting, info.queue_octets) == (0, 0)
        publish("a", b"." * 2000)  # by file
        (info,) = channels()
        assert (info.waiting, info.queue_octets) == (1, 8)
        publish("a", b"small")
        (info,) = channels()
        assert info.waiting is None
        assert info.queue_octets
        assert info.queue_octets > 8 + 42
        assert fetch(channel)
        assert fetch(channel)
        (info,) = channels()
        assert (info.waiting, info.queue_octets) == (0, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look at everything")
def test_what_may_not_be_looked_at() -> None:
    with Channel("a") as channel:
        channel.directory_path.chmod(0)
        (info,) = channels()
        channel.directory_path.chmod(0o700)
    assert (info.alive, info.waiting, info.inline) == (None, None, None)
    assert info.pid == os.getpid()


def test_errors(home: Path) -> None:
    wrong: Any = 1
    with pytest.raises(TypeError):
        channels(wrong)
    with pytest.raises(InvalidPattern):
        channels("a b")
    home.touch()
    with pytest.raises(BaseUnusable):
        channels()


def test_channels_may_come_and_go_meanwhile(home: Path, start: Start) -> None:
    process = start(
        "import pubsub\nprint(flush=True)\nfor n in range(100):\n  with pubsub.Channel('a'): pass"
    )
    assert process.stdout
    process.stdout.readline()
    while process.poll() is None:
        assert len(channels()) <= 1
    assert process.returncode == 0
    shutil.rmtree(home)
