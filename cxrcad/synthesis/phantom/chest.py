"""A phantom chest: body, lungs, heart, bones and vessels as mm of water along the beam, shown as a radiograph.

Layers add as attenuations do (Beer-Lambert), and a display curve turns their sum into grey levels; it flattens dense
tissue, so ribs, vessels and nodules lose contrast over heart and abdomen as they really do. Local coordinates: x from
the midline towards image right (the patient's left), y down from the apices of the lungs, mm. Sizes and grey levels
follow 24 posteroanterior NIH radiographs with their lung masks: both lungs 274 mm wide and 244 mm high (medians).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi
from scipy.interpolate import PchipInterpolator

from cxrcad.imaging.jsrt_img import FIELD_MM

__all__ = ["Anatomy", "Chest", "Exposure", "develop", "draw_anatomy", "draw_chest", "expose"]

RIGHT, LEFT = -1, 1  # the patient's sides, as the sign of x
AIR_FRACTION = 0.76  # of the lung's depth is air
HIDDEN_FRACTION = 0.15  # of the lung's depth lies behind the heart and, for 42 mm, under the domes
EDGE_MM = 2.5  # width over which a lung's edge falls: the heart beats, the diaphragm is curved
BLOOD = 2.0  # of a vessel's width: artery and vein run side by side
WHITE = 255.0

# Outlines: (fraction of the lungs' height, fraction of their half width)
WALL = ((0, 0.33), (0.022, 0.5), (0.065, 0.63), (0.125, 0.73), (0.205, 0.81), (0.33, 0.88), (0.48, 0.93), (0.86, 1))
SKIN = ((-0.6, 0.38), (-0.17, 0.42), (-0.1, 0.72), (0, 1.15), (0.1, 1.42), (0.2, 1.5), (0.35, 1.42), (0.6, 1.3))
RIGHT_BORDER = ((0, 0.21), (0.08, 0.17), (0.2, 0.165), (0.47, 0.19), (0.56, 0.24), (0.69, 0.27), (0.8, 0.26), (1, 0.2))
LEFT_BORDER = (
    *((0, 0.21), (0.1, 0.15), (0.165, 0.165), (0.205, 0.225), (0.24, 0.245), (0.285, 0.22), (0.335, 0.2)),
    *((0.44, 0.28), (0.5, 0.34), (0.6, 0.45), (0.7, 0.58), (0.78, 0.64), (0.85, 0.625), (0.92, 0.55), (1.1, 0.5)),
)
DEPTH = ((-0.3, 0.55), (-0.05, 0.68), (0.12, 0.8), (0.35, 0.93), (0.75, 1), (1, 1.16), (1.4, 1.22))  # by height

Array = NDArray[Any]
Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]
Tube = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Anatomy:
    """One phantom patient: sizes in mm, and the chest's place in the field.

    `heart` multiplies the mediastinum's width below the hila, `domes` are levels in heights of the lungs.
    """

    sex: str
    age_years: int
    half_width_mm: float
    height_mm: float
    depth_mm: float
    lung_depth_mm: float
    wall_mm: float
    heart: float
    domes: tuple[float, float]
    midline_mm: float
    apex_mm: float
    tilt_rad: float


@dataclass(frozen=True, eq=False)
class Chest:
    """A drawn chest on a square grid over the field: masks, and what each structure adds to the beam, mm of water."""

    right_lung: Bits
    left_lung: Bits
    heart: Bits
    layers: dict[str, Image32]

    @property
    def lungs(self) -> Bits:
        """Both lung fields."""
        return self.right_lung | self.left_lung


@dataclass(frozen=True)
class Exposure:
    """The display curve: grey = 255 / (1 + exp(-slope (water - center))), and the noise that comes with it."""

    center_mm: float
    slope_per_mm: float
    noise: float

    def grey(self, water_mm: Image32) -> Image32:
        """Grey levels 0-255, bright = dense, of `water_mm`."""
        return np.asarray(WHITE / (1 + np.exp(self.slope_per_mm * (self.center_mm - water_mm))), np.float32)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A patient drawn at random."""

    def near(mean: float, sd: float) -> float:
        return float(mean + sd * np.clip(rng.standard_normal(), -2, 2))

    female = bool(rng.random() < 0.48)
    half_width, height = near(130 if female else 141, 7), near(234 if female else 250, 15)
    right_dome = near(0.83, 0.02)
    return Anatomy(
        sex="Female" if female else "Male",
        age_years=int(rng.integers(21, 89)),
        half_width_mm=half_width,
        height_mm=height,
        depth_mm=near(212 if female else 226, 12),
        lung_depth_mm=near(150, 9),
        wall_mm=near(42, 9),
        heart=near(1, 0.06),
        domes=(right_dome, right_dome + near(0.04, 0.012)),
        midline_mm=FIELD_MM / 2 + near(0, 5),
        apex_mm=float(np.clip(near(31, 11), 8, max(8.0, min(56.0, 342 - height)))),
        tilt_rad=float(np.deg2rad(near(0, 1.3))),
    )


