"""Calibrated scores: the probability that a finding is a lesion, from the probability map's highest value under it."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Calibration", "logit"]

LEAST = 1e-9
"""Distance from 0 and 1 within which a score is taken as if at it: below float32's steps, so no two scores tie."""


@dataclass(frozen=True)
class Calibration:
    """Platt's sigmoid on the logit: logit(calibrated) = `slope` x logit(score) + `intercept`.

    The slope is above 0, so that calibrated scores rank findings as the scores do (J. Platt, Probabilistic outputs for
    support vector machines, 1999).
    """

    slope: float
    intercept: float

    def applied(self, score: float) -> float:
        """The calibrated score, 0-1, of a model's score, 0-1."""
        return _sigmoid(self.slope * logit(score) + self.intercept)

    def undone(self, calibrated: float) -> float:
        """The model's score, 0-1, that is calibrated to this, 0-1."""
        return _sigmoid((logit(calibrated) - self.intercept) / self.slope)


def logit(score: float) -> float:
    """log(score / (1 - score)) of a score of 0-1; finite at the ends too."""
    inside = min(max(score, LEAST), 1 - LEAST)
    return math.log(inside) - math.log1p(-inside)


def _sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without an overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    part = math.exp(max(value, -700.0))
    return part / (1 + part)
