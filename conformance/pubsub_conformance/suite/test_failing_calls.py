"""System calls that fail: each step of each operation, with the errors that it can have.

`pubsub-conformance faults` makes every call fail, and kills the process there; here each step of
the specification fails in a few ways, and the same promises are judged.
"""

from __future__ import annotations

import shlex
from collections import defaultdict

import pytest
from _pytest.mark import ParameterSet

from pubsub_conformance import faults
from pubsub_conformance.plugin import broken, not_applicable, not_run

pytestmark = [
    pytest.mark.timing,
    pytest.mark.timeout(900),  # each test starts a driver for each of some fifty calls
]

SCENES = {
    "publish": (
        *("publish-several", "publish-full", "publish-waiting", "publish-dead"),
        *("publish-large", "publish-first"),
    ),
    "publish-cleaned": ("publish-cleaned",),
    "publish-closing": ("publish-closing",),
    "publish-vanishing": ("publish-vanishing",),
    "publish-dying": ("publish-dying",),
    "fetch": ("fetch", "fetch-large", "fetch-invalid", "fetch-missing", "fetch-nothing"),
    "wait": ("wait", "wait-in-vain"),
    "open": ("open", "open-first"),
    "open-cleaned": ("open-cleaned",),
    "close": ("close",),
    "close-late": ("close-late",),
    "close-swapped": ("close-swapped",),
    "open-inline": ("open-inline",),
    "publish-inline": ("publish-inline",),
    "publish-kept": ("publish-kept",),
    "fetch-inline": ("fetch-inline", "wait-inline"),
    "close-inline": ("close-inline",),
    "reap": ("reap",),
    "reap-revived": ("reap-revived",),
}
"""The operations of `faults` that are run together: each step is disturbed in the first of them."""


def _rules(scene: str) -> list[str]:
    """The requirements that these operations are judged by."""
    operations = [faults.OPERATIONS[name] for name in SCENES[scene]]
    return [rule for each in operations for rule in (each.reports, *each.promises)]


def _marked(scene: str) -> ParameterSet:
    (name, *_) = SCENES[scene]
    rules = _rules(scene)
    of_lane = [rule for rule in rules if rule.startswith("INLINE")]
    others = [rule for rule in rules if rule not in of_lane]
    roles = [role for role in faults.OPERATIONS[name].roles if role != "inline"]
    marks = [pytest.mark.requirement(*others, role=roles), pytest.mark.requirement(*of_lane)]
    return pytest.param(scene, marks=marks)


@pytest.mark.parametrize("scene", [*map(_marked, SCENES)])
def test_a_call_that_fails(request: pytest.FixtureRequest, scene: str) -> None:
    """Whatever call fails, once or from then on, the operation works or reports the error; nothing
    is lost, left over or half done, and everybody else goes on."""
    command, home = request.config.getoption("driver"), request.config.getoption("home")
    run = faults.run_steps(shlex.split(command), SCENES[scene], home)
    if not run.tallies:
        not_applicable("inline")
    found: dict[str, list[str]] = defaultdict(list)
    for violation in run.violations:
        for problem in violation.problems:
            rules = _rules(scene)
            rule = problem.requirement if problem.requirement in rules else rules[0]
            found[rule].append(f"{violation.title}: {problem}\nagain: {run.repeat(violation)}")
    broken({rule: "\n".join(reasons) for rule, reasons in found.items()})
    if reason := run.not_run or "\n".join(run.failed):
        not_run(reason)
