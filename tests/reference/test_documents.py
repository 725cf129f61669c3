"""The examples in the documents run as they are, each in a process of its own."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import DEFINE_PUBSUB
from conftest import HAS_FIT_QUEUES, Start

import pubsub

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

# What each block of Python in README.md prints, by its place.
OUTPUTS = [
    "1\nnews.sports Team wins championship! {'minute': 90}\n",
    "alerts.disk0\nalerts.disk1\nalerts.disk2\n",
    "control stop\n",
    "Processed: 2 + 2\n",
    "a job\n",
    "hello\n",
    "logs.+ True 1\n",
    "True\n0\n",
    f"{hasattr(fcntl, 'F_GETPIPE_SZ')}\n1 1.0871\n",
]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
SERVICE = 4  # it runs until it receives SIGTERM
ROOT = Path(pubsub.__file__).parent.parent
# An example is also right for a user who has all warnings on, and no bytes taken for text.
STRICT = [sys.executable, "-bb", "-W", "error", "-u", "-c"]

# The calls that the description of formix-pubsub 0.9.0 shows, with its names of parameters.
FORMIX = {
    "subscribe": (
        """
from pubsub import Channel, publish, subscribe

channel = Channel(topic="weather.alps")
with channel:
    print(publish("weather.alps", b"snow"))

    def show(message):
        print(message.content.decode())

    print(subscribe(channel, show, timeout_seconds=0.2))
""",
        "1\nsnow\n1\n",
    ),
    "fetch": (
        """
from pubsub import Channel, fetch, publish

channel = Channel(topic="lights")
with channel:
    publish("lights", b"on")
    publish("lights", b"off")
    message = fetch(channel)
    while message:
        print(message.topic, message.content.decode(), message.content_length)
        message = fetch(channel)
""",
        "lights on 2\nlights off 3\n",
    ),
    "wildcards": (
        """
from pubsub import Channel, publish, subscribe

for topic in ("logs.=", "logs.+"):
    channel = Channel(topic=topic)
    with channel:
        publish("logs.error", b"one word")
        publish("logs.app.debug", b"two words")

        def show(msg):
            print(channel.topic, msg.topic, msg.content.decode())

        subscribe(channel, show, timeout_seconds=0.2)
""",
        "logs.= logs.error one word\nlogs.+ logs.error one word\nlogs.+ logs.app.debug two words\n",
    ),
    "several subscribers": (
        """
import threading

from pubsub import Channel, publish, subscribe

one, two = Channel(topic="news"), Channel(topic="news")
with one, two:
    got = []

    def listen(channel):
        subscribe(channel, lambda msg: got.append(msg.content), timeout_seconds=0.5)

    threads = [threading.Thread(target=listen, args=(channel,)) for channel in (one, two)]
    for thread in threads:
        thread.start()
    publish("news", b"to all")
    for thread in threads:
        thread.join()
print(got)
""",
        "[b'to all', b'to all']\n",
    ),
    # There, the client waits for no response. Here, an event says when it is published.
    "request and response": (
        """
import threading
import time

from pubsub import Channel, fetch, publish, subscribe

requests = Channel(topic="rpc.requests")
answered = threading.Event()


def server():
    def handle(request):
        where = request.headers.get("response-topic")
        which = request.headers.get("correlation-id")
        if where and which:
            answer = request.content.decode().upper()
            publish(where, answer.encode(), headers={"correlation-id": which})
        answered.set()

    subscribe(requests, handle, timeout_seconds=50.0)


def client():
    responses = Channel(topic="rpc.responses.client7")
    with responses:
        which = str(int(time.time() * 1000000))
        headers = {"response-topic": "rpc.responses.client7", "correlation-id": which}
        print(publish("rpc.requests", b"echo", headers=headers))
        answered.wait()
        response = fetch(responses)
        print(response.headers.get("correlation-id") == which, response.content.decode())


with requests:
    thread = threading.Thread(target=server)
    thread.start()
    client()
thread.join()
""",
        "1\nTrue ECHO\n",
    ),
    "headers": (
        """
from pubsub import Channel, fetch, publish, subscribe

with Channel(topic="app.=") as channel:
    publish("app.events", b"data", headers={"priority": "high", "correlation-id": "12345"})
    message = fetch(channel)
    print(message.headers["priority"], message.headers["correlation-id"])
    print(type(message.id).__name__, type(message.timestamp).__name__)
for wrong in (lambda: publish("app events", b""), lambda: subscribe(channel, print, -1.0)):
    try:
        wrong()
    except ValueError as error:
        print("invalid characters" in str(error) or "non-negative" in str(error))
""",
        "high 12345\nint int\nTrue\nTrue\n",
    ),
    "configuration": (
        """
import os

os.environ["PUBSUB_HOME"] += "/elsewhere"

from pubsub import Channel, publish, subscribe

channel = Channel(topic="app.logs")
with channel:
    pass
print(os.listdir(os.environ["PUBSUB_HOME"]))
channel.open()
channel.close()
""",
        "['tmp']\n",
    ),
}


def output(process: subprocess.Popen[str]) -> str:
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    return out


def assert_only_tmp_is_left(home: Path) -> None:
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


@pytest.mark.timeout(300)  # one fills a queue, and then tries 12 000 times to overfill it
@pytest.mark.parametrize("number", [n for n in range(len(OUTPUTS)) if n != SERVICE])
def test_the_examples_of_the_readme(home: Path, number: int) -> None:
    program, expected = [*STRICT, BLOCKS[number]], OUTPUTS[number]
    if "is_inline" in BLOCKS[number] and not HAS_FIT_QUEUES:
        expected = expected.replace("True", "False")
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", expected)
    assert_only_tmp_is_left(home)


def test_the_service_of_the_readme(home: Path) -> None:
    program = [*STRICT, BLOCKS[SERVICE]]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, cwd=ROOT, text=True, stdout=pipe, stderr=pipe) as service:
        try:
            while service.poll() is None and pubsub.publish("jobs.one", b"a job") == 0:
                pass  # its channel is not open yet
            assert service.stdout
            assert service.stdout.readline() == OUTPUTS[SERVICE]
            service.send_signal(signal.SIGTERM)
            assert service.communicate() == ("", "")
            assert service.returncode == 0
        finally:
            service.kill()
    assert_only_tmp_is_left(home)


def test_the_types_of_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For users who check theirs strictly. Runs where mypy is, as in the environment lint."""
    api = pytest.importorskip("mypy.api")
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"example{number}.py").write_text(block, encoding="utf-8")
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    cache = ["--config-file=", f"--cache-dir={tmp_path}/cache"]
    examples = sorted(str(path) for path in tmp_path.glob("*.py"))
    out, errors, status = api.run(["--strict", *cache, *examples])
    assert (status, errors) == (0, ""), out


def test_the_script_of_the_readme(home: Path) -> None:
    (script,) = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    done = subprocess.run(["sh", "-ec", DEFINE_PUBSUB + script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.splitlines()) == [b"1", b"news.sports Team wins championship!"]
    assert_only_tmp_is_left(home)


def test_every_example_of_the_readme_is_tested() -> None:
    assert len(BLOCKS) == len(OUTPUTS)
    for block, printed in zip(BLOCKS, OUTPUTS, strict=True):
        for said in re.findall(r"print\(.*\)  # (\d+|True)\b", block):
            assert said in printed.split(), f"nothing prints {said}"


@pytest.mark.parametrize("name", FORMIX)
def test_what_is_written_for_formix_pubsub(home: Path, start: Start, name: str) -> None:
    program, printed = FORMIX[name]
    assert output(start(program)) == printed
