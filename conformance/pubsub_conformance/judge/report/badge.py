"""The verdict as a badge: the JSON that shields.io reads from an address ("endpoint")."""

from __future__ import annotations

import json

from ..outcome import Outcome
from ..verdict import Verdict
from . import count
from .run import RunReport

LABEL = "pubsub conformance"
COLORS = {Verdict.BROKEN: "red", Verdict.UNJUDGED: "lightgrey"}


def badge(report: RunReport) -> str:
    """The text of the file."""
    counts = report.counts
    known = counts.get(Outcome.EXPECTED_FAILURE.value, 0)
    broken = counts.get(Outcome.FAIL.value, 0)
    message, color = str(report.verdict), COLORS.get(report.verdict, "brightgreen")
    if report.verdict is Verdict.BROKEN:
        message = count(broken, "failure") if broken else "expected failures out of date"
    elif report.verdict is Verdict.CONFORMS and known:
        message, color = f"conforms, but for {count(known, 'expected failure')}", "yellowgreen"
    content = {"schemaVersion": 1, "label": LABEL, "message": message, "color": color}
    return json.dumps(content) + "\n"
