"""One phantom: a chest, a nodule of known place, size and contrast, and the radiograph of both.

Anatomy, tissue, exposure, nodule and noise have random streams of their own: the same seed with and without a nodule
differs by the nodule alone. What is larger than 1024 x 1024 pixels is enlarged and gets fine noise of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from cxrcad.core import Nodule
from cxrcad.imaging.jsrt_img import FIELD_MM
from cxrcad.synthesis.nodules import draw_diameter_mm
from cxrcad.synthesis.phantom.chest import Anatomy, Chest, Exposure, develop, draw_anatomy, draw_chest, expose
from cxrcad.synthesis.projection import CONTRAST, VISIBLE_FRACTION, outlined, outside_zone

__all__ = ["Phantom", "phantom_image"]

DRAWN_SIDE = 1024  # largest grid that is drawn on; 0.35 mm
COARSE = 256  # pixels of the grid on which a nodule's place is drawn

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Phantom:
    """A drawn radiograph with its truth.

    `pixels` is float32 (side, side), 0-1, bright = dense. `chest` lies on the grid that was drawn on, at most 1024 x
    1024, over the same extent, and `nodule` is in pixels of that grid. `contrast` is the mean of the nodule's core,
    grey levels of 255, and 0 without a nodule.
    """

    pixels: Image32
    anatomy: Anatomy
    chest: Chest
    nodule: Nodule | None
    contrast: float


def phantom_image(
    seed: int | tuple[int, ...], side: int, *, subtlety: int | None = None, outside_lung: bool = False
) -> Phantom:
    """The phantom of a seed at side x side pixels, with a nodule of `subtlety` 1 (hardest) to 5, or without one (None).

    Anatomy, exposure and noise depend on the seed alone, the nodule on the seed and its two settings.
    """
    seeds = (seed,) if isinstance(seed, int) else seed
    of_anatomy, of_chest, of_exposure, of_nodule, of_noise = (np.random.default_rng([*seeds, i]) for i in range(5))
    anatomy = draw_anatomy(of_anatomy)
    chest = draw_chest(anatomy, min(side, DRAWN_SIDE), of_chest)
    water = np.asarray(np.sum(list(chest.layers.values()), axis=0), np.float32)
    exposure = expose(water, chest.lungs, of_exposure)
    nodule, contrast = None, 0.0
    if subtlety is not None:
        nodule, contrast, added = _nodule(water, chest.lungs, exposure, subtlety, outside_lung, of_nodule)
        chest = replace(chest, layers={**chest.layers, "nodule": added})
        water = water + added
    return Phantom(develop(water, exposure, side, of_noise), anatomy, chest, nodule, contrast)


def _nodule(
    water: Image32, lungs: Bits, exposure: Exposure, subtlety: int, outside_lung: bool, rng: np.random.Generator
) -> tuple[Nodule, float, Image32]:
    """A nodule, the contrast of its core, and what it adds to `water` (mm).

    Over the heart or under the diaphragm it is as thick as in the lung, and the display curve leaves it fainter.
    """
    grey = exposure.grey
    diameter = draw_diameter_mm(rng)
    wanted = float(rng.uniform(*CONTRAST[subtlety]))
    form = _form(len(water), _place(lungs, diameter, outside_lung, rng), diameter, rng)
    core = form > 0.5
    here = np.full_like(water[core], np.median(water[lungs])) if outside_lung else water[core]
    thickness = 1.0
    for _ in range(5):
        thickness *= wanted / max(1e-3, float(np.mean(grey(here + thickness * form[core]) - grey(here))))
    added = np.asarray(thickness * form, np.float32)
    contrast = float(np.mean(grey(water[core] + added[core]) - grey(water[core])))
    mm = FIELD_MM / len(water)
    return outlined(form > VISIBLE_FRACTION, mm, in_lung=not outside_lung, subtlety=subtlety), contrast, added


def _place(lungs: Bits, diameter_mm: float, outside_lung: bool, rng: np.random.Generator) -> tuple[float, float]:
    """Where the nodule goes (x, y from the field's corner, mm): 2 mm or more inside the lungs, or outside them."""
    mm, step = FIELD_MM / COARSE, len(lungs) // COARSE
    coarse = lungs[::step, ::step]
    zone = outside_zone(coarse, 3) if outside_lung else ndi.binary_erosion(coarse, iterations=2)
    border = int(np.ceil((0.7 * diameter_mm + 3) / mm))
    rows, cols = np.nonzero(zone[border:-border, border:-border])
    pick = int(rng.integers(len(rows)))
    x, y = np.array([cols[pick], rows[pick]]) + border + rng.uniform(0, 1, 2)
    return float(x * mm), float(y * mm)


def _form(side: int, center_mm: tuple[float, float], diameter_mm: float, rng: np.random.Generator) -> Image32:
    """Thickness, peak 1, of a roundish lobed blob with soft edges."""
    mm = FIELD_MM / side
    middle = (np.arange(side) + 0.5) * mm
    cols, rows = (np.flatnonzero(np.abs(middle - center) < 0.95 * diameter_mm + 4) for center in center_mm)
    x, y = np.meshgrid(middle[cols] - center_mm[0], middle[rows] - center_mm[1])
    turn = np.arctan2(y, x)
    radius = np.ones_like(turn)
    for lobes, strength in ((2, 0.09), (3, 0.06), (5, 0.04)):
        radius += rng.normal(0, strength) * np.cos(lobes * turn + rng.uniform(0, 2 * np.pi))
    lump = (1 - (np.hypot(x, y) / (0.53 * diameter_mm * radius.clip(0.6, 1.4))) ** 2).clip(0, 1) ** 0.75
    lump *= 1 + 0.35 * ndi.gaussian_filter(rng.standard_normal(lump.shape), 1.6 / mm) * (1.6 / mm)
    lump = ndi.gaussian_filter(lump, 0.75 / mm)
    form = np.zeros((side, side), np.float32)
    form[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = lump / lump.max()
    return form
