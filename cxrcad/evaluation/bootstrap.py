"""95 % confidence intervals from a bootstrap over images, and the paired comparison of two runs on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import EvaluationError
from cxrcad.datasets.content import truth_sha256
from cxrcad.evaluation.metrics import Figures, Tally, curve_of, figures, reached, tally
from cxrcad.evaluation.records import FoldResult, check_alike, check_once, patient_of
from cxrcad.evaluation.statistics import wilson

__all__ = [
    "Comparison",
    "Interval",
    "bootstrap",
    "check_same_images",
    "compare",
    "compare_seeds",
    "draw",
    "draw_images",
    "false_positives",
    "froc_band",
    "with_intervals",
]

CONFIDENCE = (2.5, 97.5)
"""Percentiles of the resamples: a 95 % interval."""

MOST_UNDEFINED = 0.025
"""Fraction of resamples in which a figure may be undefined (a rate not reached) and still have an interval."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval; each None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        """A figure of 0-1, as "0.443 [0.370, 0.516]"."""
        return self.shown()

    def shown(self, decimals: int = 3, scale: float = 1, unit: str = "", sign: str = "") -> str:
        """The figure times `scale` with its interval in brackets; `sign` "+" shows the figure's plus too."""
        if self.value is None:
            return "undefined"
        value = f"{round(scale * self.value, decimals) + 0.0:{sign}.{decimals}f}{unit}"  # + 0.0: no -0.0
        return f"{value} {self.bounds(decimals, scale)}".rstrip()

    def bounds(self, decimals: int = 3, scale: float = 1) -> str:
        """The interval times `scale` in brackets; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        low, high = (round(scale * bound, decimals) + 0.0 for bound in (self.low, self.high))
        return f"[{low:.{decimals}f}, {high:.{decimals}f}]"


@dataclass(frozen=True)
class Comparison:
    """One figure of two runs on the same images: first less second, its interval, and the permutation test's p."""

    first: float | None
    second: float | None
    difference: Interval
    p: float | None


def draw_images(
    patients: Sequence[str], has_lesion: NDArray[np.bool_], resamples: int, seed: int
) -> NDArray[np.float64]:
    """How often each image counts in each of `resamples` draws with replacement, (resamples, images).

    Images with and without a lesion are drawn apart, so that every resample has as many of both; the images of one
    patient are drawn together.
    """
    patient = _numbered(patients)
    positive = np.zeros(patient.max() + 1, bool)
    np.logical_or.at(positive, patient, has_lesion)
    rng = np.random.default_rng(seed)
    counts = np.zeros((resamples, len(positive)))
    for stratum in (positive, ~positive):
        size = int(stratum.sum())
        if size:
            counts[:, stratum] = rng.multinomial(size, np.full(size, 1 / size), resamples)
    return counts[:, patient]


def draw(results: Sequence[FoldResult], resamples: int, seed: int) -> NDArray[np.float64]:
    """`draw_images` of these folds' images."""
    nodules = [match.n_nodules for result in results for match in result.matches]
    return draw_images(_patients(results), np.array(nodules) > 0, resamples, seed)


def _patients(results: Sequence[FoldResult]) -> list[str]:
    """What each image is drawn with: its patient, or itself where that is not known."""
    return [
        patient_of(result.scored[index].case) if result.scored else match.case
        for result in results
        for index, match in enumerate(result.matches)
    ]


def _numbered(names: Sequence[str]) -> NDArray[np.intp]:
    """The names as numbers from 0, in the order in which they first occur."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.intp)


def bootstrap(results: Sequence[FoldResult], resamples: int, seed: int) -> dict[str, Interval]:
    """Every figure of these folds (`evaluation.metrics`) with its 95 % interval.

    Recall has Wilson's. The others have the bootstrap's percentiles, at the folds' own thresholds: the interval is that
    of scoring other images with the same models. They have none with `resamples` 0 or a single image with a nodule.
    Where no resample differs (every nodule found, none found) a proportion has Wilson's interval too, and any other
    figure none. Raises EvaluationError as `tally`.
    """
    images = tally(results)
    several = np.count_nonzero(images.nodules) > 1
    weights = draw(results, resamples, seed) if resamples and several else None
    found = with_intervals(lambda counts: figures(images, counts), len(images.names), weights)
    return {name: _proper(name, one, images) for name, one in found.items()}


def false_positives(results: Sequence[FoldResult], resamples: int, seed: int) -> dict[str, Interval]:
    """False positives an image at the folds' own thresholds: what images without a nodule can tell."""
    counts = np.array(
        [
            sum(positive.score >= result.context.model.threshold for positive in match.false_positives)
            for result in results
            for match in result.matches
        ],
        np.float64,
    )
    weights = draw(results, resamples, seed) if resamples and len(counts) > 1 else None
    name = "false positives an image"
    return with_intervals(lambda drawn: {name: (drawn @ counts) / drawn.sum(1)}, len(counts), weights)


