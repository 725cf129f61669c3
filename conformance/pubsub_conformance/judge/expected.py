"""Expected failures: a TOML file beside a driver, each entry with its reason.

```toml
[[expected]]
requirement = "PUB-7"           # one name, or a list of names
reason = "writes the id in two halves, see issue 12"
sometimes = true                # optional: depends on chance, so a pass is allowed as well
```

A command says which fields name the failure: `run` has `requirement`; `matrix` has `publisher`,
`reader` and `check`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..names import Unknown, find

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


class ExpectedError(Exception):
    """The file of expected failures cannot be read, or an entry is wrong."""


class Expected(NamedTuple):
    """Why a failure is expected."""

    reason: str
    sometimes: bool
    """Whether a pass is allowed as well."""


def load(path: Path, known: Mapping[str, Collection[str]]) -> dict[tuple[str, ...], Expected]:
    """Read the expected failures in a file.

    `known` holds the fields that name a failure, each with the names that exist. The keys of the
    result hold one name for each field, in the order of `known`. Raises ExpectedError, which names
    the file and the entry.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExpectedError(f"{path}: {error}") from None
    entries = document.pop("expected", [])
    if document or not isinstance(entries, list):
        raise ExpectedError(f"{path}: the file may contain only [[expected]] entries")
    failures: dict[tuple[str, ...], Expected] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: entry {number}"
        for fault in _faults(entry, known):
            raise ExpectedError(f"{where}: {fault}")
        expected = Expected(entry["reason"].strip(), entry.get("sometimes", False))
        found = [
            [find(name, names, field) for name in _names(entry[field])]
            for field, names in known.items()
        ]
        for names in itertools.product(*found):
            if names in failures:
                raise ExpectedError(f"{where}: {' '.join(names)} is listed twice")
            failures[names] = expected
    return failures


def _faults(entry: object, known: Mapping[str, Collection[str]]) -> Iterator[str]:
    """What is wrong with one entry."""
    if not isinstance(entry, dict):
        yield "an entry is a table"
        return
    fields = [*known, "reason", "sometimes"]
    for field in entry.keys() - set(fields):
        yield f"there is no field {field!r}; the fields are {', '.join(fields)}"
    for field in known:
        if field not in entry:
            yield f"the field {field!r} is missing"
            continue
        for name in _names(entry[field]):
            try:
                find(str(name), known[field], field)
            except Unknown as error:
                yield str(error)
    reason = entry.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        yield "no reason is given"
    if not isinstance(entry.get("sometimes", False), bool):
        yield "'sometimes' is true or false"


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
