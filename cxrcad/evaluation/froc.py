"""FROC curves and operating points: pure functions of frozen match results.

A finding is reported at a threshold when its score is at least the threshold. The denominator of "false positives per
image" is every image that was matched, which is what the protocol scores: positives only for `paper`. With the FP axis
"normals" only false positives in images without a nodule count, over those images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import EvaluationError
from cxrcad.evaluation.matching import ImageMatch

__all__ = [
    "RATES",
    "Curve",
    "Operating",
    "at_least",
    "best_f1_threshold",
    "froc",
    "is_counted",
    "on_axis",
    "score_at_threshold",
    "score_at_thresholds",
    "sensitivity_at",
]

RATES: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per image at which sensitivity is reported (LUNA16's seven)."""


@dataclass(frozen=True)
class Curve:
    """A FROC curve: one point for each distinct score, highest first; findings of equal score stand in one point.

    `hits`, `false_positives`, `in_lung` and `outside_lung` count the findings whose score is at least the point's
    threshold; false positives of images without a lung mask are in neither of the last two. The empty report (nothing
    found, no false positive) is not stored: it is where every curve starts.
    """

    n_images: int
    n_nodules: int
    thresholds: tuple[float, ...]
    hits: tuple[int, ...]
    false_positives: tuple[int, ...]
    in_lung: tuple[int, ...]
    outside_lung: tuple[int, ...]

    @property
    def sensitivity(self) -> tuple[float, ...]:
        """Part of the nodules that is hit at each point, 0-1, never falling along the curve."""
        return tuple(count / self.n_nodules for count in self.hits)

    @property
    def fp_per_image(self) -> tuple[float, ...]:
        """False positives per scored image at each point, never falling along the curve."""
        return tuple(count / self.n_images for count in self.false_positives)

    @property
    def final_fp_per_image(self) -> float:
        """False positives per image when every candidate is reported: where the curve ends."""
        return self.fp_per_image[-1] if self.false_positives else 0.0


