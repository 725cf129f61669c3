"""The client of a driver: an implementation under test, behind stdin and stdout.

Whatever a driver does (crash, silence, garbage, a reply too many), the kit learns of it within a
time limit, as a `DriverError` with the request, the end of the process and the tail of its stderr.
Only `Rejected` means that the implementation refused.
"""

from __future__ import annotations

import base64
import contextlib
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..oracle.message import Message
from .exchange import Exchange, Stream
from .process import Limits, Process, describe_status
from .protocol import PROTOCOL
from .replies import (
    DriverError,
    Fetched,
    Hello,
    OpenChannel,
    Published,
    Rejected,
    message_from_json,
    message_to_json,
    to_base64,
)

E = TypeVar("E")


class Driver:
    """A driver process that has said hello.

    `home` becomes its PUBSUB_HOME; `env` adds to the environment, a value of None removes a
    variable. Used by one thread at a time. Every operation raises DriverError where the driver
    breaks the protocol, and Rejected where the implementation refuses.
    """

    limits = Limits()

    def __init__(
        self, command: Sequence[str], home: Path, *, env: Mapping[str, str | None] | None = None
    ) -> None:
        self.home = home
        self.seen: list[str] = []
        """What others saw of the process, as text, for the report of a failure."""
        self._killed = False
        self._process = Process(command, {"PUBSUB_HOME": str(home), **(env or {})}, self.limits)
        self._exchange = Exchange(self._process)
        try:
            said = self.request("hello", within=self.limits.start_seconds, protocol=PROTOCOL)
        except Rejected as error:
            raise self._exchange.fail(f"hello was refused: {error}") from error
        except BaseException:
            self._process.end()
            raise
        self.hello = Hello.read(said)

    @property
    def pid(self) -> int:
        """The process id, which is that of its process group as well."""
        return self._process.pid

    @property
    def is_idle(self) -> bool:
        """Whether it runs, nobody killed it, and it has answered every request."""
        return not (self._killed or self._process.ended or self._exchange.op)

    @property
    def stderr(self) -> str:
        """The tail of its stderr so far."""
        return self._process.output.stderr()

    @property
    def transcript(self) -> str:
        """The last requests and replies, one a line, long ones cut."""
        return "\n".join(self._exchange.transcript)

    # The operations.

    def match(self, pattern: str, topic: str) -> bool:
        """Whether a topic matches a pattern."""
        return bool(self.request("match", pattern=pattern, topic=topic)["match"])

    def encode(self, message: Message) -> bytes:
        """The octets of a message file."""
        return base64.b64decode(self.request("encode", message=message_to_json(message))["bytes"])

    def decode(self, data: bytes) -> Message:
        """The message in the octets of a message file."""
        return message_from_json(self.request("decode", bytes=to_base64(data))["message"])

    def publish(
        self,
        topic: str,
        content: bytes = b"",
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> int:
        """Publish a message. Returns the number of queues that took it.

        `timeout` says for how many seconds to wait for room in full queues.
        """
        fields = {"topic": topic, "content": to_base64(content), "headers": dict(headers or {})}
        within = self.limits.reply_seconds + (timeout or 0)
        reply = self.request("publish", within=within, **fields, **_given(timeout=timeout))
        return int(reply["count"])

    def open(self, pattern: str, *, inline: bool = False) -> OpenChannel:
        """Open a channel that subscribes to a pattern; with `inline`, ask for the inline lane."""
        reply = self.request("open", pattern=pattern, **({"inline": True} if inline else {}))
        return OpenChannel(reply["channel"], self.home / reply["directory"])

    def close_channel(self, channel: OpenChannel) -> None:
        """Close a channel."""
        self.request("close", channel=channel.handle)

    def fetch(self, channel: OpenChannel) -> Message | None:
        """The next message of a channel; None if there is none."""
        message = self.request("fetch", channel=channel.handle)["message"]
        return None if message is None else message_from_json(message)

    def wait(self, channel: OpenChannel, timeout: float) -> bool:
        """Wait up to `timeout` seconds. Returns whether the queue holds something."""
        within = self.limits.reply_seconds + timeout
        reply = self.request("wait", within=within, channel=channel.handle, timeout=timeout)
        return bool(reply["ready"])

    def reap(self, stale_age: float | None = None) -> None:
        """Reap what is older than `stale_age` seconds (None: the driver's default, an hour)."""
        self.request("reap", **_given(stale_age=stale_age))

    def produce(
        self,
        topic: str,
        prefix: str,
        count: int,
        sizes: Sequence[int],
        *,
        rate: float | None = None,
        timeout: float | None = None,
        report: str = "all",
        within: float | None = None,
    ) -> Stream[Published]:
        """Have `count` messages published, of these sizes in octets, in turn.

        `rate` is in messages a second. Each publish waits up to `timeout` seconds for full queues.
        The request is sent at once, so that several drivers can work at the same time; `within`
        limits the whole stream, in seconds.
        """
        fields = {"topic": topic, "prefix": prefix, "count": count, "sizes": list(sizes)}
        fields |= {"report": report, **_given(rate=rate, timeout=timeout)}
        if within is None:
            within = self.limits.stream_seconds + (count / rate if rate else 0) + (timeout or 0)
        return self.stream("produce", Published.read, within=within, **fields)

    def consume(
        self,
        channel: OpenChannel,
        *,
        count: int | None = None,
        idle: float | None = None,
        deadline: float | None = None,
        report: str = "all",
        within: float | None = None,
    ) -> Stream[Fetched]:
        """Have messages fetched, until `count` of them, `idle` seconds without one, or `deadline`
        seconds. The request is sent at once; `within` limits the whole stream, in seconds.
        """
        fields = {"channel": channel.handle, "report": report}
        limits = _given(count=count, idle=idle, deadline=deadline)
        if within is None and deadline is not None:
            within = deadline + self.limits.reply_seconds
        return self.stream("consume", Fetched.read, within=within, **fields, **limits)

    def request(self, op: str, *, within: float | None = None, **fields: object) -> dict[str, Any]:
        """The reply to one request, which is due within so many seconds.

        An `op` that does not exist is sent as well: the driver's error is the only right reply.
        """
        self._send(op, fields, self.limits.reply_seconds if within is None else within)
        return self._exchange.result()

    def stream(
        self,
        op: str,
        read: Callable[[Mapping[str, Any]], E],
        *,
        within: float | None = None,
        **fields: object,
    ) -> Stream[E]:
        """The events of a streaming request, each read by `read`. The request is sent at once.

        `within` limits the whole stream, in seconds.
        """
        self._send(op, fields, self.limits.stream_seconds if within is None else within)
        return Stream(self._part, read)

    def begin(self, op: str, *, within: float | None = None, **fields: object) -> None:
        """Send a request and leave its reply to `close`, which then expects none."""
        self._send(op, fields, self.limits.reply_seconds if within is None else within)

    def raw(self, line: bytes, *, within: float | None = None) -> dict[str, Any]:
        """Send one line as it is. Returns the reply; its schema and seq are not checked."""
        return self._exchange.raw(line, self.limits.reply_seconds if within is None else within)

    def _send(self, op: str, fields: Mapping[str, object], within: float) -> None:
        self._exchange.send(op, fields, within)

    def _part(self) -> dict[str, Any]:
        return self._exchange.part()

    # The end.

    def kill(self) -> None:
        """Kill the driver and all that it started, on purpose: `close` then raises nothing.

        What it wrote before can still be read (the rest of a stream, then DriverError).
        """
        self._killed = True
        self._process.signal_group(signal.SIGKILL)

    def die(self) -> None:
        """Kill the driver, and wait until its process is gone. Raises DriverError."""
        self.kill()
        self.close()

    def close(self, by: signal.Signals | None = None) -> None:
        """End the driver by the end of its stdin, or by a signal instead.

        Raises DriverError if it does not end in time, with exit status 0, silently and alone.
        Does nothing if the driver has already failed. In each case, nothing of its process group
        is left.
        """
        process, exchange = self._process, self._exchange
        if process.ended:
            return
        asked = exchange.abandon()
        process.signal_group(signal.SIGCONT)  # a test may have stopped it
        if by is None:
            process.close_stdin()
            if asked:  # a wait or consume need not notice the end of stdin
                process.signal(signal.SIGTERM)
        else:
            process.signal(by)
        how = by.name if by else "SIGTERM" if asked else "the end of stdin"
        status = process.wait(self.limits.close_seconds)
        if status is None:
            raise exchange.fail(f"did not end within {self.limits.close_seconds:g} s of {how}")
        deliberate = self._killed or status == -signal.SIGKILL
        if not deliberate and process.left_others():
            raise exchange.fail("left processes of its own behind when it ended")
        process.end()
        if deliberate:
            return
        if status != 0:
            end = describe_status(status)
            raise exchange.fail(f"{end} after {how}; exit status 0 is expected")
        if not asked:
            exchange.check_silence()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.close()
        else:  # the first error is the one that matters
            with contextlib.suppress(DriverError):
                self.close()


def _given(**fields: object) -> dict[str, Any]:
    """The fields of a request that have a value. The driver has its own default for the others."""
    return {name: value for name, value in fields.items() if value is not None}