def _proper(name: str, one: Interval, images: Tally) -> Interval:
    """The interval, Wilson's for recall and for a proportion that has no bootstrap interval of any width."""
    flat = one.low is not None and one.low == one.high
    if one.value is None or not (flat or name == "recall"):
        return one
    if not name.startswith(("recall", "precision", "sensitivity at")):
        return Interval(one.value)
    trials = images.tp.sum() + images.fp.sum() if name == "precision" else images.nodules.sum()
    return Interval(one.value, *wilson(round(one.value * trials), int(trials)))


def with_intervals(
    measure: Callable[[NDArray[np.float64]], Figures], count: int, weights: NDArray[np.float64] | None
) -> dict[str, Interval]:
    """The figures that `measure` takes of `count` images, each with the interval of `weights` (resamples, images)."""
    values = measure(np.ones((1, count)))
    drawn = measure(weights) if weights is not None else {}
    return {name: _interval(float(value[0]), drawn.get(name)) for name, value in values.items()}


def _interval(value: float, drawn: NDArray[np.float64] | None) -> Interval:
    if np.isnan(value):
        return Interval(None)
    if drawn is None or np.isnan(drawn).mean() > MOST_UNDEFINED:
        return Interval(value)
    low, high = np.nanpercentile(drawn, CONFIDENCE)
    return Interval(value, float(low), float(high))


def froc_band(
    results: Sequence[FoldResult], rates: Sequence[float], resamples: int, seed: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Pointwise 95 % band (low, high) of the sensitivity at each rate; beyond a curve's end its last one counts.

    Where every resample has the same sensitivity the band is Wilson's interval of it, as in `bootstrap`.

    Raises EvaluationError as `tally`.
    """
    images = tally(results)
    weights = draw(results, resamples, seed)
    curve, n_images = curve_of(images, weights), weights @ images.on_axis
    found = [reached(curve.hits, curve.on_axis, rate * n_images)[0] / curve.nodules for rate in rates]
    nodules = int(images.nodules.sum())
    bounds = [
        wilson(round(values[0] * nodules), nodules) if np.ptp(values) == 0 else np.percentile(values, CONFIDENCE)
        for values in found
    ]
    lows, highs = np.array(bounds).T
    return tuple(lows.tolist()), tuple(highs.tolist())


def compare(
    first: Sequence[FoldResult], second: Sequence[FoldResult], resamples: int, seed: int, *, perturbed: bool = False
) -> dict[str, Comparison]:
    """Every figure of two runs on the same images, with the paired difference.

    The interval is a paired bootstrap's: both runs are scored on the same resampled images. p is two-sided, from a
    permutation test: under the null hypothesis a patient's two results may change places, which is drawn `resamples`
    times; p = (1 + differences at least as large) / (1 + draws), so it is never 0. There is neither with `resamples` 0
    or a single image with a nodule. `perturbed`: one of the two is scored on the other's images as they were changed,
    and the truth with them, so that only names are compared. Images are paired by name: the runs' folds may hold other
    cases. Raises EvaluationError where images, truth or contexts differ.
    """
    return compare_seeds([(first, second)], resamples, seed, perturbed=perturbed)


def compare_seeds(
    pairs: Sequence[tuple[Sequence[FoldResult], Sequence[FoldResult]]],
    resamples: int,
    seed: int,
    *,
    perturbed: bool = False,
) -> dict[str, Comparison]:
    """`compare` of two recipes that were each trained with several seeds: every figure is its mean over the `pairs`.

    All pairs are scored on the same images, a resample draws the same images for each, and a patient's results change
    places in all of them. So the interval is that of other images with these trainings. Raises as `compare`.
    """
    runs = [run for pair in pairs for run in pair]
    first = runs[0]
    check_alike([result for run in runs for result in run])
    for run in runs[1:]:
        check_same_images(first, run, perturbed)
    tallies = [_side_by_side(_in_order_of(first, mine), _in_order_of(first, theirs)) for mine, theirs in pairs]
    count = len(tallies[0].names) // 2
    ones, zeros = np.ones((1, count)), np.zeros((1, count))
    mine, theirs = _means(tallies, ones, zeros), _means(tallies, zeros, ones)
    several = bool(resamples) and np.count_nonzero(tallies[0].nodules[:count]) > 1
    drawn, swapped = {}, {}
    if several:
        weights, stay = draw(first, resamples, seed), _swaps(first, resamples, seed)
        drawn = _differences(tallies, weights, np.zeros_like(weights))
        swapped = _differences(tallies, stay, 1 - stay)
    found = {}
    for name in mine:
        a, b = float(mine[name][0]), float(theirs[name][0])
        p = None if np.isnan(a - b) or not several else _p(a - b, swapped[name])
        left, right = (None if np.isnan(value) else value for value in (a, b))
        found[name] = Comparison(left, right, _interval(a - b, drawn.get(name)), p)
    return found


def _means(tallies: Sequence[Tally], first: NDArray[np.float64], second: NDArray[np.float64]) -> Figures:
    """Every figure, its mean over the tallies, for these weights of the first and of the second run's images."""
    found = [figures(images, np.hstack([first, second])) for images in tallies]
    return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}


