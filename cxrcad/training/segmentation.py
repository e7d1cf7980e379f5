"""The task of a segmentation network: the losses of a batch, and validation by the code that serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrcad.config import LESIONS, TrainConfig
from cxrcad.core import TrainingError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.samples import Sample
from cxrcad.evaluation.statistics import dice
from cxrcad.files import Progress, write_json
from cxrcad.inference.lungs import lung_fields
from cxrcad.networks.ensemble import segmentation_of
from cxrcad.packaging.parity import load_network
from cxrcad.packaging.validation import CRITERIA
from cxrcad.training.augment import augment
from cxrcad.training.data import Batch, Source
from cxrcad.training.device import Backend, predict
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.losses import weighted_cross_entropy
from cxrcad.training.state import State

__all__ = ["SegmentationTask", "start_segmentation"]


def start_segmentation(network: nn.Module, config: TrainConfig, dataset: Dataset, split: Split) -> TrainConfig:
    """Load the weights of --initial-weights, of an ensemble its first network's, into `network`, if they are named.

    What comes back names their folder. Raises TrainingError, ModelError.
    """
    if config.initial_weights is None:
        return config
    first = initial_model(config.initial_weights, "--initial-weights", config, dataset, split)
    try:
        network.load_state_dict(segmentation_of(load_network(first.folder)).state_dict())
    except RuntimeError:
        raise TrainingError(
            f"--initial-weights {config.initial_weights}: its weights do not fit this network; give the --network, "
            "--norm, --tasks, --channels and --width that its card names"
        ) from None
    return replace(config, initial_weights=str(first.folder))


class SegmentationTask:
    """Lesion and lungs are outlined. Raises TrainingError where lungs are to be learned from no mask at all."""

    title, everywhere = "", False
    remedy = "lower --learning-rate or --max-class-weight"

    def __init__(self, source: Source, validation: Sequence[Sample], config: TrainConfig, progress: Progress) -> None:
        self.source, self.validation, self.config, self.progress = source, validation, config, progress
        self.draw = source.draw
        self._check_lungs()

    def _check_lungs(self) -> None:
        samples = self.source.samples
        without = sum(sample.lung is None for sample in samples)
        if self.config.network.tasks != "multi" or not without:
            return
        if without == len(samples):
            raise TrainingError(
                f"none of the {len(samples)} training cases has a lung mask, so the lung task of --tasks multi has "
                "nothing to learn from; give --tasks single, or put masks beside the images (docs/DATA.md)"
            )
        self.progress.note(f"{without} of {len(samples)} training cases have no lung mask: they add no lung loss")

    def stops(self, total: int) -> frozenset[int]:
        """The steps after which the network is validated."""
        source, every = self.source, self.config.validate_epochs
        steps = (source.steps(epochs) for epochs in range(every, source.epoch(total) + 1, every))
        return frozenset((*steps, total))

    def redrawn(self, total: int) -> Sequence[int]:
        """Validation changes nothing of what is drawn."""
        return ()

    @property
    def unused(self) -> bool:
        """Whether a micro-batch's loss may leave some weights without a gradient."""
        if self.config.network.tasks == "multi":
            return any(sample.lung is None for sample in self.source.samples)
        return self.config.loss.balance == "learned"

    def inputs(self, batch: Batch, backend: Backend) -> tuple[Tensor, Tensor, Tensor]:
        """Images, masks and which have lungs, augmented, on the device."""
        config = self.config
        generator = torch.Generator(backend.device).manual_seed(int(batch.rng.integers(2**62)))
        images, masks = batch.images.to(backend.device), batch.masks.to(backend.device).float()
        if config.augment.augment:
            images, masks = augment(images, masks, config.augment, batch.rng, generator)
        return images, masks, batch.has_lung.to(backend.device)

    def loss(self, state: State, backend: Backend, images: Tensor, *truth: Tensor) -> Tensor:
        """The loss of both tasks, balanced; `truth` is what `inputs` gives beside the images."""
        with backend.autocast():
            outputs = state.network(images.contiguous(memory_format=torch.channels_last))
        loss: Tensor = state.balance(self.losses(outputs, *truth))
        return loss

    def losses(self, outputs: dict[str, Tensor], masks: Tensor, has_lung: Tensor) -> dict[str, Tensor]:
        """Each task's loss: equation 1 with the masks. A batch without lung masks has no lung loss."""
        return _losses(outputs, masks, has_lung, self.config)

    def work(self, state: State, backend: Backend, folder: Path) -> None:
        """Validate, and keep the figures in `history` and in the folder's history.json."""
        entry = self._validate(state, backend)
        state.history = (*state.history, entry)
        state.loss_sum, state.loss_steps = 0.0, 0
        write_json(folder / "history.json", list(state.history))
        self.progress.note(_sentence(entry))

    def judged(self, state: State) -> nn.Module:
        """The network that is validated."""
        return state.average if self.config.ema else state.network

    def kept(self) -> Mapping[str, Any]:
        """What a checkpoint holds beside the state."""
        return {}

    def take(self, record: Mapping[str, Any], path: Path) -> None:
        """Take that back."""

    def finished(self, state: State, trained: nn.Module, folder: Path) -> nn.Module:
        """The network to package."""
        return trained

    def _validate(self, state: State, backend: Backend) -> dict[str, Any]:
        config, validation = self.config, self.validation
        network = self.judged(state)
        criterion = CRITERIA[LESIONS[config.data.lesion]]
        images: list[Any] = []
        overlaps: list[float] = []
        for sample in validation:
            maps = predict(network, sample.image, backend)
            images.append(criterion.image(sample, maps, config.find))
            if sample.lung is not None and "lung" in maps:
                overlaps.append(dice(lung_fields(maps["lung"], config.find.lung_threshold), sample.lung))
        balance = getattr(state.balance, "state")()  # noqa: B009
        return {
            "step": state.step,
            "epoch": self.source.epoch(state.step),
            "loss": round(state.mean_loss, 6),
            "balance": round(float(balance), 6),
            **(criterion.figures(images) if validation else {"f1": None}),
            "lung_dice": round(float(np.mean(overlaps)), 4) if overlaps else None,
            "seconds": round(state.seconds, 1),
        }


def _losses(outputs: dict[str, Tensor], masks: Tensor, has_lung: Tensor, config: TrainConfig) -> dict[str, Tensor]:
    low, high = config.loss.min_class_weight, config.loss.max_class_weight
    lesion = masks[:, 0] > 0
    ignored = (masks[:, 2] > 0) & ~lesion if masks.shape[1] > 2 else None
    losses = {"lesion": weighted_cross_entropy(outputs["lesion"], lesion.long(), low, high, config.loss.focal, ignored)}
    if "lung" in outputs and bool(has_lung.any()):
        lungs = masks[has_lung, 1].long()
        losses["lung"] = weighted_cross_entropy(outputs["lung"][has_lung], lungs, low, high, 0.0)
    return losses


def _sentence(entry: dict[str, Any]) -> str:
    lung = f", lung Dice {entry['lung_dice']:.3f}" if entry["lung_dice"] is not None else ""
    head = f"epoch {entry['epoch']}, step {entry['step']}: loss {entry['loss']:.4f}"
    if entry["f1"] is None and "dice" not in entry:
        return head
    head += "; validation"
    if entry["f1"] is None:
        return f"{head} Dice {entry['dice']:.3f}{lung}"
    reached = ", ".join(
        f"{'not reached' if value is None else f'{value:.2f}'} at {rate}"
        for rate, value in entry["sensitivity"].items()
    )
    return f"{head} F1 {entry['f1']:.3f}, sensitivity {reached} false positives per image{lung}"
