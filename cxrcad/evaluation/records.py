"""What scoring keeps: every finding, the truth and what became of them, image by image, with the terms of it all.

matches.json is raw: each figure, under another hit rule too, can be made from it again without the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxrcad.config import PROTOCOLS
from cxrcad.core import Case, CxrcadError, EvaluationError, Finding, ModelIdentity, Nodule, counted
from cxrcad.documents import MALFORMED, fault_words, made
from cxrcad.evaluation.froc import Operating, score_at_threshold
from cxrcad.evaluation.matching import HitRule, ImageMatch, match_image
from cxrcad.files import read_json, write_json

__all__ = [
    "Detail",
    "FoldResult",
    "Terms",
    "check_once",
    "from_document",
    "nodule_words",
    "pooled_matches",
    "read_matches",
    "rematched",
    "scope",
    "terms_lines",
    "to_document",
    "write_matches",
]

SCHEMA = "cxrcad/matches/2"

IMAGE_WORDS: Mapping[str, str] = {
    "positives": "images with a nodule only",
    "in-lung": "images with a nodule, all in the lung fields",
    "all": "images with a nodule and normal images",
}
AXIS_WORDS: Mapping[str, str] = {"all": "all scored images", "normals": "the normal images"}


@dataclass(frozen=True)
class Terms:
    """What a figure rests on besides the matches; printed with it.

    `data` names the data set, `model.threshold` is the operating point and `threshold_from` says in words where it was
    chosen; `network` and `tasks` are settings' names. `fold` is None where the cases are no fold. `images` is the image
    set where it is not the protocol's own; `fp_axis` says over which images false positives are counted.
    `settings_sha256` is that of the model's settings, "" where nobody wrote it down.
    """

    data: str
    protocol: str
    rule: HitRule
    model: ModelIdentity
    network: str
    tasks: str
    threshold_from: str
    fold: int | None = None
    images: str | None = None
    fp_axis: str = "all"
    settings_sha256: str = ""

    @property
    def image_set(self) -> str:
        """positives, in-lung or all."""
        return self.images or PROTOCOLS.get(self.protocol, "all")


@dataclass(frozen=True)
class Detail:
    """One scored image: truth, every finding best first, and how its maps overlap with the true masks.

    `in_lung` says of each finding whether its centre lies in the true lung fields (None without a mask). `lung_iou` and
    `lung_hd95_mm` (95th percentile of the distances between the outlines, mm) go with the lung Dice; `nodule_dice` is
    of the nodule map cut at the threshold and the discs. None where map, mask or spacing lack. `masks_sha256` is that
    of the lung masks, "" where there is none, and None where nobody wrote it down.
    """

    case: Case
    sha256: str
    findings: tuple[Finding, ...]
    in_lung: tuple[bool | None, ...]
    lung_iou: float | None = None
    lung_hd95_mm: float | None = None
    nodule_dice: float | None = None
    masks_sha256: str | None = None


@dataclass(frozen=True)
class FoldResult:
    """The raw matches of one fold's scored cases, each image's lung Dice (None without map or mask), and the terms.

    `trained_on` names scored cases whose image stands in the model's training list: figures with any are no test.
    `details` goes with `matches`, image by image.
    """

    terms: Terms
    matches: tuple[ImageMatch, ...]
    lung_dice: tuple[float | None, ...]
    trained_on: tuple[str, ...] = ()
    details: tuple[Detail, ...] = ()

    @property
    def operating(self) -> Operating:
        """Counts and figures at the model's threshold. Raises EvaluationError where there is no nodule."""
        return score_at_threshold(self.matches, self.terms.model.threshold, self.terms.fp_axis)

    @property
    def known_dice(self) -> tuple[float, ...]:
        """Lung Dice of the images that have one."""
        return tuple(value for value in self.lung_dice if value is not None)


def nodule_words(nodule: Nodule) -> str:
    """The nodule as far as it is known: "18 mm, subtlety 4, l.upper lobe"."""
    size = "unknown size" if nodule.diameter_mm is None else f"{nodule.diameter_mm:.0f} mm"
    subtlety = None if nodule.subtlety is None else f"subtlety {nodule.subtlety}"
    return ", ".join(filter(None, (size, subtlety, nodule.location)))


def rematched(detail: Detail, rule: HitRule) -> ImageMatch:
    """The image's findings matched again with its truth under `rule`. Raises EvaluationError."""
    places = {finding.center_px: inside for finding, inside in zip(detail.findings, detail.in_lung, strict=True)}
    known = any(inside is not None for inside in detail.in_lung)
    return match_image(detail.case, detail.findings, rule, _lookup(places) if known else None)


