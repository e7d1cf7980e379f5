"""A lesion that is measured by its area: models at work on the test cases of their folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrcad.config import EvaluateConfig, FindConfig, check_lesion_settings
from cxrcad.core import Case, CxrcadError, EvaluationError, counted
from cxrcad.datasets.content import Content, content_of, differences, masks_sha256, truth_sha256
from cxrcad.datasets.folds import Split
from cxrcad.datasets.images import read_case
from cxrcad.datasets.masks import lung_mask, truth_mask
from cxrcad.evaluation.records import patient_of
from cxrcad.evaluation.segmentation import KEPT, SegmentedFold, SegmentedImage, read_segmentation, write_segmentation
from cxrcad.evaluation.statistics import dice
from cxrcad.files import check_out
from cxrcad.inference.detector import Detector
from cxrcad.inference.examining import Examined
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import Bundle, outlining
from cxrcad.scoring.cases import of_every_case
from cxrcad.scoring.kept import NEW, because, model_changes
from cxrcad.scoring.runs import FoldsToScore, check_places, folds_to_score, told_by

__all__ = ["Segmentation", "score_segmentation"]

Note = Callable[[str], None]


@dataclass(frozen=True)
class Segmentation:
    """The folds of one run or model, and the folder where their figures belong."""

    name: str
    folder: Path
    folds: tuple[SegmentedFold, ...]


def score_segmentation(config: EvaluateConfig, note: Note = lambda _: None) -> Segmentation:
    """The scored test cases of a run's folds (or, with `config.model`, of a packaged model's).

    What the same model gave for the same image, outlines and lung masks is used again, image by image. `note` is told
    which run was chosen and how it goes on. Raises UsageError for settings of nodules, DataError, EvaluationError,
    ModelError.
    """
    check_lesion_settings(config, config.data.lesion)
    check_out(config.out)
    chosen = folds_to_score(config, note)
    folds = tuple(_scored(bundle, split, chosen, config, note) for bundle, split in chosen.folds)
    return Segmentation(chosen.name, chosen.folder, folds)


def _scored(bundle: Bundle, split: Split, chosen: FoldsToScore, config: EvaluateConfig, note: Note) -> SegmentedFold:
    dataset, place = chosen.dataset, chosen.folder / f"fold{split.fold}"
    bundle = outlining(bundle)
    if config.threshold is not None:
        bundle = replace(bundle, find=replace(bundle.find, threshold=config.threshold))
    cases = dataset.select(split.test)
    if not any(case.positive for case in cases):
        raise EvaluationError(
            f"{dataset.where}: no test case of fold {split.fold} has an {dataset.lesion}, so there is no Dice; score "
            "another fold, or train in a new run folder with another --fold-seed"
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
    told = told_by(bundle)
    told["model"] = replace(told["model"], provider=", ".join(sorted(providers)))
    if config.threshold is not None:
        told["threshold_from"] = "--threshold"
    result = SegmentedFold(
        fold=split.fold,
        data=dataset.where,
        min_area_mm2=bundle.find.min_area_mm2,
        images=ordered,
        trained_on=tuple(image.case for image in ordered if image.sha256 in bundle.training_images),
        **told,
    )
    if result != before:
        write_segmentation(place, result)
    return result


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
    values = examined.maps["lesion"][inner]
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
