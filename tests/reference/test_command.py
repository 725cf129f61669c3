"""The commands `sub`, `pub` and `reap`, and what all commands share."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from commandline import PUBSUB, StartCommand, assert_clean, await_channels, finished, ran
from conftest import HAS_FIT_QUEUES
from pubsub_conformance.oracle.queue import fill

from pubsub import Channel, ChannelInfo, Message, fetch, publish, reply
from pubsub.delivery import deliver


def test_messages_are_printed_at_once_until_the_count_is_reached(
    home: Path, command: StartCommand
) -> None:
    lines = command("sub", "-n", "6", "a.+")
    topics = command("sub", "-v", "a.=", "b", "-n", "7")
    await_channels(home, 3)
    assert ran("pub", "a.b", "hello") == (0, b"2\n", b"")
    assert lines.stdout
    assert lines.stdout.readline() == b"hello\n"  # while the command runs
    assert ran("pub", "b") == (0, b"1\n", b"")
    assert ran("pub", "a.b", b"\x01\xff two") == (0, b"2\n", b"")
    assert ran("pub", "a.c", "-", input=b"all\nof it") == (0, b"2\n", b"")
    assert ran("pub", "--lines", "a.c", input=b"one\n\nthree") == (0, b"6\n", b"")
    assert finished(lines) == b"\x01\xff two\nall\nof it\none\n\nthree\n"
    printed = finished(topics)
    assert printed.count(b"b \n") == 1  # channels have no order between them
    assert printed.replace(b"b \n", b"") == (
        b"a.b hello\na.b \x01\xff two\na.c all\nof it\na.c one\na.c \na.c three\n"
    )
    assert_clean(home)


def test_json_has_all_of_every_message(home: Path, command: StartCommand) -> None:
    sub = command("sub", "--json", "a", "-n", "3")
    await_channels(home)
    headers = ("-H", "name=a=b", "-H", "number:=1.50", "-H", "none:=null", "-H", "ü=\x7f\x1b")
    assert ran("pub", "a", "text\n\x1b\x7fü", *headers) == (0, b"1\n", b"")
    assert ran("pub", "a", b"\xff") == (0, b"1\n", b"")
    largest = Message("a", b"", id=2**64 - 1, timestamp=2**64 - 1)
    assert len(deliver(largest).taken) == 1
    printed = finished(sub)
    assert printed.decode("ascii").replace("\n", "").isprintable()  # for every terminal and locale
    lines = [json.loads(line) for line in printed.splitlines()]
    text, binary, _ = lines
    assert (text["topic"], text["content"]) == ("a", "text\n\x1b\x7fü")
    assert text["headers"] == {"name": "a=b", "number": 1.5, "none": None, "ü": "\x7f\x1b"}
    assert binary["content_base64"] == "/w=="
    assert (int(text["id"]) < int(binary["id"]), int(text["timestamp"]) > 0) == (True, True)
    assert lines[2] == {
        "id": str(2**64 - 1),
        "timestamp": str(2**64 - 1),
        "topic": "a",
        "headers": {},
        "content": "",
    }


def test_raw_adds_nothing(home: Path, command: StartCommand) -> None:
    sub = command("sub", "--raw", "--inline", "a", "-n", "2")
    await_channels(home)
    assert (next(home.glob("a_*")) / "inline").exists() == HAS_FIT_QUEUES
    assert ran("pub", "a", "-", input=b"\x00\n") == (0, b"1\n", b"")
    assert ran("pub", "a", b"\xff") == (0, b"1\n", b"")
    assert finished(sub) == b"\x00\n\xff"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_command(
    home: Path, command: StartCommand, number: signal.Signals, code: int
) -> None:
    sub = command("sub", "a", "b")
    await_channels(home, 2)
    publish("a", b"x")
    assert sub.stdout
    assert sub.stdout.readline() == b"x\n"
    sub.send_signal(number)
    assert finished(sub, code) == b""
    assert_clean(home)


def test_a_script_may_run_commands_in_the_background(home: Path) -> None:
    """A shell starts them with SIGINT ignored; SIGTERM and a reader that has enough end them."""
    script = f"""
        pubsub() {{ {shlex.join(PUBSUB)} "$@"; }}
        pubsub sub a | head -n 1 &
        pubsub pub a first --need 1 --timeout 60
        wait  # for sub, though nothing else is published
        {shlex.join(PUBSUB)} sub b & sub=$!
        pubsub pub b second --need 1 --timeout 60
        kill -INT $sub
        kill $sub
        wait $sub
        echo $?
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.splitlines()) == [b"1", b"1", b"143", b"first", b"second"]
    assert_clean(home)


