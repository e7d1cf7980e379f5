"""What scores are worth, as pictures (PNG, SVG): hits by score, and images and nodules against normal images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import UsageError
from cxrcad.evaluation.calibration import BINS, Bin, reliability
from cxrcad.evaluation.metrics import tally
from cxrcad.evaluation.records import FoldResult, ScoringContext, pooled_matches
from cxrcad.report.drawing.style import COLOURS, INK, STYLES, broken, legend, percent_axis, save, sheet

RANKING = "A score ranks findings; it is not the probability that a finding is a nodule."


def score_words(context: ScoringContext) -> str:
    """What a score means: a rank, or a probability on images like those that it was calibrated on."""
    if not context.calibrated_on:
        return RANKING
    return (
        f"Scores are calibrated on {context.calibrated_on}: of findings with a score of 0.8 about 80 % are lesions in "
        "images like those."
    )


@dataclass(frozen=True)
class Roc:
    """A curve from (0, 0) to (1, 1): part of the normal images with a finding, and part of what is found, 0-1."""

    x: tuple[float, ...]
    y: tuple[float, ...]


def drawn_reliability(results: Sequence[FoldResult]) -> tuple[Bin, ...]:
    """The findings in ten bins of equal width of the score, 0-1; bins without a finding are left out.

    A finding is a hit or a false positive; further findings on a nodule that is hit are neither and left out.
    """
    return reliability(pooled_matches(results))


def plot_reliability(results: Sequence[FoldResult], paths: Sequence[Path], caption: str) -> None:
    """Draw the part of the findings that is hits against their mean score, in ten bins, with a histogram under it.

    Whiskers are Wilson's 95 % intervals; on the diagonal a score would be the probability of a hit, which it is not
    made to be. A dotted line marks each threshold. Raises UsageError where nothing was found, WriteError.
    """
    bins = drawn_reliability(results)
    if not bins:
        raise UsageError("there is no finding whose score could be drawn; nothing was found in these images")
    thresholds = sorted({result.context.model.threshold for result in results})
    words = score_words(results[0].context)
    limits = "threshold" if len(thresholds) == 1 else "thresholds of the folds"
    save(lambda: _reliability_figure(bins, thresholds, f"{words}\n{caption}" if caption else "", limits), paths)


def plot_calibration(bins: Sequence[Bin], thresholds: Sequence[float], paths: Sequence[Path], caption: str) -> None:
    """Draw a card's calibrated scores like `plot_reliability`, with the thresholds of its operating points.

    Raises UsageError for an ending other than .png and .svg, WriteError.
    """
    save(lambda: _reliability_figure(bins, thresholds, caption, "operating points"), paths)


def _reliability_figure(bins: Sequence[Bin], thresholds: Sequence[float], caption: str, limits: str) -> Any:
    hits = broken("findings that are hits, with Wilson's 95 % interval", caption)
    diagonal = "if scores were probabilities"
    figure, (axes, counts) = sheet(caption, [diagonal, hits, limits], (3.5, 1.1))
    axes.plot([0, 1], [0, 1], "--", color=INK, linewidth=1.2, alpha=0.7, label=diagonal)
    x, y = [one.mean_score for one in bins], [one.part for one in bins]
    reach = [[one.part - one.interval[0] for one in bins], [one.interval[1] - one.part for one in bins]]
    axes.errorbar(x, y, yerr=reach, fmt="o-", color=COLOURS[0], linewidth=1.5, markersize=7, capsize=4, label=hits)
    middles = [(one.low + one.high) / 2 for one in bins]
    counts.bar(middles, [one.n for one in bins], width=0.8 / BINS, color=COLOURS[0], alpha=0.85)
    for middle, one in zip(middles, bins, strict=True):
        counts.annotate(f"{one.n}", (middle, one.n), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=9)
    for number, threshold in enumerate(thresholds):
        axes.axvline(threshold, color=COLOURS[1], linestyle=":", linewidth=2, label="_" if number else limits)
    axes.set_ylim(-0.02, 1.02)
    percent_axis(axes.yaxis)
    axes.set_ylabel("part that is hits", fontsize=12)
    axes.tick_params(labelbottom=False)
    counts.set_yscale("log")
    counts.set_ylim(0.7, 5 * max(one.n for one in bins))
    counts.minorticks_off()
    counts.set_ylabel("findings", fontsize=12)
    counts.set_xlabel("score (mean of each tenth's findings)", fontsize=12)
    for each in (axes, counts):
        each.set_xlim(0, 1)
        each.set_xticks([tenth / 10 for tenth in range(11)])
    legend(axes)
    return figure


def drawn_roc(results: Sequence[FoldResult]) -> Roc | None:
    """The image-level ROC curve: part of the images with a nodule whose highest score is at least a threshold.

    None without normal images. The last stretch, to images in which nothing was found, is a straight line, as the area
    counts them (`evaluation.figures`).
    """
    images = tally(results)
    positive = images.nodules > 0
    return _curve(images.best[positive], images.best[~positive])


def drawn_afroc(results: Sequence[FoldResult]) -> Roc | None:
    """The AFROC curve: part of the nodules found against part of the normal images with a false positive.

    None without normal images; its area is JAFROC's figure of merit (Chakraborty and Berbaum 2004).
    """
    images = tally(results)
    return _curve(images.lesions, images.best_fp[images.nodules == 0])


def _curve(upper: NDArray[np.float64], lower: NDArray[np.float64]) -> Roc | None:
    if not len(upper) or not len(lower):
        return None
    scores = np.unique(np.concatenate([upper, lower]))[::-1]
    x, y = ([0.0, *((side >= score).mean().item() for score in scores)] for side in (lower, upper))
    return Roc(tuple(x), tuple(y))


def area(curve: Roc) -> float:
    """The area under the curve, 0-1, by trapezia: a tie counts half."""
    x, y = np.array(curve.x), np.array(curve.y)
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2).sum())


def plot_roc(runs: Mapping[str, Sequence[FoldResult]], paths: Sequence[Path], caption: str) -> None:
    """Draw each run's image-level ROC (solid) and AFROC (dashed) curve with its area.

    Raises UsageError where no run has normal images, WriteError.
    """
    drawn = []
    for name, results in runs.items():
        roc, afroc = drawn_roc(results), drawn_afroc(results)
        if roc is not None and afroc is not None:
            drawn.append((name, roc, afroc))
    if not drawn:
        raise UsageError("there is no ROC curve without normal images; score all images (--images all)")
    save(lambda: _roc_figure(drawn, caption), paths)


def _roc_figure(drawn: Sequence[tuple[str, Roc, Roc]], caption: str) -> Any:
    lines = []
    for number, (name, roc, afroc) in enumerate(drawn):
        run = f"{name}: " if caption or len(drawn) > 1 else ""
        for curve, style, words in ((roc, STYLES[0], "ROC, images"), (afroc, STYLES[1], "AFROC, nodules")):
            label = broken(f"{run}{words} (area {area(curve):.3f})", caption)
            lines.append((curve, style, COLOURS[number % len(COLOURS)], label))
    figure, (axes,) = sheet(caption, [label for *_, label in lines], (4.7,))
    axes.plot([0, 1], [0, 1], ":", color=INK, linewidth=1.2, alpha=0.7)
    for curve, style, colour, label in lines:
        axes.plot(curve.x, curve.y, style, color=colour, linewidth=2, label=label)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    percent_axis(axes.xaxis)
    percent_axis(axes.yaxis)
    axes.set_xlabel("normal images with a finding", fontsize=12)
    axes.set_ylabel("images with a nodule, or nodules, found", fontsize=12)
    legend(axes)
    return figure
