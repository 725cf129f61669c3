"""From the base to the server: what was fetched, what was sent, and what is confirmed.

A message is fetched into memory, sent, and forgotten when the server has confirmed it. With core
NATS the answer to a PING confirms what was sent before it; JetStream acknowledges each message. In
both cases a bounded number is sent and unconfirmed.

Fetching goes on while there is no server, so that local publishers find room: then what does not
fit into memory is dropped. With a server it pauses instead, and a publisher that waits is slowed
down.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..message import Message
from .client import Client, either
from .counters import Counters
from .envelope import Mark, block, encode
from .sequences import Numbers

WINDOW = 1024  # messages that are sent and not confirmed
MOST_MESSAGES = 65_536  # that wait in memory
MOST_OCTETS = 2**26
_BATCH = 256  # messages between two PINGs, and between two turns of the loop
_BATCH_OCTETS = 2**18  # of them, unless one is larger
_AGAIN_SECONDS = 1.0  # before messages that JetStream refused are sent again
_ACK_SECONDS = 5.0  # without any acknowledgement, all are sent again
_TOO_LARGE_FOR_STREAM = 10054

_log = logging.getLogger("pubsub.bridge")


class Packet(NamedTuple):
    """A message as NATS takes it."""

    subject: str
    headers: bytes
    content: bytes

    @property
    def octets(self) -> int:
        """All that the server counts."""
        return len(self.headers) + len(self.content)

    def command(self, reply: str = "") -> bytes:
        """What publishes it; an answer goes to `reply`."""
        head = f"HPUB {self.subject} {reply} {len(self.headers)} {self.octets}\r\n".encode()
        return b"".join((head, self.headers, self.content, b"\r\n"))


class Outgoing:
    """The messages on their way to the server. They outlive a connection."""

    def __init__(self, origin: str, counters: Counters, to_stream: bool) -> None:
        """`to_stream`: JetStream is to take them."""
        self._origin = origin
        self._knows_ids = to_stream
        self.numbers = Numbers()
        self._counters = counters
        self._waiting: deque[Packet] = deque()
        self._octets = 0
        self._some = asyncio.Event()
        self.when_there_is_room: Callable[[], None] = lambda: None
        self.window = StreamWindow(counters) if to_stream else Window(counters)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether memory is full."""
        return len(self._waiting) >= MOST_MESSAGES or self._octets >= MOST_OCTETS

    def put(self, message: Message) -> None:
        """Take a message; it is dropped if there is no room."""
        number = self.numbers.next(message.topic)  # if it is dropped, importers see the gap
        if self.is_full:
            self._counters.dropped += 1
            return
        mark = Mark(self._origin, self.numbers.session, number, message.timestamp)
        headers = encode(message.headers, mark)
        if self._knows_ids:
            headers["Nats-Msg-Id"] = f"{mark.session}.{number}.{message.topic}"
        packet = Packet(message.topic, block(headers), message.content)
        self._waiting.append(packet)
        self._octets += packet.octets
        self._some.set()

    async def send(self, client: Client, after: float) -> None:
        """Send, as long as the connection lasts, beginning after so many seconds."""
        await either(client.gone, within=after)
        await self.window.begin(client)
        while not client.gone.done():
            await self._some.wait()
            await self.window.room()
            if client.gone.done():
                break  # what is there is for the next connection
            self.window.send(self._take(min(_BATCH, self.window.left), client.max_payload))
            if not self.is_full:
                self.when_there_is_room()
            await client.written()
            await asyncio.sleep(0)  # the others' turn

    def _take(self, most: int, limit: int) -> list[Packet]:
        """Some of the packets that are waiting and within the server's limit."""
        taken: list[Packet] = []
        least = self._octets - _BATCH_OCTETS
        while self._waiting and len(taken) < most and self._octets > least:
            packet = self._waiting.popleft()
            self._octets -= packet.octets
            if packet.octets > limit:
                self._counters.too_large += 1
                _log.warning("%s: %s", packet.subject, _too_large(packet, limit))
            else:
                taken.append(packet)
        if not self._waiting:
            self._some.clear()
        return taken


def _too_large(packet: Packet, limit: int) -> str:
    return f"a message of {packet.octets} octets is not exported: the server takes {limit}"


