"""boxes.json, the one shape of results for one file or many, written and read back; boxes.schema.json describes it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.core import Box, DataError, Failure, Finding, ModelIdentity, Result, Skipped
from cxrcad.documents import ABSENT, MALFORMED, fault_words, made, shown
from cxrcad.files import read_json

__all__ = [
    "SCHEMA",
    "Detected",
    "Found",
    "differing",
    "head_document",
    "image_document",
    "json_line",
    "model_document",
    "read_boxes",
    "result_from",
    "rounded_corners",
    "rounded_length",
    "rounded_score",
    "to_document",
    "to_text",
    "write",
]

SCHEMA = "cxrcad/boxes/1"

LENGTH_DECIMALS = 1
"""Decimals of pixels, mm and mm2: finer than a pixel (0.175 mm in JSRT) tells nothing."""
SCORE_DECIMALS = 4
SECONDS_DECIMALS = 3

UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
"""What of a DICOM file's UIDs stands with its result: image, series and study."""


@dataclass(frozen=True)
class Found:
    """What a detection gave, for the files that are written of it.

    `find` tells with which settings findings were cut, `skipped` which files beside the radiographs hold none; of what
    is None nothing is said. `complete` is whether that is all, `identifiers` whether it holds paths, names and
    UIDs (they are left out before), `shard` which part of a whole it is, as "3/16". Some formats go through the results
    twice.
    """

    identity: ModelIdentity
    results: Iterable[Result]
    failures: Sequence[Failure] = ()
    find: Mapping[str, Any] | None = None
    skipped: Sequence[Skipped] | None = None
    complete: bool = True
    identifiers: bool = True
    shard: str | None = None


def head_document(found: Found) -> dict[str, Any]:
    """The model, and what is said of all results together, as boxes.json has it."""
    return {
        "model": model_document(found.identity),
        **({} if found.find is None else {"find": dict(found.find)}),
        **({} if found.complete else {"complete": False}),
        **({} if found.identifiers else {"identifiers": False}),
        **({} if found.shard is None else {"shard": found.shard}),
    }


def to_document(found: Found) -> dict[str, Any]:
    """The boxes.json of these results: boxes half-open in each file's own pixels, x to the right and y down.

    Pixels, mm and mm2 are rounded to 1 decimal, scores and the threshold to 4. What is unknown (mm without a spacing,
    the lung probability of a model without a lung task) is null. Of work that ended early it says "complete": false, of
    results without paths, names and UIDs "identifiers": false.
    """
    skipped = found.skipped
    return {
        "schema": SCHEMA,
        **head_document(found),
        "images": [image_document(result) for result in found.results],
        "failures": [{"path": failure.path, "error": failure.error} for failure in found.failures],
        **({} if skipped is None else {"skipped": [{"path": one.path, "reason": one.reason} for one in skipped]}),
    }


def to_text(document: Mapping[str, Any]) -> str:
    """The document as indented JSON."""
    return _indented(document) + "\n"


