"""A model scored on the same test cases as they are and under each perturbation, with paired differences.

A perturbed case is handled like any other: the detector searches the perturbed radiograph, and its findings are matched
with the truth where the perturbation put it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cxrcad.config import ScoringConfig
from cxrcad.core import Case
from cxrcad.datasets.images import read_case
from cxrcad.evaluation.bootstrap import Comparison, compare
from cxrcad.evaluation.records import FoldResult, ScoringContext
from cxrcad.inference.detector import Detector
from cxrcad.scoring.cases import Detection, evaluate_cases
from cxrcad.synthesis.perturbations import UNPERTURBED, Perturbation

__all__ = ["PerturbedResult", "score_perturbed"]


@dataclass(frozen=True)
class PerturbedResult:
    """The cases scored under one perturbation; `compared` has every figure's difference, perturbed less unperturbed."""

    perturbation: Perturbation
    result: FoldResult
    compared: Mapping[str, Comparison]


def score_perturbed(
    cases: Sequence[Case],
    perturbations: Sequence[Perturbation],
    detector: Detector,
    context: ScoringContext,
    scoring: ScoringConfig,
    seed: int,
    on_done: Callable[[str], None] | None = None,
) -> Iterator[PerturbedResult]:
    """The cases scored as they are, which comes first, and under each perturbation, each yielded when it is done.

    `seed` decides the noise and where things are drawn; `on_done` is called with a case's name after each image. Raises
    EvaluationError and ReadError as `evaluate_cases` does.
    """
    positives = sum(case.positive for case in cases)
    resamples = scoring.resamples if positives > 1 else 0  # one tells nothing of others
    unperturbed: FoldResult | None = None
    for perturbation in (UNPERTURBED, *perturbations):
        result = evaluate_cases(
            [perturbation.of_case(case) for case in cases],
            _detect_perturbed(cases, detector, perturbation, seed),
            context,
            true_lung=lambda case: None,
            trained_on=detector.bundle.training_images,
            on_done=on_done,
        )
        unperturbed = unperturbed or result
        compared = compare([result], [unperturbed], resamples, scoring.bootstrap_seed)
        yield PerturbedResult(perturbation, result, compared)


def _detect_perturbed(
    cases: Sequence[Case], detector: Detector, perturbation: Perturbation, seed: int
) -> Callable[[Case], Detection]:
    """Detection in a perturbed case's image: the case's own, read with its own spacing, then perturbed."""
    own = {case.name: case for case in cases}
    return lambda case: Detection(detector.detect(perturbation.of(read_case(own[case.name]), case.name, seed)))
