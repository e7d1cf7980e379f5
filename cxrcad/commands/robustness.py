"""`cxrcad robustness`: test cases scored as they are and under each perturbation, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from cxrcad.config import NODULE, EvaluateConfig, RobustnessConfig
from cxrcad.core import Case, EvaluationError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import held_out_names
from cxrcad.datasets.read import read_data
from cxrcad.evaluation.protocols import protocol_of
from cxrcad.evaluation.records import ScoringContext, write_matches
from cxrcad.files import Progress, Silent, check_results, write_atomically, write_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import DEFAULT_MODEL, resolve_model
from cxrcad.report.robustness import robustness_document, robustness_text
from cxrcad.scoring.kept import bound_to
from cxrcad.scoring.robustness import score_perturbed
from cxrcad.synthesis.perturbations import perturbations_named

__all__ = ["measure_robustness"]


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
    tested = set(held_out_names(dataset, config.data.fold_seed, config.fold))
    cases = _limited([case for case in dataset.scored() if case.name in tested], config.limit)
    if not any(case.nodules for case in cases):
        raise EvaluationError(
            f"{dataset.folder}: none of the {len(cases)} test cases has a nodule, so sensitivity has no meaning; take "
            "another --fold, or data with nodules"
        )
    detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
    progress.start("robustness", len(cases) * (len(chosen) + 1), 0)
    done, found = 0, []

    def count(name: str) -> None:
        nonlocal done
        done += 1
        progress.step(done)

    context = _context(dataset, detector, config)
    for one in score_perturbed(cases, chosen, detector, context, config.scoring, config.seed, count):
        write_matches(out / "robustness" / f"matches-{one.perturbation.name}.json", one.result)
        found.append(one)
    text = robustness_text(found, config)
    write_atomically(out / "robustness.md", text)
    write_json(out / "robustness.json", {**robustness_document(found, config), **bound_to(bundle, cases)})
    return text


def _limited(cases: Sequence[Case], limit: int | None) -> Sequence[Case]:
    """So many of the cases, evenly spread over their order; all of them without a limit."""
    if limit is None or limit >= len(cases):
        return cases
    return [cases[index * len(cases) // limit] for index in range(limit)]


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
