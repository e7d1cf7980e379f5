"""How well the area of a lesion is found: Dice of maps cut at a threshold, and which images are reported.

The paper (section 4.3) measures pleural effusion so. An effusion is no isolated spot that a centre could hit: there are
no matches and no FROC of it. Dice is taken on the model's grid, over the images that have the lesion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import EvaluationError, ModelIdentity
from cxrcad.documents import MALFORMED, fault_words, made
from cxrcad.evaluation.bootstrap import Interval, draw_images, with_intervals
from cxrcad.evaluation.metrics import Figures, image_auc, or_nan, weighted_mean
from cxrcad.evaluation.statistics import Spread, spread
from cxrcad.files import read_json, write_json
from cxrcad.imaging.preprocess import Geometry

__all__ = [
    "BEST_DICE",
    "FIGURES",
    "KEPT",
    "Overlap",
    "SegmentedFold",
    "SegmentedImage",
    "best_dice",
    "measured",
    "overlap",
    "read_segmentation",
    "spreads",
    "write_segmentation",
]

SCHEMA = "cxrcad/segmentation/1"
KEPT = "segmentation.json"

LEVELS = np.arange(1, 100, dtype=np.int64)
"""The thresholds that are tried, in hundredths."""

BEST_DICE = "best mean Dice on the validation cases"

FIGURES = ("Dice", "sensitivity", "specificity", "image AUC, highest probability", "image AUC, area", "lung Dice")
"""The figures by name: see `measured`."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Overlap:
    """One image's map cut at each of `LEVELS`: pixels found and of them true (99,), and all true ones."""

    found: NDArray[np.int64]
    shared: NDArray[np.int64]
    true: int

    @property
    def dice(self) -> Array:
        """Dice at each level, (99,); 1 where nothing is found of nothing."""
        size = self.found + self.true
        return np.where(size > 0, 2 * self.shared / np.maximum(size, 1), 1.0)


@dataclass(frozen=True)
class SegmentedImage:
    """One test image. `dice` is None where it has no lesion, `lung_dice` where it has no lung mask or the model no map.

    `score` is the highest probability of the map, `area` the part of the image that is found, both 0-1; `reported` says
    whether a component of the smallest area that counts is found. The SHA-256 are those of the image, of its outlines,
    and of its lung masks ("" where it has none).
    """

    case: str
    patient: str
    sha256: str
    positive: bool
    dice: float | None
    score: float
    area: float
    reported: bool
    lung_dice: float | None = None
    truth_sha256: str = ""
    masks_sha256: str = ""


@dataclass(frozen=True)
class SegmentedFold:
    """The test images of one fold, under one model. `trained_on` names those that the model was trained on.

    `settings_sha256` is that of the model's settings, "" in a file from before it was written down.
    """

    fold: int
    data: str
    model: ModelIdentity
    network: str
    tasks: str
    threshold_from: str
    min_area_mm2: float
    settings_sha256: str
    images: tuple[SegmentedImage, ...]
    trained_on: tuple[str, ...] = ()


def overlap(found: NDArray[np.float32], truth: NDArray[np.bool_], geometry: Geometry) -> Overlap:
    """How a map of probabilities and a mask, both (grid_rows, grid_cols), overlap at each of `LEVELS`."""
    inner = slice(geometry.content_rows), slice(geometry.content_cols)
    levels = (LEVELS / 100).astype(np.float32)
    passed = np.searchsorted(levels, found[inner].ravel(), side="right")  # levels at or below each pixel
    counts = [np.bincount(part, minlength=len(LEVELS) + 1) for part in (passed, passed[truth[inner].ravel()])]
    above = [count[::-1].cumsum()[::-1][1:] for count in counts]
    return Overlap(above[0], above[1], int(truth[inner].sum()))


def best_dice(overlaps: Sequence[Overlap]) -> tuple[float, float]:
    """The threshold (0.01 ... 0.99) with the best mean Dice over images that have the lesion, and that mean.

    Of equal ones the higher. Raises EvaluationError where no image has the lesion.
    """
    known = [one.dice for one in overlaps if one.true]
    if not known:
        raise EvaluationError("no validation case has the lesion, so there is no threshold; take other folds")
    mean = np.mean(known, axis=0)
    place = len(mean) - 1 - int(np.argmax(mean[::-1]))
    return int(LEVELS[place]) / 100, float(mean[place])


def write_segmentation(folder: Path, result: SegmentedFold) -> None:
    """Write what a scoring keeps in a fold's folder. Raises WriteError."""
    write_json(folder / KEPT, {"schema": SCHEMA, **asdict(result)})


def read_segmentation(folder: Path) -> SegmentedFold | None:
    """What a scoring kept in a fold's folder; None where there is none. Raises EvaluationError for a damaged file."""
    path = folder / KEPT
    if not path.is_file():
        return None
    try:
        return _from_document(read_json(path, EvaluationError))
    except MALFORMED as fault:
        words = fault_words(fault)
        raise EvaluationError(f"{path}: not what cxrcad evaluate keeps ({words}); score the fold again") from None


def _from_document(document: Any) -> SegmentedFold:
    if document["schema"] != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    before = {"settings_sha256": ""}  # of files from before, which had one SHA-256 of all outlines
    values = {key: value for key, value in document.items() if key not in ("schema", "outlines_sha256")}
    return made(SegmentedFold, {**before, **values})


def measured(folds: Sequence[SegmentedFold], resamples: int, seed: int) -> dict[str, Interval]:
    """Every figure over the images of these folds, pooled, with its 95 % bootstrap interval; `resamples` 0 gives none.

    Dice is the mean over images with the lesion. Sensitivity and specificity are the parts of images with and without
    it that are reported rightly. The areas under the ROC curve order images by the highest probability of the map, and
    by the area that is found. Lung Dice is the mean over images with a lung mask. Images with and without the lesion
    are drawn apart, those of one patient together. A figure that no image gives (specificity without normals) is None.
    """
    images = [image for fold in folds for image in fold.images]
    if not any(image.positive for image in images):
        raise EvaluationError(f"none of the {len(images)} images has the lesion; score cases that have it")
    positive = np.array([image.positive for image in images])
    several = resamples and positive.sum() > 1
    weights = draw_images([image.patient for image in images], positive, resamples, seed) if several else None
    return with_intervals(lambda counts: _figures(images, counts), len(images), weights)


def _figures(images: Sequence[SegmentedImage], weights: Array) -> Figures:
    positive = np.array([image.positive for image in images])
    reported = np.array([image.reported for image in images], np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [
            weighted_mean(or_nan([image.dice for image in images]), weights),
            weighted_mean(np.where(positive, reported, np.nan), weights),
            weighted_mean(np.where(positive, np.nan, 1 - reported), weights),
            image_auc(np.array([image.score for image in images]), positive, weights),
            image_auc(np.array([image.area for image in images]), positive, weights),
            weighted_mean(or_nan([image.lung_dice for image in images]), weights),
        ]
    return dict(zip(FIGURES, found, strict=True))


def spreads(folds: Sequence[SegmentedFold]) -> dict[str, Spread | None]:
    """Mean and standard deviation (n - 1) over folds of every figure; None where a fold's is undefined."""
    found = [measured([fold], 0, 0) for fold in folds]
    return {name: spread([one[name].value for one in found]) for name in FIGURES}
