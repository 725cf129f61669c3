"""Headers: JSON, but less of it than Python's json module takes (MSG-7 to MSG-12). No I/O."""

from __future__ import annotations

import json
import math
from typing import NoReturn, TypeAlias

from .interruption import of_system

HeaderValue: TypeAlias = "str | int | float | bool | None"

MAX_INTEGER = 2**53 - 1  # either sign (MSG-10)
_MAX_DIGITS = len(str(-MAX_INTEGER))
_FEW = 1024  # octets of headers in which no integer takes long to read


class InvalidHeaders(ValueError):
    """The caller's headers cannot be written down (MSG-15)."""


class MalformedHeaders(ValueError):
    """Octets that are not headers."""


def encode_headers(headers: dict[str, HeaderValue]) -> bytes:
    """The octets of these headers. Raises InvalidHeaders."""
    if not headers:
        return b"{}"
    plain = _encode_plain(headers)
    if plain:
        return plain
    fault = _fault(headers)
    if fault:
        raise InvalidHeaders(fault)
    members = [f"{_json(name)}:{_json_value(value)}" for name, value in headers.items()]
    return _object(members)


def _encode_plain(headers: dict[str, HeaderValue]) -> bytes | None:
    """The octets of strings and integers, the usual headers; None if there are others.

    It takes half the time, and makes a third of a publish with two headers shorter.
    """
    members = []
    for name, value in headers.items():
        kind = type(value)
        if type(name) is not str:
            return None
        if kind is str:
            members.append(f"{_quoted(name)}:{_quoted(value)}")  # type: ignore[arg-type]
        elif kind is int and -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            members.append(f"{_quoted(name)}:{value}")
        else:
            return None
    try:
        return _object(members)
    except of_system(UnicodeEncodeError):
        return None


def _object(members: list[str]) -> bytes:
    return f"{{{','.join(members)}}}".encode()


def decode_headers(raw: bytes) -> dict[str, HeaderValue]:
    """The headers in these octets. Raises MalformedHeaders."""
    if raw in (b"", b"{}"):
        return {}
    plain = _decode_plain(raw)
    if plain is not None:
        return plain
    try:
        headers = _decode(raw.decode())
    except of_system(RecursionError):  # MSG-12
        raise MalformedHeaders("headers are nested too deep") from None
    except of_system(ValueError) as error:  # not UTF-8, not JSON, or refused by a hook below
        raise MalformedHeaders(f"headers are invalid: {error}") from error
    fault = _fault(headers)
    if fault:
        raise MalformedHeaders(fault)
    return headers  # type: ignore[no-any-return]  # _fault has looked at all of it


def _decode_plain(raw: bytes) -> dict[str, HeaderValue] | None:
    """The headers in few octets, if all are strings and integers; None otherwise."""
    if len(raw) > _FEW or b"\\" in raw:  # without an escape there is no lone surrogate (MSG-11)
        return None
    try:
        text = raw.decode()
        members, end = _decode_pairs(text)
    except of_system(ValueError, RecursionError):
        return None
    if type(members) is not tuple or end != len(text):
        return None
    headers = dict(members)
    for value in headers.values():
        kind = type(value)
        if kind is not str and (kind is not int or not -MAX_INTEGER <= value <= MAX_INTEGER):
            return None
    return headers if len(headers) == len(members) else None  # MSG-9


def _fault(headers: object) -> str | None:
    """The first fault of these headers, in words; None if there is none."""
    if not isinstance(headers, dict):  # MSG-7
        return f"headers are not an object of names and values but {type(headers).__name__}"
    for name, value in headers.items():
        if type(name) is str and name.isascii() and _is_plain(value):
            continue  # the usual case, without the looks that the others need
        if not isinstance(name, str):
            return f"header name {name!r} is not a string"
        if type(name) is not str and sum(str.__eq__(name, other) is True for other in headers) > 1:
            return f"header {name!r} occurs twice"  # MSG-9: to a subclass of str they may differ
        if not (value is None or isinstance(value, (str, int, float))):  # MSG-8
            return f"header {name!r} is neither a string, number, boolean nor None"
        if isinstance(value, int) and int.__abs__(value) > MAX_INTEGER:  # MSG-10
            return f"header {name!r} is beyond the integers that every reader can hold, 2^53 - 1"
        if isinstance(value, float) and not math.isfinite(value):  # MSG-10
            return f"header {name!r} is not a finite number"
        for text in (name, value):
            if isinstance(text, str) and _has_lone_surrogate(text):  # MSG-11
                return f"header {name!r} holds a lone surrogate"
    return None


def _is_plain(value: object) -> bool:
    """Whether a value is certainly right: most are, and this is known soon."""
    kind = type(value)
    if kind is str:
        return str.isascii(value)  # type: ignore[arg-type]
    if kind is int:
        return -MAX_INTEGER <= value <= MAX_INTEGER  # type: ignore[operator]
    return kind is bool or value is None


def _has_lone_surrogate(text: str) -> bool:
    # The methods of str, whatever a subclass makes of them: these characters are written.
    if str.isascii(text):
        return False
    try:
        str.encode(text)
    except of_system(UnicodeEncodeError):
        return True
    return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):  # MSG-9
        raise ValueError("a key occurs twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:  # before int(): its time grows with the square of the digits
        raise ValueError("an integer is not within -(2^53 - 1) and 2^53 - 1")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _json_value(value: HeaderValue) -> str:
    return int.__repr__(value) if type(value) is int else _json(value)


_quoted = json.encoder.encode_basestring
_decode_pairs = json.JSONDecoder(object_pairs_hook=tuple).raw_decode  # an array is a list
_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # at once for a string
_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_constant=_no_constant
).decode
