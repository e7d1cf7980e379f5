"""Things of metal and plastic over a chest, drawn at random places: snaps, leads, rings, letters. None is a nodule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

__all__ = ["draw_hardware"]

MOST = 4  # things in one image
SNAP_PX, LEAD_PX, RING_PX, LETTER_PX = (4, 16), (2, 5), (10, 36), (12, 40)  # diameter, width, diameter, height
DENSITY = (0.25, 1.0)  # of what is missing to white
EDGE_PX = (0.4, 1.0)  # standard deviation of an edge's blur: sharper than a nodule's
LETTERS = "LRPATCXRPORTABLE"


def draw_hardware(
    image: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """`image` (rows, cols; 0-1) with one to four things drawn on it, and places (n, 2; row, column) on them.

    Sizes are in pixels, for a grid of about 0.7 mm. Half of the things are snaps with a lead, as ECG electrodes have.
    """
    rows, cols = image.shape
    mask = Image.new("L", (cols, rows))
    draw = ImageDraw.Draw(mask)
    places: list[tuple[float, float]] = []
    for _ in range(int(rng.integers(1, MOST + 1))):
        x, y = float(rng.uniform(0.1, 0.9)) * cols, float(rng.uniform(0.05, 0.95)) * rows
        level = round(255 * float(rng.uniform(*DENSITY)))
        kind = rng.choice(("snap", "snap", "ring", "letter"))
        if kind == "snap":
            _lead(draw, (x, y), (rows, cols), level, rng)
            _disc(draw, (x, y), float(rng.uniform(*SNAP_PX)), min(255, round(1.3 * level)))
        elif kind == "ring":
            size = float(rng.uniform(*RING_PX))
            box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
            draw.ellipse(box, outline=level, width=int(rng.integers(2, 6)))
        else:
            font = ImageFont.load_default(float(rng.uniform(*LETTER_PX)))
            draw.text((x, y), str(rng.choice(list(LETTERS))), fill=level, font=font, anchor="mm")
        places.append((y, x))
    weight = np.asarray(mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(*EDGE_PX)))), np.float32) / 255
    return np.asarray(image + weight * (1 - image), np.float32), np.array(places, dtype=np.float64)


def _disc(draw: ImageDraw.ImageDraw, place: tuple[float, float], diameter: float, level: int) -> None:
    x, y = place
    draw.ellipse((x - diameter / 2, y - diameter / 2, x + diameter / 2, y + diameter / 2), fill=level)


def _lead(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    shape: tuple[int, int],
    level: int,
    rng: np.random.Generator,
) -> None:
    """A bent line from `place` to somewhere at or beyond the image's edge, fainter than `level`."""
    rows, cols = shape
    end = np.array([rng.uniform(-0.2, 1.2) * cols, (-0.05 if rng.random() < 0.3 else 1.05) * rows])
    bend = np.array([rng.uniform(0, 1) * cols, rng.uniform(0, 1) * rows])
    along = np.linspace(0, 1, 40)[:, None]
    curve = (1 - along) ** 2 * np.array(place) + 2 * along * (1 - along) * bend + along**2 * end
    width = int(rng.integers(*LEAD_PX))
    draw.line([(float(x), float(y)) for x, y in curve], fill=round(0.7 * level), width=width, joint="curve")
