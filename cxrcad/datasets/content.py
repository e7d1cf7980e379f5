"""What a figure of a case rests on, as SHA-256: its image, its truth, its lung masks; and what a run was trained on.

A path or a name says where something lay, not what it was: whatever is used again is bound by these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.core import Case, DataError, Nodule, counted
from cxrcad.datasets.dataset import Dataset
from cxrcad.documents import made
from cxrcad.files import read_record, write_json
from cxrcad.imaging.volume import image_sha256

__all__ = [
    "CONTENT_NAME",
    "Content",
    "check_content",
    "content_of",
    "differences",
    "masks_sha256",
    "nodule_document",
    "other_cases",
    "read_content",
    "truth_sha256",
    "write_content",
]

SCHEMA = "cxrcad/content/1"
CONTENT_NAME = "content.json"
"""The file, in a run's folder, that says which images, truth and masks the run's folds were made from."""


@dataclass(frozen=True)
class Content:
    """SHA-256 of a case's image file, of its truth, and of its lung mask files together ("" where it has none)."""

    image: str
    truth: str
    masks: str


def content_of(case: Case) -> Content:
    """The content of a case as it is now on disk. Raises DataError for a file that cannot be read."""
    return Content(_file_sha256(case.image), truth_sha256(case), masks_sha256(case))


def masks_sha256(case: Case) -> str:
    """SHA-256 of the case's lung mask files together, "" where it has none. Raises DataError."""
    masks = "".join(_file_sha256(mask) for mask in case.lung_masks)
    return hashlib.sha256(masks.encode()).hexdigest() if masks else ""


def _file_sha256(path: Path) -> str:
    try:
        return image_sha256(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); copy the data set again") from None


def truth_sha256(case: Case) -> str:
    """SHA-256 of where the case's lesions are and of what size: nodules, outlines, the image's size and spacing.

    Whether a nodule lies in a lung is left out: some protocols look it up in the lung masks and others do not.
    """
    truth = {
        "size": [case.rows, case.cols],
        "spacing_mm": None if case.spacing_mm is None else [float(value) for value in case.spacing_mm],
        "nodules": [nodule_document(replace(nodule, in_lung=None)) for nodule in case.nodules],
        "polygons": case.polygons,
    }
    return hashlib.sha256(json.dumps(truth, sort_keys=True).encode()).hexdigest()


def nodule_document(nodule: Nodule) -> dict[str, Any]:
    """The nodule's fields as JSON has them; a label only where there is one, as documents from before have none."""
    fields = {name: value for name, value in asdict(nodule).items() if name != "boxed"}  # its box tells as much
    return {name: value for name, value in fields.items() if value is not None or name != "label"}


def differences(before: Content, now: Content) -> tuple[str, ...]:
    """What of a case changed, in words: image, truth, lung masks."""
    words = {"image": "image", "truth": "truth", "masks": "lung masks"}
    return tuple(word for name, word in words.items() if getattr(before, name) != getattr(now, name))


def write_content(folder: Path, dataset: Dataset) -> None:
    """Write `folder`/content.json: the content of every case of the data set. Raises DataError, WriteError."""
    cases = {case.name: asdict(content_of(case)) for case in dataset.cases}
    write_json(folder / CONTENT_NAME, {"schema": SCHEMA, "cases": cases})


def read_content(folder: Path) -> Mapping[str, Content] | None:
    """What `write_content` wrote into a run's folder, by case; None for a run from before there was such a file.

    Raises DataError for a damaged file.
    """
    return read_record(
        folder / CONTENT_NAME,
        SCHEMA,
        lambda document: {name: made(Content, one) for name, one in document["cases"].items()},
        DataError,
        "train in a new run folder",
    )


def check_content(folder: Path, dataset: Dataset, remedy: str) -> bool:
    """Whether a run's folder keeps what it was made from, which then is what the data set holds, wherever it lies.

    DataError, ending in `remedy`, names the first case that differs.
    """
    kept = read_content(folder)
    if kept is None:
        return False
    odd = other_cases(kept, {case.name: content_of(case) for case in dataset.cases})
    if odd:
        raise DataError(f"{folder / CONTENT_NAME}: made from other data than {dataset.where} holds: {odd}; {remedy}")
    return True


def other_cases(before: Mapping[str, Content], now: Mapping[str, Content]) -> str:
    """The first case that differs, how, and how many more do, in words; "" where the cases are the same."""
    odd = {}
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            odd[name] = "is not in it"
        elif name not in before:
            odd[name] = "was not in it"
        elif now[name] != before[name]:
            odd[name] = f"has another {' and '.join(differences(before[name], now[name]))}"
    more = f", and {counted(len(odd) - 1, 'more case')} differ" if len(odd) > 1 else ""
    return "".join(f"{name} {what}{more}" for name, what in list(odd.items())[:1])
