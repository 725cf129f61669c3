"""The other end of a driver: the client that the whole kit speaks through."""

from .client import Driver
from .process import Limits
from .replies import (
    Done,
    DriverError,
    Fetched,
    Hello,
    NameTwice,
    NoReply,
    OpenChannel,
    Published,
    Rejected,
)

__all__ = [
    "Done",
    "Driver",
    "DriverError",
    "Fetched",
    "Hello",
    "Limits",
    "NameTwice",
    "NoReply",
    "OpenChannel",
    "Published",
    "Rejected",
]
