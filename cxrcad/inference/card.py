"""A model's card, field by field: whatever of a card.json is read anywhere is of the type that its readers take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrcad.config import LESIONS, NODULE, OPERATING_POINTS, FindConfig, GridConfig, build, to_dict
from cxrcad.core import ModelError, UsageError
from cxrcad.datasets.fields import FINITE, PROBABILITY, Entry, Range
from cxrcad.documents import NAME, is_name, shown

__all__ = ["FORMER_TASKS", "SCHEMA", "card_settings"]

SCHEMA = "cxrcad/model/1"
NEEDED = ("name", "tasks", "multiple", "grid", "find")
TEXTS = ("lesion", "created", "intended_use", "threshold_from", "cxrcad_version")
STARTS = ("init", "second_init", "teacher")
REMEDY = "export the model again with cxrcad export"

FORMER_TASKS = {"nodule": "lesion"}
"""Tasks as cards and ONNX files of earlier versions call them, of effusion too, and their names now."""

LARGEST_MULTIPLE = 1024  # pixels; the networks halve an image five times at most
LARGEST_COUNT = 2**53
AMOUNT = Range("a number from 0", 0)
SLOPE = Range("a number above 0", 1e-9)
CALIBRATION_TEXTS = ("method", "on", "case_mix", "expected_calibration_error", "command")
POINT_TEXTS = ("rule", "false_positives_per_normal_image", "sensitivity", "on", "command")


def card_settings(card: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """name, tasks, multiple, grid and find of a card, each of its other fields checked too, as far as it is there.

    Raises ModelError for a field that is missing, null or of another type, with its place.
    """
    whole = Entry(path, ModelError, card, remedy=REMEDY)
    missing = [key for key in NEEDED if key not in card]
    if missing:
        whole.refuse(f"{', '.join(missing)} missing")
    if not is_name(whole.text("name")):
        whole.refuse(f"name is {shown(card['name'])}, where {NAME} is needed", "correct it in this file")
    for key in TEXTS:
        _check_text(whole, key)
    if card.get("lesion", NODULE) not in LESIONS:
        whole.refuse_field("lesion", " or ".join(LESIONS))
    tasks, multiple = (
        whole.texts("tasks"),
        whole.whole("multiple", "what an image's sides are multiples of", 1, LARGEST_MULTIPLE),
    )
    tasks = tuple(FORMER_TASKS.get(task, task) for task in tasks)
    if "lesion" not in tasks or len(set(tasks)) < len(tasks):
        whole.refuse_field("tasks", "a list of different tasks, lesion among them,")
    if "side" not in whole.part("grid").fields:
        whole.part("grid").refuse("side missing")
    grid, find = _config(whole, "grid", GridConfig), _config(whole, "find", FindConfig)
    if find.threshold is None:
        whole.refuse("the model has no threshold", "choose one on validation cases and export it again")
    if "network" in card:
        _check_leaves(whole.part("network"))
    if "training" in card:
        _check_training(whole.part("training"))
    _check_told(whole)
    return {"name": whole.text("name"), "grid": grid, "find": find, "multiple": multiple, "tasks": tasks}


def _check_text(entry: Entry, key: str) -> None:
    """Refuse a field that is there and no text; an empty one is one."""
    if key in entry.fields and not isinstance(entry.fields[key], str):
        entry.refuse_field(key, "a text")


def _check_leaves(entry: Entry) -> None:
    """Refuse a list or an object where settings stand."""
    for key, value in entry.fields.items():
        if isinstance(value, (dict, list)):
            entry.refuse_field(key, "a setting (a text, a number, true, false or null)")


def _config(whole: Entry, key: str, kind: type[Any]) -> Any:
    """The settings of a part of the card; numbers are not written as text there."""
    entry = whole.part(key)
    _check_leaves(entry)
    try:
        config = build(kind, entry.fields, key)
    except UsageError as error:
        whole.refuse(str(error).removeprefix(f"{key}: "), "export the model again with this version of cxrcad")
    for name, value in to_dict(config).items():
        if isinstance(entry.fields.get(name), str) and not isinstance(value, str):
            entry.refuse_field(name, "a number")
    return config


def _check_training(entry: Entry) -> None:
    """The training and, in it, those that its weights went through before."""
    if "images" in entry.fields:
        entry.texts("images")
    for key in ("name", "sha256"):
        _check_text(entry, key)
    if "steps" in entry.fields:
        entry.whole("steps", "steps", 0, LARGEST_COUNT)
    if "minutes" in entry.fields:
        entry.number("minutes", AMOUNT)
    for masks in entry.entries("lung_masks_from") if entry.has("lung_masks_from") else ():
        for key in ("name", "sha256"):
            masks.text(key)
        masks.whole("masks", "masks", 1, LARGEST_COUNT)
    if entry.has("config"):
        _check_leaves(entry.part("config"))
    for start in STARTS:
        if entry.has(start):  # null is written for none
            _check_training(entry.part(start))


def _check_told(whole: Entry) -> None:
    """What a card tells beside its settings: checksums, figures, failures, parity and sources."""
    if "files" in whole.fields:
        files = whole.part("files")
        for name in files.fields:
            if not is_name(name):
                files.refuse(f"it has {shown(name)}, where the name of a file in the model's folder is needed")
            files.text(name)
    if "figures" in whole.fields:
        whole.part("figures")
    if "sources" in whole.fields:
        whole.texts("sources")
    _check_scores(whole)
    if "parity" in whole.fields:
        parity = whole.part("parity")
        parity.whole("images", "images", 0, LARGEST_COUNT)
        parity.number("largest_difference", FINITE)
        _check_text(parity, "weights")
    if "failures" in whole.fields:
        failures = whole.part("failures")
        failures.text("command")
        for key in ("missed", "false_positives"):
            failures.texts(key)
        for key in ("nodules", "false_positives_in_all"):
            failures.whole(key, "a count", 0, LARGEST_COUNT)
        if "threshold" in failures.fields:
            failures.number("threshold", FINITE)


def _check_scores(whole: Entry) -> None:
    """What a card says of its scores: calibration, operating points, and the threshold before both."""
    if "calibration" in whole.fields:
        fitted = whole.part("calibration")
        fitted.number("slope", SLOPE)
        fitted.number("intercept", FINITE)
        for key in CALIBRATION_TEXTS:
            fitted.text(key)
        for one in fitted.entries("reliability"):
            one.number("low", PROBABILITY)
            one.number("mean_score", PROBABILITY)
            one.whole("findings", "a count", 1, LARGEST_COUNT)
            one.whole("lesions", "a count", 0, int(one.number("findings", FINITE)))
    if "operating_points" in whole.fields:
        points = whole.part("operating_points")
        points.only(OPERATING_POINTS)
        for name in points.fields:
            point = points.part(name)
            point.number("threshold", PROBABILITY)
            for key in POINT_TEXTS:
                point.text(key)
    if "training_threshold" in whole.fields:
        before = whole.part("training_threshold")
        before.number("score", PROBABILITY)
        before.number("threshold", PROBABILITY)
        before.text("from")
