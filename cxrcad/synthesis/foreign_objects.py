"""Foreign objects drawn over a chest: electrodes with leads, a pacemaker, a port, rings, letters, burned-in text.

For perturbations they lie where they do in patients, with sizes in mm; for training anywhere, with sizes in pixels.
Shapes are simple and their edges soft. Places are fractions of the image's width and height, as in a frontal radiograph
that the chest fills. Image right is the patient's left.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cxrcad.core import Radiograph

__all__ = ["draw_electrodes", "draw_foreign_objects", "draw_pacemaker", "draw_port", "draw_text", "pixel_mm"]

USUAL_FIELD_MM = 360.0  # longer side of a chest radiograph, where the file states no spacing
SOFT_MM = 0.4  # standard deviation of an edge's blur
JITTER = 0.015  # standard deviation of a place, fraction of the side

ELECTRODES = (
    ((0.28, 0.19), (0.30, 0.60), (0.45, 1.02)),
    ((0.73, 0.20), (0.74, 0.65), (0.60, 1.02)),
    ((0.60, 0.43), (0.62, 0.75), (0.53, 1.02)),
)
"""Each electrode's place, the bend of its lead, and where the lead leaves the image."""

TEXTS = (
    ("L", 0.050, (0.93, 0.03), "ra"),
    ("PORTABLE AP", 0.022, (0.03, 0.03), "la"),
    ("DOE JANE   F   1948-03-02", 0.018, (0.03, 0.95), "ls"),
    ("ID 0047110815   14:05", 0.018, (0.03, 0.975), "ls"),
)
"""Text, height (fraction of the longer side), place, and which part of the text lies there (Pillow's anchors)."""

# What training draws, in pixels of its grid of about 0.7 mm
MOST = 4  # objects in one image
SNAP_PX, LEAD_PX, RING_PX, LETTER_PX = (4, 16), (2, 5), (10, 36), (12, 40)  # diameter, width, diameter, height
PORT_PX, CAN_PX = (24, 50), (45, 85)  # width of a port and of a pacemaker
DENSITY = (0.25, 1.0)  # fraction of the way to white
EDGE_PX = (0.4, 1.0)  # standard deviation of an edge's blur: sharper than a nodule's
LETTERS = "LRPATCXRPORTABLE"

Point = tuple[float, float]
Pixels = NDArray[np.float32]


def pixel_mm(radiograph: Radiograph) -> float:
    """Mean distance of the pixels, mm; where the file states none, that of a field of 360 mm."""
    if radiograph.spacing_mm is None:
        return USUAL_FIELD_MM / max(radiograph.rows, radiograph.cols)
    return sum(radiograph.spacing_mm) / 2


def draw_text(radiograph: Radiograph, rng: np.random.Generator) -> Pixels:
    """The pixels with a side marker, the kind of exposure, and a made-up patient's name burned in white."""
    (layer,) = _layers(radiograph, 1)
    longer = max(radiograph.rows, radiograph.cols)
    for text, height, place, anchor in TEXTS:
        font = ImageFont.load_default(max(8, round(height * longer)))
        layer.draw.text(layer.px(place), text, fill=255, font=font, anchor=anchor)
    return _over(radiograph.pixels, np.asarray(layer.mask, np.float32) * np.float32(1 / 255))


def draw_electrodes(radiograph: Radiograph, rng: np.random.Generator) -> Pixels:
    """The pixels with three ECG electrodes: a faint pad, a dense snap of 9 mm, and a lead that leaves the image."""
    pads, leads, snaps = _layers(radiograph, 3)
    for path in ELECTRODES:
        start, bend, end = (_near(point, rng) for point in path)
        pads.disc(start, 36)
        snaps.disc(start, 9)
        leads.line(_curve((start, bend, end)), 1.6)
    return _drawn(radiograph, (pads, 0.10), (leads, 0.55), (snaps, 0.75))


