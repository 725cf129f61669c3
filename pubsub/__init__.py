"""Publish/subscribe between processes on one machine, with no broker.

    from pubsub import Channel, fetch, publish, subscribe

What is on disk, and what it promises, is told in the specification, spec/ in the source.
"""

from .base import STALE_AGE, BaseUnusable
from .channel import Channel, ChannelClosed, ChannelLost, DamagedQueue, fetch, subscribe
from .message import InvalidHeaders, InvalidMessage, Message, TooLarge
from .publisher import PublishFailed, publish
from .reaper import reap
from .topics import InvalidPattern, InvalidTopic

__all__ = [
    "STALE_AGE",
    "BaseUnusable",
    "Channel",
    "ChannelClosed",
    "ChannelLost",
    "DamagedQueue",
    "InvalidHeaders",
    "InvalidMessage",
    "InvalidPattern",
    "InvalidTopic",
    "Message",
    "PublishFailed",
    "TooLarge",
    "fetch",
    "publish",
    "reap",
    "subscribe",
]

__version__ = "1.0.0"
