"""Recall by stratum as bars, and the folds of one or two runs as points, as pictures (PNG, SVG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.core import UsageError
from cxrcad.evaluation.froc import Operating
from cxrcad.evaluation.records import AXIS_WORDS, FoldResult, pooled
from cxrcad.evaluation.statistics import wilson
from cxrcad.evaluation.subgroups import Stratum
from cxrcad.report.drawing.style import COLOURS, INK, MARKERS, PAPER, percent_axis, save, sheet, wrapped

__all__ = ["Bar", "Point", "drawn_bars", "drawn_folds", "plot_bars", "plot_folds"]

KIND_WORDS: Mapping[str, str] = {
    "subtlety": "subtlety (1 extremely subtle, 5 obvious)",
    "size": "diameter of the nodule",
}


LEGEND_COLUMNS = 84
"""Letters in a line of the legend."""


@dataclass(frozen=True)
class Bar:
    """One bar: recall at the threshold, 0-1, with Wilson's 95 % interval; `hits` of `n_nodules`."""

    name: str
    recall: float
    low: float
    high: float
    hits: int
    n_nodules: int


@dataclass(frozen=True)
class Point:
    """One fold of a run, or (`fold` None) its pooled counts: false positives per image and recall with its interval."""

    run: str
    fold: int | None
    fp_per_image: float
    recall: float
    low: float
    high: float


def drawn_bars(strata: Sequence[Stratum], kind: str) -> tuple[Bar, ...]:
    """The bars of one kind of stratum, in the order of `strata`; none where nothing is known of it."""
    return tuple(
        Bar(one.name, one.recall, *one.interval, one.hits, one.n_nodules) for one in strata if one.kind == kind
    )


def plot_bars(strata: Sequence[Stratum], paths: Sequence[Path], caption: str, kind: str = "subtlety") -> None:
    """Draw recall at the threshold for each stratum of a kind, with Wilson's 95 % intervals and n under each bar.

    A dashed line marks the recall over all of them. Raises UsageError where there is no such stratum, WriteError.
    """
    bars = drawn_bars(strata, kind)
    if not bars:
        raise UsageError(f"there is no stratum of kind {kind} to draw; the truth does not give it")
    save(lambda: _bars_figure(bars, caption, kind), paths)


def _bars_figure(bars: Sequence[Bar], caption: str, kind: str) -> Any:
    n_nodules = sum(bar.n_nodules for bar in bars)
    overall = sum(bar.hits for bar in bars) / n_nodules
    names = [_tick(bar) for bar in bars]
    figure, (axes,) = sheet(caption, 0.45, (3.4,), max(name.count("\n") for name in names) + 1)
    places = range(len(bars))
    axes.bar(places, [bar.recall for bar in bars], width=0.55, color=COLOURS[0], alpha=0.85)
    for place, bar in zip(places, bars, strict=True):
        reach = [[bar.recall - bar.low], [bar.high - bar.recall]]
        axes.errorbar(place, bar.recall, yerr=reach, color=INK, capsize=6, linewidth=1.5)
        axes.annotate(
            f"{100 * bar.recall:.0f} %",
            (place, bar.recall),
            xytext=(7, 4),
            textcoords="offset points",
            fontsize=11,
        )
    axes.axhline(overall, color=COLOURS[1], linestyle="--", linewidth=1.5)
    axes.set_title(
        f"dashed: all {n_nodules} nodules, {100 * overall:.1f} %; whiskers: Wilson's 95 % interval",
        loc="left",
        fontsize=10,
        x=-0.02,
    )
    axes.set_xticks(places, names)
    axes.set_xlim(-0.6, len(bars) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1.05)
    percent_axis(axes.yaxis)
    axes.set_xlabel(KIND_WORDS.get(kind, kind), fontsize=12)
    axes.set_ylabel("recall at the threshold", fontsize=12)
    return figure


def _tick(bar: Bar) -> str:
    return "\n".join([*wrapped(bar.name, 14), f"n = {bar.n_nodules}"])


def drawn_folds(runs: Mapping[str, Sequence[FoldResult]]) -> tuple[Point, ...]:
    """Each run's folds, then its pooled counts where there are several folds; false positives on the context's axis."""
    points = []
    for name, results in runs.items():
        counts = [result.operating for result in results]
        points += [_point(name, result.context.fold, one) for result, one in zip(results, counts, strict=True)]
        if len(counts) > 1:
            points.append(_point(name, None, pooled(results)))
    return tuple(points)


def _point(run: str, fold: int | None, counts: Operating) -> Point:
    return Point(run, fold, counts.fp_per_image, counts.recall, *wilson(counts.tp, counts.tp + counts.fn))


def plot_folds(runs: Mapping[str, Sequence[FoldResult]], paths: Sequence[Path], caption: str) -> None:
    """Draw recall against false positives per image at each fold's threshold, numbered, for one or more runs.

    A run's pooled counts are a large marker with Wilson's 95 % interval; where a run has one fold, that is its marker.
    Raises UsageError where there is no fold, WriteError.
    """
    points = drawn_folds(runs)
    if not points:
        raise UsageError("there is no fold to draw; evaluate one first")
    axis = next(results[0].context.fp_axis for results in runs.values() if results)
    save(lambda: _folds_figure(points, caption, axis), paths)


def _folds_figure(points: Sequence[Point], caption: str, fp_axis: str) -> Any:
    runs = list(dict.fromkeys(point.run for point in points))
    over = 0.2 + 0.25 * sum(len(wrapped(_legend_words(points, run), LEGEND_COLUMNS)) for run in runs)
    figure, (axes,) = sheet(caption, over, (4.0,))
    for number, run in enumerate(runs):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        mine = [point for point in points if point.run == run]
        for one in mine[:-1]:
            axes.plot(one.fp_per_image, one.recall, marker, color=colour, markersize=8, alpha=0.8)
            _number(axes, one)
        last = mine[-1]
        reach = [[last.recall - last.low], [last.high - last.recall]]
        style = {"markersize": 13, "markeredgecolor": PAPER, "markeredgewidth": 1.5, "capsize": 5}
        label = "\n".join(wrapped(_legend_words(points, run), LEGEND_COLUMNS))
        axes.errorbar(
            last.fp_per_image, last.recall, yerr=reach, fmt=marker, color=colour, label=label, zorder=3, **style
        )
        _number(axes, last)
    axes.set_xlim(0, 1.15 * max(point.fp_per_image for point in points) + 0.05)
    axes.set_ylim(0, 1.02)
    percent_axis(axes.yaxis)
    axes.set_xlabel(f"false positives per image at the threshold ({AXIS_WORDS[fp_axis]})", fontsize=12)
    axes.set_ylabel("recall at the threshold", fontsize=12)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), fontsize=10, frameon=False)
    return figure


def _legend_words(points: Sequence[Point], run: str) -> str:
    pooled = any(point.run == run and point.fold is None for point in points)
    words = "large: all folds pooled" if pooled else "one fold"
    return f"{run} ({words}, with Wilson's 95 % interval)"


def _number(axes: Any, point: Point) -> None:
    """The fold's number beside its marker."""
    if point.fold is not None:
        place = (point.fp_per_image, point.recall)
        axes.annotate(f"fold {point.fold}", place, xytext=(8, 5), textcoords="offset points", fontsize=9)
