from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from pubsub.ids import next_id


def test_ids_rise_while_the_clock_does_not(monkeypatch: pytest.MonkeyPatch) -> None:  # PUB-2
    ids = [next_id()]
    now = time.time_ns()
    for step in (0, 0, 0, -(10**9), -(10**12), 10**9, 0):
        monkeypatch.setattr(time, "time_ns", lambda step=step: now + step)
        ids += [next_id() for _ in range(3)]
    monkeypatch.undo()
    assert ids == sorted(set(ids))
    assert all(2**56 <= id < 2**63 for id in ids)


def test_threads_never_share_an_id() -> None:
    together = threading.Barrier(4)

    def take(_: int) -> list[int]:
        together.wait()
        return [next_id() for _ in range(2000)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(take, range(4)))
    ids = list(chain(*found))
    assert len(set(ids)) == len(ids) == 8000
    assert all(some == sorted(some) for some in found)
