"""FROC curves as JSON, as CSV, and in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxrcad.core import counted
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.evaluation.froc import RATES, Curve, froc, sensitivity_at
from cxrcad.evaluation.metrics import rate_name
from cxrcad.evaluation.records import FoldResult, ScoringContext, context_lines, pooled, pooled_matches, scope
from cxrcad.evaluation.statistics import wilson
from cxrcad.files import write_atomically, write_json
from cxrcad.report.tables import NO_CPM, false_positive_places, figure_shown, interval_shown, not_a_test

SCHEMA = "cxrcad/froc/1"
COLUMNS = ("threshold", "hits", "false_positives", "fp_in_lung", "fp_outside_lung", "sensitivity", "fp_per_image")


BySet = Mapping[str, tuple[Sequence[FoldResult], Mapping[str, Interval]]]
"""Of several joined sets, each one's part of the folds' results with its figures."""


def froc_document(
    results: Sequence[FoldResult], figures: Mapping[str, Interval], by_set: BySet | None = None
) -> dict[str, Any]:
    """The FROC curve of one fold, or of several folds' matches pooled, as the JSON document of froc.json.

    `sensitivities` has null where the curve does not reach the rate; low and high are the 95 % interval of `figures`
    (`evaluation.bootstrap.bootstrap`). `at_threshold` holds the counts at the model's threshold (each fold's own),
    false positives in images without a lung mask being neither inside nor outside. `data_sets` has the sensitivities
    of each of several sets.

    Raises:
        EvaluationError: No fold, no nodule, an image twice, or folds scored in different contexts.
    """
    context = results[0].context
    curve = froc(pooled_matches(results), context.fp_axis)
    counts = pooled(results)
    document = {
        "schema": SCHEMA,
        "data": context.data,
        "protocol": context.protocol,
        "hit_rule": context.rule.describe(),
        "folds": [result.context.fold for result in results],
        "models": [{"name": result.context.model.name, "sha256": result.context.model.sha256} for result in results],
        "images": curve.n_images,
        "nodules": curve.n_nodules,
        "fp_axis": _fp_axis(curve, context),
        **_figures(curve, figures),
        "at_threshold": {
            "threshold": counts.threshold,
            "hits": counts.tp,
            "missed": counts.fn,
            "false_positives": counts.fp,
            **{name: getattr(counts, name) for name in ("fp_in_lung", "fp_outside_lung", "f1", "recall", "precision")},
        },
        "trained_on": [name for result in results for name in result.trained_on],
        "points": [dict(zip(COLUMNS, row, strict=True)) for row in _rows(curve)],
    }
    parts = {}
    for title, (its, its_figures) in (by_set or {}).items():
        own = froc(pooled_matches(its), context.fp_axis)
        parts[title] = {"images": own.n_images, "nodules": own.n_nodules, **_figures(own, its_figures)}
    return {**document, "data_sets": parts} if parts else document


def _figures(curve: Curve, figures: Mapping[str, Interval]) -> dict[str, Any]:
    sensitivities = []
    for rate in RATES:
        found = figures[f"sensitivity at {rate_name(rate)}"]
        bounds = {"low": found.low, "high": found.high}
        sensitivities.append({"fp_per_image": rate, "sensitivity": sensitivity_at(curve, rate), **bounds})
    return {"sensitivities": sensitivities, "cpm": asdict(figures["CPM"])}


def froc_csv(curve: Curve) -> str:
    """The curve's points as CSV with a header line, highest threshold first; numbers as exact as they are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(curve))
    return text.getvalue()


def froc_text(results: Sequence[FoldResult], figures: Mapping[str, Interval]) -> str:
    """Sensitivity at 1/8 ... 8 false positives per image as a text table, with what it rests on.

    Raises:
        EvaluationError: As `froc_document`.
    """
    context = results[0].context
    curve = froc(pooled_matches(results), context.fp_axis)
    counts = pooled(results)
    lines = [*context_lines(context), f"Scored: {scope(results)}.", "", "FP/image  sensitivity"]
    for rate in RATES:
        name = f"sensitivity at {rate_name(rate)}"
        bounds = interval_shown(name, figures[name])
        lines.append(f"{rate_name(rate):>8}  {figure_shown(name, sensitivity_at(curve, rate))} {bounds}".rstrip())
    bound = "" if curve.final_fp_per_image >= RATES[-1] else " (lower bound: an unreached rate takes the last one)"
    cpm = figures["CPM"]
    shown = f"{figure_shown('CPM', cpm.value)} {interval_shown('CPM', cpm)}".rstrip() + bound
    low, high = wilson(counts.tp, counts.tp + counts.fn)
    lines += [
        f"     CPM  {NO_CPM if cpm.value is None else shown}",
        "",
        f"The curve ends at {curve.final_fp_per_image:.2f} false positives per image ({_fp_axis(curve, context)}).",
        f"At the threshold: sensitivity {100 * counts.recall:.1f} % "
        f"(Wilson's 95 % interval {100 * low:.1f} to {100 * high:.1f}), "
        f"{counts.fp_per_image:.2f} false positives per image, {false_positive_places(counts)}.",
        *not_a_test(results),
    ]
    return "\n".join(lines) + "\n"


def froc_caption(context: ScoringContext) -> str:
    """What belongs under a FROC plot: data and protocol, then the hit rule; two lines."""
    return "\n".join(context_lines(context))


def write_froc(
    json_path: Path,
    csv_path: Path,
    results: Sequence[FoldResult],
    figures: Mapping[str, Interval],
    by_set: BySet | None = None,
) -> None:
    """Write the curve as JSON and as CSV, atomically. Raises EvaluationError, WriteError."""
    write_json(json_path, froc_document(results, figures, by_set))
    write_atomically(csv_path, froc_csv(froc(pooled_matches(results), results[0].context.fp_axis)))


def _rows(curve: Curve) -> list[tuple[float | int, ...]]:
    columns = (curve.thresholds, curve.hits, curve.false_positives, curve.in_lung, curve.outside_lung)
    return list(zip(*columns, curve.sensitivity, curve.fp_per_image, strict=True))


def _fp_axis(curve: Curve, context: ScoringContext) -> str:
    if context.fp_axis == "all":
        return f"false positives over all {counted(curve.n_images, 'scored image')}"
    return f"false positives over the {counted(curve.n_images, 'normal image')}"
