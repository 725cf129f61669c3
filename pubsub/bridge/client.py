"""One connection to a NATS server, by nats-py, watched from outside.

nats-py 2.16 can stay *connected* and hear nothing any more: a header block that it cannot read ends
its reading, and so does a PONG for which nobody waits; it can hang in closing while a server that
has stopped does not take its data; and it sends a PING before what was published. So a client here
serves for one connection, never reconnects, is given up at once when anything is wrong, and pings
behind its data.

What is published is written here, many messages at once, and what comes is handed on here: nats-py
takes more time for either than the rest of a bridge.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client as NatsClient

from .envelope import MARK

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 4.0  # how long a server may take to answer a PING
_PING_SECONDS = 1.0  # from an answer to the next PING
_NEVER = 10**9  # seconds: pings of nats-py would overtake what was published
_MOST_WAITING = 65_536  # messages that came and were not yet looked at
_MOST_OCTETS = 2**26  # of their contents
_UNREADABLE = {MARK: ""}  # headers that no bridge writes: the message is refused


class Lost(Exception):
    """There is no connection, or none any more; the text says why."""


@dataclass(frozen=True)
class Server:
    """Where the server is, and how to be let in."""

    url: str
    """`nats://HOST:PORT` or `tls://HOST:PORT`, without a password."""
    tls: ssl.SSLContext | None = None
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Arguments of nats-py's `connect`, such as `user`, `password`, `token`, `user_credentials`."""

    @property
    def shown(self) -> str:
        """The address, without anything secret."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or 4222}"

    @property
    def wants_tls(self) -> bool:
        """Whether nothing may be sent in clear."""
        return self.tls is not None or urlsplit(self.url).scheme == "tls"


class Received(NamedTuple):
    """A message that came."""

    subject: str
    reply: str
    headers: dict[str, str] | None
    data: bytes


class Client(NatsClient):  # type: ignore[misc]  # nats-py is in an extra
    """A connection that is either good or lost."""

    def __init__(self, server: Server, on_error: Callable[[str], None]) -> None:
        """`on_error` hears of errors after which the connection goes on."""
        super().__init__()
        self._server = server
        self._on_error = on_error
        self._reason = ""
        self._queues: dict[int, _Queue] = {}
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when the connection is lost; the result says why."""

    async def open(self, name: str) -> None:
        """Connect. Raises Lost."""
        options: dict[str, Any] = dict(self._server.login)
        if self._server.tls:
            options["tls"] = self._server.tls
        try:
            await self.connect(
                self._server.url,
                name=name,
                error_cb=self._note,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,
                connect_timeout=CONNECT_SECONDS,
                ping_interval=_NEVER,
                no_echo=True,
                **options,
            )
        except (nats.errors.Error, OSError, asyncio.TimeoutError, ValueError) as error:
            why = self._reason or _text(error)
            self.abandon(why)
            raise Lost(why) from error
        self._reading_task.add_done_callback(lambda _: self.abandon("nothing is read any more"))

    async def _note(self, error: Exception) -> None:
        self._reason = _text(error)
        if self.is_connected:
            self._on_error(self._reason)

    def _connect_command(self) -> bytes:
        # Credentials are in it. Without this look they would go out in clear, as everything else.
        if self._server.wants_tls and not self._server_info.get("tls_required"):
            raise nats.errors.Error("nats: TLS is wanted, and the server does not offer it")
        try:
            command: bytes = super()._connect_command()
        except OSError:
            raise
        except Exception as error:  # what nkeys and nats-py make of a file that holds none
            raise nats.errors.Error("nats: the file of credentials is malformed") from error
        return command

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            parsed: dict[str, str] | None = await super()._process_headers(headers)
        except Exception:  # whatever a stranger sends: it would end the reading
            return _UNREADABLE
        return parsed

    async def _process_op_err(self, error: Exception) -> None:
        self.abandon(_text(error))

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self.abandon(self._reason or _text(self._err or "the server closed the connection"))

    async def listen(self, subject: str, callback: Callable[[Received], Awaitable[None]]) -> None:
        """Have the messages of a subject given to the callback, one after the other."""
        subscription = await self.subscribe(subject)
        self._queues[subscription._id] = _Queue(callback, self._on_error)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        queue = self._queues.get(sid)
        if queue is None:  # the answer to a request
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            read = await self._process_headers(headers)
            queue.put(Received(subject.decode(), reply.decode(), read, data))

    def write(self, commands: Iterable[bytes]) -> None:
        """Send commands of the protocol, behind what nats-py has to send; not if it is lost."""
        if not self.gone.done():
            self._transport.write(b"".join([*self._pending, *commands]))
            self._pending.clear()
            self._pending_data_size = 0

    async def written(self) -> None:
        """Wait while much of what was written is still here."""
        with suppress(OSError):  # `gone` tells
            await self._transport.drain()

    def ping(self) -> asyncio.Future[bool]:
        """Send a PING behind everything that was published.

        The future is done when the server has read all that. Nobody may cancel it.
        """
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pongs.append(answer)
        self.write([b"PING\r\n"])
        return answer

    async def watch(self) -> None:
        """Ping again and again. Returns when the connection is lost, which `gone` tells, too."""
        while not self.gone.done():
            answer = self.ping()
            await either(answer, self.gone, within=SILENCE_SECONDS)
            if answer.done():
                await either(self.gone, within=_PING_SECONDS)
                continue
            self.abandon(f"the server does not answer for {SILENCE_SECONDS:g} seconds")

    def abandon(self, why: str) -> None:
        """Give the connection up at once, without another word to the server. May be repeated."""
        if not self.gone.done():
            self.gone.set_result(why)
        self._status = NatsClient.CLOSED
        tasks = [queue.task for queue in self._queues.values()]
        self._queues.clear()
        self._subs.clear()
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task, *tasks):
            if task is not None:
                task.cancel()
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class _Queue:
    """What came for a subscription, until its callback has it."""

    def __init__(
        self, callback: Callable[[Received], Awaitable[None]], on_error: Callable[[str], None]
    ) -> None:
        self._callback = callback
        self._on_error = on_error
        self._messages: deque[Received] = deque()
        self._octets = 0
        self._some = asyncio.Event()
        self.task = asyncio.ensure_future(self._hand_on())

    def put(self, received: Received) -> None:
        if len(self._messages) >= _MOST_WAITING or self._octets >= _MOST_OCTETS:
            self._on_error("messages come faster than they can be taken: some are left out")
            return
        self._messages.append(received)
        self._octets += len(received.data)
        self._some.set()

    async def _hand_on(self) -> None:
        while True:
            await self._some.wait()
            while self._messages:
                received = self._messages.popleft()
                self._octets -= len(received.data)
                try:
                    await self._callback(received)
                except Exception as error:  # the next message may be a better one
                    self._on_error(_text(error))
            self._some.clear()


async def either(*futures: asyncio.Future[Any], within: float | None = None) -> None:
    """Wait until one of these is done, or for so many seconds. None of them is cancelled."""
    await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)


def _text(error: object) -> str:
    """What went wrong, as a part of a line."""
    text = str(error).removeprefix("nats: ")
    if text[:1] == text[-1:] == "'":
        text = text[1:-1]
    return " ".join(text.split()) or type(error).__name__
