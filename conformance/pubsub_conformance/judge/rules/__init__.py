"""The rules of a history: one function a rule, each yields the violations it finds.

A rule looks at one channel, or at one publish and the channels that it may have reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ..history import Channel, History
from ..violations import Violation
from . import order, publishes, receives, reports
from .publishes import Reach

CHANNEL_RULES: Final[tuple[Callable[[History, Channel], Iterator[Violation]], ...]] = (
    receives.unreadable,
    receives.unpublished,
    receives.duplicated,
    receives.impossible,
    receives.altered,
    receives.late,
    reports.lost_without_cause,
    reports.loss_unreported,
    order.reversed_order,
)

PUBLISH_RULES: Final[tuple[Callable[[History, Reach], Iterator[Violation]], ...]] = (
    publishes.never_yielded,
    publishes.miscounted,
)
