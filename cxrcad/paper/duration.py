"""How long trainings take on this machine: a few timed steps of each network, times the steps that are left."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrcad.config import NODULE, DataConfig, TrainConfig
from cxrcad.core import Case, DataError, duration_words
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import FOLDS, Split, make_folds, with_part
from cxrcad.datasets.read import cases_to_train, read_data
from cxrcad.datasets.samples import Sample
from cxrcad.files import Silent
from cxrcad.imaging.preprocess import Geometry
from cxrcad.paper.jobs import Job

__all__ = ["TimeLeft", "seconds_a_step", "steps_left", "time_left"]

BUDGET_S = 20.0
"""Seconds that the measurement may take, all networks together."""

FIRST_SIDE, STEPS = 128, 2
"""The side on which each network is timed first, where its own is larger, and the timed steps on a side."""

JSRT_POSITIVES, JSRT_NORMALS = 154, 93


@dataclass(frozen=True)
class TimeLeft:
    """What jobs have before them: their `steps` together, and the time, from so many `networks` that were timed.

    `scaled` says whether one was timed on smaller images than its own, `data` whether the number of cases is known.
    """

    jobs: int
    steps: int
    seconds: float
    networks: int
    scaled: bool
    data: bool

    def __str__(self) -> str:
        """The time in a sentence, and how it was measured."""
        left = "1 job is" if self.jobs == 1 else f"{self.jobs} jobs are"
        networks = "1 network" if self.networks == 1 else f"each of {self.networks} networks"
        smaller = ", of a smaller side where a step takes long" if self.scaled else ""
        cases = "" if self.data else " The number of training cases is JSRT's; --data counts your own."
        return (
            f"{left} left, with {self.steps:,} training steps: about {duration_words(self.seconds)} on this machine, "
            f"not counting validation. Measured with {STEPS} steps of {networks} on random images{smaller}.{cases}"
        )


def time_left(jobs: Sequence[Job], budget_s: float = BUDGET_S) -> TimeLeft:
    """How long these jobs train on this machine, measured in about `budget_s` seconds.

    Raises DataError where there are no data and the number of training cases is not JSRT's; ReadError, UsageError,
    TrainingError, NetworkError.
    """
    left = steps_left(jobs)
    kinds = {_kind(job.config): job.config for job in jobs}
    timed = {kind: seconds_a_step(config, budget_s / len(kinds)) for kind, config in kinds.items()}
    seconds = sum(steps * timed[_kind(job.config)][0] for job, steps in zip(jobs, left, strict=True))
    scaled = any(timed[kind][1] < config.grid.side for kind, config in kinds.items())
    data = all(job.config.data.folders for job in jobs)
    return TimeLeft(len(jobs), sum(left), seconds, len(kinds), scaled, data)


def _kind(config: TrainConfig) -> tuple[Any, ...]:
    """What decides how long a step takes."""
    images = config.batch, config.micro_batches, config.classifier.patches_per_image
    return config.network, config.grid.side, config.precision, *images


def steps_left(jobs: Sequence[Job]) -> tuple[int, ...]:
    """The steps that each job has still to train, from its last validation on. Raises what `time_left` does."""

    @functools.cache  # each data set is read once
    def dataset_and_folds(data: DataConfig) -> tuple[Dataset, tuple[Split, ...]]:
        dataset = read_data(data)
        return dataset, make_folds(dataset, data.fold_seed)

    left = []
    for job in jobs:
        config, history = job.config, job.history
        if not config.data.folders:
            cases = _jsrt_cases(config)
        else:
            dataset, splits = dataset_and_folds(config.data)
            split = with_part(splits[job.fold - 1], dataset, config.train_fraction)
            cases = len(cases_to_train(dataset, split.train, config.normals))
        total = math.ceil(config.epochs * math.ceil(cases / config.batch) / config.micro_batches)
        total = total if config.max_steps is None else min(total, config.max_steps)
        left.append(max(0, total - (int(history[-1]["step"]) if history else 0)))
    return tuple(left)


def _jsrt_cases(config: TrainConfig) -> int:
    if config.data.lesion != NODULE:
        raise DataError(f"how many cases with {config.data.lesion} there are is not known; name them with --data")
    cases = JSRT_POSITIVES + JSRT_NORMALS * config.normals
    return round(cases * config.train_fraction * (1 - 1 / FOLDS) ** 2)  # less test cases, then validation cases


def seconds_a_step(config: TrainConfig, budget_s: float) -> tuple[float, int]:
    """Seconds of one training step on this machine, and the side of the random images on which they were measured.

    The side is the training's own, or the largest that takes no more than `budget_s` seconds; beyond it the time grows
    with the number of pixels. Raises TrainingError, NetworkError.
    """
    side, started = min(FIRST_SIDE, config.grid.side), time.monotonic()
    while True:
        seconds = _timed(replace(config, grid=replace(config.grid, side=side)))
        larger = min(2 * side, config.grid.side)
        cost = (STEPS + 1) * seconds * (larger / side) ** 2
        if larger == side or time.monotonic() - started + cost > budget_s:
            return seconds * (config.grid.side / side) ** 2, side
        side = larger


def _timed(config: TrainConfig) -> float:
    """The mean seconds of a step, after one that is not counted: it allocates."""
    import torch

    take = _steps(config)
    take(0)
    started = time.monotonic()
    for step in range(STEPS):
        take(step + 1)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.monotonic() - started) / STEPS


def _steps(config: TrainConfig) -> Callable[[int], float]:
    """A function that draws and trains one step of a new network, on random images without inserted nodules."""
    from cxrcad.networks.ensemble import Ensemble
    from cxrcad.networks.registry import build_network
    from cxrcad.synthesis.insertion import placement_zones
    from cxrcad.training.data import Source
    from cxrcad.training.device import channels_last, open_backend
    from cxrcad.training.loop import Task, take_step
    from cxrcad.training.patch_classifier.task import PatchTask
    from cxrcad.training.segmentation import SegmentationTask
    from cxrcad.training.state import new_state

    backend = open_backend(config)
    network = build_network(config.network, config.grid.side).to(backend.device)
    sample = _random_sample(config, int(getattr(network, "multiple")))  # noqa: B009
    assert sample.lung is not None
    trained = network.classifier if isinstance(network, Ensemble) else network
    zones = placement_zones(sample.pixels, sample.lung) if isinstance(network, Ensemble) else None
    count, seed = config.batch, config.seed
    source = Source((sample,) * count, (zones,) * count, (), config.augment, config.synthesis, count, seed)
    task: Task = SegmentationTask(source, (), config, Silent())
    if isinstance(network, Ensemble):
        task = PatchTask(network, source, (), config, Silent())
    state = new_state(channels_last(trained), config)
    draws = range(config.micro_batches)
    return lambda step: take_step(state, task, [task.draw(step * len(draws) + one) for one in draws], STEPS, backend)


def _random_sample(config: TrainConfig, multiple: int) -> Sample:
    """Noise on the model's grid, with one nodule in one lung field."""
    side = config.grid.side
    geometry = Geometry.fit(side, side, side, multiple, (1.0, 1.0))
    shape = geometry.grid_rows, geometry.grid_cols
    lung, nodule = np.zeros(shape, bool), np.zeros(shape, bool)
    lung[side // 4 : -side // 4, side // 4 : -side // 4] = True
    nodule[side // 2 : side // 2 + 3, side // 2 : side // 2 + 3] = True
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Sample(Case("random", Path("random"), side, side), image, nodule, lung, geometry, "")
