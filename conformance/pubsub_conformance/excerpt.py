"""The beginning of a text that may be long."""

from __future__ import annotations


def excerpt(text: str, most: int) -> str:
    """The text; if it is longer than `most` characters, its beginning and its length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
