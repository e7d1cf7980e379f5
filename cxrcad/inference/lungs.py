"""Lung map -> lung fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LUNG_FROM", "lung_fields", "unlike_lungs"]

LUNG_FROM = 0.5
"""Probability from which a pixel is lung where a model's card names none."""
AREA, LEAST_FIELD, APART, HIGHER = (0.06, 0.6), 0.02, (0.2, 0.6), 0.25
"""Both lungs' and one lung's part of a frontal radiograph, their distance / its width, their difference in height / its
height. In 288 with drawn lungs these are 0.12-0.40, 0.04 and more, 0.30-0.48, up to 0.16.
"""


def lung_fields(probabilities: NDArray[np.float32], threshold: float | None) -> NDArray[np.bool_]:
    """The lung fields (rows, cols) in a lung map of 0-1: the two largest areas of at least `threshold`, holes filled.

    Smaller areas are no lungs, whatever their probability. Without a threshold it is LUNG_FROM.
    """
    from scipy import ndimage

    above = probabilities >= np.float32(LUNG_FROM if threshold is None else threshold)
    around, count = ndimage.label(~above)
    kept = np.ones(count + 1, dtype=np.bool_)
    for edge in (around[0], around[-1], around[:, 0], around[:, -1]):
        kept[edge] = False  # what reaches the border is no hole
    kept[0] = True
    lung: NDArray[np.bool_] = kept[around]
    labels, count = ndimage.label(lung)
    if count > 2:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        largest = np.zeros(count + 1, dtype=np.bool_)
        largest[np.argsort(-sizes, kind="stable")[:2]] = True
        lung = largest[labels]
    return lung


def unlike_lungs(fields: NDArray[np.bool_]) -> str:
    """What tells that lung fields (rows, cols) of an upright picture are no frontal chest's; "" where nothing does."""
    from scipy import ndimage

    rows, cols = fields.shape
    labels, count = ndimage.label(fields)
    if count == 1:  # joined: parted where their middle is
        labels[:, round(_middle(fields)[1]) :] *= 2
        count = 2
    area = float(fields.mean())
    if count != 2:
        return f"{count or 'no'} lung fields"
    if not AREA[0] <= area <= AREA[1]:
        return f"lung fields on {100 * area:.0f} % of it"
    one, other = labels == 1, labels == 2
    smaller = min(np.count_nonzero(one), np.count_nonzero(other)) / fields.size
    if smaller < LEAST_FIELD:
        return f"one lung field on {100 * smaller:.1f} % of it"
    (y0, x0), (y1, x1) = _middle(one), _middle(other)
    if not APART[0] <= abs(x1 - x0) / cols <= APART[1] or abs(y1 - y0) / rows > HIGHER:
        return "lung fields that do not lie side by side"
    return ""


def _middle(area: NDArray[np.bool_]) -> tuple[float, float]:
    """The mean (row, column) of an area's pixels."""
    across, down = np.count_nonzero(area, axis=1), np.count_nonzero(area, axis=0)
    size = across.sum()
    return float(across @ np.arange(len(across)) / size), float(down @ np.arange(len(down)) / size)
