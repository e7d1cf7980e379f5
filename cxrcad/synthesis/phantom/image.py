"""One phantom: tissue thicknesses summed along the beam, a display curve, a nodule, distractors and noise.

Everything between the tube and the film is a layer in mm of water; layers add, as attenuations do. The curve that turns
the sum into grey levels flattens dense tissue, so ribs, vessels and nodules lose contrast over heart and abdomen as
they really do. Soft structures are computed on a coarse grid, sharp ones on at most 1024 x 1024 pixels; larger images
are enlarged and get their own fine noise. Parts of the drawing use random streams of their own: the same seed with and
without a nodule differs by the nodule alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from cxrcad.synthesis.phantom.anatomy import (
    COARSE,
    FIELD_MM,
    LEFT,
    RIGHT,
    Anatomy,
    Frame,
    curve,
    dome_level,
    draw_anatomy,
    enlarge,
    heart_outline,
    lung_outline,
    mediastinal_border,
    wall_half_width,
)
from cxrcad.synthesis.phantom.marks import Blob, draw_distractors, draw_nodule
from cxrcad.synthesis.phantom.tubes import draw_clavicles, draw_ribs, draw_scapulae, draw_spine, draw_vessels

__all__ = ["DRAWN_SIDE", "Exposure", "Phantom", "phantom_image"]

DRAWN_SIDE = 1024  # largest grid that is drawn on; 0.35 mm
AIR_SHARE = 0.76  # of the lung's depth is air
WHITE = 255.0

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Exposure:
    """The display curve: grey = 255 / (1 + exp(-slope (water - center))), and the noise that comes with it."""

    center_mm: float
    slope_per_mm: float
    noise: float

    def grey(self, water_mm: Image32) -> Image32:
        """Grey levels 0-255, bright = dense, of `water_mm`."""
        return np.asarray(WHITE / (1 + np.exp(self.slope_per_mm * (self.center_mm - water_mm))), np.float32)


@dataclass(frozen=True, eq=False)
class Phantom:
    """A drawn radiograph with its truth.

    `pixels` is float32 (side, side), 0-1, bright = dense. Masks and `layers` (mm of water each structure adds) lie on
    the grid that was drawn on, at most 1024 x 1024, over the same extent. `nodule` is in pixels of that grid too.
    """

    pixels: Image32
    anatomy: Anatomy
    right_lung: Bits
    left_lung: Bits
    heart: Bits
    nodule: Blob | None
    distractors: tuple[str, ...]
    exposure: Exposure
    layers: Mapping[str, Image32] = field(default_factory=dict)

    @property
    def lungs(self) -> Bits:
        """Both lung fields."""
        return self.right_lung | self.left_lung

    @property
    def drawn_side(self) -> int:
        """Side of the grid that masks, layers and nodule lie on."""
        return int(self.heart.shape[0])


def phantom_image(
    seed: int | tuple[int, ...], side: int, *, subtlety: int | None = None, outside_lung: bool = False
) -> Phantom:
    """The phantom of a seed at side x side pixels, with a nodule of `subtlety` 1 (hardest) to 5, or without one (None).

    Anatomy, exposure and noise depend on the seed alone, the nodule on the seed and its two settings.
    """
    seeds = (seed,) if isinstance(seed, int) else seed

    def stream(number: int) -> np.random.Generator:
        return np.random.default_rng([*seeds, number])

    frame = Frame(draw_anatomy(stream(0)), min(side, DRAWN_SIDE))
    shape = frame.anatomy.shape
    right, left = (frame.fill(lung_outline(shape, which)) for which in (RIGHT, LEFT))
    heart = frame.fill(heart_outline(shape)) > 0.5
    lungs = (right > 0.5) | (left > 0.5)
    layers = _layers(frame, right + left, stream(1))
    water = np.asarray(np.sum(list(layers.values()), axis=0), np.float32)
    exposure = _expose(water, lungs, stream(2))
    marks, kinds = draw_distractors(frame, lungs, stream(3))
    layers["distractors"] = marks
    water += marks
    nodule = None
    if subtlety is not None:
        nodule, added = draw_nodule(water, lungs, exposure.grey, subtlety, outside_lung, stream(4))
        layers["nodule"] = added
        water += added
    pixels = _develop(water, exposure, side, stream(5))
    return Phantom(pixels, frame.anatomy, right > 0.5, left > 0.5, heart, nodule, kinds, exposure, layers)


def _layers(frame: Frame, lungs: Image32, rng: np.random.Generator) -> dict[str, Image32]:
    coarse_body, coarse_lung, hidden = _soft_tissue(frame, rng)
    depth = enlarge(coarse_lung, frame.side)
    behind = enlarge(hidden, frame.side)
    edge = ndi.gaussian_filter(lungs, 1.15 / frame.spacing_mm, truncate=3)  # the heart beats, the diaphragm is curved
    air = depth * np.maximum(edge, behind)
    share = air / frame.anatomy.shape.lung_depth_mm
    return {
        "body": enlarge(coarse_body, frame.side),
        "air": np.asarray(-AIR_SHARE * air, np.float32),
        "airways": _airways(frame),
        "gas": _stomach_gas(frame, rng),
        "vessels": np.asarray(2.7 * draw_vessels(frame, rng) * np.clip(1.5 * share, 0, 1), np.float32),
        "texture": np.asarray(_texture(frame.side, rng) * np.clip(share, 0, 1) ** 0.7, np.float32),
        "spine": draw_spine(frame, rng),
        "scapulae": draw_scapulae(frame, rng),
        "ribs": np.asarray(
            draw_ribs(frame, rng) * (0.38 + 0.62 * edge), np.float32
        ),  # scatter veils bone over dense tissue
        "clavicles": draw_clavicles(frame, rng),
        "heel": _vignette(frame.side, rng),
    }


def _body_outline(anatomy: Anatomy) -> NDArray[np.float64]:
    """The skin: neck, shoulders, arms (apart from the chest below the axillae, or against it) and flanks."""
    shape = anatomy.shape
    outer = shape.half_width_mm + shape.wall_mm
    axilla = shape.axilla_share * shape.height_mm
    neck, drop = shape.neck_mm, shape.shoulder_drop_mm
    sides = []
    for side, spread in ((RIGHT, shape.arm_spread_mm[0]), (LEFT, shape.arm_spread_mm[1])):
        shoulder = [
            (neck, -170.0),
            (neck + 1, -52),
            (neck + 13, -34 + 0.3 * drop),
            (neck + 52, -15 + 0.6 * drop),
            (neck + 96, 2 + drop),
        ]
        shoulder += [
            (neck + 140, 26 + drop),
            (neck + 175, 75 + drop),
            (320, 140),
            (320, 420),
            (outer + 12 + spread, 420),
        ]
        pit = [
            (outer + 8 + spread * 0.75, axilla + 130),
            (outer + 6 + 0.3 * spread, axilla + 45),
            (outer + 2, axilla + 8),
            (outer, axilla + 40),
            (outer + 3, axilla + 160),
            (outer + 4, 420.0),
        ]
        sides.append(np.concatenate([curve(shoulder[:7], 60), shoulder[7:], curve(pit, 60)]) * (side, 1))
    return np.concatenate([sides[1], sides[0][::-1]])


def _soft_tissue(frame: Frame, rng: np.random.Generator) -> tuple[Image32, Image32, Image32]:
    """(Depth of the body, depth of the lungs, share of it that lies behind heart and diaphragm) on the coarse grid."""
    shape = frame.anatomy.shape
    x, y = frame.coarse_mm()
    wide, height = shape.half_width_mm, shape.height_mm
    outer = wide + shape.wall_mm
    inside = frame.depth_inside(_body_outline(frame.anatomy))
    round_edge = np.sqrt(np.clip(1 - (1 - np.clip(inside / 40, 0, 1)) ** 2, 0, 1))
    chest_depth = shape.depth_mm * np.interp(
        y / height, [-0.3, -0.05, 0.12, 0.35, 0.75, 1.0, 1.4], [0.42, 0.60, 0.76, 0.93, 1.0, 1.16, 1.22]
    )
    chest = chest_depth * np.clip(1 - np.abs(x / (outer + 10)) ** 6, 0, 1) ** 0.5 * round_edge**0.4
    reach = np.clip((shape.axilla_share * height + 25 - y) / 90, 0, 1)
    limb = np.maximum(reach * reach * (3 - 2 * reach), np.clip((np.abs(x) - outer + 4) / 10, 0, 1))
    body = (chest**4 + (184 * limb * round_edge) ** 4) ** 0.25 + _breasts(frame, x, y, rng)
    hilum = np.zeros_like(x)
    for side, level in ((RIGHT, 0.46), (LEFT, 0.43)):
        size = rng.uniform(0.7, 1.3)
        hilum += 21 * size * np.exp(-(((side * x - 0.20 * wide) / 13) ** 2) - ((y - level * height) / 20) ** 2)
    aorta = 9 * np.exp(-(((x - 0.12 * wide) / 8) ** 4)) * np.clip((y / height - 0.24) * 5, 0, 1)
    body = (
        ndi.gaussian_filter(body, 0.7)
        + hilum
        + aorta
        + 26 * np.exp(-((x / (0.34 * wide)) ** 4)) * np.clip((y + 40) / 50, 0, 1)
    )

    cavity = wall_half_width(shape, y)
    body += (
        20 * np.exp(-(((np.abs(x) - cavity - 5.0) / 3.6) ** 2)) * np.clip((y / height - 0.06) * 5, 0, 1)
    )  # the wall, seen edge on
    share = np.clip(np.abs(x) / np.maximum(cavity, 1e-3), 0, 1)
    rise = np.interp(y / height, [0, 0.03, 0.12, 0.3, 0.5, 1.0], [0.20, 0.32, 0.56, 0.84, 1.0, 1.0])
    lung = shape.lung_depth_mm * rise * np.clip(1 - share**3, 0, 1) ** 0.48 * (cavity > 0)
    right_floor, left_floor = (dome_level(shape, side, x) for side in (RIGHT, LEFT))
    floor = np.where(x < 0, right_floor, left_floor)
    border = np.where(x < 0, mediastinal_border(shape, RIGHT, y), mediastinal_border(shape, LEFT, y))
    lung *= 1 - 0.24 * np.exp(-(((np.abs(x) - border) / (0.20 * wide)) ** 2)) * (np.abs(x) > border)
    lung *= 1 - 0.26 * np.exp(np.clip(y - floor, -200, 0) / 22)
    recess = np.clip(1 - (y - floor) / 42, 0, 1) * 0.13
    above = 0.17 - 0.06 * np.exp(-((x / (0.2 * wide)) ** 2))
    hidden = (
        np.where(y > floor, recess, above)
        * np.clip((y / height - 0.30) * 6, 0, 1)
        * np.clip((np.abs(x) - 8) / 40, 0, 1)
    )
    return body.astype(np.float32), lung.astype(np.float32), hidden.astype(np.float32)


def _breasts(
    frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Breast shadows with their sharper lower rims; in men the pectoral muscles' faint haze."""
    shape = frame.anatomy.shape
    total = np.zeros_like(x)
    for side in (RIGHT, LEFT):
        radius = shape.breast_radius_mm * rng.uniform(0.93, 1.07)
        over = side * x - 0.60 * shape.half_width_mm
        down = y - shape.breast_level * shape.height_mm - rng.normal(0, 3)
        stretched = np.where(down < 0, down / 1.7, down)
        inside = np.clip(1 - (over / radius) ** 2 - (stretched / (0.78 * radius)) ** 2, 0, 1)
        total += shape.breast_mm * inside**0.5
    return total


