"""What was measured of a model and kept, checked before its card tells it: of this model, these test cases, this truth.

A run's content.json and folds.json say what the model was trained on and what it held out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.core import DataError, EvaluationError, ModelError, counted
from cxrcad.datasets.content import CONTENT_NAME, Content, differences, read_content, truth_sha256
from cxrcad.datasets.folds import FOLDS, FOLDS_NAME, WHOLE
from cxrcad.documents import MALFORMED, fault_words
from cxrcad.evaluation.records import FoldResult, context_flags, merged, read_matches
from cxrcad.evaluation.segmentation import SegmentedFold, read_segmentation
from cxrcad.files import read_json
from cxrcad.inference.model import Bundle, outlining

__all__ = ["NOT_CHECKED", "CheckedMatches", "Kept", "checked", "kept_matches", "kept_segmentation"]

NOT_CHECKED = "not checked"
"""The line of a card's figure that says what could not be compared."""


@dataclass(frozen=True)
class Kept:
    """What a kept file says that it is of. `settings_sha256` is "" in a file from before it was written down.

    `images` has, by case, the SHA-256 that the file knows: image, truth, masks. `again` is the command that makes it.
    """

    path: Path
    sha256: str
    settings_sha256: str
    threshold: float
    fold: int | None
    images: Mapping[str, Mapping[str, str]]
    again: str


@dataclass(frozen=True)
class CheckedMatches:
    """Kept matches of this very model; `notes` go into the card's figure: what could not be compared."""

    path: Path
    result: FoldResult
    notes: Mapping[str, str]


def kept_matches(source: Bundle) -> tuple[CheckedMatches, ...]:
    """The matches (matches-*.json) in the folder of the fold whose model `source` is, all checked, by file name.

    Those of all five folds of other data, which `evaluate --model` keeps in the folders fold1 to fold5 of it, are one.
    Raises ModelError for what another model found, EvaluationError for damaged files and for other data.
    """
    place = source.folder.parent
    own = [_matches(path, source) for path in sorted(place.glob("matches-*.json"))]
    for name in sorted({path.name for path in place.glob("fold?/matches-*.json")}):
        paths = sorted(place.glob(f"fold?/{name}"))
        if len(paths) == FOLDS:
            parts = [_matches(path, source) for path in paths]
            notes = {key: value for part in parts for key, value in part.notes.items()}
            own.append(CheckedMatches(place / name, merged([part.result for part in parts]), notes))
    return tuple(own)


def _matches(path: Path, source: Bundle) -> CheckedMatches:
    result = read_matches(path)
    context = result.context
    images = {}
    for scored_image in result.scored:
        masks = {} if scored_image.masks_sha256 is None else {"masks": scored_image.masks_sha256}
        images[scored_image.case.name] = {
            "image": scored_image.sha256,
            "truth": truth_sha256(scored_image.case),
            **masks,
        }
    again = f"cxrcad evaluate {_named(source)} --fold {context.fold} {context_flags(context)}"
    kept = Kept(
        path, context.model.sha256, context.settings_sha256, context.model.threshold, context.fold, images, again
    )
    notes = checked(kept, source)
    own = set(source.training.get("images", ()))
    seen = [name for name, known in images.items() if known["image"] in own]
    if seen:
        raise ModelError(
            f"{path}: scored {counted(len(seen), 'image')} that the model was trained on ({seen[0]}); with the data "
            f"that the run was trained on as DATA, run `{again}`, or remove the file"
        )
    if any(known["image"] in source.images_of_teacher for known in images.values()):
        notes = {**notes, "teacher": "was trained on some of these images, the model itself on none"}
    return CheckedMatches(path, result, notes)