def test_conditions_that_are_not_met(home: Path) -> None:
    assert ran("sub", "a", "--timeout", "0") == (1, b"", b"")
    assert ran("sub", "a", "-n", "1", "--timeout", "0.01") == (1, b"", b"")
    assert ran("pub", "a", "x") == (0, b"0\n", b"")
    nobody = b"pubsub pub: a message had 0 subscribers of the 1 that --need asks for\n"
    assert ran("pub", "a", "x", "--need", "1", "--timeout", "0.01") == (1, b"0\n", nobody)
    assert ran("pub", "a", "--lines", "--need", "2", input=b"x\n") == (
        1,
        b"0\n",
        nobody.replace(b"the 1", b"the 2").replace(b"\n", b"; --timeout waits for them\n"),
    )
    assert_clean(home)


def test_full_queues(home: Path, command: StartCommand) -> None:
    with Channel("a") as channel:
        fill(channel.directory_path)
        refused = b"pubsub pub: full queues did not take 1 message\n"
        remedy = refused.replace(b"\n", b"; --timeout waits for room\n")
        assert ran("pub", "a") == (0, b"0\n", remedy)
        assert ran("pub", "a", "--timeout", "0.01") == (1, b"0\n", refused)
        twice = refused.replace(b"1 message", b"2 messages")
        timed = ran("pub", "a", "--lines", "--timeout", "0.01", input=b"\n\n")
        assert timed == (1, b"0\n", twice)
        waiting = command("pub", "a", "--lines")  # without limit
        assert waiting.stdin
        waiting.stdin.write(b"last\n")
        waiting.stdin.close()
        while (message := fetch(channel)) is None or message.content != b"last":
            pass
        waiting.stdin = None
        assert finished(waiting) == b"1\n"


def test_standard_files_that_are_closed_or_full(home: Path) -> None:
    def in_shell(words: str, redirection: str) -> tuple[int, bytes, bytes]:
        line = f"{shlex.join(PUBSUB)} {words} {redirection}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    closed = b"pubsub pub: stdin is closed: name the content, or redirect a file to stdin\n"
    assert in_shell("pub a -", "<&-") == (2, b"", closed)
    assert in_shell("pub --lines a", "<&-") == (2, b"", closed)
    assert in_shell("pub a x", "<&- >&- 2>&-") == (0, b"", b"")
    assert in_shell("sub a -n 1", ">&-") == (2, b"", b"pubsub sub: stdout is closed\n")
    assert in_shell("sub a -n 1 --timeout 0", "<&- 2>&-") == (1, b"", b"")
    assert in_shell("--help", "| true") == (0, b"", b"")
    if os.path.exists("/dev/full"):
        full = b"pubsub pub: stdout: No space left on device\n"
        assert in_shell("pub a x", "> /dev/full") == (2, b"", full)
    assert_clean(home)


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_octets_stay_as_they_are_in_any_locale(
    home: Path, command: StartCommand, locale: dict[str, str]
) -> None:
    environment = {**os.environ, "PYTHONCOERCECLOCALE": "0", **locale}
    octets = bytes(range(1, 256)).replace(b"\n", b"")
    sub = command("sub", "a", "-n", "2", env=environment)
    await_channels(home)
    assert ran("pub", "a", octets, env=environment) == (0, b"1\n", b"")
    assert ran("pub", "a", "--lines", input=octets, env=environment) == (0, b"1\n", b"")
    assert finished(sub) == octets + b"\n" + octets + b"\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "arguments are required: COMMAND; see pubsub --help"),
        (["foo"], "invalid choice: 'foo'"),
        (["sub"], "arguments are required: PATTERN; see pubsub sub --help"),
        (["sub", "a_b"], "invalid characters ['_']"),
        (["sub", "a", "--json", "--raw"], "not allowed with argument"),
        (["sub", "a", "-n", "0"], "'0' is not a whole number, 1 or more"),
        (["sub", "a", "-n", "many"], "'many' is not a whole number, 1 or more"),
        (["pub", "a", "--timeout", "-1"], "is not a number of seconds, 0 or more"),
        (["pub", "a", "--timeout", "nan"], "is not a number of seconds, 0 or more"),
        (["pub", "a.=", "x"], "invalid characters ['=']"),
        (["pub", "a.=", "x", "--need", "1"], "invalid characters ['=']"),
        (["pub", "a", "-H", "x"], "'x' is neither name=text nor name:=json"),
        (["pub", "a", "-H", "x:=yes"], "'yes' is not JSON; a text is name=text"),
        (["pub", "a", "-H", "x:=[1]"], "header 'x' is neither a string, number"),
        (["pub", "a", "-H", "x=1", "-H", "x=2"], "a header occurs twice"),
        (["pub", "a", "x", "--lines"], "--lines reads the contents from stdin"),
    ],
)
def test_an_error_is_one_line_and_ends_with_2(home: Path, words: list[str], says: str) -> None:
    code, out, errors = ran(*words)
    assert (code, out) == (2, b"")
    name = " ".join(["pubsub", *words[:1]]) if words[:1] in (["sub"], ["pub"]) else "pubsub"
    (line,) = errors.decode().splitlines()
    assert line.startswith(f"{name}: ")
    assert says in line
    assert not home.exists()


