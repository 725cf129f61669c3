"""Reports as pages: one HTML file each, which loads nothing and is complete without its script.

The templates are in `templates/`. They need the extra `html`, so this module imports jinja2 late.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import itertools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import __version__
from ...requirements import SPEC_VERSION
from ..causes import failed_tests
from ..outcome import Outcome, RequirementResult
from ..verdict import Verdict
from .machine import platform_on
from .run import RunReport

TEMPLATES = Path(__file__).parent / "templates"
NEEDED = ("jinja2", "pygal")
VERDICT_CLASS = {Verdict.CONFORMS: "good", Verdict.BROKEN: "bad", Verdict.UNJUDGED: "odd"}


def missing() -> str:
    """What to install before a page can be written; empty if all of it is there."""
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    are = "is" if len(absent) == 1 else "are"
    return f"{' and '.join(absent)} {are} not installed: pip install 'pubsub-conformance[html]'"


def render(template: str, **values: Any) -> str:
    """A page. All values are text to the template: what a driver wrote cannot become markup."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["marked"] = marked
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=script,
        # The browser runs this script and no other one, and asks nobody for anything.
        script_hash=f"sha256-{digest}",
        css_class=css_class,
        **values,
    )


def marked(text: str) -> str:
    """The specification's text, with what it has between backticks as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    codes = [
        Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts)
    ]
    return Markup("").join(codes)


def css_class(outcome: Outcome) -> str:
    """The name of an outcome in the style sheet."""
    return outcome.value.replace(" ", "-")


def run_page(report: RunReport) -> str:
    """The page of a run: the verdict, the likely causes, the failures, all requirements."""
    return render(
        "run.html",
        report=report,
        verdict_class=VERDICT_CLASS[report.verdict],
        failures=report.failures,
        described_ids={result.requirement.id for result in report.failures},
        failed_tests=failed_tests,
        fell_with={
            other.requirement.id: cause.requirement.id
            for cause in report.causes
            for other in cause.others
        },
        sections=_sections(report),
        about=_about(report),
    )


def problem_page(command: str, reason: str) -> str:
    """The page of a command that could not judge anything."""
    return render("problem.html", command=command, reason=reason)


def _sections(report: RunReport) -> list[tuple[str, list[RequirementResult]]]:
    """The requirements by page of the specification."""
    grouped = itertools.groupby(report.results, lambda result: result.requirement.section)
    return [(section, list(results)) for section, results in grouped]


def _about(report: RunReport) -> list[tuple[str, str]]:
    said = report.implementation
    return [
        ("implementation", report.name),
        *([("language", said["language"]), ("roles", ", ".join(said["roles"]))] if said else []),
        ("driver", shlex.join(report.command)),
        *([("requirements", report.requirements)] if report.requirements else []),
        *about_the_machine(platform_on(report.file_system), report.seconds),
        ("seed", str(report.seed)),
        ("started", report.started),
    ]


def about_the_machine(platform: Mapping[str, str], seconds: float) -> list[tuple[str, str]]:
    """What every page says of the versions, the machine and the time; `platform` is its name."""
    return [
        ("specification", SPEC_VERSION),
        ("kit", __version__),
        ("platform", f"{platform['system']} {platform['release']}, {platform['machine']}"),
        ("Python of the kit", platform["python"]),
        ("file system", platform["file_system"]),
        ("duration", f"{seconds:.1f} s"),
    ]
