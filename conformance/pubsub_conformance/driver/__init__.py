"""The other end of a driver: the client that the whole kit speaks through."""

from .client import REPLY_SECONDS, STREAM_SECONDS, Driver
from .replies import Done, DriverError, Fetched, Hello, OpenChannel, Published, Rejected

__all__ = [
    "REPLY_SECONDS",
    "STREAM_SECONDS",
    "Done",
    "Driver",
    "DriverError",
    "Fetched",
    "Hello",
    "OpenChannel",
    "Published",
    "Rejected",
]
