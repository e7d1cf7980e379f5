"""Figures, strata and comparisons as text tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

from cxrcad.evaluation.bootstrap import Comparison, Interval
from cxrcad.evaluation.froc import RATES
from cxrcad.evaluation.metrics import rate_name
from cxrcad.evaluation.subgroups import STRATUM_RATES, Stratum

__all__ = [
    "comparison_text",
    "figure_shown",
    "figures_document",
    "figures_text",
    "interval_shown",
    "seeds_text",
    "strata_document",
    "strata_text",
]

NOT_REACHED = "not reached"
COUNTS = ("false positives", "lung HD95", "localisation error")
"""What the names of figures begin with that are no parts of 1: they are printed as they are, others in percent."""


def figure_shown(name: str, value: float | None) -> str:
    """A figure as it is printed: in percent, or as a number; a sensitivity without value was not reached."""
    if value is None:
        return NOT_REACHED if name.startswith("sensitivity at") else "undefined"
    return f"{value:.2f}" if name.startswith(COUNTS) else f"{100 * value:.1f} %"


def interval_shown(name: str, interval: Interval) -> str:
    """The interval in brackets, in the figure's unit; empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    scale, decimals = (1, 2) if name.startswith(COUNTS) else (100, 1)
    low, high = (round(scale * bound, decimals) + 0.0 for bound in (interval.low, interval.high))  # + 0.0: no -0.0
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def figures_text(intervals: Mapping[str, Interval], resamples: int) -> str:
    """A line a figure with its 95 % interval; undefined figures (no normals, no lung task) are left out."""
    lines = [_title(resamples)]
    for name, interval in intervals.items():
        if interval.value is None and not name.startswith("sensitivity at"):
            continue
        bound = " (lower bound: the curve ends before 8)" if name == "CPM" and _ends_before(intervals) else ""
        shown = f"{figure_shown(name, interval.value):>11}  {interval_shown(name, interval)}{bound}".rstrip()
        lines.append(f"  {name:<39} {shown}")
    return "\n".join(lines) + "\n"


def _title(resamples: int) -> str:
    if not resamples:
        return "Figures (no intervals: --resamples 0)"
    return f"Figures, brackets hold the 95 % bootstrap interval ({resamples:,} resamples of the images)"


def _ends_before(intervals: Mapping[str, Interval]) -> bool:
    return intervals[f"sensitivity at {RATES[-1]:g}"].value is None


def strata_text(strata: Sequence[Stratum]) -> str:
    """A line a stratum: nodules, recall at the threshold with Wilson's interval, sensitivity at 1/4 ... 4."""
    rates = "  ".join(f"{'at ' + rate_name(rate):>6}" for rate in STRATUM_RATES)
    lines = [
        "Strata: recall at the threshold [Wilson's 95 % interval], then sensitivity, %, at false positives an image",
        f"  {'':<11} {'':<20} {'nodules':>7}  {'recall, %':<21}{rates}",
    ]
    for one in strata:
        low, high = one.interval
        recall = f"{100 * one.recall:5.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        reached = "  ".join(f"{'-' if value is None else f'{100 * value:.1f}':>6}" for value in one.sensitivities)
        lines.append(f"  {one.kind:<11} {one.name:<20} {one.n_nodules:>7}  {recall:<21}{reached}")
    lines.append("  -: the curve does not reach that rate")
    return "\n".join(lines) + "\n"


def comparison_text(comparison: Mapping[str, Comparison], names: tuple[str, str], resamples: int) -> str:
    """A line a figure: both runs, first less second with its paired 95 % interval, p of the permutation test."""
    lines = [
        f"First: {names[0]}",
        f"Second: {names[1]}",
        f"Difference: first less second, in points of percent or as the figure; paired bootstrap, {resamples:,}",
        f"resamples of the images, brackets hold 95 %. p: two-sided permutation test, {resamples:,} draws. One p in",
        "twenty is below 0.05 by chance alone: name the figure before you look.",
        "",
        f"{'':<39} {'first':>11} {'second':>11} {'difference':>11}  {'':<16} {'p':>6}",
    ]
    for name, one in comparison.items():
        if one.first is None and one.second is None:
            continue
        difference = one.difference
        scale, decimals = (1, 2) if name.startswith(COUNTS) else (100, 1)
        value = None if difference.value is None else round(scale * difference.value, decimals) + 0.0
        shown = "undefined" if value is None else f"{value:+.{decimals}f}"
        p = "" if one.p is None else f"{one.p:.4f}"
        first, second = figure_shown(name, one.first), figure_shown(name, one.second)
        bounds = interval_shown(name, difference)
        lines.append(f"{name:<39} {first:>11} {second:>11} {shown:>11}  {bounds:<16} {p:>6}".rstrip())
    return "\n".join(lines) + "\n"


def seeds_text(values: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """A line a figure: mean and standard deviation (n - 1) over runs that differ by their seed; undefined left out."""
    lines = [f"Seeds: mean ± standard deviation (n - 1) over {len(names)} runs ({', '.join(names)})"]
    for name, found in values.items():
        if any(math.isnan(value) for value in found):
            continue
        scale, decimals, unit = (1, 2, "") if name.startswith(COUNTS) else (100, 1, " %")
        mean, deviation = scale * fmean(found), scale * stdev(found)
        lines.append(f"  {name:<39} {mean:.{decimals}f} ± {deviation:.{decimals}f}{unit}")
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
