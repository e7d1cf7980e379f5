"""Learning curves as pictures (PNG, SVG): a figure or the loss against the epoch, as in the paper's Figure 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.report.drawing.style import COLOURS, MARKERS, STYLES, legend, percent_axis, save, sheet


@dataclass(frozen=True)
class LearningCurve:
    """A line of the plot, over `n` trainings: mean, lowest and highest value at each epoch that all of them reached."""

    name: str
    n: int
    epochs: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def plot_curves(
    curves: Sequence[LearningCurve], what: str, paths: Sequence[Path], caption: str, *, percent: bool = True
) -> None:
    """Draw the mean against the epoch, a line a curve, its range shaded; `what` names the values.

    With `percent` they are parts of 1, otherwise numbers, on an axis that shows 0 where none is below.
    Raises UsageError for a path that does not end in .png or .svg, WriteError.
    """
    save(lambda: _figure(curves, what, caption, percent), paths)


def _figure(curves: Sequence[LearningCurve], what: str, caption: str, percent: bool) -> Any:
    figure, (axes,) = sheet(caption, [one.name for one in curves], (4.5,))
    for number, one in enumerate(curves):
        colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
        axes.fill_between(one.epochs, one.low, one.high, color=colour, alpha=0.15, linewidth=0)
        marker = MARKERS[number % len(MARKERS)] if len(one.epochs) == 1 else ""
        axes.plot(one.epochs, one.mean, style, marker=marker, color=colour, linewidth=2, label=one.name)
    if percent:
        axes.set_ylim(0, 1.02)
        percent_axis(axes.yaxis)
    elif min(value for one in curves for value in one.low) >= 0:
        axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_xlabel("epoch", fontsize=12)
    axes.set_ylabel(what, fontsize=12)
    legend(axes)
    return figure
