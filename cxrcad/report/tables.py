"""A table with its renderers; figures, subgroups and comparisons as tables, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

from cxrcad.evaluation.bootstrap import Comparison, Interval
from cxrcad.evaluation.froc import RATES, Operating
from cxrcad.evaluation.metrics import rate_name
from cxrcad.evaluation.published import Percent
from cxrcad.evaluation.records import FoldResult
from cxrcad.evaluation.segmentation import SegmentedFold
from cxrcad.evaluation.statistics import Spread
from cxrcad.evaluation.subgroups import STRATUM_RATES, Stratum


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first of each row names it. Rendered as text, as Markdown, and in HTML pages.

    In a `grouped` table the first column names the row's group and the second names the row. HTML is made by the macro
    `table` of templates/parts.html.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    grouped: bool = False

    def text(self, layout: str) -> list[str]:
        """Head and rows as lines; `layout` places the cells of a row, as in "{:<20} {:>7}"."""
        return [layout.format(*row).rstrip() for row in (self.columns, *self.rows)]

    def markdown(self) -> list[str]:
        """The lines of a Markdown table whose columns are padded to one width."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        layout = "| " + " | ".join(f"{{:<{width}}}" for width in widths) + " |"
        head, *body = self.text(layout)
        return [head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body]

    @property
    def head(self) -> Sequence[str]:
        """The columns above the groups."""
        return self.columns[1:] if self.grouped else self.columns

    @property
    def groups(self) -> dict[str, list[Sequence[str]]]:
        """The rows by group, in order, without the group's name; under "" where they are not grouped."""
        if not self.grouped:
            return {"": list(self.rows)}
        groups: dict[str, list[Sequence[str]]] = {}
        for group, *row in self.rows:
            groups.setdefault(group, []).append(row)
        return groups

    def without(self, *names: str) -> Table:
        """The table without the columns of these names."""
        kept = [place for place, name in enumerate(self.columns) if name not in names]
        rows = tuple(tuple(row[place] for place in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[place] for place in kept), rows=rows)

    def constants(self) -> dict[str, str]:
        """The columns that say the same in every one of several rows, and what they say."""
        if len(self.rows) < 2:
            return {}
        named = len(self.columns) - len(self.head) + 1
        columns = list(zip(self.columns, *self.rows, strict=True))[named:]
        return {name: cells[0] for name, *cells in columns if len(set(cells)) == 1}


CURVE = ("sensitivity at", "CPM")
"""What the names of figures begin with that a curve may be too short for."""

LOWER_BOUND = " (lower bound: the curve ends before 8)"
NO_CPM = (
    "the curve ends below 1/8 false positive per image; if the boxes were cut at a threshold, write them again with "
    "`cxrcad detect --min-score 0`"
)
COUNTS = ("false positives", "lung HD95", "localisation error")
"""What the names of figures begin with that are no parts of 1: they are printed as they are, others in percent."""


SHOWN = {"false positives an image": "false positives per image"}
"""Names of figures that written files keep, and what they are called where they are printed."""


def figure_shown(name: str, value: float | None) -> str:
    """A figure as it is printed: in percent, or as a number; what the curve does not reach is said so."""
    if value is None:
        return "not reached" if name.startswith(CURVE) else "undefined"
    return f"{value:.2f}" if name.startswith(COUNTS) else f"{100 * value:.1f} %"


NAMED = 10
"""Images that a line names; of more it tells the number."""


def interval_shown(name: str, interval: Interval) -> str:
    """The interval in brackets, in the figure's unit; empty where there is none."""
    return interval.bounds(2) if name.startswith(COUNTS) else interval.bounds(1, 100)


def spread_shown(found: Spread | None) -> str:
    """Mean and standard deviation of a part of 1, in percent."""
    if found is None:
        return "undefined"
    return str(Percent(100 * found.mean, None if found.sd is None else 100 * found.sd))


def not_a_test(results: Sequence[FoldResult | SegmentedFold]) -> list[str]:
    """A line on the scored images that stand in the models' training lists, teachers' among them; none without any."""
    seen = [name for result in results for name in result.trained_on]
    more = f" and {len(seen) - NAMED} more" if len(seen) > NAMED else ""
    words = f"NOT A TEST: {len(seen)} of the scored images stand in the model's training list"
    return [f"{words}: {', '.join(seen[:NAMED])}{more}"] if seen else []


def false_positive_places(counts: Operating) -> str:
    """How many false positives lie inside and outside the lung fields, and in images without a lung mask."""
    elsewhere = counts.fp - counts.fp_in_lung - counts.fp_outside_lung
    places = f"{counts.fp_in_lung} inside the lung fields, {counts.fp_outside_lung} outside"
    return places + (f", {elsewhere} in images without a lung mask" if elsewhere else "")


def figures_text(intervals: Mapping[str, Interval], resamples: int) -> str:
    """A line a figure with its 95 % interval; undefined figures (no normals, no lung task) are left out."""
    title = f"Figures, brackets hold the 95 % bootstrap interval ({resamples:,} resamples of the images)"
    title = title if resamples else "Figures (no bootstrap intervals: --resamples 0)"
    wilson = "; that of recall is Wilson's" if "recall" in intervals else ""
    lines = figures_table({"": intervals}).text("  {:<39} {:>11}  {}")
    return "\n".join([title + wilson, *lines[1:]]) + "\n"