def draw_chest(anatomy: Anatomy, side: int, rng: np.random.Generator) -> Chest:
    """The chest on side x side pixels over the field; `rng` decides vessels, bones and texture."""
    mm = FIELD_MM / side
    step = max(0.35, 0.85 * mm)  # between samples of bones and vessels
    middle = ((np.arange(side) + 0.5) * mm).astype(np.float32)
    cos, sin = np.float32(np.cos(anatomy.tilt_rad)), np.float32(np.sin(anatomy.tilt_rad))
    across, down = middle - np.float32(anatomy.midline_mm), (middle - np.float32(anatomy.apex_mm))[:, None]
    x, y = cos * across + sin * down, cos * down - sin * across
    wide, high = anatomy.half_width_mm, anatomy.height_mm
    cavity = _profile(WALL, y / high) * wide * (y > 0)
    dome = np.where(x < 0, *(_dome(anatomy, place, x) for place in (RIGHT, LEFT)))
    border = wide * np.where(x < 0, _profile(RIGHT_BORDER, y / high), _profile(LEFT_BORDER, y / high))
    border *= 1 + (anatomy.heart - 1) * (5 * y / high - 2).clip(0, 1)
    inside = np.minimum.reduce([cavity - np.abs(x), np.abs(x) - border, dome - y])
    heart = np.hypot((x - 0.18 * wide) / (0.62 * wide), (y - 0.68 * high) / (0.235 * high)) < 1
    air = anatomy.lung_depth_mm * _lung_depth(anatomy, x, y, cavity, dome)
    edge = (inside / EDGE_MM + 0.5).clip(0, 1)
    behind = HIDDEN_FRACTION * (1 - (y - dome) / 42).clip(0, 1) * ((np.abs(x) - 8) / 40).clip(0, 1)
    air *= np.maximum(edge, behind * (y / high > 0.3))
    fullness = air / anatomy.lung_depth_mm
    layers = {
        "body": _body(anatomy, x, y),
        "air": -AIR_FRACTION * air,
        "airways": -11 * _bar(x, 8, 2) * _bar(y - 0.05 * high, 0.26 * high, 3),
        "spine": _bar(x, 16, 3) * (13 + 4 * np.cos(2 * np.pi * y / 25)),
        "hila": _hila(anatomy, x, y, rng),
        "vessels": _tubes(anatomy, side, _vessels(anatomy, step, rng), 0.3) * (1.5 * fullness).clip(0, 1),
        "texture": _texture(side, rng) * fullness.clip(0, 1) ** 0.7,
        "ribs": _tubes(anatomy, side, _ribs(anatomy, step, rng), 0.4)
        * (0.38 + 0.62 * edge),  # scatter veils the others
        "clavicles": _tubes(anatomy, side, _clavicles(anatomy, step, rng), 0.45),
    }
    lungs = inside > 0
    layers = {name: np.asarray(layer, np.float32) for name, layer in layers.items()}
    return Chest(lungs & (x < 0), lungs & (x > 0), heart & (np.abs(x) < border), layers)


