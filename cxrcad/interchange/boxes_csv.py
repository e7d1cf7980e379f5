"""A CSV table of findings, one row a box, which spreadsheets open and `read_predictions` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from cxrcad.core import Failure, ModelIdentity, Result, Skipped
from cxrcad.interchange.boxes import LENGTH_DECIMALS, SCORE_DECIMALS

__all__ = ["write"]

COLUMNS = ("name", "x_min", "y_min", "x_max", "y_max", "probability", "label", "diameter_mm")


def write(
    identity: ModelIdentity,
    results: Sequence[Result],
    failures: Sequence[Failure] = (),
    find: Mapping[str, Any] | None = None,
    skipped: Sequence[Skipped] | None = None,
) -> str:
    """The findings, with the decimals of boxes.json. Failures, skipped files, and images without one have no row."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for result in results:
        for finding in result.findings:
            box = finding.box_px
            corners = [round(float(value), LENGTH_DECIMALS) for value in (box.x0, box.y0, box.x1, box.y1)]
            score = round(float(finding.score), SCORE_DECIMALS)
            diameter = "" if finding.diameter_mm is None else round(float(finding.diameter_mm), LENGTH_DECIMALS)
            table.writerow([result.path, *corners, score, finding.label, diameter])
    return text.getvalue()
