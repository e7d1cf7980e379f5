"""A file -> its radiograph on a model's grid, or the sentence why there is none."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import GridConfig
from cxrcad.core import CxrcadError, Failure, NotRadiographError, Radiograph, Skipped, Source
from cxrcad.imaging.preprocess import Geometry, to_grid
from cxrcad.imaging.read import read_radiograph

__all__ = ["Prepared", "Reading", "none_of", "prepare"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A radiograph as a model takes it: `image` (grid_rows, grid_cols), float32 0-1, and the `geometry` of its grid.

    `source` and `spacing_from` are the radiograph's, `seconds` is what it took. `radiograph` is None where its own
    pixels are not wanted.
    """

    image: NDArray[np.float32]
    geometry: Geometry
    source: Source
    spacing_from: str | None
    seconds: float
    radiograph: Radiograph | None


def prepare(radiograph: Radiograph, grid: GridConfig, multiple: int) -> Prepared:
    """A radiograph on a model's grid."""
    start = time.perf_counter()
    image, geometry = to_grid(radiograph, grid, multiple)
    seconds = time.perf_counter() - start
    return Prepared(image, geometry, radiograph.source, radiograph.spacing_from, seconds, radiograph)


@dataclass(frozen=True)
class Reading:
    """How files are read: for which grid, also where a header says that it is no frontal chest radiograph (`force`).

    `pixels`: the radiographs' own pixels are wanted too.
    """

    grid: GridConfig
    multiple: int
    force: bool
    pixels: bool

    def read(self, path: Path) -> Prepared | Failure | Skipped:
        """The radiograph in a file on the grid; Skipped where the file is whole and says that it is something else."""
        start = time.perf_counter()
        try:
            radiograph = read_radiograph(path, self.force)
            prepared = prepare(radiograph, self.grid, self.multiple)
        except Exception as error:
            return none_of(path, error)
        seconds = time.perf_counter() - start
        return replace(prepared, seconds=seconds, radiograph=radiograph if self.pixels else None)


def none_of(path: Path, error: Exception) -> Failure | Skipped:
    """What becomes of a file in which nothing can be detected, in one sentence."""
    if isinstance(error, NotRadiographError):
        return Skipped(str(path), str(error))
    if isinstance(error, CxrcadError):
        return Failure(str(path), str(error))
    if isinstance(error, MemoryError):
        return Failure(str(path), f"{path}: not enough memory for this image; close other programs or shrink it")
    fault = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return Failure(str(path), f"{path}: not detected (internal error: {fault}); please report it with the file")
