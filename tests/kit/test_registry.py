"""The registry of requirements, and the file of expected failures that refers to it."""

import json
from pathlib import Path

import pytest
from pubsub_conformance import requirements
from pubsub_conformance.judge import expected
from pubsub_conformance.judge.expected import Expected
from pubsub_conformance.requirements import SpecError, parse

GOOD = """\
# Publishing

**PUB-1 Ids are new** (publisher, subscriber)
An id MUST NOT be
0, and MUST be:
- new,
- a `MAY` in code counts
  for nothing.

*Untested:* nobody can
see it.

**PUB-2 It ends** (publisher) It SHOULD end here.

```text
**PUB-2 It is fenced** (nobody) A fence is no place for a requirement.
```

Text about PUB-2, **PUB-3 It is bold** (not at the start), and MUST without an id.
"""


def page(directory: Path, text: str, name: str = "publish.md") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_page_is_read(tmp_path: Path) -> None:
    first, second = parse([page(tmp_path, GOOD)]).values()
    assert first == requirements.Requirement(
        id="PUB-1",
        level="MUST",
        roles=("publisher", "subscriber"),
        section="Publishing",
        file="publish.md",
        text="An id MUST NOT be 0, and MUST be:\n- new,\n- a `MAY` in code counts for nothing.",
        untested="nobody can see it.",
        title="Ids are new",
    )
    assert (second.level, second.text, second.untested) == ("SHOULD", "It SHOULD end here.", None)
    assert first.key == "publish"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("**PUB-1** (publisher) An id MUST be.", 3, "PREFIX-N Title"),
        (f"**PUB-1 {39 * 'x'}** (publisher) An id MUST be.", 3, "39 characters, more than 38"),
        ("**PUB-1 It is.** (publisher) An id MUST be.", 3, "ends with a period"),
        ("**PUB-1 X** (topics) It MUST.\n\n**PUB-2 X** (topics) It MAY.", 5, "PUB-1 has the same"),
        ("**PUB-1 A** An id MUST be.", 3, "PREFIX-N"),
        ("**PUB-1 A** () An id MUST be.", 3, "PREFIX-N"),
        ("**PUB-1 A**(publisher) An id MUST be.", 3, "PREFIX-N"),
        ("**PUB-01 A** (publisher) An id MUST be.", 3, "PREFIX-N"),
        ("**Pub-1 A** (publisher) An id MUST be.", 3, "PREFIX-N"),
        ("- **PUB-1 A** (publisher) An id MUST be.", 3, "PREFIX-N"),
        ("**PUB-1 A** (printer) An id MUST be.", 3, "unknown role 'printer'"),
        ("**PUB-1 A** (publisher,) An id MUST be.", 3, "unknown role ''"),
        ("**PUB-1 A** (publisher) An id is.", 3, "not none"),
        ("**PUB-1 A** (publisher) An id must be.", 3, "not none"),
        ("**PUB-1 A** (publisher) It MUST be and SHOULD be.", 3, "not ['MUST', 'SHOULD']"),
        ("**PUB-1 A** (publisher) It SHALL be.", 3, "not ['SHALL']"),
        ("**FETCH-1 A** (publisher) It MUST be.", 3, "begin with PUB"),
        ("**PUB-1 A** (publisher) It MUST be.\n\n**PUB-1 A** (publisher) It MAY be.", 5, "already"),
        (
            "**PUB-1 A** (publisher) It MUST be.\n\n**PUB-3 C** (publisher) It MAY be.",
            5,
            "no PUB-2",
        ),
        ("**PUB-2 B** (publisher) It MUST be.", 3, "no PUB-1"),
        (
            "**PUB-1 A** (publisher) It MUST be.\n**PUB-2 B** (publisher) It MUST be.",
            4,
            "blank line",
        ),
        ("**PUB-1 A** (publisher) It MUST be.\n*Untested:* why.", 4, "blank line"),
        ("**PUB-1 A** (publisher) It MUST be.\n\n*Untested:*", 5, "a reason"),
        ("Text.\n\n*Untested:* why.", 5, "above it"),
    ],
)
def test_a_fault_is_named_with_file_and_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = page(tmp_path, f"# Publishing\n\n{text}\n")
    with pytest.raises(SpecError) as caught:
        parse([path])
    (fault,) = str(caught.value).splitlines()
    assert fault.startswith(f"{path}:{line}: ")
    assert words in fault