def _profile(knots: Sequence[tuple[float, float]], level: Array) -> Array:
    """A smooth curve through `knots` (level, value) at each pixel's level; beyond them their first and last values."""
    levels, values = np.array(knots, float).T
    fine = np.linspace(levels[0], levels[-1], 400)
    return np.asarray(np.interp(level, fine, PchipInterpolator(levels, values)(fine)), np.float32)


def _bar(x: Array, half_width: float, soft: float) -> Array:
    """1 within `half_width` of 0, falling to 0 over `soft`, mm."""
    return np.asarray(((half_width - np.abs(x)) / soft + 0.5).clip(0, 1), np.float32)


def _dome(anatomy: Anatomy, side: int, x: Array) -> Array:
    """Level (y, mm) of the diaphragm on the patient's `side`; the right one is higher."""
    top, place, summit = anatomy.domes[0 if side == RIGHT else 1], np.abs(x) / anatomy.half_width_mm, 0.46
    lateral, medial = ((place - summit) / (1 - summit)).clip(0, 1.2), ((summit - place) / summit).clip(0, 1)
    return np.asarray(anatomy.height_mm * (top + (1 - top) * lateral**2.3 + 0.045 * medial**2), np.float32)


def _lung_depth(anatomy: Anatomy, x: Array, y: Array, cavity: Array, dome: Array) -> Array:
    """The lungs' depth along the beam over the whole cavity, 1 at the most: less at apices, wall, heart and domes."""
    rise = _profile(((0, 0.2), (0.03, 0.32), (0.12, 0.56), (0.3, 0.84), (0.5, 1.0)), y / anatomy.height_mm)
    rounded = (1 - (np.abs(x) / np.maximum(cavity, 1)).clip(0, 1) ** 3) ** 0.48
    medial = 1 - 0.22 * np.exp(-((np.abs(x) / (0.4 * anatomy.half_width_mm)) ** 2))
    return np.asarray(rise * rounded * medial * (1 - 0.26 * np.exp((y - dome).clip(-200, 0) / 22)), np.float32)


