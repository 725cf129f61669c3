"""The examples in the documents run as they are, each in a process of its own."""

from __future__ import annotations

import builtins
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import Start

import pubsub

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

# What each block of README.md prints, by its place.
OUTPUTS = [
    "1\nnews.sports b'Team wins championship!' {'minute': 90}\n",
    "alerts.disk0\nalerts.disk1\nalerts.disk2\n3\n",
    "1 b'Processed: 2 + 2'\n",
    "",
    "b'hello'\n",
    "True\n0\n",
]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)

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
    # There, the client waits for no response: it may be there already, or not.
    "request and response": (
        """
import threading
import time

from pubsub import Channel, fetch, publish, subscribe


def server():
    requests = Channel(topic="rpc.requests")
    with requests:

        def handle(request):
            where = request.headers.get("response-topic")
            which = request.headers.get("correlation-id")
            if where and which:
                answer = request.content.decode().upper()
                publish(where, answer.encode(), headers={"correlation-id": which})

        subscribe(requests, handle, timeout_seconds=1.0)


def client():
    responses = Channel(topic="rpc.responses.client7")
    with responses:
        which = str(int(time.time() * 1000000))
        headers = {"response-topic": "rpc.responses.client7", "correlation-id": which}
        publish("rpc.requests", b"echo", headers=headers)
        response = fetch(responses)
        if response:
            assert response.headers.get("correlation-id") == which
            assert response.content.decode() == "ECHO"


thread = threading.Thread(target=server)
thread.start()
time.sleep(0.1)
client()
thread.join()
""",
        "",
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


@pytest.mark.timeout(300)  # one fills a queue, and then tries 12 000 times to overfill it
@pytest.mark.parametrize("number", range(len(OUTPUTS)))
def test_the_examples_of_the_readme(home: Path, start: Start, number: int) -> None:
    assert output(start(BLOCKS[number])) == OUTPUTS[number]
    assert os.listdir(home) == ["tmp"]
    assert os.listdir(home / "tmp") == []


def test_every_example_of_the_readme_is_tested() -> None:
    assert len(BLOCKS) == len(OUTPUTS)
    for block, printed in zip(BLOCKS, OUTPUTS, strict=True):
        for said in re.findall(r"print\(.*\)  # (\d+|True)\b", block):
            assert said in printed.split(), f"nothing prints {said}"


@pytest.mark.parametrize("name", FORMIX)
def test_what_is_written_for_formix_pubsub(home: Path, start: Start, name: str) -> None:
    program, printed = FORMIX[name]
    assert output(start(program)) == printed


def test_the_names_and_errors_of_the_readme_are_those_of_the_package() -> None:
    table = README[README.index("### Errors") :].split("\n\n")[1]
    for row in table.splitlines()[2:]:
        names, base, _ = row.strip("|").split("|")
        for name in re.findall(r"`(\w+)`", names):
            kind = getattr(pubsub, name)
            assert issubclass(kind, getattr(builtins, base.strip().strip("`")))
            assert name in pubsub.__all__
