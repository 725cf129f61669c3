"""A driver for formix-pubsub 0.9.0 and 1.0.0, unmodified (conformance/DRIVER.md).

It repairs nothing. README.md beside it says what it does where the package has no counterpart.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import importlib
import json
import math
import platform
import select
import signal
import sys
import termios
import time
import zlib
from collections.abc import Iterator
from importlib import metadata
from typing import Any

# Any: in this repository, type checkers know another package of this name.
formix: Any = importlib.import_module("pubsub")

Fields = dict[str, Any]

POLL_SECONDS = 0.01  # the nap of the package's own `subscribe`

# What the package's docstrings say that its exceptions mean, as a caller would rely on it. The
# text of an exception is not looked at.
CODES: dict[str, list[tuple[type[Exception], str]]] = {
    "encode": [(UnicodeEncodeError, "invalid-headers")],
    "decode": [(ValueError, "invalid-message")],
    "publish": [(UnicodeEncodeError, "invalid-headers"), (ValueError, "invalid-topic")],
    "open": [(ValueError, "invalid-pattern")],
    "fetch": [(ValueError, "invalid-message")],
}
CODES["produce"], CODES["consume"] = CODES["publish"], CODES["fetch"]

NUMBER = (int, float)

# What each operation needs, and what it may be given besides.
FIELDS: dict[str, tuple[Fields, Fields]] = {
    "hello": ({"protocol": int}, {}),
    "encode": ({"message": dict}, {}),
    "decode": ({"bytes": str}, {}),
    "publish": ({"topic": str, "content": str, "headers": dict}, {"timeout": NUMBER}),
    "open": ({"pattern": str}, {}),
    "close": ({"channel": str}, {}),
    "fetch": ({"channel": str}, {}),
    "wait": ({"channel": str, "timeout": NUMBER}, {}),
    "produce": (
        {"topic": str, "prefix": str, "count": int, "sizes": list, "report": str},
        {"rate": NUMBER, "timeout": NUMBER},
    ),
    "consume": (
        {"channel": str, "report": str},
        {"count": int, "idle": NUMBER, "deadline": NUMBER},
    ),
}
ROLES = ["codec", "publisher", "subscriber"]
if hasattr(formix.Channel, "cleanup_inactive"):  # since 1.0.0
    FIELDS["reap"] = ({}, {"stale_age": NUMBER})
    ROLES.append("reaper")
MESSAGE = {"id": str, "timestamp": str, "topic": str, "headers": dict, "content": str}


class BadRequest(Exception):
    """The request does not follow the driver protocol."""


class NotOpen(Exception):
    """The handle is of no channel that is open."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    driver = Driver()
    try:
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
                refuse(seq if type(seq) is int else None, "bad-request", error)  # a bool is none
    finally:
        driver.end()


