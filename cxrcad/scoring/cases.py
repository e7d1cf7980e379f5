"""Cases through a detector, matched with their truth: what `evaluate` and `froc` draw their figures from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Case, EvaluationError, ReadError, Result
from cxrcad.datasets.content import masks_sha256
from cxrcad.datasets.made_masks import models_of_masks
from cxrcad.evaluation.matching import best_first, lung_lookup
from cxrcad.evaluation.records import (
    FoldResult,
    ScoredImage,
    ScoredMatch,
    ScoringContext,
    check_once,
    gathered,
    rematched,
)
from cxrcad.evaluation.statistics import dice, hd95_mm, jaccard
from cxrcad.imaging.read import read_mask
from cxrcad.scoring.kept import named

__all__ = ["Detect", "Detection", "evaluate_cases", "of_every_case", "read_true_lung"]


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector gave for one case: `result` holds every candidate, no threshold applied.

    `lung` is its lung fields, of any size over exactly the image's extent (padding of the model's grid cut off); None
    for a model without a lung task. `nodule_dice` is the Dice of the nodule map cut at the model's threshold and the
    true discs, None where nobody took it.
    """

    result: Result
    lung: NDArray[np.bool_] | None = None
    nodule_dice: float | None = None


Detect = Callable[[Case], Detection]
"""Anything that reads a case's image and finds in it: a packaged model, or a test's own answers."""


def read_true_lung(case: Case) -> NDArray[np.bool_] | None:
    """The union of the case's lung masks on their own grid, or None where it has none.

    Raises:
        ReadError: A mask cannot be read.
        EvaluationError: The case's masks differ in size, or no pixel of them is lung.
    """
    masks = [read_mask(path) for path in case.lung_masks]
    if len({mask.shape for mask in masks}) > 1:
        raise EvaluationError(f"{case.name}: its lung masks differ in size; export them on one grid")
    if masks and not any(mask.any() for mask in masks):
        names = ", ".join(map(str, case.lung_masks))
        raise EvaluationError(f"{names}: no pixel is lung; draw the lungs in it, or remove it")
    return np.logical_or.reduce(masks) if masks else None


def evaluate_cases(
    cases: Sequence[Case],
    detect: Detect,
    context: ScoringContext,
    *,
    true_lung: Callable[[Case], NDArray[np.bool_] | None] = read_true_lung,
    trained_on: frozenset[str] = frozenset(),
    on_done: Callable[[str], None] | None = None,
) -> FoldResult:
    """The matches of every case, in the order given. One case that cannot be read or matched fails the whole.

    Where images cannot be read, the others are done all the same, so that one error names all of them.

    Args:
        cases: Exactly the cases that the protocol scores; all of them are the denominator.
        detect: Gives every candidate of a case.
        context: Kept with the matches; `context.rule` decides hits.
        true_lung: The true lung mask over the image's extent, or None; for lung Dice and false positives outside lungs.
        trained_on: SHA-256 of the model's training images; cases whose image is among them are named in the result.
        on_done: Called with each case's name when it is done.

    Raises ReadError for images and masks; EvaluationError where a case stands twice, a result is of another image size,
    or a score or truth cannot be used; and what `detect` and `true_lung` raise.
    """
    check_once([case.name for case in cases])

    def scored(case: Case) -> ScoredMatch:
        overlap, scored_image = _scored_image(case, detect(case), true_lung(case))
        match = rematched(scored_image, context.rule)
        if on_done is not None:
            on_done(case.name)
        return match, overlap, scored_image

    return gathered(context, of_every_case(cases, scored), trained_on)


def of_every_case(cases: Sequence[Case], of_case: Callable[[Case], T]) -> list[T]:
    """What `of_case` gives for each case. Raises ReadError, after the last case, for all that could not be read."""
    found: list[T] = []
    failed: dict[str, ReadError] = {}
    for case in cases:
        try:
            found.append(of_case(case))
        except ReadError as error:
            failed[case.name] = error
    if failed:
        first = next(iter(failed.values()))
        if len(failed) == 1:
            raise first
        which = f"{len(failed)} of {len(cases)} images cannot be read: {named(list(failed))}"
        raise ReadError(f"{which}; the first: {first}")
    return found


def _scored_image(case: Case, found: Detection, lung: NDArray[np.bool_] | None) -> tuple[float | None, ScoredImage]:
    """The lung Dice, and what else is kept of one image."""
    result = found.result
    if (result.rows, result.cols) != (case.rows, case.cols):
        raise EvaluationError(
            f"{case.name}: the result is of an image with {result.rows} x {result.cols} pixels "
            f"and the case has {case.rows} x {case.cols}; detect in the case's own image"
        )
    findings = best_first(result.findings)
    inside = lung_lookup(case, lung)
    in_lung = tuple(None if inside is None else bool(inside(*finding.center_px)) for finding in findings)
    kept, masks = replace(case, lung_masks=()), "" if lung is None else masks_sha256(case)
    scored_image = ScoredImage(
        kept, result.sha256, findings, in_lung, nodule_dice=found.nodule_dice, masks_sha256=masks
    )
    if lung is None or found.lung is None or models_of_masks([case]):  # a model's mask is no truth to compare with
        return None, scored_image
    mine = _on_grid_of(found.lung, lung)
    distance = None
    if case.spacing_mm is not None:
        row_mm, col_mm = case.spacing_mm
        distance = hd95_mm(mine, lung, (row_mm * case.rows / lung.shape[0], col_mm * case.cols / lung.shape[1]))
    return dice(mine, lung), replace(scored_image, lung_iou=jaccard(mine, lung), lung_hd95_mm=distance)


def _on_grid_of(lung: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The lung map on the true mask's own grid: of each of its pixels, the map's pixel under its centre."""
    rows, cols = (
        ((np.arange(truth.shape[axis]) + 0.5) * lung.shape[axis] / truth.shape[axis]).astype(np.intp) for axis in (0, 1)
    )
    return np.asarray(lung[np.ix_(rows, cols)])