@dataclass(frozen=True)
class Operating:
    """Counts at one threshold; `threshold` is None where folds with thresholds of their own were added up.

    `fp_in_lung` and `fp_outside_lung` leave out false positives of images without a lung mask. `fp_on_axis` and
    `axis_images` are what false positives per image is made of: None means all.
    """

    threshold: float | None
    n_images: int
    tp: int
    fp: int
    fn: int
    fp_in_lung: int = 0
    fp_outside_lung: int = 0
    fp_on_axis: int | None = None
    axis_images: int | None = None

    @property
    def recall(self) -> float:
        """Part of the nodules that is hit, 0-1."""
        return self.tp / (self.tp + self.fn)

    @property
    def precision(self) -> float | None:
        """Part of hits and false positives that is hits, 0-1; None where nothing is reported."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), 0-1; 0 where nothing is reported."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn)

    @property
    def fp_per_image(self) -> float:
        """False positives per image of the axis."""
        count = self.fp if self.fp_on_axis is None else self.fp_on_axis
        return count / (self.n_images if self.axis_images is None else self.axis_images)


def is_counted(match: ImageMatch, fp_axis: str) -> bool:
    """Whether false positives are counted over this image."""
    return fp_axis == "all" or match.normal


def on_axis(matches: Sequence[ImageMatch], fp_axis: str) -> list[ImageMatch]:
    """The images over which false positives are counted: all, or (fp_axis normals) those without a nodule.

    Raises:
        EvaluationError: There is no such image.
    """
    counted = [match for match in matches if is_counted(match, fp_axis)]
    if not counted and matches:
        raise EvaluationError(
            f"none of the {len(matches)} images is without a nodule, over which --fp-axis normals counts false "
            "positives; score all images (--images all), or take --fp-axis all"
        )
    return counted


def froc(matches: Sequence[ImageMatch], fp_axis: str = "all") -> Curve:
    """The FROC curve of the matched images; every image of the axis counts in the denominator, with findings or not.

    Raises:
        EvaluationError: There is no image or no nodule to score, or no image on the axis.
    """
    n_nodules = _count_nodules(matches)
    counted = on_axis(matches, fp_axis)
    hits = [hit.score for match in matches for hit in match.hits]
    positives = [positive for match in counted for positive in match.false_positives]
    fps = [positive.score for positive in positives]
    inside = [positive.score for positive in positives if positive.in_lung is True]
    outside = [positive.score for positive in positives if positive.in_lung is False]
    thresholds = np.unique(np.array([*hits, *fps], np.float64))[::-1]
    counts = [tuple(at_least(scores, thresholds).tolist()) for scores in (hits, fps, inside, outside)]
    return Curve(len(counted), n_nodules, tuple(thresholds.tolist()), *counts)


def at_least(scores: Sequence[float], thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    """How many of the scores are at or above each threshold, (T,)."""
    return len(scores) - np.searchsorted(np.sort(np.array(scores, np.float64)), thresholds, side="left")


def sensitivity_at(curve: Curve, rate: float) -> float | None:
    """The best sensitivity of an operating point with at most `rate` false positives per image; None: not reached.

    A rate is reached when the curve's last point, every candidate reported, has at least that many false positives per
    image. A curve that ends at 0.6 has no sensitivity at 1, even where it has found every nodule: nobody measured what
    the detector does at 1. Between points nothing is interpolated; the empty report, with sensitivity 0 and no false
    positive, is an operating point.
    """
    if curve.final_fp_per_image < rate:
        return None
    allowed = [s for s, fp in zip(curve.sensitivity, curve.fp_per_image, strict=True) if fp <= rate]
    return max(allowed, default=0.0)


def score_at_threshold(matches: Sequence[ImageMatch], threshold: float, fp_axis: str = "all") -> Operating:
    """Counts, F1, recall and precision when findings with a score of at least `threshold` are reported.

    F1 and precision count the false positives of every image; the axis decides false positives per image only.

    Raises:
        EvaluationError: There is no image or no nodule to score, or no image on the axis.
    """
    return score_at_thresholds(matches, [threshold] * len(matches), fp_axis)


def score_at_thresholds(matches: Sequence[ImageMatch], thresholds: Sequence[float], fp_axis: str = "all") -> Operating:
    """`score_at_threshold` with a threshold for each image: that of its fold. Raises as that."""
    n_nodules = _count_nodules(matches)
    counted = on_axis(matches, fp_axis)
    pairs = list(zip(matches, thresholds, strict=True))
    tp = sum(hit.score >= limit for match, limit in pairs for hit in match.hits)
    reported = [(match, fp) for match, limit in pairs for fp in match.false_positives if fp.score >= limit]
    return Operating(
        threshold=thresholds[0] if len(set(thresholds)) == 1 else None,
        n_images=len(matches),
        tp=tp,
        fp=len(reported),
        fn=n_nodules - tp,
        fp_in_lung=sum(fp.in_lung is True for _, fp in reported),
        fp_outside_lung=sum(fp.in_lung is False for _, fp in reported),
        fp_on_axis=None if fp_axis == "all" else sum(is_counted(match, fp_axis) for match, _ in reported),
        axis_images=None if fp_axis == "all" else len(counted),
    )


def best_f1_threshold(matches: Sequence[ImageMatch]) -> float:
    """The score from which reporting gives the best F1 on these matches; of equal ones the higher threshold.

    It is one of the scores that occur. Without any finding it is 1.0. Choose it on validation cases, never on those
    that are scored with it.

    Raises:
        EvaluationError: There is no image or no nodule to score.
    """
    curve = froc(matches)
    best_f1, best = -1.0, 1.0
    for threshold, tp, fp in zip(curve.thresholds, curve.hits, curve.false_positives, strict=True):
        f1 = 2 * tp / (tp + fp + curve.n_nodules)
        if f1 > best_f1:
            best_f1, best = f1, threshold
    return best


def _count_nodules(matches: Sequence[ImageMatch]) -> int:
    if not matches:
        raise EvaluationError("there is no image to score; choose a fold or protocol that holds cases")
    n_nodules = sum(match.n_nodules for match in matches)
    if n_nodules == 0:
        raise EvaluationError(
            f"none of the {len(matches)} images holds a nodule, so sensitivity has no meaning; score cases with nodules"
        )
    return n_nodules
