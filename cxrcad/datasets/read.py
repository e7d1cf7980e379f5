"""A folder -> `Dataset`: the layout is told by the folder's content. And which of its cases a training is given.

A new layout is a module with `matches` and `read`, and its row in `LAYOUTS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad.config import DataConfig
from cxrcad.core import Case, DataError
from cxrcad.datasets import boxes_csv, chestx_det, coco, nih, nih_boxes, node21, vindr
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.joined import joined, with_labels
from cxrcad.datasets.jsrt import reader as jsrt
from cxrcad.datasets.made_masks import made_masks_note
from cxrcad.datasets.nih import EFFUSION

__all__ = ["LAYOUTS", "Layout", "cases_to_train", "how_to_get", "layout_of", "read_data", "read_dataset"]


@dataclass(frozen=True)
class Layout:
    """One layout of data folders; `needs` says in a sentence what it is known by.

    `matches(folder)` tells by what lies in the folder. `read(folder)` gives all cases, sorted by name; it raises
    DataError for what is missing or contradicts itself, and ReadError for an image whose header is damaged.
    """

    name: str
    lesion: str
    needs: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], Dataset]


LAYOUTS = (
    Layout("NIH effusion", EFFUSION, "effusion.json (with metadata.csv)", nih.matches, nih.read),
    Layout("JSRT", "nodule", "CLNDAT_EN.txt (JSRT's table of nodules)", jsrt.matches, jsrt.read),
    Layout("boxes", "nodule", f"boxes.csv with {', '.join(boxes_csv.COLUMNS)}", boxes_csv.matches, boxes_csv.read),
    Layout("NIH boxes", "nodule", "BBox_List_2017.csv of NIH ChestX-ray14", nih_boxes.matches, nih_boxes.read),
    Layout("VinDr-CXR", "nodule", "VinDr-CXR's train.csv", vindr.matches, vindr.read),
    Layout("NODE21", "nodule", "NODE21's metadata.csv", node21.matches, node21.read),
    Layout("ChestX-Det", "nodule", "ChestX-Det's JSON", chestx_det.matches, chestx_det.read),
    Layout("COCO", "nodule", "a JSON file of COCO", coco.matches, coco.read),
)
"""The first layout of the lesion that matches reads the folder."""


def read_dataset(
    folders: Path | Sequence[Path], *, protocol: str = "paper", lesion: str = "nodule", labels: str | None = None
) -> Dataset:
    """The data set in a folder of any layout: every case with image, truth, lung masks and groups.

    Several folders, each of its own layout, are joined (`joined`). `labels` chooses lesions (`with_labels`). `protocol`
    says which cases are scored (`Dataset.scored`); one that scores nodules in the lung fields also reads the masks of
    those of which the data set does not say where they lie.
    Raises DataError for a folder of no layout of this lesion, and for what is missing or contradicts itself; ReadError
    for an image whose header is damaged, UsageError for a protocol that does not exist.
    """
    each = [folders] if isinstance(folders, Path) else folders
    sets = [_read(folder, lesion) for folder in each]
    dataset = sets[0] if len(sets) == 1 else joined(sets)
    return with_labels(dataset, labels).for_protocol(protocol)


def _read(folder: Path, lesion: str) -> Dataset:
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "there is no such folder"
        raise DataError(f"{folder}: {fault}; --data takes a folder with {_needed(lesion)}")
    for layout in sorted(LAYOUTS, key=lambda layout: layout.lesion != lesion):
        if layout.matches(folder):
            if layout.lesion == lesion:
                dataset = layout.read(folder)
                return replace(dataset, notes=(*dataset.notes, *made_masks_note(dataset.cases)))
            raise DataError(
                f"{folder}: its layout is {layout.name}, for --lesion {layout.lesion}; for {lesion} --data takes a "
                f"folder with {_needed(lesion)}"
            )
    raise DataError(
        f"{folder}: no {_needed(lesion)} in it; copy it there or name another folder with --data (docs/DATA.md)"
    )


def layout_of(folder: Path) -> Layout | None:
    """The layout by which a folder is read as a data set, whatever its lesion; None for any other folder."""
    return next((layout for layout in LAYOUTS if layout.matches(folder)), None)


def read_data(config: DataConfig) -> Dataset:
    """The data set or sets in `config.data`, looked at for `config.lesion`, its labels, scored by `config.protocol`.

    Raises DataError, which says how to get data where no folder is named; ReadError, UsageError.
    """
    if not config.folders:
        raise DataError(how_to_get(config.lesion))
    return read_dataset(config.folders, protocol=config.protocol, lesion=config.lesion, labels=config.labels)


def how_to_get(lesion: str) -> str:
    """A few lines: which data a command needs for this lesion, and where they come from."""
    return nih.HOW_TO_GET if lesion == EFFUSION else jsrt.HOW_TO_GET


def _needed(lesion: str) -> str:
    return " or ".join(layout.needs for layout in LAYOUTS if layout.lesion == lesion)


def cases_to_train(dataset: Dataset, names: Sequence[str], normals: bool) -> tuple[Case, ...]:
    """Those of the cases `names`, part of a fold, that are trained (or validated) on, in their order.

    All with a lesion; with `normals` the others too. For effusion, whose radiographs have no lung masks, the normals
    teach the lung task: without `normals` there are as many as cases with an effusion, chosen by a hash of their names.
    Raises DataError where none of `names` has a lesion.
    """
    cases = dataset.select(names)
    positives = sum(case.positive for case in cases)
    if not positives:
        raise DataError(
            f"{dataset.where}: none of the {len(cases)} cases of a part of the fold has the lesion "
            f"({dataset.lesion}); give another --run and --fold-seed for other folds, or take more data"
        )
    if normals:
        return cases
    kept = {case.name for case in cases if case.positive}
    if dataset.lesion == EFFUSION:
        others = sorted((case.name for case in cases if not case.positive), key=_chance)
        kept |= set(others[:positives])
    return tuple(case for case in cases if case.name in kept)


def _chance(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
