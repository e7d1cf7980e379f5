"""Threshold and second look's share for a model that is trained on every case: from a run that held cases out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxrcad.config import EvaluateConfig, ScoringConfig, TrainConfig
from cxrcad.core import TrainingError, UsageError
from cxrcad.evaluation.froc import best_f1_threshold
from cxrcad.evaluation.runs import folds_of_run, score
from cxrcad.inference.bundle import load_bundle
from cxrcad.jobs import Progress, read_json

__all__ = ["held_out_words", "with_held_out"]


def with_held_out(config: TrainConfig, progress: Progress) -> TrainConfig:
    """`config` with the threshold of the best F1 on the pooled test cases of `config.threshold_from`'s finished folds.

    The lung threshold, and with a second look its share, are the means of the folds' ones, unless they are given. Each
    image is scored by the fold that held it out. Raises UsageError without a run, TrainingError for one of other
    networks, EvaluationError.
    """
    run = config.threshold_from
    if run is None:
        raise UsageError(
            "--fold none: holds out no case that could give a threshold; name a run of the same recipe with "
            "--threshold-from"
        )
    folds = folds_of_run(run)
    if not folds:
        raise TrainingError(f"--threshold-from {run}: holds no finished fold; name a run that `cxrcad train` wrote")
    bundles = [load_bundle(run / f"fold{fold}" / "model") for fold in folds]
    for fold, bundle in zip(folds, bundles, strict=True):
        look = bool(bundle.card["network"].get("look"))
        if look != config.network.look:
            raise TrainingError(
                f"--threshold-from {run}: fold {fold} has {'' if look else 'no '}second look, this "
                f"training has {'one' if config.network.look else 'none'}; name a run of its recipe"
            )
    protocol = "jsrt-247" if config.normals else config.data.protocol
    asked = EvaluateConfig(
        data=replace(config.data, protocol=protocol), run=run, scoring=ScoringConfig(threads=config.threads)
    )
    results = score(asked, progress.note)[0].results
    threshold = best_f1_threshold([match for result in results for match in result.matches])
    progress.note(f"threshold {threshold:.4g}: {held_out_words(run)}")
    lung = config.find.lung_threshold
    if lung is None:
        lung = _mean([one.find.lung_threshold for one in bundles if one.find.lung_threshold is not None])
    found = replace(config, find=replace(config.find, threshold=threshold, lung_threshold=lung))
    if not config.network.look or config.second.second_share is not None:
        return found
    share = _mean([float(read_json(run / f"fold{f}" / "history.json", TrainingError)[-1]["share"]) for f in folds])
    progress.note(f"second look's share {share:g}: the mean of the folds' shares")
    return replace(found, second=replace(config.second, second_share=share))


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def held_out_words(run: Path) -> str:
    """Where such a threshold comes from, for a card."""
    folds = folds_of_run(run)
    cases = f"the test cases of fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
    return f"best F1 on {cases} of {run.name}, each scored by its own fold's model"
