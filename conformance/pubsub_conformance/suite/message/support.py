"""What the tests of readers and of writers share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pubsub_conformance import vectors
from pubsub_conformance.oracle.message import (
    Scalar,
)
from pubsub_conformance.suite.helpers import as_message

Headers = Mapping[str, Any]

VALID = vectors.messages()
"""The valid message files of the specification."""

INVALID = vectors.table("invalid-message")
"""The invalid message files of the specification."""

GOOD = as_message(VALID[0].fields)
GIB = 2**30

KINDS: dict[str, Scalar] = {
    "string": "text",
    "empty string": "",
    "integer": 1,
    "nothing": 0,
    "fraction": 0.5,
    "yes": True,
    "no": False,
    "none": None,
}
"""A header of each kind that MSG-8 allows."""

ALIKE: dict[str, Scalar] = {
    "k": 1,
    "K": 2,
    "": 3,
    " k": 4,
    "k\0": 5,
    "k\0a": 8,
    "k\0b": 9,
    "\u00e9": 6,
    "e\u0301": 7,
}
"""Headers whose keys differ by case, white space, U+0000 or Unicode normalisation."""
