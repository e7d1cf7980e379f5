"""NODE21's nodules.json: the boxes of a stack of radiographs, as its detection algorithms write them.

Source: DIAGNijmegen/node21, algorithms/noduledetection (README, process.py). A box has four corners [x, y, z]; z is the
number of its image in the stack. The challenge has mm where an image has a spacing; NODE21's own images have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cxrcad.core import Finding
from cxrcad.interchange.boxes import Found, json_line, rounded_corners, rounded_score

__all__ = ["write"]


def write(found: Found) -> Iterator[str]:
    """The findings, with the decimals of boxes.json, in the file's own pixels whatever its spacing.

    z counts the images in the order of their paths, from 0; each box has the path of its image as its name.
    """
    numbers = {path: number for number, path in enumerate(sorted(result.path for result in found.results))}
    yield '{"type": "Multiple 2D bounding boxes",\n"boxes": ['
    some = False
    for result in found.results:
        for finding in result.findings:
            box = {"name": result.path, **_corners(finding, numbers[result.path])}
            yield f"{',' * some}\n{json_line(box)}"
            some = True
    yield '],\n"version": {"major": 1, "minor": 0}}\n'


def _corners(finding: Finding, z: int) -> dict[str, Any]:
    x0, y0, x1, y1 = rounded_corners(finding.box_px)
    return {
        "corners": [[x1, y1, z], [x0, y1, z], [x0, y0, z], [x1, y0, z]],
        "probability": rounded_score(finding),
    }
