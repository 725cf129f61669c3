"""Raises an exception at the n-th bytecode of a call, as a signal handler might."""

from __future__ import annotations

import dis
import functools
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pubsub

_HERE = str(Path(__file__).parent)
_PACKAGE = Path(pubsub.__file__).parent
# The modules that use locks.
_LOCKING = {str(_PACKAGE / name) for name in ("channel.py", "ids.py")}


@functools.cache
def left_out(code: CodeType) -> frozenset[int]:
    """The offsets of the bytecodes at which Python itself cannot bear an exception.

    No signal handler runs there: interruption.py says where they do run.
    """
    found: set[int] = set()
    steps = [step for step in dis.get_instructions(code) if step.opname != "CACHE"]
    names = [step.opname for step in steps]
    for n, step in enumerate(steps):
        # The end of a `with`, up to the call of `__exit__`. It matters to locks alone: what is held
        # otherwise is given back twice.
        if code.co_filename in _LOCKING:
            pushes = names[n : n + 3]
            calls = names[n + 3 : n + 5]
            if (
                step.opname == "LOAD_CONST"
                and step.argval is None
                and (
                    pushes[1:] in (["LOAD_CONST"] * 2, ["DUP_TOP"] * 2)
                    and calls[0] in ("PRECALL", "CALL", "CALL_FUNCTION")
                )
            ):
                begin = n - (names[n - 1] in ("SWAP", "ROT_TWO"))
                end = n + 4 + (calls[0] == "PRECALL")
                found.update(step.offset for step in steps[begin:end])
            if step.opname == "WITH_EXCEPT_START":
                begin = n - (names[n - 1] == "PUSH_EXC_INFO")
                found.update(step.offset for step in steps[begin : n + 1])
        # A `return` from an `except`: CPython 3.10 crashes.
        if names[n - 1 : n + 1] == ["ROT_FOUR", "POP_EXCEPT"]:
            found.add(step.offset)
    return frozenset(found)


class Interrupter:
    """Counts the bytecodes of a call, and raises an exception before one of them."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._left = 0
        self.where = ""

    def run(
        self,
        call: Callable[[], object],
        n: int,
        error: BaseException,
        end: type[BaseException] | None = None,
    ) -> bool:
        """Call it, and raise `error` before its n-th bytecode; nothing may catch or replace it.

        False: the call has fewer bytecodes. It then returned, or raised an exception of type `end`.
        """
        self._left, self._error = n, error
        gc.disable()  # or callbacks of other packages run meanwhile, which Python lets nobody leave
        try:
            _watch(self.at)
            try:
                call()
            finally:
                _stop()
                gc.enable()
        except BaseException as caught:
            if caught is error:
                return True
            if self._error is None or end is None or not isinstance(caught, end):
                raise
        assert self._error is not None, f"swallowed: {self.where}"
        return False

    def at(self, code: CodeType, offset: int) -> None:
        """A bytecode is about to run."""
        if offset in left_out(code):
            return
        self._left -= 1
        if self._left == 0:
            self.where = f"{code.co_filename}, {code.co_name}, offset {offset}"
            error, self._error = self._error, None
            assert error is not None
            raise error


def _is_watched(code: CodeType) -> bool:
    return not code.co_filename.startswith(_HERE)


if sys.version_info >= (3, 12):  # settrace misses bytecodes on 3.13.0
    _TOOL = sys.monitoring.DEBUGGER_ID
    _EVENT = sys.monitoring.events.INSTRUCTION

    def _watch(at: Callable[[CodeType, int], None]) -> None:
        def watch(code: CodeType, offset: int) -> object:
            return at(code, offset) if _is_watched(code) else sys.monitoring.DISABLE

        sys.monitoring.use_tool_id(_TOOL, "interrupter")
        sys.monitoring.register_callback(_TOOL, _EVENT, watch)
        sys.monitoring.set_events(_TOOL, _EVENT)

    def _stop() -> None:
        sys.monitoring.set_events(_TOOL, 0)
        sys.monitoring.free_tool_id(_TOOL)

else:

    def _watch(at: Callable[[CodeType, int], None]) -> None:
        def trace(frame: FrameType, event: str, _: object) -> Any:
            if not _is_watched(frame.f_code):
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            if event == "opcode":
                at(frame.f_code, frame.f_lasti)
            return trace

        sys.settrace(trace)

    def _stop() -> None:
        sys.settrace(None)
