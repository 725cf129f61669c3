"""The client of a driver: an implementation under test, behind stdin and stdout.

Whatever a driver does (crash, silence, garbage, a reply too many), the kit learns of it within a
time limit, as a `DriverError` that tells the request, the end of the process and the tail of its
stderr. `Rejected` alone means that the implementation said no.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from pubsub_conformance.driver import protocol

from ..oracle.message import Message
from .output import Flood, Output
from .replies import (
    Done,
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

START_SECONDS = 30.0
"""From the start of the process to its reply to hello: run times and compilers start slowly."""

REPLY_SECONDS = 10.0
"""For one reply, beyond the time the request itself asks for. No operation takes a second; the
rest is for a loaded machine, and still short enough for somebody who waits for the report."""

STREAM_SECONDS = 60.0
"""For a stream whose request sets no end to its time."""

CLOSE_SECONDS = 10.0
"""From the end of stdin, or a SIGTERM, to the end of the process."""

LAST_WORDS_SECONDS = 1.0
"""For what follows the end of a process at once, but not in the same instant: its exit status
after the end of its stdout, the rest of its stderr, the end of its children."""

UNREAD_OCTETS = 128 * 2**20
"""Of stdout in memory. The longest reply the kit asks for is a tenth of that."""

TOLD_CHARACTERS = 500  # of one request or reply, in the transcript and in a DriverError
TRANSCRIPT_LINES = 400


@dataclass(frozen=True)
class _Asked:
    """The request that is outstanding."""

    seq: int | None
    op: str
    line: str
    limit: float  # seconds
    deadline: float  # on time.monotonic()


E = TypeVar("E")


class Stream(Generic[E]):
    """The events of one streaming request, and its totals once it has ended."""

    def __init__(
        self, part: Callable[[], Mapping[str, Any]], read: Callable[[Mapping[str, Any]], E]
    ) -> None:
        self._part, self._read = part, read
        self._done: Done | None = None

    def __iter__(self) -> Stream[E]:
        return self

    def __next__(self) -> E:
        """Raises Rejected where the stream ends in an error, and DriverError."""
        if self._done is None:
            part = self._part()
            if "event" in part:
                return self._read(part["event"])
            self._done = Done.read(part["done"])
        raise StopIteration

    def finish(self) -> Done:
        """The totals, after the events that are left."""
        for _ in self:
            pass
        assert self._done
        return self._done


class Driver:
    """A driver process that has said hello.

    `home` becomes its PUBSUB_HOME; `env` adds to the environment, a value of None removes.
    The limits (in seconds, octets) are class attributes so that a subclass may be quicker.
    Used by one thread at a time. Raises DriverError.
    """

    start_seconds = START_SECONDS
    reply_seconds = REPLY_SECONDS
    close_seconds = CLOSE_SECONDS
    last_words_seconds = LAST_WORDS_SECONDS
    unread_octets = UNREAD_OCTETS

    def __init__(
        self, command: Sequence[str], home: Path, *, env: Mapping[str, str | None] | None = None
    ) -> None:
        self.home = home
        self._seq = 0
        self._asked: _Asked | None = None
        self._failed: DriverError | None = None
        self._closed = False
        self._killed = False
        self._transcript: deque[str] = deque(maxlen=TRANSCRIPT_LINES)
        changes = {"PUBSUB_HOME": str(home), **(env or {})}
        environment = {
            name: value for name, value in {**os.environ, **changes}.items() if value is not None
        }
        try:
            # A session of its own is a process group of its own: whatever a driver starts can be
            # killed with it, and Ctrl-C reaches the kit alone.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise DriverError(f"{' '.join(command)} cannot be started: {error}") from error
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        os.set_blocking(self._process.stdin.fileno(), False)
        self._output = Output(
            self._process.stdout.fileno(), self._process.stderr.fileno(), self.unread_octets
        )
        self.pid: int = self._process.pid
        try:
            said = self.request("hello", within=self.start_seconds, protocol=protocol.PROTOCOL)
        except Rejected as error:
            raise self._fail(f"hello was refused: {error}") from error
        except BaseException:
            self._end()
            raise
        self.hello = Hello(
            said["implementation"],
            said["version"],
            said["language"],
            said["spec"],
            frozenset(said["roles"]),
        )

    # The operations.

    def match(self, pattern: str, topic: str) -> bool:
        return bool(self.request("match", pattern=pattern, topic=topic)["match"])

    def encode(self, message: Message) -> bytes:
        return base64.b64decode(self.request("encode", message=message_to_json(message))["bytes"])

    def decode(self, data: bytes) -> Message:
        return message_from_json(self.request("decode", bytes=to_base64(data))["message"])

    def publish(
        self,
        topic: str,
        content: bytes = b"",
        headers: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> int:
        """The number of queues that took the message; `timeout` (seconds) is for full ones."""
        fields: dict[str, Any] = {
            "topic": topic,
            "content": to_base64(content),
            "headers": dict(headers or {}),
        }
        if timeout is not None:
            fields["timeout"] = timeout
        within = self.reply_seconds + (timeout or 0)
        return int(self.request("publish", within=within, **fields)["count"])

    def open(self, pattern: str) -> OpenChannel:
        reply = self.request("open", pattern=pattern)
        return OpenChannel(reply["channel"], self.home / reply["directory"])

    def close_channel(self, channel: OpenChannel) -> None:
        self.request("close", channel=channel.handle)

    def fetch(self, channel: OpenChannel) -> Message | None:
        message = self.request("fetch", channel=channel.handle)["message"]
        return None if message is None else message_from_json(message)

    def wait(self, channel: OpenChannel, timeout: float) -> bool:
        """Whether the queue holds something; waits for it up to `timeout` seconds."""
        within = self.reply_seconds + timeout
        reply = self.request("wait", within=within, channel=channel.handle, timeout=timeout)
        return bool(reply["ready"])

    def reap(self, stale_age: float | None = None) -> None:
        """Reaps what is older than `stale_age` seconds (None: the driver's default, an hour)."""
        self.request("reap", **({} if stale_age is None else {"stale_age": stale_age}))

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
        """Have `count` messages published.

        The request is sent at once, so that several drivers can be at work; `within` limits the
        whole stream (seconds).
        """
        fields: dict[str, Any] = {
            "topic": topic,
            "prefix": prefix,
            "count": count,
            "sizes": list(sizes),
            "report": report,
        }
        if rate is not None:
            fields["rate"] = rate
        if timeout is not None:
            fields["timeout"] = timeout
        if within is None:
            within = STREAM_SECONDS + (count / rate if rate else 0) + (timeout or 0)
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
        """Have messages fetched until one limit is reached."""
        limits = {"count": count, "idle": idle, "deadline": deadline}
        fields: dict[str, Any] = {"channel": channel.handle, "report": report}
        fields |= {name: value for name, value in limits.items() if value is not None}
        if within is None:
            within = STREAM_SECONDS if deadline is None else deadline + self.reply_seconds
        return self.stream("consume", Fetched.read, within=within, **fields)

    def request(self, op: str, *, within: float | None = None, **fields: object) -> dict[str, Any]:
        """The reply to one request. Raises Rejected for an error reply.

        An `op` that does not exist is sent all the same: the driver's error is the only right
        reply to it.
        """
        self._send(op, fields, self.reply_seconds if within is None else within)
        return self._result()

    def stream(
        self,
        op: str,
        read: Callable[[Mapping[str, Any]], E],
        *,
        within: float | None = None,
        **fields: object,
    ) -> Stream[E]:
        """The events of a streaming request, each read by `read`. The request is sent at once."""
        self._send(op, fields, STREAM_SECONDS if within is None else within)
        return Stream(self._part, read)

    def begin(self, op: str, *, within: float | None = None, **fields: object) -> None:
        """Sends a request and leaves its reply to `close` (which then expects none)."""
        self._send(op, fields, self.reply_seconds if within is None else within)

    def raw(self, line: bytes, *, within: float | None = None) -> dict[str, Any]:
        """Sends one line as it is; the reply's object, its schema and seq not looked at."""
        limit = self.reply_seconds if within is None else within
        text = line.decode("utf-8", "backslashreplace").rstrip("\n")
        self._write(_Asked(None, "", text, limit, time.monotonic() + limit), line)
        reply = self._receive()
        self._asked = None
        return reply

    @property
    def stderr(self) -> str:
        """The tail of its stderr so far."""
        return self._output.stderr()

    @property
    def transcript(self) -> str:
        """The last requests and replies, one a line, long ones cut."""
        return "\n".join(self._transcript)

    # The end.

    def kill(self) -> None:
        """Kills the driver and all it started, on purpose: `close` will not complain.

        What it wrote before can still be read (the rest of a stream, then DriverError).
        """
        self._killed = True
        self._signal_group(signal.SIGKILL)

    def close(self, by: signal.Signals | None = None) -> None:
        """Ends the driver by the end of its stdin, or by a signal instead.

        Raises DriverError if it did not end in time, with exit status 0, silently and alone.
        Says nothing if it had already failed or been killed. Whatever happens, nothing of its
        process group is left.
        """
        if self._closed:
            return
        asked, self._asked = self._asked, None
        self._signal_group(signal.SIGCONT)  # a test may have stopped it
        if by is None:
            assert self._process.stdin
            self._process.stdin.close()
            if asked:  # a wait or consume need not notice the end of stdin
                self._signal(signal.SIGTERM)
        else:
            self._signal(by)
        how = by.name if by else "SIGTERM" if asked else "the end of stdin"
        try:
            status = self._process.wait(self.close_seconds)
        except subprocess.TimeoutExpired:
            raise self._fail(f"did not end within {self.close_seconds:g} s of {how}") from None
        deliberate = self._killed or status == -signal.SIGKILL
        if not deliberate and self._group_lives():
            raise self._fail("left processes of its own behind when it ended")
        self._end()
        if deliberate:
            return
        if status != 0:
            raise self._fail(f"{_told_end(status)} after {how}; exit status 0 is expected")
        if not asked:
            self._check_silence()

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:  # what went wrong first is what matters
            with contextlib.suppress(DriverError):
                self.close()

    # Underneath.

    def _part(self) -> dict[str, Any]:
        """The next line of a stream. Raises Rejected for an error reply."""
        reply = self._checked()
        if "event" not in reply:
            self._asked = None
        if "error" in reply:
            raise Rejected(reply["error"])
        return reply

    def _result(self) -> dict[str, Any]:
        reply = self._checked()
        self._asked = None
        if "error" in reply:
            raise Rejected(reply["error"])
        return reply

    def _send(self, op: str, fields: Mapping[str, Any], within: float) -> None:
        self._seq += 1
        request = {"seq": self._seq, "op": op, **fields}
        if op in protocol.OPS and (fault := protocol.request_fault(request)):
            raise ValueError(f"the kit's own request is wrong: {fault}")
        text = json.dumps(request, ensure_ascii=False, allow_nan=False)
        asked = _Asked(self._seq, op, text, within, time.monotonic() + within)
        self._write(asked, text.encode() + b"\n")

    def _write(self, asked: _Asked, data: bytes) -> None:
        if self._failed:
            raise DriverError(f"no longer in use, after this: {self._failed.what}")
        if self._closed or self._asked:
            raise RuntimeError(f"a {asked.op} request to a driver that is closed or at work")
        self._asked = asked
        self._transcript.append(f"> {_told(asked.line)}")
        self._check_silence()
        assert self._process.stdin
        stdin = self._process.stdin.fileno()
        rest = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(stdin, selectors.EVENT_WRITE)
            while rest:
                if not selector.select(max(0, asked.deadline - time.monotonic())):
                    raise self._fail(f"did not read the request within {asked.limit:g} s")
                try:
                    rest = rest[os.write(stdin, rest) :]
                except BlockingIOError:  # room for less than one write: wait for more
                    continue
                except BrokenPipeError:
                    return  # dead or dying: reading will tell

    def _check_silence(self) -> None:
        if unasked := self._output.unread():
            raise self._fail(f"stdout has what nothing asked for: {_told(unasked)}")

    def _checked(self) -> dict[str, Any]:
        """The next line that answers the outstanding request."""
        asked = self._asked
        if asked is None:
            raise RuntimeError("nothing is outstanding")
        reply = self._receive()
        if reply.get("seq") != asked.seq or isinstance(reply.get("seq"), bool):
            raise self._fail(f"seq {reply.get('seq')!r} in the reply to request {asked.seq}")
        if fault := protocol.reply_fault(asked.op, reply):
            raise self._fail(f"the reply to {asked.op} breaks its schema: {fault}")
        return reply

    def _receive(self) -> dict[str, Any]:
        asked = self._asked
        if asked is None:
            raise RuntimeError("nothing is outstanding")
        try:
            line = self._output.line(asked.deadline)
        except Flood:
            raise self._fail(
                f"more than {self.unread_octets} octets on stdout that nobody could read"
            ) from None
        if line is None:
            raise self._fail(
                f"no reply within {asked.limit:g} s"
                " (is stdout flushed after every line? is it waiting for the end of stdin?)"
            )
        if line == b"":
            raise self._fail("stdout ended where a reply was due")
        self._transcript.append(f"< {_told(line)}")
        try:
            reply = json.loads(
                line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            raise self._fail(
                f"stdout has a line that is no JSON: {_told(line)} ({error}; logs belong on stderr)"
            ) from error
        if not isinstance(reply, dict):
            raise self._fail(f"stdout has a line that is no JSON object: {_told(line)}")
        return reply

    def _fail(self, what: str) -> DriverError:
        """The error for `what`; the driver, out of step from here on, is ended."""
        asked = _told(self._asked.line) if self._asked else ""
        if self._output.ended():  # then it is on its way out, and its status tells why
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self.last_words_seconds)
        end = _told_end(self._process.poll())
        self._end()
        self._failed = DriverError(what, request=asked, end=end, stderr=self.stderr)
        return self._failed

    def _end(self) -> None:
        """Leaves nothing of the process group, no descriptor and no thread."""
        if self._closed:
            return
        self._closed = True
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        self._output.stop(self.last_words_seconds)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def _group_lives(self) -> bool:
        """Whether other processes of the group outlive the driver for more than a moment."""
        until = time.monotonic() + self.last_words_seconds
        while self._signal_group(0):
            if time.monotonic() > until:
                return True
            time.sleep(0.01)
        return False

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.kill(self.pid, number)

    def _signal_group(self, number: int) -> bool:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            return False
        return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _told(line: str | bytes) -> str:
    text = line if isinstance(line, str) else line.decode("utf-8", "backslashreplace")
    text = text.rstrip("\n")
    if len(text) <= TOLD_CHARACTERS:
        return text
    return f"{text[:TOLD_CHARACTERS]}… ({len(text)} characters)"


def _told_end(status: int | None) -> str:
    if status is None:
        return "still running"
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
