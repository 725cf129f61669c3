"""A pytest plugin: the tests in the order in which they are likely to kill a mutant.

The process that judges sets `first` before it starts pytest.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pubsub_conformance.plugin.session import name_in_suite

first: Sequence[str] = ()
"""The names of the tests that run before all others."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in this order; the others stay in theirs, behind."""
    places = {name: place for place, name in enumerate(first)}
    items.sort(key=lambda item: places.get(name_in_suite(item.nodeid), len(places)))
