"""Findings against true nodules in one image: which are hits, which false positives, and what was missed.

The rules, in words:

- Findings are taken best score first. A finding is given to a nodule that it hits (`HitRule`) and that no better
  finding has taken; of several such nodules to the nearest one (hit rule iou: to the one that it overlaps most).
- A finding that hits only nodules already taken is a duplicate: neither a hit nor a false positive, unless the rule
  says that duplicates are false positives.
- The nodule's disc has its diameter; where that or the spacing is unknown and its box is known, the mean of the box's
  sides.
- A finding that hits no nodule is a false positive, inside or outside the true lung fields by its centre.
- A nodule that no finding took is missed. A miss is a count, never a detection with a made-up score.

Because better findings are never displaced by worse ones, matching only the findings above a threshold gives the same
hits as matching all and then dropping those below it: one matching serves every point of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxrcad.config.hit_rules import HIT_KINDS, distance_mm
from cxrcad.core import Case, EvaluationError, Finding, UsageError

__all__ = [
    "FalsePositive",
    "Hit",
    "HitRule",
    "ImageMatch",
    "LungLookup",
    "best_first",
    "lung_lookup",
    "match_image",
    "nodule_under",
]

DUPLICATES = ("ignored", "false-positives")

LungLookup = Callable[[float, float], bool]
"""Whether the point (x, y), in pixels of the case's image, lies in the true lung fields."""


@dataclass(frozen=True)
class HitRule:
    """What is a hit: a row of `HIT_KINDS` and its limit (None: the row's default, or a row that has none).

    `duplicates` says what further findings on a hit nodule are: "ignored" or "false-positives". With `strict` a finding
    exactly at the limit (radius, IoU, distance) is no hit: NODE21 and LUNA16 write "greater" and "less".
    """

    kind: str = "center"
    limit: float | None = None
    duplicates: str = "ignored"
    strict: bool = False

    def __post_init__(self) -> None:
        """Refuse a kind or a duplicates rule that does not exist (UsageError)."""
        if self.kind not in HIT_KINDS:
            raise UsageError(f"hit rule is {self.kind!r}; choose from {', '.join(HIT_KINDS)}")
        if self.duplicates not in DUPLICATES:
            raise UsageError(f"duplicates are {self.duplicates!r}; choose from {', '.join(DUPLICATES)}")
        own = HIT_KINDS[self.kind].limit
        if self.limit is None and own is not None:
            object.__setattr__(self, "limit", own.default)

    def limits(self) -> dict[str, float]:
        """The limit of every hit rule by its setting's name: this rule's own, and the defaults of the others."""
        limits = {row.limit.name: row.limit.default for row in HIT_KINDS.values() if row.limit is not None}
        own = HIT_KINDS[self.kind].limit
        return limits if own is None or self.limit is None else {**limits, own.name: self.limit}

    def describe(self) -> str:
        """The rule as one sentence, printed with every figure that rests on it."""
        row = HIT_KINDS[self.kind]
        hit = (row.strictly if self.strict else row.hit).format(self.limit)
        further = "neither hits nor false positives" if self.duplicates == "ignored" else "false positives"
        return (
            f"A hit is a finding {hit}; the best-scored finding on a nodule counts, "
            f"further findings on it are {further}."
        )


@dataclass(frozen=True)
class Hit:
    """The best-scored finding on nodule number `nodule` (0-based, in the case's order).

    `distance_mm` is from the finding's centre to the nodule's; None where the spacing is unknown. `finding` is the
    finding's number, best first.
    """

    score: float
    nodule: int
    distance_mm: float | None = None
    finding: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FalsePositive:
    """A finding on no nodule. `in_lung` is None where the case has no lung mask; `finding` numbers it, best first."""

    score: float
    in_lung: bool | None = None
    finding: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ImageMatch:
    """What became of one image's findings and nodules, each best score first; `duplicates` are scores.

    `left_out` nodules of the image are not in `n_nodules`: a stratum does not score them.
    """

    case: str
    n_nodules: int
    hits: tuple[Hit, ...] = ()
    false_positives: tuple[FalsePositive, ...] = ()
    duplicates: tuple[float, ...] = ()
    left_out: int = 0

    @property
    def normal(self) -> bool:
        """Whether the image has no nodule at all, scored or left out."""
        return not self.n_nodules + self.left_out

    @property
    def misses(self) -> int:
        """Nodules that no finding took."""
        return self.n_nodules - len(self.hits)


