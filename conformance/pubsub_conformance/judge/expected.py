"""Expected failures: a TOML file beside a driver, each entry with its reason.

```toml
[[expected]]
requirement = "PUB-7"           # one name, or a list of names
reason = "writes the id in two halves, see issue 12"
sometimes = true                # optional: depends on chance, so a pass is allowed as well

[[expected]]
requirement = "PUB-8"
test = "publish/test_ids.py::test_new"  # optional: this test alone, or a list of tests
reason = "loses a race of its own, see issue 13"
flaky = true                    # optional: neither a failure nor a pass decides anything
```

A command says which fields name the failure: `run` has `requirement` and, if it wants, `test`;
`matrix` has `publisher`, `reader` and `check` and, if it wants, `lane`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

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
    sometimes: bool = False
    """Whether a pass is allowed as well."""
    flaky: bool = False
    """Whether neither a failure nor a pass decides anything."""


Listed: TypeAlias = Mapping[tuple[str, ...], Expected]
"""The expected failures of `run` by requirement and test; the test is empty for all of them."""

OF_RUN: Final[Mapping[str, Collection[str]]] = {"test": ()}
"""The fields that an entry for `run` may have, beside the requirement."""


def entry_of(listed: Listed, requirement: str, test: str) -> tuple[str, ...] | None:
    """The key of the entry for a test of a requirement: the closest one. None: there is none."""
    without_parameters, _, _ = test.partition("[")
    keys = [(requirement, name) for name in (test, without_parameters, "")]
    return next((key for key in keys if key in listed), None)


def load(
    path: Path,
    known: Mapping[str, Collection[str]],
    optional: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[tuple[str, ...], Expected]:
    """Read the expected failures in a file.

    `known` holds the fields that name a failure, each with the names that exist. An entry may have
    the fields in `optional`; one for which this has no names may have any. The keys of the result
    hold one name for each field, in the order of `known` and `optional`, empty for one that the
    entry does not have. Raises ExpectedError, which names the file and the entry.
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
        for fault in _faults(entry, known, optional):
            raise ExpectedError(f"{where}: {fault}")
        expected = Expected(
            entry["reason"].strip(), entry.get("sometimes", False), entry.get("flaky", False)
        )
        found = [
            [find(name, names, field) if names and name else name for name in _names(named)]
            for field, names in [*known.items(), *optional.items()]
            for named in [entry.get(field, "")]
        ]
        for names in itertools.product(*found):
            if names in failures:
                raise ExpectedError(f"{where}: {' '.join(names)} is listed twice")
            failures[names] = expected
    return failures


def _faults(
    entry: object, known: Mapping[str, Collection[str]], optional: Mapping[str, Collection[str]]
) -> Iterator[str]:
    """What is wrong with one entry."""
    if not isinstance(entry, dict):
        yield "an entry is a table"
        return
    fields = [*known, *optional, "reason", "sometimes", "flaky"]
    for field in entry.keys() - set(fields):
        yield f"there is no field {field!r}; the fields are {', '.join(fields)}"
    for field in known:
        if field not in entry:
            yield f"the field {field!r} is missing"
    for field, names in [*known.items(), *optional.items()]:
        for name in _names(entry.get(field, [])) if names else []:
            try:
                find(str(name), names, field)
            except Unknown as error:
                yield str(error)
    for field in optional:
        if field in entry and not all(_names(entry[field])):
            yield f"{field!r} is empty"
        if not all(isinstance(name, str) for name in _names(entry.get(field, ""))):
            yield f"{field!r} is a name, or a list of names"
    reason = entry.get("reason")
    if not isinstance(reason, str) or not reason.strip():
        yield "no reason is given"
    for field in ("sometimes", "flaky"):
        if not isinstance(entry.get(field, False), bool):
            yield f"{field!r} is true or false"


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
