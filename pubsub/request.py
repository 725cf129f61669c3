"""Requests, and the replies to them.

A request is a message with two headers: `response-topic` says where the reply goes, and
`correlation-id` which request it answers. These are ordinary messages: an implementation in another
language can answer them.

Theory of operation
===================

A process has one channel for the replies to all of its requests: a new channel each time would
change the base, and no publisher could keep its list (PUB-21).

There is no thread that reads it. Of the requests that wait for a reply, the first one reads for
all: it puts each reply into the request that asked, and rings the bell of that. Who is the first is
read from a dict, so nothing has to be handed over: a request that leaves, in whatever way, removes
itself, and then rings the bell of the one that is first now.

A reply stays in hand until it is with its request. An exception from a signal handler in the thread
that reads (interruption.py) costs no other thread its reply: the next one that reads begins with
what is in hand.

The requests of one thread, of which a signal handler may make one while another waits, have one
bell, and any of them reads if one of them is the first.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping
from queue import Empty, SimpleQueue

from .base import fresh_name
from .channel import Channel, ChannelClosed
from .clock import deadline, monotonic
from .delivery import deliver
from .files import exists
from .hand import DamagedQueue
from .headers import HeaderValue, InvalidHeaders
from .ids import next_id
from .inbox import ChannelLost
from .interruption import of_system
from .log import logger
from .message import Content, Message
from .message_file import InvalidMessage
from .outcome import Outcome
from .place import Place
from .process import in_forked_child, notice_fork
from .publisher import PublishFailed, publish
from .topics import InvalidTopic, check_topic

RESPONSE_TOPIC = "response-topic"
"""The header with the topic to which the reply is published."""

CORRELATION_ID = "correlation-id"
"""The header by which a reply names its request."""

_ROOM_SECONDS = 0.1  # how long to wait for room in all full queues before looking anew


class NobodyListens(RuntimeError):
    """No open channel matches the topic of a request, so nobody can answer it."""


class NotARequest(ValueError):
    """A message cannot be replied to: it lacks a header that every request has."""


def request(
    topic: str,
    data: Content,
    headers: Mapping[str, HeaderValue] | None = None,
    *,
    timeout_seconds: float | None = 5,
) -> Message | None:
    """Publish a request, and wait for the reply. None: the time is over.

    `timeout_seconds` are seconds; None waits for ever, 0 does not wait. If several channels match
    the topic, all of them receive the request, and the first reply counts. Adds the headers
    `response-topic` and `correlation-id`. Any number of threads may wait for replies; the process
    opens one channel for all of them, and closes it when it ends.

    Raises NobodyListens at once if no channel takes the request; InvalidTopic, InvalidHeaders (also
    if `headers` has one of the two), TooLarge, TypeError or ValueError before anything is written;
    BaseUnusable; PublishFailed or OSError where the system failed; ChannelClosed in a daemon thread
    when the program ends.
    """
    notice_fork()
    end = deadline(timeout_seconds, "timeout_seconds")
    replies = _replies_here()
    waiting = _Waiting(replies)
    message = Message(
        topic,
        data,
        joined(headers, {RESPONSE_TOPIC: replies.channel.topic, CORRELATION_ID: waiting.id}),
    )
    with waiting, waiting:
        replies.requests[waiting.id] = waiting  # before the reply can come
        replies.open()
        if not _publish(message, end):
            return None
        return waiting.wait(end)


def reply(request: Message, data: Content, headers: Mapping[str, HeaderValue] | None = None) -> int:
    """Publish the reply to a request that was received.

    Returns the number of channels that took it; 0: who asked waits no longer. Adds the header
    `correlation-id`.

    Raises NotARequest if the message lacks the headers of a request; InvalidHeaders if `headers`
    has a `correlation-id`; otherwise what `publish` raises.
    """
    topic, id = return_address(request)
    return publish(topic, data, joined(headers, {CORRELATION_ID: id}))


def return_address(request: Message) -> tuple[str, HeaderValue]:
    """The topic of the reply to a request, and the id by which it names the request.

    Raises NotARequest, TypeError.
    """
    if not isinstance(request, Message):
        raise TypeError(f"request is a Message, not {type(request).__name__}")
    topic, id = (request.headers.get(name) for name in (RESPONSE_TOPIC, CORRELATION_ID))
    if not isinstance(topic, str) or id is None:
        raise NotARequest(
            f"{request!r} is no request: it lacks the headers {RESPONSE_TOPIC} and"
            f" {CORRELATION_ID}, which request() adds"
        )
    try:
        check_topic(topic)
    except of_system(InvalidTopic) as error:
        raise NotARequest(f"{request!r} has a wrong {RESPONSE_TOPIC}: {error}") from error
    return topic, id


def joined(
    headers: Mapping[str, HeaderValue] | None, ours: Mapping[str, HeaderValue]
) -> Mapping[str, HeaderValue]:
    """The caller's headers, with those of a request or reply. Raises InvalidHeaders, TypeError."""
    if headers is None:
        return ours
    for name in ours:
        if name in headers:
            raise InvalidHeaders(f"the header {name} is not for the caller to set")
    return {**headers, **ours}


