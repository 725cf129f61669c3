"""The pages in headless Chromium, as a reader has them: `tox run -e pages`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pubsub_conformance.bench.page import bench_page
from pubsub_conformance.judge.outcome import Outcome
from pubsub_conformance.judge.report.html import run_page
from pubsub_conformance.matrix.page import matrix_page
from pubsub_conformance.matrix.report import Result
from test_pages import HOSTILE, benchmark_of, matrix_of, report_of, result_of
from toykit import SUITE, makes_kits

pytest.importorskip("selenium", reason="the environment `pages` installs selenium")
from selenium import webdriver  # type: ignore[import-not-found, unused-ignore]
from selenium.webdriver.common.keys import (  # type: ignore[import-not-found, unused-ignore]
    Keys,
)

BROWSERS = ("google-chrome", "chromium", "chromium-browser")
FLAGS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PHONE, DESK = (400, 800), (1280, 900)
PAGES = ("passing", "failing", "command", "matrix", "bench")

# The least contrast of a text with its background (WCAG), of all texts that are shown.
CONTRAST = """
const channels = (color) => color.match(/[\\d.]+/g).map(Number);
const luminance = (color) => channels(color).slice(0, 3)
  .map((value) => value / 255)
  .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
const background = (element) => {
  const color = getComputedStyle(element).backgroundColor;
  return (channels(color)[3] ?? 1) === 1 ? color : background(element.parentElement);
};
let least = [21, ""];
for (const element of document.querySelectorAll("body *")) {
  const text = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE)
    .map((node) => node.data.trim()).join("");
  if (!text || !element.checkVisibility()) continue;
  const style = getComputedStyle(element);
  const color = element.closest("svg") ? style.fill : style.color;
  const [low, high] = [color, background(element)].map(luminance).sort((a, b) => a - b);
  const ratio = (high + 0.05) / (low + 0.05);
  if (ratio < least[0]) least = [ratio, text];
}
return least;
"""


class Browser(NamedTuple):
    """Chromium, and the directory with the pages."""

    driver: Any
    directory: Path

    def open(self, name: str, size: tuple[int, int] = DESK, theme: str = "light") -> None:
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.command("Emulation.setDeviceMetricsOverride", **metrics, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.driver.get((self.directory / f"{name}.html").as_uri())

    def command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def shown(self, selector: str) -> list[Any]:
        found = self.driver.find_elements("css selector", selector)
        return [element for element in found if element.is_displayed()]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        events = [json.loads(entry["message"]) for entry in self.driver.get_log("performance")]
        messages = [event["message"] for event in events]
        asked = [each for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in asked]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    directory = tmp_path_factory.mktemp("pages")
    failures = [result_of(f"PUB-{number}", Outcome.FAIL, HOSTILE * 9) for number in (1, 2)]
    others = [
        result_of(f"MSG-{number}", outcome)
        for number, outcome in enumerate(Outcome, start=1)
        if outcome is not Outcome.FAIL
    ]
    known = Result("full", Outcome.EXPECTED_FAILURE, reason=HOSTILE, expected="issue 12", done="x")
    made = {
        "passing": run_page(report_of(result_of("PUB-1", Outcome.PASS))),
        "failing": run_page(report_of(*failures, *others, name=HOSTILE)),
        "matrix": matrix_page(matrix_of(known)),
        "bench": bench_page(benchmark_of()),
    }
    for name, text in made.items():
        (directory / f"{name}.html").write_text(text, encoding="utf-8")
    # One that the command line makes, of a driver that is up to something.
    toy = makes_kits(tmp_path_factory.mktemp("toy"))(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_VERSION", HOSTILE)
        assert toy.run("--html", str(directory / "command.html")).code == 1
    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    for flag in (*FLAGS, *sandbox, f"--user-data-dir={directory / 'user'}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    driver.get("about:blank")  # the browser's own first page asks for its parts
    yield Browser(driver, directory)
    driver.quit()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_readable(browser: Browser, name: str, theme: str, size: tuple[int, int]) -> None:
    browser.requests()
    browser.open(name, size, theme)
    assert browser.driver.get_log("browser") == []
    addresses = [address for address in browser.requests() if not address.startswith("data:")]
    assert addresses == [browser.driver.current_url]
    width, scrolled = browser.driver.execute_script(
        "const page = document.documentElement; return [page.clientWidth, page.scrollWidth]"
    )
    assert scrolled <= width
    verdict = browser.find("h1 .words")
    assert verdict.is_displayed()
    assert verdict.rect["y"] + verdict.rect["height"] < size[1]
    ratio, text = browser.driver.execute_script(CONTRAST)
    assert ratio >= 4.5, text


def test_requirements_are_filtered_by_outcome_and_text(browser: Browser) -> None:
    browser.open("failing")
    rows = "[data-outcome]"
    everything = len(browser.shown(rows))
    assert everything == len(Outcome) + 1
    browser.find("button[value='fail']").send_keys(Keys.ENTER)
    assert [row.get_attribute("data-outcome") for row in browser.shown(rows)] == ["fail"] * 2
    assert browser.find(".filter output").text == f"2 of {everything} shown"
    search = browser.find("input[type=search]")
    search.send_keys("pub-2")
    (row,) = browser.shown(rows)
    assert "PUB-2" in row.text
    search.clear()
    search.send_keys("no such text")
    assert browser.shown(rows) == []
    assert browser.shown("table.requirements") == []
    search.clear()
    search.send_keys(" ")
    browser.find("button[value='']").send_keys(Keys.SPACE)
    assert len(browser.shown(rows)) == everything


def test_a_link_of_the_table_leads_to_the_failure(browser: Browser) -> None:
    browser.open("failing")
    browser.find("[data-outcome='fail'] a").click()
    failure = browser.find("article:target")
    assert failure.text.startswith("PUB-1")
    assert (
        "pubsub-conformance run --requirement PUB-1"
        in failure.find_element("css selector", ".command pre").text
    )


def test_a_command_is_copied(browser: Browser) -> None:
    browser.open("failing")
    browser.find("#PUB-1 .copy").click()
    selected = browser.driver.execute_script("return getSelection().toString()")
    assert selected.startswith("pubsub-conformance run --requirement PUB-1")


def test_details_are_open_for_the_printer(browser: Browser) -> None:
    browser.open("failing")
    closed = "return document.querySelectorAll('details:not([open])').length"
    before = browser.driver.execute_script(closed)
    assert before
    browser.driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.driver.execute_script(closed) == 0
    browser.driver.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.driver.execute_script(closed) == before


def test_without_scripts_the_page_is_complete(browser: Browser) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open("failing")
        assert browser.shown(".filter") == []
        assert len(browser.shown("[data-outcome]")) == len(Outcome) + 1
        assert browser.find("#PUB-1 .command pre").is_displayed()
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)
