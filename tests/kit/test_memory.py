"""The memory of the kit in a long stress run: it is sampled, and its slope is right."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from mutation import REFERENCE
from pubsub_conformance.commands import main
from pubsub_conformance.stress.memory import FEWEST, Memory, Sample, anonymous, slope


def samples(*objects: int, kib: int | None = 500) -> list[Sample]:
    return [Sample(n * 100_000, kib, value) for n, value in enumerate(objects)]


def test_memory_that_does_not_grow_has_no_slope() -> None:
    assert slope(samples(*[500] * 12)) == pytest.approx(0)


def test_memory_that_grows_has_the_slope_of_its_growth() -> None:
    assert slope(samples(*range(0, 1200, 100))) == pytest.approx(1000)  # 100 each 100,000


def test_growth_while_getting_warm_does_not_count() -> None:
    assert slope(samples(0, 4000, 9000, *[9500] * 9)) == pytest.approx(0)


def test_a_short_run_has_no_slope() -> None:
    assert slope(samples(*range(FEWEST - 1))) is None
    assert slope([Sample(0, 500, 500)] * FEWEST) is None


def test_the_summary_has_a_line_for_a_long_run_only() -> None:
    memory = Memory()
    memory.samples = samples(*range(0, 700, 100))
    assert str(memory) == ""
    memory.samples = samples(*range(0, 1200, 100))
    assert str(memory) == (
        "memory of the kit: 300 objects in 500 KiB after a quarter of the run,"
        " 1100 objects in 500 KiB at the end, +1000 objects per million deliveries"
    )
    memory.samples = samples(*[300] * 12, kib=None)  # a system without /proc
    assert str(memory) == (
        "memory of the kit: 300 objects after a quarter of the run, 300 objects at the end,"
        " +0 objects per million deliveries"
    )


def test_a_run_ends_after_so_many_deliveries_and_reports_its_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    options = ["--deliveries", "300", "--seed", "1", "--json", str(report)]
    driver = REFERENCE.command(tmp_path / "mutant")
    assert main(["stress", *options, "--home", str(tmp_path), "--", *driver]) == 0
    found = json.loads(report.read_text())
    assert 300 <= found["receives"] <= found["publishes"] * 6
    assert found["opened"] >= 6
    assert found["memory"]["objects_per_million_deliveries"] is None
    first = found["memory"]["samples"][0]
    assert first["deliveries"] == 0
    assert first["objects"] > 1000
    assert (first["kib"] is None) == (anonymous(os.getpid()) is None)
    assert f"{found['receives']} deliveries" in capsys.readouterr().out
