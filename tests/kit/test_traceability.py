"""Every requirement is checked by a test of the kit, through every role; `list` tells which.

These tests are checked by mutants in turn: see test_mutants.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict

import pytest
from pubsub_conformance import requirements

KNOWN = requirements.load()
ID = rf"\b(?:{'|'.join(requirements.PREFIXES.values())})-[0-9]+\b"

# In a process of its own: pytest would take the suite's marks for this run's.
TRACES = """\
import json
from pubsub_conformance.traceability import traces
print(json.dumps([[t.requirement, t.test, sorted(t.roles), t.says] for t in traces()]))
"""


@pytest.fixture(scope="module")
def traces() -> list[tuple[str, str, list[str], str]]:
    done = subprocess.run([sys.executable, "-c", TRACES], capture_output=True, check=True)
    return [tuple(trace) for trace in json.loads(done.stdout)]


Traces = list[tuple[str, str, list[str], str]]


def test_every_requirement_is_tested_through_every_role_that_it_binds(traces: Traces) -> None:
    """The rules of DRIVER.md are for any driver, whatever it claims."""
    through: dict[str, set[str]] = defaultdict(set)
    for requirement, _, roles, _ in traces:
        through[requirement] |= set(roles)
        bound = KNOWN[requirement].roles
        if len(bound) == 1 or KNOWN[requirement].key == "driver":
            through[requirement] |= set(bound)
    missing = {
        requirement.id: sorted(set(requirement.roles) - through[requirement.id])
        for requirement in KNOWN.values()
        if not requirement.untested and not through[requirement.id] >= set(requirement.roles)
    }
    assert missing == {}


def test_no_test_names_what_is_not_there_or_cannot_be_tested(traces: Traces) -> None:
    named = {requirement for requirement, _, _, _ in traces}
    assert named - set(KNOWN) == set()
    assert [name for name in named if KNOWN[name].untested] == []


def test_every_test_says_what_it_expects(traces: Traces) -> None:
    """The report shows its docstring beside what was found, and `list` the first sentence."""
    assert [test for _, test, _, says in traces if not says] == []


def test_the_roles_that_a_mark_names_are_bound(traces: Traces) -> None:
    wrong = [(i, test) for i, test, roles, _ in traces if not set(roles) <= set(KNOWN[i].roles)]
    assert wrong == []


def kit_list(*arguments: str) -> str:
    command = [sys.executable, "-m", "pubsub_conformance", "list", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_list_explains_a_requirement_by_its_tests(traces: Traces) -> None:
    shown = kit_list("GUAR-3")
    assert shown.startswith(
        "GUAR-3  A message arrives whole\n(MUST; publisher, subscriber; guarantee.md)\n"
    )
    assert KNOWN["GUAR-3"].text in shown
    for requirement, test, roles, says in traces:
        if requirement == "GUAR-3":
            assert test in shown
            assert says in shown
            assert f"({', '.join(roles)})" in shown or not roles
    assert "mutant of the reference: cuts contents at a page;\n    caught by " in shown


def test_list_shows_each_requirement_in_one_line_with_its_title() -> None:
    shown = [tuple(line.split(maxsplit=2)) for line in kit_list().splitlines()]
    assert shown == [(r.id, r.level, r.title) for r in KNOWN.values()]


def test_list_selects_by_section_and_role() -> None:
    shown = kit_list("--section", "reap", "--role", "publisher").splitlines()
    ids = [line.split()[0] for line in shown]
    bound = [r.id for r in KNOWN.values() if r.key == "reap" and "publisher" in r.roles]
    assert ids == bound == ["REAP-2"]


def test_every_id_that_a_page_names_is_there() -> None:
    """The brackets of security.md, for one, name what each attempt runs into."""
    named = {
        (page.name, name)
        for page in requirements.spec_pages()
        for name in re.findall(ID, page.read_text(encoding="utf-8"))
    }
    assert {page for page, _ in named} >= {"security.md", "fetch.md"}
    assert [(page, name) for page, name in sorted(named) if name not in KNOWN] == []
