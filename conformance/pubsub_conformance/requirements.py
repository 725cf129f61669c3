"""The registry of requirements, parsed from the specification's own text.

A requirement is a paragraph that begins with its id and title in bold and its roles in parentheses:

    **PUB-9 An id is one write of 8 octets** (publisher)
    The id MUST be written in one `write` of 8 octets, big-endian.

    *Untested:* the reason why no test from outside can show it (optional).

`python -m pubsub_conformance.requirements` writes spec/requirements.json.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pubsub_conformance.driver.protocol import ROLES

PACKAGE = Path(__file__).parent
SPEC = PACKAGE / "spec"
DRIVER_PAGE = PACKAGE / "DRIVER.md"
SPEC_VERSION = "1"

TITLE_LENGTH = 38  # so that a list of ids and titles fits beside other columns
LEVELS = ("MUST", "SHOULD", "MAY")  # a negation is on the level of its keyword

# Section key (the page's file stem) to the prefix of its ids, in reading order.
PREFIXES = {
    "guarantee": "GUAR",
    "topics": "TOPIC",
    "message": "MSG",
    "base": "BASE",
    "channel": "CHAN",
    "publish": "PUB",
    "fetch": "FETCH",
    "inline": "INLINE",
    "reap": "REAP",
    "driver": "DRIVER",
}

_START = re.compile(
    r"\*\*(?P<id>[A-Z]+-[1-9][0-9]*) (?P<title>\S[^*]*)\*\* \((?P<roles>[^()]+)\) (?P<text>\S.*)",
    re.DOTALL,
)
_LOOKS_LIKE_START = re.compile(r"\s*(?:[-*>] +)?\*\*[A-Za-z]+-[0-9]")
_UNTESTED = re.compile(r"\*Untested:\*(?P<reason>.*)", re.DOTALL)
_KEYWORD = re.compile(r"\b(MUST|SHOULD|MAY|SHALL|REQUIRED|RECOMMENDED|OPTIONAL)\b")
_LIST_ITEM = re.compile(r"(?:[-*]|[0-9]+\.) ")


class SpecError(Exception):
    """The text of the specification breaks the rules of this parser; one line for each place."""


@dataclass(frozen=True)
class Requirement:
    """One requirement of the specification or of DRIVER.md."""

    id: str
    level: str
    roles: tuple[str, ...]
    section: str  # the page's first heading
    file: str  # the page's file name; its stem is the key of the section
    text: str
    untested: str | None = None
    title: str = ""  # names what is demanded; lists made before 2026-11-27 have none

    @property
    def key(self) -> str:
        """The name of the section for --section."""
        return Path(self.file).stem.lower()


@dataclass(frozen=True)
class _Paragraph:
    line: int
    lines: Sequence[str]

    @property
    def text(self) -> str:
        """The paragraph without its line breaks, except those before list items."""
        text = ""
        for line in (line.strip() for line in self.lines):
            text += ("\n" if _LIST_ITEM.match(line) else " ") + line
        return text.strip()


def _paragraphs(text: str) -> Iterator[_Paragraph]:
    """Runs of lines that are not blank, without fenced blocks."""
    run: list[str] = []
    fence = ""
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        mark = re.match(r"(`{3,}|~{3,})", line)
        inside = bool(fence) or mark is not None
        if fence:
            if mark and mark[0].startswith(fence) and line.strip() == mark[0]:
                fence = ""
        elif mark:
            fence = mark[0]
        if line.strip() and not inside:
            run.append(line)
        elif run:
            yield _Paragraph(number - len(run), run)
            run = []


def parse(pages: Iterable[Path]) -> dict[str, Requirement]:
    """The requirements of these pages, by id, in the order of the pages.

    Raises SpecError, with every faulty place, if an id is misspelt, on the wrong page, repeated, or
    missing from the numbers of its prefix, or if a requirement has no title, a title that is too
    long, ends with a period or is repeated, no roles, or not exactly one level.
    """
    found: dict[str, Requirement] = {}
    places: dict[str, str] = {}
    errors: list[str] = []
    for page in pages:
        section = ""
        last: Requirement | None = None
        for paragraph in _paragraphs(page.read_text(encoding="utf-8")):
            place = f"{page}:{paragraph.line}"
            if not section and (heading := re.match(r"# +(.+)", paragraph.lines[0])):
                section = heading[1].strip()
            for offset, line in enumerate(paragraph.lines[1:], start=1):
                if _LOOKS_LIKE_START.match(line) or _UNTESTED.match(line):
                    errors.append(f"{page}:{paragraph.line + offset}: needs a blank line above it")
            if untested := _UNTESTED.fullmatch(paragraph.text):
                reason = untested["reason"].strip()
                if last is None or not reason:
                    errors.append(f"{place}: *Untested:* needs a requirement above it and a reason")
                else:
                    found[last.id] = replace(last, untested=reason)
                last = None
                continue
            last = None
            if not _LOOKS_LIKE_START.match(paragraph.lines[0]):
                continue
            faults, last = _requirement(paragraph.text, section, page)
            errors += [f"{place}: {fault}" for fault in faults]
            if last is None:
                continue
            if last.id in found:
                errors.append(f"{place}: {last.id} is already at {places[last.id]}")
            for other in found.values():
                if other.title == last.title and other.id != last.id:
                    errors.append(f"{place}: {last.id}: {other.id} has the same title")
            found[last.id] = last
            places[last.id] = place
    errors += _gaps(places)
    if errors:
        raise SpecError("\n".join(errors))
    return found


def _requirement(text: str, section: str, page: Path) -> tuple[list[str], Requirement | None]:
    """What is wrong with a requirement's paragraph, and the requirement as far as it is one."""
    start = _START.fullmatch(text)
    if not start:
        return ["a requirement reads '**PREFIX-N Title** (role, role) text'"], None
    faults: list[str] = []
    name, text = start["id"], start["text"]
    key = page.stem.lower()
    prefix = PREFIXES.get(key)
    if name.partition("-")[0] != prefix:
        faults.append(f"{name}: ids on this page begin with {prefix or 'nothing: it has none'}")
    title = start["title"]
    if len(title) > TITLE_LENGTH:
        faults.append(f"{name}: the title has {len(title)} characters, more than {TITLE_LENGTH}")
    if title.endswith("."):
        faults.append(f"{name}: the title ends with a period")
    roles = tuple(role.strip() for role in start["roles"].split(","))
    faults += [f"{name}: unknown role {role!r}" for role in roles if role not in ROLES]
    levels = sorted({match[1] for match in _KEYWORD.finditer(re.sub(r"`[^`]*`", "", text))})
    if len(levels) != 1 or levels[0] not in LEVELS:
        faults.append(f"{name}: one of {', '.join(LEVELS)} is needed, not {levels or 'none'}")
        levels = [LEVELS[0]]
    if not section:
        faults.append(f"{name}: no heading above it")
    return faults, Requirement(name, levels[0], roles, section, page.name, text, title=title)


