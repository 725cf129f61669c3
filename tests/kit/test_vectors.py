"""The vectors in the specification's text."""

from pathlib import Path

import pytest
from pubsub_conformance import requirements, vectors
from pubsub_conformance.requirements import SpecError

PAGE = r"""# Topics

<!-- vectors: match -->
| pattern | topic | matches |
|---|:-:|--|
| `"a.="` | `"a\n"` | yes |
| `"a\|b"` | `` | no, `not` this |
|  | `50 4d` |  |

<!-- vectors: other -->
| topic |
|---|
| `"\u0061"` |

Text.

<!-- vectors: match -->
| pattern | topic | matches |
|---|---|---|
| `""` | `"last"` | yes |

```vector message valid the smallest
50 4d  # two octets, not "de ad"
53
```

Text between.

```json
{"topic": "a"}
```
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(requirements, "SPEC", tmp_path)
    return tmp_path / "topics.md"


def test_tables_of_one_name_are_read_in_turn(spec: Path) -> None:
    spec.write_text(PAGE)
    assert vectors.table("match") == [
        {"pattern": "a.=", "topic": "a\n", "matches": "yes"},
        {"pattern": "a|b", "topic": "", "matches": "no, `not` this"},
        {"pattern": "", "topic": "50 4d", "matches": ""},
        {"pattern": "", "topic": "last", "matches": "yes"},
    ]
    assert vectors.table("other") == [{"topic": "a"}]


def test_messages_are_read(spec: Path) -> None:
    spec.write_text(PAGE)
    (message,) = vectors.messages()
    assert message == vectors.MessageVector("the smallest", b"PMS", {"topic": "a"})


def test_vectors_that_are_not_there_are_an_error(spec: Path) -> None:
    spec.write_text("# Topics\n")
    with pytest.raises(LookupError, match="match"):
        vectors.table("match")
    with pytest.raises(LookupError, match="messages"):
        vectors.messages()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<!-- vectors: match -->\n\n| a |\n|---|\n| 1 |\n", 1),
        ("<!-- vectors: match -->\n| a |\n|---|\n", 1),
        ("<!-- vectors: match -->\n| a |\n| 1 |\n| 2 |\n", 1),
        ("<!-- vectors: match -->\n| a |\n|---|\n| 1 |\n| 1 | 2 |\n", 5),
        ('<!-- vectors: match -->\n| a |\n|---|\n| `"x` |\n', 4),
    ],
)
def test_a_malformed_table_is_named_with_its_line(spec: Path, text: str, line: int) -> None:
    spec.write_text(text)
    with pytest.raises(SpecError, match=rf"topics\.md:{line}: "):
        vectors.table("match")


@pytest.mark.parametrize(
    "text",
    [
        "```vector message valid x\n50 4\n```\n\n```json\n{}\n```\n",
        "```vector message valid x\n50\n```\n\n```json\n{\n```\n",
        "```vector message valid x\n50\n```\n\n```text\n{}\n```\n",
        "```vector message valid x\n50\n```\n",
        "```vector message valid x\n50\n",
        "```vector massage valid x\n50\n```\n",
    ],
)
def test_a_malformed_message_is_named_with_its_line(spec: Path, text: str) -> None:
    spec.write_text(text)
    with pytest.raises(SpecError, match=r"topics\.md:1: "):
        vectors.messages()


def test_the_specification_has_the_vectors_that_the_suite_uses() -> None:
    for row in vectors.table("match"):
        assert row.keys() == {"pattern", "topic", "matches"}
        assert row["matches"] in {"yes", "no"}
    known = requirements.load()
    for row in vectors.table("invalid-message"):
        vectors.octets(row["hex"])
        assert row["rule"] in known
    for name in ("valid-topic", "invalid-topic"):
        assert all("topic" in row for row in vectors.table(name))
    for name in ("valid-pattern", "invalid-pattern"):
        assert all("pattern" in row for row in vectors.table(name))
    assert vectors.messages()
