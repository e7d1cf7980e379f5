"""Nodules of a phantom, and what looks like one outside the lungs: electrodes, nipples, lead markers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage as ndi

from cxrcad.core import Box
from cxrcad.synthesis.phantom.anatomy import COARSE, FIELD_MM, Frame, curve, enlarge
from cxrcad.synthesis.phantom.tubes import splat
from cxrcad.synthesis.projection import CONTRAST, VISIBLE_FRACTION

__all__ = ["Blob", "draw_distractors", "draw_nodule"]

MEDIAN_DIAMETER_MM, DIAMETER_SPREAD, DIAMETERS_MM = 16.0, 0.38, (6.0, 40.0)
CLEAR_MM = 4.0  # least distance of a distractor to the lung fields

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Blob:
    """A drawn nodule, in pixel edges of its grid; `contrast` is its core's mean, grey levels of 255."""

    x_px: float
    y_px: float
    box_px: Box
    diameter_mm: float
    subtlety: int
    contrast: float
    in_lung: bool


def draw_nodule(
    water: Image32,
    lungs: Bits,
    grey: Callable[[Image32], Image32],
    subtlety: int,
    outside_lung: bool,
    rng: np.random.Generator,
) -> tuple[Blob, Image32]:
    """A nodule and what it adds to `water` (mm), with the contrast of its subtlety.

    Over the heart or under the diaphragm it is as thick as in the lung, and the display curve leaves it fainter.
    """
    side = water.shape[0]
    spacing = FIELD_MM / side
    diameter = float(np.clip(rng.lognormal(np.log(MEDIAN_DIAMETER_MM), DIAMETER_SPREAD), *DIAMETERS_MM))
    wanted = float(rng.uniform(*CONTRAST[subtlety]))
    x_mm, y_mm = _place(lungs, diameter, outside_lung, rng)
    form = _form(side, (x_mm, y_mm), diameter, rng)
    core = form > 0.5
    here = water[core]
    lung_level = float(np.median(water[lungs][::7]))
    if outside_lung:
        here = np.full_like(here, lung_level)
    thickness = wanted / max(1e-3, float(np.mean(grey(here + 1) - grey(here))))
    for _ in range(3):
        reached = float(np.mean(grey(here + thickness * form[core]) - grey(here)))
        thickness *= wanted / max(reached, 1e-3)
    added = np.asarray(thickness * form, np.float32)
    contrast = float(np.mean(grey(water[core] + added[core]) - grey(water[core])))
    visible = form > VISIBLE_FRACTION
    rows, cols = np.nonzero(visible)
    box = Box(float(cols.min()), float(rows.min()), float(cols.max() + 1), float(rows.max() + 1))
    size = float(2 * np.sqrt(visible.sum() / np.pi) * spacing)
    blob = Blob(float(cols.mean() + 0.5), float(rows.mean() + 0.5), box, size, subtlety, contrast, not outside_lung)
    return blob, added


def _place(lungs: Bits, diameter_mm: float, outside_lung: bool, rng: np.random.Generator) -> tuple[float, float]:
    """Where the nodule goes (x, y from the field's corner, mm): 2 mm or more inside the lungs, or outside them."""
    pixel = FIELD_MM / COARSE
    coarse = enlarge(lungs.astype(np.float32), COARSE) > 0.5
    zone = _hidden_zone(coarse, diameter_mm) if outside_lung else ndi.binary_erosion(coarse, iterations=2)
    margin = int(np.ceil((0.7 * diameter_mm + 3) / pixel))
    zone[:margin] = zone[-margin:] = False
    zone[:, :margin] = zone[:, -margin:] = False
    rows, cols = np.nonzero(zone)
    pick = int(rng.integers(len(rows)))
    jitter = rng.uniform(0, 1, 2)
    return float((cols[pick] + jitter[0]) * pixel), float((rows[pick] + jitter[1]) * pixel)


