"""Which cases Figures 6-8 show, by stated rules, and the counts over all test cases beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrcad.core import Box, Case, Finding
from cxrcad.evaluation.matching import FalsePositive, Hit, ImageMatch
from cxrcad.evaluation.records import ScoredImage
from cxrcad.paper.jobs import Job
from cxrcad.paper.results import CellResult
from cxrcad.report.drawing.crops import truth_box_px

__all__ = [
    "Found",
    "Lesion",
    "Outside",
    "Overlap",
    "Scene",
    "Side",
    "count_found",
    "count_outside",
    "first_seed",
    "least_overlapping",
    "most_outside",
    "overlaps",
    "scenes_of",
    "sides_of",
    "surest",
]


@dataclass(frozen=True)
class Side:
    """One network's findings in one test image, reported from its fold's `threshold` on."""

    job: Job
    match: ImageMatch
    scored_image: ScoredImage
    threshold: float

    @property
    def case(self) -> Case:
        """The image with its truth."""
        return self.scored_image.case

    @property
    def hits(self) -> tuple[Hit, ...]:
        """The reported hits, best score first."""
        return tuple(hit for hit in self.match.hits if hit.score >= self.threshold)

    @property
    def false_positives(self) -> tuple[FalsePositive, ...]:
        """The reported false positives, best score first."""
        return tuple(positive for positive in self.match.false_positives if positive.score >= self.threshold)

    @property
    def outside(self) -> int:
        """The number of reported false positives outside the true lung fields; those of unknown place are not in it."""
        return sum(positive.in_lung is False for positive in self.false_positives)

    def hit_on(self, nodule: int) -> Hit | None:
        """The hit on that nodule, whatever its score; None where no finding took it."""
        return next((hit for hit in self.match.hits if hit.nodule == nodule), None)

    def reports(self, nodule: int) -> bool:
        """Whether that nodule is hit at the threshold."""
        return any(hit.nodule == nodule for hit in self.hits)


@dataclass(frozen=True)
class Scene:
    """One test image as the single-task and as the multi-task network of one fold and seed see it."""

    single: Side
    multi: Side

    @property
    def case(self) -> Case:
        """The image with its truth."""
        return self.single.case

    @property
    def fold(self) -> int:
        """The fold that has it as a test case."""
        return self.single.job.fold


@dataclass(frozen=True)
class Outside:
    """False positives outside the lung fields, of both networks, over all test images.

    `single_images` and `multi_images` have at least one; in `fewer` images the multi-task network has fewer than the
    single-task one, in `more` more. `unplaced` false positives, of both, are of images without a lung mask.
    """

    images: int
    single: int
    multi: int
    single_images: int
    multi_images: int
    fewer: int
    more: int
    unplaced: int


@dataclass(frozen=True)
class Lesion:
    """One true nodule of a scene, by its number in the case's order."""

    scene: Scene
    nodule: int


@dataclass(frozen=True)
class Found:
    """The test nodules by who hits them; `p` of McNemar's exact test, None where no nodule tells the networks apart."""

    both: int
    neither: int
    multi_only: tuple[Lesion, ...]
    single_only: tuple[Lesion, ...]
    p: float | None


@dataclass(frozen=True)
class Overlap:
    """A reported hit, the box of its nodule (`exact`, or that of a disc of its size), pixels, and IoU of both boxes."""

    side: Side
    hit: Hit
    finding: Finding
    truth_px: Box
    exact: bool
    iou: float


def first_seed(rows: Sequence[CellResult]) -> int | None:
    """The lowest seed for which every row has a result; None if there is none."""
    seeds = [{one.job.seed for one in row.there} for row in rows]
    return min(set.intersection(*seeds), default=None) if seeds else None


def sides_of(row: CellResult, seed: int) -> tuple[Side, ...]:
    """The row's test images of one seed, by fold, then in the fold's order."""
    there = sorted((one for one in row.there if one.job.seed == seed), key=lambda one: one.job.fold)
    return tuple(
        Side(one.job, match, scored_image, one.result.context.model.threshold)
        for one in there
        if one.result is not None
        for match, scored_image in zip(one.result.matches, one.result.scored, strict=False)
    )


