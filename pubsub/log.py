"""The logger. `logging` is loaded when there is something to log: that takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


def logger() -> Logger:
    """The logger of this package, "pubsub"."""
    import logging

    return logging.getLogger("pubsub")
