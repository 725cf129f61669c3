"""The reference implementation's driver for the conformance kit (conformance/DRIVER.md)."""

from __future__ import annotations

import base64
import errno
import json
import logging  # noqa: F401  # now: no operation is to load files
import math
import pathlib  # noqa: F401
import platform
import signal
import sys
import time
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import pubsub
from pubsub import topics

Fields = dict[str, Any]

CODES: list[tuple[type[Exception], str]] = [
    (pubsub.InvalidTopic, "invalid-topic"),
    (pubsub.InvalidPattern, "invalid-pattern"),
    (pubsub.InvalidHeaders, "invalid-headers"),
    (pubsub.TooLarge, "too-large"),
    (pubsub.InvalidMessage, "invalid-message"),
    (pubsub.DamagedQueue, "damaged-queue"),
    (pubsub.BaseUnusable, "base-unusable"),
    (pubsub.ChannelLost, "channel-lost"),
    (pubsub.ChannelClosed, "channel-closed"),
    (OSError, "io-error"),
]


NUMBER = (int, float)

# What each operation needs, and what it may be given besides.
FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "hello": ({"protocol": int}, {}),
    "match": ({"pattern": str, "topic": str}, {}),
    "encode": ({"message": dict}, {}),
    "decode": ({"bytes": str}, {}),
    "publish": ({"topic": str, "content": str, "headers": dict}, {"timeout": NUMBER}),
    "open": ({"pattern": str}, {"inline": bool}),
    "close": ({"channel": str}, {}),
    "fetch": ({"channel": str}, {}),
    "wait": ({"channel": str, "timeout": NUMBER}, {}),
    "reap": ({}, {"stale_age": NUMBER}),
    "produce": (
        {"topic": str, "prefix": str, "count": int, "sizes": list, "report": str},
        {"rate": NUMBER, "timeout": NUMBER},
    ),
    "consume": (
        {"channel": str, "report": str},
        {"count": int, "idle": NUMBER, "deadline": NUMBER},
    ),
}
MESSAGE = {"id": str, "timestamp": str, "topic": str, "headers": dict, "content": str}


