"""Every figure of a set of matched images, for many weightings of the images at once.

A figure here is a function of how often each image counts. With every weight 1 it is the figure itself; with weights
drawn by the bootstrap it is a resample; with the images of two runs side by side and weights 0 and 1 it is one side of
a permutation. So one definition serves the figure, its interval and its test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import EvaluationError
from cxrcad.evaluation.froc import RATES, at_least
from cxrcad.evaluation.records import OVERLAPS, FoldResult, pooled_matches

__all__ = [
    "Curves",
    "Figures",
    "Tally",
    "curve_of",
    "figures",
    "image_auc",
    "or_nan",
    "rate_name",
    "reached",
    "tally",
    "weighted_mean",
]

Array = NDArray[np.float64]
Figures = dict[str, Array]
"""Figures by name, each (R,) for R weightings; NaN where a figure is undefined."""

COCO_RECALLS = np.linspace(0, 1, 101)
BLOCK = 1000
"""Weightings that are worked on at once, to bound the memory."""


@dataclass(frozen=True, eq=False)
class Tally:
    """N images as arrays.

    `thresholds` (T,) fall: each score of a hit, then -inf. No other can be the best one within a number of false
    positives. `hits` and `false_positives` (N, T) count an image's findings from each threshold on.
    `tp`, `fp`, `fp_in_lung` and `fp_outside_lung` (N,) are at the operating threshold of the image's own fold.
    `best` (N,) is an image's highest score and `best_fp` that of its highest false positive, -inf without any.
    `lesions` (L,) are the scores of all nodules, -inf where missed, `lesion_image` (L,) their images. Overlaps are NaN
    where there is none. `offset_mm` adds up how far the reported hits lie from their nodules' centres, `offsets` counts
    them. `fp_axis` is all or normals.
    """

    names: tuple[str, ...]
    nodules: Array
    thresholds: Array
    hits: NDArray[np.float32]
    false_positives: NDArray[np.float32]
    tp: Array
    fp: Array
    fp_in_lung: Array
    fp_outside_lung: Array
    best: Array
    best_fp: Array
    lesions: Array
    lesion_image: NDArray[np.intp]
    lung_dice: Array
    lung_iou: Array
    lung_hd95_mm: Array
    nodule_dice: Array
    offset_mm: Array
    offsets: Array
    fp_axis: str = "all"

    @property
    def on_axis(self) -> Array:
        """1 for each image over which false positives are counted, else 0; (N,)."""
        return np.ones(len(self.names)) if self.fp_axis == "all" else (self.nodules == 0).astype(np.float64)


def tally(results: Sequence[FoldResult]) -> Tally:
    """The images of these folds, each at its own fold's threshold.

    Raises:
        EvaluationError: No fold, an image twice, folds in different contexts, or no nodule.
    """
    matches = pooled_matches(results)
    limits = [result.context.model.threshold for result in results for _ in result.matches]
    scored_images = [scored_image for result in results for scored_image in result.scored]
    lesions = [
        (score, index)
        for index, match in enumerate(matches)
        for score in [*(hit.score for hit in match.hits), *[-np.inf] * match.misses]
    ]
    if not lesions:
        raise EvaluationError(f"none of the {len(matches)} images holds a nodule; score cases with nodules")
    fps = [[positive.score for positive in match.false_positives] for match in matches]
    hits = [[hit.score for hit in match.hits] for match in matches]
    thresholds = np.append(np.unique([score for scores in hits for score in scores])[::-1], -np.inf)
    known = [positive.in_lung is not None for match in matches for positive in match.false_positives]
    unknown = np.nan if known and not any(known) else 0.0  # without a single mask nobody knows where they lie
    reported = [
        ([hit for hit in match.hits if hit.score >= limit], [fp for fp in match.false_positives if fp.score >= limit])
        for match, limit in zip(matches, limits, strict=True)
    ]
    offsets = [[hit.distance_mm for hit in mine if hit.distance_mm is not None] for mine, _ in reported]
    places = [[fp.in_lung for fp in wrong] for _, wrong in reported]
    return Tally(
        names=tuple(match.case for match in matches),
        nodules=np.array([match.n_nodules for match in matches], np.float64),
        thresholds=thresholds.astype(np.float64),
        hits=_cumulative(hits, thresholds),
        false_positives=_cumulative(fps, thresholds),
        tp=np.array([len(mine) for mine, _ in reported], np.float64),
        fp=np.array([len(wrong) for _, wrong in reported], np.float64),
        fp_in_lung=np.array([place.count(True) for place in places], np.float64) + unknown,
        fp_outside_lung=np.array([place.count(False) for place in places], np.float64) + unknown,
        best=np.array(
            [max((*h, *f, *m.duplicates), default=-np.inf) for h, f, m in zip(hits, fps, matches, strict=True)]
        ),
        best_fp=np.array([max(scores, default=-np.inf) for scores in fps]),
        lesions=np.array([score for score, _ in lesions]),
        lesion_image=np.array([index for _, index in lesions], np.intp),
        lung_dice=or_nan([value for result in results for value in result.lung_dice]),
        **{name: or_nan([getattr(d, name) for d in scored_images] or [None] * len(matches)) for name in OVERLAPS},
        offset_mm=np.array([sum(values) for values in offsets], np.float64),
        offsets=np.array([len(values) for values in offsets], np.float64),
        fp_axis=results[0].context.fp_axis,
    )


def figures(images: Tally, weights: Array) -> Figures:
    """Every figure for each row of `weights` (R, N), how often each image counts.

    F1, recall, precision, false positives at the threshold (per image, in the lung fields and outside); sensitivities
    at 1/8 ... 8 false positives per image, CPM; image-level ROC AUC, JAFROC, NODE21 score, average precision; means
    over images of lung Dice, IoU and HD95 and nodule Dice; mean distance of the reported hits from their nodules. A
    figure that is undefined (a rate that the curve does not reach, or that is over no image; CPM where it ends below
    1/8; an AUC without normal images) is NaN.
    """
    parts = [_block(images, weights[start : start + BLOCK]) for start in range(0, len(weights), BLOCK)]
    return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}


def _block(images: Tally, weights: Array) -> Figures:
    with np.errstate(invalid="ignore", divide="ignore"):
        found = _operating(images, weights)
        curve = curve_of(images, weights)
        found.update(_froc(curve, weights @ images.on_axis))
        found["image AUC"] = image_auc(images.best, images.nodules > 0, weights)
        found["JAFROC"] = _jafroc(images, weights)
        found["NODE21 score"] = 0.75 * found["image AUC"] + 0.25 * found["sensitivity at 1/4"]
        found["average precision"] = _average_precision(curve)
        found["lung Dice"] = weighted_mean(images.lung_dice, weights)
        found["lung IoU"] = weighted_mean(images.lung_iou, weights)
        found["lung HD95, mm"] = weighted_mean(images.lung_hd95_mm, weights)
        found["nodule Dice"] = weighted_mean(images.nodule_dice, weights)
        found["localisation error, mm"] = (weights @ images.offset_mm) / (weights @ images.offsets)
    return found


def _operating(images: Tally, weights: Array) -> Figures:
    tp, fp, nodules = weights @ images.tp, weights @ images.fp, weights @ images.nodules
    axis = images.on_axis
    return {
        "F1": 2 * tp / (tp + fp + nodules),
        "recall": tp / nodules,
        "precision": tp / (tp + fp),
        "false positives an image": (weights @ (images.fp * axis)) / (weights @ axis),
        "false positives in the lung fields": (weights @ images.fp_in_lung) / weights.sum(1),
        "false positives outside the lung fields": (weights @ images.fp_outside_lung) / weights.sum(1),
    }


@dataclass(frozen=True, eq=False)
class Curves:
    """Hits and false positives (R, T) from each threshold on, of all images and of the axis; nodules (R,)."""

    hits: NDArray[np.float32]
    false_positives: NDArray[np.float32]
    on_axis: NDArray[np.float32]
    nodules: Array


def curve_of(images: Tally, weights: Array) -> Curves:
    """The FROC curves of all weightings."""
    single = weights.astype(np.float32)  # counts stay below 2**24, so they are exact
    fps = single @ images.false_positives
    on_axis = fps if images.fp_axis == "all" else (single * images.on_axis.astype(np.float32)) @ images.false_positives
    return Curves(single @ images.hits, fps, on_axis, weights @ images.nodules)


def _froc(curve: Curves, n_images: Array) -> Figures:
    found: Figures = {}
    lasting = []
    for rate in RATES:
        value, is_reached = reached(curve.hits, curve.on_axis, rate * n_images)
        value = value / curve.nodules
        lasting.append(value)
        found[f"sensitivity at {rate_name(rate)}"] = np.where(is_reached & (n_images > 0), value, np.nan)
    found["CPM"] = np.where(np.isnan(found[f"sensitivity at {rate_name(RATES[0])}"]), np.nan, np.mean(lasting, axis=0))
    return found


def reached(hits: NDArray[np.float32], fps: NDArray[np.float32], allowed: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Most hits (R,) of a point with at most `allowed` (R,) false positives, and whether the curve gets that far.

    `hits` and `fps` (R, T) never fall along a row. Where the curve ends before, the hits are those of its last point.
    """
    count = (fps <= allowed[:, None]).sum(1)
    padded = np.concatenate([np.zeros((len(hits), 1), hits.dtype), hits], axis=1)
    return padded[np.arange(len(hits)), count].astype(np.float64), np.asarray(fps[:, -1] >= allowed)