def check(fields: Fields, needed: Fields, optional: Fields | None = None) -> None:
    for name, kind in needed.items():
        if name not in fields:
            raise BadRequest(f"{name} is missing")
        if not isinstance(fields[name], kind) or isinstance(fields[name], bool):
            raise BadRequest(f"{name} is {fields[name]!r}")
    if optional:
        check(fields, {name: kind for name, kind in optional.items() if name in fields})
    if "report" in needed and fields["report"] not in ("all", "totals"):
        raise BadRequest("report is all or totals")


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Driver:
    def __init__(self) -> None:
        self.channels: dict[str, Any] = {}

    def answer(self, seq: int, op: str, request: Fields) -> None:
        if op not in FIELDS:
            refuse(seq, "unknown-op", f"{op!r} is no operation")
            return
        check(request, *FIELDS[op])
        try:
            result = getattr(self, op)(request)
            for fields in [result] if isinstance(result, dict) else result:
                send(seq, **fields)
        except BadRequest:
            raise
        except NotOpen as error:
            refuse(seq, "channel-closed", error)
        except Exception as error:
            send(seq, error=describe(op, error))

    def end(self) -> None:
        for channel in self.channels.values():
            try:
                channel.close()
            except Exception as error:
                print(f"closing {channel}: {error!r}", file=sys.stderr)

    def channel(self, request: Fields) -> Any:
        channel = self.channels.get(request["channel"])
        if channel is None or not channel.is_open:
            raise NotOpen(f"{request['channel']!r} is not open")
        return channel

    def hello(self, request: Fields) -> Fields:
        if request["protocol"] != 1:
            raise BadRequest("this driver speaks protocol 1")
        return {
            "implementation": "formix-pubsub",
            "version": metadata.version("formix-pubsub"),
            "language": f"{platform.python_implementation()} {platform.python_version()}",
            "spec": "1",
            "roles": ROLES,
        }

    def encode(self, request: Fields) -> Fields:
        fields = request["message"]
        check(fields, MESSAGE)
        content = from_base64(fields["content"])
        message = formix.Message(fields["topic"], content, fields["headers"])
        message.id, message.timestamp = int(fields["id"]), int(fields["timestamp"])
        return {"bytes": to_base64(message.to_bytes())}

    def decode(self, request: Fields) -> Fields:
        return {"message": shown(formix.Message.from_bytes(from_base64(request["bytes"])))}

    def publish(self, request: Fields) -> Fields:
        content = from_base64(request["content"])
        return {"count": formix.publish(request["topic"], content, request["headers"])}

    def open(self, request: Fields) -> Fields:
        channel = formix.Channel(request["pattern"])
        channel.open()
        handle = f"c{len(self.channels)}"
        self.channels[handle] = channel
        return {"channel": handle, "directory": channel.directory_path.name}

    def close(self, request: Fields) -> Fields:
        self.channel(request).close()
        return {}

    def fetch(self, request: Fields) -> Fields:
        message = formix.fetch(self.channel(request))
        return {"message": None if message is None else shown(message)}

    def wait(self, request: Fields) -> Fields:
        channel = self.channel(request)
        deadline = time.monotonic() + request["timeout"]
        while not holds_something(channel) and time.monotonic() < deadline:
            # Not `time.sleep`, in which libfaketime fails with EINVAL if the clock is set.
            select.select([], [], [], POLL_SECONDS)
        return {"ready": holds_something(channel)}

    def reap(self, request: Fields) -> Fields:
        formix.Channel.cleanup_inactive()
        return {}

    def produce(self, request: Fields) -> Iterator[Fields]:
        topic, prefix, sizes = request["topic"], request["prefix"], request["sizes"]
        rate = request.get("rate")
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
                count = formix.publish(topic, content, headers)
                outcome: Fields = {"count": count}
                published += 1
                total += count
            except Exception as error:
                told = describe("produce", error)
                if told["code"] != "io-error":  # the caller's fault
                    raise
                outcome = {"error": told}
            end = now()
            if n == 0:
                first = start
            if request["report"] == "all":
                yield {"event": {"n": n, **times(start, end), **outcome}}
        yield {"done": {"messages": published, "count": total, **times(first, end)}}

    def consume(self, request: Fields) -> Iterator[Fields]:
        channel = self.channel(request)
        began = last = now()
        received = 0
        while received < request.get("count", math.inf):
            start = now()
            if start - began >= request.get("deadline", math.inf) * 1e9:
                break
            if start - last >= request.get("idle", math.inf) * 1e9:
                break
            try:
                message = formix.fetch(channel)
            except Exception as error:
                described = describe("consume", error)
                if described["code"] != "invalid-message":
                    raise
                last = now()
                yield {"event": {**times(start, last), "error": described}}
                continue
            if message is None:
                time.sleep(POLL_SECONDS)
                continue
            last = now()
            received += 1
            if request["report"] == "all":
                told = {key: shown(message)[key] for key in ("topic", "headers")}
                told |= {"size": len(message.content), "crc": zlib.crc32(message.content)}
                yield {"event": {**times(start, last), **told}}
        yield {"done": {"messages": received, **times(began, now())}}


def holds_something(channel: Any) -> bool:
    # Not `poll`: the package has no write end open, so poll calls an empty queue readable.
    octets = fcntl.ioctl(channel._fp, termios.FIONREAD, bytes(4))
    return int.from_bytes(octets, sys.byteorder) > 0


def describe(op: str, error: Exception) -> Fields:
    detail = f"{type(error).__name__}: {error}"
    for kind, code in CODES.get(op, []):
        if isinstance(error, kind):
            return {"code": code, "detail": detail}
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    number = errno.EIO  # of what the package does not foresee, a TypeError, say
    if isinstance(cause, OSError) and cause.errno is not None:
        number = cause.errno
    elif isinstance(error, MemoryError):
        number = errno.ENOMEM
    return {"code": "io-error", "detail": detail, "errno": errno.errorcode[number]}


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def times(start: int, end: int) -> Fields:
    return {"start": str(start), "end": str(end)}


def shown(message: Any) -> Fields:
    headers = message.headers if isinstance(message.headers, dict) else {"": message.headers}
    return {
        "id": str(message.id),
        "timestamp": str(message.timestamp),
        "topic": message.topic,
        "headers": {key: carried(value) for key, value in headers.items()},
        "content": to_base64(message.content),
    }


def carried(value: object) -> object:
    """What the protocol cannot carry is shown as text: it was accepted, and that tells."""
    if isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
        return repr(value)
    return value


def to_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadRequest(str(error)) from error


def refuse(seq: int | None, code: str, why: object) -> None:
    send(seq, error={"code": code, "detail": str(why)})


def send(seq: int | None, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"seq": seq, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
