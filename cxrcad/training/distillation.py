"""A segmentation network learns the maps of a teacher, which sees the same image on its own, finer grid.

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015, at temperature 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from cxrcad.config import TrainConfig
from cxrcad.core import TrainingError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.samples import Sample
from cxrcad.files import Progress
from cxrcad.inference.model import Bundle, load_bundle
from cxrcad.networks.blocks import tasks_of
from cxrcad.packaging.parity import load_network
from cxrcad.training.data import Batch, Source
from cxrcad.training.device import Backend, channels_last
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.segmentation import SegmentationTask

__all__ = ["DistillationTask", "as_taught", "start_distillation"]


def start_distillation(config: TrainConfig, dataset: Dataset, split: Split) -> TrainConfig:
    """The settings, with the folder of the model that teaches this split.

    Raises ModelError; TrainingError for a model that saw a held-out case, lacks a task of the network that learns from
    it, stretches grey levels otherwise, or has a side that is no multiple of that network's.
    """
    name = config.loss.teacher
    assert name is not None
    teacher = initial_model(name, "--teacher", config, dataset, split)
    missing = set(tasks_of(config.network)) - set(teacher.tasks)
    if missing:
        raise TrainingError(f"--teacher {name}: has no {missing.pop()} map; give --tasks single, or name another model")
    side = teacher.grid.side
    if side % config.grid.side:
        raise TrainingError(
            f"--teacher {name}: its side is {side}, no multiple of --side {config.grid.side}; give --side {side} or a "
            "divisor of it"
        )
    if teacher.grid != replace(config.grid, side=side):
        low, high = teacher.grid.low_percentile, teacher.grid.high_percentile
        raise TrainingError(
            f"--teacher {name}: stretches grey levels between other percentiles; give --low-percentile {low:g} "
            f"--high-percentile {high:g}"
        )
    return replace(config, loss=replace(config.loss, teacher=str(teacher.folder)))


def as_taught(config: TrainConfig, multiple: int) -> tuple[TrainConfig, int]:
    """Settings and multiple of the sides with which training images are drawn: on the grid of the teacher."""
    teacher = _teacher(config)
    times = teacher.grid.side // config.grid.side
    return replace(config, grid=teacher.grid), math.lcm(teacher.multiple, multiple * times)


def _teacher(config: TrainConfig) -> Bundle:
    assert config.loss.teacher is not None
    return load_bundle(Path(config.loss.teacher))


class DistillationTask(SegmentationTask):
    """A segmentation network learns a teacher's maps in place of masks."""

    remedy = "lower --learning-rate, or name another --teacher"

    def __init__(self, source: Source, validation: Sequence[Sample], config: TrainConfig, progress: Progress) -> None:
        super().__init__(source, validation, config, progress)
        teacher = _teacher(config)
        self.times = teacher.grid.side // config.grid.side
        self.teacher = channels_last(load_network(teacher.folder))

    @property
    def unused(self) -> bool:
        """Whether a micro-batch's loss leaves weights without a gradient: of a balance with a task that is missing."""
        return self.config.network.tasks == "single" and self.config.loss.balance == "learned"

    def inputs(self, batch: Batch, backend: Backend) -> tuple[Tensor, Tensor, Tensor]:
        """Images on the learner's grid, and the teacher's lesion and lung maps (B, 1, H, W) there."""
        images = super().inputs(batch, backend)[0]
        teacher = self.teacher.to(backend.device)
        with torch.no_grad(), backend.autocast():
            outputs = teacher(images.contiguous(memory_format=torch.channels_last))
        maps = [outputs[task].float().softmax(1)[:, 1:] for task in ("lesion", "lung") if task in outputs]
        smaller = [functional.avg_pool2d(one, self.times) for one in (images, *maps)]
        return smaller[0], smaller[1], smaller[-1]

    def losses(self, outputs: dict[str, Tensor], lesion: Tensor, lung: Tensor) -> dict[str, Tensor]:
        """Each task's loss: the cross-entropy with the teacher's map, mean over the pixels."""
        maps = {"lesion": lesion, "lung": lung}
        return {
            task: functional.cross_entropy(logits.float(), torch.cat([1 - maps[task], maps[task]], 1))
            for task, logits in outputs.items()
        }

    def _check_lungs(self) -> None:
        """The teacher outlines the lungs; masks only say where nodules may be projected."""
