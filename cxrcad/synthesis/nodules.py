"""Nodules in three dimensions, from a file of CT nodules or from formulas, and which of them is drawn in which size."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import DataError
from cxrcad.documents import fault_words
from cxrcad.synthesis.analytic import analytic_block

__all__ = [
    "ANALYTIC",
    "JSRT_NODULES",
    "JSRT_OUTSIDE",
    "LUNG_DENSITY",
    "SUBTLETY_COUNTS",
    "NoduleStock",
    "draw_diameter_mm",
    "draw_nodule",
    "read_nodules",
]

ANALYTIC = Path("analytic")
"""Stands in place of a file's name: nodules from formulas."""

SMALLEST_MM = 6.0
LONGEST_MM = 1000  # of a nodule or its block; more is a slip, and a product of sides must not overflow
LUNG_DENSITY = 0.22  # of water: what a nodule displaces
# JSRT, Shiraishi et al. 2000: its nodules by subtlety, and those outside the lung fields
SUBTLETY_COUNTS = {1: 25, 2: 29, 3: 50, 4: 38, 5: 12}
JSRT_NODULES, JSRT_OUTSIDE = 154, 14
MEDIAN_MM, SPREAD, DIAMETERS_MM = 16.0, 0.38, (6.0, 40.0)  # JSRT's sizes: log-normal
SCALES = (0.75, 1.4)  # by which a nodule may be shrunk or enlarged


@dataclass(frozen=True, eq=False)
class NoduleStock:
    """n nodules: `densities` (flat int16, water = 1000, 0 outside) of `shapes` (n, 3) on a 1 mm grid.

    `diameters_mm` (n,) are those of the spheres of equal volume. `series_uid` names the CT series, `kinds` the formula;
    each is "" where there is none.
    """

    shapes: NDArray[Any]
    densities: NDArray[np.int16]
    diameters_mm: NDArray[Any]
    series_uid: tuple[str, ...]
    kinds: tuple[str, ...]

    @cached_property
    def _starts(self) -> NDArray[Any]:
        return np.concatenate([[0], np.cumsum(self.shapes.prod(1))])

    def density(self, index: int) -> NDArray[np.int16]:
        """The block (z, y, x) of one nodule."""
        return self.densities[self._starts[index] : self._starts[index + 1]].reshape(self.shapes[index])

    def usable(self, exclude_series: Collection[str] = ()) -> list[int]:
        """The indices of the nodules of 6 mm or more whose CT series is not excluded."""
        return [
            index
            for index in range(len(self.shapes))
            if self.diameters_mm[index] >= SMALLEST_MM and self.series_uid[index] not in exclude_series
        ]


def read_nodules(path: Path, *, count: int, seed: int) -> NoduleStock:
    """The nodules of `path`, an .npz as docs/DATA.md describes it; for ANALYTIC, `count` usable ones of `seed`.

    Raises DataError for a file that is not there, damaged, or of other arrays.
    """
    if path == ANALYTIC:
        return _analytic(count, seed)
    try:
        with path.open("rb") as file, np.load(file) as store:
            stock = NoduleStock(
                store["shapes"],
                store["densities"],
                store["diameters"],
                tuple(str(uid) for uid in store["series_uid"]),
                ("",) * len(store["shapes"]),
            )
        _check(stock)
    except Exception as error:  # of a foreign archive: zip, zlib, lzma, numpy's headers and the memory have each theirs
        told = "no .npz archive" if "pickle" in str(error) else fault_words(error) or type(error).__name__
        raise DataError(f"{path}: not a file of CT nodules ({told}); see docs/DATA.md for its layout") from None
    return stock


def _check(stock: NoduleStock) -> None:
    number = len(stock.shapes)
    for name, array, kind, words in (
        ("shapes", stock.shapes, np.integer, "whole numbers"),
        ("densities", stock.densities, np.integer, "whole numbers"),
        ("diameters", stock.diameters_mm, np.number, "numbers"),
    ):
        if not np.issubdtype(array.dtype, kind):
            raise ValueError(f"{name} holds {array.dtype}, not {words}")
    if stock.shapes.shape != (number, 3) or stock.diameters_mm.shape != (number,) or len(stock.series_uid) != number:
        raise ValueError(f"shapes, diameters and series_uid differ in length, or shapes is not ({number}, 3)")
    if not ((stock.shapes >= 1) & (stock.shapes <= LONGEST_MM)).all():
        raise ValueError(f"a side in shapes is not 1 to {LONGEST_MM}")
    if not ((stock.diameters_mm > 0) & (stock.diameters_mm <= LONGEST_MM)).all():
        raise ValueError(f"a diameter is not above 0 and up to {LONGEST_MM} mm")
    if stock.densities.shape != (int(stock.shapes.prod(1).sum()),):
        raise ValueError(
            f"densities holds {stock.densities.size:,} values and shapes asks for {int(stock.shapes.prod(1).sum()):,}"
        )


def _analytic(count: int, seed: int) -> NoduleStock:
    """`count` analytic nodules of 6 mm or more."""
    blocks: list[NDArray[np.int16]] = []
    kinds, diameters = [], []
    for index in itertools.count():
        if len(blocks) == count:
            break
        block, kind = analytic_block(index, seed)
        diameter = (6 * np.count_nonzero(block) / np.pi) ** (1 / 3)
        if diameter >= SMALLEST_MM:
            blocks.append(block)
            kinds.append(kind)
            diameters.append(diameter)
    return NoduleStock(
        np.array([block.shape for block in blocks]),
        np.concatenate([block.ravel() for block in blocks]),
        np.array(diameters),
        ("",) * count,
        tuple(kinds),
    )


def draw_diameter_mm(rng: np.random.Generator) -> float:
    """The diameter of a nodule, drawn as often as JSRT has it."""
    return float(np.clip(rng.lognormal(np.log(MEDIAN_MM), SPREAD), *DIAMETERS_MM))


def draw_nodule(diameters_mm: NDArray[Any], rng: np.random.Generator) -> tuple[int, float]:
    """Which of the nodules of these diameters is drawn (its place), and by how much it is scaled.

    Sizes follow JSRT's: a size is drawn, then one of the nodules near it, or the nearest where none is near.
    """
    target = draw_diameter_mm(rng)
    near = np.flatnonzero((diameters_mm >= target / 1.3) & (diameters_mm <= target / 0.8))
    place = int(rng.choice(near) if len(near) else np.abs(diameters_mm - target).argmin())
    return place, float(np.clip(target / diameters_mm[place], *SCALES))
