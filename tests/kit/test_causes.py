"""From failed tests to their likely causes, and to the sentences that say them."""

from __future__ import annotations

import pytest
from pubsub_conformance import requirements
from pubsub_conformance.judge.causes import causes, failed_tests
from pubsub_conformance.judge.findings import plain, sentence
from pubsub_conformance.judge.outcome import Judged, Outcome, RequirementResult, TestResult

KNOWN = requirements.load()
STAGED = "-rw------- 1 0       44 tmp/1838841237788918922"


def failed(name: str, reason: str, base: str = "", done: str = "") -> TestResult:
    return TestResult(name, Outcome.FAIL, 0.1, reason, "", done, base)


def result(id: str, *tests: TestResult, outcome: Outcome = Outcome.FAIL) -> RequirementResult:
    return RequirementResult(KNOWN[id], outcome, tests[0].reason if tests else "", tests)


def grouped(*results: RequirementResult) -> list[tuple[str, list[str]]]:
    """The ids that lead, each with those that fell with it."""
    return [
        (cause.requirement.id, [other.requirement.id for other in cause.others])
        for cause in causes(results)
    ]


def test_what_passed_is_no_cause() -> None:
    passed = TestResult("publish/test_ids.py::test_new", Outcome.PASS)
    assert causes([result("PUB-1", passed, outcome=Outcome.PASS)]) == []


def test_one_left_over_is_one_cause_led_by_what_most_tests_are_about() -> None:
    name = "tmp/1838841237788918922"
    assert grouped(
        result("MSG-15", failed("a::1", f"expected nothing of it, found\n  {name}")),
        result("PUB-3", failed("a::2", "['1838841237788918922'] is left in it", STAGED)),
        result(
            "PUB-14",
            failed("a::3", "left in tmp after it: ['1838841237788918922']", STAGED),
            failed("a::4", f"left over, first of all:\n{name}"),
        ),
        result("PUB-19", failed("a::5", "one queue took it\nexpected 1, found 2", STAGED)),
    ) == [("PUB-14", ["MSG-15", "PUB-3"]), ("PUB-19", [])]


def test_the_same_words_about_other_names_are_one_cause() -> None:
    reasons = "driver error: stdout ended\n  process: exit status 1\n  stderr:\n    no '{}'"
    results = [
        result(id, failed(f"a::{id}", reasons.format(id)), outcome=Outcome.DRIVER_ERROR)
        for id in ("BASE-3", "CHAN-1", "PUB-2")
    ]
    assert grouped(*results) == [("BASE-3", ["CHAN-1", "PUB-2"])]
    (cause,) = causes(results)
    assert cause.sentence == "driver error: stdout ended; process: exit status 1; no 'BASE-3'"


def test_values_without_words_are_no_common_finding() -> None:
    found = "expected 1, found 0"
    first, second = result("PUB-1", failed("a::1", found)), result("PUB-2", failed("a::2", found))
    assert grouped(first, second) == [("PUB-1", []), ("PUB-2", [])]


def test_a_requirement_that_has_a_finding_of_its_own_leads_itself() -> None:
    both = failed("a::1", "the channel is gone")
    assert grouped(
        result("PUB-13", both),
        result("PUB-14", both, failed("a::2", "it was renamed")),
        result("FETCH-1", both, failed("a::3", "it was read twice")),
    ) == [("PUB-14", ["PUB-13"]), ("FETCH-1", [])]


def test_the_pages_build_on_each_other_and_searches_find_all_faults() -> None:
    assert [
        id
        for id, _ in grouped(
            result("GUAR-1", failed("test_guarantee.py::a", "one thing")),
            result("CHAN-1", failed("test_lockstep.py::b", "another")),
            result("PUB-10", failed("publish/test_steps.py::c", "a third")),
            result("FETCH-16", failed("fetch/test_files.py::e", "more"), outcome=Outcome.WARNING),
            result("DRIVER-1", failed("driver/test_life.py::d", "the fourth")),
        )
    ] == ["DRIVER-1", "PUB-10", "GUAR-1", "CHAN-1", "FETCH-16"]


def test_the_shortest_test_of_its_own_speaks_for_a_requirement() -> None:
    (cause,) = causes(
        [
            result(
                "GUAR-1",
                failed("test_stress.py::a", "the search"),
                failed("test_faults.py::a", "one about several pages"),
                failed("test_guarantee.py::a", "the long one", done="> 1\n< 1\n> 2\n< 2"),
                failed("test_guarantee.py::b", "the short one", done="> 1\n< 1"),
            )
        ]
    )
    assert cause.sentence == "the short one"


def test_a_failure_that_is_expected_is_no_finding() -> None:
    listed, real = failed("a::1", "as it always was"), failed("a::2", "it is new")
    judged = [Judged(Outcome.EXPECTED_FAILURE, "known"), Judged(Outcome.FAIL, "it is new")]
    mixed = RequirementResult(KNOWN["PUB-1"], Outcome.FAIL, "it is new", [listed, real], judged)
    (cause,) = causes([mixed])
    assert cause.sentence == "it is new"
    assert failed_tests(mixed) == [real]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "AssertionError: one is full\nassert 3 == 2\n +  where 3 = publish('a')\n",
            "one is full\nexpected 2, found 3",
        ),
        ("AssertionError: it is so\nassert not ['a']", "it is so"),
        ("AssertionError: it is so", "it is so"),
        (
            "AssertionError: assert 11 == 0\n +  where 11 = publish('a')",
            "publish('a'): expected 0, found 11",
        ),
        (
            "AssertionError: assert None == 'bad-request'\n"
            " +  where None = <built-in method get of dict object at 0x7f>('code')",
            "expected 'bad-request', found null",
        ),
        ("assert 0 == 1\n +  where 0 = len([])", "expected 1, found 0"),
        (
            "assert [1, 2] == [1]\n  \n  Left contains one more item: 2",
            "expected [1], found [1, 2]",
        ),
        ("AssertionError: assert 'x' in ['y']", "assert 'x' in ['y']"),
        ("Failed: two\nlines", "two\nlines"),
        ("AssertionError", ""),
        ("a.b.Rejected: io-error: EIO: no", "the driver replied with the error io-error: EIO: no"),
        (
            "FileNotFoundError: [Errno 2] No such file: 'a'",
            "FileNotFoundError: [Errno 2] No such file: 'a'",
        ),
    ],
)
def test_an_exception_in_plain_words(raised: str, said: str) -> None:
    assert plain(raised) == said


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "one is full\nexpected 2, found 3\n(test_steps.py, line 1)",
            "one is full: expected 2, found 3",
        ),
        (
            "wrong verdicts:\n  '' (empty): found accepted\n  more",
            "wrong verdicts: '' (empty): found accepted",
        ),
        ("it stays; found\n  drwx------ 0:0 4096 base\n(a.py, line 2)", "it stays"),
        (
            "expected the mode 0700, found 0777\nexpected 448, found 511",
            "expected the mode 0700, found 0777",
        ),
        ("", ""),
        (
            "driver error: stdout ended\n  process: status 1\n  stderr:\n    oh\n(a.py, line 2)",
            "driver error: stdout ended; process: status 1; oh",
        ),
    ],
)
def test_the_sentence_that_decides(reason: str, said: str) -> None:
    assert sentence(reason) == said
