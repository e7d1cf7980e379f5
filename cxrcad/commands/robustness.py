"""`cxrcad robustness`: test cases scored as they are and under each perturbation, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from cxrcad.config import NODULE, EvaluateConfig, RobustnessConfig
from cxrcad.core import Case, EvaluationError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import held_out_names
from cxrcad.datasets.images import read_case
from cxrcad.datasets.read import read_data
from cxrcad.evaluation.bootstrap import compare
from cxrcad.evaluation.protocols import protocol_of
from cxrcad.evaluation.records import FoldResult, ScoringContext, write_matches
from cxrcad.files import Progress, Silent, check_results, write_atomically, write_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import DEFAULT_MODEL, resolve_model
from cxrcad.report.robustness import PerturbedResult, robustness_document, robustness_text
from cxrcad.scoring.cases import Detection, evaluate_cases
from cxrcad.scoring.kept import bound_to
from cxrcad.scoring.runs import told_by
from cxrcad.synthesis.perturbations import UNPERTURBED, Perturbation, perturbations_named

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
            f"{dataset.where}: none of the {len(cases)} test cases has a nodule, so sensitivity has no meaning; take "
            "another --fold, or data with nodules"
        )
    detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
    progress.start("robustness", len(cases) * (len(chosen) + 1), 0)
    done, found = 0, []

    def count(name: str) -> None:
        nonlocal done
        done += 1
        progress.step(done)

    for one in _scored(cases, chosen, detector, _context(dataset, detector, config), config, count):
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
    context = ScoringContext(
        data=dataset.where,
        protocol=protocol.name,
        rule=protocol.rule,
        fold=None if config.fold == "all" else int(config.fold),
        fp_axis=protocol.fp_axis,
        **told_by(detector.bundle),
    )
    return replace(context, model=detector.identity)


def _scored(
    cases: Sequence[Case],
    perturbations: Sequence[Perturbation],
    detector: Detector,
    context: ScoringContext,
    config: RobustnessConfig,
    on_done: Callable[[str], None],
) -> Iterator[PerturbedResult]:
    """The cases scored as they are, which comes first, and under each perturbation, each yielded when it is done.

    A perturbed case is handled like any other: the detector searches the perturbed radiograph, and its findings are
    matched with the truth where the perturbation put it. Raises EvaluationError and ReadError as `evaluate_cases`.
    """
    own = {case.name: case for case in cases}
    positives = sum(case.positive for case in cases)
    resamples = config.scoring.resamples if positives > 1 else 0  # no interval from a single one
    unperturbed: FoldResult | None = None
    for perturbation in (UNPERTURBED, *perturbations):

        def detect(case: Case, perturbation: Perturbation = perturbation) -> Detection:
            radiograph = read_case(own[case.name])  # with the case's own spacing, then perturbed
            return Detection(detector.detect(perturbation.of(radiograph, case.name, config.seed)))

        result = evaluate_cases(
            [perturbation.of_case(case) for case in cases],
            detect,
            context,
            true_lung=lambda case: None,
            trained_on=detector.bundle.training_images,
            on_done=on_done,
        )
        unperturbed = unperturbed or result
        compared = compare([result], [unperturbed], resamples, config.scoring.bootstrap_seed, perturbed=True)
        yield PerturbedResult(perturbation, result, compared)
