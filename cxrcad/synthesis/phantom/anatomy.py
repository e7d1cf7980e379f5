"""The anatomy of a phantom chest: sizes drawn from a seed, and the outlines of body, lungs, heart and diaphragm in mm.

Local coordinates: x from the midline towards image right (the patient's left), y down from the apices of the lungs, mm.
Sizes follow the lung masks of 24 posteroanterior NIH radiographs: both lungs 274 mm wide and 244 mm high (medians).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage as ndi
from scipy.interpolate import PchipInterpolator

__all__ = [
    "FIELD_MM",
    "LEFT",
    "RIGHT",
    "Anatomy",
    "Frame",
    "Shape",
    "draw_anatomy",
    "enlarge",
    "heart_outline",
    "lung_outline",
    "mediastinal_border",
    "wall_half_width",
]

FIELD_MM = 358.4  # side of the field: 2048 pixels of 0.175 mm, JSRT's
COARSE = 256  # pixels of the grid on which smooth thicknesses are computed
RIGHT, LEFT = -1, 1  # the patient's sides, as the sign of x

Array = NDArray[np.float64]
Image32 = NDArray[np.float32]

# The chest wall's inner side, as shares of the half width and of the lungs' height, apex to costophrenic angle.
WALL = (
    (0.33, 0.0),
    (0.50, 0.022),
    (0.63, 0.065),
    (0.73, 0.125),
    (0.81, 0.205),
    (0.88, 0.33),
    (0.93, 0.48),
    (0.975, 0.68),
    (1.0, 0.86),
    (1.0, 1.0),
)


@dataclass(frozen=True)
class Shape:
    """The sizes of one chest, in mm, or in shares of `half_width_mm` (borders of the mediastinum)."""

    half_width_mm: float
    height_mm: float
    taper: float
    depth_mm: float
    lung_depth_mm: float
    wall_mm: float
    neck_mm: float
    shoulder_drop_mm: float
    axilla_share: float
    arm_spread_mm: tuple[float, float]
    atrium_share: float
    ventricle_share: float
    knob_share: float
    dome_share: tuple[float, float]
    rib_slope: float
    breast_mm: float
    breast_radius_mm: float
    breast_level: float


@dataclass(frozen=True)
class Anatomy:
    """One phantom patient: sex, age, sizes, and where the chest lies in the field (mm from its top left corner)."""

    sex: str
    age_years: int
    shape: Shape
    midline_mm: float
    apex_mm: float
    tilt_rad: float


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """A chest drawn at random; the same generator state gives the same chest."""

    def near(mean: float, sd: float, spread: float = 2.0) -> float:
        return float(mean + sd * np.clip(rng.standard_normal(), -spread, spread))

    female = bool(rng.random() < 0.48)
    half_width = near(130 if female else 141, 7)
    height = near(234 if female else 250, 15)
    atrium = near(0.27, 0.025)
    right_dome = near(0.83, 0.02)
    shape = Shape(
        half_width_mm=half_width,
        height_mm=height,
        taper=near(1.0, 0.12),
        depth_mm=near(212 if female else 226, 12),
        lung_depth_mm=near(150, 9),
        wall_mm=near(52, 9),
        neck_mm=near(52, 4),
        shoulder_drop_mm=near(0, 8),
        axilla_share=near(0.42, 0.05),
        arm_spread_mm=(float(rng.uniform(-10, 70)), float(rng.uniform(-10, 70))),
        atrium_share=atrium,
        ventricle_share=2 * near(0.455, 0.035) - atrium,
        knob_share=near(0.245, 0.025),
        dome_share=(right_dome, right_dome + near(0.04, 0.012)),
        rib_slope=near(1.08, 0.14),
        breast_mm=near(31, 11) if female else float(rng.uniform(0, 9)),
        breast_radius_mm=near(62, 8),
        breast_level=near(0.70, 0.05),
    )
    lowest = max(8.0, min(56.0, 342 - height))
    return Anatomy(
        sex="Female" if female else "Male",
        age_years=int(rng.integers(21, 89)),
        shape=shape,
        midline_mm=FIELD_MM / 2 + near(0, 5),
        apex_mm=float(np.clip(near(31, 11), 8, lowest)),
        tilt_rad=float(np.deg2rad(near(0, 1.3))),
    )


@dataclass(frozen=True)
class Frame:
    """The grid that a phantom is drawn on: `side` x `side` pixels over the field, and the chest's place in it."""

    anatomy: Anatomy
    side: int

    @property
    def spacing_mm(self) -> float:
        """Side of a pixel, mm."""
        return FIELD_MM / self.side

    def to_px(self, x_mm: Array, y_mm: Array) -> tuple[Array, Array]:
        """Local mm -> (x, y) in pixel edges of the grid."""
        place = self.anatomy
        cos, sin = np.cos(place.tilt_rad), np.sin(place.tilt_rad)
        x = place.midline_mm + cos * x_mm - sin * y_mm
        y = place.apex_mm + sin * x_mm + cos * y_mm
        return x / self.spacing_mm, y / self.spacing_mm

    def coarse_mm(self) -> tuple[Array, Array]:
        """Local (x, y), mm, of the middles of the coarse grid's pixels."""
        middle = (np.arange(COARSE) + 0.5) * FIELD_MM / COARSE
        place = self.anatomy
        x, y = np.meshgrid(middle - place.midline_mm, middle - place.apex_mm)
        cos, sin = np.cos(place.tilt_rad), np.sin(place.tilt_rad)
        return cos * x + sin * y, cos * y - sin * x

    def fill(self, outline_mm: Array, side: int | None = None) -> Image32:
        """The share of each pixel, 0-1, inside a closed outline (n, 2) in local mm; `side` names another grid."""
        side = side or self.side
        x, y = Frame(self.anatomy, 2 * side).to_px(outline_mm[:, 0], outline_mm[:, 1])
        canvas = Image.new("L", (2 * side, 2 * side))
        ImageDraw.Draw(canvas).polygon(np.column_stack([x, y]).ravel().tolist(), fill=255)
        return np.asarray(canvas.reduce(2), np.float32) / np.float32(255)

    def fill_all(self, outlines_mm: Sequence[Array]) -> Image32:
        """The share of each pixel, 0-1, inside any of the outlines."""
        canvas = Image.new("L", (2 * self.side, 2 * self.side))
        draw = ImageDraw.Draw(canvas)
        for outline in outlines_mm:
            x, y = Frame(self.anatomy, 2 * self.side).to_px(outline[:, 0], outline[:, 1])
            draw.polygon(np.column_stack([x, y]).ravel().tolist(), fill=255)
        return np.asarray(canvas.reduce(2), np.float32) / np.float32(255)

    def depth_inside(self, outline_mm: Array) -> Image32:
        """Distance to the outline of the coarse pixels inside it, mm; 0 outside. The field's border is no outline."""
        padding = 64
        inside = np.pad(self.fill(outline_mm, COARSE) > 0.5, padding, mode="edge")
        distance = ndi.distance_transform_edt(inside)[padding:-padding, padding:-padding]
        return np.asarray(distance * (FIELD_MM / COARSE), np.float32)


