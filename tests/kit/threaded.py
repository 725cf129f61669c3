"""The reference's driver, or a mutant's, beside threads such as other run times have.

    python threaded.py MODE DRIVER

The modes are
- naps: a thread naps for 20 µs, again and again, as the monitor of a run time does;
- relays: each request is handed to a fresh thread, as run times with light threads do;
- wakes: a thread wakes up sixty times at the begin of each request, and then sleeps until the next,
  as Go's monitor does when a call blocks.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

NAP_SECONDS = 20e-6
WAKE_UPS = 60


def load(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.parent))  # a mutant finds the pubsub beside it
    spec = importlib.util.spec_from_file_location("driver", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nap(times: int) -> None:
    for _ in range(times):
        time.sleep(NAP_SECONDS)


def naps(driver: ModuleType) -> None:
    threading.Thread(target=nap, args=[sys.maxsize], daemon=True).start()


def relays(driver: ModuleType) -> None:
    answer: Callable[..., None] = driver.Driver.answer

    def relay(*args: Any) -> None:
        errors: list[BaseException] = []

        def work() -> None:
            try:
                answer(*args)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)  # SIGTERM does not wait for it
        thread.start()
        thread.join()
        if errors:
            raise errors[0]

    driver.Driver.answer = relay


def wakes(driver: ModuleType) -> None:
    answer: Callable[..., None] = driver.Driver.answer
    begun = threading.Event()

    def monitor() -> None:
        while begun.wait():
            begun.clear()
            nap(WAKE_UPS)

    def watched(*args: Any) -> None:
        begun.set()
        answer(*args)

    threading.Thread(target=monitor, daemon=True).start()
    driver.Driver.answer = watched


MODES = {mode.__name__: mode for mode in (naps, relays, wakes)}


def main() -> None:
    mode, path = sys.argv[1:]
    driver = load(Path(path))
    MODES[mode](driver)
    try:
        driver.main()
    except SystemExit:  # SIGTERM
        atexit._run_exitfuncs()
        os._exit(0)  # a thread at work may hold stdout


if __name__ == "__main__":
    main()