def match_image(
    case: Case,
    findings: Sequence[Finding],
    rule: HitRule,
    lung: NDArray[np.bool_] | LungLookup | None = None,
) -> ImageMatch:
    """Hits, false positives and misses of one image; the module's docstring has the rules.

    Args:
        case: The image with its true nodules.
        findings: Every candidate, in pixels of the case's image, in any order. Equal scores are taken by place (top to
            bottom, left to right), so that the order given never matters.
        rule: What is a hit.
        lung: The true lung fields: a mask of any size over exactly the image's extent, or a function of (x_px, y_px).

    Raises:
        EvaluationError: A score is not a finite number, or the rule needs a diameter or spacing that the case lacks.
    """
    for finding in findings:
        if not math.isfinite(finding.score):
            raise EvaluationError(f"{case.name}: a finding has the score {finding.score}; give it a finite number, 0-1")
    inside = lung_lookup(case, lung)
    taken: set[int] = set()
    hits: list[Hit] = []
    false_positives: list[FalsePositive] = []
    duplicates: list[float] = []
    for number, finding in enumerate(best_first(findings)):
        preferred = _hit_nodules(case, finding, rule)
        free = [index for index in preferred if index not in taken]
        if free:
            taken.add(free[0])
            distance = distance_mm(case, finding, case.nodules[free[0]]) if case.spacing_mm else None
            hits.append(Hit(float(finding.score), free[0], distance, number))
        elif preferred and rule.duplicates == "ignored":
            duplicates.append(float(finding.score))
        else:
            in_lung = None if inside is None else bool(inside(*finding.center_px))
            false_positives.append(FalsePositive(float(finding.score), in_lung, number))
    return ImageMatch(case.name, len(case.nodules), tuple(hits), tuple(false_positives), tuple(duplicates))


def nodule_under(case: Case, finding: Finding, rule: HitRule) -> int | None:
    """The number of the nodule that the finding hits, taken or not (of several the preferred one); None for none.

    Raises EvaluationError as `match_image`.
    """
    return next(iter(_hit_nodules(case, finding, rule)), None)


def best_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings by falling score; of equal scores top to bottom, left to right."""

    def key(finding: Finding) -> tuple[float, ...]:
        (x, y), box = finding.center_px, finding.box_px
        return -finding.score, y, x, box.y0, box.x0, box.y1, box.x1

    return tuple(sorted(findings, key=key))


def _hit_nodules(case: Case, finding: Finding, rule: HitRule) -> list[int]:
    """Numbers of the nodules that the finding hits, the preferred one first."""
    measure, limit = HIT_KINDS[rule.kind].measure, math.nan if rule.limit is None else rule.limit
    measured = [measure(case, finding, nodule, limit) for nodule in case.nodules]
    hits = [
        (distance, index)
        for index, (distance, most) in enumerate(measured)
        if distance < most or (distance == most and not rule.strict)
    ]
    return [index for _, index in sorted(hits)]


def lung_lookup(case: Case, lung: NDArray[np.bool_] | LungLookup | None) -> LungLookup | None:
    """Whether a point (x, y) of the case's image lies in the mask `lung`, as a function; None without a mask."""
    if lung is None or not isinstance(lung, np.ndarray):
        return lung
    mask = lung
    rows, cols = mask.shape

    def inside(x_px: float, y_px: float) -> bool:
        row = min(max(math.floor(y_px * rows / case.rows), 0), rows - 1)
        col = min(max(math.floor(x_px * cols / case.cols), 0), cols - 1)
        return bool(mask[row, col])

    return inside