def enlarge(image: Image32, side: int) -> Image32:
    """`image` interpolated (cubic when enlarging, averaged when shrinking) to side x side pixels of the same extent."""
    if image.shape == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), np.float32)


def curve(points: Sequence[tuple[float, float]], count: int = 60) -> Array:
    """Points (count, 2) of a smooth curve through `points`, spread along its length."""
    knots = np.asarray(points, float)
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
    return np.asarray(PchipInterpolator(along, knots)(np.linspace(0, along[-1], count)))


def wall_half_width(shape: Shape, y_mm: Array) -> Array:
    """Half width of the chest cavity at `y_mm`, mm; 0 above the apices, the widest below the costophrenic angles."""
    wall = curve(WALL, 200)
    share = np.interp(y_mm / shape.height_mm, wall[:, 1], wall[:, 0], left=0.0)
    # `taper` makes the upper chest narrower (> 1) or squarer (< 1)
    return np.asarray(shape.half_width_mm * share**shape.taper, float)


def mediastinal_border(shape: Shape, side: int, y_mm: Array) -> Array:
    """Distance from the midline to the mediastinum's border on the patient's `side` (RIGHT or LEFT), mm, positive."""
    if side == RIGHT:
        atrium = shape.atrium_share
        knots = [
            (0, 0.21),
            (0.08, 0.17),
            (0.2, 0.165),
            (0.35, 0.17),
            (0.47, 0.20),
            (0.56, 0.88 * atrium),
            (0.69, atrium),
            (0.8, 0.97 * atrium),
            (0.9, 0.8 * atrium),
            (1.1, 0.7 * atrium),
        ]
    else:
        knob, ventricle = shape.knob_share, shape.ventricle_share
        knots = [
            (0, 0.21),
            (0.1, 0.15),
            (0.165, 0.16),
            (0.205, knob - 0.02),
            (0.24, knob),
            (0.285, knob - 0.025),
            (0.335, 0.195),
            (0.39, 0.225),
            (0.44, 0.275),
        ]
        knots += [
            (0.5, 0.335),
            (0.6, 0.70 * ventricle),
            (0.7, 0.90 * ventricle),
            (0.78, ventricle),
            (0.85, 0.98 * ventricle),
            (0.92, 0.86 * ventricle),
            (1.1, 0.8 * ventricle),
        ]
    levels, shares = np.asarray(knots).T
    grid = np.linspace(0, 1.1, 441)
    rounded = ndi.gaussian_filter1d(PchipInterpolator(levels, shares)(grid), 5.5, mode="nearest")
    return np.asarray(shape.half_width_mm * np.interp(y_mm / shape.height_mm, grid, rounded), float)


