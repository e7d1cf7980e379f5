"""Lung map -> lung fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LUNG_FROM", "lung_fields"]

LUNG_FROM = 0.5
"""Probability from which a pixel is lung where a model's card names none."""


def lung_fields(probabilities: NDArray[np.float32], threshold: float | None) -> NDArray[np.bool_]:
    """The lung fields (rows, cols) in a lung map of 0-1: the two largest areas of at least `threshold`, holes filled.

    Smaller areas are no lungs, whatever their probability. Without a threshold it is LUNG_FROM.
    """
    from scipy import ndimage

    lung = ndimage.binary_fill_holes(probabilities >= np.float32(LUNG_FROM if threshold is None else threshold))
    labels, count = ndimage.label(lung)
    if count > 2:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        lung = np.isin(labels, np.argsort(-sizes, kind="stable")[:2])
    return np.asarray(lung, dtype=np.bool_)