def draw_pacemaker(radiograph: Radiograph, rng: np.random.Generator) -> Pixels:
    """The pixels with a pacemaker of 46 x 42 mm over the patient's left upper chest, and two leads to the heart."""
    leads, header, can = _layers(radiograph, 3)
    x, y = _near((0.76, 0.22), rng)
    can.block((x, y), 46, 42, 15)
    header.block((x - can.fraction(6), y - can.fraction(23)), 30, 14, 5)
    for end in ((0.58, 0.70), (0.47, 0.56)):
        tip = _near(end, rng)
        leads.line(_curve(((x - 0.02, y - 0.05), (0.58, 0.10), (0.47, 0.22), (0.42, 0.55), tip)), 2.0)
        leads.disc(tip, 4)
    return _drawn(radiograph, (leads, 0.7), (header, 0.6), (can, 0.95))


def draw_port(radiograph: Radiograph, rng: np.random.Generator) -> Pixels:
    """The pixels with a port of 27 mm over the patient's right upper chest, and its catheter to the great vein."""
    catheter, base, ring = _layers(radiograph, 3)
    x, y = _near((0.27, 0.27), rng)
    base.disc((x, y), 27)
    ring.disc((x, y), 27)
    ring.disc((x, y), 18, level=0)
    tip = _near((0.46, 0.43), rng)
    catheter.line(_curve(((x + 0.03, y - 0.02), (0.33, 0.10), (0.44, 0.10), (0.46, 0.25), tip)), 2.4)
    return _drawn(radiograph, (catheter, 0.45), (base, 0.35), (ring, 0.6))


def draw_foreign_objects(image: Pixels, rng: np.random.Generator) -> tuple[Pixels, NDArray[np.float64]]:
    """`image` (rows, cols; 0-1) with one to four objects drawn on it, and a place (row, column) on each: (n, 2).

    Of seven, two are snaps with a lead, as ECG electrodes have, and two ports with a catheter; the others are rings,
    letters and pacemakers.
    """
    rows, cols = image.shape
    layer = _Layer(rows, cols)
    places: list[Point] = []
    for _ in range(int(rng.integers(1, MOST + 1))):
        place = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.05, 0.95))
        level = round(255 * float(rng.uniform(*DENSITY)))
        kind = rng.choice(("snap", "snap", "port", "port", "ring", "letter", "can"))
        x, y = layer.px(place)
        if kind == "snap":
            _lead(layer, place, level, rng)
            layer.disc(place, float(rng.uniform(*SNAP_PX)), min(255, round(1.3 * level)))
        elif kind == "port":
            _lead(layer, place, level, rng)
            _port(layer, (x, y), level, rng)
        elif kind == "can":
            _lead(layer, place, level, rng)
            width = float(rng.uniform(*CAN_PX))
            height, corner = width * float(rng.uniform(0.7, 1.0)), width * float(rng.uniform(0.15, 0.4))
            layer.block(place, width, height, corner, max(level, 150))
        elif kind == "ring":
            radius = float(rng.uniform(*RING_PX)) / 2
            box = (x - radius, y - radius, x + radius, y + radius)
            layer.draw.ellipse(box, outline=level, width=int(rng.integers(2, 6)))
        else:
            font = ImageFont.load_default(float(rng.uniform(*LETTER_PX)))
            layer.draw.text((x, y), str(rng.choice(list(LETTERS))), fill=level, font=font, anchor="mm")
        places.append((y, x))
    weight = layer.blurred(float(rng.uniform(*EDGE_PX))) / np.float32(255)
    return _over(image, weight), np.array(places, dtype=np.float64)


def _lead(layer: _Layer, place: Point, level: int, rng: np.random.Generator) -> None:
    """A bent lead from `place` to somewhere at or beyond the image's edge, fainter than `level`."""
    end = float(rng.uniform(-0.2, 1.2)), -0.05 if rng.random() < 0.3 else 1.05
    bend = float(rng.uniform(0, 1)), float(rng.uniform(0, 1))
    layer.line(_curve((place, bend, end), 40), int(rng.integers(*LEAD_PX)), round(0.7 * level))


