"""Requests and replies, one JSON object a line, with a time limit for each reply."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ..excerpt import beginning
from . import protocol
from .output import Flood
from .process import Process
from .replies import Done, DriverError, NameTwice, NoReply, Rejected

SHOWN_CHARACTERS = 500  # of one request or reply, in the transcript and in a DriverError
TRANSCRIPT_LINES = 400

E = TypeVar("E")


@dataclass(frozen=True)
class _Asked:
    """The request that is outstanding."""

    seq: int | None
    op: str
    line: str
    limit: float  # seconds
    deadline: float  # on time.monotonic()


class Exchange:
    """What is said to a driver and what it answers: one request at a time.

    Whatever breaks the protocol ends the process and raises DriverError.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._seq = 0
        self._asked: _Asked | None = None
        self._failed: DriverError | None = None
        self.transcript: deque[str] = deque(maxlen=TRANSCRIPT_LINES)
        """The last requests and replies, long ones cut."""

    @property
    def op(self) -> str:
        """The operation whose reply is due; empty if there is none."""
        return self._asked.op if self._asked else ""

    def send(self, op: str, fields: Mapping[str, object], within: float) -> None:
        """Send a request, whose next line of reply is due within so many seconds.

        Raises ValueError if the request breaks its schema.
        """
        self._seq += 1
        request = {"seq": self._seq, "op": op, **fields}
        if op in protocol.OPS and (fault := protocol.request_fault(request)):
            raise ValueError(f"the kit's own request is wrong: {fault}")
        text = json.dumps(request, ensure_ascii=False, allow_nan=False)
        self._write(self._seq, op, text, text.encode() + b"\n", within)

    def raw(self, line: bytes, within: float) -> dict[str, Any]:
        """Send a line as it is. Returns the reply; its schema and seq are not checked."""
        text = line.decode("utf-8", "backslashreplace").rstrip("\n")
        self._write(None, "", text, line, within)
        reply = self._receive()
        self._asked = None
        return reply

    def result(self) -> dict[str, Any]:
        """The reply to the request. Raises Rejected for an error reply."""
        reply = self._checked()
        self._asked = None
        if "error" in reply:
            raise Rejected(reply["error"])
        return reply

    def part(self) -> dict[str, Any]:
        """The next line of a stream. Raises Rejected for an error reply."""
        reply = self._checked()
        if "event" not in reply:
            self._asked = None
        if "error" in reply:
            raise Rejected(reply["error"])
        return reply

    def abandon(self) -> bool:
        """Expect no reply any more. Returns whether one was due."""
        asked, self._asked = self._asked, None
        return asked is not None

    def check_silence(self) -> None:
        """Fail if stdout has a line that nothing asked for."""
        if unasked := self._process.output.unread():
            raise self.fail(f"stdout has what nothing asked for: {_excerpt(unasked)}")

    def fail(self, what: str, kind: type[DriverError] = DriverError) -> DriverError:
        """The error for `what`. The driver, out of step from here on, is ended."""
        request = _excerpt(self._asked.line) if self._asked else ""
        end = self._process.describe_end()
        self._process.end()
        stderr = self._process.output.stderr()
        self._failed = kind(what, request=request, end=end, stderr=stderr)
        return self._failed

    def _write(self, seq: int | None, op: str, text: str, data: bytes, within: float) -> None:
        if self._failed:
            raise DriverError(f"no longer in use, after this: {self._failed.what}")
        if self._process.ended or self._asked:
            raise RuntimeError(f"a {op} request to a driver that is closed or at work")
        self._asked = _Asked(seq, op, text, within, time.monotonic() + within)
        self.transcript.append(f"> {_excerpt(text)}")
        self.check_silence()
        if not self._process.write(data, self._asked.deadline):
            raise self.fail(f"did not read the request within {within:g} s", NoReply)

    def _checked(self) -> dict[str, Any]:
        """The next line that answers the outstanding request."""
        reply = self._receive()
        asked = self._outstanding
        if reply.get("seq") != asked.seq or isinstance(reply.get("seq"), bool):
            raise self.fail(f"seq {reply.get('seq')!r} in the reply to request {asked.seq}")
        if fault := protocol.reply_fault(asked.op, reply):
            raise self.fail(f"the reply to {asked.op} breaks its schema: {fault}")
        return reply

    @property
    def _outstanding(self) -> _Asked:
        if self._asked is None:
            raise RuntimeError("nothing is outstanding")
        return self._asked

    def _receive(self) -> dict[str, Any]:
        asked = self._outstanding
        try:
            line = self._process.output.line(asked.deadline)
        except Flood as flood:
            raise self.fail(str(flood)) from None
        if line is None:
            raise self.fail(
                f"no reply within {asked.limit:g} s"
                " (is stdout flushed after every line? is it waiting for the end of stdin?)",
                NoReply,
            )
        if line == b"":
            raise self.fail("stdout ended where a reply was due", NoReply)
        self.transcript.append(f"< {_excerpt(line)}")
        try:
            reply = json.loads(
                line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
            )
        except _Twice as error:
            raise self.fail(
                f"stdout has a line in which {error}: {_excerpt(line)}", NameTwice
            ) from error
        except (ValueError, RecursionError) as error:
            raise self.fail(
                f"stdout has a line that is no JSON: {_excerpt(line)}"
                f" ({error}; logs belong on stderr)"
            ) from error
        if not isinstance(reply, dict):
            raise self.fail(f"stdout has a line that is no JSON object: {_excerpt(line)}")
        return reply


class Stream(Generic[E]):
    """The events of one streaming request, each read by `read`, and its totals at the end."""

    def __init__(
        self, part: Callable[[], Mapping[str, Any]], read: Callable[[Mapping[str, Any]], E]
    ) -> None:
        self._part, self._read = part, read
        self._done: Done | None = None

    def __iter__(self) -> Stream[E]:
        return self

    def __next__(self) -> E:
        """The next event. Raises DriverError, and Rejected where the stream ends in an error."""
        if self._done is None:
            part = self._part()
            if "event" in part:
                return self._read(part["event"])
            self._done = Done.read(part["done"])
        raise StopIteration

    def finish(self) -> Done:
        """The totals. The remaining events are read and dropped. Raises as the iteration does."""
        for _ in self:
            pass
        assert self._done
        return self._done


class _Twice(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Twice("a name stands twice in one object")
    return fields


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _excerpt(line: str | bytes) -> str:
    text = line if isinstance(line, str) else line.decode("utf-8", "backslashreplace")
    return beginning(text.rstrip("\n"), SHOWN_CHARACTERS)
