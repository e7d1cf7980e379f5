"""What the patch classifier learns from: patches about nodules and about hard negatives, cut from training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxrcad.config import TrainConfig
from cxrcad.datasets.samples import Sample
from cxrcad.networks.blocks import InputChannels
from cxrcad.synthesis.foreign_objects import draw_foreign_objects
from cxrcad.synthesis.insertion import Zones, insert_backgrounds, insert_nodules
from cxrcad.synthesis.projection import Projection
from cxrcad.training.augment import expose
from cxrcad.training.data import easiness, has_real, mixed, projected_into

__all__ = ["Ground", "PatchSource", "Places", "cut", "make_grounds", "peaks"]

POSITIVE_SHARE = 0.3  # of an image's patches that show a nodule
OFF_CENTRE_PX = (1.5, 3.0)  # how far from a nodule's middle it is still one: half its radius, within these
CLEAR_PX = 3.5  # a patch whose middle is nearer than this to a nodule's edge is neither
RING_PX = (5.0, 14.0)  # beside a nodule's edge, where its neighbourhood is no nodule
THORAX_PX = 8  # beyond the lung fields, and all between them
SQUEEZE = 0.07  # largest log2 of a change of scale along one axis alone
SPARE = 8  # times the places that are wanted are drawn anywhere: most of a small image may show nodules
PEAKS, PEAK_DISTANCE_PX = 33, 11  # hard negatives kept of an image

Points = NDArray[np.float64]


@dataclass(eq=False)
class Ground:
    """A training image as ground for patches: `thorax` holds flat pixel indices, `hard` (n, 2) hard negatives."""

    sample: Sample
    zones: Zones
    thorax: NDArray[np.int32]
    hard: Points

    def take(self, judged: NDArray[np.float32]) -> None:
        """Take the peaks of `judged` (H, W) away from the image's own nodules for its hard negatives."""
        found = peaks(judged, self.thorax, PEAKS).astype(np.float64)
        self.hard = self.outside(found, self.sample.lesion)

    def outside(self, points: Points, lesion: NDArray[np.bool_]) -> Points:
        """Those of `points` (n, 2) that lie away from every nodule of `lesion`, and not on an unknown rim."""
        points = points[_apart(points, _nodules(lesion))]
        if self.sample.unknown is None or not len(points):
            return points
        blocked = lesion | self.sample.unknown
        rows, cols = np.rint(points).astype(int).clip(0, np.array(blocked.shape) - 1).T
        return np.asarray(points[~blocked[rows, cols]])


def make_grounds(samples: Sequence[Sample], zones: Sequence[Zones | None]) -> tuple[Ground, ...]:
    """The samples that have lung fields, each with the spots of its blob channel as its first hard negatives."""
    grounds = []
    for sample, zone in zip(samples, zones, strict=True):
        if zone is None or sample.lung is None:
            continue
        ground = Ground(sample, zone, _thorax(sample.lung), np.zeros((0, 2)))
        with torch.no_grad():
            blob = InputChannels(("blob",), min(sample.image.shape))(torch.from_numpy(sample.pixels)[None, None])
        ground.take(blob[0, 0].numpy())
        grounds.append(ground)
    return tuple(grounds)


@dataclass(frozen=True, eq=False)
class Places:
    """What a micro-batch of patches is cut from, and where: `patches` places in each image.

    `images` (batch, 1, H, W) float32, 0-1; `matrices` (batch, patches, 2, 3) take a patch's pixels, as `affine_grid`
    has them, to its image's; `labels` (batch x patches,), 1 for a nodule; `rng` is its own, for what is still to be
    drawn.
    """

    images: Tensor
    matrices: Tensor
    labels: Tensor
    rng: np.random.Generator