def _airways(frame: Frame) -> Image32:
    """The air of trachea and main bronchi (negative)."""
    shape = frame.anatomy.shape
    carina = 0.315 * shape.height_mm
    centre = curve([(0, -110), (0, -20), (-3, 0.2 * shape.height_mm), (-1, carina)], 60)
    half = np.array([8.2 if frame.anatomy.sex == "Male" else 7.2, 0.0])
    outline = np.concatenate([centre + half, (centre - half)[::-1]])
    image = 12 * frame.fill(outline)
    for side, drop in ((RIGHT, 0.10), (LEFT, 0.085)):
        branch = np.array(
            [
                (0, carina - 9),
                (side * 34, carina + drop * shape.height_mm - 6),
                (side * 32, carina + drop * shape.height_mm + 6),
                (0, carina + 9),
            ]
        )
        image = np.maximum(image, 5 * frame.fill(branch))
    return np.asarray(-ndi.gaussian_filter(image, 0.9 / frame.spacing_mm), np.float32)


def _stomach_gas(frame: Frame, rng: np.random.Generator) -> Image32:
    """Gas under the left dome and in the bowel (negative), in most phantoms; zeros in the others."""
    shape = frame.anatomy.shape
    image = np.zeros((frame.side, frame.side), np.float32)
    turn = np.linspace(0, 2 * np.pi, 48)
    for number in range(int(rng.integers(0, 4))):
        across = shape.half_width_mm * (rng.uniform(0.35, 0.6) if number == 0 else rng.uniform(0.15, 0.75))
        wide, high = rng.uniform(9, 26), rng.uniform(5, 12)
        top = (
            float(dome_level(shape, LEFT, np.array([across]))[0])
            + high
            + (rng.uniform(5, 9) if number == 0 else rng.uniform(18, 45))
        )
        ripple = 1 + 0.12 * np.cos(3 * turn + rng.uniform(0, 6)) + 0.07 * np.cos(5 * turn + rng.uniform(0, 6))
        bubble = np.column_stack(
            [
                across + wide * ripple * np.cos(turn),
                top + high * ripple * np.minimum(np.sin(turn), 0.5 if number == 0 else 1),
            ]
        )
        image += rng.uniform(25, 60) * frame.fill(bubble)
    return np.asarray(-ndi.gaussian_filter(image, 1.8 / frame.spacing_mm, truncate=3), np.float32)