def test_the_base_of_an_error_is_named_with_the_remedy(home: Path) -> None:
    home.write_text("no directory")
    for words in (["sub", "a"], ["pub", "a"], ["reap"]):
        remedy = f"{home}: it is not a directory; set PUBSUB_HOME to a directory that you can trust"
        assert ran(*words) == (2, b"", f"pubsub {words[0]}: {remedy}\n".encode())


def test_a_message_that_is_invalid_does_not_end_sub(home: Path, command: StartCommand) -> None:
    sub = command("sub", "a", "-n", "1")
    await_channels(home)
    (channel,) = home.glob("a_*")
    (channel / "7").write_bytes(b"no message")
    with open(channel / "queue", "wb") as queue:
        queue.write((7).to_bytes(8, "big"))
    publish("a", b"good")
    out, errors = sub.communicate()
    assert (sub.returncode, out) == (0, b"good\n")
    assert errors.startswith(b"pubsub sub: ")
    assert errors.count(b"\n") == 1


def test_a_channel_that_is_lost_ends_sub(home: Path, command: StartCommand) -> None:
    sub = command("sub", "a")
    await_channels(home)
    shutil.rmtree(next(home.glob("a_*")))
    out, errors = sub.communicate()
    assert (sub.returncode, out, errors.count(b"\n")) == (2, b"", 1)
    assert_clean(home)


def test_a_request_prints_the_reply(home: Path, command: StartCommand) -> None:
    code, out, errors = ran("request", "rpc.add", "2 + 2")
    assert (code, out, errors.count(b"\n")) == (1, b"", 1)
    assert errors.startswith(
        b"pubsub request: no open channel matches 'rpc.add': start the program"
    )
    with Channel("rpc.=") as channel:
        late = ran("request", "rpc.add", "--timeout", "0")
        says = b"pubsub request: no reply within 0 seconds; --timeout waits longer\n"
        assert late == (1, b"", says)
        assert channel.get(0) is not None
        line = command("request", "rpc.add", "-", "-H", "unit:=1")
        assert line.stdin
        line.stdin.write(b"2 + 2")
        line.stdin.close()
        line.stdin = None
        request = channel.get()
        assert request is not None
        assert (request.content, request.headers["unit"]) == (b"2 + 2", 1)
        assert reply(request, b"\xff4", {"exact": True}) == 1
        assert finished(line) == b"\xff4\n"
        full = command("request", "rpc.add", "--json")
        request = channel.get()
        assert request is not None
        reply(request, b"4", {"exact": True})
        answer = json.loads(finished(full))
        assert (answer["content"], answer["headers"]["exact"]) == ("4", True)
        stopped = command("request", "rpc.add", "--timeout", "inf")
        assert channel.get() is not None
        stopped.send_signal(signal.SIGINT)
        assert finished(stopped, 130) == b""
    assert_clean(home)


