"""What a data set is, in counts: images, lesions by label and size, patients, spacing, masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cxrcad.core import Case, DataError, Nodule, nodule_box_px
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.joined import label_of

__all__ = ["QUANTILES", "summary"]

QUANTILES = (0, 25, 50, 75, 100)
"""Percents at which sizes are told: least, quarter, median, three quarters, largest."""


def summary(dataset: Dataset) -> dict[str, Any]:
    """The data set's facts by name, ready for JSON.

    `diameter_px` is the mean of the sides of a lesion's box in its image's pixels; `diameter_mm` the diameter where the
    tables or the spacing tell it, and `spacing_mm` its rows' and columns' distances. Each is None where nothing is
    known; `known` counts the lesions or images of which it is. Outlined lesions (effusion) have no diameter.
    """
    cases = dataset.cases
    lesions = [(case, nodule) for case in cases for nodule in case.nodules]
    labels = Counter(label_of(nodule, dataset.lesion) for _, nodule in lesions)
    outlines = sum(len(case.polygons) for case in cases)
    labels.update({dataset.lesion: outlines} if outlines else {})
    patients = {group for case in cases for group in case.groups if group.startswith("patient:")}
    spacings = [value for case in cases if case.spacing_mm for value in case.spacing_mm]
    return {
        "images": len(cases),
        "with_lesion": len(dataset.positives),
        "without_lesion": len(dataset.normals),
        "lesions": dict(labels.most_common()),
        "diameter_mm": _quantiles(nodule.diameter_mm for _, nodule in lesions),
        "diameter_px": _quantiles(_side_px(case, nodule) for case, nodule in lesions),
        "patients": len(patients),
        "of_unknown_patient": sum(not any(group.startswith("patient:") for group in case.groups) for case in cases),
        "image_sizes": _counts(f"{case.cols} x {case.rows}" for case in cases),
        "formats": _counts(case.image.suffix.lower().lstrip(".") for case in cases),
        "views": _counts(case.view or "unknown" for case in cases),
        "spacing_mm": None
        if not spacings
        else {"known": len(spacings) // 2, "least": round(min(spacings), 4), "largest": round(max(spacings), 4)},
        "lung_masks": sum(bool(case.lung_masks) for case in cases),
        "notes": list(dataset.notes),
    }


def _side_px(case: Case, nodule: Nodule) -> float | None:
    try:
        box = nodule_box_px(case, nodule)
    except DataError:  # neither size nor box is known
        return None
    return (box.x1 - box.x0 + box.y1 - box.y0) / 2


def _quantiles(values: Iterable[float | None]) -> Mapping[str, Any] | None:
    known: Sequence[float] = [value for value in values if value is not None]
    if not known:
        return None
    return {"known": len(known), "quantiles": [round(float(value), 1) for value in np.percentile(known, QUANTILES)]}


def _counts(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())