def _body(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Soft tissue along the beam were there no lung; more in the mediastinum and where the wall is seen edge on."""
    wide, level = anatomy.half_width_mm, y / anatomy.height_mm
    skin = wide * _profile(SKIN, level) + anatomy.wall_mm - 42
    depth = anatomy.depth_mm * _profile(DEPTH, level) * np.sqrt(1 - np.square(np.square((x / skin).clip(-1, 1))))
    wall = 20 * np.exp(-(((np.abs(x) - _profile(WALL, level) * wide - 5) / 3.6) ** 2))
    wall *= (5 * np.minimum(level - 0.06, 1.15 - level)).clip(0, 1)
    middle = 26 * np.exp(-np.square(np.square(x / (0.34 * wide)))) * ((y + 40) / 50).clip(0, 1)
    return np.asarray(depth + wall + middle, np.float32)


def _hila(anatomy: Anatomy, x: Array, y: Array, rng: np.random.Generator) -> Array:
    total = np.zeros_like(x)
    for side, level in ((RIGHT, 0.46), (LEFT, 0.43)):
        away = ((side * x - 0.2 * anatomy.half_width_mm) / 13) ** 2 + ((y - level * anatomy.height_mm) / 20) ** 2
        total += np.float32(21 * rng.uniform(0.7, 1.3)) * np.exp(-away)
    return total


def _tubes(anatomy: Anatomy, side: int, tubes: Sequence[Tube], blur_mm: float) -> Array:
    """Tubes (samples x, y in mm, and their mm^3 of water) summed into an image, mm of water."""
    mm = FIELD_MM / side
    x, y, volume = (np.concatenate(part) for part in zip(*tubes, strict=True))
    cos, sin = np.cos(anatomy.tilt_rad), np.sin(anatomy.tilt_rad)
    col = (anatomy.midline_mm + cos * x - sin * y) / mm - 0.5
    row = (anatomy.apex_mm + sin * x + cos * y) / mm - 0.5
    keep = (col > 0) & (row > 0) & (col < side - 1) & (row < side - 1)
    col, row, volume = col[keep], row[keep], volume[keep] / mm**2
    left, top = col.astype(int), row.astype(int)
    image = np.zeros(side * side)
    for i in (0, 1):  # each sample is shared by its four nearest pixels
        for j in (0, 1):
            part = volume * np.abs(1 - i - row + top) * np.abs(1 - j - col + left)
            image += np.bincount((top + i) * side + left + j, part, side * side)
    return np.asarray(ndi.gaussian_filter(image.reshape(side, side), blur_mm / mm, truncate=3), np.float32)


def _tube(step: float, line: Array, radius: Array | float, water: Array | float, cortex: float = 0.0) -> Tube:
    """Samples, `step` apart, of a tube along a curve (n, 2), all in mm.

    `water` is its thickness in the middle; `cortex` adds so many times that at the edges.
    """
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    along = np.linspace(0, length[-1], max(3, round(length[-1] / step)))
    x, y, radii, thick = (np.interp(along, length, np.broadcast_to(v, len(length))) for v in (*line.T, radius, water))
    count = max(3, round(2 * float(radii.max()) / step))
    u = (np.arange(count) + 0.5) * 2 / count - 1
    volume = (thick * radii)[:, None] * (np.sqrt(1 - u**2) + cortex * u**6) * (2 / count * along[1])
    offset = radii[:, None] * u
    across, down = np.gradient(x, along)[:, None], np.gradient(y, along)[:, None]
    x, y = x[:, None] - offset * down, y[:, None] + offset * across
    return x.ravel(), y.ravel(), volume.ravel()


def _ribs(anatomy: Anatomy, step: float, rng: np.random.Generator) -> list[Tube]:
    """Ten pairs: posterior arcs falling sideways, anterior arcs falling back to the midline."""
    high, tubes = anatomy.height_mm, []
    for number in range(10):
        for side in (RIGHT, LEFT):
            start = high * (0.035 + 0.0905 * number) + rng.normal(0, 1.2)
            drop = min(0.14 + 0.09 * number, 0.40) * high + rng.normal(0, 3)
            level = np.array([(start + 0.5 * drop) / high], np.float32)
            reach = float(_profile(WALL, level)[0]) * anatomy.half_width_mm * (0.8 if number == 0 else 1) + 2.5
            turn = np.linspace(0.02, np.deg2rad((165 if number == 0 else 134) + rng.normal(0, 4)), 80)
            x = 12 + (reach - 12) * np.sin(turn) ** 0.92
            y = start + drop * (1 - np.cos(turn)) / 2 - 0.018 * high * np.sin(2 * turn.clip(0, np.pi / 2)) ** 2
            # seen end on at the flank the rib would be white; in front, bone gives way to cartilage
            fade = (0.25 + 0.75 * np.abs(np.cos(turn))) * np.linspace(1, 0.7, 80) * np.linspace(8, 0, 80).clip(0, 1)
            tubes.append(_tube(step, np.column_stack([side * x, y]), 5.8, 12.0 * fade, cortex=1.0))
    return tubes


def _clavicles(anatomy: Anatomy, step: float, rng: np.random.Generator) -> list[Tube]:
    """S-shaped, from the sternum up and out over the apices."""
    wide, high = anatomy.half_width_mm, anatomy.height_mm
    level, rise = 0.155 * high + rng.normal(0, 6), 0.145 * high + rng.normal(0, 8)
    knots = np.array([(0.14, 0), (0.38, 0.2), (0.72, 0.75), (1.0, 1.0), (1.3, 0.92)])
    x = np.linspace(knots[0, 0], knots[-1, 0], 60)
    y = level - rise * PchipInterpolator(*knots.T)(x)
    water = 13 * np.minimum(np.linspace(0.3, 12, 60), np.linspace(6, 0, 60)).clip(0, 1)
    return [_tube(step, np.column_stack([side * wide * x, y]), 5.8, water, cortex=0.6) for side in (RIGHT, LEFT)]


def _vessels(anatomy: Anatomy, step: float, rng: np.random.Generator) -> list[Tube]:
    """Both lungs' vessels: from each hilum nine trunks that wind, branch and taper outward, solid with blood."""
    tubes = []
    for side, level in ((RIGHT, 0.46), (LEFT, 0.43)):
        growing = [
            (
                np.array([0.18 * anatomy.half_width_mm, level * anatomy.height_mm + 21 * place]),
                np.deg2rad(degrees + rng.normal(0, 7)),
                rng.uniform(2.5, 4.2),
            )
            for place, degrees in zip(np.linspace(-1, 1, 9), (-76, -56, -34, -12, 8, 26, 43, 58, 74), strict=True)
        ]
        while growing:
            place, angle, radius = growing.pop()
            path, radii = [place], [radius]
            while radius > 0.55:
                place = place + (8.5 + 4.5 * radius) * rng.uniform(0.6, 1.4) * np.array([np.cos(angle), np.sin(angle)])
                bend = rng.choice((-1, 1)) * rng.uniform(0.3, 0.7)
                growing.append((place, angle + bend, radius * rng.uniform(0.45, 0.7)))
                angle, radius = angle - 0.3 * bend + rng.normal(0, 0.08), radius * rng.uniform(0.74, 0.9)
                path, radii = [*path, place], [*radii, radius]
            if len(path) > 1:
                tubes.append(_tube(step, np.array(path) * (side, 1), np.array(radii), 2 * BLOOD * np.array(radii)))
    return tubes


def _texture(side: int, rng: np.random.Generator) -> Array:
    """Fine tissue of the lung: noise over several scales, mm of water."""
    image = np.zeros((side, side), np.float32)
    for cells, strength in ((10, 3.0), (24, 2.2), (56, 1.8), (120, 1.7), (256, 1.5)):
        image += _enlarged(strength * rng.standard_normal((cells, cells), dtype=np.float32), side)
    return image


def _enlarged(image: Array, side: int) -> Array:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), np.float32)


