"""Cases on the model's grid, read once and kept as uint8, with their masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import TrainConfig
from cxrcad.core import Case, DataError, ReadError
from cxrcad.datasets.images import read_case
from cxrcad.datasets.masks import lung_mask, truth_mask, unknown_mask
from cxrcad.imaging.preprocess import Geometry, to_grid

__all__ = ["Sample", "load_samples", "read_samples"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One case on the model's grid: `image` uint8 (H, W); `lesion` and `lung` bool (H, W), `lung` None if unknown.

    `unknown` (H, W) is the rim about boxed lesions that is neither lesion nor surely none; None where there is none.
    """

    case: Case
    image: NDArray[np.uint8]
    lesion: NDArray[np.bool_]
    lung: NDArray[np.bool_] | None
    geometry: Geometry
    sha256: str
    unknown: NDArray[np.bool_] | None = None

    @property
    def pixels(self) -> NDArray[np.float32]:
        """The image as (H, W) float32, 0-1; a copy."""
        return self.image.astype(np.float32) / np.float32(255)


def load_samples(cases: Sequence[Case], config: TrainConfig, multiple: int) -> tuple[Sample, ...]:
    """The cases' images and masks on the model's grid, in order. Raises ReadError or DataError with the file's name."""
    samples = []
    for found in read_samples(cases, config, multiple):
        if not isinstance(found, Sample):
            raise found
        samples.append(found)
    return tuple(samples)


def read_samples(cases: Sequence[Case], config: TrainConfig, multiple: int) -> Iterator[Sample | ReadError | DataError]:
    """Each case's sample as it is read, in order, or why it cannot be."""

    def load(case: Case) -> Sample | ReadError | DataError:
        try:
            radiograph = read_case(case)
            pixels, geometry = to_grid(radiograph, config.grid, multiple)
            lesion = truth_mask(case, geometry, config.loss.truth, config.loss.ellipse_scale)
            unknown = unknown_mask(case, geometry, lesion, config.loss.ignore_rim)
            image = np.rint(pixels * 255).astype(np.uint8)
            return Sample(case, image, lesion, lung_mask(case, geometry), geometry, radiograph.source.sha256, unknown)
        except (ReadError, DataError) as error:
            return error

    yield from map(load, cases[:1])  # imports what reading needs, which threads must not do at once
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(load, cases[1:])
