"""The API page: it has every public name, with the signature and the base class of the code."""

from __future__ import annotations

import builtins
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import pubsub
from pubsub import aio

PAGE = (Path(pubsub.__file__).parent / "README.md").read_text(encoding="utf-8")
SIGNATURES = dict(re.findall(r"^`([\w.]+)(\(.*)`$", PAGE, flags=re.MULTILINE))
INHERITED = {"__enter__", "__exit__", "__aenter__", "__aexit__"}


def find(name: str) -> object:
    """What has this name, as the page writes it."""
    found: object = pubsub
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_is_that_of_the_code(name: str) -> None:
    found = find(name)
    signature = inspect.signature(found)  # type: ignore[arg-type]
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    signature = signature.replace(parameters=parameters)
    if inspect.isclass(found):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    assert SIGNATURES[name] == re.sub(r"'([^']*)'", r"\1", str(signature))


@pytest.mark.parametrize("module", [pubsub, aio], ids=["pubsub", "aio"])
def test_every_public_name_is_on_the_page(module: ModuleType) -> None:
    prefix = "aio." if module is aio else ""
    for name in module.__all__:
        found = getattr(module, name)
        if inspect.isfunction(found):
            assert prefix + name in SIGNATURES
        else:
            assert re.search(rf"`{prefix}{name}\b", PAGE), name
        if inspect.isclass(found) and prefix + name in SIGNATURES:
            for method, code in vars(found).items():
                if inspect.isfunction(code) and not method.startswith("_"):
                    known = prefix + name + "." + method in SIGNATURES
                    assert known or f"`{method}`" in PAGE, f"{name}.{method}"


def test_errors_are_of_the_named_kind() -> None:
    table = PAGE[PAGE.index("## Errors") :].split("\n\n")[1]
    errors = {
        name
        for name in pubsub.__all__
        if inspect.isclass(kind := getattr(pubsub, name)) and issubclass(kind, Exception)
    }
    found = set()
    for row in table.splitlines()[2:]:
        names, base, _ = row.strip("|").split("|")
        for name in re.findall(r"`(\w+)`", names):
            assert issubclass(getattr(pubsub, name), getattr(builtins, base.strip().strip("`")))
            found.add(name)
    assert found == errors


def test_the_fields_of_a_channel_are_on_the_page() -> None:
    table = PAGE[PAGE.index("`ChannelInfo` is") :].split("\n\n")[1]
    assert re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE) == [*pubsub.ChannelInfo._fields]