def expose(water: Image32, lungs: Bits, rng: np.random.Generator) -> Exposure:
    """A display curve that puts the lungs where real radiographs have them (24 of NIH: median 124 of 255, 59-138)."""
    target = float(np.clip(rng.normal(117, 17), 74, 146))
    slope = float(rng.uniform(0.0190, 0.0235))
    middle = float(np.median(water[lungs][::7]))
    return Exposure(middle + float(np.log(WHITE / target - 1)) / slope, slope, float(rng.uniform(0.65, 1.2)))


def develop(water: Image32, exposure: Exposure, side: int, rng: np.random.Generator) -> Image32:
    """Pixels 0-1 of `water` at `side`, with quantum noise (growing with attenuation) and the detector's own."""
    grey = exposure.grey(water)
    # A beam weakened by e^(-0.02 w) leaves sqrt-fewer quanta; the curve's slope turns their spread into grey levels.
    gain = exposure.slope_per_mm * grey * (1 - grey / WHITE)
    spread = exposure.noise * gain * np.exp(0.008 * np.clip(water - exposure.center_mm, -150, 150)) + 0.25
    spread *= min(1.6, (side / 1024) ** 0.7)
    grain = rng.standard_normal(water.shape, dtype=np.float32)
    if side != water.shape[0]:
        grey, spread = _enlarged(grey, side), _enlarged(np.asarray(spread, np.float32), side)
        grain = 0.55 * _enlarged(grain, side) + 0.8 * rng.standard_normal((side, side), dtype=np.float32)
    return np.asarray(np.clip((grey + spread * grain) / WHITE, 0, 1), np.float32)