def scenes_of(single: CellResult, multi: CellResult, seed: int) -> tuple[Scene, ...]:
    """The images of the folds that both rows hold, in order."""
    theirs = {(side.job.fold, side.case.name): side for side in sides_of(multi, seed)}
    mine = {(side.job.fold, side.case.name): side for side in sides_of(single, seed)}
    return tuple(Scene(side, theirs[key]) for key, side in mine.items() if key in theirs)


def count_outside(scenes: Sequence[Scene]) -> Outside:
    """The counts over all scenes."""
    pairs = [(scene.single.outside, scene.multi.outside) for scene in scenes]
    reported = [p for scene in scenes for side in (scene.single, scene.multi) for p in side.false_positives]
    return Outside(
        images=len(pairs),
        single=sum(single for single, _ in pairs),
        multi=sum(multi for _, multi in pairs),
        single_images=sum(single > 0 for single, _ in pairs),
        multi_images=sum(multi > 0 for _, multi in pairs),
        fewer=sum(multi < single for single, multi in pairs),
        more=sum(multi > single for single, multi in pairs),
        unplaced=sum(positive.in_lung is None for positive in reported),
    )


def most_outside(scenes: Sequence[Scene], most: int) -> tuple[Scene, ...]:
    """At most `most` of the scenes in which the single-task network has a false positive outside the lung fields.

    First where it has most of them beyond the multi-task network's; ties by name.
    """
    wrong = [scene for scene in scenes if scene.single.outside]
    return tuple(sorted(wrong, key=lambda one: (one.multi.outside - one.single.outside, one.case.name))[:most])


def count_found(scenes: Sequence[Scene]) -> Found:
    """The nodules of all scenes by who hits them at the threshold of its fold."""
    hit: dict[tuple[bool, bool], list[Lesion]] = {(one, other): [] for one in (True, False) for other in (True, False)}
    for scene in scenes:
        for number in range(scene.single.match.n_nodules):
            hit[scene.single.reports(number), scene.multi.reports(number)].append(Lesion(scene, number))
    single_only, multi_only = hit[True, False], hit[False, True]
    p = _mcnemar(len(multi_only), len(single_only))
    return Found(len(hit[True, True]), len(hit[False, False]), tuple(multi_only), tuple(single_only), p)


def _mcnemar(one: int, other: int) -> float | None:
    """Two-sided exact p of McNemar's test: of the discordant nodules, each is either network's with 1/2."""
    if not one + other:
        return None
    from scipy.stats import binomtest

    return float(binomtest(one, one + other, 0.5).pvalue)


def surest(lesions: Sequence[Lesion], most: int) -> tuple[Lesion, ...]:
    """At most `most` nodules that the multi-task network hits, its highest scores first; ties by name."""

    def key(lesion: Lesion) -> tuple[float, str, int]:
        hit = lesion.scene.multi.hit_on(lesion.nodule)
        return 0.0 if hit is None else -hit.score, lesion.scene.case.name, lesion.nodule

    return tuple(sorted(lesions, key=key)[:most])


def overlaps(sides: Sequence[Side]) -> tuple[tuple[Overlap, ...], int]:
    """Every reported hit with its overlap, and the number of hits left out: on nodules whose size is not known."""
    found, unknown = [], 0
    for side in sides:
        for hit in side.hits:
            nodule = side.case.nodules[hit.nodule]
            truth = truth_box_px(side.case, nodule)
            if truth is None or hit.finding is None:
                unknown += 1
                continue
            finding = side.scored_image.findings[hit.finding]
            exact = nodule.box_px is not None
            found.append(Overlap(side, hit, finding, truth, exact, finding.box_px.iou(truth)))
    return tuple(found), unknown


def least_overlapping(found: Sequence[Overlap], most: int) -> tuple[Overlap, ...]:
    """At most `most` hits, the lowest IoU first; ties by name."""
    return tuple(sorted(found, key=lambda one: (one.iou, one.side.case.name, one.hit.nodule))[:most])
