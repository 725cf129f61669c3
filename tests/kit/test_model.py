"""The models of the specification: what they name, and what they leave out."""

import json
import re

import forced
import model_page
import pytest
from model import ALSO, BY_SPIN, CONFIGURATIONS, MODELS, NAMED, names, words
from model_page import ID, PAGE, REASONS, alone, forced_table, plain, rules, table
from mutants.within import WITHIN

REQUIREMENTS = {
    requirement["id"]: requirement
    for requirement in json.loads((MODELS.parent / "requirements.json").read_bytes())[
        "requirements"
    ]
}
BROKEN = {
    (configuration.model, rule) for configuration in CONFIGURATIONS for rule in configuration.broken
}


def test_the_tables_of_the_page_are_those_of_the_models() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for text in (table(), alone(), forced_table()):
        assert text in page, "run python tests/tools/model_page.py"


def test_each_rule_is_forced_or_has_a_reason() -> None:
    """Forced on a mutant that breaks the rule, by tests that are there and catch it."""
    broken = {rule for _, rule in BROKEN}
    known = [*forced.MUTANTS, *WITHIN, *forced.REASONS]
    assert sorted(known) == sorted(broken)
    for rule in forced.MUTANTS:
        assert forced.forced_by(rule)[1], rule


@pytest.mark.parametrize("model", model_page.models())
def test_all_that_a_model_names_is_a_requirement(model: str) -> None:
    named = set(ID.findall(" ".join(words(model))))
    assert named <= set(REQUIREMENTS), named - set(REQUIREMENTS)


@pytest.mark.parametrize("model", model_page.models())
def test_each_rule_of_a_model_is_broken_somewhere(model: str) -> None:
    assert {(model, rule) for rule in rules(model)} == {one for one in BROKEN if one[0] == model}


@pytest.mark.parametrize("model", model_page.models())
def test_each_assertion_has_a_name_and_a_promise(model: str) -> None:
    source = (MODELS / f"{model}.pml").read_text(encoding="utf-8").splitlines()
    said = words(model)
    for number, line in enumerate(source):
        if "assert(" in line:
            assert NAMED.match(said[number]), f"{model}.pml:{number + 1}: {line}"


def test_what_finds_a_rule_is_in_its_model() -> None:
    for configuration in CONFIGURATIONS:
        found = set(configuration.broken.values())
        found |= {name for rule in configuration.broken for name in ALSO.get(rule, ((),))[0]}
        assert found <= set(names(configuration.model)) | set(BY_SPIN)


def test_what_is_about_other_processes_is_modelled_or_has_a_reason() -> None:
    about = forced.stopped() | {one for one in REQUIREMENTS if one.startswith("INLINE-")}
    promises = {one for one in about if one.startswith("GUAR-")}  # what assertions stand for
    broken = {
        one
        for model in model_page.models()
        for rule in rules(model).values()
        for one in rule.requirements
    }
    assert about - promises - broken == set(REASONS)
    assert len(about) > 40  # the tests above were found


def test_each_rule_has_a_schedule_in_the_words_of_its_model() -> None:
    page = PAGE.read_text(encoding="utf-8").partition("## Schedules")[2]
    parts = re.findall(r"^### (\w+)\n\n.* Model `(\w+)`.*\n\n((?:1\. .*\n)+)", page, re.M)
    assert {(model, macro) for macro, model, _ in parts} == BROKEN
    for macro, model, steps in parts:
        for step in re.findall(r"^1\. [a-z]+(?: \d)?: (.*)$", steps, re.M):
            assert step in map(plain, words(model)), (
                f"{macro}: {step}: run python tests/tools/model_page.py"
            )


def test_the_readme_has_all_configurations() -> None:
    readme = (MODELS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|.*\| ([a-z, ]+) \|$", readme, re.M)
    assert rows == [(one.model, one.macros, one.kind) for one in CONFIGURATIONS]