def _lookup(places: Mapping[tuple[float, float], bool | None]) -> Callable[[float, float], bool]:
    return lambda x, y: bool(places[x, y])


def pooled_matches(results: Sequence[FoldResult]) -> tuple[ImageMatch, ...]:
    """The matches of several folds in one row.

    Raises:
        EvaluationError: None given, an image stands in two of them, or they differ in data, protocol or hit rule.
    """
    check_alike(results)
    matches = tuple(match for result in results for match in result.matches)
    check_once([match.case for match in matches])
    return matches


def terms_lines(terms: Terms) -> tuple[str, str]:
    """What a figure rests on, in two lines: data, protocol, images and axis; the hit rule."""
    axis = "" if terms.fp_axis == "all" else f"; false positives are counted over {AXIS_WORDS[terms.fp_axis]}"
    line = f"Data {terms.data}, protocol {terms.protocol} ({IMAGE_WORDS[terms.image_set]}{axis})."
    return line, terms.rule.describe()


def terms_words(terms: Terms) -> str:
    """What tells evaluations of the same cases apart: "protocol paper, hit rule center", and images where chosen."""
    images = f", images {terms.images}" if terms.images else ""
    return f"protocol {terms.protocol}{images}, hit rule {terms.rule.kind}"


def terms_flags(terms: Terms) -> str:
    """The options of `cxrcad evaluate` that give these terms."""
    images = f" --images {terms.images}" if terms.images else ""
    return f"--protocol {terms.protocol}{images} --hit-rule {terms.rule.kind} --data DATA"


def scope(results: Sequence[FoldResult]) -> str:
    """How much these folds hold: "folds 1, 2: 62 images, 62 nodules". Raises EvaluationError as `pooled_matches`."""
    matches = pooled_matches(results)
    folds = [str(result.terms.fold) for result in results if result.terms.fold is not None]
    name = {0: "all cases", 1: "fold "}.get(len(folds), "folds ") + ", ".join(folds)
    nodules = sum(match.n_nodules for match in matches)
    return f"{name}: {counted(len(matches), 'image')}, {counted(nodules, 'nodule')}"


def check_once(names: Sequence[str]) -> None:
    """Raise EvaluationError where a name stands twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise EvaluationError(f"{twice[0]}: the image is scored {names.count(twice[0])} times; score each image once")


def check_alike(results: Sequence[FoldResult]) -> None:
    """Raise EvaluationError unless there are results, all under the same data, protocol, images, rule and axis."""
    if not results:
        raise EvaluationError("there is no scored fold; evaluate one first")
    for name in ("data", "protocol", "rule", "image_set", "fp_axis"):
        if len({getattr(result.terms, name) for result in results}) > 1:
            raise EvaluationError(f"the folds differ in their {name}, so they do not compare; score them alike")


def to_document(result: FoldResult) -> dict[str, Any]:
    """The result as the JSON document of matches.json; `from_document` gives it back bit for bit."""
    terms = result.terms
    details = result.details or (None,) * len(result.matches)
    images = []
    for match, overlap, detail in zip(result.matches, result.lung_dice, details, strict=True):
        image = {
            "case": match.case,
            "nodules": match.n_nodules,
            "hits": [asdict(hit) for hit in match.hits],
            "false_positives": [asdict(positive) for positive in match.false_positives],
            "duplicates": list(match.duplicates),
            "lung_dice": overlap,
        }
        images.append(image if detail is None else {**image, **_detail(detail)})
    return {
        "schema": SCHEMA,
        "data": terms.data,
        "protocol": terms.protocol,
        "images_scored": terms.images,
        "fp_axis": terms.fp_axis,
        "fold": terms.fold,
        "hit_rule": {**asdict(terms.rule), "sentence": terms.rule.describe()},
        "model": asdict(terms.model),
        "network": terms.network,
        "tasks": terms.tasks,
        "threshold_from": terms.threshold_from,
        "settings_sha256": terms.settings_sha256,
        "trained_on": list(result.trained_on),
        "images": images,
    }


def _detail(detail: Detail) -> dict[str, Any]:
    case = detail.case
    return {
        "path": str(case.image),
        "sha256": detail.sha256,
        "masks_sha256": detail.masks_sha256,
        **{name: getattr(case, name) for name in ("rows", "cols", "spacing_mm", "age_years", "sex", "view", "groups")},
        "truth": [asdict(nodule) for nodule in case.nodules],
        "findings": [
            {**asdict(finding), "in_lung": inside}
            for finding, inside in zip(detail.findings, detail.in_lung, strict=True)
        ],
        **{name: getattr(detail, name) for name in ("lung_iou", "lung_hd95_mm", "nodule_dice")},
    }


def from_document(document: Any, origin: str) -> FoldResult:
    """The result that a matches document holds; EvaluationError names `origin` and what is wrong with it."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise EvaluationError(f"{origin}: not a document of schema {SCHEMA}; make it again with `cxrcad evaluate`")
    try:
        rule = {key: value for key, value in document["hit_rule"].items() if key != "sentence"}
        kept = ("data", "protocol", "model", "network", "tasks", "threshold_from", "fold", "fp_axis")
        values = {key: document[key] for key in kept}
        values["settings_sha256"] = document.get("settings_sha256", "")  # documents from before name none
        terms = made(Terms, {**values, "rule": rule, "images": document["images_scored"]})
        if terms.image_set not in IMAGE_WORDS or terms.fp_axis not in AXIS_WORDS:
            raise ValueError(f"images {terms.image_set} and axis {terms.fp_axis} are not both known")
        images = document["images"]
        matches = tuple(_match_from(image) for image in images)
        overlaps = tuple(None if image["lung_dice"] is None else made(float, image["lung_dice"]) for image in images)
        check_once([match.case for match in matches])
        details = tuple(_detail_from(image) for image in images if "findings" in image)
        if details and len(details) < len(matches):
            raise ValueError(f"{len(matches) - len(details)} images have no findings")
        _check_numbers(matches, details)
        return FoldResult(terms, matches, overlaps, tuple(made(str, name) for name in document["trained_on"]), details)
    except (*MALFORMED, CxrcadError) as fault:
        reason = fault_words(fault)
        raise EvaluationError(f"{origin}: damaged matches ({reason}); make it again with `cxrcad evaluate`") from None