def test_a_page_without_heading_or_with_ids_where_none_belong_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no heading"):
        parse([page(tmp_path, "**PUB-1 A** (publisher) It MUST be.\n")])
    with pytest.raises(SpecError, match="it has none"):
        parse([page(tmp_path, GOOD, "rationale.md")])


def test_an_id_is_taken_across_pages_and_all_faults_are_reported(tmp_path: Path) -> None:
    faulty = "# Driver\n\n**DRIVER-1 D** (x) It MUST.\n\n**PUB-1 A** (publisher) It MUST be.\n"
    with pytest.raises(SpecError) as caught:
        parse([page(tmp_path, GOOD), page(tmp_path, faulty, "DRIVER.md")])
    assert len(str(caught.value).splitlines()) == 3  # role, prefix, repeated


def test_the_specification_itself_is_in_order() -> None:
    known = requirements.load()
    prefixes = {name.partition("-")[0] for name in known}
    assert prefixes == set(requirements.PREFIXES.values())


def test_the_committed_list_is_the_one_in_the_text() -> None:
    committed = (requirements.SPEC / "requirements.json").read_text(encoding="utf-8")
    assert committed == requirements.as_json(), "run python -m pubsub_conformance.requirements"
    listed = [entry["id"] for entry in json.loads(committed)["requirements"]]
    assert listed == [name for name in requirements.load() if not name.startswith("DRIVER-")]


def test_expected_failures_are_read(tmp_path: Path) -> None:
    known = {"requirement": {"PUB-1", "PUB-2"}}
    path = page(tmp_path, '[[expected]]\nrequirement = "PUB-1"\nreason = " why "\n', "x.toml")
    assert expected.load(path, known) == {("PUB-1",): Expected("why")}
    assert expected.load(page(tmp_path, "", "empty.toml"), known) == {}


def test_an_expected_failure_is_named_by_as_many_fields_as_it_takes(tmp_path: Path) -> None:
    text = (
        '[[expected]]\npublisher = ["a", "b"]\nreader = "a"\ncheck = ["full"]\n'
        'reason = "why"\nsometimes = true\n'
    )
    known = {"publisher": ["a", "b"], "reader": ["a", "b"], "check": ["full", "other"]}
    assert expected.load(page(tmp_path, text, "x.toml"), known) == {
        ("a", "a", "full"): Expected("why", True),
        ("b", "a", "full"): Expected("why", True),
    }


ENTRY = '[[expected]]\nrequirement = "PUB-1"\nreason = "why"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[expected]]\nrequirement = "PUB-1"\n', "no reason"),
        ('[[expected]]\nrequirement = "PUB-1"\nreason = " "\n', "no reason"),
        ('[[expected]]\nrequirement = "PUB-9"\nreason = "why"\n', "no requirement 'PUB-9'"),
        ('[[expected]]\nrequirement = ["PUB-1", ["PUB-1"]]\nreason = "why"\n', "['PUB-1']"),
        ('[[expected]]\nreason = "why"\n', "'requirement' is missing"),
        (ENTRY + ENTRY, "entry 2: PUB-1 is listed twice"),
        (ENTRY + "until = 2027\n", "no field 'until'"),
        (ENTRY + "sometimes = 1\n", "true or false"),
        ('expected = "PUB-1"\n', "only [[expected]]"),
        ('expected = ["PUB-1"]\n', "table"),
        (ENTRY + "[other]\n", "only [[expected]]"),
        ("[[expected]\n", "x.toml"),
    ],
)
def test_a_fault_in_expected_failures_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(expected.ExpectedError) as caught:
        expected.load(page(tmp_path, text, "x.toml"), {"requirement": {"PUB-1"}})
    assert words in str(caught.value)
