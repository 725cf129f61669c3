"""The test vectors in the text of the specification.

A table of vectors follows a line `<!-- vectors: NAME -->`. Its cells are JSON strings in backticks,
other text in backticks, or plain words. A message is a fenced block "vector message valid NAME"
with a hex dump, and then a "json" block with the fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pubsub_conformance.requirements import SpecError, spec_pages

_MARKER = re.compile(r"<!-- vectors: (?P<name>[a-z-]+) -->\s*")
_FENCE = re.compile(r"```(?P<info>[^`]*)")
_RULE = re.compile(r"\|(?: *:?-+:? *\|)+")
_MESSAGE = re.compile(r"vector message valid (?P<name>\S.*)")


@dataclass(frozen=True)
class MessageVector:
    """A valid message."""

    name: str
    data: bytes
    """The octets of its file."""
    fields: dict[str, Any]
    """The message as a driver shows it."""


def table(name: str) -> list[dict[str, str]]:
    """The rows of the tables of this name. Each maps the titles of the columns to its cells.

    Raises LookupError if there is no such table, SpecError if one is malformed.
    """
    rows = [row for page in spec_pages() for row in _tables(page, name)]
    if not rows:
        raise LookupError(f"no table of vectors is called {name!r}")
    return rows


def messages() -> list[MessageVector]:
    """The valid messages. Raises LookupError if there are none, SpecError if one is malformed."""
    found = [vector for page in spec_pages() for vector in _messages(page)]
    if not found:
        raise LookupError("no vectors of messages")
    return found


def octets(dump: str) -> bytes:
    """The octets of a hex dump, in which '#' begins a comment. Raises ValueError."""
    found = bytearray()
    for line in dump.split("\n"):
        try:
            found += bytes.fromhex(line.partition("#")[0])
        except ValueError:
            raise ValueError(f"not octets in hexadecimal: {line!r}") from None
    return bytes(found)


def _tables(page: Path, name: str) -> Iterator[dict[str, str]]:
    lines = page.read_text(encoding="utf-8").split("\n")
    for at, line in enumerate(lines):
        marker = _MARKER.fullmatch(line)
        if not marker or marker["name"] != name:
            continue
        body = [line.strip() for line in _run(lines[at + 1 :])]
        if len(body) < 3 or not _RULE.fullmatch(body[1]):
            raise SpecError(f"{page}:{at + 1}: no table with rows follows")
        titles = _cells(body[0])
        for offset, row in enumerate(body[2:], start=4):
            try:
                cells = [_value(cell) for cell in _cells(row)]
            except ValueError as error:
                raise SpecError(f"{page}:{at + offset}: {error}") from None
            if len(cells) != len(titles):
                raise SpecError(f"{page}:{at + offset}: {len(cells)} cells for {titles}")
            yield dict(zip(titles, cells, strict=True))


def _run(lines: Sequence[str]) -> Iterator[str]:
    """The lines of the table at the top."""
    for line in lines:
        if not line.lstrip().startswith("|"):
            return
        yield line


def _cells(row: str) -> list[str]:
    inner = row.strip().removeprefix("|").removesuffix("|")
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]


def _value(cell: str) -> str:
    if not (cell.startswith("`") and cell.endswith("`") and len(cell) > 1):
        return cell
    code = cell.strip("`")
    return str(json.loads(code)) if code.startswith('"') else code


def _messages(page: Path) -> Iterator[MessageVector]:
    blocks = list(_blocks(page))
    for (at, info, body), following in zip(blocks, [*blocks, None][1:], strict=True):
        message = _MESSAGE.fullmatch(info)
        if info.startswith("vector") and not message:
            raise SpecError(f"{page}:{at}: unknown kind of vector: {info!r}")
        if not message:
            continue
        if following is None or following[1] != "json":
            raise SpecError(f"{page}:{at}: no json block follows")
        try:
            yield MessageVector(message["name"], octets(body), json.loads(following[2]))
        except ValueError as error:
            raise SpecError(f"{page}:{at}: {error}") from None


def _blocks(page: Path) -> Iterator[tuple[int, str, str]]:
    """Line, info string and body of each fenced block."""
    opened: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), start=1):
        fence = _FENCE.fullmatch(line)
        if opened is None:
            if fence:
                opened, body = (number, fence["info"].strip()), []
        elif fence and not fence["info"].strip():
            yield (*opened, "\n".join(body))
            opened = None
        else:
            body.append(line)
    if opened is not None:
        raise SpecError(f"{page}:{opened[0]}: the block is not closed")
