"""How well the area of a lesion is found: Dice of maps cut at a threshold, and which images are reported.

The paper (section 4.3) measures pleural effusion so. An effusion is no isolated spot that a centre could hit: there are
no matches and no FROC of it. Dice is taken on the model's grid, over the images that have the lesion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import EvaluateConfig, FindConfig, settings_of, to_dict
from cxrcad.core import Case, CxrcadError, EvaluationError, ModelIdentity, UsageError, counted
from cxrcad.datasets.content import Content, content_of, differences, masks_sha256, truth_sha256
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split, load_folds, make_folds
from cxrcad.datasets.images import read_case
from cxrcad.datasets.masks import lung_mask, truth_mask
from cxrcad.datasets.read import read_data
from cxrcad.documents import MALFORMED, fault_words, made
from cxrcad.evaluation.bootstrap import Interval, draw_images, with_intervals
from cxrcad.evaluation.kept import NEW, because, model_changes
from cxrcad.evaluation.metrics import Figures, image_auc, or_nan, weighted_mean
from cxrcad.evaluation.records import patient_of
from cxrcad.evaluation.runs import CARD, check_places, chosen_run, data_of_run, folds_to_score
from cxrcad.evaluation.scoring import of_every_case
from cxrcad.evaluation.statistics import Spread, dice, spread
from cxrcad.files import check_out, read_json, write_json
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.detector import Detector, Examined
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import Bundle, resolve_model

__all__ = [
    "BEST_DICE",
    "FIGURES",
    "Overlap",
    "Segmentation",
    "SegmentedFold",
    "SegmentedImage",
    "best_dice",
    "measured",
    "outlining",
    "overlap",
    "read_segmentation",
    "score_segmentation",
    "spreads",
]

SCHEMA = "cxrcad/segmentation/1"
KEPT = "segmentation.json"

LEVELS = np.arange(1, 100, dtype=np.int64)
"""The thresholds that are tried, in hundredths."""

BEST_DICE = "best mean Dice on the validation cases"

FIGURES = ("Dice", "sensitivity", "specificity", "image AUC, highest probability", "image AUC, area", "lung Dice")
"""The figures by name: see `measured`."""

IGNORED = ("protocol", "images", "hit_rule", "duplicates", "fp_axis", "missing")
ABSENT = ("predictions", "truth_file", "beside", "seeds")
"""Settings of `cxrcad evaluate` that speak of findings on nodules, as the limits of hit rules do, and those that only
nodules have yet."""

Note = Callable[[str], None]
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


@dataclass(frozen=True)
class Segmentation:
    """The folds of one run or model, and the folder where their figures belong."""

    name: str
    folder: Path
    folds: tuple[SegmentedFold, ...]


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


def score_segmentation(config: EvaluateConfig, note: Note = lambda _: None) -> Segmentation:
    """The scored test cases of a run's folds (or, with `config.model`, of a packaged model's).

    What the same model gave for the same image, outlines and lung masks is used again, image by image. `note` is told
    which run was chosen and how it goes on. Raises UsageError for settings of nodules, DataError, EvaluationError,
    ModelError.
    """
    _check_settings(config)
    check_out(config.out)
    if config.model is not None:
        bundle = resolve_model(config.model, config.data.lesion)
        dataset = read_data(config.data)
        splits = {split.fold: split for split in make_folds(dataset, config.data.fold_seed)}
        wanted = [fold for fold in splits if config.fold in ("all", str(fold))]
        bundles, name, folder = dict.fromkeys(wanted, bundle), bundle.name, config.runs / bundle.name
    else:
        run = chosen_run(config, note)
        bundles = folds_to_score(run, config, note)
        data = replace(config.data, data=config.data.data or data_of_run(run))
        dataset = read_data(data)
        splits = {split.fold: split for split in load_folds(run / "folds.json", dataset)}
        name, folder = run.name, run
    folder = config.out or folder
    folds = []
    for fold, bundle in bundles.items():
        own = "--threshold" if config.threshold is not None else str(bundle.card.get("threshold_from", CARD))
        folds.append(_scored(bundle, dataset, splits[fold], config, (own, folder / f"fold{fold}", note)))
    return Segmentation(name, folder, tuple(folds))


def _check_settings(config: EvaluateConfig) -> None:
    """Raise UsageError for a setting that would be ignored."""
    usual, given = to_dict(EvaluateConfig()), to_dict(config)
    for item in settings_of(EvaluateConfig):
        of_nodules = item.name in (*IGNORED, *ABSENT) or item.path[0] == "hit_limits"
        if of_nodules and given[item.name] != usual[item.name]:
            raise UsageError(f"{item.flag}: is for nodules and not for --lesion {config.data.lesion}; leave it out")


def _scored(
    bundle: Bundle,
    dataset: Dataset,
    split: Split,
    config: EvaluateConfig,
    told: tuple[str, Path, Note],
) -> SegmentedFold:
    """One fold; `told` is where the threshold is from, the fold's folder, and who is told."""
    threshold_from, place, note = told
    bundle = outlining(bundle)
    if config.threshold is not None:
        bundle = replace(bundle, find=replace(bundle.find, threshold=config.threshold))
    cases = dataset.select(split.test)
    if not any(case.positive for case in cases):
        raise EvaluationError(
            f"{dataset.folder}: no test case of fold {split.fold} has an {dataset.lesion}, so there is no Dice; score "
            "another fold, or remove the run's folds.json and train on other folds"
        )
    network = bundle.card.get("network", {})
    empty = SegmentedFold(
        fold=split.fold,
        data=str(dataset.folder),
        model=ModelIdentity(bundle.name, bundle.sha256, bundle.threshold, ""),
        network=str(network.get("network", bundle.name)),
        tasks=str(network.get("tasks", "multi")),
        threshold_from=threshold_from,
        min_area_mm2=bundle.find.min_area_mm2,
        settings_sha256=bundle.settings_sha256,
        images=(),
    )
    before = _kept(place)
    images, reasons = _used_again(before, bundle, cases)
    if images:
        note(f"fold {split.fold}: {counted(len(images), 'image')}, {place / KEPT} used again")
    providers = set(before.model.provider.split(", ")) if before is not None and images else set()
    if reasons:
        check_places(place, config)
        detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
        note(f"fold {split.fold}: segmenting {counted(len(reasons), 'image')}{because(reasons)}")
        todo = [case for case in cases if case.name in reasons]
        new = of_every_case(todo, lambda case: _segmented(case, detector.examine(read_case(case)), bundle.find))
        images |= {image.case: image for image in new}
        providers.add(detector.provider)
    ordered = tuple(images[case.name] for case in cases)
    result = replace(
        empty,
        model=replace(empty.model, provider=", ".join(sorted(providers))),
        images=ordered,
        trained_on=tuple(image.case for image in ordered if image.sha256 in bundle.training_images),
    )
    if result != before:
        write_json(place / KEPT, {"schema": SCHEMA, **asdict(result)})
    return result


