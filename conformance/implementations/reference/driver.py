"""The reference implementation's driver for the conformance kit (conformance/DRIVER.md)."""

from __future__ import annotations

import base64
import errno
import json
import platform
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
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


class BadRequest(Exception):
    """The request does not follow the driver protocol."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # exit closes all channels
    driver = Driver()
    for line in sys.stdin.buffer:
        seq: object = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise BadRequest("a request is a JSON object")
            seq = request.pop("seq", None)
            driver.answer(seq, request.pop("op", None), request)
        except (ValueError, BadRequest) as error:
            send(seq, error={"code": "bad-request", "detail": str(error)})


class Driver:
    def __init__(self) -> None:
        self.channels: dict[str, pubsub.Channel] = {}
        self.opened = 0

    def answer(self, seq: object, op: object, request: Fields) -> None:
        operation = OPERATIONS.get(op) if isinstance(op, str) else None
        if operation is None:
            send(seq, error={"code": "unknown-op", "detail": f"{op!r} is no operation"})
            return
        try:
            result = operation(self, request)
            if isinstance(result, dict):
                send(seq, **result)
            else:
                for line in result:
                    send(seq, **line)
        except (KeyError, TypeError, AttributeError, BadRequest) as error:
            send(seq, error={"code": "bad-request", "detail": f"{op}: {error!r}"})
        except Exception as error:
            send(seq, error=describe(error))

    def channel(self, request: Fields) -> pubsub.Channel:
        handle = request["channel"]
        if handle not in self.channels:
            raise BadRequest(f"no channel has the handle {handle!r}")
        return self.channels[handle]

    def hello(self, request: Fields) -> Fields:
        if request["protocol"] != 1:
            raise BadRequest("this driver speaks protocol 1")
        return {
            "implementation": "pubsub-reference",
            "version": pubsub.__version__,
            "language": f"{platform.python_implementation()} {platform.python_version()}",
            "spec": "1",
            "roles": ["topics", "codec", "publisher", "subscriber", "reaper"],
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
        channel = pubsub.Channel(request["pattern"])
        channel.open()
        self.opened += 1
        handle = f"c{self.opened}"
        self.channels[handle] = channel
        return {"channel": handle, "directory": channel.directory_path.name}

    def close(self, request: Fields) -> Fields:
        self.channel(request).close()
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
        tell = request["report"] == "all"
        began = time.monotonic_ns()
        published = total = 0
        for n in range(request["count"]):
            if rate:
                time.sleep(max(0.0, began / 1e9 + n / rate - time.monotonic()))
            text = f"{prefix}:{n}:".encode()
            size = max(sizes[n % len(sizes)], len(text))
            content = (text * (size // len(text) + 1))[:size]
            start = time.monotonic_ns()
            try:
                count = pubsub.publish(
                    topic, content, {"publisher": prefix, "n": n}, timeout=timeout
                )
                outcome: Fields = {"count": count}
                published += 1
                total += count
            except (ValueError, OSError) as error:
                outcome = {"error": describe(error)}
                total += getattr(error, "count", 0)
            if tell:
                yield event(start, n=n, **outcome)
        yield done(began, messages=published, count=total)

    def consume(self, request: Fields) -> Iterator[Fields]:
        channel = self.channel(request)
        wanted, idle = request.get("count"), request.get("idle")
        tell = request["report"] == "all"
        began = time.monotonic_ns()
        deadline = began / 1e9 + request["deadline"] if "deadline" in request else None
        received = 0
        while wanted is None or received < wanted:
            start = time.monotonic_ns()
            left = [] if deadline is None else [max(0.0, deadline - start / 1e9)]
            if left == [0.0]:
                break
            try:
                message = pubsub.fetch(channel)
                if message is None:
                    patience = min(left if idle is None else [*left, idle], default=None)
                    if not channel.wait(patience) and patience == idle:
                        break
                    continue
            except (ValueError, OSError, RuntimeError) as error:
                yield event(start, error=describe(error))
                if isinstance(error, (OSError, RuntimeError)):
                    break
                continue
            received += 1
            if tell:
                yield event(
                    start,
                    topic=message.topic,
                    headers=message.headers,
                    size=message.content_length,
                    crc=zlib.crc32(message.content),
                )
        yield done(began, messages=received)


OPERATIONS: dict[str, Callable[[Driver, Fields], Fields | Iterator[Fields]]] = {
    "hello": Driver.hello,
    "match": Driver.match,
    "encode": Driver.encode,
    "decode": Driver.decode,
    "publish": Driver.publish,
    "open": Driver.open,
    "close": Driver.close,
    "fetch": Driver.fetch,
    "wait": Driver.wait,
    "reap": Driver.reap,
    "produce": Driver.produce,
    "consume": Driver.consume,
}


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


def event(start: int, **fields: Any) -> Fields:
    return {"event": {"start": str(start), "end": str(time.monotonic_ns()), **fields}}


def done(start: int, **fields: Any) -> Fields:
    return {"done": {"start": str(start), "end": str(time.monotonic_ns()), **fields}}


def shown(message: pubsub.Message) -> Fields:
    return {
        "id": str(message.id),
        "timestamp": str(message.timestamp),
        "topic": message.topic,
        "headers": message.headers,
        "content": to_base64(message.content),
    }


def message_from(fields: Fields) -> pubsub.Message:
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
