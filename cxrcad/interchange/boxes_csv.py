"""A CSV table of findings, one row a box, which spreadsheets open and `read_predictions` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cxrcad.core import Failure, ModelIdentity, Result, Skipped
from cxrcad.interchange.boxes import LENGTH_DECIMALS, SCORE_DECIMALS

__all__ = ["write"]

COLUMNS = ("name", "x_min", "y_min", "x_max", "y_max", "probability", "label", "diameter_mm")


def write(
    identity: ModelIdentity,
    results: Iterable[Result],
    failures: Sequence[Failure] = (),
    find: Mapping[str, Any] | None = None,
    skipped: Sequence[Skipped] | None = None,
    complete: bool = True,
    identifiers: bool = True,
) -> Iterator[str]:
    """The findings, with the decimals of boxes.json. Failures, skipped files, and images without one have no row."""
    yield _rows([COLUMNS])
    for result in results:
        rows: list[Sequence[Any]] = []
        for finding in result.findings:
            box = finding.box_px
            corners = [round(float(value), LENGTH_DECIMALS) for value in (box.x0, box.y0, box.x1, box.y1)]
            score = round(float(finding.score), SCORE_DECIMALS)
            diameter = "" if finding.diameter_mm is None else round(float(finding.diameter_mm), LENGTH_DECIMALS)
            rows.append([result.path, *corners, score, finding.label, diameter])
        yield _rows(rows)


def _rows(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
