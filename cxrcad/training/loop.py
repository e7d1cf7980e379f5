"""Cases -> a trained fold: the steps, the checkpoints, what is done between steps, the packaged result."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cxrcad.config import TrainConfig
from cxrcad.core import Case, TrainingError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.read import cases_to_train
from cxrcad.datasets.samples import Sample
from cxrcad.evaluation.trainings import LOG_NAME
from cxrcad.files import Pace, Progress, Silent
from cxrcad.inference.model import RUN_FOLDER
from cxrcad.networks.ensemble import Ensemble
from cxrcad.networks.registry import build_network
from cxrcad.packaging.fold import export_fold
from cxrcad.training.data import Source, drawn_ahead, make_source, shown
from cxrcad.training.device import Backend, channels_last, open_backend
from cxrcad.training.distillation import DistillationTask, as_taught, start_distillation
from cxrcad.training.environment import keep_environment
from cxrcad.training.fine_tuning import blended, freeze_early, set_training, without_unboxed
from cxrcad.training.input_cache import sample_loader
from cxrcad.training.log import RunLog, Unwatched, Watcher, look
from cxrcad.training.patch_classifier.task import PatchTask, start_ensemble
from cxrcad.training.processes import Processes
from cxrcad.training.resume import changed_inputs, check_inputs, inputs_of
from cxrcad.training.segmentation import SegmentationTask, start_segmentation
from cxrcad.training.signals import Stopping
from cxrcad.training.state import CHECKPOINT, State, new_state

__all__ = ["follow", "learning_rate", "take_step", "total_steps", "train_fold"]

Task = PatchTask | SegmentationTask


def train_fold(
    config: TrainConfig,
    dataset: Dataset,
    split: Split,
    folder: Path,
    progress: Progress | None = None,
    processes: Processes | None = None,
    watcher: Watcher | None = None,
) -> Path:
    """The folder of a finished fold: checkpoint, history.json, log.jsonl and `model/` with weights, ONNX and card.

    With `config.network.patch_classifier` the patch classifier of an ensemble is trained, else the whole network.
    With `config.resume`, goes on from the checkpoint in `folder` and ends with the weights of an uninterrupted run;
    on CUDA, where sums are taken in no fixed order, with nearly those. Of several `processes`, each takes its part of
    every step, and the first one alone validates and writes; the others wait for it.
    Raises UsageError, TrainingError, DataError, ReadError or NetworkError.
    """
    progress = progress or Silent()
    backend = open_backend(config, processes)
    processes = backend.processes
    network, config = _start(config, dataset, split)
    learner = channels_last(network.classifier if isinstance(network, Ensemble) else network)
    initial = {name: value.clone() for name, value in learner.state_dict().items()} if config.initial_fraction else {}
    if config.freeze_early:
        freeze_early(learner)
    state = new_state(learner, config)
    cases, samples, validation = _samples(network, config, dataset, split, folder, backend, progress)
    source = make_source(samples, config, dataset, split.train)
    state.inputs = inputs_of(config, cases)
    processes.check_alike(state.inputs, changed_inputs)
    task = _task(network, source, validation, config, progress)
    for module in (network, state.average, state.balance):
        module.to(backend.device)  # before the optimiser's state, which follows its weights
    if processes.share(config.resume and (folder / CHECKPOINT).is_file()):
        _go_on(state, task, folder / CHECKPOINT)
        progress.note(f"fold {split.fold}: going on from step {state.step}")
    elif config.resume and (folder / LOG_NAME).is_file():
        progress.note(f"fold {split.fold}: no step of it was kept; it begins anew")
    total = total_steps(config, source)
    progress.start(f"fold {split.fold}{task.title}", total, state.step)
    if processes.first:
        keep_environment(folder, config, backend, state, progress)
    follower = watcher or Unwatched()
    log = RunLog(folder, state, source.per_epoch / source.per_step, total, follower if processes.first else None)
    _run(state, task, total, backend, folder, log)
    if not processes.first:
        processes.wait()
        return folder / RUN_FOLDER
    trained = state.average if config.ema else state.network
    if config.initial_fraction:
        trained = blended(trained, initial, config.initial_fraction)
    trained = task.finished(state, trained, folder)
    log.validated(state)
    seen = replace(shown(source), nodules=state.inputs["simulate"])
    model = export_fold(trained, config, seen, validation, folder, state.history, state.seconds)
    processes.wait()
    return model


def _start(config: TrainConfig, dataset: Dataset, split: Split) -> tuple[nn.Module, TrainConfig]:
    """The network before its first step, and the settings with the folders of the models that it starts from."""
    torch.manual_seed(config.seed)
    network = build_network(config.network, config.grid.side)
    if config.loss.teacher is not None:
        config = start_distillation(config, dataset, split)
    if isinstance(network, Ensemble):
        return network, start_ensemble(network, config, dataset, split)
    return network, start_segmentation(network, config, dataset, split)


def _samples(
    network: nn.Module,
    config: TrainConfig,
    dataset: Dataset,
    split: Split,
    folder: Path,
    backend: Backend,
    progress: Progress,
) -> tuple[list[Case], tuple[Sample, ...], tuple[Sample, ...]]:
    """The cases that the fold trains and validates on, and the samples of both; to validate, the first process's."""
    multiple = int(getattr(network, "multiple"))  # noqa: B009 (a Module's attributes are Tensor | Module to mypy)
    taught = config.loss.teacher is not None
    drawn, sides = as_taught(config, multiple) if taught else (config, multiple)
    load = sample_loader(drawn, dataset, folder.parent, sides, progress.note)
    chosen = dataset.select(split.train) if taught else cases_to_train(dataset, split.train, config.normals)
    samples = load(chosen)
    if not taught:
        samples = without_unboxed(samples, config, backend)
    held = cases_to_train(dataset, split.validation, config.normals) if split.validation else ()
    if taught and held:
        load = sample_loader(config, dataset, folder.parent, multiple, progress.note)
    return [*chosen, *held], samples, load(held) if backend.processes.first else ()


