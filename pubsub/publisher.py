"""Publishing a message (spec/publish.md), and what is raised if the system fails."""

from __future__ import annotations

from collections.abc import Mapping

from .clock import duration
from .delivery import deliver
from .headers import HeaderValue
from .message import Content, Message


class PublishFailed(OSError):
    """A system error kept at least one channel from the message; all were tried (PUB-13).

    `count` is the number of queues that took the message. `failures` has the path of each channel
    that failed, with its error; the last may be the staged file that could not be removed. `errno`
    is that of the first error.
    """

    def __init__(self, count: int, failures: list[tuple[str, OSError]]) -> None:
        path, first = failures[0]
        super().__init__(
            first.errno,
            f"{first.strerror}; {count} queues took the message, {len(failures)} channels failed",
            path,
        )
        self.count = count
        self.failures = failures

    def __reduce__(self) -> tuple[type[PublishFailed], tuple[int, list[tuple[str, OSError]]]]:
        return PublishFailed, (self.count, self.failures)  # a pool of processes pickles errors


def publish(
    topic: str,
    data: Content,
    headers: Mapping[str, HeaderValue] | None = None,
    *,
    timeout: float = 0,
) -> int:
    """Publish a message to all channels whose pattern matches `topic`.

    Returns the number of channels whose queue took it (GUAR-1). A full queue does not take it,
    unless it gets room within `timeout` seconds; 0 does not wait.

    Raises InvalidTopic, InvalidHeaders, TooLarge, TypeError or ValueError before anything is
    written; BaseUnusable; PublishFailed where the system failed for some channels; OSError where
    it failed for all of them.
    """
    if timeout != 0:
        timeout = duration(timeout, "timeout")
    outcome = deliver(Message(topic, data, headers), timeout)
    count = len(outcome.taken)
    if outcome.failed:
        raise PublishFailed(count, outcome.failed)
    return count
