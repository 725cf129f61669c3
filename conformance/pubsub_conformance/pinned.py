"""A fixed set of requirements: a copy of spec/requirements.json, of this kit or an earlier one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .requirements import SPEC_VERSION, Requirement, SpecError

NO_TEST = "this kit has no test of it"


def load(path: Path, known: Mapping[str, Requirement]) -> dict[str, Requirement]:
    """The requirements in a file, by id. `known` has those of this kit.

    Level, roles and text are those of the file. What cannot be tested depends on this kit. Raises
    SpecError.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: {error}") from None
    except ValueError as error:
        raise SpecError(f"{path} is not a copy of requirements.json: {error}") from None
    try:
        version = document["spec"]
        listed = [_requirement(entry) for entry in document["requirements"]]
    except (KeyError, TypeError) as error:
        raise SpecError(f"{path} is not a copy of requirements.json: {error!r}") from None
    if version != SPEC_VERSION:
        raise SpecError(f"{path} is of specification {version}, this kit judges by {SPEC_VERSION}")
    return {
        each.id: replace(
            each,
            title=each.title or (known[each.id].title if each.id in known else ""),
            untested=known[each.id].untested if each.id in known else None,
        )
        for each in listed
    }


def _requirement(entry: Mapping[str, Any]) -> Requirement:
    fields = ("id", "level", "section", "file", "text")
    texts = {field: entry[field] for field in fields}
    for text in (*texts.values(), *entry["roles"]):
        if not isinstance(text, str):
            raise TypeError(text)
    return Requirement(**texts, roles=tuple(entry["roles"]), title=entry.get("title", ""))
