"""Runs a handler at the n-th bytecode of a call, as a signal might; it may raise an exception."""

from __future__ import annotations

import dis
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pubsub

_HERE = str(Path(__file__).parent)
_PACKAGE = Path(pubsub.__file__).parent
# The modules that use locks.
_LOCKING = {
    str(_PACKAGE / f"{name}.py") for name in ("channel", "ids", "listing", "request", "waiting")
}


_left_out: dict[int, tuple[CodeType, frozenset[int]]] = {}


def left_out(code: CodeType) -> frozenset[int]:
    """The offsets of the bytecodes at which Python itself cannot bear an exception.

    No signal handler runs there: interruption.py says where they do run.
    """
    # By its number: the hash of a code object is made of all that is in it, each time.
    if id(code) not in _left_out:
        _left_out[id(code)] = code, frozenset(_unbearable(code))
    return _left_out[id(code)][1]


def _unbearable(code: CodeType) -> set[int]:
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
    return found


class Interrupter:
    """Counts the bytecodes of a call, and runs a handler before one of them."""

    def __init__(self, *modules: str) -> None:
        """Counts those of these modules of the package alone, or of all."""
        self._files = {str(_PACKAGE / f"{module}.py") for module in modules}
        self._handler: Callable[[], object] | None = None
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

        def handler() -> None:
            raise error

        try:
            has_run = self.run_handler(call, n, handler)
        except BaseException as caught:
            if caught is error:
                return True
            if self._handler is None or end is None or not isinstance(caught, end):
                raise
            return False
        assert not has_run, f"swallowed: {self.where}"
        return False

    def run_handler(
        self, call: Callable[[], object], n: int, handler: Callable[[], object]
    ) -> bool:
        """Call it, and run the handler before its n-th bytecode. False: it has fewer."""
        self._left, self._handler = n, handler
        gc.disable()  # or callbacks of other packages run meanwhile, which Python lets nobody leave
        try:
            _watch(self.at)
            try:
                call()
            finally:
                _stop()
        finally:
            gc.enable()
        return self._handler is None

    def at(self, code: CodeType, offset: int) -> None:
        """A bytecode is about to run."""
        if offset in left_out(code) or (self._files and code.co_filename not in self._files):
            return
        self._left -= 1
        if self._left == 0:
            self.where = f"{code.co_filename}, {code.co_name}, offset {offset}"
            handler, self._handler = self._handler, None
            assert handler is not None
            _stop()  # the rest is not counted
            handler()


def _is_watched(code: CodeType) -> bool:
    return not code.co_filename.startswith(_HERE)


if sys.version_info >= (3, 12):  # settrace misses bytecodes on 3.13.0
    _TOOL = sys.monitoring.DEBUGGER_ID
    _EVENTS = sys.monitoring.events

    @contextmanager
    def watching() -> Iterator[None]:
        """Bytecodes can be watched meanwhile, those of a function from its second call on."""
        watched = []

        def begun(code: CodeType, offset: int) -> object:
            # Only functions in question: the watchers' own bytecodes would slow them down.
            if _is_watched(code):
                sys.monitoring.set_local_events(_TOOL, code, _EVENTS.INSTRUCTION)
                watched.append(code)
            return sys.monitoring.DISABLE

        sys.monitoring.use_tool_id(_TOOL, "interrupter")
        sys.monitoring.register_callback(_TOOL, _EVENTS.PY_START, begun)
        sys.monitoring.set_events(_TOOL, _EVENTS.PY_START)
        sys.monitoring.restart_events()
        try:
            yield
        finally:
            sys.monitoring.set_events(_TOOL, 0)
            for code in watched:
                sys.monitoring.set_local_events(_TOOL, code, 0)
            sys.monitoring.register_callback(_TOOL, _EVENTS.PY_START, None)
            sys.monitoring.free_tool_id(_TOOL)

    def _watch(at: Callable[[CodeType, int], None]) -> None:
        thread = threading.get_ident()  # events come from all threads

        def reached(code: CodeType, offset: int) -> None:
            if threading.get_ident() == thread:
                at(code, offset)

        sys.monitoring.register_callback(_TOOL, _EVENTS.INSTRUCTION, reached)

    def _stop() -> None:
        sys.monitoring.register_callback(_TOOL, _EVENTS.INSTRUCTION, None)

else:
    watching = nullcontext

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
