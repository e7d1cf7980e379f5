"""Cases -> samples on the model's grid, read once and kept as uint8; which comes when, and what is drawn into it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cxrcad.config import AugmentConfig, SynthesisConfig, TrainConfig
from cxrcad.core import Case, TrainingError, counted
from cxrcad.datasets import dataset as datasets
from cxrcad.datasets.dataset import NORMAL
from cxrcad.datasets.made_masks import models_of_masks
from cxrcad.datasets.samples import Sample
from cxrcad.imaging.faults import reason
from cxrcad.inference.candidates import ASSUMED_CHEST_MM
from cxrcad.packaging.fold import Shown
from cxrcad.packaging.series import hashed, series_of_cases
from cxrcad.synthesis.foreign_objects import draw_foreign_objects
from cxrcad.synthesis.insertion import Zones, insert_nodules, placement_zones
from cxrcad.synthesis.nodules import ANALYTIC
from cxrcad.synthesis.projection import Projection, load_projections, masses
from cxrcad.training.signals import ProcessLost, children_as_before, without_interrupts

__all__ = [
    "Batch",
    "Source",
    "check_mix",
    "drawn_ahead",
    "easiness",
    "has_real",
    "make_source",
    "mixed",
    "projected_into",
    "shown",
]

T = TypeVar("T")

PROJECTIONS = 1500  # of CT nodules, or of those from formulas, that a training draws from


@dataclass(frozen=True, eq=False)
class Batch:
    """A micro-batch. `images` (B, 1, H, W) float32 0-1; `masks` (B, 2 or 3, H, W) bool: nodule, lung.

    A third mask is the nodule with its unknown rim, where an image of the batch has one. `has_lung` (B,) bool; `rng` is
    its own, for what is still to be drawn.
    """

    images: Tensor
    masks: Tensor
    has_lung: Tensor
    rng: np.random.Generator


@dataclass(frozen=True, eq=False)
class Source:
    """Training samples with all that is drawn at random from them; seed and number alone decide a micro-batch.

    Micro-batches are counted over the whole training, and each step takes the next `per_step` of them. An epoch may
    end within a step.
    """

    samples: tuple[Sample, ...]
    zones: tuple[Zones | None, ...]
    projections: tuple[Projection, ...]
    augment: AugmentConfig
    synthesis: SynthesisConfig
    batch: int
    seed: int
    real_fraction: float | None = None
    per_step: int = 1

    @property
    def per_epoch(self) -> int:
        """Micro-batches that show each sample once."""
        return -(-len(self.samples) // self.batch)

    def steps(self, epochs: int) -> int:
        """Steps until each sample was shown `epochs` times."""
        return -(-epochs * self.per_epoch // self.per_step)

    def epoch(self, step: int) -> int:
        """Epochs that are complete after `step` steps."""
        return step * self.per_step // self.per_epoch

    @property
    def series(self) -> frozenset[str]:
        """SHA-256 of the CT series whose nodules are, or may be drawn, in the samples."""
        own = series_of_cases(sample.case for sample in self.samples)
        return hashed({*own, *(projection.series_uid for projection in self.projections)})

    def draw(self, number: int) -> Batch:
        """The micro-batch `number` (0-based): the epoch's permutation decides the samples, seed and number all else."""
        rng = np.random.default_rng([self.seed, number])
        chosen = self._chosen(number)
        drawn = [self._one(index, number // self.per_step, rng) for index in chosen]
        images = torch.from_numpy(np.stack([image for image, _ in drawn]))[:, None]
        masks = np.stack([mask for _, mask in drawn])
        unknown = [self.samples[index].unknown for index in chosen]
        if any(rim is not None for rim in unknown):
            covered = [mask[0] if rim is None else mask[0] | rim for mask, rim in zip(masks, unknown, strict=True)]
            masks = np.concatenate([masks, np.stack(covered)[:, None]], 1)
        has_lung = torch.tensor([self.samples[index].lung is not None for index in chosen])
        return Batch(images, torch.from_numpy(masks), has_lung, rng)

    def _chosen(self, number: int) -> list[int]:
        """The samples of a micro-batch: in the epoch's order, or as `mixed` deals them."""
        if self.real_fraction is not None:
            real = [has_real(sample.case) for sample in self.samples]
            return mixed(real, self.real_fraction, self.batch, number, self.seed)
        epoch, place = divmod(number, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.samples))
        return [int(i) for i in order[place * self.batch : (place + 1) * self.batch]]

    def _one(self, index: int, step: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        sample, zones = self.samples[index], self.zones[index]
        image = sample.pixels
        nodules = sample.lesion.copy()
        if self.projections and zones is not None and projected_into(sample.case, self.real_fraction):
            count, easy = int(rng.integers(0, self.synthesis.simulate_count + 1)), easiness(self.synthesis, step)
            insert_nodules(image, nodules, zones, self.projections, count=count, easy=easy, rng=rng)
        if rng.random() < self.augment.hardware:
            image, _ = draw_foreign_objects(image, rng)
        lung = sample.lung if sample.lung is not None else np.zeros_like(nodules)
        return image, np.stack([nodules, lung])


def mixed(real: Sequence[bool], fraction: float, batch: int, number: int, seed: int) -> list[int]:
    """Which `batch` images micro-batch `number` shows, by index: over all, `fraction` are `real`, the others not.

    Either kind comes in turn, in an order of its own each time through, which `seed` decides.
    """
    kinds = [[index for index, one in enumerate(real) if one is kind] for kind in (False, True)]
    chosen = []
    for slot in range(number * batch, (number + 1) * batch):
        before, after = (math.floor(number * fraction + 1e-9) for number in (slot, slot + 1))
        kind = after > before
        among = kinds[kind]
        turn, place = divmod(before if kind else slot - before, len(among))
        chosen.append(among[int(np.random.default_rng([seed, turn, 2 + kind]).permutation(len(among))[place])])
    return chosen


def has_real(case: Case) -> bool:
    """Whether the case has a lesion that is the patient's own, and not a nodule inserted from CT."""
    return case.positive and not series_of_cases([case])


def projected_into(case: Case, real_fraction: float | None) -> bool:
    """Whether nodules may be projected into the case's image.

    Not beside other findings; and not beside real lesions where `real_fraction` keeps the two apart.
    """
    if case.positive:
        return real_fraction is None or not has_real(case)
    return case.role in (None, NORMAL)


def shown(source: Source) -> Shown:
    """What a card tells of the source: images, CT series of nodules that it may have drawn, models of lung masks."""
    masks = models_of_masks(sample.case for sample in source.samples)
    return Shown(tuple(sample.sha256 for sample in source.samples), source.series, masks)


def easiness(config: SynthesisConfig, step: int) -> float:
    """What the contrast of inserted nodules is multiplied by at `step`: `simulate_easy` at first, 1 in the end."""
    return 1 + (config.simulate_easy - 1) * max(0.0, 1 - step / config.simulate_easy_steps)


def make_source(
    samples: tuple[Sample, ...], config: TrainConfig, dataset: datasets.Dataset, training: Sequence[str]
) -> Source:
    """A Source over `samples`; with --simulate, projections of the CT series that no case outside `training` holds.

    Raises DataError for a file of CT nodules that cannot be read, TrainingError for images that are not of one size
    where several make a batch, and for a fraction of real lesions that the images do not allow.
    """
    check_mix(samples, config.real_fraction)
    shapes = sorted({sample.image.shape for sample in samples})
    if config.batch > 1 and len(shapes) > 1:
        raise TrainingError(
            f"training images differ in size on the model's grid, as {shapes[0]} and {shapes[-1]}; use --batch 1"
        )
    projections: tuple[Projection, ...] = ()
    zones: tuple[Zones | None, ...] = (None,) * len(samples)
    if config.synthesis.simulate is not None:
        kept = set(training)
        series = series_of_cases(case for case in dataset.cases if case.name not in kept)
        projections = _projections(config, samples, series)
    if projections or config.network.patch_classifier:
        zones = tuple(None if s.lung is None else placement_zones(s.pixels, s.lung) for s in samples)
    made = Source(samples, zones, projections, config.augment, config.synthesis, config.batch, config.seed)
    return replace(made, real_fraction=config.real_fraction, per_step=config.micro_batches)


def check_mix(samples: Sequence[Sample], fraction: float | None, kind: str = "training image") -> None:
    """Raise TrainingError where the samples lack what `fraction` asks for: images with real lesions, or others."""
    real = sum(has_real(sample.case) for sample in samples)
    images = counted(len(samples), kind)
    if fraction and not real:
        raise TrainingError(
            f"--real-fraction {fraction:g}: of {images} none has a real lesion; add some to --data (for a patch "
            "classifier, with lung masks), or leave it out"
        )
    if fraction is not None and fraction < 1 and real == len(samples):
        raise TrainingError(
            f"--real-fraction {fraction:g}: of {images} each has a real lesion, and it asks for others too; give "
            "--normals, add images without a lesion, or leave it out"
        )


def _projections(config: TrainConfig, samples: Sequence[Sample], exclude: Collection[str]) -> tuple[Projection, ...]:
    """The projections that a training draws from: of CT, from formulas, and masses.

    Where no image's spacing is known, they are made for a chest of ASSUMED_CHEST_MM across, as findings are measured.
    """
    geometries = [sample.geometry for sample in samples]
    known = next((geometry.grid_spacing_mm for geometry in geometries if geometry.grid_spacing_mm), None)
    spacing = known[0] if known else ASSUMED_CHEST_MM / geometries[0].content_cols
    simulate, seed = config.synthesis.simulate, config.seed
    assert simulate is not None
    projections = load_projections(simulate, exclude_series=exclude, spacing_mm=spacing, count=PROJECTIONS, seed=seed)
    share = config.classifier.analytic_fraction if config.network.patch_classifier else 0.0
    if share:
        more = round(PROJECTIONS * share / (1 - share))
        projections += load_projections(ANALYTIC, exclude_series=(), spacing_mm=spacing, count=more, seed=seed)
    if share := config.synthesis.simulate_masses:
        projections += masses(projections, round(len(projections) * share / (1 - share)), seed)
    return projections


def drawn_ahead(draw: Callable[[int], T], first: int, last: int, workers: int) -> Generator[T, None, None]:
    """What `draw` gives for the numbers from `first` up to `last`, in order; `workers` processes draw ahead of them.

    Close it where it is left before its end (`contextlib.closing`), which ends the processes.
    Raises ProcessLost where a process ends or cannot hand over what it drew.
    """
    if workers == 0 or first >= last:
        yield from map(draw, range(first, last))
        return
    ahead: DataLoader[Any] = DataLoader(_Drawn(draw), sampler=range(first, last), batch_size=None, num_workers=workers)
    with without_interrupts(), children_as_before():
        drawn = iter(ahead)
    try:
        yield from drawn
    except (RuntimeError, OSError, EOFError) as error:
        if not _is_lost(error, drawn):
            raise
        raise ProcessLost(
            f"a process that draws training images ahead ended ({reason(error)}); free memory, or /dev/shm (a "
            "container's is 64 MB unless --shm-size says more), or give --workers 0; --resume goes on from what is kept"
        ) from None
    finally:
        _end(drawn)


def _is_lost(error: Exception, drawn: Any) -> bool:
    """Whether the error is that a process ended, or could not hand over what it drew, and not one of drawing.

    torch says so in words, or not at all where the process was just handing over; a full /dev/shm is a bus error, or a
    failed open.
    """
    words = ("exited unexpectedly", "killed by signal", "shared memory", "shm")
    if isinstance(error, ConnectionError | EOFError) or any(word in str(error) for word in words):
        return True
    return any(process.exitcode for process in drawn._workers)


def _end(drawn: Any) -> None:
    """Ends the processes of a DataLoader's iterator, whoever still holds it, as an error does that left it.

    They do not get SIGTERM, with which Python would end them at its exit; left alone they would keep it from ending.
    torch has no public call for this.
    """
    try:
        drawn._shutdown_workers()
    finally:
        for process in drawn._workers:
            process.kill()
            process.join()


class _Drawn(Dataset[T]):
    """`draw` of each number, for a DataLoader's processes."""

    def __init__(self, draw: Callable[[int], T]) -> None:
        self.draw = draw

    def __getitem__(self, number: int) -> T:
        return self.draw(number)