def _texture(side: int, rng: np.random.Generator) -> Image32:
    """Fine tissue of the lung: noise over several scales, mm of water."""
    image = np.zeros((side, side), np.float32)
    for cells, strength in ((10, 3.0), (24, 2.2), (56, 1.8), (120, 1.7), (256, 1.5)):
        image += enlarge(strength * rng.standard_normal((cells, cells), dtype=np.float32), side)
    return image


def _vignette(side: int, rng: np.random.Generator) -> Image32:
    """What the tube's heel effect and the fall towards the corners add, mm of water."""
    across, down = np.meshgrid(np.linspace(-1, 1, COARSE), np.linspace(-1, 1, COARSE))
    field = rng.normal(0, 3) * down + rng.normal(0, 2) * across + rng.uniform(1, 7) * (across**2 + down**2)
    return enlarge(np.asarray(field, np.float32), side)


def _expose(water: Image32, lungs: Bits, rng: np.random.Generator) -> Exposure:
    """A display curve that puts the lungs where real radiographs have them (24 of NIH: median 124 of 255, 59-138)."""
    target = float(np.clip(rng.normal(117, 17), 74, 146))
    slope = float(rng.uniform(0.0190, 0.0235))
    middle = float(np.median(water[lungs][::7]))
    return Exposure(middle + float(np.log(WHITE / target - 1)) / slope, slope, float(rng.uniform(0.65, 1.2)))


def _develop(water: Image32, exposure: Exposure, side: int, rng: np.random.Generator) -> Image32:
    """Pixels 0-1 of `water` at `side`, with quantum noise (growing with attenuation) and the detector's own."""
    grey = exposure.grey(water)
    # A beam weakened by e^(-0.02 w) leaves sqrt-fewer quanta; the curve's slope turns their spread into grey levels.
    gain = exposure.slope_per_mm * grey * (1 - grey / WHITE)
    spread = exposure.noise * gain * np.exp(0.008 * np.clip(water - exposure.center_mm, -150, 150)) + 0.25
    spread *= (FIELD_MM / 0.35 / 1024) * min(1.6, (side / DRAWN_SIDE) ** 0.7)
    grain = rng.standard_normal(water.shape, dtype=np.float32)
    if side != water.shape[0]:
        grey, spread = enlarge(grey, side), enlarge(np.asarray(spread, np.float32), side)
        fine = rng.standard_normal((side, side), dtype=np.float32)
        grain = 0.55 * enlarge(grain, side) + 0.8 * fine
    return np.asarray(np.clip((grey + spread * grain) / WHITE, 0, 1), np.float32)
