"""The tables of DRIVER.md, made from the JSON Schemas.

python -m pubsub_conformance.driver.tables      writes them into DRIVER.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .protocol import OPS, Schema, load_schema, part_of

DRIVER_MD = Path(__file__).parent.parent / "DRIVER.md"


def _type(schema: Schema) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    return str(schema.get("title") or schema["type"])


def _rows(schema: Schema, place: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        if name in {"seq", "op"}:
            continue
        if name in {"event", "done"}:  # the wrapper is the place, not a field
            yield from _rows(field, f"`{name}`")
            continue
        optional = "" if name in schema["required"] else ", optional"
        yield f"| {place} | `{name}` | {_type(field)}{optional} | {field['description']} |"


def _op_tables() -> Iterator[str]:
    for op in OPS.values():
        yield f"#### `{op.name}` ({op.role or 'every driver'})"
        yield ""
        yield op.description
        yield ""
        rows = [row for part in op.parts for row in _rows(part_of(f"{op.name}.json", part), part)]
        yield "| in | field | type | meaning |"
        yield "|---|---|---|---|"
        yield from rows
        yield ""
        if not op.streams and len(part_of(f"{op.name}.json", "reply")["properties"]) == 1:
            yield "The reply has no field but `seq`."
            yield ""
        if op.errors:
            yield f"Errors: {', '.join(f'`{code}`' for code in op.errors)}."
            yield ""


def _object_tables() -> Iterator[str]:
    for file, title in (("common.json", "message"), ("error.json", "error")):
        yield f"#### The {title} object"
        yield ""
        yield "| field | type | meaning |"
        yield "|---|---|---|"
        for row in _rows(part_of(file, title), ""):
            yield row.removeprefix("|  ")
        yield ""


def _type_table() -> Iterator[str]:
    yield "| type | what it is |"
    yield "|---|---|"
    described: dict[str, str] = {}
    for name, schema in load_schema("common.json")["$defs"].items():
        if name not in {"message", "asked-message", "report"} and schema["title"] != "integer":
            described.setdefault(schema["title"], schema["description"])
    for title, description in described.items():
        yield f"| {title} | {description} |"
    yield ""


def _error_table() -> Iterator[str]:
    yield "| code | lies with | meaning |"
    yield "|---|---|---|"
    for entry in load_schema("error.json")["$defs"]["code"]["oneOf"]:
        yield f"| `{entry['const']}` | {entry['x-fault']} | {entry['description']} |"
    yield ""


_TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "types": _type_table,
    "objects": _object_tables,
    "ops": _op_tables,
    "errors": _error_table,
}


def with_tables(text: str) -> str:
    """`text` with the tables between `<!-- generated: NAME -->` and `<!-- end -->` made anew."""

    def table(found: re.Match[str]) -> str:
        lines = "\n".join(_TABLES[found[1]]())
        return f"<!-- generated: {found[1]} -->\n\n{lines}\n<!-- end -->"

    return re.sub(r"<!-- generated: (\w+) -->.*?<!-- end -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    DRIVER_MD.write_text(with_tables(DRIVER_MD.read_text(encoding="utf-8")), encoding="utf-8")
