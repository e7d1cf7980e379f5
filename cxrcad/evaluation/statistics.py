"""Figures over folds, their spread and intervals, and the overlap of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import EvaluationError

__all__ = ["Spread", "dice", "hd95_mm", "jaccard", "spread", "wilson"]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of `n` folds. `sd` has n - 1 in its denominator and is None for a single fold."""

    mean: float
    sd: float | None
    n: int


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and standard deviation (n - 1) of one figure over folds; None where a fold's figure is undefined.

    A fold is never left out of a mean in silence: with one undefined figure (precision where nothing was reported) the
    mean is undefined too. No fold at all is an EvaluationError.
    """
    if not values:
        raise EvaluationError("there is no fold to take a mean of; evaluate one first")
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (low, high) of a proportion, 0-1 (E. B. Wilson, JASA 22:209-212, 1927).

    Raises:
        EvaluationError: No trial, or successes outside 0..trials.
    """
    from scipy.stats import binomtest

    if trials < 1 or not 0 <= successes <= trials:
        raise EvaluationError(f"{successes} of {trials} has no interval; give at least 1 trial and no more successes")
    found = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice overlap of two masks of one shape, 0-1: 2 |A and B| / (|A| + |B|); two empty masks agree, 1.

    Raises:
        EvaluationError: The shapes differ.
    """
    _check_shapes(found, truth)
    size = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / size if size else 1.0


def jaccard(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """IoU of two masks of one shape, 0-1: |A and B| / |A or B|; two empty masks agree, 1.

    Raises:
        EvaluationError: The shapes differ.
    """
    _check_shapes(found, truth)
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else 1.0


def hd95_mm(found: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> float | None:
    """95th percentile of the distances between the outlines of two masks, mm; None where one mask is empty.

    Of each outline pixel (a pixel of the mask beside one that is not in it, or at the border) the distance to the other
    outline's nearest pixel; both directions in one set (Huttenlocher 1993 with the percentile of Beauchemin 1998).
    `spacing_mm` is (row, column).

    Raises:
        EvaluationError: The shapes differ.
    """
    from scipy import ndimage

    _check_shapes(found, truth)
    if not found.any() or not truth.any():
        return None
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in (found, truth)]
    near = [ndimage.distance_transform_edt(~outline, sampling=spacing_mm) for outline in outlines]
    distances = np.concatenate([near[1][outlines[0]], near[0][outlines[1]]])
    return float(np.percentile(distances, 95))


def _check_shapes(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
    if found.shape != truth.shape:
        raise EvaluationError(f"masks of {found.shape} and {truth.shape} pixels do not compare; bring both to one grid")
