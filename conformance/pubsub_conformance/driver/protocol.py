"""The driver protocol, read from its JSON Schemas.

The schemas in `schemas/` are the source: the client validates with them, and `tables` writes the
tables of DRIVER.md from them.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError  # type: ignore[import-untyped]

from ..excerpt import excerpt

PROTOCOL = 1
"""The version of the driver protocol that this kit speaks."""

SCHEMAS = Path(__file__).parent.parent / "schemas"

_EXCERPT = 160  # characters of an offending value that a complaint shows

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Op:
    """An operation as its schema file describes it."""

    name: str
    role: str | None  # None: every driver has it
    description: str
    errors: tuple[str, ...]
    parts: tuple[str, ...]  # request, and reply or (of a stream) event and done

    @property
    def streams(self) -> bool:
        """Whether the reply is a stream of lines."""
        return "done" in self.parts


def load_schema(name: str) -> dict[str, Any]:
    """The schema file of this name. Raises OSError."""
    loaded: dict[str, Any] = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    return loaded


def _load_ops() -> dict[str, Op]:
    ops = {}
    for entry in load_schema("request.json")["oneOf"]:
        file = entry["$ref"].partition("#")[0]
        schema = load_schema(file)
        ops[schema["title"]] = Op(
            schema["title"],
            schema["x-role"],
            schema["description"],
            tuple(schema["x-errors"]),
            tuple(schema["$defs"]),
        )
    return ops


OPS: Mapping[str, Op] = _load_ops()
ROLES = tuple(dict.fromkeys(op.role for op in OPS.values() if op.role))

_formats = FormatChecker(formats=())


def _format(name: str) -> Callable[[Callable[[str], bool]], Callable[[str], bool]]:
    def register(check: Callable[[str], bool]) -> Callable[[str], bool]:
        _formats.checks(name)(lambda value: not isinstance(value, str) or check(value))
        return check

    return register


# The two formats say what a JSON Schema pattern cannot: a range, and "no line break at the end"
# (`$` matches before one in Python, and base64 functions in C like to add one).
@_format("uint64")
def _is_uint64(text: str) -> bool:
    return re.fullmatch("[0-9]{1,20}", text) is not None and int(text) < 2**64


@_format("base64")
def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _inlined(schema: object, file: str) -> object:
    """`schema` with each reference replaced by its target, whose fields it may override.

    Validation is five times faster than with references, which matters for streams.
    """
    if isinstance(schema, list):
        return [_inlined(part, file) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _inlined(value, file) for key, value in schema.items() if key != "$ref"}
    if "$ref" in schema:
        other, _, name = schema["$ref"].partition("#/$defs/")
        return part_of(other or file, name) | found
    return found


@functools.cache
def part_of(file: str, name: str) -> dict[str, Any]:
    """The schema `name` in the `$defs` of a file, without references."""
    inlined = _inlined(load_schema(file)["$defs"][name], file)
    assert isinstance(inlined, dict)
    return inlined


@functools.cache
def validator(file: str, name: str) -> Any:
    """A validator for the schema `name` of a file, which checks the formats as well."""
    return Draft202012Validator(part_of(file, name), format_checker=_formats)


def _complaint(file: str, name: str, instance: object) -> str | None:
    """The faults of `instance`, in one line; None if it is valid."""
    errors = islice(validator(file, name).iter_errors(instance), 3)
    return "; ".join(map(_complain, errors)) or None


def _complain(error: ValidationError) -> str:
    where = ".".join(str(step) for step in error.absolute_path) or "the line"
    meant = error.schema.get("description")
    complaint = f"{where}: {excerpt(error.message, _EXCERPT)}"
    return f"{complaint} (expected: {meant})" if meant else complaint


def request_fault(request: Mapping[str, Any]) -> str | None:
    """The faults of a request for a known operation, in one line; None if it is valid."""
    return _complaint(f"{request['op']}.json", "request", request)


def reply_fault(op: str, reply: Mapping[str, Any]) -> str | None:
    """The faults of one line that answers `op`, in one line; None if it is valid."""
    if "error" in reply:
        return _complaint("error.json", "reply", reply)
    if op not in OPS:
        return "a result for an operation that does not exist — expected: an error"
    part = "reply" if not OPS[op].streams else "event" if "event" in reply else "done"
    return _complaint(f"{op}.json", part, reply)
