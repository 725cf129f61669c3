"""Help that a newcomer can act on: each example in it is executed. How a command starts."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import pytest
from commandline import PUBSUB, StartCommand, assert_clean, await_channels, finished, ran

from pubsub import Channel, publish, reply
from pubsub.commands import COMMANDS, main

TOPICS = ("news.sports", "alerts.fire", "jobs.done", "all")
OURS = [name for name in COMMANDS if name != "bridge"]  # it needs a server: tests/bridge


def examples(*command: str) -> list[str]:
    """The examples in the help of a command."""
    code, out, errors = ran(*command, "--help")
    assert (code, errors) == (0, b"")
    text = out.decode().partition("\nexamples")[2]
    found = re.findall(r"^  (pubsub .*?)(?: +#.*)?$", text.partition("\n\n")[0], re.MULTILINE)
    assert len(found) >= 2
    return found


def begun(example: str, where: Path) -> subprocess.Popen[bytes]:
    line = f"exec {shlex.join(PUBSUB)} {example.removeprefix('pubsub ')}"
    return subprocess.Popen(["sh", "-c", line], cwd=where, stdout=subprocess.PIPE)


def receives(example: str, home: Path, where: Path) -> None:
    """An example of `sub` prints a message, and ends by itself or by Ctrl-C."""
    with begun(example, where) as process:
        try:
            await_channels(home)
            while not sum(publish(topic, b"hello") for topic in TOPICS):
                pass
            kept = where / "messages.jsonl"
            while ">>" in example and not kept.read_bytes():
                time.sleep(0.01)
            assert process.stdout
            printed = process.stdout.readline() if ">>" not in example else kept.read_bytes()
            assert b"hello" in printed
            if "-n" not in example:
                process.send_signal(signal.SIGINT)
            assert process.wait() == (0 if "-n" in example else 130)
        finally:
            process.kill()
    assert_clean(home)


@pytest.mark.parametrize("name", ["", *OURS])
def test_each_example_of_help_works(home: Path, tmp_path: Path, name: str) -> None:
    for file in ("app.log", "cat.png", "query.sql"):
        (tmp_path / file).write_bytes(b"line\n")
    found = examples(*name.split())
    for example in [each for each in found if each.startswith("pubsub sub")]:
        receives(example, home, tmp_path)
        found.remove(example)
    with Channel("+") as channel:

        def serve() -> None:
            for message in channel:
                if "response-topic" in message.headers:
                    reply(message, b"4")

        server = threading.Thread(target=serve)
        server.start()
        for example in found:
            with begun(example, tmp_path) as process:
                out, _ = process.communicate()
            assert process.returncode == 0, example
            assert out or name == "reap"
        channel.close()
        server.join()


def test_every_command_is_in_the_help(home: Path) -> None:
    _, out, _ = ran("--help")
    for name, (_, does) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(does)}$", out.decode(), re.MULTILINE)
    assert ran("--version")[1].startswith(b"pubsub 1.")
    assert not home.exists()


def test_the_command_is_installed() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="pubsub")
    assert script.load() is main


def test_a_command_imports_only_what_it_uses(home: Path) -> None:
    program = """if True:
        import sys
        old = set(sys.modules)
        from pubsub.commands import main
        assert main(sys.argv[1:]) in (0, 1)
        print(*set(sys.modules) - old)
    """
    heavy = {"asyncio", "base64", "dataclasses", "inspect", "subprocess"}
    of_channels = {"logging", "pathlib"}
    for words, unused in (
        (["pub", "a"], heavy | of_channels),
        (["sub", "a", "--timeout", "0"], heavy),
    ):
        line = [sys.executable, "-S", "-c", program, *words]
        out = subprocess.check_output(line, cwd=Path(__file__).parents[2], text=True)
        loaded = out.splitlines()[-1].split()
        others = {f"pubsub.commands.{name}" for name in COMMANDS if name != words[0]}
        assert not (unused | others | {"pubsub.aio", "pubsub.bridge"}) & set(loaded)
        assert f"pubsub.commands.{words[0]}" in loaded


def test_many_lines_arrive_whole_and_in_order(home: Path, command: StartCommand) -> None:
    lines = b"".join(b"line %d %s\n" % (n, b"x" * (n % 100)) for n in range(20_000))
    sub = command("sub", "a", "-n", "20000")
    await_channels(home)
    pub = command("pub", "a", "--lines", stdin=subprocess.PIPE)
    feeder = threading.Thread(target=pub.communicate, args=(lines,))
    feeder.start()
    assert finished(sub) == lines
    feeder.join()
    assert pub.returncode == 0
