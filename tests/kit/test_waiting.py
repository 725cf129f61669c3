"""What an interrupt, which comes between any two instructions, must not break."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import pytest
from pubsub_conformance.driver.output import Output
from pubsub_conformance.waiting import Flag, begin, put_off, unfinished

T = TypeVar("T")


class Interrupt(BaseException):
    """Of the handler of a signal."""


def test_an_interrupt_that_is_put_off_comes_at_the_end() -> None:
    passed = []

    def block() -> None:
        with put_off():
            signal.raise_signal(signal.SIGINT)
            with put_off():
                signal.raise_signal(signal.SIGINT)
            passed.append("the rest of the block")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert passed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_ignored() -> None:
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with put_off():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)


class Interrupts:
    """This thread gets a signal 300 times, and is interrupted by it where it may be."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.over = False
        self._may = False

    def __enter__(self) -> Interrupts:
        self._interval = sys.getswitchinterval()
        self._usual = signal.signal(self.number, self._handle)
        self._thread = threading.Thread(target=self._interrupt, args=(threading.get_ident(),))
        sys.setswitchinterval(1e-5)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        sys.setswitchinterval(self._interval)
        signal.signal(self.number, self._usual)

    def _interrupt(self, thread: int) -> None:
        moments = random.Random(1)
        for _ in range(300):
            time.sleep(moments.uniform(1e-6, 1e-3))
            signal.pthread_kill(thread, self.number)
        self.over = True

    def _handle(self, *_: object) -> None:
        if self._may:
            self._may = False
            raise Interrupt

    def during(self, operation: Callable[[], T]) -> T | None:
        """The result of an operation; None if it was interrupted."""
        with suppress(Interrupt):
            self._may = True
            result = operation()
            self._may = False
            return result
        return None


def test_the_output_of_a_driver_is_read_whatever_interrupts_who_asks() -> None:
    out, to_out = os.pipe()
    err, to_err = os.pipe()
    output = Output(out, err, 2**20)

    def ask() -> None:
        for _ in range(100):
            output.line(0)
            output.stderr()
            output.unread()
        output.line(time.monotonic() + 1e-4)

    with Interrupts(signal.SIGUSR1) as interrupts:
        while not interrupts.over:
            os.write(to_out, b"a line\n")
            interrupts.during(ask)
    os.write(to_out, b"the last\n")
    os.close(to_out)
    os.close(to_err)
    while (line := output.line(time.monotonic() + 60)) == b"a line\n":
        pass
    assert line == b"the last\n"
    output.stop(60)
    os.close(out)
    os.close(err)


def test_threads_end_whatever_interrupts_who_waits_for_them() -> None:
    with ThreadPoolExecutor(2) as pool, Interrupts(signal.SIGINT) as interrupts:
        while not interrupts.over:
            flag = Flag()
            jobs = [partial(flag.wait, 1e-4)] * 100
            working = interrupts.during(partial(begin, pool, jobs)) or []
            interrupts.during(flag.set)
            deadline = time.monotonic() + 60
            while interrupts.during(partial(unfinished, working, 1e-3)) != 0:
                assert time.monotonic() < deadline