def image_auc(scores: Array, positive: NDArray[np.bool_], weights: Array) -> Array:
    """Probability that a positive image scores higher than a negative one, ties counting half (Mann-Whitney).

    `scores` and `positive` (N,); one value for each row of `weights` (R, N), NaN without an image of either kind.
    """
    return _above(scores[positive], weights[:, positive], scores[~positive], weights[:, ~positive])


def _jafroc(images: Tally, weights: Array) -> Array:
    """Probability that a lesion scores higher than the highest false positive of a normal image, ties counting half."""
    normal = images.nodules == 0
    return _above(images.lesions, weights[:, images.lesion_image], images.best_fp[normal], weights[:, normal])


def _above(upper: Array, upper_weights: Array, lower: Array, lower_weights: Array) -> Array:
    wins = (upper[:, None] > lower[None, :]) + 0.5 * (upper[:, None] == lower[None, :])
    pairs = upper_weights.sum(1) * lower_weights.sum(1)
    won: Array = ((upper_weights @ wins) * lower_weights).sum(1) / pairs
    return won


def _average_precision(curve: Curves) -> Array:
    """COCO's: at 101 recalls, the best precision at that recall or above, 0 where it is not reached; their mean."""
    reported = (curve.hits + curve.false_positives).astype(np.float64)
    precision = np.divide(curve.hits, reported, out=np.zeros_like(reported), where=reported > 0)
    best = np.flip(np.maximum.accumulate(np.flip(precision, 1), axis=1), 1)
    padded = np.concatenate([best, np.zeros((len(best), 1), best.dtype)], axis=1)
    recall = curve.hits / curve.nodules[:, None]
    total: Array = np.zeros(len(best))
    for row, reached_recall in enumerate(recall):
        total[row] = padded[row, np.searchsorted(reached_recall, COCO_RECALLS)].mean()
    return total


def weighted_mean(values: Array, weights: Array) -> Array:
    """The mean of the values (N,) that are not NaN, for each row of `weights` (R, N)."""
    known = ~np.isnan(values)
    result: Array = (weights[:, known] @ values[known]) / weights[:, known].sum(1)
    return result


def rate_name(rate: float) -> str:
    """1/8, 1/4, 1/2, 1, 2, 4, 8."""
    return f"{rate:g}" if rate >= 1 else f"1/{round(1 / rate)}"


def _cumulative(scores: Sequence[Sequence[float]], thresholds: Array) -> NDArray[np.float32]:
    return np.array([at_least(values, thresholds) for values in scores], np.float32)


def or_nan(values: Sequence[float | None]) -> Array:
    """The values (N,), NaN for None."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
