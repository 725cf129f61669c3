"""The bridge beside what it stands on: the library on one base, and nats-py by itself.

    python conformance/benchmarks/bridge.py [--rounds 7] [--messages 20000] [--inline]

Each figure is a median of so many rounds, in which all take turns; a machine with other work to do
changes the figures, and less so their ratios. Needs nats-py and nats-server (see nats_pubsub.py).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import server
from pubsub_conformance.waiting import now, until

import pubsub

CONTENT = bytes(100)
TOPIC = "bench.a"
RATE = 200.0  # messages a second where latency is measured
SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--inline", action="store_true", help="the subscriber's channel is inline")
    options = parser.parse_args()
    ways = ["local", "core", "nats", "stream", "jetstream"]
    rates: dict[str, list[float]] = {way: [] for way in ways}
    delays: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:
            rates[way].append(measure(way, options.messages, 0.0, options.inline)[0])
            delays[way].append(measure(way, 200, RATE, options.inline)[1])
    names = ["one base", "bridge, core", "nats-py, core", "bridge, JetStream", "nats-py, JetStream"]
    print("| | messages/s | p50 µs |\n|---|---|---|")
    for way, name in zip(ways, names, strict=True):
        middle, delay = statistics.median(rates[way]), statistics.median(delays[way])
        print(f"| {name} | {middle:,.0f} ({spread(rates[way])}) | {delay:.0f} |")

    def ratio(one: dict[str, list[float]], way: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(one[way], one[other], strict=True))

    print(f"\ncore / one base: {ratio(rates, 'core', 'local'):.2f}")
    print(f"JetStream / nats-py: {ratio(rates, 'stream', 'jetstream'):.2f}")
    print(f"p50, core / nats-py: {ratio(delays, 'core', 'nats'):.1f}")
    print(f"p50, JetStream / nats-py: {ratio(delays, 'stream', 'jetstream'):.1f}")


def spread(values: list[float]) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f}"


def measure(way: str, messages: int, rate: float, inline: bool) -> tuple[float, float]:
    """Messages a second, and the median of their delays in µs."""
    shared = Path("/dev/shm")
    with ExitStack() as stack:
        where = shared if shared.is_dir() else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=where)))
        url = "" if way == "local" else stack.enter_context(serving(directory))
        of_nats = way in ("nats", "jetstream")
        near, far = ("a", "a") if way == "local" else ("a", "b")
        if way in ("core", "stream"):
            for machine, which in (("a", "--export"), ("b", "--import")):
                stack.enter_context(bridge(directory, machine, url, which, way == "stream"))
        part = [
            "nats" if of_nats else "pubsub",
            way,
            str(messages),
            str(rate),
            url,
            str(int(inline)),
        ]
        receiver = start(directory, far, "receive", *part)
        assert receiver.stdout
        assert receiver.stdout.readline() == b"ready\n"
        sender = start(directory, near, "send", *part)
        received = json.loads(receiver.communicate(timeout=SECONDS)[0])
        sender.wait(SECONDS)
    return messages / ((received["last"] - received["first"]) / 1e9), received["p50"] / 1e3


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    def ports() -> str:
        found = [*directory.glob("*.ports")]
        return found[0].read_text() if found else ""

    options = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", f"{directory}/js"]
    command = ["nats-server", *options, "--ports_file_dir", str(directory)]
    process = server.start(command, lambda: bool(ports()))
    try:
        yield json.loads(ports())["nats"][0]
    finally:
        server.end(process)


@contextmanager
def bridge(directory: Path, name: str, url: str, which: str, stream: bool) -> Iterator[None]:
    log = directory / f"{name}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "pubsub", "bridge", url, which, "bench.+"]
            + ["--state", f"{directory}/state-{name}", "--timeout", "60"]
            + ["--stream", "s", "--make-stream"] * stream,
            env=environment(directory, name),
            stderr=errors,
        )
    if not until(lambda: b"connected to" in log.read_bytes(), SECONDS):
        raise OSError(log.read_text())
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


def environment(directory: Path, name: str) -> dict[str, str]:
    return {**os.environ, "PUBSUB_HOME": f"{directory}/{name}"}


def start(directory: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--part", *words]
    return subprocess.Popen(command, env=environment(directory, name), stdout=subprocess.PIPE)


# --- the processes ---


def send_by_pubsub(messages: int, rate: float) -> None:
    begin = time.monotonic()
    for number in range(messages):
        if rate:
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        pubsub.publish(TOPIC, CONTENT, {"t": now() >> 8}, timeout=SECONDS)


def receive_by_pubsub(messages: int, inline: bool) -> Iterator[tuple[int, int]]:
    """When each was sent and received, in nanoseconds."""
    with pubsub.Channel(TOPIC, inline=inline) as channel:
        print("ready", flush=True)
        for _ in range(messages):
            while (message := pubsub.fetch(channel)) is None:
                channel.wait()
            sent = message.headers["t"]
            assert isinstance(sent, int)
            yield sent << 8, now()


async def send_by_nats(url: str, way: str, messages: int, rate: float) -> None:
    import nats

    client: Any = await nats.connect(url)
    stream = client.jetstream(publish_async_max_pending=1024)
    begin = time.monotonic()
    for number in range(messages):
        if rate:
            await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        headers = {"t": str(now() >> 8)}
        if way == "nats":
            await client.publish(TOPIC, CONTENT, headers=headers)
        else:
            await stream.publish_async(TOPIC, CONTENT, headers=headers)
    if way != "nats":
        await stream.publish_async_completed()
    await client.flush()
    await client.close()


async def receive_by_nats(url: str, way: str, messages: int) -> list[tuple[int, int]]:
    import nats

    client: Any = await nats.connect(url)
    if way == "nats":
        subscription = await client.subscribe(TOPIC)
    else:
        stream = client.jetstream()
        await stream.add_stream(name="s", subjects=["bench.>"])
        subscription = await stream.subscribe(TOPIC, ordered_consumer=True)
    await client.flush()
    print("ready", flush=True)
    times = []
    for _ in range(messages):
        message = await subscription.next_msg(timeout=SECONDS)
        times.append((int(message.headers["t"]) << 8, now()))
    await client.close()
    return times


def part(words: list[str]) -> None:
    """One of the processes of a measurement."""
    what, kind, way = words[:3]
    messages, rate, url, inline = int(words[3]), float(words[4]), words[5], words[6] == "1"
    if what == "send":
        if kind == "nats":
            asyncio.run(send_by_nats(url, way, messages, rate))
        else:
            send_by_pubsub(messages, rate)
        return
    if kind == "nats":
        times = asyncio.run(receive_by_nats(url, way, messages))
    else:
        times = [*receive_by_pubsub(messages, inline)]
    delays = [received - sent for sent, received in times]
    result = {"first": times[0][0], "last": times[-1][1], "p50": statistics.median(delays)}
    print(json.dumps(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        part(sys.argv[2:])
    else:
        main()