def test_ls_shows_who_receives_a_topic(home: Path, command: StartCommand) -> None:
    title = ["PATTERN", "PID", "STATE", "WAITING", "AGE", "COMMAND"]
    code, out, errors = ran("ls")
    assert (code, out.decode().split(), errors) == (0, title, b"")
    assert not home.exists()
    with Channel("a.="):
        publish("a.b", b"one")
        publish("a.b", b"two")
        other = command("sub", "c")
        await_channels(home, 2)
        code, out, errors = ran("ls")
        _, first, second = out.decode().splitlines()
        assert (code, errors) == (0, b"")
        assert first.split()[:4] == ["a.=", str(os.getpid()), "alive", "2"]
        assert second.split()[:4] == ["c", str(other.pid), "alive", "0"]
        if os.path.exists("/proc/self/cmdline"):
            assert second.endswith("-m pubsub sub c")
        _, only = ran("ls", "c")[1].decode().splitlines()
        assert only.split()[:4] == second.split()[:4]
        code, out, errors = ran("ls", "--json", "a.b")
        (line,) = out.splitlines()
        assert json.loads(line)["waiting"] == 2
        assert json.loads(line).keys() == set(ChannelInfo._fields)
        other.kill()
        other.wait()
        assert ran("ls", "c")[1].split()[8] == b"dead"


def test_reap_removes_what_the_dead_left(home: Path, command: StartCommand) -> None:
    assert ran("reap") == (0, b"", b"")
    dead = command("sub", "a")
    await_channels(home)
    (channel,) = home.glob("a_*")
    dead.kill()
    dead.wait()
    (home / "tmp" / "young").touch()
    with Channel("b"):
        # Opening it has reaped the dead channel already, so another one is made.
        assert not channel.exists()
        shutil.copytree(next(home.glob("b_*")), channel, ignore=shutil.ignore_patterns("queue"))
        os.mkfifo(channel / "queue")
        assert ran("reap", "--dry-run") == (0, f"{channel}\n".encode(), b"")
        assert channel.exists()
        assert ran("reap") == (0, f"{channel}\n".encode(), b"")
        assert not channel.exists()
        assert len(list(home.glob("b_*"))) == 1
    assert (home / "tmp" / "young").exists()


def test_a_line_is_published_while_stdin_stays_open(home: Path, command: StartCommand) -> None:
    sub = command("sub", "a", "-n", "1")
    await_channels(home)
    pub = command("pub", "a", "--lines", bufsize=0)
    assert pub.stdin
    pub.stdin.write(b"typed\n")
    assert finished(sub) == b"typed\n"
    assert finished(pub) == b"1\n"  # communicate() closes stdin


def test_output_that_takes_little_at_a_time(home: Path, command: StartCommand) -> None:
    """Another program may have made the pipe one that does not wait."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    sub = command("sub", "--raw", "a", "-n", "1", stdout=writing)
    os.close(writing)
    await_channels(home)
    content = os.urandom(1_000_000)
    publish("a", content)
    with open(reading, "rb") as output:
        assert output.read() == content
    assert (sub.wait(), sub.stderr and sub.stderr.read()) == (0, b"")


def test_a_signal_ends_a_command_whose_output_nobody_reads(
    home: Path, command: StartCommand
) -> None:
    sub = command("sub", "a")
    await_channels(home)
    publish("a", bytes(10_000_000))
    assert sub.stdout
    assert sub.stdout.read(1) == b"\0"  # it writes now, and the pipe is full
    sub.terminate()
    sub.communicate()
    assert sub.returncode == 143
    assert_clean(home)
