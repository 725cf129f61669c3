"""What a run ends with: one screen that says what failed, why, and what to do next."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from rich.text import Text

from ...excerpt import excerpt
from ...requirements import Requirement
from ..causes import Cause
from ..outcome import STYLE, Outcome, RequirementResult

LINES = 23
"""Of a terminal with 24 lines, the last one is for the prompt."""

_FULL = 3  # causes with all that is known of them
_FOR_OTHERS = 4  # lines that the causes in full leave to the others
_LABEL = 10  # characters


class LastScreen:
    """Lays out the lines of a screen of this width."""

    def __init__(self, width: int, wraps: bool) -> None:
        """`wraps`: sentences are broken between words. Commands never are."""
        self._width = width
        self._wraps = wraps

    def compose(
        self,
        causes: Sequence[Cause],
        repeat: Callable[[Requirement], str],
        stale: Sequence[RequirementResult],
        end: Sequence[tuple[str, str, str]],
    ) -> list[Text]:
        """`repeat` renders the command that judges a requirement again; `stale` has the expected
        failures that passed. `end` has the last lines: label, text and style.
        """
        last = [line for label, text, style in end for line in self._labelled(label, text, style)]
        left = LINES - self._height(last)
        lines = self._stale(stale)
        if causes:
            lines += self._causes(causes, repeat, left - self._height(lines))
        return [*lines, *last]

    def _stale(self, stale: Sequence[RequirementResult]) -> list[Text]:
        lines = [
            Text(f"{result.requirement.id} passes, but {result.reason}; strike it out")
            for result in stale[:_FULL]
        ]
        more = ", ".join(result.requirement.id for result in stale[_FULL:])
        return [*lines, *self._labelled("so do", more)]

    def _causes(
        self, causes: Sequence[Cause], repeat: Callable[[Requirement], str], left: int
    ) -> list[Text]:
        """First with all that was found, then a line for each, then the ids alone."""
        heading = "Warnings" if causes[0].result.outcome is Outcome.WARNING else "Failed"
        heading += ", the likely cause first:" if causes[1:] else ":"
        lines = [Text(heading, "bold")]
        rest = list(causes)
        while rest and len(causes) - len(rest) < _FULL:
            block = self._in_full(rest[0], repeat)
            others = min(len(rest) - 1, _FOR_OTHERS)
            if rest[0] is not causes[0] and self._height([*lines, *block]) + others > left:
                break
            lines += block
            del rest[0]
        briefly = self._height(lines) + 2 * len(rest) <= left
        while rest and self._height(lines) + min(len(rest), 3) <= left:
            lines.append(self._head(rest[0]))
            lines += self._labelled("found", rest[0].sentence, most=1) if briefly else []
            del rest[0]
        ids = [each.requirement.id for cause in rest for each in (cause.result, *cause.others)]
        return [*lines, *self._labelled("also", ", ".join(ids))]

    def _in_full(self, cause: Cause, repeat: Callable[[Requirement], str]) -> list[Text]:
        return [
            self._head(cause),
            *self._labelled("expected", cause.test.expected),
            *self._labelled("found", cause.sentence),
            *self._labelled("with it", ", ".join(other.requirement.id for other in cause.others)),
            Text.assemble((f"  {'repeat':<{_LABEL}}", "bold"), repeat(cause.requirement)),
        ]

    def _head(self, cause: Cause) -> Text:
        requirement, outcome = cause.requirement, cause.result.outcome
        line = Text.assemble((f"{requirement.id:<10}", "bold"), (outcome.value, STYLE[outcome]))
        line.append(f"  {requirement.title or requirement.text}")
        if cause.others:
            line.append(f" (and {len(cause.others)} with it)")
        line.truncate(self._width, overflow="ellipsis")
        return line

    def _labelled(self, label: str, body: str, style: str = "", most: int = 2) -> list[Text]:
        """So many lines at most, in a column beside the label; none without a body."""
        column = f"  {label:<{_LABEL}}" if label else ""
        width = self._width - len(column)
        if self._wraps:
            parts = textwrap.wrap(body, width, max_lines=most, placeholder=" …")
        else:
            parts = [excerpt(body, most * width)]
        return [
            Text.assemble((" " * len(column) if number else column, "bold"), (part, style))
            for number, part in enumerate(parts if body else [])
        ]

    def _height(self, lines: Sequence[Text]) -> int:
        """How many lines of a terminal these take: it breaks commands."""
        parts = [part for line in lines for part in line.plain.split("\n")]
        return sum(max(1, -(-len(part) // self._width)) for part in parts)
