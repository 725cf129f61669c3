"""A pytest plugin: the tests in the order in which they are likely to kill a mutant.

The process that judges sets `first` before it starts pytest.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pubsub_conformance.plugin.session import name_in_suite

order: Sequence[str] = ()
"""The names of the tests that run. The others do not."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave these tests, in this order."""
    by_name = {name_in_suite(item.nodeid): item for item in items}
    items[:] = [by_name[name] for name in order]
