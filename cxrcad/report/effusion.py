"""What `cxrcad evaluate --lesion effusion` tells: Dice and the figures of images, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cxrcad.config import EvaluateConfig
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.evaluation.segmentation import FIGURES, SegmentedFold, measured, spreads
from cxrcad.report.tables import Table, figure_shown, figures_document, figures_text, not_a_test, spread_shown
from cxrcad.scoring.segmentation import Segmentation

SCHEMA = "cxrcad/segmentation-evaluation/1"

PAPER_DICE = 'The paper (section 4.3) "evaluated using the Dice coefficient" and prints no figure; it shows Figure 9.'

LAYOUT = "{:<15}  {:>12} {:>12} {:>12} {:>13} {:>12}"


def segmentation_text(folds: Sequence[SegmentedFold], found: Mapping[str, Interval], resamples: int) -> str:
    """Dice and the figures of images fold by fold, their spread, and those of `found`, pooled with intervals."""
    text = "\n".join([*_context_lines(folds), "", *_fold_lines(folds), ""])
    return text + "\n" + figures_text(found, resamples) + "\n" + PAPER_DICE + "\n"


def _context_lines(folds: Sequence[SegmentedFold]) -> list[str]:
    """What the figures rest on: data, test cases, threshold, what is reported, and images that are no test."""
    images = [image for fold in folds for image in fold.images]
    effusions = sum(image.positive for image in images)
    numbers = ", ".join(str(fold.fold) for fold in folds)
    chosen = ", ".join(dict.fromkeys(fold.threshold_from for fold in folds))
    areas = ", ".join(dict.fromkeys(f"{fold.min_area_mm2:g}" for fold in folds))
    return [
        f"Data {folds[0].data}, test cases of fold{'s' if len(folds) > 1 else ''} {numbers} of five: {effusions} with "
        f"an effusion, {len(images) - effusions} without.",
        f"Dice of the map cut at the threshold, on the model's grid; threshold: {chosen}.",
        f"An image is reported where a connected part of at least {areas} mm2 is found.",
        *not_a_test(folds),
    ]


def _fold_lines(folds: Sequence[SegmentedFold]) -> list[str]:
    shown = FIGURES[:5]
    rows = []
    for fold in folds:
        found = measured([fold], 0, 0)
        values = [figure_shown(name, found[name].value) for name in shown]
        rows.append((f"{fold.fold:<5} {fold.model.threshold:>9.2f}", *values))
    if len(folds) > 1:
        over = spreads(folds)
        rows.append(("mean ± SD", *(spread_shown(over[name]).removesuffix(" %") for name in shown)))
    columns = ("fold  threshold", "Dice", "sensitivity", "specificity", "AUC, highest", "AUC, area")
    return Table(columns, rows).text(LAYOUT)


def segmentation_document(
    scored: Segmentation, found: Mapping[str, Interval], config: EvaluateConfig
) -> dict[str, Any]:
    """The same as the JSON document of evaluation-effusion.json."""
    over = spreads(scored.folds)
    folds = [
        {
            **{name: value for name, value in asdict(fold).items() if name != "images"},
            "images": len(fold.images),
            "positives": sum(image.positive for image in fold.images),
            "figures": {name: one.value for name, one in measured([fold], 0, 0).items()},
        }
        for fold in scored.folds
    ]
    return {
        "schema": SCHEMA,
        "lesion": config.data.lesion,
        "run": scored.name,
        "bootstrap": {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95},
        "folds": folds,
        "mean": {name: None if one is None else asdict(one) for name, one in over.items()},
        "pooled": figures_document(found),
    }