def figures_table(intervals_by_run: Mapping[str, Mapping[str, Interval]]) -> Table:
    """A row a figure: value and interval, in one cell where there are several runs.

    Figures that no run defines are left out, but for those that a curve is too short for.
    """
    runs = intervals_by_run.values()
    rows = []
    for name in next(iter(runs)):
        if all(run[name].value is None for run in runs) and not name.startswith(CURVE):
            continue
        cells = [
            (figure_shown(name, run[name].value), interval_shown(name, run[name]) + _cpm_note(name, run))
            for run in runs
        ]
        rows.append(
            (SHOWN.get(name, name), *(cells[0] if len(cells) == 1 else (" ".join(cell).rstrip() for cell in cells)))
        )
    columns = ("value", "95 % interval") if len(runs) == 1 else intervals_by_run
    return Table(("figure", *columns), rows)


def _cpm_note(name: str, intervals: Mapping[str, Interval]) -> str:
    if name != "CPM":
        return ""
    if intervals["CPM"].value is None:
        return NO_CPM
    return LOWER_BOUND if intervals[f"sensitivity at {RATES[-1]:g}"].value is None else ""


def subgroups_table(strata: Sequence[Stratum]) -> Table:
    """A row for each subgroup, by kind: recall at the threshold with its interval, sensitivity at the rates."""
    rates = tuple(f"at {rate_name(rate)}" for rate in STRATUM_RATES)
    columns = ("kind", "subgroup", "nodules", "recall, %", *rates, "images", "false positives per image")
    rows = []
    for one in strata:
        recall = f"{100 * one.recall:5.1f} {Interval(one.recall, *one.interval).bounds(1, 100)}"
        reached = ("-" if value is None else f"{100 * value:.1f}" for value in one.sensitivities)
        counts = (str(one.n_images), "-" if one.fp_per_image is None else f"{one.fp_per_image:.2f}")
        rows.append((one.kind, one.name, str(one.n_nodules), recall, *reached, *counts))
    return Table(columns, rows, grouped=True)


def strata_text(strata: Sequence[Stratum]) -> str:
    """A line a stratum: nodules, recall at the threshold with Wilson's interval, sensitivity at 1/4 ... 4."""
    table = subgroups_table(strata).without("images", "false positives per image")
    columns = ("", "", *table.columns[2:])
    lines = replace(table, columns=columns).text("  {:<11} {:<20} {:>7}  {:<21}" + "  ".join(["{:>6}"] * 5))
    title = (
        "Subgroups: recall [Wilson's 95 % interval] at the threshold, then sensitivity, %, at false positives per image"
    )
    missing = any(value is None for one in strata for value in one.sensitivities)
    legend = ["  -: the curve does not reach that rate"] if missing else []
    return "\n".join([title, *lines, *legend]) + "\n"


def comparison_text(comparison: Mapping[str, Comparison], names: tuple[str, str], resamples: int) -> str:
    """A line a figure: both runs, first less second with its paired 95 % interval, p of the permutation test."""
    table = comparison_table(comparison)
    lines = replace(table, columns=("", *table.columns[1:4], "", "p")).text("{:<39} {:>11} {:>11} {:>11}  {:<16} {:>6}")
    head = [f"First: {names[0]}", f"Second: {names[1]}", *comparison_words(resamples)]
    return "\n".join([*head, "", *lines]) + "\n"


def comparison_words(resamples: int) -> tuple[str, ...]:
    """What the columns of a comparison are, in lines."""
    return (
        f"Difference: first less second, in points of percent or as the figure; paired bootstrap, {resamples:,}",
        f"resamples of the images, brackets hold 95 %. p: two-sided permutation test, {resamples:,} draws. One p in",
        "twenty is below 0.05 by chance alone: name the figure before you look.",
    )


def comparison_table(comparison: Mapping[str, Comparison]) -> Table:
    """A row a figure: both runs, the difference with its interval, p; figures that neither run defines are left out."""
    rows = []
    for name, one in comparison.items():
        if one.first is None and one.second is None:
            continue
        difference = one.difference
        scale, decimals = (1, 2) if name.startswith(COUNTS) else (100, 1)
        shown = Interval(difference.value).shown(decimals, scale, sign="+")
        p = "" if one.p is None else f"{one.p:.4f}"
        sides = figure_shown(name, one.first), figure_shown(name, one.second)
        rows.append((SHOWN.get(name, name), *sides, shown, interval_shown(name, difference), p))
    return Table(("figure", "first", "second", "difference", "95 % interval", "p"), rows)


def seeds_text(values: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """A line a figure: mean and standard deviation (n - 1) over runs that differ by their seed; undefined left out."""
    lines = [f"Seeds: mean ± standard deviation (n - 1) over {len(names)} runs ({', '.join(names)})"]
    for name, found in values.items():
        if any(math.isnan(value) for value in found):
            continue
        scale, decimals, unit = (1, 2, "") if name.startswith(COUNTS) else (100, 1, " %")
        mean, deviation = scale * fmean(found), scale * stdev(found)
        lines.append(f"  {SHOWN.get(name, name):<39} {mean:.{decimals}f} ± {deviation:.{decimals}f}{unit}")
    return "\n".join(lines) + "\n"


def figures_document(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """The figures as JSON: value, low and high by name, each null where undefined."""
    return {name: asdict(interval) for name, interval in intervals.items()}


def strata_document(strata: Sequence[Stratum]) -> list[dict[str, Any]]:
    """The strata as JSON, sensitivities by rate."""
    return [
        {
            **{name: getattr(one, name) for name in ("kind", "name", "n_images", "n_nodules", "hits", "recall")},
            "interval": list(one.interval),
            "fp_per_image": one.fp_per_image,
            "sensitivities": [
                {"fp_per_image": rate, "sensitivity": value}
                for rate, value in zip(STRATUM_RATES, one.sensitivities, strict=True)
            ],
        }
        for one in strata
    ]