def _hidden_zone(lungs: Bits, diameter_mm: float) -> Bits:
    """Where JSRT's 14 nodules outside the lung fields lie: behind heart and hila, and up to 25 mm under the domes."""
    rows = np.nonzero(lungs.any(1))[0]
    between = np.zeros_like(lungs)
    for row in range(int(rows[0] + 0.38 * (rows[-1] - rows[0])), int(rows[-1]) + 1):
        cols = np.nonzero(lungs[row])[0]
        between[row, cols[0] : cols[-1]] = True
    below = np.zeros_like(lungs)
    shift = round(25 * COARSE / FIELD_MM)
    below[shift:] = lungs[:-shift]
    for room_mm in (0.4 * diameter_mm, 3.0, 0.0):
        zone = (between | below) & ~ndi.binary_dilation(lungs, iterations=1 + round(room_mm * COARSE / FIELD_MM))
        if zone.any():
            break
    return np.asarray(zone, bool)


def _form(side: int, centre_mm: tuple[float, float], diameter_mm: float, rng: np.random.Generator) -> Image32:
    """Thickness, peak 1, of a roundish lobed blob with soft edges."""
    spacing = FIELD_MM / side
    middle = (np.arange(side) + 0.5) * spacing
    reach = 0.95 * diameter_mm + 4
    cols, rows = (np.flatnonzero(np.abs(middle - centre) < reach) for centre in centre_mm)
    x, y = np.meshgrid(middle[cols] - centre_mm[0], middle[rows] - centre_mm[1])
    turn = np.arctan2(y, x)
    radius = np.ones_like(turn)
    for lobes, strength in ((2, 0.09), (3, 0.06), (4, 0.04), (5, 0.03), (7, 0.02)):
        radius += rng.normal(0, strength) * np.cos(lobes * turn + rng.uniform(0, 2 * np.pi))
    share = np.hypot(x, y) / (0.53 * diameter_mm * np.clip(radius, 0.6, 1.4))
    lump = np.clip(1 - share**2, 0, 1) ** 0.75
    lump *= 1 + 0.10 * ndi.gaussian_filter(rng.standard_normal(lump.shape), 1.6 / spacing) * (3.5 * 1.6 / spacing)
    lump = ndi.gaussian_filter(lump, 0.75 / spacing)
    form = np.zeros((side, side), np.float32)
    form[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = lump / lump.max()
    return form


def draw_distractors(frame: Frame, lungs: Bits, rng: np.random.Generator) -> tuple[Image32, tuple[str, ...]]:
    """(What they add, mm of water, all of it outside the lung fields; the kinds drawn: electrode, nipple, marker)."""
    image = np.zeros((frame.side, frame.side), np.float32)
    distance = ndi.distance_transform_edt(~(enlarge(lungs.astype(np.float32), COARSE) > 0.3)) * FIELD_MM / COARSE
    kinds = []
    for kind, share, draw in (("electrode", 0.4, _electrode), ("nipple", 0.35, _nipple), ("marker", 0.6, _marker)):
        chance, own = rng.random(), rng.spawn(1)[0]
        if chance >= share:
            continue
        drawn = draw(frame, distance, own)
        if drawn is not None:
            image += drawn
            kinds.append(kind)
    image[enlarge(np.asarray(distance, np.float32), frame.side) < 1.0] = 0
    return image, tuple(kinds)


def _spot(
    distance: NDArray[np.float64], zone: Bits, radius_mm: float, rng: np.random.Generator
) -> tuple[float, float] | None:
    """A point (mm from the field's corner) in `zone` whose disc of `radius_mm` is clear of lungs and field border."""
    pixel = FIELD_MM / COARSE
    free = zone & (distance > radius_mm + CLEAR_MM)
    edge = int(np.ceil((radius_mm + 3) / pixel))
    free[:edge] = free[-edge:] = False
    free[:, :edge] = free[:, -edge:] = False
    rows, cols = np.nonzero(free)
    if not len(rows):
        return None
    pick = int(rng.integers(len(rows)))
    return (cols[pick] + 0.5) * pixel, (rows[pick] + 0.5) * pixel


def _disc(side: int, centre_mm: tuple[float, float], radius_mm: float, soft_mm: float) -> Image32:
    """A disc of height 1 whose edge falls over `soft_mm`."""
    middle = (np.arange(side, dtype=np.float32) + 0.5) * (FIELD_MM / side)
    away = np.hypot(middle[None] - centre_mm[0], middle[:, None] - centre_mm[1])
    return np.asarray(np.clip((radius_mm - away) / soft_mm + 0.5, 0, 1), np.float32)


def _electrode(frame: Frame, distance: NDArray[np.float64], rng: np.random.Generator) -> Image32 | None:
    """An ECG electrode: a thin pad, a metal snap, and a wire that leaves the field the short way."""
    x, y = frame.coarse_mm()
    zone = (np.abs(x) > 0.35 * frame.anatomy.shape.half_width_mm) & (y > 0.02 * frame.anatomy.shape.height_mm)
    spot = _spot(distance, zone, 10.0, rng)
    if spot is None:
        return None
    side = frame.side
    pad, snap = rng.uniform(8.0, 10.0), rng.uniform(3.5, 5.0)
    image = 4.0 * _disc(side, spot, pad, 1.0) + rng.uniform(35, 90) * _disc(side, spot, snap, 0.8)
    outward = -1 if spot[0] < FIELD_MM / 2 else 1
    end = FIELD_MM if outward > 0 else 0.0
    sag = rng.uniform(5, 40)
    line = curve([spot, (0.5 * (spot[0] + end), spot[1] + 0.35 * sag), (end + outward, spot[1] + sag)], 1500)
    step = np.hypot(*np.gradient(line, axis=0).T) / frame.spacing_mm
    wire = splat(side, line[:, 0] / frame.spacing_mm, line[:, 1] / frame.spacing_mm, 42 * step / frame.spacing_mm)
    return image + np.asarray(ndi.gaussian_filter(wire, 0.45 / frame.spacing_mm), np.float32)


def _nipple(frame: Frame, distance: NDArray[np.float64], rng: np.random.Generator) -> Image32 | None:
    """A nipple's shadow below or beside the lungs: a soft round spot with one sharper rim, much like a nodule."""
    shape = frame.anatomy.shape
    x, y = frame.coarse_mm()
    radius = rng.uniform(4.0, 6.5)
    level = np.abs(y - 0.95 * shape.height_mm) < 0.2 * shape.height_mm
    zone = level & (np.abs(x) > 0.30 * shape.half_width_mm) & (np.abs(x) < 1.12 * shape.half_width_mm)
    spot = _spot(distance, zone, radius, rng)
    if spot is None:
        return None
    image = rng.uniform(12, 30) * _disc(frame.side, spot, radius, 1.8)
    return np.asarray(image * (0.8 + 0.2 * _disc(frame.side, (spot[0] + 1.2, spot[1] - 1.2), radius, 3.0)), np.float32)


def _marker(frame: Frame, distance: NDArray[np.float64], rng: np.random.Generator) -> Image32 | None:
    """A lead letter L (the patient's left is at image right) on its plate, or a lead ball beside the shoulder."""
    x, y = frame.coarse_mm()
    high = rng.uniform(9, 15)
    zone = (x > 0.5 * frame.anatomy.shape.half_width_mm) & (y < 0.25 * frame.anatomy.shape.height_mm)
    spot = _spot(distance, zone, high, rng)
    if spot is None:
        return None
    if rng.random() < 0.2:
        return 170 * _disc(frame.side, spot, rng.uniform(2.5, 5.5), 0.8)
    canvas = Image.new("L", (frame.side, frame.side))
    draw = ImageDraw.Draw(canvas)
    scale = high / frame.spacing_mm
    at = np.array(spot) / frame.spacing_mm + scale * np.array([-0.3, -0.5])
    letter = [(0, 0), (0.2, 0), (0.2, 0.82), (0.62, 0.82), (0.62, 1.0), (0, 1.0)]
    draw.polygon([tuple(float(v) for v in at + scale * np.array(point)) for point in letter], fill=255)
    return np.asarray(0.68 * ndi.gaussian_filter(np.asarray(canvas, np.float32), 0.4 / frame.spacing_mm), np.float32)