def _task(
    network: nn.Module, source: Source, validation: Sequence[Sample], config: TrainConfig, progress: Progress
) -> Task:
    if isinstance(network, Ensemble):
        return PatchTask(network, source, validation, config, progress)
    if config.loss.teacher is not None:
        return DistillationTask(source, validation, config, progress)
    return SegmentationTask(source, validation, config, progress)


def _go_on(state: State, task: Task, checkpoint: Path) -> None:
    record = state.load(checkpoint)
    check_inputs(checkpoint, record.get("inputs"), state.inputs)
    task.take(record, checkpoint)


def _run(state: State, task: Task, total: int, backend: Backend, folder: Path, log: RunLog) -> None:
    """Take the steps up to `total`; after some of them the task does its work between steps."""
    config, progress, processes = task.config, task.progress, backend.processes
    started, before, checkpoint = time.monotonic(), state.seconds, time.monotonic()
    pace, worked = Pace(total, progress, "steps", more=", and some more for validation"), state.step
    stops = task.stops(total)

    def keep() -> None:
        """The state as it stands, unless the work after its step was cut short: the one before is then whole."""
        if processes.first and state.step and (state.step not in stops or worked == state.step):
            state.save(folder / CHECKPOINT, **task.kept())
            progress.note(f"step {state.step} is kept")
            log.stopped(state)

    several = processes.size > 1
    with Stopping(keep, several) as stopping, closing(_drawn(task, state.step, total, backend)) as batches:
        drawn = log.timed(batches)
        while step := tuple(islice(drawn, config.micro_batches // processes.size)):
            with stopping.step():
                loss = take_step(state, task, step, total, backend)
                loss, stopping.agreed = processes.agree(loss, stopping.waiting is not None)
                if not np.isfinite(loss):
                    raise TrainingError(f"the loss is {loss} at step {state.step}; {task.remedy}")
                state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
                state.step += 1
                log.took(loss)
            state.seconds = before + time.monotonic() - started
            mean_loss = state.mean_loss
            pace.step(state.step)
            if state.step in stops:
                with stopping.work():
                    if processes.first or task.everywhere:
                        task.work(state, backend, folder)
                worked = state.step
                if several:
                    task.take(processes.share(task.kept()), folder / CHECKPOINT)
            log.step(state, lambda: look(task.validation, task.judged(state), backend))
            progress.step(state.step, mean_loss)
            due = time.monotonic() - checkpoint >= 60 * config.checkpoint_minutes or state.step == total
            if processes.first and due:
                state.save(folder / CHECKPOINT, **task.kept())
                checkpoint = time.monotonic()


def _drawn(task: Task, first: int, total: int, backend: Backend) -> Generator[Any, None, None]:
    """This process's micro-batches of the steps; drawn anew from where the task's work changes what is drawn."""
    processes, all_ = backend.processes, task.config.micro_batches
    count = all_ // processes.size

    def draw(number: int) -> Any:
        step, place = divmod(number, count)
        return task.draw(step * all_ + processes.rank * count + place)

    for last in [*(step for step in task.redrawn(total) if step > first), total]:
        with closing(drawn_ahead(draw, first * count, last * count, backend.workers)) as drawn:
            yield from drawn
        first = last


def total_steps(config: TrainConfig, source: Source) -> int:
    """The steps of the whole training: its epochs, unless `max_steps` ends it before."""
    total = source.steps(config.epochs)
    return total if config.max_steps is None else min(total, config.max_steps)


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Adam's learning rate at `step` of `total`: the warm-up, then constant or a cosine down to a hundredth."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine":
        rate *= 0.5 * (1 + float(np.cos(np.pi * step / total))) * 0.99 + 0.01
    return rate


def take_step(state: State, task: Task, batches: Sequence[Any], total: int, backend: Backend) -> float:
    """Train the network on this process's micro-batches of a step, in place; their mean loss before that.

    Each has the class weights of its own pixels, and each of all processes' counts alike.
    """
    config, fabric = task.config, backend.processes.fabric
    if state.learner is None:
        loss = partial(task.loss, state, backend)
        state.learner = backend.processes.learner(loss, state.network, state.balance, unused=task.unused)
    set_training(state.network, config.freeze_early)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step, total)
    state.optimizer.zero_grad()
    losses = []
    with backend.processes.statistics(state.network, len(batches)):
        for number, batch in enumerate(batches, 1):
            alone = number < len(batches) and not task.unused  # DDP keeps what it then left out to each process
            with fabric.no_backward_sync(state.learner, enabled=alone):
                loss = state.learner(*task.inputs(batch, backend)) / len(batches)
                fabric.backward(loss)
            losses.append(loss.detach())
    state.optimizer.step()
    if config.ema:
        follow(state.average, state.network, min(config.ema, (1 + state.step) / (10 + state.step)))
    return float(sum(losses))


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
