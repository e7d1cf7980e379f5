"""Crops of missed nodules, false positives and hits, each with its score and what is known of the nodule."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.core import Box, Case, CxrcadError, Finding, Nodule, Radiograph
from cxrcad.datasets.images import read_case
from cxrcad.evaluation.matching import FalsePositive, Hit, ImageMatch
from cxrcad.evaluation.records import FoldResult, ScoredImage, nodule_words
from cxrcad.report.drawing.crops import box_or_point, crop_px, inside, truth_box_px, write_crop
from cxrcad.report.html import Picture

MISSES, FALSE_POSITIVES = "Missed nodules, most obvious first", "False positives, highest score first"
HITS, FAR_HITS = "Found nodules, best score first", "Found nodules, worst localised first"
SLUGS: Mapping[str, str] = {HITS: "hit", FAR_HITS: "far-hit", MISSES: "miss", FALSE_POSITIVES: "false-positive"}


@dataclass(frozen=True)
class Crop:
    """One picture of the gallery before its image is read: `part` of the case's image in pixels, and what is drawn."""

    group: str
    title: str
    caption: str
    scored_image: ScoredImage
    part: Box
    finding: Finding | None
    threshold: float


@dataclass(frozen=True)
class Gallery:
    """The pictures by heading, empty groups left out, and a note for each image that could not be shown."""

    groups: Mapping[str, Sequence[Picture]]
    notes: Sequence[str]


@dataclass(frozen=True)
class _Scene:
    """One image with its matches, at its fold's threshold."""

    match: ImageMatch
    scored_image: ScoredImage
    threshold: float

    @property
    def case(self) -> Case:
        return self.scored_image.case

    def finding(self, number: int | None) -> Finding | None:
        return None if number is None else self.scored_image.findings[number]


def gallery(results: Sequence[FoldResult], folder: Path, most: int = 12) -> Gallery:
    """Write the crops that `chosen` names into `folder` as PNG; those of an earlier call are deleted.

    An image that cannot be read any more, or is another one now, is named in a note and left out. Raises WriteError.
    """
    for slug in SLUGS.values():
        for old in folder.glob(f"{slug}-[0-9][0-9]-*.png"):
            old.unlink()
    placed: list[tuple[Crop, Path]] = []
    of_image: dict[str, list[tuple[Crop, Path]]] = defaultdict(list)
    ranks: Counter[str] = Counter()
    for crop in chosen(results, most):
        ranks[crop.group] += 1
        name = crop.scored_image.case.name
        file = f"{SLUGS[crop.group]}-{ranks[crop.group]:02d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:80]}.png"
        placed.append((crop, folder / file))
        of_image[name].append(placed[-1])
    notes = {}
    for name, mine in of_image.items():  # each image is read once
        try:
            radiograph = read_scored(mine[0][0].scored_image)
        except CxrcadError as error:
            notes[name] = f"{name} is left out of the gallery: {error}"
            continue
        for crop, path in mine:
            boxes = [box_or_point(crop.scored_image.case, nodule) for nodule in crop.scored_image.case.nodules]
            write_crop(radiograph, crop.part, path, finding=crop.finding, truth=boxes, threshold=crop.threshold)
    groups: dict[str, list[Picture]] = {}
    for crop, path in placed:
        if crop.scored_image.case.name not in notes:
            groups.setdefault(crop.group, []).append(Picture(crop.title, path, crop.caption))
    if any(result.matches and not result.scored for result in results):
        notes[""] = "Matches without findings have no gallery; score them again with `cxrcad evaluate`."
    return Gallery(groups, list(notes.values()))


def read_scored(scored_image: ScoredImage) -> Radiograph:
    """The image that was scored. Raises CxrcadError where it cannot be read or is another one."""
    case = scored_image.case
    radiograph = read_case(case)
    if scored_image.sha256 not in ("", radiograph.source.sha256):
        raise CxrcadError(f"{case.image}: the file has changed since it was scored")
    if (radiograph.rows, radiograph.cols) != (case.rows, case.cols):
        found = f"{radiograph.rows} x {radiograph.cols}"
        raise CxrcadError(f"{case.image}: has {found} pixels, and {case.rows} x {case.cols} were scored")
    return radiograph