class BadRequest(Exception):
    """The request does not follow the driver protocol."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # exit closes all channels
    driver = Driver()
    for line in sys.stdin.buffer:
        seq = None
        try:
            # Not as bytes: those may be UTF-16 to Python, too.
            request = json.loads(line.decode(), parse_constant=no_constant)
            if not isinstance(request, dict):
                raise BadRequest("a request is a JSON object")
            seq = request.get("seq")
            check(request, {"seq": int, "op": str})
            driver.answer(request["seq"], request["op"], request)
        except (ValueError, RecursionError, BadRequest) as error:
            told = {"code": "bad-request", "detail": str(error)}
            send(seq if type(seq) is int else None, error=told)  # a bool is none


def check(fields: Fields, needed: Fields, optional: Fields | None = None) -> None:
    for name, kind in needed.items():
        if name not in fields:
            raise BadRequest(f"{name} is missing")
        if not isinstance(fields[name], kind) or (type(fields[name]) is bool) != (kind is bool):
            raise BadRequest(f"{name} is {fields[name]!r}")
        if kind is NUMBER:
            try:
                float(fields[name])
            except OverflowError as error:
                raise BadRequest(f"{name}: {error}") from error
    if optional:
        check(fields, {name: kind for name, kind in optional.items() if name in fields})
    if "report" in needed and fields["report"] not in ("all", "totals"):
        raise BadRequest("report is all or totals")


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Driver:
    def __init__(self) -> None:
        self.channels: dict[str, pubsub.Channel] = {}
        self.closed: deque[str] = deque()
        self.opened = 0

    def answer(self, seq: int, op: str, request: Fields) -> None:
        if op not in FIELDS:
            send(seq, error={"code": "unknown-op", "detail": f"{op!r} is no operation"})
            return
        check(request, *FIELDS[op])
        try:
            result = getattr(self, op)(request)
            for fields in [result] if isinstance(result, dict) else result:
                send(seq, **fields)
        except tuple(kind for kind, _ in CODES) as error:
            send(seq, error=describe(error))

    def channel(self, request: Fields) -> pubsub.Channel:
        handle = request["channel"]
        if handle not in self.channels:
            raise pubsub.ChannelClosed(f"no channel has the handle {handle!r}")
        return self.channels[handle]

    def hello(self, request: Fields) -> Fields:
        if request["protocol"] != 1:
            raise BadRequest("this driver speaks protocol 1")
        return {
            "implementation": "pubsub-reference",
            "version": pubsub.__version__,
            "language": f"{platform.python_implementation()} {platform.python_version()}",
            "spec": "1",
            "roles": ["topics", "codec", "publisher", "subscriber", "reaper", "inline"],
        }

    def match(self, request: Fields) -> Fields:
        pattern, topic = request["pattern"], request["topic"]
        topics.check_pattern(pattern)
        topics.check_topic(topic)
        return {"match": topics.matches(pattern, topic)}

    def encode(self, request: Fields) -> Fields:
        return {"bytes": to_base64(message_from(request["message"]).to_bytes())}

    def decode(self, request: Fields) -> Fields:
        return {"message": shown(pubsub.Message.from_bytes(from_base64(request["bytes"])))}

    def publish(self, request: Fields) -> Fields:
        content = from_base64(request["content"])
        count = pubsub.publish(
            request["topic"], content, request["headers"], timeout=request.get("timeout", 0)
        )
        return {"count": count}

    def open(self, request: Fields) -> Fields:
        channel = pubsub.Channel(request["pattern"], request.get("inline", False))
        channel.open()
        self.opened += 1
        handle = f"c{self.opened}"
        self.channels[handle] = channel
        return {"channel": handle, "directory": channel.directory_path.name}

    def close(self, request: Fields) -> Fields:
        channel = self.channel(request)
        if not channel.is_open:
            raise pubsub.ChannelClosed(f"{channel!r} is closed already")
        channel.close()
        # It is for pubsub to say that a channel is closed, but not to keep each of them for ever.
        self.closed.append(request["channel"])
        if len(self.closed) > 100:
            del self.channels[self.closed.popleft()]
        return {}

    def fetch(self, request: Fields) -> Fields:
        message = pubsub.fetch(self.channel(request))
        return {"message": None if message is None else shown(message)}

    def wait(self, request: Fields) -> Fields:
        return {"ready": self.channel(request).wait(request["timeout"])}

    def reap(self, request: Fields) -> Fields:
        stale_age = request.get("stale_age", pubsub.STALE_AGE)
        pubsub.reap(stale_age)
        for channel in self.channels.values():
            if channel.is_open:
                channel.sweep(stale_age)
        return {}

    def produce(self, request: Fields) -> Iterator[Fields]:
        topic, prefix, sizes = request["topic"], request["prefix"], request["sizes"]
        rate, timeout = request.get("rate"), request.get("timeout", 0)
        if not sizes or not all(type(size) is int for size in sizes):
            raise BadRequest(f"sizes are {sizes!r}")
        published = total = 0
        first = start = end = now()
        for n in range(request["count"]):
            if rate and n:
                time.sleep(max(0.0, first / 1e9 + n / rate - now() / 1e9))
            text = f"{prefix}:{n}:".encode()
            size = max(sizes[n % len(sizes)], len(text))
            content = (text * (size // len(text) + 1))[:size]
            headers = {"publisher": prefix, "n": n}
            start = now()
            try:
                count = pubsub.publish(topic, content, headers, timeout=timeout)
                outcome: Fields = {"count": count}
                published += 1
                total += count
            except OSError as error:  # this message's own; the caller's faults end the stream
                outcome = {"error": describe(error)}
                total += getattr(error, "count", 0)
            end = now()
            if n == 0:
                first = start
            if request["report"] == "all":
                yield {"event": {"n": n, **times(start, end), **outcome}}
        yield {"done": {"messages": published, "count": total, **times(first, end)}}

    def consume(self, request: Fields) -> Iterator[Fields]:
        channel = self.channel(request)
        channel.fileno()  # is it open?
        began = start = now()
        idle = request.get("idle", math.inf)
        deadline = began / 1e9 + request.get("deadline", math.inf)
        received = 0
        while received < request.get("count", math.inf):
            start = now()
            left = deadline - start / 1e9
            if left <= 0:
                break
            try:
                message = pubsub.fetch(channel)
            except (pubsub.InvalidMessage, pubsub.DamagedQueue) as error:
                told = times(start, now())
                yield {"event": {**told, "error": describe(error)}}
                continue
            if message is None:
                patience = min(idle, left)
                if not channel.wait(None if patience == math.inf else patience) and idle < left:
                    break
                continue
            end = now()
            received += 1
            if request["report"] == "all":
                size, crc = message.content_length, zlib.crc32(message.content)
                told = {"topic": message.topic, "headers": message.headers, "size": size}
                yield {"event": {**times(start, end), **told, "crc": crc}}
        yield {"done": {"messages": received, **times(began, now())}}


def describe(error: Exception) -> Fields:
    for kind, code in CODES:
        if isinstance(error, kind):
            told: Fields = {"code": code, "detail": str(error)}
            if isinstance(error, OSError) and error.errno is not None:
                told["errno"] = errno.errorcode.get(error.errno, str(error.errno))
            if isinstance(error, pubsub.PublishFailed):
                told["count"] = error.count
            return told
    raise error


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)  # time.monotonic() may be another clock


def times(start: int, end: int) -> Fields:
    return {"start": str(start), "end": str(end)}


def shown(message: pubsub.Message) -> Fields:
    return {
        "id": str(message.id),
        "timestamp": str(message.timestamp),
        "topic": message.topic,
        "headers": message.headers,
        "content": to_base64(message.content),
    }


def message_from(fields: Fields) -> pubsub.Message:
    check(fields, MESSAGE)
    return pubsub.Message(
        fields["topic"],
        from_base64(fields["content"]),
        fields["headers"],
        id=int(fields["id"]),
        timestamp=int(fields["timestamp"]),
    )


def to_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadRequest(str(error)) from error


def send(seq: object, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"seq": seq, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
