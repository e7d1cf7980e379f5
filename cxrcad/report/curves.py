"""FROC curves as JSON, as CSV, and in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxrcad.evaluation.evaluate import FoldResult, Terms, pooled_matches, scope, terms_lines
from cxrcad.evaluation.froc import RATES, Curve, Operating, froc, sensitivity_at
from cxrcad.evaluation.statistics import pool, wilson
from cxrcad.jobs import write_atomically, write_json

__all__ = ["froc_caption", "froc_csv", "froc_document", "froc_text", "write_froc"]

SCHEMA = "cxrcad/froc/1"
NOT_REACHED = "not reached"
COLUMNS = ("threshold", "hits", "false_positives", "fp_in_lung", "fp_outside_lung", "sensitivity", "fp_per_image")


def froc_document(results: Sequence[FoldResult]) -> dict[str, Any]:
    """The FROC curve of one fold, or of several folds' matches pooled, as the JSON document of froc.json.

    `sensitivities` has null where the curve does not reach the rate. `at_threshold` holds the counts at the model's
    threshold (each fold's own), false positives in images without a lung mask being neither inside nor outside.

    Raises:
        EvaluationError: No fold, no nodule, an image twice, or folds scored under different terms.
    """
    curve = froc(pooled_matches(results))
    terms = results[0].terms
    counts = pool([result.operating for result in results])
    return {
        "schema": SCHEMA,
        "data": terms.data,
        "protocol": terms.protocol,
        "hit_rule": terms.rule.describe(),
        "folds": [result.terms.fold for result in results],
        "models": [{"name": result.terms.model.name, "sha256": result.terms.model.sha256} for result in results],
        "images": curve.n_images,
        "nodules": curve.n_nodules,
        "fp_axis": _fp_axis(curve),
        "sensitivities": [{"fp_per_image": rate, "sensitivity": sensitivity_at(curve, rate)} for rate in RATES],
        "at_threshold": _counts(counts),
        "trained_on": [name for result in results for name in result.trained_on],
        "points": [dict(zip(COLUMNS, row, strict=True)) for row in _rows(curve)],
    }


def froc_csv(curve: Curve) -> str:
    """The curve's points as CSV with a header line, highest threshold first; numbers as exact as they are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(curve))
    return text.getvalue()


def froc_text(results: Sequence[FoldResult]) -> str:
    """Sensitivity at 1/8 ... 8 false positives per image as a text table, with what it rests on.

    Raises:
        EvaluationError: As `froc_document`.
    """
    curve = froc(pooled_matches(results))
    counts = pool([result.operating for result in results])
    lines = [*terms_lines(results[0].terms), f"Scored: {scope(results)}.", "", "FP/image  sensitivity"]
    for rate in RATES:
        reached = sensitivity_at(curve, rate)
        lines.append(f"{_rate_name(rate):>8}  " + (NOT_REACHED if reached is None else f"{100 * reached:.1f} %"))
    elsewhere = counts.fp - counts.fp_in_lung - counts.fp_outside_lung
    low, high = wilson(counts.tp, counts.tp + counts.fn)
    lines += [
        "",
        f"The curve ends at {curve.final_fp_per_image:.2f} false positives per image ({_fp_axis(curve)}).",
        f"At the threshold: sensitivity {100 * counts.recall:.1f} % "
        f"(Wilson's 95 % interval {100 * low:.1f} to {100 * high:.1f}), "
        f"{counts.fp_per_image:.2f} false positives per image, {counts.fp_in_lung} inside the lung fields, "
        f"{counts.fp_outside_lung} outside" + (f", {elsewhere} without a lung mask." if elsewhere else "."),
    ]
    seen = [name for result in results for name in result.trained_on]
    if seen:
        lines.append(f"NOT A TEST: {len(seen)} of the images stand in the model's training list: {', '.join(seen)}")
    return "\n".join(lines) + "\n"


def froc_caption(terms: Terms) -> str:
    """What belongs under a FROC plot: data and protocol, then the hit rule; two lines."""
    return "\n".join(terms_lines(terms))


def write_froc(json_path: Path, csv_path: Path, results: Sequence[FoldResult]) -> None:
    """Write the curve as JSON and as CSV, atomically. Raises EvaluationError, WriteError."""
    write_json(json_path, froc_document(results))
    write_atomically(csv_path, froc_csv(froc(pooled_matches(results))))


def _rows(curve: Curve) -> list[tuple[float | int, ...]]:
    columns = (curve.thresholds, curve.hits, curve.false_positives, curve.in_lung, curve.outside_lung)
    return list(zip(*columns, curve.sensitivity, curve.fp_per_image, strict=True))


def _counts(counts: Operating) -> dict[str, float | int | None]:
    return {
        "threshold": counts.threshold,
        "hits": counts.tp,
        "missed": counts.fn,
        "false_positives": counts.fp,
        "fp_in_lung": counts.fp_in_lung,
        "fp_outside_lung": counts.fp_outside_lung,
        "f1": counts.f1,
        "recall": counts.recall,
        "precision": counts.precision,
    }


def _fp_axis(curve: Curve) -> str:
    return f"false positives over all {curve.n_images} scored images"


def _rate_name(rate: float) -> str:
    return f"{rate:g}" if rate >= 1 else f"1/{round(1 / rate)}"
