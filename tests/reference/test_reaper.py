"""What the kit cannot see from outside: the kit's own tests of reaping are the larger part."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Start

from pubsub import Channel, reap, removal

OWNER = """
import sys
from pubsub import Channel
for n in range(int(sys.argv[1])):
    Channel("a").open()
print("open", flush=True)
sys.stdin.read()
"""


def test_reaping_where_nothing_is_makes_nothing(home: Path) -> None:
    reap()
    assert not home.exists()


def test_what_was_killed_is_reaped_by_the_next_opening(home: Path, start: Start) -> None:
    killed, living = start(OWNER, 3), start(OWNER, 1)
    for process in (killed, living):
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(list(home.glob("a_*"))) == 4  # nobody has removed anything
    with Channel("b"):
        (left,) = home.glob("a_*")
        assert left.name.endswith(f"_{living.pid}")
    assert os.listdir(home / "tmp") == []


def test_several_reapers_at_once(home: Path, start: Start) -> None:  # REAP-14
    killed = start(OWNER, 50)  # macOS gives a shell's programs 256 descriptors
    assert killed.stdout is not None
    assert killed.stdout.readline() == "open\n"
    killed.kill()
    killed.wait()
    together = threading.Barrier(4)

    def reap_at_once(_: int) -> None:
        together.wait()
        reap()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reap_at_once, range(4)))  # raises the errors
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


AGAIN = """
import os, sys, time
from pubsub import Channel, publish
home = os.environ["PUBSUB_HOME"]
channel = Channel("jobs")
channel.open()
others = [name for name in os.listdir(home) if name not in ("tmp", channel.directory_path.name)]
if len(sys.argv) == 1:
    publish("jobs", b"unread")
    made = os.stat(channel.directory_path / "queue").st_ctime
    while time.time() < made + 2.5:  # the queue is to be older than the next program
        time.sleep(0.1)
    os.execv(sys.executable, [sys.executable, "-c", os.environ["PROGRAM"], "again"])
print(os.getpid(), others)
"""


def test_a_program_that_starts_itself_again(
    home: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:  # REAP-16
    """Its process id is that of the program before, as in a container that restarts."""
    monkeypatch.setenv("PROGRAM", AGAIN)
    process = start(AGAIN)
    assert process.communicate() == (f"{process.pid} []\n", "")
    assert os.listdir(home) == ["tmp"]


def test_a_container_whose_process_1_crashes(home: Path) -> None:  # REAP-16
    inside = [shutil.which("unshare") or "", "--pid", "--fork", "--kill-child"]
    trial = [*inside, "true"]
    if not inside[0] or subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("no process namespace can be made")
    program = """
import os, sys, time
from pubsub import Channel
assert os.getpid() == 1
channel = Channel("jobs")
channel.open()
made = os.stat(channel.directory_path / "queue").st_ctime
while time.time() < made + 2.5:
    time.sleep(0.1)
print(len(os.listdir(os.environ["PUBSUB_HOME"])) - 1, flush=True)
os._exit(1)
"""
    for _ in range(2):
        ended = subprocess.run(
            [*inside, sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (1, "1\n", "")


def test_the_channel_of_a_zombie(home: Path, start: Start) -> None:  # REAP-17
    if not os.path.exists(f"/proc/{os.getpid()}/stat"):
        pytest.skip("this system does not show zombies")
    killed = start(OWNER, 1)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "open\n"
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    reap()
    assert os.listdir(home) == ["tmp"]


FOREIGN = """
import os, sys
from pubsub import Channel
channel = Channel("a")
channel.open()
mine = str(channel.directory_path)
swapped = []

def swap(event, arguments):
    if event == "os.rename" and arguments[0] == mine and not swapped:
        swapped.append(True)
        os.rename(mine, mine + "-moved")  # another process does that now
        os.mkdir(mine)
        open(mine + "/precious", "w").close()

sys.addaudithook(swap)
channel.close()
print(os.listdir(mine), channel.is_open)
"""


def test_a_directory_that_denies_access_where_python_has_no_path_only_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # CHAN-14
    """OpenBSD has neither O_PATH nor the lchmod() by which Python knows what it can do."""
    monkeypatch.delattr(os, "O_PATH", raising=False)
    monkeypatch.setattr(os, "supports_follow_symlinks", set())
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    above = os.open(tmp_path, os.O_RDONLY)
    try:
        removal._allow(above, "closed")
    finally:
        os.close(above)
    assert closed.stat().st_mode & 0o7777 == 0o700


def test_a_directory_that_was_put_in_place_of_the_channels(
    home: Path, start: Start
) -> None:  # CHAN-22
    assert start(FOREIGN).communicate() == ("['precious'] False\n", "")