def _gaps(places: dict[str, str]) -> list[str]:
    numbers: dict[str, set[int]] = {}
    for name in places:
        prefix, _, number = name.partition("-")
        numbers.setdefault(prefix, set()).add(int(number))
    return [
        f"{places[f'{prefix}-{number}']}: {prefix}-{number}: there is no {prefix}-{number - 1}"
        for prefix, taken in numbers.items()
        for number in sorted(taken)
        if number > 1 and number - 1 not in taken
    ]


def spec_pages() -> list[Path]:
    """The pages of the specification: those with requirements in reading order, then the others."""
    order = list(PREFIXES)
    return sorted(
        SPEC.glob("*.md"),
        key=lambda page: (order.index(page.stem) if page.stem in order else len(order), page.stem),
    )


@functools.cache
def load() -> Mapping[str, Requirement]:
    """Every requirement of the specification and of DRIVER.md, by id. Raises SpecError."""
    if not SPEC.is_dir():
        raise SpecError(f"{SPEC}: the specification is missing from this installation")
    return parse([*spec_pages(), DRIVER_PAGE])


def as_json() -> str:
    """The text of spec/requirements.json. Raises SpecError."""
    entries = []
    for requirement in parse(spec_pages()).values():
        entry = {
            "id": requirement.id,
            "title": requirement.title,
            "level": requirement.level,
            "roles": requirement.roles,
            "section": requirement.section,
            "file": requirement.file,
            "text": requirement.text,
        }
        if requirement.untested is not None:
            entry["untested"] = requirement.untested
        entries.append(entry)
    document = {"spec": SPEC_VERSION, "requirements": entries}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    try:
        (SPEC / "requirements.json").write_text(as_json(), encoding="utf-8")
    except SpecError as error:
        raise SystemExit(str(error)) from None