def json_line(value: Any, indent: int | None = None) -> str:
    """The value as JSON, on one line without `indent`; a file name that is no UTF-8 keeps its bytes as JSON escapes."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=indent, ensure_ascii=True, allow_nan=False)
    return text


def _indented(value: Any) -> str:
    return json_line(value, 2)


def write(found: Found) -> Iterator[str]:
    """The text of the boxes.json of these results, piece by piece: no more than one image of it is in memory."""
    none = '"images": []'
    before, after = to_text(to_document(replace(found, results=()))).split(f"\n  {none}", 1)
    yield f"{before}\n  {none[:-1]}"
    some = False
    for result in found.results:
        text = _indented(image_document(result)).replace("\n", "\n    ")
        yield f"{',' * some}\n    {text}"
        some = True
    yield ("\n  " if some else "") + "]" + after


@dataclass(frozen=True)
class Detected:
    """A boxes.json read back. `head` is the document without its images: model, settings, whether it is complete."""

    identity: ModelIdentity
    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    skipped: tuple[Skipped, ...]
    head: Mapping[str, Any]


def read_boxes(path: Path) -> Detected:
    """What a boxes.json holds, with the decimals that it has; `skipped` is empty in one of before it was said.

    `area_px`, which the file does not hold, is computed from `area_mm2`, and NaN where the spacing is unknown.
    Raises DataError.
    """
    document = read_json(path, DataError)
    found = document.get("schema") if isinstance(document, dict) else type(document).__name__
    if found != SCHEMA:
        raise DataError(f"{path}: its schema is {found!r}, not {SCHEMA!r}; give a file that cxrcad detect wrote")
    try:
        return Detected(
            made(ModelIdentity, document["model"]),
            tuple(result_from(image) for image in document["images"]),
            tuple(made(Failure, failure) for failure in document["failures"]),
            tuple(made(Skipped, one) for one in document.get("skipped", ())),
            {name: value for name, value in document.items() if name != "images"},
        )
    except MALFORMED as fault:
        reason = f"not a whole {SCHEMA} document ({fault_words(fault)})"
        raise DataError(f"{path}: {reason}; detect again to make it") from None


def differing(kept: Mapping[str, Any], head: Mapping[str, Any]) -> tuple[str, str] | None:
    """How two heads differ in model or settings, as "with threshold 0.5", of each; None where they do not.

    Where they were computed does not matter.
    """
    before, now = (
        {**(one.get("model") or {}), **(one.get("find") or {}), "identifiers": one.get("identifiers", True)}
        for one in (kept, head)
    )
    for key in now | before:
        if key != "provider" and before.get(key) != now.get(key):
            return f"with {key} {shown(before.get(key, ABSENT))}", f"with {key} {shown(now.get(key, ABSENT))}"
    return None


def model_document(identity: ModelIdentity) -> dict[str, Any]:
    """The model as boxes.json names it."""
    return {
        "name": identity.name,
        "sha256": identity.sha256,
        "threshold": round(identity.threshold, SCORE_DECIMALS),
        "provider": identity.provider,
    }


def image_document(result: Result) -> dict[str, Any]:
    """The result as boxes.json has it."""
    return {
        "path": result.path,
        "sha256": result.sha256,
        "rows": result.rows,
        "cols": result.cols,
        "spacing_mm": None if result.spacing_mm is None else [float(value) for value in result.spacing_mm],
        "spacing_from": result.spacing_from,
        "findings": [_finding(finding) for finding in result.findings],
        "notes": list(result.notes),
        "seconds": {name: round(float(value), SECONDS_DECIMALS) for name, value in result.seconds.items()},
        **({} if result.overlay is None else {"overlay": result.overlay}),
        **({"uids": uids} if (uids := {name: result.uids[name] for name in UIDS if name in result.uids}) else {}),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "label": finding.label,
        "score": rounded_score(finding),
        "box_px": _box(finding.box_px),
        "box_mm": None if finding.box_mm is None else _box(finding.box_mm),
        "center_px": [rounded_length(value) for value in finding.center_px],
        "area_mm2": rounded_length(finding.area_mm2),
        "diameter_mm": rounded_length(finding.diameter_mm),
        "lung_probability": (
            None if finding.lung_probability is None else round(float(finding.lung_probability), SCORE_DECIMALS)
        ),
    }


def rounded_score(finding: Finding) -> float:
    """The score, 0-1, with the decimals of boxes.json."""
    return round(float(finding.score), SCORE_DECIMALS)


def rounded_corners(box: Box) -> list[float]:
    """x0, y0, x1 and y1 of a box, pixels or mm, with the decimals of boxes.json."""
    return [round(float(value), LENGTH_DECIMALS) for value in (box.x0, box.y0, box.x1, box.y1)]


def _box(box: Box) -> dict[str, float]:
    return dict(zip(("x0", "y0", "x1", "y1"), rounded_corners(box), strict=True))


def rounded_length(value: float | None) -> float | None:
    """A length or area, pixels or mm, with the decimals of boxes.json."""
    return None if value is None else round(float(value), LENGTH_DECIMALS)


def result_from(image: Any) -> Result:
    """The result that `image_document` wrote. Raises what MALFORMED names."""
    bare = made(Result, {**image, "findings": []})
    return replace(bare, findings=tuple(_read_finding(finding, bare.spacing_mm) for finding in image["findings"]))


def _read_finding(finding: Any, spacing_mm: tuple[float, float] | None) -> Finding:
    bare = made(Finding, {**finding, "area_px": math.nan})
    if spacing_mm is None or bare.area_mm2 is None:
        return bare
    return replace(bare, area_px=bare.area_mm2 / (spacing_mm[0] * spacing_mm[1]))
