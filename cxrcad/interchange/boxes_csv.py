"""A CSV table of findings, one row a box, which spreadsheets open and `read_predictions` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from cxrcad.interchange.boxes import Found, rounded_corners, rounded_length, rounded_score

__all__ = ["write"]

COLUMNS = ("name", "x_min", "y_min", "x_max", "y_max", "probability", "label", "diameter_mm")


def write(found: Found) -> Iterator[str]:
    """The findings, with the decimals of boxes.json. Failures, skipped files, and images without one have no row."""
    yield _rows([COLUMNS])
    for result in found.results:
        rows: list[Sequence[Any]] = []
        for finding in result.findings:
            corners, diameter = rounded_corners(finding.box_px), rounded_length(finding.diameter_mm)
            rows.append([result.path, *corners, rounded_score(finding), finding.label, diameter])
        yield _rows(rows)


def _rows(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
