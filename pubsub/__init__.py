"""Publish/subscribe between processes on one machine, with no broker.

    from pubsub import Channel, fetch, publish, subscribe

The layout on disk and the guarantees are described in the specification (spec/ in the source).
"""

from .base import STALE_AGE
from .channel import Channel, ChannelClosed, fetch
from .hand import DamagedQueue
from .headers import HeaderValue, InvalidHeaders
from .inbox import ChannelLost
from .listing import close_kept_queues
from .message import Message
from .message_file import InvalidMessage, TooLarge
from .overview import ChannelInfo, channels
from .place import BaseUnusable
from .publisher import PublishFailed, publish
from .reaper import reap
from .request import NobodyListens, NotARequest, reply, request
from .subscriber import subscribe
from .topics import InvalidPattern, InvalidTopic
from .waiting import wait

__all__ = [
    "STALE_AGE",
    "BaseUnusable",
    "Channel",
    "ChannelClosed",
    "ChannelInfo",
    "ChannelLost",
    "DamagedQueue",
    "HeaderValue",
    "InvalidHeaders",
    "InvalidMessage",
    "InvalidPattern",
    "InvalidTopic",
    "Message",
    "NobodyListens",
    "NotARequest",
    "PublishFailed",
    "TooLarge",
    "channels",
    "close_kept_queues",
    "fetch",
    "publish",
    "reap",
    "reply",
    "request",
    "subscribe",
    "wait",
]

__version__ = "1.1.0"
