"""COCO: a JSON file of images, annotations and categories, and the images below it, in any folder.

Categories called nodule, mass or nodule/mass are lesions, and all are where none is called so; an image without a
lesion is a negative. `patient`, which an image's entry may have, names whose it is.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from cxrcad.core import Case, DataError, Nodule
from cxrcad.datasets.boxed import Images, boxed_dataset, documents_with, lesion
from cxrcad.datasets.coco_json import KEYS, Annotations, parse
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.fields import Entry, box_diameter_mm, parse_json, read_text, with_nodules

__all__ = ["matches", "read"]


def matches(folder: Path) -> bool:
    """Whether the folder has a JSON object with images and annotations."""
    return bool(documents_with(folder, b"{", KEYS))


def read(folder: Path) -> Dataset:
    """The images of all COCO files in the folder. Only headers of images are read; DICOM's have the spacing.

    Raises DataError for what is missing or contradicts itself, ReadError for an image whose header is damaged.
    """
    tables = documents_with(folder, b"{", KEYS)
    parsed = [parse(Entry(path, DataError, parse_json(path, read_text(path, DataError), DataError))) for path in tables]
    files = [file for one in parsed for file in one.images]
    images = Images.of(folder, files)
    images.check(files)
    return boxed_dataset(folder, tables[0], [case for one in parsed for case in _cases(one, images)], {})


def _cases(annotations: Annotations, images: Images) -> list[Case]:
    labels = annotations.categories
    chosen = {key for key, name in labels.items() if lesion(name)} or set(labels)
    cases = {file: _case(entry, annotations.cases[file], images) for file, entry in annotations.images.items()}
    nodules: dict[str, list[tuple[Entry, Nodule]]] = defaultdict(list)
    for entry, file, nodule, key in annotations.boxes:
        if (key is None or key in chosen) and nodule.box_px is not None:
            diameter = box_diameter_mm(nodule.box_px, cases[file])
            label = None if key is None else labels[key]
            nodules[file].append((entry, replace(nodule, diameter_mm=diameter, label=label)))
    return [with_nodules(case, nodules[file]) for file, case in cases.items()]


def _case(entry: Entry, stated: Case, images: Images) -> Case:
    case = images.case(str(stated.image), [entry])
    if (case.rows, case.cols) != (stated.rows, stated.cols):
        entry.refuse(
            f"its height and width are {stated.rows} and {stated.cols}, but {case.image} has {case.rows} rows and "
            f"{case.cols} columns",
            "give the images that were annotated",
        )
    return case
