"""The logger. A program that only publishes starts sooner: it does not load `logging`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


def load() -> None:
    """Load what a channel needs in some errors, while the process has descriptors for that."""
    import logging  # noqa: F401
    import pathlib  # noqa: F401


def logger() -> Logger:
    """The logger of this package, "pubsub"."""
    import logging

    return logging.getLogger("pubsub")
