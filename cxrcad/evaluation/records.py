"""What scoring keeps: every finding, the truth and what became of them, image by image, with the context of it all.

matches.json is raw: each figure, under another hit rule too, can be made from it again without the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.config import HIT_KINDS, PROTOCOLS
from cxrcad.core import Case, CxrcadError, EvaluationError, Finding, ModelIdentity, Nodule, counted
from cxrcad.datasets.content import nodule_document
from cxrcad.documents import MALFORMED, fault_words, made
from cxrcad.evaluation.froc import Operating, score_at_threshold, score_at_thresholds
from cxrcad.evaluation.matching import HitRule, ImageMatch, match_image
from cxrcad.evaluation.protocols import rule_changes
from cxrcad.files import read_json, write_json

__all__ = [
    "FoldResult",
    "ScoredImage",
    "ScoredMatch",
    "ScoringContext",
    "check_once",
    "context_lines",
    "from_document",
    "gathered",
    "merged",
    "nodule_words",
    "patient_of",
    "pooled",
    "pooled_matches",
    "read_matches",
    "rematched",
    "scope",
    "to_document",
    "write_matches",
]

SCHEMA = "cxrcad/matches/2"
CASE_FIELDS = ("rows", "cols", "spacing_mm", "age_years", "sex", "view", "groups")
OVERLAPS = ("lung_iou", "lung_hd95_mm", "nodule_dice")

IMAGE_WORDS: Mapping[str, str] = {
    "positives": "images with a nodule only",
    "in-lung": "images with a nodule, all in the lung fields",
    "all": "images with a nodule and normal images",
}
AXIS_WORDS: Mapping[str, str] = {"all": "all scored images", "normals": "the normal images"}


@dataclass(frozen=True)
class ScoringContext:
    """What a figure rests on besides the matches; printed with it.

    `data` names the data set, `model.threshold` is the operating point and `threshold_from` says in words where it was
    chosen; `network` and `tasks` are settings' names. `fold` is None where the cases are no fold. `images` is the image
    set where it is not the protocol's own; `fp_axis` says over which images false positives are counted.
    `settings_sha256` is that of the model's settings, "" where nobody wrote it down. `calibrated_on` says on what the
    scores were calibrated, "" where they only rank.
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
    calibrated_on: str = ""

    @property
    def image_set(self) -> str:
        """positives, in-lung or all."""
        return self.images or PROTOCOLS.get(self.protocol, "all")


@dataclass(frozen=True)
class ScoredImage:
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


ScoredMatch = tuple[ImageMatch, float | None, ScoredImage]
"""What became of one image, its lung Dice, and what else is kept of it."""


@dataclass(frozen=True)
class FoldResult:
    """The raw matches of one fold's scored cases, each image's lung Dice (None without map or mask), and the context.

    `trained_on` names scored cases whose image stands in the model's training list: figures with any are no test.
    `scored` goes with `matches`, image by image.
    """

    context: ScoringContext
    matches: tuple[ImageMatch, ...]
    lung_dice: tuple[float | None, ...]
    trained_on: tuple[str, ...] = ()
    scored: tuple[ScoredImage, ...] = ()

    @property
    def operating(self) -> Operating:
        """Counts and figures at the model's threshold. Raises EvaluationError where there is no nodule."""
        return score_at_threshold(self.matches, self.context.model.threshold, self.context.fp_axis)

    @property
    def known_dice(self) -> tuple[float, ...]:
        """Lung Dice of the images that have one."""
        return tuple(value for value in self.lung_dice if value is not None)


def gathered(context: ScoringContext, images: Sequence[ScoredMatch], training_images: frozenset[str]) -> FoldResult:
    """The images as a fold's result, which names those whose SHA-256 is among `training_images`."""
    return FoldResult(
        context,
        matches=tuple(match for match, _, _ in images),
        lung_dice=tuple(overlap for _, overlap, _ in images),
        trained_on=tuple(one.case.name for _, _, one in images if one.sha256 in training_images),
        scored=tuple(one for _, _, one in images),
    )


def merged(results: Sequence[FoldResult]) -> FoldResult:
    """What one model found in the test cases of several folds, as one result of no fold.

    Raises EvaluationError where an image stands in two of them, or they differ in data, protocol or hit rule.
    """
    return FoldResult(
        replace(results[0].context, fold=None),
        pooled_matches(results),
        tuple(overlap for result in results for overlap in result.lung_dice),
        tuple(name for result in results for name in result.trained_on),
        tuple(image for result in results for image in result.scored),
    )


def patient_of(case: Case) -> str:
    """The case's patient among its groups; its name where none is known."""
    return next((group for group in case.groups if group.startswith("patient:")), case.name)


