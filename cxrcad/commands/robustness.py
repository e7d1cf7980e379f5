"""`cxrcad robustness`: test cases scored as they are and under each perturbation, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cxrcad.config import NODULE, EvaluateConfig, RobustnessConfig
from cxrcad.core import Case, EvaluationError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.read import read_data
from cxrcad.evaluation.protocols import protocol_of
from cxrcad.evaluation.records import ScoringContext, context_lines, scope, write_matches
from cxrcad.files import Progress, Silent, check_results, write_atomically, write_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import DEFAULT_MODEL, resolve_model
from cxrcad.report.tables import Table
from cxrcad.scoring.kept import bound_to
from cxrcad.scoring.robustness import PerturbedResult, score_perturbed
from cxrcad.synthesis.perturbations import UNPERTURBED, Perturbation, perturbations_named

__all__ = ["measure_robustness"]

SCHEMA = "cxrcad/robustness/1"
SHOWN: Mapping[str, str] = {
    "sensitivity at 1/2": "at 1/2",
    "sensitivity at 1": "at 1",
    "F1": "F1",
}
"""The figures of the table, with their headings."""


def measure_robustness(config: RobustnessConfig, progress: Progress | None = None) -> str:
    """The table of perturbations, as Markdown; robustness.md, robustness.json and raw matches are written beside it.

    Files go to `config.out`, by default to the model's folder in `config.runs`, there to the fold's. Raises UsageError
    for a perturbation that does not exist, ModelError, DataError, ReadError, WriteError, and EvaluationError where
    there is no nodule to score.
    """
    progress = progress or Silent()
    chosen = perturbations_named(config.perturbations)
    bundle = resolve_model(config.model or DEFAULT_MODEL, NODULE)
    out = config.out or config.runs / bundle.name / ("" if config.fold == "all" else f"fold{config.fold}")
    check_results(out, config.out)
    dataset = read_data(config.data)
    cases = _limited(_tested(dataset, config), config.limit)
    if not any(case.nodules for case in cases):
        raise EvaluationError(
            f"{dataset.folder}: none of the {len(cases)} test cases has a nodule, so sensitivity has no meaning; take "
            "another --fold, or data with nodules"
        )
    detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
    found = _scored(cases, chosen, detector, _context(dataset, detector, config), config, out, progress)
    text = _text(found, config)
    write_atomically(out / "robustness.md", text)
    write_json(out / "robustness.json", {**_document(found, config), **bound_to(bundle, cases)})
    return text


def _scored(
    cases: Sequence[Case],
    chosen: Sequence[Perturbation],
    detector: Detector,
    context: ScoringContext,
    config: RobustnessConfig,
    out: Path,
    progress: Progress,
) -> tuple[PerturbedResult, ...]:
    """The results, the unperturbed first; the matches of each are written to `out`/robustness when it is done."""
    progress.start("robustness", len(cases) * (len(chosen) + 1), 0)
    done: list[str] = []

    def count(name: str) -> None:
        done.append(name)
        progress.step(len(done))

    found: list[PerturbedResult] = []
    for one in score_perturbed(cases, chosen, detector, context, config.scoring, config.seed, count):
        write_matches(out / "robustness" / f"matches-{one.perturbation.name}.json", one.result)
        found.append(one)
    return tuple(found)


def _tested(dataset: Dataset, config: RobustnessConfig) -> tuple[Case, ...]:
    """The cases that the protocol scores, of the fold's test cases."""
    splits = make_folds(dataset, config.data.fold_seed)
    tested = {name for split in splits if config.fold in ("all", str(split.fold)) for name in split.test}
    return tuple(case for case in dataset.scored() if case.name in tested)


def _limited(cases: Sequence[Case], limit: int | None) -> tuple[Case, ...]:
    """So many of the cases, evenly spread over their order; all of them without a limit."""
    if limit is None or limit >= len(cases):
        return tuple(cases)
    return tuple(cases[index * len(cases) // limit] for index in range(limit))


def _context(dataset: Dataset, detector: Detector, config: RobustnessConfig) -> ScoringContext:
    protocol, _ = protocol_of(EvaluateConfig(data=config.data))
    network = detector.bundle.card.get("network", {})
    return ScoringContext(
        data=str(dataset.folder),
        protocol=protocol.name,
        rule=protocol.rule,
        model=detector.identity,
        network=str(network.get("network", detector.bundle.name)),
        tasks=str(network.get("tasks", "multi")),
        threshold_from="the model's card",
        fold=None if config.fold == "all" else int(config.fold),
        fp_axis=protocol.fp_axis,
        settings_sha256=detector.bundle.settings_sha256,
    )


def _text(found: Sequence[PerturbedResult], config: RobustnessConfig) -> str:
    unperturbed = found[0].result
    model = unperturbed.context.model
    seen = unperturbed.trained_on
    resamples = config.scoring.resamples
    drawn = f"{resamples:,} resamples of the images" if resamples else "no resamples, no interval"
    limited = "" if config.limit is None else f" (--limit {config.limit})"
    not_a_test = f"NOT A TEST: {len(seen)} of the images stand in the model's training list: {', '.join(seen)}"
    head = [
        f"# Robustness of {model.name}",
        "",
        *context_lines(unperturbed.context),
        f"Scored: {scope([unperturbed])}{limited}, each as it is and under each perturbation.",
        *([not_a_test] * bool(seen)),
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


def _document(found: Sequence[PerturbedResult], config: RobustnessConfig) -> dict[str, Any]:
    """robustness.json, whose keys are those of the schema's first version."""
    unperturbed = found[0].result
    context = unperturbed.context
    return {
        **{"schema": SCHEMA, "model": asdict(context.model), "data": context.data, "fold": context.fold},
        **{"protocol": context.protocol, "hit_rule": context.rule.describe(), "fp_axis": context.fp_axis},
        "images": [match.case for match in unperturbed.matches],
        "trained_on": list(unperturbed.trained_on),
        **{"seed": config.seed, "limit": config.limit},
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
