"""Cases -> a trained fold: the steps, the checkpoints, what is done between steps, the packaged result."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cxrcad.config import TrainConfig
from cxrcad.core import TrainingError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.read import cases_to_train
from cxrcad.datasets.samples import load_samples
from cxrcad.files import Pace, Progress, Silent
from cxrcad.networks.ensemble import Ensemble
from cxrcad.networks.registry import build_network
from cxrcad.packaging.fold import export_fold
from cxrcad.training.data import Source, drawn_ahead, make_source, shown
from cxrcad.training.device import Backend, channels_last, open_backend
from cxrcad.training.fine_tuning import blended, freeze_early, set_training, without_unboxed
from cxrcad.training.patch_classifier.task import PatchTask, start_ensemble
from cxrcad.training.resume import check_inputs, inputs_of
from cxrcad.training.segmentation import SegmentationTask, start_segmentation
from cxrcad.training.signals import Stopping
from cxrcad.training.state import CHECKPOINT, State, new_state

__all__ = ["follow", "learning_rate", "take_step", "total_steps", "train_fold"]

Task = PatchTask | SegmentationTask


def train_fold(
    config: TrainConfig, dataset: Dataset, split: Split, folder: Path, progress: Progress | None = None
) -> Path:
    """The folder of a finished fold: checkpoint, history.json and `model/` with weights, ONNX and card.

    With `config.network.patch_classifier` the patch classifier of an ensemble is trained, else the whole network.
    With `config.resume`, goes on from the checkpoint in `folder` and ends with the weights of an uninterrupted run;
    on CUDA, where sums are taken in no fixed order, with nearly those.
    Raises UsageError, TrainingError, DataError, ReadError or NetworkError.
    """
    progress = progress or Silent()
    backend = open_backend(config)
    torch.manual_seed(config.seed)
    network = build_network(config.network, config.grid.side)
    if isinstance(network, Ensemble):
        config = start_ensemble(network, config, dataset, split)
    else:
        config = start_segmentation(network, config, dataset, split)
    learner = channels_last(network.classifier if isinstance(network, Ensemble) else network)
    initial: dict[str, Tensor] = {}
    if config.initial_fraction:
        initial = {name: value.clone() for name, value in learner.state_dict().items()}
    if config.freeze_early:
        freeze_early(learner)
    state = new_state(learner, config)
    multiple = int(getattr(network, "multiple"))  # noqa: B009 (a Module's attributes are Tensor | Module to mypy)
    chosen = cases_to_train(dataset, split.train, config.normals)
    samples = without_unboxed(load_samples(chosen, config, multiple), config, backend)
    source = make_source(samples, config, dataset, split.train)
    held = cases_to_train(dataset, split.validation, config.normals) if split.validation else ()
    validation = load_samples(held, config, multiple)
    state.inputs = inputs_of(config, [*chosen, *held])
    task: Task
    if isinstance(network, Ensemble):
        task = PatchTask(network, source, validation, config, progress)
    else:
        task = SegmentationTask(source, validation, config, progress)
    for module in (network, state.average, state.balance):
        module.to(backend.device)  # before the optimiser's state, which follows its weights
    if config.resume and (folder / CHECKPOINT).is_file():
        record = state.load(folder / CHECKPOINT)
        check_inputs(folder / CHECKPOINT, record.get("inputs"), state.inputs)
        task.take(record, folder / CHECKPOINT)
        progress.note(f"fold {split.fold}: going on from step {state.step}")
    total = total_steps(config, source)
    progress.start(f"fold {split.fold}{task.title}", total, state.step)
    _run(state, task, total, backend, folder)
    trained = state.average if config.ema else state.network
    if config.initial_fraction:
        trained = blended(trained, initial, config.initial_fraction)
    trained = task.finished(state, trained, folder)
    seen = replace(shown(source), nodules=state.inputs["simulate"])
    return export_fold(trained, config, seen, validation, folder, state.history, state.seconds)


def _run(state: State, task: Task, total: int, backend: Backend, folder: Path) -> None:
    """Take the steps up to `total`; after some of them the task does its work between steps."""
    config, progress = task.config, task.progress
    started, before, checkpoint = time.monotonic(), state.seconds, time.monotonic()
    pace, worked = Pace(total, progress, "steps", more=", and some more for validation"), state.step
    stops = task.stops(total)

    def keep() -> None:
        """The state as it stands, unless the work after its step was cut short: the one before is then whole."""
        if state.step and (state.step not in stops or worked == state.step):
            state.save(folder / CHECKPOINT, **task.kept())
            progress.note(f"step {state.step} is kept")

    with Stopping(keep) as stopping, closing(_drawn(task, state.step, total, backend.workers)) as batches:
        for batch in batches:
            with stopping.step():
                loss = take_step(state, task, batch, total, backend)
                if not np.isfinite(loss):
                    raise TrainingError(f"the loss is {loss} at step {state.step}; {task.remedy}")
                state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
                state.step += 1
            state.seconds = before + time.monotonic() - started
            mean_loss = state.mean_loss
            pace.step(state.step)
            if state.step in stops:
                task.work(state, backend, folder)
                worked = state.step
            progress.step(state.step, mean_loss)
            if time.monotonic() - checkpoint >= 60 * config.checkpoint_minutes or state.step == total:
                state.save(folder / CHECKPOINT, **task.kept())
                checkpoint = time.monotonic()


def _drawn(task: Task, first: int, total: int, workers: int) -> Generator[Any, None, None]:
    """What the steps see; drawn anew from where the task's work changes what is drawn."""
    for last in [*(step for step in task.redrawn(total) if step > first), total]:
        with closing(drawn_ahead(task.draw, first, last, workers)) as drawn:
            yield from drawn
        first = last


def total_steps(config: TrainConfig, source: Source) -> int:
    """The steps of the whole training: its epochs, unless `max_steps` ends it before."""
    total = config.epochs * source.steps_per_epoch
    return total if config.max_steps is None else min(total, config.max_steps)


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Adam's learning rate at `step` of `total`: the warm-up, then constant or a cosine down to a hundredth."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine":
        rate *= 0.5 * (1 + float(np.cos(np.pi * step / total))) * 0.99 + 0.01
    return rate


def take_step(state: State, task: Task, batch: Any, total: int, backend: Backend) -> float:
    """Train the network on a batch, in place; the loss before that."""
    config = task.config
    set_training(state.network, config.freeze_early)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step, total)
    loss = task.loss(state, batch, backend)
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    if config.ema:
        follow(state.average, state.network, min(config.ema, (1 + state.step) / (10 + state.step)))
    return float(loss.detach())


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move weights and statistics: average = decay x average + (1 - decay) x network."""
    averages, values = [], []
    for kept, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            averages.append(kept)
            values.append(now)
        else:
            kept.copy_(now)
    get_ema_multi_avg_fn(decay)(averages, values, None)