def chosen(results: Sequence[FoldResult], most: int) -> tuple[Crop, ...]:
    """Which crops are shown, in order, at most `most` of each kind and each at its fold's threshold.

    Of hits, a third of `most` are the worst localised of those that the best-scored ones leave. Misses are nodules
    without a hit at the threshold, most obvious first (subtlety, then diameter); false positives go by score.
    """
    scenes = [
        _Scene(match, scored_image, result.context.model.threshold)
        for result in results
        for match, scored_image in zip(result.matches, result.scored, strict=False)
    ]
    hits = [(scene, hit) for scene in scenes for hit in scene.match.hits if hit.score >= scene.threshold]
    hits.sort(key=lambda one: (-one[1].score, one[0].case.name, one[1].nodule))
    best, rest = hits[: most - most // 3], hits[most - most // 3 :]
    far = sorted((one for one in rest if one[1].distance_mm is not None), key=lambda one: -(one[1].distance_mm or 0))
    found = {(scene.case.name, hit.nodule) for scene, hit in hits}
    numbered = [(scene, number) for scene in scenes for number in range(len(scene.case.nodules))]
    missed = sorted((one for one in numbered if (one[0].case.name, one[1]) not in found), key=_obvious)
    wrong = [
        (scene, fp, finding)
        for scene in scenes
        for fp in scene.match.false_positives
        if fp.score >= scene.threshold and (finding := scene.finding(fp.finding)) is not None
    ]
    wrong.sort(key=lambda one: (-one[1].score, one[0].case.name))
    return (
        *(_miss(scene, number) for scene, number in missed[:most]),
        *(_false_positive(*one) for one in wrong[:most]),
        *(_hit(scene, hit, HITS) for scene, hit in best),
        *(_hit(scene, hit, FAR_HITS) for scene, hit in far[: most // 3]),
    )


def _obvious(one: tuple[_Scene, int]) -> tuple[float, float, str, int]:
    scene, number = one
    nodule = scene.case.nodules[number]
    return -(nodule.subtlety or 0), -(nodule.diameter_mm or 0), scene.case.name, number


def _hit(scene: _Scene, hit: Hit, group: str) -> Crop:
    nodule, finding = scene.case.nodules[hit.nodule], scene.finding(hit.finding)
    box = truth_box_px(scene.case, nodule)
    off = "distance unknown" if hit.distance_mm is None else f"{hit.distance_mm:.1f} mm from the nodule's centre"
    overlap = "" if box is None or finding is None else f", IoU of the boxes {finding.box_px.iou(box):.2f}"
    caption = f"{scene.case.name}: score {hit.score:.2f}, {off}{overlap}; nodule: {nodule_words(nodule)}"
    return _crop(scene, group, f"Hit, {hit.score:.2f}", caption, finding, nodule)


def _miss(scene: _Scene, number: int) -> Crop:
    nodule = scene.case.nodules[number]
    start = f"{scene.case.name}: nodule of {nodule_words(nodule)}; "
    low = next((hit for hit in scene.match.hits if hit.nodule == number), None)
    if low is not None:
        caption = f"{start}found with {low.score:.2f}, below the threshold {scene.threshold:.2f}"
        return _crop(scene, MISSES, "Miss", caption, scene.finding(low.finding), nodule)
    around = crop_px(scene.case, [box_or_point(scene.case, nodule)])
    near = next((finding for finding in scene.scored_image.findings if inside(finding.center_px, around)), None)
    if near is None:
        return _crop(scene, MISSES, "Miss", f"{start}nothing found near it", None, nodule)
    off = _distance(scene.case, near, nodule)
    return _crop(scene, MISSES, "Miss", f"{start}best finding near it {near.score:.2f}, {off} away", near, nodule)


def _false_positive(scene: _Scene, positive: FalsePositive, finding: Finding) -> Crop:
    size = "" if finding.diameter_mm is None else f", {finding.diameter_mm:.0f} mm across"
    place = {True: ", in the lung fields", False: ", outside the lung fields", None: ""}[positive.in_lung]
    caption = f"{scene.case.name}: score {positive.score:.2f}{size}{place}; "
    if scene.case.nodules:
        nearest = min(scene.case.nodules, key=lambda nodule: math.dist(finding.center_px, (nodule.x_px, nodule.y_px)))
        caption += f"nearest nodule ({nodule_words(nearest)}) {_distance(scene.case, finding, nearest)} away"
    else:
        caption += "an image without a nodule"
    return _crop(scene, FALSE_POSITIVES, f"False positive, {positive.score:.2f}", caption, finding, None)


def _crop(scene: _Scene, group: str, title: str, caption: str, finding: Finding | None, nodule: Nodule | None) -> Crop:
    """Around nodule and finding of a hit, the nodule of a miss, the finding of a false positive."""
    boxes = [] if finding is None or group == MISSES else [finding.box_px]
    boxes += [] if nodule is None else [box_or_point(scene.case, nodule)]
    part = crop_px(scene.case, boxes)
    return Crop(group, title, caption, scene.scored_image, part, finding, scene.threshold)


def _distance(case: Case, finding: Finding, nodule: Nodule) -> str:
    """The distance between the centres in mm, in pixels where the spacing is unknown."""
    row, col = case.spacing_mm or (1.0, 1.0)
    x, y = finding.center_px
    return f"{math.hypot((x - nodule.x_px) * col, (y - nodule.y_px) * row):.1f} {'mm' if case.spacing_mm else 'pixels'}"
