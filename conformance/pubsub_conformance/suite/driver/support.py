"""What several tests of the protocol share."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from pubsub_conformance.driver import Driver, DriverError
from pubsub_conformance.oracle.message import a_message, encode

LONG_SECONDS = 60.0
"""A limit that does not run out while a test runs."""


@contextlib.contextmanager
def finds(hint: str) -> Iterator[None]:
    """Turn a DriverError into a failure of the test, with a hint at the usual mistake."""
    try:
        yield
    except DriverError as error:
        pytest.fail(f"{error}\n  hint: {hint}")


def claims(driver: Driver, role: str) -> bool:
    """Whether the driver claims the role in its reply to `hello`."""
    return role in driver.hello.roles


def probes() -> dict[str, dict[str, Any]]:
    """The fields of a harmless, valid request for each operation."""
    message = a_message("probe", b"content", {"header": 1})
    fields = {
        "id": str(message.id),
        "timestamp": str(message.timestamp),
        "topic": message.topic,
        "headers": dict(message.headers),
        "content": base64.b64encode(message.content).decode(),
    }
    return {
        "match": {"pattern": "probe", "topic": "probe"},
        "encode": {"message": fields},
        "decode": {"bytes": base64.b64encode(encode(message)).decode()},
        "publish": {"topic": "nobody", "content": "", "headers": {}},
        "produce": {
            "topic": "nobody",
            "prefix": "p",
            "count": 1,
            "sizes": [0],
            "report": "totals",
        },
        "open": {"pattern": "probe"},
        "fetch": {},
        "wait": {"timeout": 0},
        "consume": {"deadline": 0, "report": "totals"},
        "close": {},
        "reap": {},
    }
