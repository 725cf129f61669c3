"""`list`: list the requirements, or explain some."""

from __future__ import annotations

import argparse
import json

from .. import requirements, traceability
from ..driver.protocol import ROLES
from ..judge.report import note
from ..requirements import Requirement
from .options import Subparsers, add_several

MUTANTS = requirements.PACKAGE / "mutants.json"
"""For each MUST, how a reference broke it on trial, and which tests caught that."""


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "list",
        help="list the requirements, or explain some",
        description="Lists the requirements by id, level and title, or shows those named in full,"
        " with the tests that check them. Nothing is run.",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="show this one in full, as PUB-7")
    for option, names in (("--section", requirements.PREFIXES), ("--role", ROLES)):
        only = f"only of these: {', '.join(names)}"
        add_several(parser, option, only, choices=[*names], metavar="NAME")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code. Raises SpecError."""
    known = requirements.load()
    ids = options.ids or options.driver
    for name in ids:
        if name not in known:
            note(f"there is no requirement {name!r}")
            return 2
    for requirement in map(known.__getitem__, ids or known):
        if options.section and requirement.key not in options.section:
            continue
        if options.role and not set(options.role) & set(requirement.roles):
            continue
        if ids:
            _explain(requirement)
        else:
            print(f"{requirement.id:<11}{requirement.level:<8}{requirement.title}")
    return 0


def _explain(requirement: Requirement) -> None:
    roles = ", ".join(requirement.roles)
    print(f"{requirement.id}  {requirement.title}")
    print(f"({requirement.level}; {roles}; {requirement.file})")
    print(requirement.text)
    if requirement.untested:
        print(f"Untested: {requirement.untested}")
    for trace in traceability.traces():
        if trace.requirement == requirement.id:
            through = f" ({', '.join(sorted(trace.roles))})" if trace.roles else ""
            print(f"\n  {trace.test}{through}\n    {trace.says}.")
    for mutant in json.loads(MUTANTS.read_text(encoding="utf-8")):
        if mutant["requirement"] == requirement.id:
            print(f"\n  mutant of the reference: {mutant['mutant']};")
            print(f"    caught by {', '.join(mutant['caught_by'])}")
    print()