def was_taken(outcome: Outcome, topic: str) -> bool:
    """Whether a channel took a request. False: all queues are full.

    Raises NobodyListens, PublishFailed.
    """
    if outcome.taken:
        return True
    if outcome.failed:
        raise PublishFailed(0, outcome.failed)
    if outcome.full:
        return False
    raise NobodyListens(
        f"no open channel matches {topic!r}: start the program that replies, and see that its"
        f" PUBSUB_HOME is the same ({Place.here().path})"
    )


def _publish(message: Message, end: float) -> bool:
    """Publish a request. False: all queues are full, and the time is over.

    Raises NobodyListens, PublishFailed, OSError.
    """
    seconds = 0.0
    while True:
        outcome = deliver(message, seconds)
        if was_taken(outcome, message.topic):
            return True
        seconds = min(_ROOM_SECONDS, end - monotonic())
        if seconds <= 0:
            return False


class _Waiting:
    """One request and its reply. `with waiting, waiting:` removes it in the end."""

    def __init__(self, replies: _Replies) -> None:
        self.id = str(next_id())
        self.thread = threading.get_ident()
        self.reply: list[Message] = []
        self._replies = replies
        self.bell: SimpleQueue[None] = SimpleQueue()
        for other in replies.waiting():
            if other.thread == self.thread:  # this is a signal handler
                self.bell = other.bell

    def wait(self, end: float) -> Message | None:
        """The reply. None: the time is over."""
        replies = self._replies
        replies.readers[self.id] = self
        while True:
            left = max(0.0, end - monotonic())
            if replies.waiting()[0].thread == self.thread:
                replies.read(left)
            elif left:
                self._listen(left)
            if self.reply:
                return self.reply[0]
            if not left:
                return None

    def _listen(self, seconds: float) -> None:
        """Sleep until the bell rings, or the time is over."""
        try:
            self.bell.get(timeout=min(seconds, threading.TIMEOUT_MAX))
        except of_system(Empty):
            pass

    def leave(self, *details: object) -> None:
        """Remove it. May be repeated."""
        self._replies.remove(self.id)
        self.bell.put(None)  # for a request of this thread that was interrupted

    def __enter__(self) -> _Waiting:
        return self

    __exit__ = leave


class _Replies:
    """The replies to the requests of this process in one base."""

    def __init__(self, place: Place) -> None:
        """Touches no disk."""
        self.channel = Channel(f"responses.{fresh_name()}", inline=True)
        self.requests: dict[str, _Waiting] = {}  # by correlation id
        self.readers: dict[str, _Waiting] = {}  # those of them that wait: the first one reads
        self._place = place
        self._opening = threading.RLock()

    @property
    def is_current(self) -> bool:
        """Whether further requests will be made here."""
        return _replies.get(self._place) is self

    def open(self) -> None:
        """Open the channel, unless it is open and in its place. Raises BaseUnusable, OSError."""
        with self._opening:
            self.channel.open()
            if not exists(f"{self.channel.directory_path}/queue"):
                self.channel.close()
                self.channel.open()

    def waiting(self) -> list[_Waiting]:
        """The requests that wait, the one that reads first. One call of C copies the list."""
        return [*self.readers.values()]

    def read(self, seconds: float) -> None:
        """Take one reply, or sleep until there is one or the time is over. Raises OSError."""
        try:
            if not self.channel._pass_on(self._hand_to_request):
                self.channel.wait(seconds)
        except of_system(ChannelClosed, ChannelLost):
            if not self.is_current:
                raise
            self.open()
        except of_system(InvalidMessage, DamagedQueue) as error:
            logger().error("%r received what is not a message: %s", self.channel, error)

    def _hand_to_request(self, message: Message) -> None:
        waiting = self.requests.get(message.headers.get(CORRELATION_ID))  # type: ignore[arg-type]
        if waiting:  # or the reply came too late
            waiting.reply.append(message)
            waiting.bell.put(None)

    def remove(self, id: str) -> None:
        """A request leaves. May be repeated."""
        self.readers.pop(id, None)
        self.requests.pop(id, None)
        for first in self.waiting()[:1]:
            first.bell.put(None)
        if not self.requests and not self.is_current:
            self.channel.close()


_replies: dict[Place, _Replies] = {}
"""Those of the base that was used last."""


def _replies_here() -> _Replies:
    place = Place.here()
    for other in [*_replies]:
        if other != place:  # the program has changed PUBSUB_HOME
            replies = _replies.pop(other, None)
            if replies and not replies.requests:
                replies.channel.close()
    return _replies.get(place) or _replies.setdefault(place, _Replies(place))


in_forked_child(_replies.clear)
atexit.register(_replies.clear)  # before the channels are closed: no thread opens one anew
