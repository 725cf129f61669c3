"""Each alternative delivers what was published, and is measured. No figure is ever asserted."""

from __future__ import annotations

import json
import os
import shlex
import sys
import zlib
from pathlib import Path

import compare
import pytest
from pubsub_conformance.bench.measures import GROUPS
from pubsub_conformance.driver import Driver
from pubsub_conformance.driver.produced import content_of, identity_of

SMALL = {"pipe", "posix"}
"""They have no room for all that is published before it is fetched."""


@pytest.fixture(params=compare.ALTERNATIVES)
def command(request: pytest.FixtureRequest) -> list[str]:
    """The command of an alternative that is installed."""
    if reason := compare.ALTERNATIVES[request.param].missing():
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return compare.command(request.param)


def test_messages_arrive_as_they_were_published(command: list[str], tmp_path: Path) -> None:
    with Driver(command, tmp_path) as publisher, Driver(command, tmp_path) as subscriber:
        channel = subscriber.open("a")
        while not subscriber.consume(channel, count=1, idle=0.05).finish().messages:
            publisher.produce("a", "connecting", 1, [0]).finish()  # some need a while to connect
        subscriber.consume(channel, idle=0.1).finish()
        publisher.produce("a", "p", 3, [0, 2000]).finish()
        received = list(subscriber.consume(channel, count=3, idle=10))
        contents = [content_of("p", n, [0, 2000]) for n in range(3)]
        assert [identity_of(message.headers) for message in received] == [
            ("p", n) for n in range(3)
        ]
        assert [message.topic for message in received] == ["a"] * 3
        assert [message.size for message in received] == [len(each) for each in contents]
        assert [message.crc for message in received] == [zlib.crc32(each) for each in contents]
        subscriber.close_channel(channel)


@pytest.fixture
def reference() -> str:
    driver = Path(__file__).parents[1] / "implementations/reference/driver.py"
    return f"reference={shlex.join([sys.executable, str(driver)])}"


def test_alternatives_are_measured_beside_an_implementation(
    reference: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    file = tmp_path / "report.json"
    options = ["--rounds", "1", "--seconds", "0.01", "--json", str(file)]
    code = compare.main([*options, reference])
    output = capsys.readouterr().out
    assert code == 0, output
    groups = json.loads(file.read_text())["groups"]
    for name, module in compare.ALTERNATIVES.items():
        if reason := module.missing():
            assert f"{name} is not measured: {reason}" in output
            continue
        for group, report in groups.items():
            measured = {figure for figure, values in report["figures"].items() if name in values}
            due = {*GROUPS[group].figures} if group != "foreign" else set()
            if name in SMALL and group not in {"throughput", "latency"}:
                assert measured <= due, group
            else:
                assert measured == due, group
    assert all("reference" in values for values in groups["foreign"]["figures"].values())


@pytest.mark.parametrize(("ci", "code"), [(False, 0), (True, 2)])
def test_missing_alternative_is_left_out_and_an_error_under_ci(
    ci: bool,
    code: int,
    reference: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in compare.ALTERNATIVES.values():
        monkeypatch.setattr(module, "missing", lambda: "gone")
    monkeypatch.delenv("CI", raising=False)
    if ci:
        monkeypatch.setenv("CI", "true")
    assert compare.main(["--rounds", "1", "--only", "first", reference]) == code
    assert "zeromq is not measured: gone" in capsys.readouterr().out