class Window:
    """What is sent and not confirmed, with core NATS: it is never sent again."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._client: Client | None = None
        self._sent = self._confirmed = 0
        self._moved = asyncio.Event()

    @property
    def size(self) -> int:
        """The number of messages that are sent and not confirmed."""
        return self._sent - self._confirmed

    @property
    def left(self) -> int:
        """How many more may be sent now."""
        return WINDOW - self.size

    async def begin(self, client: Client) -> None:
        """Begin with a new connection: nobody knows what became of what was sent before."""
        self._counters.unconfirmed += self.size
        self._confirmed = self._sent
        self._client = client

    async def room(self) -> None:
        """Wait until some may be sent."""
        while self.left <= 0:
            self._moved.clear()
            await self._moved.wait()

    def send(self, packets: Sequence[Packet]) -> None:
        """Send some, and ask whether the server has read them."""
        if packets:
            assert self._client
            self._client.write(packet.command() for packet in packets)
            self._sent += len(packets)
            answer = self._client.ping()
            answer.add_done_callback(partial(self._confirm, self._client, self._sent))

    def _confirm(self, client: Client, sent: int, answer: asyncio.Future[bool]) -> None:
        if client is self._client and not answer.cancelled() and sent > self._confirmed:
            self._counters.exported += sent - self._confirmed
            self._confirmed = sent
            self._moved.set()

    async def keep(self, client: Client) -> None:
        """What is to be done besides, as long as the connection lasts."""
        await either(client.gone)


class StreamWindow(Window):
    """The same with JetStream: what is not acknowledged is sent again, in order.

    The stream knows by the id which of them it has.
    """

    def __init__(self, counters: Counters) -> None:
        super().__init__(counters)
        self._open: dict[int, Packet] = {}
        self._inbox = ""
        self._refused = ""
        self._sending_again = False
        self._progress = 0.0  # when something was acknowledged, or sent again

    @property
    def size(self) -> int:
        """The number of messages that are sent and not acknowledged."""
        return len(self._open)

    async def begin(self, client: Client) -> None:
        """Send again what the connection before left unacknowledged."""
        self._client = client
        self._inbox = client.new_inbox()
        await client.listen(f"{self._inbox}.*", partial(self._acknowledged, client))
        await self._send_again()

    async def room(self) -> None:
        """Wait until some may be sent: nothing new overtakes what has to be sent again."""
        while self.left <= 0 or self._refused or self._sending_again:
            self._moved.clear()
            await self._moved.wait()

    async def keep(self, client: Client) -> None:
        """Send again what was refused, or not acknowledged in time."""
        while not client.gone.done():
            await either(client.gone, within=_AGAIN_SECONDS)
            if self._refused or time.monotonic() - self._progress > _ACK_SECONDS:
                await self._send_again()

    def send(self, packets: Sequence[Packet]) -> None:
        """Send some; each is to be acknowledged."""
        assert self._client
        numbered = [*enumerate(packets, self._sent + 1)]
        self._sent += len(packets)
        self._open.update(numbered)
        self._client.write(self._command(*each) for each in numbered)

    def _command(self, number: int, packet: Packet) -> bytes:
        return packet.command(f"{self._inbox}.{number}")

    async def _send_again(self) -> None:
        assert self._client
        self._sending_again = True
        self._refused = ""
        try:
            for number, packet in [*self._open.items()]:
                if number in self._open:
                    self._counters.sent_again += 1
                    self._client.write([self._command(number, packet)])
                    await self._client.written()
        finally:
            self._sending_again = False
            self._progress = time.monotonic()
            self._moved.set()

    async def _acknowledged(self, client: Client, reply: Any) -> None:
        last = reply.subject.rpartition(".")[2]
        number = int(last) if last.isdecimal() else 0
        if client is not self._client or number not in self._open:
            return
        self._progress = time.monotonic()
        fault = _fault(reply)
        if not fault:
            del self._open[number]
            self._counters.exported += 1
        elif fault.code == _TOO_LARGE_FOR_STREAM:
            packet = self._open.pop(number)
            self._counters.too_large += 1
            _log.warning("%s: a message is not exported: %s", packet.subject, fault.text)
        else:
            if not self._refused:
                _log.warning("the stream takes no messages: %s; they are kept", fault.text)
            self._refused = fault.text
        self._moved.set()


class _Fault(NamedTuple):
    code: int
    text: str


def _fault(reply: Any) -> _Fault | None:
    """Why JetStream did not take a message; None: it did."""
    if reply.headers and reply.headers.get("Status"):
        return _Fault(503, "no stream has this subject")
    if b'"error"' not in reply.data:  # the usual case
        return None
    try:
        answer = json.loads(reply.data)
        if "error" not in answer:
            return None
        return _Fault(answer["error"].get("err_code", 0), str(answer["error"].get("description")))
    except (ValueError, TypeError, AttributeError):
        return _Fault(0, "its answer is no JSON object")
