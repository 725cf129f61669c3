"""What a bridge has carried, and what it has not (the status on SIGUSR1)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass
class Counters:
    """Messages, since the bridge was started."""

    exported: int = 0
    """Of these the server has said that it has them."""
    unconfirmed: int = 0
    """They were sent when a connection was lost; with core NATS they may be lost."""
    sent_again: int = 0
    """They were sent once more to JetStream, which knows them apart."""
    dropped: int = 0
    """They were left out because memory was full while there was no server."""
    too_large: int = 0
    """The server takes no message of that size."""
    denied: int = 0
    """How often the server said that this user may not publish, or subscribe to, a subject."""
    invalid: int = 0
    """What was in the bridge's own channel was no message."""
    imported: int = 0
    """A local queue took them."""
    to_nobody: int = 0
    """No local channel was there for them."""
    full: int = 0
    """Local queues that had no room for one in time."""
    failed: int = 0
    """Local channels, or messages, for which the system failed."""
    lost: int = 0
    """They are missing among those that came: they were lost on their way."""
    repeated: int = 0
    """They came again, and were left out."""
    own: int = 0
    """They came back to the base from which they are."""
    refused: int = 0
    """They came from NATS, and are no messages: the subject is no topic, or headers are invalid."""
    connections: int = 0

    def line(self, connected: bool, waiting: int, sending: int, behind: int) -> str:
        """The status as a JSON object, with what is on its way out and in."""
        return json.dumps(
            {
                "connected": connected,
                "waiting": waiting,
                "sent_and_unconfirmed": sending,
                "behind": behind,
                **dataclasses.asdict(self),
            }
        )