def nodule_words(nodule: Nodule) -> str:
    """The nodule as far as it is known: "18 mm, subtlety 4, l.upper lobe"."""
    size = "unknown size" if nodule.diameter_mm is None else f"{nodule.diameter_mm:.0f} mm"
    subtlety = None if nodule.subtlety is None else f"subtlety {nodule.subtlety}"
    return ", ".join(filter(None, (size, subtlety, nodule.location)))


def rematched(scored_image: ScoredImage, rule: HitRule) -> ImageMatch:
    """The image's findings matched again with its truth under `rule`. Raises EvaluationError."""
    places = dict(zip((one.center_px for one in scored_image.findings), scored_image.in_lung, strict=True))
    known = any(inside is not None for inside in scored_image.in_lung)
    lung = (lambda x, y: bool(places[x, y])) if known else None
    return match_image(scored_image.case, scored_image.findings, rule, lung)


def pooled_matches(results: Sequence[FoldResult]) -> tuple[ImageMatch, ...]:
    """The matches of several folds in one row.

    Raises:
        EvaluationError: None given, an image stands in two of them, or they differ in data, protocol or hit rule.
    """
    check_alike(results)
    matches = tuple(match for result in results for match in result.matches)
    check_once([match.case for match in matches])
    return matches


def pooled(results: Sequence[FoldResult]) -> Operating:
    """The counts over the images of several folds, each at its own fold's threshold. Raises EvaluationError."""
    matches = pooled_matches(results)
    limits = [result.context.model.threshold for result in results for _ in result.matches]
    return score_at_thresholds(matches, limits, results[0].context.fp_axis)


def context_lines(context: ScoringContext) -> tuple[str, str]:
    """What a figure rests on, in two lines: data, protocol, images and axis; the hit rule."""
    axis = "" if context.fp_axis == "all" else f"; false positives are counted over {AXIS_WORDS[context.fp_axis]}"
    line = f"Data {context.data}, protocol {context.protocol} ({IMAGE_WORDS[context.image_set]}{axis})."
    return line, context.rule.describe()


def context_words(context: ScoringContext) -> str:
    """What tells evaluations of the same cases apart: "protocol paper, hit rule center", and images where chosen."""
    images = f", images {context.images}" if context.images else ""
    return f"protocol {context.protocol}{images}, hit rule {context.rule.kind}"


def context_flags(context: ScoringContext) -> str:
    """The options of `cxrcad evaluate` that give this context."""
    images = f" --images {context.images}" if context.images else ""
    changed = rule_changes(context.protocol, context.rule, context.fp_axis)
    more = "".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items())
    return f"--protocol {context.protocol}{images} --hit-rule {context.rule.kind}{more} --data DATA"


def scope(results: Sequence[FoldResult]) -> str:
    """How much these folds hold: "folds 1, 2: 62 images, 62 nodules". Raises EvaluationError as `pooled_matches`."""
    matches = pooled_matches(results)
    folds = [str(result.context.fold) for result in results if result.context.fold is not None]
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
        if len({getattr(result.context, name) for result in results}) > 1:
            raise EvaluationError(f"the folds differ in their {name}, so they do not compare; score them alike")


def to_document(result: FoldResult) -> dict[str, Any]:
    """The result as the JSON document of matches.json; `from_document` gives it back bit for bit."""
    context, rule = result.context, result.context.rule
    scored_images = result.scored or (None,) * len(result.matches)
    images = zip(result.matches, result.lung_dice, scored_images, strict=True)
    return {
        "schema": SCHEMA,
        "data": context.data,
        "protocol": context.protocol,
        "images_scored": context.images,
        "fp_axis": context.fp_axis,
        "fold": context.fold,
        "hit_rule": {
            "kind": rule.kind,
            **rule.limits(),
            "duplicates": rule.duplicates,
            "strict": rule.strict,
            "sentence": rule.describe(),
        },
        "model": asdict(context.model),
        **{name: getattr(context, name) for name in ("network", "tasks", "threshold_from", "settings_sha256")},
        **({"calibrated_on": context.calibrated_on} if context.calibrated_on else {}),
        "trained_on": list(result.trained_on),
        "images": [_image(*one) for one in images],
    }


def _image(match: ImageMatch, lung_dice: float | None, scored_image: ScoredImage | None) -> dict[str, Any]:
    image = {
        "case": match.case,
        "nodules": match.n_nodules,
        "hits": [asdict(hit) for hit in match.hits],
        "false_positives": [asdict(positive) for positive in match.false_positives],
        "duplicates": list(match.duplicates),
        "lung_dice": lung_dice,
    }
    if scored_image is None:
        return image
    case = scored_image.case
    findings = zip(scored_image.findings, scored_image.in_lung, strict=True)
    return {
        **image,
        "path": str(case.image),
        "sha256": scored_image.sha256,
        "masks_sha256": scored_image.masks_sha256,
        **{name: getattr(case, name) for name in CASE_FIELDS},
        **({} if case.data_set is None else {"data_set": case.data_set}),
        "truth": [nodule_document(nodule) for nodule in case.nodules],
        "findings": [{**asdict(finding), "in_lung": inside} for finding, inside in findings],
        **{name: getattr(scored_image, name) for name in OVERLAPS},
    }


