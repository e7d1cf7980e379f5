"""ChestX-Det and ChestX-Det10: JSON lists of file_name, syms and boxes, and the images below them.

Liu, Lian, Yu, "ChestX-Det10", arXiv 2006.10550. Radiologists boxed all findings of these images of NIH ChestX-ray14, so
one without nodule or mass is a negative. One with "Diffuse Nodule", nodules that are not boxed one by one, is left out.
The boxes are read; the polygons, which are in them, are not. The files name no patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cxrcad.core import Case, DataError, Nodule
from cxrcad.datasets.boxed import Images, boxed_dataset, documents_with, lesion, scaled_lesion
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.fields import Entry, listed, parse_json, read_text, with_nodules

__all__ = ["matches", "read"]

KEYS = ("file_name", "syms", "boxes")
DIFFUSE = "Diffuse Nodule"


def matches(folder: Path) -> bool:
    """Whether the folder has a JSON list of images with syms and boxes."""
    return bool(documents_with(folder, b"[", KEYS))


def read(folder: Path) -> Dataset:
    """The images that the lists name. Only headers of images are read.

    Raises DataError for what is missing or contradicts itself, ReadError for an image whose header is damaged.
    """
    entries: dict[str, Entry] = {}
    tables = documents_with(folder, b"[", KEYS)
    for path in tables:
        for entry in listed(path, DataError, parse_json(path, read_text(path, DataError), DataError)):
            file = entry.inside("file_name")
            if file in entries:
                entry.refuse(f"{file} stands in {entries[file].place} already, where one entry is needed")
            entries[file] = entry
    left_out = [file for file, entry in entries.items() if DIFFUSE in entry.texts("syms")]
    kept = {file: entry for file, entry in entries.items() if file not in set(left_out)}
    images = Images.of(folder, kept)
    images.check(list(kept))
    cases = []
    for file, entry in kept.items():
        case = images.case(file, [entry])
        cases.append(with_nodules(case, _lesions(entry, case)))
    return boxed_dataset(folder, tables[0], cases, {f"{DIFFUSE}, left out": left_out})


def _lesions(entry: Entry, case: Case) -> Iterator[tuple[Entry, Nodule]]:
    """The boxed nodules and masses of an image."""
    labels, boxes = entry.texts("syms"), entry.fields.get("boxes")
    if not isinstance(boxes, list) or len(boxes) != len(labels):
        entry.refuse(f"{len(labels)} syms, where boxes needs one box for each")
    for number, (label, box) in enumerate(zip(labels, boxes, strict=True), start=1):
        if kind := lesion(label):
            place = f"{entry.place}, box {number}"
            part = Entry(entry.path, DataError, {"box": box}, place)
            yield scaled_lesion(part, part.numbers("box", "[x0, y0, x1, y1]", 4), case, kind)
