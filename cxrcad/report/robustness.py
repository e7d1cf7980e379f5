"""What `cxrcad robustness` tells: the table of perturbations as Markdown, and robustness.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cxrcad.config import RobustnessConfig
from cxrcad.evaluation.bootstrap import Comparison
from cxrcad.evaluation.records import FoldResult, context_lines, scope
from cxrcad.report.tables import Table, not_a_test
from cxrcad.synthesis.perturbations import UNPERTURBED, Perturbation

__all__ = ["PerturbedResult", "robustness_document", "robustness_text"]

SCHEMA = "cxrcad/robustness/1"
SHOWN: Mapping[str, str] = {"sensitivity at 1/2": "at 1/2", "sensitivity at 1": "at 1", "F1": "F1"}
"""The figures of the table, with their headings."""


@dataclass(frozen=True)
class PerturbedResult:
    """The cases scored under one perturbation; `compared` has every figure's difference, perturbed less unperturbed."""

    perturbation: Perturbation
    result: FoldResult
    compared: Mapping[str, Comparison]


def robustness_text(found: Sequence[PerturbedResult], config: RobustnessConfig) -> str:
    """The table of perturbations as Markdown; `found` begins with the unperturbed cases."""
    unperturbed = found[0].result
    model, resamples = unperturbed.context.model, config.scoring.resamples
    drawn = f"{resamples:,} resamples of the images" if resamples else "no resamples, no interval"
    limited = "" if config.limit is None else f" (--limit {config.limit})"
    head = [
        f"# Robustness of {model.name}",
        "",
        *context_lines(unperturbed.context),
        f"Scored: {scope([unperturbed])}{limited}, each as it is and under each perturbation.",
        *not_a_test([unperturbed]),
        "",
        "Sensitivity, %, at 1/2 and at 1 false positive per image; F1, %, at the model's threshold, "
        f"{model.threshold:.4g}.",
        f"Difference: perturbed less unperturbed, percentage points; brackets: 95 % paired bootstrap, {drawn}.",
        "",
    ]
    columns = ("perturbation", *(part for title in SHOWN.values() for part in (title, "difference")))
    return "\n".join([*head, *Table(columns, [_row(one) for one in found]).markdown()]) + "\n"


def _row(one: PerturbedResult) -> tuple[str, ...]:
    cells = [one.perturbation.words]
    for name in SHOWN:
        figure = one.compared[name]
        cells.append("not reached" if figure.first is None else f"{100 * figure.first:.1f}")
        cells.append("" if one.perturbation is UNPERTURBED else figure.difference.shown(1, 100, sign="+"))
    return tuple(cells)


def robustness_document(found: Sequence[PerturbedResult], config: RobustnessConfig) -> dict[str, Any]:
    """robustness.json, whose keys are those of the schema's first version."""
    unperturbed = found[0].result
    context = unperturbed.context
    return {
        "schema": SCHEMA,
        "model": asdict(context.model),
        "data": context.data,
        "fold": context.fold,
        "protocol": context.protocol,
        "hit_rule": context.rule.describe(),
        "fp_axis": context.fp_axis,
        "images": [match.case for match in unperturbed.matches],
        "trained_on": list(unperturbed.trained_on),
        "seed": config.seed,
        "limit": config.limit,
        "bootstrap": {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95},
        "alterations": [
            {"name": one.perturbation.name, "words": one.perturbation.words, "figures": _figures(one)} for one in found
        ],
    }


def _figures(one: PerturbedResult) -> dict[str, Any]:
    return {
        name: {
            "altered": figure.first,
            "unaltered": figure.second,
            "difference": asdict(figure.difference),
            "p": figure.p,
        }
        for name, figure in one.compared.items()
        if figure.first is not None or figure.second is not None
    }
