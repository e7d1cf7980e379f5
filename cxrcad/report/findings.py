"""The page of `cxrcad detect --html`: every case with its findings, read with a mouse or the keyboard, in one file.

Its words are in templates/findings.html, what it does is in findings.js. It fetches nothing, and shows of a file's path
its last part only: folders are often called after patients.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxrcad.core import Box, CxrcadError, Finding, Radiograph, Result
from cxrcad.imaging.read import read_radiograph
from cxrcad.imaging.remote import path_of
from cxrcad.interchange.boxes import SCORE_DECIMALS, Found, rounded_length, rounded_score
from cxrcad.report.drawing.crops import stretched
from cxrcad.report.html import Made, write_page

__all__ = ["Pictures", "write_findings_page"]

PICTURE_SIDE = 512
"""Pixels of a picture's longer side: about as large as the page shows the case that is looked at."""

QUALITY = 70
"""Of WebP: a radiograph of 512 pixels takes some 8 kB, less than half of a JPEG's; 2,000 make a page of 23 MB."""

PLACE_DECIMALS = 5
"""Of a box's corners as parts of the image."""


class Pictures:
    """Small pictures of radiographs, taken while these are at hand; some 11 kB of memory each.

    `files` has the paths of results that do not name them.
    """

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        self._kept: dict[str, str] = {}
        self._files: Mapping[str, str] = {} if files is None else files

    def add(self, path: str, radiograph: Radiograph) -> None:
        """Keep a picture of the radiograph for the result of that path."""
        self._kept[path] = _picture(radiograph)

    def of(self, result: Result) -> str:
        """The WebP in base64; "" where none was kept and the file cannot be read any more or is another one now."""
        if result.path not in self._kept:
            try:
                radiograph = read_radiograph(path_of(self._files.get(result.path, result.path)))
            except CxrcadError:
                return ""
            return _picture(radiograph) if radiograph.source.sha256 == result.sha256 else ""
        return self._kept[result.path]


def write_findings_page(path: Path, found: Found, made: Made, pictures: Pictures | None = None) -> None:
    """Write the page of all cases to `path`, whole or not at all.

    A result without one of `pictures` has its file read again. Raises WriteError.
    """
    kept = pictures if pictures is not None else Pictures()
    cases = [
        *(_detected(result) for result in found.results),
        *(_not_detected("failed", one.path, one.error) for one in found.failures),
        *(_not_detected("skipped", one.path, one.reason) for one in found.skipped or ()),
    ]
    find = found.find or {}
    least = min([found.identity.threshold, float(find.get("min_score", found.identity.threshold))])
    write_page(
        path,
        "findings.html",
        made,
        title="Findings in radiographs",
        model=found.identity.name,
        threshold=round(found.identity.threshold, SCORE_DECIMALS),
        least=math.floor(least * 100) / 100,
        score="Calibrated probability" if find.get("calibrated") else "Score",
        complete=found.complete,
        cases=cases,
        pictures=(kept.of(result) for result in found.results),
    )


def _picture(radiograph: Radiograph) -> str:
    whole = Box(0, 0, radiograph.cols, radiograph.rows)
    content = io.BytesIO()
    stretched(radiograph, whole, PICTURE_SIDE, 0).picture.save(content, format="WEBP", quality=QUALITY)
    return base64.b64encode(content.getvalue()).decode()


def _detected(result: Result) -> dict[str, Any]:
    row_mm, col_mm = result.spacing_mm or (1.0, 1.0)
    return {
        "kind": "detected",
        "name": Path(result.path).name,
        "aspect": round(result.cols * col_mm / (result.rows * row_mm), 4),
        "findings": [_finding(one, result) for one in sorted(result.findings, key=lambda one: -one.score)],
        "notes": [_without_folder(note, result.path) for note in result.notes],
    }


def _finding(finding: Finding, result: Result) -> dict[str, Any]:
    box = finding.box_px
    corners = (box.x0 / result.cols, box.y0 / result.rows, box.x1 / result.cols, box.y1 / result.rows)
    return {
        "label": finding.label,
        "score": rounded_score(finding),
        "box": [round(min(max(float(corner), 0.0), 1.0), PLACE_DECIMALS) for corner in corners],
        "mm": rounded_length(finding.diameter_mm),
        "center": [round(float(value)) for value in finding.center_px],
    }


def _not_detected(kind: str, path: str, sentence: str) -> dict[str, Any]:
    return {"kind": kind, "name": Path(path).name, "sentence": _without_folder(sentence, path)}


def _without_folder(sentence: str, path: str) -> str:
    """The sentence with the file named by its last part."""
    folder = str(Path(path).parent)
    named = sentence.replace(path, Path(path).name)
    return named if folder in (".", "/") else named.replace(f"{folder}/", "").replace(folder, "its folder")
