"""What travels beside the content: headers of a message as headers of NATS, and back. No I/O.

NATS headers are strings, and their names are tokens. A string is its own value, unless it could be
read as JSON or would not arrive unchanged; everything else is JSON. Names that NATS refuses, or
that mean something to it, travel in the one header `Pubsub-Headers`, a JSON object.

Without the header `Pubsub` a message is from another NATS client: all its values are strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..headers import HeaderValue, MalformedHeaders, decode_headers

MARK = "Pubsub"
ESCAPED = "Pubsub-Headers"

_is_plain_name = re.compile(
    r"(?!(?i:nats-|pubsub|status\Z|description\Z))[A-Za-z0-9._-]+"
).fullmatch
_CONSTANTS = {"null": None, "true": True, "false": False}
_BEGINS_JSON = frozenset('"-0123456789')
_as_mark = re.compile(
    "([0-9a-f]{16}) ([0-9a-f]{16}) ([1-9][0-9]{0,17}) (0|[1-9][0-9]{0,19})"
).fullmatch


class MalformedEnvelope(ValueError):
    """Headers of NATS that no bridge writes, though they claim to be from one."""


class Mark(NamedTuple):
    """What a bridge writes into the header `Pubsub`."""

    origin: str
    """The base from which the message comes: 16 hexadecimal digits."""
    session: str
    """One run of the bridge that exported it, or a part of one: 16 hexadecimal digits."""
    sequence: int
    """The number of the message among those of its topic in this session, from 1."""
    timestamp: int
    """When it was published, in microseconds since the epoch."""


def encode(headers: Mapping[str, HeaderValue], mark: Mark) -> dict[str, str]:
    """The headers of NATS for those of a message."""
    encoded = {MARK: f"{mark.origin} {mark.session} {mark.sequence} {mark.timestamp}"}
    escaped = {}
    for name, value in headers.items():
        if _is_plain_name(name):
            encoded[name] = value if _is_its_own(value) else json.dumps(value)  # type: ignore[assignment]
        else:
            escaped[name] = value
    if escaped:
        encoded[ESCAPED] = json.dumps(escaped)
    return encoded


def decode(headers: Mapping[str, str] | None) -> tuple[dict[str, HeaderValue], Mark | None]:
    """The headers of a message, and the mark if a bridge sent it. Raises MalformedEnvelope."""
    if not headers:
        return {}, None
    if MARK not in headers:
        return dict(headers), None
    matched = _as_mark(headers[MARK])
    if not matched or int(matched[4]) >= 2**64:
        raise MalformedEnvelope(f"the header {MARK} is malformed")
    mark = Mark(matched[1], matched[2], int(matched[3]), int(matched[4]))
    if len(headers) == 1:
        return {}, mark
    decoded = {
        name: _value(value)
        for name, value in headers.items()
        if name not in (MARK, ESCAPED) and not name.startswith("Nats-")  # those are the server's
    }
    if ESCAPED in headers:
        try:
            decoded.update(decode_headers(headers[ESCAPED].encode()))
        except (MalformedHeaders, UnicodeEncodeError) as error:
            raise MalformedEnvelope(f"the header {ESCAPED} is malformed: {error}") from error
    return decoded, mark


def block(headers: Mapping[str, str]) -> bytes:
    """The octets of headers that `encode` has made."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def _is_its_own(value: HeaderValue) -> bool:
    """Whether a value is a string that arrives unchanged, and that nobody takes for JSON."""
    return (
        isinstance(value, str)
        and value.isprintable()
        and value[:1] not in _BEGINS_JSON
        and value not in _CONSTANTS
        and value == value.strip()
    )


def _value(text: str) -> HeaderValue:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[:1] not in _BEGINS_JSON:
        return text
    try:
        value: HeaderValue = json.loads(text)
    except ValueError:
        return text
    return value
