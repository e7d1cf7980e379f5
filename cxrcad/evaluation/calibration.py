"""Scores as probabilities: Platt's fit, reliability and calibration error; and thresholds by false positives.

Pure functions of frozen match results. A finding is a lesion (a hit) or none (a false positive); further findings on a
lesion that is hit are neither and left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import EvaluationError
from cxrcad.evaluation.bootstrap import Interval, with_intervals
from cxrcad.evaluation.froc import RATES, froc
from cxrcad.evaluation.matching import ImageMatch
from cxrcad.evaluation.statistics import wilson
from cxrcad.inference.calibration import Calibration, logit

__all__ = [
    "BINS",
    "ERROR_RATE",
    "FIT_RATE",
    "Bin",
    "calibrated",
    "calibration_error",
    "cross_fitted",
    "fit_calibration",
    "image_weights",
    "reliability",
    "threshold_at",
]

Array = NDArray[np.float64]

BINS = 10

FIT_RATE = RATES[-1]
"""False positives per image down to which findings decide a fit: the last rate of a FROC curve.

The many candidates below, that nobody reports, would decide the slope.
"""

ERROR_RATE = 1.0
"""False positives per image down to which findings are in the calibration error: those that are ever reported.

The many below have probabilities near 0 and would make any error small.
"""


@dataclass(frozen=True)
class Bin:
    """Findings with scores in [low, high): their number, how many are hits, mean score, Wilson's 95 % interval."""

    low: float
    high: float
    n: int
    hits: int
    mean_score: float
    interval: tuple[float, float]

    @property
    def part(self) -> float:
        """Part of the findings that is hits, 0-1."""
        return self.hits / self.n


@dataclass(frozen=True, eq=False)
class _Findings:
    """Findings as arrays (F,): score, whether it is a lesion, and the number of its image."""

    scores: Array
    lesion: NDArray[np.bool_]
    image: NDArray[np.intp]


def _findings(matches: Sequence[ImageMatch], rate: float | None = None) -> _Findings:
    """The findings of the images, of those with at most `rate` false positives per image where that is given."""
    rows = [
        (one.score, lesion, index)
        for index, match in enumerate(matches)
        for lesion, ones in ((True, match.hits), (False, match.false_positives))
        for one in ones
    ]
    found = _Findings(
        np.array([score for score, _, _ in rows], np.float64),
        np.array([lesion for _, lesion, _ in rows], bool),
        np.array([index for _, _, index in rows], np.intp),
    )
    least = None if rate is None else _lowest(found, len(matches), rate)
    if least is None:
        return found
    kept = found.scores >= least
    return _Findings(found.scores[kept], found.lesion[kept], found.image[kept])


def _lowest(found: _Findings, n_images: int, rate: float) -> float | None:
    """The lowest score from which at most `rate` false positives per image are reported; None: all are fewer."""
    wrong = np.sort(found.scores[~found.lesion])[::-1]
    allowed = int(rate * n_images + 1e-9)
    if len(wrong) <= allowed:
        return None
    return float(np.nextafter(wrong[allowed], np.inf))


def threshold_at(matches: Sequence[ImageMatch], rate: float, fp_axis: str = "normals") -> float | None:
    """The lowest score that occurs from which at most `rate` false positives per image of the axis are reported.

    It is the point of the FROC curve whose sensitivity `sensitivity_at` gives. None where the curve ends below the
    rate, and where it begins above it. Raises EvaluationError as `froc`.
    """
    curve = froc(matches, fp_axis)
    if curve.final_fp_per_image < rate:
        return None
    within = [threshold for threshold, fp in zip(curve.thresholds, curve.fp_per_image, strict=True) if fp <= rate]
    return within[-1] if within else None


def image_weights(matches: Sequence[ImageMatch], prevalence: float | None) -> Array:
    """How much each image counts, (N,), so that `prevalence` (0-1) of all has a lesion; 1 each where it is None.

    The weights add up to the number of images. Raises EvaluationError without images of either kind.
    """
    normal = np.array([match.normal for match in matches], bool)
    if prevalence is None:
        return np.ones(len(matches))
    if normal.all() or not normal.any():
        raise EvaluationError(
            f"a prevalence of {prevalence:g} needs images with and without a lesion; {int(normal.sum())} of the "
            f"{len(normal)} are without; score both"
        )
    return np.asarray(np.where(normal, (1 - prevalence) / normal.mean(), prevalence / (~normal).mean()))


