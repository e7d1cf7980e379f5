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
from cxrcad.report.drawing.style import COLOURS, INK, MARKERS, PAPER, broken, legend, percent_axis, save, sheet

KIND_WORDS: Mapping[str, str] = {
    "subtlety": "subtlety (1 extremely subtle, 5 obvious)",
    "size": "diameter of the nodule",
}


@dataclass(frozen=True)
class Point:
    """One fold of a run, or (`fold` None) its pooled counts: false positives per image and recall with its interval."""

    run: str
    fold: int | None
    fp_per_image: float
    recall: float
    low: float
    high: float

    @classmethod
    def of(cls, run: str, fold: int | None, counts: Operating) -> Point:
        """The point of those counts."""
        return cls(run, fold, counts.fp_per_image, counts.recall, *wilson(counts.tp, counts.tp + counts.fn))


def plot_bars(bars: Sequence[Stratum], paths: Sequence[Path], caption: str, kind: str = "subtlety") -> None:
    """Draw recall at the threshold for each stratum of a kind, with Wilson's 95 % intervals and n under each bar.

    A dashed line marks the recall over all of them. Raises UsageError where there is no stratum, WriteError.
    """
    if not bars:
        raise UsageError(f"there is no stratum of kind {kind} to draw; the truth does not give it")
    save(lambda: _bars_figure(bars, caption, kind), paths)


def _bars_figure(bars: Sequence[Stratum], caption: str, kind: str) -> Any:
    n_nodules = sum(bar.n_nodules for bar in bars)
    overall = sum(bar.hits for bar in bars) / n_nodules
    names = [f"{broken(bar.name, caption, 13)}\nn = {bar.n_nodules}" for bar in bars]
    words = f"dashed: all {n_nodules} nodules, {100 * overall:.1f} %; whiskers: Wilson's 95 % interval"
    title = broken(words, caption)
    figure, (axes,) = sheet(caption, [title], (3.4,), max(name.count("\n") for name in names) + 1)
    places = range(len(bars))
    axes.bar(places, [bar.recall for bar in bars], width=0.55, color=COLOURS[0], alpha=0.85)
    for place, bar in zip(places, bars, strict=True):
        low, high = bar.interval
        axes.errorbar(
            place, bar.recall, yerr=[[bar.recall - low], [high - bar.recall]], color=INK, capsize=6, linewidth=1.5
        )
        percent = f"{100 * bar.recall:.0f} %"
        axes.annotate(percent, (place, bar.recall), xytext=(7, 4), textcoords="offset points", fontsize=11)
    axes.axhline(overall, color=COLOURS[1], linestyle="--", linewidth=1.5)
    axes.set_title(title, loc="left", fontsize=10, x=-0.02)
    axes.set_xticks(places, names)
    axes.set_xlim(-0.6, len(bars) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1.05)
    percent_axis(axes.yaxis)
    axes.set_xlabel(KIND_WORDS.get(kind, kind), fontsize=12)
    axes.set_ylabel("recall at the threshold", fontsize=12)
    return figure


def drawn_folds(runs: Mapping[str, Sequence[FoldResult]]) -> tuple[Point, ...]:
    """Each run's folds, then its pooled counts where there are several folds; false positives on the context's axis."""
    points = []
    for name, results in runs.items():
        points += [Point.of(name, result.context.fold, result.operating) for result in results]
        if len(results) > 1:
            points.append(Point.of(name, None, pooled(results)))
    return tuple(points)


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
    labels = {}
    for point in points:  # the last of a run is its pooled one
        words = "large: all folds pooled" if point.fold is None else "one fold"
        labels[point.run] = broken(f"{point.run} ({words}, with Wilson's 95 % interval)", caption)
    figure, (axes,) = sheet(caption, list(labels.values()), (4.0,))
    for number, (run, label) in enumerate(labels.items()):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        mine = [point for point in points if point.run == run]
        *folds, last = mine
        for one in folds:
            axes.plot(one.fp_per_image, one.recall, marker, color=colour, markersize=8, alpha=0.8)
        reach = [[last.recall - last.low], [last.high - last.recall]]
        style = {"markersize": 13, "markeredgecolor": PAPER, "markeredgewidth": 1.5, "capsize": 5}
        axes.errorbar(
            last.fp_per_image, last.recall, yerr=reach, fmt=marker, color=colour, label=label, zorder=3, **style
        )
        for place, names in _numbers(mine).items():
            axes.annotate(names, place, xytext=(8, 5), textcoords="offset points", fontsize=9)
    axes.set_xlim(0, 1.15 * max(point.fp_per_image for point in points) + 0.05)
    axes.set_ylim(0, 1.02)
    percent_axis(axes.yaxis)
    axes.set_xlabel(f"false positives per image ({AXIS_WORDS[fp_axis]})", fontsize=12)
    axes.set_ylabel("recall at the threshold", fontsize=12)
    legend(axes)
    return figure


def _numbers(points: Sequence[Point]) -> dict[tuple[float, float], str]:
    """By place, the run's folds that stand there: "fold 1, 4"."""
    numbers: dict[tuple[float, float], list[str]] = {}
    for point in points:
        if point.fold is not None:
            numbers.setdefault((point.fp_per_image, point.recall), []).append(str(point.fold))
    return {place: f"fold {', '.join(folds)}" for place, folds in numbers.items()}
