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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastjsonschema
from fastjsonschema import JsonSchemaValueException as Fault
from fastjsonschema import JsonSchemaValuesException as Faults

from ..excerpt import excerpt

PROTOCOL = 1
"""The version of the driver protocol that this kit speaks."""

SCHEMAS = Path(__file__).parent.parent / "schemas"

_SHOWN = 3  # faults of a line that a complaint shows
_EXCERPT = 160  # characters of an offending value that it shows

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
ROLES = (*dict.fromkeys(op.role for op in OPS.values() if op.role), "inline")


def _is_uint64(text: str) -> bool:
    return re.fullmatch("[0-9]{1,20}", text) is not None and int(text) < 2**64


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_FORMATS = {"uint64": _is_uint64, "base64": _is_base64}
"""What a JSON Schema pattern cannot say: a range, and a length that is a multiple of four."""


def _inlined(schema: object, file: str) -> object:
    """`schema` with each reference replaced by its target, whose fields it may override."""
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
def _validator(file: str, name: str) -> Callable[[object], object]:
    schema = part_of(file, name)
    return fastjsonschema.compile(schema, formats=_FORMATS, use_default=False, fast_fail=False)


def faults(file: str, name: str, instance: object) -> Sequence[Fault]:
    """The faults of `instance` by the schema `name` in the `$defs` of a file."""
    try:
        _validator(file, name)(instance)
    except Faults as found:
        return found.errors
    return ()


def place(fault: Fault) -> str:
    """Where the fault is: "" for the line itself, or a path such as `roles[0]`, in ASCII."""
    assert fault.name is not None
    return json.dumps(fault.name.removeprefix("data").removeprefix("."))[1:-1]


def _complaint(file: str, name: str, instance: object) -> str | None:
    """The faults of `instance`, in one line; None if it is valid."""
    return "; ".join(map(_complain, faults(file, name, instance)[:_SHOWN])) or None


def _complain(fault: Fault) -> str:
    """The place of a fault, what must be there and what is, and the schema's words about it.

    Values are shown in JSON, as the driver wrote them.
    """
    where = excerpt(place(fault), _EXCERPT) or "the line"
    rule, schema = fault.rule_definition, fault.definition
    meant = _meant(schema)
    fields = schema.get("properties", {})
    if fault.rule == "required":
        missing = (name for name in rule if name not in fault.value)
        each = (f'"{name}"{_meant(fields[name]) if name in fields else meant}' for name in missing)
        return f"{where} lacks {', '.join(each)}"
    if fault.rule == "additionalProperties":
        unknown = ", ".join(json.dumps(name) for name in fault.value if name not in fields)
        return f"{where} must not have {excerpt(unknown, _EXCERPT)}, only {', '.join(fields)}"
    if fault.rule in ("anyOf", "oneOf"):
        must = _choice(rule, "exactly" if fault.rule == "oneOf" else "at least")
    else:
        must = fault.message.removeprefix(f"{fault.name} ")
    return f"{where} {must}, found {excerpt(json.dumps(fault.value), _EXCERPT)}{meant}"


def _meant(schema: Schema) -> str:
    return f" ({schema['description']})" if "description" in schema else ""


def _choice(schemas: Sequence[Schema], number: str) -> str:
    """What a list of values, or of groups of fields, demands of a value."""
    if "const" in schemas[0]:
        return f"must be one of {', '.join(json.dumps(one['const']) for one in schemas)}"
    return f"must have {number} one of: {'; '.join(', '.join(one['required']) for one in schemas)}"


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
