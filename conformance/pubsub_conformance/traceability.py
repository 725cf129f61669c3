"""Which test of the suite checks which requirement, read from the marks; no test is run."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pubsub_conformance import suite


@dataclass(frozen=True)
class Trace:
    """One test checks one requirement."""

    requirement: str
    test: str  # as a report calls it, without parameters
    roles: frozenset[str]
    """The roles through which it tests a requirement that binds several; empty if not said."""
    says: str
    """The first sentence of its docstring."""


def traces() -> list[Trace]:
    """All of them, in the order of files and tests; once for each test and requirement."""
    found: dict[tuple[str, str], Trace] = {}
    for file in pkgutil.walk_packages(suite.__path__, f"{suite.__name__}."):
        if not file.name.rpartition(".")[2].startswith("test_"):
            continue
        module = importlib.import_module(file.name)
        path = file.name.removeprefix(f"{suite.__name__}.").replace(".", "/")
        for name, test in vars(module).items():
            if not name.startswith("test_"):
                continue
            says, _, _ = " ".join((test.__doc__ or "").split()).partition(". ")
            for mark in _marks(test):
                role = mark.kwargs.get("role", ())
                roles = frozenset([role] if isinstance(role, str) else role)
                for requirement in mark.args:
                    key = requirement, f"{path}.py::{name}"
                    before = found[key].roles if key in found else frozenset()
                    found[key] = Trace(*key, before | roles, says.removesuffix("."))
    return list(found.values())


def _marks(test: object) -> Iterator[Any]:
    """The marks `requirement` of a test and of its parameters."""
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "requirement":
            yield mark
        elif mark.name == "parametrize":
            for parameters in mark.args[1]:
                for inner in getattr(parameters, "marks", ()):
                    if inner.name == "requirement":
                        yield getattr(inner, "mark", inner)  # a decorator holds its mark
