"""COCO's JSON (Lin et al., "Microsoft COCO", ECCV 2014; cocodataset.org, Format data): its images and their boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.core import Case, Nodule
from cxrcad.datasets.fields import Entry, box_nodule, shown

__all__ = ["KEYS", "Annotations", "categories_of", "counting", "parse"]

KEYS = ("images", "annotations")


@dataclass(frozen=True)
class Annotations:
    """What one file holds, by file_name where nothing else is said.

    `cases` have the sizes that the file states, and no truth. `names` has the file_name of each image id, `categories`
    the name of each category id, in small letters. `boxes` are all annotations: entry, file_name, nodule, category id,
    which is None where the file has no categories.
    """

    images: Mapping[str, Entry]
    cases: Mapping[str, Case]
    names: Mapping[int | str, str]
    categories: Mapping[int | str, str]
    boxes: Sequence[tuple[Entry, str, Nodule, int | str | None]]


def parse(whole: Entry) -> Annotations:
    """The content of a COCO file. Refuses what is missing, off an image, or contradicts itself."""
    categories = categories_of(whole)
    images: dict[str, Entry] = {}
    cases: dict[str, Case] = {}
    names: dict[int | str, str] = {}
    texts: dict[str, str] = {}
    for entry in whole.entries("images"):
        key, name = entry.identifier("id"), entry.inside("file_name")
        if str(key) in texts:
            entry.refuse(f"its id {shown(key)} stands in {texts[str(key)]} already, where each is needed once")
        height, width = entry.side_px("height"), entry.side_px("width")
        if name in images:
            entry.refuse(f"{shown(name)} stands in {images[name].place} already", "put all its nodules in one of them")
        names[key], texts[str(key)], images[name] = name, entry.place, entry
        cases[name] = Case(name, Path(name), height, width)
    boxes = []
    for entry in whole.entries("annotations"):
        key = entry.identifier("image_id")
        if key not in names:
            entry.refuse(f"image_id is {shown(key)}, where the id of an image in images is needed")
        if entry.fields.get("iscrowd") not in (None, 0, False):
            entry.refuse_field("iscrowd", "0 (one nodule, not a crowd of them)")
        if entry.has("score"):
            entry.refuse(
                f"it has a score ({shown(entry.fields['score'])}), so it is a model's finding, where truth is needed",
                "give what readers drew, or score it as predictions",
            )
        x, y, across, down = entry.numbers("bbox", "[x, y, width, height]", 4)
        nodule = box_nodule(entry, (x, y, x + across, y + down), cases[names[key]])
        boxes.append((entry, names[key], nodule, _category(entry, categories) if categories else None))
    return Annotations(images, cases, names, categories, boxes)


def categories_of(whole: Entry) -> dict[int | str, str]:
    """The name of each category in small letters; none where the file has no categories."""
    names: dict[int | str, str] = {}
    for entry in whole.entries("categories") if whole.has("categories") else ():
        key = entry.identifier("id")
        if key in names:
            entry.refuse(f"its id {shown(key)} is that of another category already, where each is needed once")
        names[key] = entry.text("name").strip().lower()
    return names


def counting(categories: Mapping[int | str, str]) -> dict[int | str, bool]:
    """Whether each category counts as a nodule: all do, unless exactly one is called so, which alone then does."""
    single = list(categories.values()).count("nodule") == 1
    return {key: name == "nodule" or not single for key, name in categories.items()}


def _category(entry: Entry, categories: Mapping[int | str, str]) -> int | str:
    key = entry.identifier("category_id")
    if key not in categories:
        entry.refuse(f"category_id is {shown(key)}, where the id of a category in categories is needed")
    return key
