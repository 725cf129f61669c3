"""The failures of a run as a list of expected failures, for `run --expected`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ... import __version__
from ..expected import Expected, entry_of
from ..findings import sentence
from ..outcome import JUDGED, Outcome, RequirementResult
from .run import RunReport

HEAD = f"""\
# Expected failures, written by pubsub-conformance {__version__}. A reason that begins with "found:"
# is what the kit found: replace it by why the failure is expected, and until when.
"""


def as_toml(report: RunReport) -> str | None:
    """The list of this run: entries that still hold, with their reasons, and what failed besides.

    An entry whose failure passed is left out. A failure of some tests of a requirement is listed
    with these tests, one of all of them without. None if the run judged nothing.
    """
    if report.interrupted or not report.outcomes & JUDGED:
        return None
    stale = {
        entry_of(report.expected, result.requirement.id, test.name)
        for result in report.results
        for test, judged in result.judgements
        if judged.outcome is Outcome.UNEXPECTED_PASS
    }
    listed = {key: entry for key, entry in report.expected.items() if key not in stale}
    for result in report.results:
        listed.update(_new(result))
    order = {result.requirement.id: place for place, result in enumerate(report.results)}
    keys = sorted(listed, key=lambda key: order.get(key[0], len(order)))
    return HEAD + "".join(_entry(key, listed[key]) for key in keys)


def _new(result: RequirementResult) -> Iterator[tuple[tuple[str, ...], Expected]]:
    """The entries for the tests of a requirement that failed, and are not listed."""
    failed = [test for test, judged in result.judgements if judged.outcome is Outcome.FAIL]
    if failed and all(test.outcome is not Outcome.PASS for test in result.tests):
        yield (result.requirement.id, ""), Expected(f"found: {sentence(failed[0].reason)}")
        return
    for test in failed:
        yield (result.requirement.id, test.name), Expected(f"found: {sentence(test.reason)}")


def _entry(key: tuple[str, ...], entry: Expected) -> str:
    requirement, test = key
    fields = {"requirement": requirement, "test": test, "reason": entry.reason}
    lines = [f"{name} = {_string(text)}" for name, text in fields.items() if text]
    lines += [f"{name} = true" for name in ("sometimes", "flaky") if getattr(entry, name)]
    return "\n[[expected]]\n" + "".join(f"{line}\n" for line in lines)


def _string(text: str) -> str:
    """A string of TOML, which is one of JSON but for half characters and DEL."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
