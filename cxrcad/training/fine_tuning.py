"""What a training that starts from a model does with it: keep early layers, tell what was left unboxed, blend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cxrcad.config import TrainConfig
from cxrcad.core import UsageError
from cxrcad.datasets.samples import Sample
from cxrcad.packaging.parity import load_network
from cxrcad.training.data import has_real
from cxrcad.training.device import Backend, predict

__all__ = ["blended", "check_fine_tuning", "freeze_early", "set_training", "without_unboxed"]


def check_fine_tuning(config: TrainConfig) -> None:
    """Refuse settings of a fine-tuning where no weights are named to start from. Raises UsageError."""
    named = config.classifier.classifier_weights if config.network.patch_classifier else config.initial_weights
    flag = "--classifier-weights" if config.network.patch_classifier else "--initial-weights"
    asked = {
        "--freeze-early": config.freeze_early,
        "--initial-fraction": config.initial_fraction > 0,
        "--ignore-unboxed": config.loss.ignore_unboxed is not None and config.initial_weights is None,
    }
    wrong = [name for name, value in asked.items() if value]
    if named is None and wrong:
        raise UsageError(f"{wrong[0]}: is for a training that starts from a model; name one with {flag}")


def freeze_early(network: nn.Module) -> None:
    """Take the first layers, those under the names in `network.early`, out of the training, in place."""
    early: tuple[str, ...] = getattr(network, "early")  # type: ignore[assignment]  # noqa: B009
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(early))


def set_training(network: nn.Module, frozen: bool) -> None:
    """The network in training mode; with `frozen`, its batch norms normalise by the statistics that they have."""
    network.train()
    if frozen:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def blended(trained: nn.Module, initial: dict[str, Tensor], fraction: float) -> nn.Module:
    """`trained`, its weights (1 - fraction) x its own + fraction x `initial`'s, in place (WiSE-FT).

    Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022.
    """
    with torch.no_grad():
        for name, value in trained.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(initial[name].to(value.device), fraction)
    return trained


def without_unboxed(samples: Sequence[Sample], config: TrainConfig, backend: Backend) -> tuple[Sample, ...]:
    """The samples; in those with boxed lesions, what the initial model takes for others is `unknown`.

    A reader who boxed one lesion of many did not say that the others are none. `config.loss.ignore_unboxed` is the
    least score, 0-1, of such a place.
    """
    least, folder = config.loss.ignore_unboxed, config.initial_weights
    if least is None or folder is None:
        return tuple(samples)
    network = load_network(Path(folder)).to(backend.device)
    found = []
    for sample in samples:
        if has_real(sample.case) and any(nodule.boxed for nodule in sample.case.nodules):
            unknown = (predict(network, sample.image, backend)["lesion"] >= least) & ~sample.lesion
            rim = sample.unknown if sample.unknown is not None else np.zeros_like(unknown)
            sample = replace(sample, unknown=unknown | rim if (unknown | rim).any() else None)
        found.append(sample)
    return tuple(found)