def dome_level(shape: Shape, side: int, x_mm: Array) -> Array:
    """Level (y, mm) of the diaphragm on the patient's `side`, `x_mm` from the midline; the right one is higher."""
    top = shape.dome_share[0 if side == RIGHT else 1]
    share = np.abs(x_mm) / shape.half_width_mm
    summit = 0.46
    lateral = np.clip((share - summit) / (1 - summit), 0, 1.2)
    medial = np.clip((summit - share) / summit, 0, 1)
    return np.asarray(shape.height_mm * (top + (1 - top) * lateral**2.3 + 0.045 * medial**2), float)


def lung_outline(shape: Shape, side: int) -> Array:
    """The lung field of the patient's `side` as seen (without the parts behind heart and diaphragm): (n, 2), mm."""
    y = np.linspace(0, 1, 160) ** 1.6 * shape.height_mm
    lateral = np.column_stack([wall_half_width(shape, y), y])
    lateral = lateral[lateral[:, 1] <= dome_level(shape, side, lateral[:, 0])]
    floor_end = float(mediastinal_border(shape, side, np.array([0.87 * shape.height_mm]))[0])
    floor_x = np.linspace(lateral[-1, 0], floor_end, 60)
    floor = np.column_stack([floor_x, dome_level(shape, side, floor_x)])
    up = np.linspace(floor[-1, 1], 0.05 * shape.height_mm, 160)
    medial = np.column_stack([mediastinal_border(shape, side, up), up])
    height, first = shape.height_mm, lateral[0, 0]
    apex = curve([(medial[-1, 0], medial[-1, 1]), (0.5 * (medial[-1, 0] + first), 0.012 * height), (first, 0.0)], 20)
    outline = np.concatenate([lateral, floor[1:], medial, apex[1:-1]])
    outline[:, 0] *= side
    return outline


def heart_outline(shape: Shape) -> Array:
    """The heart's silhouette: (n, 2), mm."""
    height = shape.height_mm
    down = np.linspace(0.44, 0.87, 50) * height
    left = np.column_stack([mediastinal_border(shape, LEFT, down), down])
    up = np.linspace(0.86, 0.50, 40) * height
    right = np.column_stack([-mediastinal_border(shape, RIGHT, up), up])
    bottom = curve(
        [
            (left[-1, 0], left[-1, 1]),
            (0.72 * left[-1, 0], 0.925 * height),
            (0.1 * left[-1, 0], 0.92 * height),
            (right[0, 0], right[0, 1]),
        ],
        30,
    )
    top = curve([(right[-1, 0], right[-1, 1]), (0.5 * right[-1, 0], 0.44 * height), (left[0, 0], left[0, 1])], 20)
    return np.concatenate([left, bottom[1:-1], right, top[1:-1]])
