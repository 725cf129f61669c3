"""The live line on stderr that shows how far a command is."""

from __future__ import annotations

import math
from contextlib import suppress

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..judge.report import note

EVERY_SECONDS = 10.0
"""Between two lines where stderr is no terminal."""


class Line:
    """A line that changes on a terminal; elsewhere a new line every ten seconds."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._on_terminal = console.is_terminal
        self._shown = -math.inf

    def __enter__(self) -> Line:
        if self._on_terminal:
            with suppress(OSError):
                self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._live.stop()

    def note(self, text: str) -> None:
        """Leave a line that stays, above the one that changes."""
        if self._on_terminal:
            with suppress(OSError):
                self._live.console.print(Text(text))
        else:
            note(text)

    def show(self, seconds: float, text: str) -> None:
        """Show what goes on, so many seconds after the beginning."""
        text = f"{seconds:4.0f} s  {text}"
        if self._on_terminal:
            with suppress(OSError):  # the terminal may be gone
                self._live.update(text, refresh=True)
        elif seconds >= self._shown + EVERY_SECONDS:
            self._shown = seconds
            note(text)
