"""Anybody's boxes scored without a model: predictions and truth from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cxrcad.config import PROTOCOLS, DataConfig, EvaluateConfig
from cxrcad.core import Case, EvaluationError, ModelIdentity, Result, UsageError, counted
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.fields import PROBABILITY, Entry, is_json, parse_json, read_text
from cxrcad.evaluation.protocols import protocol_of
from cxrcad.evaluation.records import FoldResult, ScoringContext
from cxrcad.files import sha256_of
from cxrcad.interchange.predictions import read_predictions
from cxrcad.interchange.truth import TruthSet, read_truth
from cxrcad.scoring.cases import Detection, evaluate_cases

__all__ = ["score_predictions"]

HALF = 0.5


def score_predictions(config: EvaluateConfig, note: Callable[[str], None] = lambda _: None) -> FoldResult:
    """The matches of `config.predictions` with `config.truth_file`, under the protocol, its rule and the flags.

    Without --protocol and --images every image of the truth is scored. The threshold is --threshold, else the one that
    a boxes.json names, else 0.5; it decides F1, recall and precision, not the curve.

    Raises UsageError where one of the two files is not named, DataError and EvaluationError for what they hold.
    """
    if config.predictions is None or config.truth_file is None:
        raise UsageError("--predictions and --truth go together: the boxes, and what is true of the same images")
    for name in ("run", "model", "beside", "seeds"):
        if getattr(config, name) is not None:
            raise UsageError(f"--{name}: --predictions scores a file alone; leave one out (`cxrcad compare` takes two)")
    protocol, images = protocol_of(config)
    if config.images is None and protocol.name == DataConfig.protocol:
        images = "all"
    truth = read_truth(config.truth_file)
    cases = _scored(truth, config.truth_file, images or protocol.images)
    found = read_predictions(config.predictions, truth, missing=config.missing)
    document = _document(config.predictions)
    threshold, origin = _threshold(config, document)
    total = sum(len(findings) for findings in found.values())
    note(f"{config.predictions}: {counted(total, 'finding')}, {counted(len(cases), 'image')} scored")
    cut = _number(document, "find", "min_score") or 0.0  # the score below which a boxes.json leaves boxes out
    if cut > 0:
        less = f", so figures at the threshold of {threshold:.4g} are those at that score" * (threshold < cut)
        note(
            f"{config.predictions}: holds no boxes below a score of {cut:.4g}; its curve ends there{less}. "
            "`cxrcad detect --min-score 0` writes every candidate"
        )
    context = ScoringContext(
        data=str(config.truth_file),
        protocol=protocol.name,
        rule=protocol.rule,
        model=ModelIdentity(config.predictions.name, sha256_of(config.predictions), threshold, "none"),
        network=config.predictions.stem,
        tasks="",
        threshold_from=origin,
        images=images,
        fp_axis=protocol.fp_axis,
    )

    def detect(case: Case) -> Detection:
        findings = tuple(found[case.name])
        return Detection(Result(str(case.image), "", case.rows, case.cols, case.spacing_mm, None, findings))

    return evaluate_cases(cases, detect, context)


def _scored(truth: TruthSet, path: Path, images: str) -> tuple[Case, ...]:
    name = next(name for name, its in PROTOCOLS.items() if its == images)
    cases = Dataset(path, name, truth.cases).scored()
    if not cases:
        raise EvaluationError(f"{path}: none of its {len(truth.cases)} images belongs to the image set {images}")
    return cases


def _document(path: Path) -> Entry:
    """What a JSON object holds beside its boxes, whatever the file is called; nothing of another file."""
    text = read_text(path, EvaluationError)
    document = parse_json(path, text, EvaluationError) if is_json(text) else None
    return Entry(path, EvaluationError, document if isinstance(document, dict) else {})


def _threshold(config: EvaluateConfig, document: Entry) -> tuple[float, str]:
    """The threshold, and where it comes from in words. Raises UsageError for an operating point, which a card has."""
    if config.operating_point is not None:
        raise UsageError(
            f"--operating-point {config.operating_point}: stands in a model's card, and --predictions are boxes only; "
            "give --threshold"
        )
    if config.threshold is not None:
        return config.threshold, "--threshold"
    value = _number(document, "model", "threshold")
    if value is not None:
        return value, "the file of the boxes"
    return HALF, "half, as the file names none; --threshold sets it"


def _number(document: Entry, part: str, key: str) -> float | None:
    return document.part(part).number_or_none(key, PROBABILITY) if document.has(part) else None
