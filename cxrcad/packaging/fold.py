"""A trained fold -> its packaged model: weights, ONNX file, threshold and card."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cxrcad import config as settings
from cxrcad.config import LESIONS, TrainConfig
from cxrcad.datasets.images import read_case
from cxrcad.datasets.samples import Sample
from cxrcad.documents import as_name
from cxrcad.evaluation.statistics import dice
from cxrcad.files import json_sha256, write_atomically
from cxrcad.inference.detector import Detector
from cxrcad.inference.examining import Examined
from cxrcad.inference.lungs import lung_fields
from cxrcad.inference.model import ONNX_NAME, WEIGHTS_NAME, Bundle, folds_of_run, load_bundle, resolve_model, write_card
from cxrcad.networks.blocks import tasks_of
from cxrcad.packaging.onnx_export import write_onnx
from cxrcad.packaging.series import listed_series, unknown_series
from cxrcad.packaging.validation import CRITERIA, LEVELS

__all__ = ["Shown", "export_fold", "out_of_fold_words"]

PATHS = (
    "data",
    "simulate",
    "initial_weights",
    "classifier_weights",
    "teacher",
    "run",
    "runs",
    "threshold_from",
    "from_run",
    "cache",
)  # of these settings a card keeps the last part alone
INTENDED_USE = "Research on computer-aided detection. Not a medical device; not for diagnosis."


@dataclass(frozen=True)
class Shown:
    """What a network saw or may have seen in training: SHA-256 of images, and of the UIDs of CT series.

    `lung_models` are name and SHA-256 of the models that made lung masks of the images, with the masks' number;
    `nodules` is the SHA-256 of the file of CT nodules.
    """

    images: tuple[str, ...]
    series: frozenset[str]
    lung_models: Mapping[tuple[str, str], int] = field(default_factory=dict)
    nodules: str | None = None


def export_fold(
    network: nn.Module,
    config: TrainConfig,
    shown: Shown,
    validation: Sequence[Sample],
    folder: Path,
    history: Sequence[Mapping[str, Any]],
    seconds: float,
) -> Path:
    """Write `folder`/model: weights, ONNX, card, which names what the network was `shown`.

    The validation set gives the threshold, through ONNX Runtime, unless one is given or comes from another run.
    """
    from safetensors.torch import save

    criterion = CRITERIA[LESIONS[config.data.lesion]]
    found = criterion.find(config.find)
    weights = {key: value.detach().cpu().float().contiguous() for key, value in network.state_dict().items()}
    multiple = int(getattr(network, "multiple"))  # noqa: B009
    card = {
        "name": as_name(f"{folder.resolve().parent.name}-{folder.name}"),
        "lesion": config.data.lesion,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": settings.to_dict(config.network),
        "tasks": list(tasks_of(config.network)),
        "multiple": multiple,
        "grid": settings.to_dict(config.grid),
        "find": settings.to_dict(replace(found, threshold=0.5)),
        "training": _training(config, shown, history, seconds),
        "figures": {},
        "sources": [],
        "intended_use": INTENDED_USE,
    }
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as name:
        trial = Path(name)  # a fold has a card only once its threshold is known
        write_onnx(network, tasks_of(config.network), multiple, trial / ONNX_NAME)
        write_card(trial, card)
        best: float | None = None
        examined = _examined(load_bundle(trial), validation)
        if config.threshold_from is not None:
            assert config.find.threshold is not None  # `training.out_of_fold` put it there
            threshold, card["threshold_from"] = config.find.threshold, out_of_fold_words(config.threshold_from)
        elif config.find.threshold is None:
            threshold, best = criterion.threshold(found, examined)
            card["threshold_from"] = criterion.threshold_from
        else:
            threshold, card["threshold_from"] = config.find.threshold, "given for the training"
        target = folder / "model"
        write_atomically(target / WEIGHTS_NAME, save(weights, {"format": "pt"}))
        write_atomically(target / ONNX_NAME, (trial / ONNX_NAME).read_bytes())
    if found.lung_threshold is None:
        found = replace(found, lung_threshold=_lung_threshold(examined))
    card["find"] = settings.to_dict(replace(found, threshold=threshold))
    if validation:
        measured = {criterion.figure: best, "threshold": round(threshold, 4)}
        card["figures"] = {"validation cases": {"cases": len(validation), **measured}}
    write_card(target, card)
    return folder


def _training(
    config: TrainConfig, shown: Shown, history: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, Any]:
    """The card's part on the training; images and CT series of the models that it started from count as its own.

    So do the series of its teacher, whose images are named beside them.
    """
    training: dict[str, Any] = {
        "images": list(shown.images),
        "series": sorted(shown.series),
        "config": _without_folders(settings.to_dict(config)),
        "steps": history[-1]["step"] if history else 0,
        "history_sha256": json_sha256(list(history)),
        "minutes": round(seconds / 60, 1),
    }
    if shown.nodules is not None:
        training["nodules_sha256"] = shown.nodules
    if shown.lung_models:
        training["lung_masks_from"] = [
            {"name": name, "sha256": sha256, "masks": count} for (name, sha256), count in shown.lung_models.items()
        ]
    second = config.classifier.classifier_weights if config.network.patch_classifier else None
    unknown: set[str] = set()
    known = {"init": config.initial_weights, "second_init": second, "teacher": config.loss.teacher}
    for name, start in known.items():
        if start is not None:
            first = resolve_model(start)
            training[name] = _before(first)
            if name == "teacher":
                training[name]["images"] = sorted(first.training_images)
            else:
                training["images"] = sorted({*training["images"], *first.training_images})
            training["series"] = sorted({*training["series"], *listed_series(first)})
            unknown |= set(unknown_series(first))
    if unknown:
        training["series_unknown"] = sorted(unknown)
    return training


def _before(first: Bundle) -> dict[str, Any]:
    """What a card tells of the model that a training started from."""
    kept = first.training
    before = {name: kept[name] for name in ("steps", "minutes", "init", "second_init", "teacher") if name in kept}
    config = _without_folders(first.training_config)
    return {"name": first.name, "sha256": first.sha256, "config": config, **before}


def _without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for a card: of paths, which are this machine's, the last part."""
    return {name: _last_part(value) if name in PATHS and value else value for name, value in values.items()}


def _last_part(value: Any) -> str:
    return ", ".join(Path(one).name for one in (value if isinstance(value, list) else [value]))


def _examined(bundle: Bundle, validation: Sequence[Sample]) -> list[tuple[Sample, Examined]]:
    """The validation cases through the code that serves."""
    detector = Detector.open(bundle, device="cpu")
    return [(sample, detector.examine(read_case(sample.case))) for sample in validation]


def _lung_threshold(examined: Sequence[tuple[Sample, Examined]]) -> float | None:
    """The level with the best mean Dice of the lung fields; None without lung maps or masks. Of equal ones the higher.

    Class weights above 1 for lung pixels let the map reach beyond the lungs at 0.5.
    """
    known = [
        (one.maps["lung"], sample.lung) for sample, one in examined if "lung" in one.maps and sample.lung is not None
    ]
    if not known:
        return None
    means = {
        level: float(np.mean([dice(lung_fields(found, level), true) for found, true in known])) for level in LEVELS
    }
    return max(LEVELS, key=lambda level: means[level])


def out_of_fold_words(run: Path) -> str:
    """Where such a threshold comes from, for a card."""
    folds = folds_of_run(run)
    cases = f"the test cases of fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"
    return f"best F1 on {cases} of {run.name}, each scored by its own fold's model"