def fit_calibration(matches: Sequence[ImageMatch], weights: Array | None = None) -> Calibration:
    """Platt's sigmoid on the logits of the scores, by maximum likelihood, over the findings down to `FIT_RATE`.

    Its two parameters suit the hundred lesions that there are; it is strictly rising, so ranking, FROC and AUC stay
    what they are, where isotonic regression would tie most scores. Targets are Platt's: (L + 1) / (L + 2) for a lesion,
    1 / (O + 2) for none, of L lesions and O others, so that findings which a score tells apart have a finite slope too.
    `weights` (N,) say how much each image counts.

    Raises EvaluationError where all findings are of one kind or have one score, and where lesions score no higher.
    """
    from scipy.optimize import minimize

    found = _findings(matches, FIT_RATE)
    count, lesions = len(found.scores), int(found.lesion.sum())
    if lesions in (0, count):
        raise EvaluationError(
            f"{lesions} of {count} findings are lesions, and a calibration needs lesions and others; score more images"
        )
    logits = np.array([logit(score) for score in found.scores])
    spread = float(logits.std())
    if np.ptp(logits) == 0:
        raise EvaluationError(f"all {count} findings have the score {found.scores[0]:g}; there is nothing to calibrate")
    own = np.ones(count) if weights is None else weights[found.image]
    yes, no = float(own[found.lesion].sum()), float(own[~found.lesion].sum())
    target = np.where(found.lesion, (yes + 1) / (yes + 2), 1 / (no + 2))
    design = np.stack([(logits - logits.mean()) / spread, np.ones(count)], axis=1)

    def loss(line: Array) -> float:
        value = design @ line
        return float((own * (np.logaddexp(0, value) - target * value)).mean())

    def slopes(line: Array) -> Array:
        return np.asarray(design.T @ (own * (_sigmoid(design @ line) - target)) / count)

    def curvature(line: Array) -> Array:
        part = _sigmoid(design @ line)
        return np.asarray((design * (own * part * (1 - part))[:, None]).T @ design / count)

    start = np.array([0.0, np.log(yes / no)])
    best = minimize(loss, start, method="trust-exact", jac=slopes, hess=curvature, options={"gtol": 1e-10}).x
    slope = float(best[0]) / spread
    if slope <= 0:
        raise EvaluationError(
            f"the {lesions} lesions score no higher than the {count - lesions} other findings, so their scores cannot "
            "be calibrated; train a better model"
        )
    return Calibration(slope, float(best[1]) - slope * float(logits.mean()))


def _sigmoid(values: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -values)))


def calibrated(match: ImageMatch, calibration: Calibration) -> ImageMatch:
    """The image's match with calibrated scores."""
    return replace(
        match,
        hits=tuple(replace(hit, score=calibration.applied(hit.score)) for hit in match.hits),
        false_positives=tuple(replace(one, score=calibration.applied(one.score)) for one in match.false_positives),
        duplicates=tuple(calibration.applied(score) for score in match.duplicates),
    )


def cross_fitted(folds: Sequence[Sequence[ImageMatch]]) -> tuple[ImageMatch, ...]:
    """The images of all folds, each calibrated by a fit to the other folds; those of a single fold by their own fit.

    Raises EvaluationError as `fit_calibration`.
    """
    found: list[ImageMatch] = []
    for index, fold in enumerate(folds):
        others = [*folds[:index], *folds[index + 1 :]] or [fold]
        fit = fit_calibration([match for other in others for match in other])
        found += [calibrated(match, fit) for match in fold]
    return tuple(found)


def reliability(matches: Sequence[ImageMatch]) -> tuple[Bin, ...]:
    """The findings in ten bins of equal width of the score, 0-1; bins without a finding are left out."""
    found = _findings(matches)
    number = _bins(found.scores)
    bins = []
    for index in range(BINS):
        here = number == index
        count, hits = int(here.sum()), int(found.lesion[here].sum())
        if count:
            ends = index / BINS, (index + 1) / BINS
            bins.append(Bin(*ends, count, hits, fmean(found.scores[here].tolist()), wilson(hits, count)))
    return tuple(bins)


def _bins(scores: Array) -> NDArray[np.intp]:
    return np.clip((scores * BINS).astype(np.intp), 0, BINS - 1)


def calibration_error(matches: Sequence[ImageMatch], draws: Array | None = None) -> Interval:
    """Expected calibration error, 0-1: how far the part of lesions is from the mean score, in ten bins of the score.

    Mean over the bins, each by its number of findings (Naeini, Cooper and Hauskrecht, AAAI 2015), of the findings down
    to `ERROR_RATE`. The interval is that of `draws` (R, N), how often each image counts; undefined without a finding.
    """
    found = _findings(matches, ERROR_RATE)
    gaps, counts = np.zeros((len(matches), BINS)), np.zeros(len(matches))
    np.add.at(gaps, (found.image, _bins(found.scores)), found.lesion - found.scores)
    np.add.at(counts, found.image, 1)

    def measure(drawn: Array) -> dict[str, Array]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {"error": np.abs(drawn @ gaps).sum(1) / (drawn @ counts)}

    return with_intervals(measure, len(matches), draws)["error"]