def _match_from(image: Mapping[str, Any]) -> ImageMatch:
    values = {key: image[key] for key in ("case", "hits", "false_positives", "duplicates")}
    match = made(ImageMatch, {**values, "n_nodules": image["nodules"]})
    scores = [hit.score for hit in match.hits] + [positive.score for positive in match.false_positives]
    if not all(math.isfinite(score) for score in [*scores, *match.duplicates]):
        raise ValueError(f"{match.case} has a score that is no finite number")
    taken = {hit.nodule for hit in match.hits}
    if len(taken) < len(match.hits) or not taken <= set(range(match.n_nodules)):
        raise ValueError(f"{match.case} has {match.n_nodules} nodules and hits on {[hit.nodule for hit in match.hits]}")
    return match


def _detail_from(image: Mapping[str, Any]) -> Detail:
    own = ("rows", "cols", "spacing_mm", "age_years", "sex", "view", "groups")
    case = {
        **{name: image[name] for name in own},
        **{"name": image["case"], "image": image["path"], "nodules": image["truth"]},
    }
    values = {name: image[name] for name in ("sha256", "lung_iou", "lung_hd95_mm", "nodule_dice")}
    values["masks_sha256"] = image.get("masks_sha256")  # documents from before name none
    findings = [{key: value for key, value in found.items() if key != "in_lung"} for found in image["findings"]]
    in_lung = [found["in_lung"] for found in image["findings"]]
    return made(Detail, {**values, "case": case, "findings": findings, "in_lung": in_lung})


def _check_numbers(matches: Sequence[ImageMatch], details: Sequence[Detail]) -> None:
    """Raise ValueError where a match counts nodules or findings that its image has not, or the image has no size."""
    for match, detail in zip(matches, details, strict=False):
        case = detail.case
        numbers = [hit.finding for hit in match.hits] + [wrong.finding for wrong in match.false_positives]
        if match.n_nodules != len(case.nodules):
            raise ValueError(f"{case.name} has {match.n_nodules} nodules and the truth of {len(case.nodules)}")
        if not all(number is None or 0 <= number < len(detail.findings) for number in numbers):
            raise ValueError(f"{case.name} has {len(detail.findings)} findings and matches of {numbers}")
        if min(case.rows, case.cols, *(case.spacing_mm or ())) <= 0:
            raise ValueError(f"{case.name} has {case.rows} x {case.cols} pixels of {case.spacing_mm} mm")


def write_matches(path: Path, result: FoldResult) -> None:
    """Write matches.json, atomically. Raises WriteError."""
    write_json(path, to_document(result))


def read_matches(path: Path) -> FoldResult:
    """The result that `write_matches` wrote. Raises EvaluationError."""
    return from_document(read_json(path, EvaluationError), str(path))
