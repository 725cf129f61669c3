"""What strace saw last of a driver, for the report of a failure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..excerpt import excerpt
from .calls import Begun, Call, Continued, Event, Signalled

SHOWN = 16  # the last ones
_CHARACTERS = 200  # of one call


def last_calls(events: Sequence[Event], helpers: Collection[int]) -> str:
    """The last system calls, each with its thread; empty if strace saw none.

    It says where the kit has stopped the driver, and whether it was still stopped. `helpers` are
    processes that are not the driver's.
    """
    own = [event for event in events if event.pid not in helpers]
    lines = [f"  {event.pid}: {text}" for event in own if (text := _text(event))]
    if not lines:
        return ""
    shown = f"the last {SHOWN} of {len(lines)}" if len(lines) > SHOWN else "all"
    return "\n".join(
        [
            f"its system calls that strace saw, by thread ({shown}):",
            *lines[-SHOWN:],
            *(f"  {pid}: {name} has not ended" for pid, name in _unfinished(own).items()),
            *(
                ["then the kit ended the test: it had stopped the driver"]
                if _is_stopped(own)
                else []
            ),
        ]
    )


def _text(event: Event) -> str:
    match event:
        case Call():
            made_to_fail = " (made by the kit)" if event.injected and event.errno else ""
            return f"{excerpt(str(event), _CHARACTERS)}{made_to_fail}"
        case Signalled():
            return "the kit stops the driver"
        case Continued():
            return "the kit lets the driver go on"
    return ""


def _unfinished(events: Sequence[Event]) -> dict[int, str]:
    """The call that each thread is in."""
    found: dict[int, str] = {}
    for event in events:
        if isinstance(event, Begun):
            found[event.pid] = event.name
        elif isinstance(event, Call):
            found.pop(event.pid, None)
    return found


def _is_stopped(events: Sequence[Event]) -> bool:
    stops = [event for event in events if isinstance(event, Signalled | Continued)]
    return bool(stops) and isinstance(stops[-1], Signalled)
