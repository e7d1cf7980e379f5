"""What a checkpoint's steps were made from, as SHA-256: its cases, the file of CT nodules, the initial models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrcad.config import NetworkConfig, TrainConfig
from cxrcad.core import Case, DataError, TrainingError
from cxrcad.datasets.content import content_of
from cxrcad.files import sha256_of
from cxrcad.inference.model import resolve_model
from cxrcad.synthesis.nodules import ANALYTIC
from cxrcad.training.state import CHECKPOINT, read_record

__all__ = ["check_inputs", "check_one_source", "inputs_of"]


def inputs_of(config: TrainConfig, cases: Sequence[Case]) -> dict[str, Any]:
    """By name: the SHA-256 of each case (image, truth, lung masks) and of the files that `config` starts from.

    Raises DataError for a file that cannot be read, ModelError.
    """
    simulate = config.synthesis.simulate
    classifier = config.classifier.classifier_weights if config.network.patch_classifier else None
    try:
        nodules = None if simulate in (None, ANALYTIC) else sha256_of(Path(str(simulate)))
    except OSError as error:
        raise DataError(f"{simulate}: cannot be read ({error.strerror}); copy the file again") from None
    return {
        "cases": {case.name: _digest(case) for case in cases},
        "simulate": nodules,
        "initial_weights": _model_sha256(config.initial_weights),
        "classifier_weights": _model_sha256(classifier),
    }


def check_one_source(config: TrainConfig, run: Path, own: str) -> None:
    """Raise TrainingError where another fold of the run than `own` projected nodules of another file: folds are pooled.

    Checkpoints of earlier versions do not name it. DataError for a file of nodules that cannot be read.
    """
    now = inputs_of(replace(config, initial_weights=None, network=NetworkConfig()), ())["simulate"]
    for path in sorted(run.glob(f"fold?/{CHECKPOINT}")):
        before = read_record(path).get("inputs") if path.parent.name != own else None
        if isinstance(before, dict) and before.get("simulate", now) != now:
            raise TrainingError(
                f"{path}: was made with other CT nodules than --simulate names now; the folds of a run are pooled, so "
                "give the same file, or another --run"
            )


def _model_sha256(name: str | None) -> str | None:
    return None if name is None else resolve_model(name).sha256


def _digest(case: Case) -> str:
    content = content_of(case)
    return hashlib.sha256(f"{content.image} {content.truth} {content.masks}".encode()).hexdigest()


def check_inputs(path: Path, before: Any, now: Mapping[str, Any]) -> None:
    """Raise TrainingError where the checkpoint `path` was made from something else; an older one names nothing."""
    if not isinstance(before, dict):
        return
    ways = {
        "simulate": "the CT nodules (--simulate)",
        "initial_weights": "the model of --initial-weights",
        "classifier_weights": "the model of --classifier-weights",
    }
    changed = [words for name, words in ways.items() if name in before and before[name] != now[name]]
    cases = before.get("cases")
    if isinstance(cases, dict):
        names = sorted(name for name in {*cases, *now["cases"]} if cases.get(name) != now["cases"].get(name))
        changed += [f"the image, truth or lung masks of {name}" for name in names[:1]]
    if changed:
        raise TrainingError(
            f"{path}: was made with another content of {changed[0]}; put that back as it was, or remove this file and "
            "--resume trains the fold from its first step"
        )
