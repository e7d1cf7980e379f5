"""Nodules drawn from formulas, of five kinds, as blocks of density like those of CT: no patient, no CT series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "analytic_block"]

MEDIAN_MM, SPREAD, DIAMETERS_MM = 13.0, 0.4, (6.0, 32.0)  # log-normal, as the sizes that are wanted
TISSUE, GROUND_GLASS, CALCIUM, AIR = 1040, (350, 600), 1300, 50
"""Densities, water = 1000: what LIDC's nodules hold (its file ends at 1300); air keeps a cavity inside the nodule."""
LEAST_FRACTION = 0.3  # of a voxel that the nodule must fill to count as inside

Array = NDArray[np.float64]


def analytic_block(index: int, seed: int) -> tuple[NDArray[np.int16], str]:
    """Nodule number `index` of `seed`: its density (z, y, x) on a 1 mm grid, and its kind.

    Water is 1000 and 0 is outside, as in a file of CT nodules. The kinds take turns.
    """
    rng = np.random.default_rng([seed, 0xA7, index])
    kind = tuple(KINDS)[index % len(KINDS)]
    radius = float(np.clip(rng.lognormal(np.log(MEDIAN_MM), SPREAD), *DIAMETERS_MM)) / 2
    half = int(np.ceil(radius * 2.2)) + 2
    grid = np.mgrid[-half : half + 1, -half : half + 1, -half : half + 1].astype(np.float64)
    grid /= rng.uniform(0.85, 1.18, (3, 1, 1, 1))  # an ellipsoid
    away = np.sqrt((grid**2).sum(0))
    surface = radius * _lobes(grid, away, rng)
    density = KINDS[kind](grid, away, surface, rng)
    block = np.rint(density).astype(np.int16)
    occupied = [np.flatnonzero(block.any(axis)) for axis in ((1, 2), (0, 2), (0, 1))]
    return block[tuple(slice(found[0], found[-1] + 1) for found in occupied)], kind


def _lobes(grid: Array, away: Array, rng: np.random.Generator) -> Array:
    """By how much the surface lies further out than a sphere's, in each direction: bumps and dents."""
    bumps = np.ones_like(away)
    for number, direction in enumerate(_directions(9, rng)):
        height, sharpness = (rng.uniform(-0.1, 0.25), 4) if number < 4 else (rng.uniform(-0.12, 0.18), 20)
        bumps += height * np.exp(sharpness * (_along(grid, direction) / np.maximum(away, 1e-6) - 1))
    return bumps


def _directions(count: int, rng: np.random.Generator) -> Array:
    vectors = rng.normal(size=(count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _along(grid: Array, direction: Array) -> Array:
    return np.asarray(np.tensordot(direction, grid, 1))


def _filled(depth: Array) -> Array:
    """Fraction of each voxel inside a surface `depth` mm above its centre; 0 where it is less than LEAST_FRACTION."""
    fraction = np.clip(0.5 + depth, 0, 1)
    return np.where(fraction < LEAST_FRACTION, 0, fraction)


def _solid(grid: Array, away: Array, surface: Array, rng: np.random.Generator) -> Array:
    return TISSUE * _filled(surface - away)


def _spiculated(grid: Array, away: Array, surface: Array, rng: np.random.Generator) -> Array:
    """A body with 12 to 22 cones that leave it in all directions and end in a point."""
    radius = float(np.median(surface))
    density = TISSUE * _filled(0.6 * surface - away)
    for direction in _directions(int(rng.integers(12, 23)), rng):
        along = _along(grid, direction)
        reach = radius * rng.uniform(1.3, 2.0)
        width = max(1.2, 0.3 * radius) * np.clip(1 - along / reach, 0, 1)
        aside = np.sqrt(np.clip(away**2 - along**2, 0, None))
        cone = np.where(along > 0, 0.8 * TISSUE * _filled(width - aside) * (width > 0), 0)
        density = np.maximum(density, cone)
    return density


def _part_solid(grid: Array, away: Array, surface: Array, rng: np.random.Generator) -> Array:
    """Ground glass around a solid core that lies off the middle."""
    glass = rng.uniform(*GROUND_GLASS) * _filled(surface - away)
    shift = rng.uniform(0, 0.3) * float(surface.min()) * _directions(1, rng)[0]
    core_away = np.sqrt(((grid - shift[:, None, None, None]) ** 2).sum(0))
    return np.maximum(glass, TISSUE * _filled(rng.uniform(0.4, 0.65) * surface - core_away) * (glass > 0))


def _calcified(grid: Array, away: Array, surface: Array, rng: np.random.Generator) -> Array:
    """Solid, with calcium in the middle."""
    fraction = _filled(surface - away)
    calcium = _filled(rng.uniform(0.4, 0.8) * surface - away)
    return fraction * (TISSUE + (CALCIUM - TISSUE) * calcium)


def _cavitary(grid: Array, away: Array, surface: Array, rng: np.random.Generator) -> Array:
    """A wall of a fifth to a half of the radius around air."""
    fraction = _filled(surface - away)
    air = _filled(rng.uniform(0.5, 0.8) * surface - away)
    return fraction * (TISSUE + (AIR - TISSUE) * air)


KINDS: dict[str, Callable[[Array, Array, Array, np.random.Generator], Array]] = {
    "solid": _solid,
    "spiculated": _spiculated,
    "part-solid": _part_solid,
    "calcified": _calcified,
    "cavitary": _cavitary,
}