def _port(layer: _Layer, middle: Point, level: int, rng: np.random.Generator) -> None:
    """A port's faint base, an ellipse or a triangle with round corners, and on it the rim of its chamber."""
    (x, y), across = middle, float(rng.uniform(*PORT_PX)) / 2
    down, turn = across * float(rng.uniform(0.7, 1.1)), float(rng.uniform(0, 2 * np.pi))
    base = round(float(rng.uniform(0.2, 0.9)) * level)
    if rng.random() < 0.5:
        layer.draw.ellipse((x - across, y - down, x + across, y + down), fill=base)
    else:
        angles = turn + 2 * np.pi / 3 * np.arange(3)
        corners = [(x + 0.6 * across * np.cos(angle), y + 0.6 * down * np.sin(angle)) for angle in angles]
        layer.draw.line([*corners, *corners[:2]], fill=base, width=round(0.7 * across), joint="curve")
        layer.draw.polygon(corners, fill=base)
    for part in (float(rng.uniform(0.5, 0.75)), float(rng.uniform(0.25, 0.45)))[: int(rng.integers(1, 3))]:
        box = (x - part * across, y - part * down, x + part * across, y + part * down)
        fill = round(float(rng.uniform(0.3, 1.0)) * level) if rng.random() < 0.5 else None
        layer.draw.ellipse(box, outline=level, fill=fill, width=int(rng.integers(1, 4)))


class _Layer:
    """A mask of the image's size that shapes are drawn on; places are fractions of the sides, sizes mm.

    Where `mm`, a pixel's side, is left out, sizes are in pixels.
    """

    def __init__(self, rows: int, cols: int, mm: float = 1.0) -> None:
        self.size = (cols, rows)
        self.mm = mm
        self.mask = Image.new("L", self.size)
        self.draw = ImageDraw.Draw(self.mask)

    def px(self, place: Point) -> Point:
        """A place in pixels."""
        return place[0] * self.size[0], place[1] * self.size[1]

    def fraction(self, length_mm: float) -> float:
        """A length as a fraction of the image's width."""
        return length_mm / self.mm / self.size[0]

    def disc(self, place: Point, diameter_mm: float, level: int = 255) -> None:
        """A disc about a place."""
        (x, y), radius = self.px(place), max(1.0, diameter_mm / 2 / self.mm)
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)

    def block(self, place: Point, width_mm: float, height_mm: float, corner_mm: float, level: int = 255) -> None:
        """A rectangle with round corners about a place."""
        (x, y), across, down = self.px(place), width_mm / 2 / self.mm, height_mm / 2 / self.mm
        self.draw.rounded_rectangle((x - across, y - down, x + across, y + down), corner_mm / self.mm, fill=level)

    def line(self, places: Sequence[Point], width_mm: float, level: int = 255) -> None:
        """A line through places."""
        width = max(1, round(width_mm / self.mm))
        self.draw.line([self.px(place) for place in places], fill=level, width=width, joint="curve")

    def blurred(self, deviation_px: float) -> Pixels:
        """The mask, 0-255, with its edges blurred."""
        return np.asarray(self.mask.filter(ImageFilter.GaussianBlur(deviation_px)), np.float32)


def _layers(radiograph: Radiograph, count: int) -> list[_Layer]:
    return [_Layer(radiograph.rows, radiograph.cols, pixel_mm(radiograph)) for _ in range(count)]


def _drawn(radiograph: Radiograph, *layers: tuple[_Layer, float]) -> Pixels:
    """The pixels with the layers over them, each brightening them by its fraction of the way to white."""
    pixels = radiograph.pixels
    for layer, density in layers:
        pixels = _over(pixels, layer.blurred(SOFT_MM / layer.mm) * np.float32(density / 255))
    return pixels


def _over(pixels: Pixels, weight: Pixels) -> Pixels:
    return np.asarray(pixels + weight * (1 - pixels), np.float32)


def _near(place: Point, rng: np.random.Generator) -> Point:
    across, down = rng.normal(0, JITTER, 2)
    return place[0] + float(across), place[1] + float(down)


def _curve(points: Sequence[Point], count: int = 80) -> list[Point]:
    """A Bezier curve of these control points (de Casteljau), from the first to the last."""
    steps = np.linspace(0, 1, count)[:, None]
    levels = [np.broadcast_to(np.array(point), (count, 2)) for point in points]
    while len(levels) > 1:
        levels = [first * (1 - steps) + second * steps for first, second in itertools.pairwise(levels)]
    return [(float(x), float(y)) for x, y in levels[0]]
