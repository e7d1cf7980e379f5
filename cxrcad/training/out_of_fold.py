"""Threshold and ensemble weight for a model that is trained on every case: from a run that held cases out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxrcad.config import EvaluateConfig, ScoringConfig, TrainConfig, to_dict
from cxrcad.core import DataError, TrainingError, UsageError, counted
from cxrcad.datasets.content import check_content
from cxrcad.datasets.dataset import Dataset
from cxrcad.evaluation.froc import best_f1_threshold
from cxrcad.files import Progress
from cxrcad.inference.model import Bundle
from cxrcad.networks.ensemble import Ensemble
from cxrcad.packaging.fold import out_of_fold_words
from cxrcad.packaging.out_of_fold import models_of_folds
from cxrcad.packaging.parity import load_network
from cxrcad.scoring.runs import score

__all__ = ["with_out_of_fold"]


def with_out_of_fold(config: TrainConfig, dataset: Dataset, progress: Progress) -> TrainConfig:
    """`config` with the threshold of the best F1 on the pooled test cases of `config.threshold_from`'s finished folds.

    The lung threshold, and with a patch classifier the ensemble weight, are the means of the folds' ones. Each image is
    scored by the fold that held it out. What is given itself is kept; with a given threshold `threshold_from` is None
    in what comes back. Raises UsageError where neither a run nor the values are given, TrainingError for a run of
    another recipe or of other data than `dataset`, EvaluationError.
    """
    run, ensemble = config.threshold_from, config.network.patch_classifier
    if run is None:
        given = {
            "--threshold": config.find.threshold,
            **({"--ensemble-weight": config.classifier.ensemble_weight} if ensemble else {}),
        }
        if None not in given.values():
            return config
        raise UsageError(
            "--fold none: holds out no case that could give a threshold; name a run of the same recipe with "
            f"--threshold-from, or give {' and '.join(given)}"
        )
    bundles = models_of_folds(run, "--threshold-from", TrainingError)
    for fold, bundle in bundles.items():
        _check_alike(bundle, config, f"--threshold-from {run}: fold {fold}")
    weights = [_ensemble_weight(bundle) for bundle in bundles.values()] if ensemble else []
    given_weight = config.classifier.ensemble_weight
    if given_weight is not None and config.find.threshold is None and any(weight != given_weight for weight in weights):
        raise UsageError(
            f"--ensemble-weight {given_weight:g}: the threshold comes from scores that {run} averaged with its own "
            "weights; leave it out, or give --threshold too"
        )
    threshold, origin = config.find.threshold, None
    if threshold is None:
        threshold, origin = _threshold(config, dataset, run, progress), run
        progress.note(f"threshold {threshold:.4g}: {out_of_fold_words(run)}")
    lung = config.find.lung_threshold
    if lung is None:
        lung = _mean([one.find.lung_threshold for one in bundles.values() if one.find.lung_threshold is not None])
    find = replace(config.find, threshold=threshold, lung_threshold=lung)
    found = replace(config, find=find, threshold_from=origin)
    if not ensemble or given_weight is not None:
        return found
    weight = _mean(weights)
    progress.note(f"ensemble weight {weight:g}: the mean of the folds' weights")
    return replace(found, classifier=replace(config.classifier, ensemble_weight=weight))


def _check_alike(bundle: Bundle, config: TrainConfig, name: str) -> None:
    """Raise TrainingError where the model's scores are not those that this training's network will give."""
    mine = {**to_dict(config.network), **to_dict(config.grid), "normals": config.normals}
    mine["taught"] = config.loss.teacher is not None
    known = {**to_dict(bundle.network), **to_dict(bundle.grid), **bundle.training_config}
    known["taught"] = known.get("teacher") is not None
    differing = [one for one, value in mine.items() if one in known and known[one] != value]
    if differing:
        theirs = ", ".join(f"{one} {known[one]}" for one in differing)
        ours = ", ".join(f"{one} {mine[one]}" for one in differing)
        raise TrainingError(f"{name} has {theirs}, and this training {ours}; name a run of the same recipe")


def _threshold(config: TrainConfig, dataset: Dataset, run: Path, progress: Progress) -> float:
    """The threshold of the best F1; TrainingError where the folds' models were trained on other data, or on a case."""
    remedy = "name a run on this data"
    try:
        check_content(run, dataset, f"--threshold-from: {remedy}")
    except DataError as error:
        raise TrainingError(str(error)) from None
    protocol = "jsrt-247" if config.normals else config.data.protocol
    asked = EvaluateConfig(
        data=replace(config.data, protocol=protocol), run=run, scoring=ScoringConfig(threads=config.threads)
    )
    results = score(asked, progress.note)[0].results
    seen = [name for result in results for name in result.trained_on]
    if seen:
        raise TrainingError(
            f"--threshold-from {run}: its models were trained on {counted(len(seen), 'image')} of the cases that their "
            f"folds hold out ({seen[0]}); {remedy}"
        )
    return best_f1_threshold([match for result in results for match in result.matches])


def _ensemble_weight(bundle: Bundle) -> float:
    """The weight of the model's patch classifier, from its checked weights; `_check_alike` knows that it has one."""
    network = load_network(bundle.folder)
    assert isinstance(network, Ensemble)
    return round(float(network.weight), 6)


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None
