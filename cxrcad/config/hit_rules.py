"""The hit rules in one table: each with its words in the help, its sentence, its measure, and its limit if it has one.

`--hit-rule` takes the names of the rows. The limit of a row is a setting of `cxrcad evaluate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass

from cxrcad.config.schema import setting
from cxrcad.core import Case, DataError, EvaluationError, Finding, Nodule, nodule_box_px

__all__ = ["HIT_KINDS", "HitLimits", "distance_mm"]


@dataclass(frozen=True)
class Limit:
    """A rule's limit: the name of its setting (with the unit), its value where nobody says, and its help."""

    name: str
    default: float
    help: str
    high: float | None = None


@dataclass(frozen=True)
class HitKind:
    """One rule. `measure` gives, of a finding and a nodule, (how far, how far it may be at most) in one unit.

    It is given the limit, or nan where the rule has none. The nodule that is least far is preferred. `hit` ends the
    sentence "A hit is a finding ...", `strictly` does where a finding exactly at the limit is no hit.
    """

    words: str
    hit: str
    strictly: str
    measure: Callable[[Case, Finding, Nodule, float], tuple[float, float]]
    limit: Limit | None = None


def distance_mm(case: Case, finding: Finding, nodule: Nodule) -> float:
    """From the finding's centre to the nodule's, mm. Raises EvaluationError where the spacing is unknown."""
    if case.spacing_mm is None:
        raise EvaluationError(
            f"{case.name}: the pixel spacing is unknown, which this hit rule needs; "
            "give the image its spacing or score boxes with --hit-rule iou"
        )
    row_mm, col_mm = case.spacing_mm
    x, y = finding.center_px
    return math.hypot((x - nodule.x_px) * col_mm, (y - nodule.y_px) * row_mm)


def _offset_and_radius(case: Case, finding: Finding, nodule: Nodule, _: float) -> tuple[float, float]:
    """Distance of the centres and the disc's radius: in mm, or in pixels where only the nodule's box is known."""
    if (case.spacing_mm is None or nodule.diameter_mm is None) and nodule.box_px is not None:
        box, (x, y) = nodule.box_px, finding.center_px
        return math.hypot(x - nodule.x_px, y - nodule.y_px), (box.x1 - box.x0 + box.y1 - box.y0) / 4
    if nodule.diameter_mm is None:
        raise EvaluationError(
            f"{case.name}: the nodule at ({nodule.x_px:g}, {nodule.y_px:g}) has no diameter, "
            "which this hit rule needs; give it in the case table or score with --hit-rule distance"
        )
    return distance_mm(case, finding, nodule), nodule.diameter_mm / 2


def _overlap(case: Case, finding: Finding, nodule: Nodule, least: float) -> tuple[float, float]:
    """The IoU of the boxes and the least that is a hit, both negative; boxes that do not meet are infinitely far."""
    try:
        iou = finding.box_px.iou(nodule_box_px(case, nodule))
    except DataError as error:
        raise EvaluationError(str(error)) from None
    return -iou if iou > 0 else math.inf, -least


GROWN = 0.1  # of a box's sides: hit rule box allows a centre that far out, in all
LEAST_IOU = 0.2  # what hit rule box takes for a hit wherever the centre lies


def _box(case: Case, finding: Finding, nodule: Nodule, _: float) -> tuple[float, float]:
    """How far the centre lies from the box's, 1 on the edge of the grown box; less where the boxes overlap more."""
    try:
        box = nodule_box_px(case, nodule)
    except DataError as error:
        raise EvaluationError(str(error)) from None
    (x, y), (middle_x, middle_y) = finding.center_px, box.center
    across, down = (1 + GROWN) / 2 * (box.x1 - box.x0), (1 + GROWN) / 2 * (box.y1 - box.y0)
    offset = max(abs(x - middle_x) / across, abs(y - middle_y) / down) if box.area else math.inf
    iou = finding.box_px.iou(box)
    return min(offset, LEAST_IOU / iou if iou > 0 else math.inf), 1.0


HIT_KINDS: Mapping[str, HitKind] = {
    "center": HitKind(
        "center in the nodule's disc",
        "whose centre lies in the nodule's disc",
        "whose centre lies in the nodule's disc, not on its rim",
        _offset_and_radius,
    ),
    "iou": HitKind(
        "iou of the boxes",
        "whose box overlaps the nodule's box with an IoU of at least {:g}",
        "whose box overlaps the nodule's box with an IoU of more than {:g}",
        _overlap,
        Limit("min_iou", 0.2, "least overlap of a hit, hit rule iou", high=1),
    ),
    "box": HitKind(
        "box: center in the nodule's box grown by a tenth, or an IoU of 0.2",
        "whose centre lies in the nodule's box, grown by a tenth of its sides, or whose box overlaps it with an IoU of "
        "at least 0.2",
        "whose centre lies in the nodule's box, grown by a tenth of its sides and not on its edge, or whose box "
        "overlaps it with an IoU of more than 0.2",
        _box,
    ),
    "distance": HitKind(
        "distance of the centres",
        "whose centre lies within {:g} mm of the nodule's centre",
        "whose centre lies less than {:g} mm from the nodule's centre",
        lambda case, finding, nodule, most: (distance_mm(case, finding, nodule), most),
        Limit("max_distance_mm", 25.0, "largest distance of a hit, mm, hit rule distance"),
    ),
}

HitLimits = make_dataclass(
    "HitLimits",
    [
        (
            limit.name,
            float | None,
            setting(None, f"{limit.help} (default: the protocol's, else {limit.default:g})", low=0, high=limit.high),
        )
        for limit in (row.limit for row in HIT_KINDS.values())
        if limit is not None
    ],
    frozen=True,
)
"""The limits as settings, each None where the protocol's or the rule's own holds."""