def _differences(tallies: Sequence[Tally], first: NDArray[np.float64], second: NDArray[np.float64]) -> Figures:
    """`_means` less those with the two runs' weights exchanged."""
    left, right = _means(tallies, first, second), _means(tallies, second, first)
    return {name: left[name] - right[name] for name in left}


def check_same_images(first: Sequence[FoldResult], second: Sequence[FoldResult], perturbed: bool = False) -> None:
    """Raise EvaluationError unless two runs are scored on the same images, with the same truth as far as it is kept.

    With `perturbed`, unless the images have the same names.
    """
    names = [[match.case for result in results for match in result.matches] for results in (first, second)]
    for those in names:
        check_once(those)
    odd = sorted(set(names[0]) ^ set(names[1]))
    if not odd:
        if perturbed:
            return
        kept = [{one.case.name: one for result in results for one in result.scored} for results in (first, second)]
        for name in kept[0].keys() & kept[1].keys():
            one, other = kept[0][name], kept[1][name]
            changed = "image" if one.sha256 != other.sha256 else "truth"
            if changed == "image" or truth_sha256(one.case) != truth_sha256(other.case):
                raise EvaluationError(
                    f"the two runs are not scored on the same data ({name} has another {changed}); name the data, and "
                    "the labels, with --data and --labels"
                )
        return
    what = f"{odd[0]} and {len(odd) - 1} more are in one only"
    raise EvaluationError(f"the two runs are not scored on the same images ({what}); score the same folds of both")


def _in_order_of(first: Sequence[FoldResult], run: Sequence[FoldResult]) -> list[FoldResult]:
    """The images of `run` in the order of `first`, each for itself: the two runs' folds may hold other cases."""
    alone = {
        match.case: replace(
            result,
            matches=(match,),
            lung_dice=result.lung_dice[place : place + 1],
            scored=result.scored[place : place + 1],
        )
        for result in run
        for place, match in enumerate(result.matches)
    }
    return [alone[match.case] for result in first for match in result.matches]


def _side_by_side(first: Sequence[FoldResult], second: Sequence[FoldResult]) -> Tally:
    """One tally of both runs' images, the second's after the first's, under other names."""
    renamed = [
        replace(result, matches=tuple(replace(match, case=f"{match.case} again") for match in result.matches))
        for result in second
    ]
    return tally([*first, *renamed])


def _swaps(results: Sequence[FoldResult], draws: int, seed: int) -> NDArray[np.float64]:
    """1 where an image's result stays with its run, 0 where it changes places; patients change together."""
    patient = _numbered(_patients(results))
    coins = np.random.default_rng([seed, 1]).integers(0, 2, (draws, patient.max() + 1))
    return coins[:, patient].astype(np.float64)


def _p(difference: float, permuted: NDArray[np.float64]) -> float | None:
    known = permuted[~np.isnan(permuted)]
    if len(known) < (1 - MOST_UNDEFINED) * len(permuted):
        return None
    return float((1 + np.sum(np.abs(known) >= abs(difference) - 1e-12)) / (1 + len(known)))
