"""The files that a report is written to: tried before the run, written however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from toykit import CLI, HELD, OUTCOMES, PASS_THEN_WAIT, Kit, makes_kits

kit = pytest.fixture(makes_kits)

# What the schemas of Jenkins' xUnit plugin (junit-10.xsd) and of Ant allow, as far as both do: the
# attributes of each element, those that must be there, and its children.
JUNIT: dict[str, tuple[str, str, str]] = {
    "testsuites": ("name time tests failures errors", "", "testsuite"),
    "testsuite": (
        "name tests failures errors skipped time timestamp hostname id package",
        "name tests failures errors time timestamp",
        "properties testcase system-out system-err",
    ),
    "properties": ("", "", "property"),
    "property": ("name value", "name value", ""),
    "testcase": (
        "name classname time",
        "name classname time",
        "skipped error failure system-out system-err",
    ),
    "skipped": ("type message", "", ""),
    "error": ("type message", "type", ""),
    "failure": ("type message", "type", ""),
}


def validate(element: Element) -> None:
    allowed, needed, inside = map(str.split, JUNIT[element.tag])
    assert set(needed) <= {*element.attrib} <= set(allowed), element.attrib
    for child in element:
        assert child.tag in inside
        validate(child)
    if element.tag == "testcase":
        assert len(element) <= 1
    if "time" in element.attrib:
        assert re.fullmatch(r"\d+\.\d{3}", element.attrib["time"])
    if element.tag == "testsuite":
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", element.attrib["timestamp"])
        cases = element.findall("testcase")
        assert element.attrib["tests"] == str(len(cases))
        for count, kind in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
            assert element.attrib[count] == str(len(element.findall(f"testcase/{kind}")))


def junit(toy: Kit) -> Element:
    """The suite in j.xml, which is valid."""
    root = ElementTree.parse(toy.directory / "j.xml").getroot()
    validate(root)
    (suite,) = root
    return suite


def cases(suite: Element) -> dict[tuple[str, str], Element]:
    return {
        (case.attrib["classname"], case.attrib["name"]): case for case in suite.iter("testcase")
    }


FACES = (
    *("--html", "page.html", "--summary", "summary.md", "--badge", "badge.json"),
    *("--annotations", "annotations.txt"),
)


@pytest.mark.parametrize("option", ["--json", "--junit", *FACES[::2]])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("absent/report", "there is no directory absent"),
        (".", "it is a directory"),
        ("/proc/version", "it cannot be written"),
        ("/proc/report", "no file can be made in /proc"),
    ],
)
def test_an_unwritable_output_is_refused_before_the_run(
    kit: Callable[..., Kit], option: str, path: str, reason: str
) -> None:
    if path.startswith("/proc") and (os.geteuid() == 0 or not Path("/proc/version").exists()):
        pytest.skip("needs an ordinary user and /proc")
    toy = kit()
    before = sorted(toy.directory.rglob("*"))
    arguments = ["run", "--json", "good.json", option, path, "--", "touch", "started"]
    result = toy.finish(toy.spawn(["-c", CLI, *arguments]))
    assert (result.code, result.out) == (2, "")
    assert result.err == f"{option} {path}: {reason}\n"
    assert sorted(toy.directory.rglob("*")) == before


def test_a_read_only_directory_is_refused_to_an_ordinary_user(kit: Callable[..., Kit]) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    toy = kit()
    (toy.directory / "closed").mkdir(mode=0o555)
    result = toy.finish(toy.spawn(["-c", CLI, "run", "--json", "closed/a", "--", *toy.driver]))
    assert (result.code, result.err) == (2, "--json closed/a: no file can be made in closed\n")


def test_every_face_shows_the_failures(kit: Callable[..., Kit]) -> None:
    toy = kit()
    assert toy.run(*FACES).code == 1
    page, summary, badge, annotations = ((toy.directory / name).read_text() for name in FACES[1::2])
    assert json.loads(badge)["message"] == "3 failures"
    for name, outcome in OUTCOMES.items():
        assert f'<tr data-outcome="{outcome}">' in page
        seen = outcome in {"fail", "warning", "driver error"}
        assert (f'<article class="failure" id="{name}">' in page) == seen
        assert (f"<details><summary>{name} " in summary) == seen
        assert (f"title={name} " in annotations) == seen


def test_a_page_needs_the_whole_extra(kit: Callable[..., Kit]) -> None:
    toy = kit()
    (toy.directory / "bare.py").write_text(
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'pygal' else find(name)\n"
    )
    for command in ("run", "matrix", "bench"):
        driver = ["--", "touch", "started"] if command == "run" else ["a=touch started"]
        arguments = [command, "--html", "page.html", *driver]
        result = toy.finish(toy.spawn(["-c", f"import bare\n{CLI}", *arguments]))
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            "--html page.html: pygal is not installed: pip install 'pubsub-conformance[html]'\n"
        )
        assert not (toy.directory / "started").exists()


@pytest.mark.parametrize("command", ["stress", "soak", "faults", "fuzz", "matrix", "bench"])
def test_every_command_refuses_before_it_starts_a_driver(
    kit: Callable[..., Kit], command: str
) -> None:
    toy = kit()
    driver = ["a=touch started"] if command in {"matrix", "bench"} else ["--", "touch", "started"]
    result = toy.finish(toy.spawn(["-c", CLI, command, "--json", "absent/a.json", *driver]))
    assert (result.code, result.out) == (2, "")
    assert result.err == "--json absent/a.json: there is no directory absent\n"
    assert not (toy.directory / "started").exists()


def test_two_outputs_in_one_file_are_refused(kit: Callable[..., Kit]) -> None:
    result = kit().run("--junit", "./report.json")
    assert (result.code, result.report) == (2, None)
    assert "--json and --junit name the same file" in result.err


def test_a_report_goes_into_a_pipe(kit: Callable[..., Kit]) -> None:
    """It is not opened before the report is written: its reader would see the end of it."""
    toy = kit()
    os.mkfifo(toy.directory / "j.xml")
    process = toy.start_run("--requirement", "PUB-8", "--junit", "j.xml")
    text = (toy.directory / "j.xml").read_text()
    assert toy.finish(process).code == 0
    assert text.startswith("<?xml")
    assert text.endswith("</testsuites>\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_keeps_no_other(kit: Callable[..., Kit]) -> None:
    toy = kit()
    outputs = ["--requirement", "PUB-8", "--json", "/dev/full", "--junit", "j.xml"]
    result = toy.finish(toy.spawn(["-c", CLI, "run", *outputs, "--", *toy.driver]))
    assert result.code == 2
    assert result.err.startswith("--json: [Errno 28]")
    assert junit(toy).attrib["tests"] == "2"


def test_an_output_whose_writer_crashes_keeps_no_other(kit: Callable[..., Kit]) -> None:
    toy = kit()
    with (toy.directory / "toy.py").open("a") as file:
        file.write("from pubsub_conformance.judge.report import junit\ndel junit.as_text\n")
    selected = ["--requirement", "PUB-8", "--junit", "j.xml", "--summary", "s.md"]
    result = toy.finish(toy.spawn(["-c", CLI, "run", *selected, "--", *toy.driver]))
    assert result.code == 2
    assert result.err.startswith("--junit: Traceback")
    assert (toy.directory / "s.md").read_text()


def test_a_driver_that_is_missing_leaves_every_output(kit: Callable[..., Kit]) -> None:
    toy = kit()
    outputs = ["--json", "report.json", "--junit", "j.xml", *FACES]
    result = toy.finish(toy.spawn(["-c", CLI, "run", *outputs, "--", "./absent"]))
    assert (result.code, result.outcomes) == (2, {})
    (problem,) = result.report["problems"]
    assert problem.startswith("the handshake with the driver failed\n")
    assert "absent" in problem
    (case,) = junit(toy).iter("testcase")
    (error,) = case
    assert (error.tag, error.text) == ("error", problem)
    assert "./absent could not be judged" in result.out
    for name in FACES[1::2]:
        assert "judged" in (toy.directory / name).read_text(), name


def test_ctrl_c_leaves_every_output(
    kit: Callable[..., Kit], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = kit(f'{PASS_THEN_WAIT}    driver.publish("a"){HELD}')
    process, _ = toy.start_held(monkeypatch, "--junit", "j.xml")
    os.killpg(process.pid, signal.SIGINT)
    result = toy.finish(process)
    assert result.code == 2
    assert result.report["interrupted"]
    assert ("publish.PUB-1", "test_toy.py::test_pass") in cases(junit(toy))


def test_a_crash_of_the_kit_leaves_every_output(kit: Callable[..., Kit]) -> None:
    toy = kit()
    with (toy.directory / "toy.py").open("a") as file:
        file.write("def pytest_runtest_protocol(item): raise RuntimeError('all is lost')\n")
    result = toy.run("--junit", "j.xml")
    assert result.code == 2
    assert "all is lost" in result.report["problems"][0]
    assert "all is lost" in str(next(junit(toy).iter("error")).text)


def test_junit_has_a_case_for_each_test_of_each_requirement(kit: Callable[..., Kit]) -> None:
    toy = kit()
    result = toy.run("--seed", "7", "--junit", "j.xml")
    suite = junit(toy)
    assert suite.attrib["name"] == "pubsub-conformance"
    found = cases(suite)
    for entry in result.report["requirements"]:
        for test in entry["tests"]:
            assert (f"publish.{entry['id']}", test["name"]) in found
    kinds = {
        key: (case[0].tag, case[0].attrib["type"]) if len(case) else None
        for key, case in found.items()
    }
    assert kinds == {
        ("publish.PUB-1", "test_toy.py::test_pass"): None,
        ("publish.PUB-1", "test_toy.py::test_fail"): ("failure", "fail"),
        ("publish.PUB-2", "test_toy.py::test_fail"): ("failure", "fail"),
        ("publish.PUB-3", "test_toy.py::test_refused"): ("skipped", "warning"),
        ("publish.PUB-4", "test_toy.py::test_of_another_role"): ("skipped", "not applicable"),
        ("publish.PUB-5", "test_toy.py::test_crash"): ("error", "driver error"),
        ("publish.PUB-6", "test_toy.py::test_impossible"): ("skipped", "not run"),
        ("publish.PUB-7", "PUB-7"): ("skipped", "untested"),
        ("publish.PUB-8", "test_toy.py::test_one_side"): None,
        ("publish.PUB-8", "test_toy.py::test_other_side"): ("skipped", "not applicable"),
        ("publish.PUB-9", "test_toy.py::test_fails_too"): ("failure", "fail"),
        ("publish.PUB-9", "test_toy.py::test_crashes_too"): ("error", "driver error"),
    }
    (failure,) = found["publish.PUB-2", "test_toy.py::test_fail"]
    text = failure.text or ""
    for words in (
        "PUB-2: It MUST fail.\n(publish.md)",
        "Two channels take the message.",
        "\nfound\n",
        '> {"seq": 2, "op": "publish", "topic": "a"',
        '< {"seq": 2, "count": 1}',
        "pubsub-conformance run --requirement PUB-2 --seed 7 -- ",
    ):
        assert words in text
    assert failure.attrib["message"] in text.partition("\nfound\n")[2]


def test_junit_of_expected_failures(kit: Callable[..., Kit]) -> None:
    toy = kit()
    listed = "".join(
        f'[[expected]]\nrequirement = "{name}"\nreason = "known"\n' for name in ("PUB-2", "PUB-8")
    )
    (toy.directory / "expected.toml").write_text(listed)
    selected = ("--requirement=PUB-2", "--requirement=PUB-8", "--expected=expected.toml")
    toy.run(*selected, "--junit", "j.xml")
    found = cases(junit(toy))
    (expected,) = found["publish.PUB-2", "test_toy.py::test_fail"]
    assert expected.attrib == {"type": "expected failure", "message": "expected failure: known"}
    (unexpected,) = found["publish.PUB-8", "test_toy.py::test_one_side"]
    assert (unexpected.tag, unexpected.attrib["type"]) == ("failure", "unexpected pass")
    assert "known" in (unexpected.text or "")


def test_what_xml_forbids_is_escaped(kit: Callable[..., Kit]) -> None:
    suite = r"""
