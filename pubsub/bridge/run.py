"""The life of a bridge: it connects, serves, loses the connection, and connects again."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import nats.errors

from .client import SILENCE_SECONDS, Client, Lost, Server, either
from .counters import Counters
from .incoming import Incoming
from .local import Exporter
from .outgoing import Outgoing
from .sequences import run_of
from .state import State
from .stream import StreamImport, find
from .subjects import joined, to_subject

_LOOK_SECONDS = 1.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds before the next try to connect
_OTHERS_SECONDS = _LONGEST_PAUSE + 0.5  # in which other bridges connect again, too
_MOST_LINES = 100  # of errors that may come with each message
_LAST_SECONDS = 2.0  # for what is on its way when the bridge is to end

_log = logging.getLogger("pubsub.bridge")


@dataclass(frozen=True)
class Task:
    """What a bridge is to do."""

    exports: Sequence[str]
    imports: Sequence[str]
    name: str = "bridge"
    timeout: float = 5.0
    """Seconds that a full local queue is waited for."""
    stream: str | None = None
    """The stream of JetStream; None: core NATS."""
    make_stream: bool = False


class Bridge:
    """A bridge between the base and a server, which is one of several."""

    def __init__(self, servers: Sequence[Server], task: Task, state: State) -> None:
        self._servers = cycle(servers)
        self._server = next(self._servers)
        self._longest_pause = _LONGEST_PAUSE / len(servers)
        self._task = task
        self._counters = counters = Counters()
        self._outgoing = Outgoing(state.origin, counters, task.stream is not None)
        if task.exports:
            state.begin(run_of(self._outgoing.numbers.session))
        self._incoming = Incoming(task.imports, task.timeout, state, counters)
        self._exporter = Exporter(task.exports, self._outgoing, counters)
        self._progress = state.progress(task.stream) if task.stream and task.imports else None
        self._is_connected = False
        self._stop = asyncio.Event()
        self._said: dict[str, str] = {}
        self._heard: set[str] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises BaseUnusable, OSError if the base is unusable."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:  # as `&` in a script has it
                loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._show)
        looking = asyncio.ensure_future(self._look())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            self._exporter.open()
            pause = _SHORTEST_PAUSE
            while not stopping.done():
                began = loop.time()
                await self._serve(stopping)
                pause = _SHORTEST_PAUSE if loop.time() - began > _LONGEST_PAUSE else pause * 2
                await either(stopping, within=min(pause, self._longest_pause))
                self._server = next(self._servers)
        finally:
            looking.cancel()
            stopping.cancel()
            self._exporter.close()
            self._show()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._exporter.look()

    def _show(self) -> None:
        on_its_way = len(self._outgoing), self._outgoing.window.size, self._incoming.behind
        print(self._counters.line(self._is_connected, *on_its_way), file=sys.stderr, flush=True)

    async def _serve(self, stopping: asyncio.Future[Any]) -> None:
        """Connect, and serve while the connection lasts."""
        client = Client(self._server, self._hear)
        opening = asyncio.ensure_future(self._begin(client))
        await either(opening, stopping)
        tasks: list[asyncio.Task[Any]] = []
        try:
            if opening.done():
                tasks = [asyncio.ensure_future(part) for part in opening.result()]
                self._change(True, f"connected to {self._server.shown}")
                await either(*tasks, client.gone, stopping)
                if stopping.done():
                    await self._finish(client)
                for task in tasks:
                    if task.done():
                        task.result()
                if client.gone.done():
                    raise Lost(client.gone.result())
        except (Lost, nats.errors.Error) as error:
            line = f"no connection to {self._server.shown}: {error}"
            if "authorization" in line.lower():
                line += "; NATS_USER and NATS_PASSWORD, NATS_TOKEN or --credentials let a bridge in"
            self._change(False, line)
        finally:
            client.abandon("")
            tasks.append(opening)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=SILENCE_SECONDS)
            self._exporter.connected(False)
            self._is_connected = False

    async def _begin(self, client: Client) -> list[Coroutine[Any, Any, None]]:
        """Connect and subscribe. Returns what is to run then. Raises Lost."""
        task = self._task
        await client.open(f"pubsub bridge {task.name}")
        imports = joined(map(to_subject, task.imports))
        info: dict[str, Any] = {}
        if task.stream:
            subjects = joined([*imports, *map(to_subject, task.exports)])
            info = await find(client, task.stream, subjects, task.make_stream)
        else:
            for subject in imports:
                await client.listen(subject, self._incoming.take_core)
        answer = client.ping()  # the server knows the subscriptions then
        await either(answer, client.gone, within=SILENCE_SECONDS)
        if not answer.done():
            raise Lost("the server does not answer")
        self._counters.connections += 1
        # Core NATS keeps nothing for those who are not back yet: so others come back first.
        after = 0.0 if task.stream or self._counters.connections == 1 else _OTHERS_SECONDS
        window = self._outgoing.window
        parts = [client.watch(), self._outgoing.send(client, after), window.keep(client)]
        if task.stream and self._progress:
            importing = StreamImport(client, self._incoming, self._progress)
            parts.append(importing.run(task.stream, info, imports))
        return parts

    async def _finish(self, client: Client) -> None:
        """Send what is there still, but not for long."""
        self._exporter.fetch_all()
        end = asyncio.get_running_loop().time() + _LAST_SECONDS
        while (
            (len(self._outgoing) or self._outgoing.window.size)
            and asyncio.get_running_loop().time() < end
            and not client.gone.done()
        ):
            await asyncio.sleep(0.01)

    def _hear(self, line: str) -> None:
        """An error after which the connection goes on, such as a subject that is not permitted."""
        if "permissions violation" in line:
            self._counters.denied += 1
        if line not in self._heard and len(self._heard) < _MOST_LINES:  # once, not per message
            self._heard.add(line)
            _log.warning("%s: %s", self._server.shown, line)

    def _change(self, is_connected: bool, line: str) -> None:
        """Say that there is a connection, or none: once a server, however often it is tried."""
        self._is_connected = is_connected
        self._exporter.connected(is_connected)
        if line != self._said.get(self._server.shown):
            self._said[self._server.shown] = line
            _log.warning("%s", line)


def serve(servers: Sequence[Server], task: Task, state: State) -> None:
    """Run a bridge until SIGTERM or SIGINT: with the first of these servers that lets it in."""

    async def main() -> None:
        await Bridge(servers, task, state).run()

    asyncio.run(main())
