"""A COCO document of findings: images, annotations with a score, categories (cocodataset.org, Format data and results).

pycocotools opens it, and takes its annotations as results of the same images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cxrcad.config.parts import LESIONS
from cxrcad.core import Finding
from cxrcad.interchange.boxes import LENGTH_DECIMALS, Found, head_document, json_line, rounded_corners, rounded_score

__all__ = ["write"]

CATEGORIES = {label: number for number, label in enumerate(LESIONS, start=1)}
"""The number of each lesion is the same in all documents, whatever was found."""


def write(found: Found) -> Iterator[str]:
    """The findings, with the decimals of boxes.json; images in which nothing was found are there, failures are not.

    Images and annotations are numbered from 1 in the order of the results. `bbox` is x, y, width and height in the
    file's own pixels, `area` the box's.
    """
    info = {"description": "Findings of a model, no truth", **head_document(found)}
    categories = dict(CATEGORIES)
    yield f'{{"info": {json_line(info)},\n"licenses": [],\n"images": ['
    for number, result in enumerate(found.results, start=1):
        image = {"id": number, "file_name": result.path, "width": result.cols, "height": result.rows}
        for finding in result.findings:
            categories.setdefault(finding.label, len(categories) + 1)
        yield f"{',' * (number > 1)}\n{json_line(image)}"
    yield '],\n"annotations": ['
    count = 0
    for number, result in enumerate(found.results, start=1):
        for finding in result.findings:
            count += 1
            yield f"{',' * (count > 1)}\n{json_line(_annotation(finding, categories, count, number))}"
    named = [{"id": number, "name": label} for label, number in categories.items()]
    yield f'],\n"categories": {json_line(named)}}}\n'


def _annotation(finding: Finding, categories: Mapping[str, int], number: int, image: int) -> dict[str, Any]:
    x0, y0, x1, y1 = rounded_corners(finding.box_px)
    width, height = round(x1 - x0, LENGTH_DECIMALS), round(y1 - y0, LENGTH_DECIMALS)
    return {
        "id": number,
        "image_id": image,
        "category_id": categories[finding.label],
        "bbox": [x0, y0, width, height],
        "area": round(width * height, 2 * LENGTH_DECIMALS),
        "iscrowd": 0,
        "score": rounded_score(finding),
    }