import pytest

@pytest.mark.requirement("PUB-1")
def test_odd(driver):
    "An \x1b and a \ufffe."
    raise AssertionError("\x00 \udcff \x1b[0m < & ]]> \U0001f600")
"""
    toy = kit(suite)
    toy.run("--requirement=PUB-1", "--junit", "j.xml")
    (failure,) = cases(junit(toy))["publish.PUB-1", "test_toy.py::test_odd"]
    text = failure.text or ""
    assert r"\x00 \udcff \x1b[0m < & ]]> " + "\U0001f600" in text
    assert r"An \x1b and a \ufffe." in text


def test_a_crash_before_the_first_test_leaves_every_output(kit: Callable[..., Kit]) -> None:
    toy = kit()
    with (toy.directory / "toy.py").open("a") as file:
        file.write(
            "from pubsub_conformance.plugin import collector\ndel collector.Collector.judge\n"
        )
    result = toy.run("--junit", "j.xml")
    assert result.code == 2
    (problem,) = result.report["problems"]
    assert "AttributeError" in problem
    assert (junit(toy).attrib["errors"], junit(toy).attrib["tests"]) == ("1", "1")


@pytest.mark.parametrize("command", ["fuzz", "matrix", "bench"])
def test_other_commands_leave_the_reason_too(kit: Callable[..., Kit], command: str) -> None:
    toy = kit()
    driver = ["--", "./absent"] if command == "fuzz" else ["a=./absent"]
    outputs = ["--json", "a.json", "--summary", "a.md"]
    pages = [] if command == "fuzz" else ["a.html"]
    outputs += [word for page in pages for word in ("--html", page)]
    result = toy.finish(toy.spawn(["-c", CLI, command, *outputs, *driver]))
    assert result.code == 2
    report = json.loads((toy.directory / "a.json").read_text())
    assert report["exit"] == 2
    written = ((toy.directory / name).read_text() for name in ("a.md", *pages))
    for text in (*report["problems"], *written, result.err):
        assert "./absent cannot be started" in text


def test_the_report_of_a_driver_that_does_not_start_comes_at_once(kit: Callable[..., Kit]) -> None:
    """Before pytest and all that the tests need is imported."""
    program = (
        "import sys\nfrom pubsub_conformance.commands import main\ncode = main()\n"
        "assert not {'pytest', 'hypothesis', 'xdist'} & sys.modules.keys()\nsys.exit(code)"
    )
    toy = kit()
    result = toy.finish(toy.spawn(["-c", program, "run", "--", sys.executable, "absent.py"]))
    assert result.code == 2
    assert "absent.py" in result.out
