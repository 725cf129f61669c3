"""The messages of `produce`: "Messages of produce" in DRIVER.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def content_of(prefix: str, n: int, sizes: Sequence[int]) -> bytes:
    """The content of message n: of the next of `sizes` in octets, or longer if it must be."""
    text = f"{prefix}:{n}:".encode()
    size = max(sizes[n % len(sizes)], len(text))
    return (text * (size // len(text) + 1))[:size]


def identity_of(headers: Mapping[str, Any]) -> tuple[str, int]:
    """The prefix and the number in the headers of a message.

    For headers that `produce` does not send: a prefix that nobody used, and -1.
    """
    prefix, n = headers.get("publisher"), headers.get("n")
    if len(headers) == 2 and isinstance(prefix, str) and type(n) is int:
        return prefix, n
    return json.dumps(headers), -1
