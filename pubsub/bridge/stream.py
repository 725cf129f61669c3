"""Importing from a stream of JetStream: in order, and from where the last run came to.

The consumer is ephemeral and has no acknowledgements: redelivery would come behind newer messages.
The bridge notes itself how far it has come, and the consumer begins behind that, in each connection
anew. At any gap the connection is given up.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

from .client import SILENCE_SECONDS, Client, Lost, either
from .incoming import Incoming
from .state import Progress
from .subjects import cover

_HEARTBEAT_SECONDS = 2.0
_DAY = 86_400 * 10**9  # nanoseconds
_MOST_AGE = _DAY // 24
_MOST_OCTETS = 2**30
_DUPLICATE_WINDOW = 600 * 10**9
_ACK = "$JS.ACK."
_ACK_WORDS = 9
_NO_STREAM = 10059

_log = logging.getLogger("pubsub.bridge")


class Refused(Exception):
    """JetStream answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


async def ask(client: Client, what: str, request: dict[str, Any]) -> dict[str, Any]:
    """Ask JetStream's interface something. Raises Lost, Refused."""
    asking = asyncio.ensure_future(
        client.request(f"$JS.API.{what}", json.dumps(request).encode(), timeout=10**6)
    )
    await either(asking, client.gone, within=SILENCE_SECONDS)
    if not asking.done():
        asking.cancel()
        raise Lost("JetStream does not answer (or this user may not ask it)")
    if asking.exception():
        raise Lost("the server has no JetStream, or not for this user")
    answer = json.loads(asking.result().data)
    if "error" in answer:
        raise Refused(answer["error"].get("err_code", 0), str(answer["error"].get("description")))
    return dict(answer)


async def find(client: Client, stream: str, subjects: Sequence[str], make: bool) -> dict[str, Any]:
    """What the server says of the stream; it is made if it is missing and `make`. Raises Lost."""
    try:
        try:
            info = await ask(client, f"STREAM.INFO.{stream}", {})
            if "state" not in info:  # a stream of all subjects acknowledges even this question
                raise Lost(f"the stream {stream}: the server does not describe it")
            return info
        except Refused as error:
            if error.code != _NO_STREAM or not make:
                raise
        _log.info("the stream %s is made, for %s", stream, ", ".join(subjects))
        return await ask(
            client,
            f"STREAM.CREATE.{stream}",
            {
                "name": stream,
                "subjects": [*subjects],
                "max_age": _MOST_AGE,
                "max_bytes": _MOST_OCTETS,
                "discard": "old",
                "duplicate_window": _DUPLICATE_WINDOW,
                "retention": "limits",
                "storage": "file",
                "num_replicas": 1,
            },
        )
    except Refused as error:
        raise Lost(f"the stream {stream}: {error}") from error


class StreamImport:
    """One consumer, for one connection."""

    def __init__(self, client: Client, incoming: Incoming, progress: Progress) -> None:
        self._client = client
        self._incoming = incoming
        self._progress = progress
        self._seen = 0  # the consumer's own count
        self._heard = asyncio.Event()
        self._is_busy = False

    async def run(self, stream: str, info: dict[str, Any], subjects: Sequence[str]) -> None:
        """Import as long as the connection lasts. Raises Lost."""
        state = info["state"]
        first = self._progress.begin(info["created"], state["last_seq"])
        if first < state["first_seq"]:
            missing = state["first_seq"] - first
            _log.warning("the stream has removed %d messages that were not imported yet", missing)
        inbox = self._client.new_inbox()
        await self._client.listen(inbox, self._take)
        config = {
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first,
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": cover(subjects),
            "flow_control": True,
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * 10**9),
        }
        try:
            await ask(
                self._client,
                f"CONSUMER.CREATE.{stream}",
                {"stream_name": stream, "config": config},
            )
        except Refused as error:
            raise Lost(f"the stream {stream}: {error}") from error
        while not self._client.gone.done():
            self._heard.clear()
            try:
                await asyncio.wait_for(self._heard.wait(), 5 * _HEARTBEAT_SECONDS)
            except asyncio.TimeoutError:
                if not self._is_busy:
                    raise Lost("the stream sends no heartbeat") from None

    async def _take(self, received: Any) -> None:
        self._heard.set()
        if not received.reply.startswith(_ACK):
            await self._control(received)
            return
        words = received.reply.split(".")
        # Stream, consumer, deliveries, two numbers, time, how many are behind this one; newer
        # servers have two words before, and one behind.
        fields = words[5:9] if len(words) == _ACK_WORDS else words[7:11]
        number, seen, _, self._incoming.behind = map(int, fields)
        if not self._follows(seen - 1):
            return
        self._seen = seen
        self._is_busy = True  # waiting for a full queue may take long
        try:
            await self._incoming.take(received.subject, received.headers, received.data)
            self._progress.note(number)
        finally:
            self._is_busy = False

    async def _control(self, received: Any) -> None:
        """Heartbeats, and questions of flow control, which are answered by an empty message."""
        headers = received.headers or {}
        question = received.reply or headers.get("Nats-Consumer-Stalled")
        if question:
            await self._client.publish(question)
        last = headers.get("Nats-Last-Consumer", "")
        if last.isdecimal():
            self._follows(int(last))

    def _follows(self, seen: int) -> bool:
        if seen != self._seen:
            self._client.abandon(f"the consumer is at {seen} where {self._seen} was expected")
        return seen == self._seen