def from_document(document: Any, origin: str) -> FoldResult:
    """The result that a matches document holds; EvaluationError names `origin` and what is wrong with it."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise EvaluationError(f"{origin}: not a document of schema {SCHEMA}; make it again with `cxrcad evaluate`")
    try:
        kept = ("data", "protocol", "model", "network", "tasks", "threshold_from", "fold", "fp_axis")
        values = {key: document[key] for key in kept}
        for name in ("settings_sha256", "calibrated_on"):
            values[name] = document.get(name, "")  # documents from before name none
        values |= {"rule": _rule_from(document["hit_rule"]), "images": document["images_scored"]}
        context = made(ScoringContext, values)
        if context.image_set not in IMAGE_WORDS or context.fp_axis not in AXIS_WORDS:
            raise ValueError(f"images {context.image_set} and axis {context.fp_axis} are not both known")
        images = document["images"]
        matches = tuple(_match_from(image) for image in images)
        overlaps = tuple(None if image["lung_dice"] is None else made(float, image["lung_dice"]) for image in images)
        check_once([match.case for match in matches])
        pairs = zip(images, matches, strict=True)
        scored_images = tuple(_scored_image_from(image, match) for image, match in pairs if "findings" in image)
        if scored_images and len(scored_images) < len(matches):
            raise ValueError(f"{len(matches) - len(scored_images)} images have no findings")
        trained_on = tuple(made(str, name) for name in document["trained_on"])
        return FoldResult(context, matches, overlaps, trained_on, scored_images)
    except (*MALFORMED, CxrcadError) as fault:
        reason = fault_words(fault)
        raise EvaluationError(f"{origin}: damaged matches ({reason}); make it again with `cxrcad evaluate`") from None


def _rule_from(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a HitRule; a limit that the document lacks is of a rule that came later."""
    limits = HitRule(document["kind"]).limits()
    limits |= {name: made(float, document[name]) for name in limits if name in document}
    own = HIT_KINDS[document["kind"]].limit
    values = {key: value for key, value in document.items() if key not in ("sentence", *limits)}
    return values if own is None else {**values, "limit": limits[own.name]}


def _match_from(image: Mapping[str, Any]) -> ImageMatch:
    values = {key: image[key] for key in ("case", "hits", "false_positives", "duplicates")}
    match = made(ImageMatch, {**values, "n_nodules": image["nodules"]})
    scores = [*(hit.score for hit in match.hits), *(fp.score for fp in match.false_positives), *match.duplicates]
    if not all(math.isfinite(score) for score in scores):
        raise ValueError(f"{match.case} has a score that is no finite number")
    taken = [hit.nodule for hit in match.hits]
    if len(set(taken)) < len(taken) or not set(taken) <= set(range(match.n_nodules)):
        raise ValueError(f"{match.case} has {match.n_nodules} nodules and hits on {taken}")
    return match


def _scored_image_from(image: Mapping[str, Any], match: ImageMatch) -> ScoredImage:
    """The image, with as many nodules and findings as its match counts; ValueError where it has not, or has no size."""
    case = {"name": image["case"], "image": image["path"], "nodules": image["truth"], "data_set": image.get("data_set")}
    values = {
        "case": {**case, **{name: image[name] for name in CASE_FIELDS}},
        **{name: image[name] for name in ("sha256", *OVERLAPS)},
        "masks_sha256": image.get("masks_sha256"),  # documents from before name none
        "findings": [{key: value for key, value in found.items() if key != "in_lung"} for found in image["findings"]],
        "in_lung": [found["in_lung"] for found in image["findings"]],
    }
    found = made(ScoredImage, values)
    numbers = [*(hit.finding for hit in match.hits), *(fp.finding for fp in match.false_positives)]
    if match.n_nodules != len(found.case.nodules):
        raise ValueError(f"{match.case} has {match.n_nodules} nodules and the truth of {len(found.case.nodules)}")
    if not all(number is None or 0 <= number < len(found.findings) for number in numbers):
        raise ValueError(f"{match.case} has {len(found.findings)} findings and matches of {numbers}")
    rows, cols, spacing = found.case.rows, found.case.cols, found.case.spacing_mm
    if min(rows, cols, *(spacing or ())) <= 0:
        raise ValueError(f"{match.case} has {rows} x {cols} pixels of {spacing} mm")
    return found


def write_matches(path: Path, result: FoldResult) -> None:
    """Write matches.json, atomically. Raises WriteError."""
    write_json(path, to_document(result))


def read_matches(path: Path) -> FoldResult:
    """The result that `write_matches` wrote. Raises EvaluationError."""
    return from_document(read_json(path, EvaluationError), str(path))
