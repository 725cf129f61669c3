"""What the workers of a stress run have in common: the load, the history, the disturbances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pubsub_conformance.driver import Rejected
from pubsub_conformance.judge.events import Event, Open, Publish
from pubsub_conformance.judge.fullness import full_spans
from pubsub_conformance.waiting import Flag

from .disturb import Trouble
from .load import Load
from .worker import Host


class Scene(Host):
    """The host of stress workers."""

    def __init__(self, command: Sequence[str], home: Path, seed: int, load: Load) -> None:
        super().__init__(command, home, seed, load.lane)
        self.load = load
        self.published = Flag()
        """Set: nobody publishes any more in this epoch. Read until all is empty."""
        self.events: list[Event] = []
        """Of this epoch, and the openings of channels that are open since earlier ones."""
        self.rooms: dict[str, int] = {}
        """The number of octets that the queue of each channel certainly takes."""
        self.excused: Counter[str] = Counter()
        """How often each error was explained by a disturbance."""
        self.unclosed = 0
        """The number of channels whose closing failed, with an error that is explained."""
        self.troubles: list[Trouble] = []
        """The disturbances of this epoch that explain errors."""

    def begin_epoch(self, still_open: Sequence[Open]) -> None:
        self.events = list(still_open)
        self.rooms = {event.channel: self.rooms[event.channel] for event in still_open}
        self.troubles.clear()
        self.ending.clear()
        self.published.clear()

    def note(self, event: Event) -> None:
        self.events.append(event)

    def history(self) -> list[Event]:
        """The epoch's events, and when queues may have been full."""
        return [*self.events, *full_spans(self.events, self.rooms)]

    def unknown(self) -> int:
        """The number of publishes in this epoch whose outcome nobody knows."""
        return sum(isinstance(e, Publish) and e.outcome == "unknown" for e in self.events)

    def explains(self, error: Rejected, start: int, end: int, worker: str) -> bool:
        troubles = tuple(self.troubles)  # another thread adds to them
        if not any(trouble.explains(error, start, end, worker) for trouble in troubles):
            return False
        name = error.errno if error.code == "io-error" and error.errno else error.code
        self.excused[name] += 1
        return True