def outlining(bundle: Bundle) -> Bundle:
    """The model as an area is measured with it: an area has no peaks."""
    return replace(bundle, find=replace(bundle.find, method="components"))


def _used_again(
    before: SegmentedFold | None, bundle: Bundle, cases: Sequence[Case]
) -> tuple[dict[str, SegmentedImage], dict[str, tuple[str, ...]]]:
    """By case: the kept images that are used, and for the others, in words, why they are not."""
    known = {} if before is None else {image.case: image for image in before.images}
    images: dict[str, SegmentedImage] = {}
    reasons: dict[str, tuple[str, ...]] = {}
    for case in cases:
        image = known.get(case.name)
        if before is None or image is None:
            reasons[case.name] = (NEW,)
            continue
        changed = model_changes(before.model.sha256, before.settings_sha256, bundle)
        if not changed:
            content = Content(image.sha256, image.truth_sha256, image.masks_sha256)
            changed = tuple(f"{what} changed" for what in differences(content, content_of(case)))
        if changed:
            reasons[case.name] = changed
        else:
            images[case.name] = replace(image, patient=patient_of(case))
    return images, reasons


def _segmented(case: Case, examined: Examined, find: FindConfig) -> SegmentedImage:
    geometry, lung = examined.geometry, examined.maps.get("lung")
    inner = slice(geometry.content_rows), slice(geometry.content_cols)
    values = examined.maps["nodule"][inner]
    assert find.threshold is not None, "a bundle is only made with a threshold"
    found = values >= np.float32(find.threshold)
    true_lung = lung_mask(case, geometry)
    return SegmentedImage(
        case=case.name,
        patient=patient_of(case),
        sha256=examined.result.sha256,
        positive=case.positive,
        dice=dice(found, truth_mask(case, geometry, "disc")[inner]) if case.positive else None,
        score=min(1.0, float(values.max())),
        area=float(found.mean()),
        reported=bool(examined.result.findings),
        lung_dice=None
        if lung is None or true_lung is None
        else dice(lung_fields(lung[inner], find.lung_threshold), true_lung[inner]),
        truth_sha256=truth_sha256(case),
        masks_sha256=masks_sha256(case),
    )


def _kept(place: Path) -> SegmentedFold | None:
    """What is kept in a fold's folder; a damaged file is as if it was not there."""
    try:
        return read_segmentation(place)
    except CxrcadError:
        return None


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
