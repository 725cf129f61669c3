"""The figures as a page: a chart and a table for each group, drawn as inline SVG by pygal."""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..judge.report.html import VERDICT_CLASS, about_the_machine, render
from ..judge.verdict import Verdict
from .measures import GROUPS, Group
from .report import Benchmark, number

WIDTH = 420  # of a chart, in units of which a phone shows one in a pixel
FRAME, BAR = 70, 34  # the height of a chart, and of each bar in it
# Colours of the page, which knows a light and a dark one of each.
COLORS = tuple(f"var(--chart{number})" for number in range(1, 7))
STYLE = {
    "background": "transparent",
    "plot_background": "transparent",
    "value_background": "transparent",
    "foreground": "var(--ink)",
    "foreground_strong": "var(--ink)",
    "foreground_subtle": "var(--quiet)",
    "guide_stroke_color": "var(--line)",
    "major_guide_stroke_color": "var(--line)",
    "font_family": "system-ui, sans-serif",
    "title_font_size": 14,
    "label_font_size": 12,
    "major_label_font_size": 12,
}


def bench_page(benchmark: Benchmark) -> str:
    """The page of a benchmark."""
    groups = [GROUPS[name] for name in benchmark.plan.groups]
    machine = benchmark.machine
    return render(
        "bench.html",
        benchmark=benchmark,
        names=list(benchmark.plan.contenders),
        verdict_class=VERDICT_CLASS[benchmark.verdict],
        conclusion="measured" if benchmark.verdict is Verdict.CONFORMS else "not all was measured",
        groups=[(group, _charts(benchmark, group)) for group in groups],
        about=[
            *about_the_machine(machine, benchmark.took),
            ("rounds", f"{benchmark.plan.rounds}, in turn"),
            ("timed measurement", f"{benchmark.plan.seconds:g} s"),
            ("processors", f"{machine['processors']} ({machine['processor']})"),
            ("load", f"{machine['load_before']} before, {machine.get('load_after', '?')} after"),
        ],
    )


def _charts(benchmark: Benchmark, group: Group) -> list[Any]:
    """A chart for each figure that was measured: a bar for each contender, from 0 on."""
    charts = []
    for figure in group.figures:
        measured = {
            name: benchmark.values[group.name, figure, name]
            for name in benchmark.plan.contenders
            if benchmark.values.get((group.name, figure, name))
        }
        if measured:
            charts.append(_chart(f"{figure}, {group.unit}", measured))
    return charts


def _chart(title: str, measured: Mapping[str, Sequence[float]]) -> Any:
    """A bar for each contender, its median, and a line from the lowest to the highest round."""
    from markupsafe import Markup

    pygal = _pygal()
    chart = pygal.HorizontalBar(
        style=pygal.style.Style(**STYLE, **_colors(len(measured))),
        js=[],  # by default a page of the web is asked for one
        disable_xml_declaration=True,
        width=WIDTH,
        height=FRAME + BAR * len(measured),
        title=title,
        show_legend=False,
        value_formatter=number,
        min_scale=2,
        max_scale=5,
        truncate_label=-1,
        range=(0, max(map(max, measured.values()))),
    )
    chart.add_xml_filter(_without_scripts)
    bars, labels = [], []
    for (name, rounds), color in zip(measured.items(), itertools.cycle(COLORS), strict=False):
        median = statistics.median(rounds)
        spread = {"low": min(rounds), "high": max(rounds)}
        bars.append({"value": median, "ci": spread, "color": color})
        labels.append(f"{name} {number(median)}")
    # pygal draws the first bar at the bottom.
    chart.x_labels = labels[::-1]
    chart.add("", bars[::-1])
    return Markup(chart.render(is_unicode=True))


def _pygal() -> Any:
    """The library, without the finder of modules that it adds for maps: Python warns of it."""
    import pygal  # type: ignore[import-untyped, import-not-found, unused-ignore]

    sys.meta_path[:] = [each for each in sys.meta_path if type(each).__module__ != "pygal"]
    return pygal


def _colors(bars: int) -> dict[str, Sequence[str]]:
    """Colours of all bars and their texts: pygal cannot compute one from another here."""
    return dict.fromkeys(("colors", "value_colors"), ("var(--ink)",) * bars)


def _without_scripts(svg: Any) -> Any:
    """Remove the script with the chart's configuration, which only pygal's own script reads."""
    for parent in svg.iter():
        for child in [child for child in parent if str(child.tag).endswith("script")]:
            parent.remove(child)
    return svg
