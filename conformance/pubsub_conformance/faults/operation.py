"""An operation to disturb: it arranges its scene, makes one request, and judges the outcome."""

from __future__ import annotations

from collections.abc import Callable

from pubsub_conformance.driver import DriverError, OpenChannel, Rejected
from pubsub_conformance.linux.calls import Call

from .scenes import Scene
from .verdict import Verdict

WAIT_SECONDS = 0.05
"""The time limit of a wait for room that does not come, or for a message."""

BIG = b"0123456789abcdef" * 32768
"""Half a MiB of content: more than some readers and writers take in one call."""


class Operation:
    """One request, and the scene that it needs."""

    roles: tuple[str, ...]
    """The roles that a driver needs."""

    reports: str
    """The requirement that says what this operation does if the system reports an error."""

    promises: tuple[str, ...] = ()
    """The other requirements that its judgement finds broken. They bind its roles."""

    spares = "CHAN-13"
    """The requirement that keeps this operation from harming a living channel."""

    base_exists = True
    """Whether the base exists before the request."""

    stops: tuple[Callable[[Call], bool], ...] = ()
    """Tests of a call: the process is stopped after the first call that passes, for `between`.
    There are two, if possible, so that calls of either's name can be disturbed as well."""

    def arrange(self, scene: Scene) -> None:
        """Put into the base what this operation needs there."""

    def between(self, scene: Scene) -> None:
        """Do what others do while the process is stopped."""

    def request(self, scene: Scene) -> object:
        """Make the request. Returns its result. Raises Rejected and DriverError."""
        raise NotImplementedError

    def judge(self, verdict: Verdict) -> None:
        """Check what the process said and did; after a kill, only what the disk shows."""

    def repeat(self, verdict: Verdict) -> None:
        """Check that the same operation works once the fault is gone."""


def fetch(scene: Scene, channel: OpenChannel) -> str:
    """Have the victim fetch. Returns the content, "nothing", or the code or text of an error."""
    try:
        message = scene.victim.fetch(channel)
    except Rejected as error:
        return error.code
    except DriverError as error:
        return str(error)
    return "nothing" if message is None else message.content.decode("utf-8", "replace")