@dataclass(frozen=True, eq=False)
class PatchSource:
    """Grounds, what is projected into them, and the settings that say how patches are drawn and changed."""

    grounds: tuple[Ground, ...]
    projections: tuple[Projection, ...]
    config: TrainConfig

    def draw(self, number: int) -> Places:
        """The places of micro-batch `number` (0-based), in `batch` images; seed, number and hard negatives decide."""
        rng = np.random.default_rng([self.config.seed, number])
        if self.config.real_fraction is None:
            chosen = rng.integers(len(self.grounds), size=self.config.batch).tolist()
        else:
            real = [has_real(ground.sample.case) for ground in self.grounds]
            chosen = mixed(real, self.config.real_fraction, self.config.batch, number, self.config.seed)
        step = number // self.config.micro_batches
        drawn = [self._one(self.grounds[index], step, rng) for index in chosen]
        images, matrices, labels = zip(*drawn, strict=True)
        return Places(torch.stack(images)[:, None], torch.stack(matrices), torch.cat(labels), rng)

    def _one(self, ground: Ground, step: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        settings = self.config.synthesis
        image = ground.sample.pixels
        nodules = ground.sample.lesion.copy()
        into = self.projections and projected_into(ground.sample.case, self.config.real_fraction)
        count = int(rng.integers(1, settings.simulate_count + 1)) if into else 0
        easy = easiness(settings, step)
        insert_nodules(image, nodules, ground.zones, self.projections, count=count, easy=easy, rng=rng)
        traces = insert_backgrounds(
            image,
            nodules,
            ground.zones,
            self.projections,
            count=self.config.classifier.negative_insertions * bool(count),
            rng=rng,
        )
        if rng.random() < self.config.augment.hardware:
            image, things = draw_foreign_objects(image, rng)
            traces = np.concatenate([traces, things])
        truth = _nodules(nodules)
        classifier = self.config.classifier
        with_nodule = _about(truth, round(POSITIVE_SHARE * classifier.patches_per_image), classifier.lesion_core, rng)
        wanted = classifier.patches_per_image - len(with_nodule)
        without = np.resize(self._without(ground, nodules, traces, rng)[:wanted], (wanted, 2))
        points = np.concatenate([with_nodule, without])
        labels = torch.from_numpy(np.arange(len(points)) < len(with_nodule)).float()
        matrices = _matrices(points, image.shape, self.config, rng)
        return torch.from_numpy(image), matrices, labels

    def _without(self, ground: Ground, lesion: NDArray[np.bool_], traces: Points, rng: np.random.Generator) -> Points:
        """Places without a nodule, in the order in which they are wanted: traces, hard negatives, rings, any others."""
        rim = ground.sample.unknown
        truth = _nodules(lesion if rim is None else lesion | rim)
        wanted = self.config.classifier.patches_per_image
        hard = rng.permutation(ground.hard)[: wanted // 3]
        turn, away = rng.uniform(0, 2 * np.pi, len(truth)), rng.uniform(*RING_PX, len(truth))
        ring = truth[:, :2] + (truth[:, 2] + away)[:, None] * np.stack([np.sin(turn), np.cos(turn)], 1)
        anywhere = rng.choice(ground.thorax, SPARE * wanted)
        other = np.stack(np.divmod(anywhere, ground.sample.image.shape[1]), 1)
        found = np.concatenate([traces, hard, ring, other])
        return ground.outside(found + rng.uniform(-1, 1, found.shape), lesion)


def peaks(values: NDArray[np.float32], within: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """(n, 2) pixels of the `count` highest local maxima of `values` (H, W) at the flat indices `within`."""
    from scipy import ndimage

    top = (values == ndimage.maximum_filter(values, PEAK_DISTANCE_PX)).ravel()
    found = within[top[within]]
    found = found[np.argsort(-values.ravel()[found], kind="stable")[:count]]
    return np.stack(np.divmod(found.astype(np.int64), values.shape[1]), 1)


def _thorax(lung: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Flat indices of the lung fields, a margin around them, and what lies between them."""
    from scipy import ndimage

    place = ndimage.binary_dilation(lung, iterations=THORAX_PX)
    for row in np.flatnonzero(lung.any(1)):
        cols = np.flatnonzero(lung[row])
        place[row, cols[0] : cols[-1] + 1] = True
    return np.flatnonzero(place).astype(np.int32)


def _nodules(mask: NDArray[np.bool_]) -> Points:
    """(n, 5): row, column, radius, height and width, pixels, of each nodule in a mask."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3)))
    nodules = np.zeros((count, 5))
    for place, window in enumerate(ndimage.find_objects(labels)):
        rows, cols = np.nonzero(labels[window] == place + 1)
        middle = rows.mean() + window[0].start, cols.mean() + window[1].start
        nodules[place] = *middle, np.sqrt(len(rows) / np.pi), np.ptp(rows) + 1, np.ptp(cols) + 1
    return nodules


def _about(truth: Points, count: int, core: float, rng: np.random.Generator) -> Points:
    """`count` places about the nodules' middles, each nodule in turn; none where there is no nodule.

    They lie in the box of `core` times the nodule's height and width, or OFF_CENTRE_PX where that is farther.
    """
    if not len(truth):
        return np.zeros((0, 2))
    nodule = truth[np.arange(count) % len(truth)]
    reach = np.maximum(np.clip(nodule[:, 2] / 2, *OFF_CENTRE_PX)[:, None], core / 2 * nodule[:, 3:])
    return np.asarray(nodule[:, :2] + rng.uniform(-1, 1, (count, 2)) * reach)


def _apart(points: Points, truth: Points) -> NDArray[np.bool_]:
    """Which points lie off every nodule's edge by CLEAR_PX."""
    away = np.linalg.norm(points[:, None] - truth[None, :, :2], axis=2) - truth[None, :, 2]
    return np.asarray((away > CLEAR_PX).all(1))


def _matrices(points: Points, shape: Sequence[int], config: TrainConfig, rng: np.random.Generator) -> Tensor:
    """(n, 2, 3) for `affine_grid`: a patch about each of `points` (row, column), turned, scaled and maybe mirrored."""
    settings, count = config.augment, len(points)
    on = float(settings.augment)
    limit = np.deg2rad(settings.rotate_degrees) * on
    angle = rng.uniform(-limit, limit, count)
    zoom = rng.uniform(-settings.zoom, settings.zoom, (count, 1)) + rng.uniform(-1, 1, (count, 2)) * SQUEEZE
    mirror = rng.choice((-1.0, 1.0), count) if settings.mirror and on else np.ones(count)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(count, 2, 2)
    turn = turn * np.exp2(zoom * on)[:, None, :] * np.stack([mirror, np.ones(count)], 1)[:, None, :]
    half = (np.array(shape)[::-1] - 1) / 2  # grid_sample measures from the middle, in these
    moved = (points[:, ::-1] / half - 1)[:, :, None]
    matrix = np.concatenate([turn * (config.network.patch_side // 2) / half[:, None], moved], 2)
    return torch.from_numpy(matrix.astype(np.float32))


@torch.no_grad()
def cut(
    places: Places, inputs: InputChannels, config: TrainConfig, generator: torch.Generator, device: torch.device
) -> Tensor:
    """The patches (batch x patches, C, P, P) of `places`, cut on `device` from the channels of the exposed images.

    `generator` (on the device) decides the noise.
    """
    images, matrices = places.images.to(device), places.matrices.to(device)
    if config.augment.augment:
        images = expose(images, config.augment, places.rng, generator)
    channels = inputs(images)
    (batch, count), side = matrices.shape[:2], config.network.patch_side
    grid = functional.affine_grid(matrices.flatten(0, 1), [batch * count, 1, side, side], align_corners=True)
    grid = grid.reshape(batch, count * side, side, 2)  # an image's patches, one below the other
    patches = functional.grid_sample(channels, grid, mode="bilinear", padding_mode="border", align_corners=True)
    return patches.reshape(batch, -1, count, side, side).transpose(1, 2).flatten(0, 1)