def kept_segmentation(source: Bundle) -> tuple[SegmentedFold, Mapping[str, str]] | None:
    """The segmentation in the folder of the fold whose model `source` is, and what could not be compared of it.

    None where there is none. Raises ModelError for what another model gave, EvaluationError for a damaged file and for
    other data.
    """
    area = read_segmentation(source.folder.parent)
    if area is None:
        return None
    images: dict[str, dict[str, str]] = {}
    for one in area.images:
        more = {"truth": one.truth_sha256, "masks": one.masks_sha256} if one.truth_sha256 else {}
        images[one.case] = {"image": one.sha256, **more}
    kept = Kept(
        path=source.folder.parent / "segmentation.json",
        sha256=area.model.sha256,
        settings_sha256=area.settings_sha256,
        threshold=area.model.threshold,
        fold=area.fold,
        images=images,
        again=f"cxrcad evaluate --lesion {source.lesion} {_named(source)} --fold {area.fold} --data DATA",
    )
    return area, checked(kept, outlining(source))


def checked(kept: Kept, source: Bundle) -> dict[str, str]:
    """What of a kept file could not be compared, as a line of its figure on the card; {} where all was and is the same.

    Raises ModelError where another model, or other settings of its card, made the file, EvaluationError where its
    images are no test cases of their fold, or have changed since the run was trained, with their truth or lung masks.
    A model that was trained on every case of its run is tested on other data, which nothing knows.
    """
    remedy = f"run `{kept.again}`, or remove the file"
    if kept.sha256 != source.sha256:
        raise ModelError(
            f"{kept.path}: is of another model ({kept.sha256[:12]}...) than {source.folder} "
            f"({source.sha256[:12]}...); {remedy}"
        )
    if kept.threshold != source.threshold:
        raise ModelError(
            f"{kept.path}: was made at a threshold of {kept.threshold:g}, and the card of {source.folder} has "
            f"{source.threshold:g}; {remedy}"
        )
    if kept.settings_sha256 not in ("", source.settings_sha256):
        raise ModelError(f"{kept.path}: was made with other settings than the card of {source.folder} has; {remedy}")
    unknown = ["the model's settings but its threshold"] * (not kept.settings_sha256)
    if source.folder.parent.name == WHOLE:
        return {NOT_CHECKED: "; ".join([*unknown, "the data, which are not the run's"])}
    run = source.folder.parent.parent
    content = read_content(run)
    faults = [*_no_tests(kept, run), *(_other_data(kept, content, run / CONTENT_NAME) if content is not None else ())]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise EvaluationError(
            f"{kept.path}: {faults[0]}{more}; with the data that the run was trained on as DATA, {remedy}"
        )
    if content is None or any(not {"image", "truth"} <= set(known) for known in kept.images.values()):
        unknown.append("the data" if content is not None else f"the data, as the run has no {CONTENT_NAME}")
    return {NOT_CHECKED: "; ".join(unknown)} if unknown else {}


def _no_tests(kept: Kept, run: Path) -> Iterator[str]:
    """A sentence for each image that is no test case of its fold, as far as the run's folds are known."""
    path = run / FOLDS_NAME
    if kept.fold is None or not path.is_file():
        return
    document: Any = read_json(path, DataError)
    try:
        tests = {str(name) for fold in document["folds"] if fold["fold"] == kept.fold for name in fold["test"]}
    except MALFORMED as fault:
        raise DataError(f"{path}: damaged ({fault_words(fault)}); train in a new run folder") from None
    yield from (f"{name} is no test case of fold {kept.fold} in {path}" for name in kept.images if name not in tests)


def _other_data(kept: Kept, content: Mapping[str, Content], path: Path) -> Iterator[str]:
    """A sentence for each image that is not one of the run's, or whose pixels, truth or lung masks have changed."""
    for name, known in kept.images.items():
        now = content.get(name)
        if now is None:
            yield f"{name} is no case of {path}"
        else:
            changed = differences(replace(now, **known), now)
            yield from (f"{name} has another {what} than {path} says" for what in changed)


def _named(source: Bundle) -> str:
    """The options of `cxrcad evaluate` with which it writes into the folder of the fold whose model `source` is."""
    run = source.folder.parent.parent
    if source.folder.parent.name == WHOLE:
        return f"--model {source.folder.parent} --out {source.folder.parent}"
    return f"--run {run}" if (run / FOLDS_NAME).is_file() else f"--model {source.folder} --out {run}"
