"""Perturbations: what happens to radiographs on their way to a detector, such as windows, noise, borders and devices.

A perturbation turns a radiograph into another one, always the same for the same seed and case. One that moves the
pixels says where to, so that a case's truth moves with them. Truth keeps the true spacing where the file is made to
state another one.
"""

from __future__ import annotations

import difflib
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, Case, Nodule, Radiograph, UsageError
from cxrcad.imaging.preprocess import Geometry, resample
from cxrcad.synthesis.foreign_objects import draw_electrodes, draw_pacemaker, draw_port, draw_text, pixel_mm

__all__ = ["PERTURBATIONS", "UNPERTURBED", "Move", "Perturbation", "perturbations_named"]

LEVELS = 255  # grey levels that are left after a window was burned in
RANGE = (0.5, 99.5)  # percentiles between which a window is set

Pixels = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Move:
    """Where an image's points go in the perturbed image of `rows` x `cols`, in pixel edges.

    (x, y) goes to (x_row[0] x + x_row[1] y + x_row[2], y_row[0] x + y_row[1] y + y_row[2]).
    """

    rows: int
    cols: int
    x_row: tuple[float, float, float] = (1.0, 0.0, 0.0)
    y_row: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where the point (x, y) goes."""
        (a, b, c), (d, e, f) = self.x_row, self.y_row
        return a * x + b * y + c, d * x + e * y + f

    def box(self, box: Box) -> Box:
        """The box around where the ellipse in `box` goes: a turned box would be too large for the nodule in it."""
        (x, y), across, down = self.point(*box.center), (box.x1 - box.x0) / 2, (box.y1 - box.y0) / 2
        half_x = math.hypot(self.x_row[0] * across, self.x_row[1] * down)
        half_y = math.hypot(self.y_row[0] * across, self.y_row[1] * down)
        return Box(x - half_x, y - half_y, x + half_x, y + half_y)

    def spacing_mm(self, spacing_mm: tuple[float, float] | None) -> tuple[float, float] | None:
        """The (row, column) distance of the perturbed image's pixels; None where it was unknown."""
        if spacing_mm is None:
            return None
        row_scale, col_scale = (math.hypot(self.x_row[i], self.y_row[i]) for i in (1, 0))
        return spacing_mm[0] / row_scale, spacing_mm[1] / col_scale


@dataclass(frozen=True)
class Perturbation:
    """One perturbation: its name, what it does in words, and the function that does it, with the value it takes.

    `moved` tells from rows, columns and the value where it moves an image; None where it moves nothing.
    """

    name: str
    words: str
    change: Callable[[Radiograph, Rng, Any], Radiograph]
    value: Any = None
    moved: Callable[[int, int, Any], Move] | None = None

    def move(self, rows: int, cols: int) -> Move:
        """Where it moves the points of an image."""
        return Move(rows, cols) if self.moved is None else self.moved(rows, cols, self.value)

    def of(self, radiograph: Radiograph, case: str, seed: int) -> Radiograph:
        """The perturbed radiograph; what is random in it follows from the seed and the case's name."""
        rng = np.random.default_rng([seed, zlib.crc32(case.encode())])
        notes = (*radiograph.source.notes, self.words)
        return replace(self.change(radiograph, rng, self.value), source=replace(radiograph.source, notes=notes))

    def of_case(self, case: Case) -> Case:
        """The case with its truth where the perturbed image has it, without lung masks; its spacing is the true one."""
        move = self.move(case.rows, case.cols)
        nodules = tuple(_moved(nodule, move) for nodule in case.nodules)
        polygons = tuple(tuple(move.point(*corner) for corner in polygon) for polygon in case.polygons)
        moved = replace(case, rows=move.rows, cols=move.cols, spacing_mm=move.spacing_mm(case.spacing_mm))
        return replace(moved, nodules=nodules, polygons=polygons, lung_masks=())


def _moved(nodule: Nodule, move: Move) -> Nodule:
    x, y = move.point(nodule.x_px, nodule.y_px)
    box = None if nodule.box_px is None else move.box(nodule.box_px)
    return replace(nodule, x_px=x, y_px=y, box_px=box)


def perturbations_named(names: str | None) -> tuple[Perturbation, ...]:
    """The perturbations of a comma-separated list, each once; all of them for None.

    Raises UsageError for a name that is none, with those that are.
    """
    if names is None:
        return tuple(PERTURBATIONS.values())
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in wanted:
        if name not in PERTURBATIONS:
            near = difflib.get_close_matches(name, PERTURBATIONS, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"--perturbations: there is no {name!r}; {hint}choose from {', '.join(PERTURBATIONS)}")
    if not wanted:
        raise UsageError(f"--perturbations: it names none; choose from {', '.join(PERTURBATIONS)}")
    return tuple(PERTURBATIONS[name] for name in wanted)


# Grey levels


def _with(radiograph: Radiograph, pixels: NDArray[Any]) -> Radiograph:
    return replace(radiograph, pixels=np.clip(pixels, 0, 1).astype(np.float32))


def _window(radiograph: Radiograph, _: Rng, fraction: float) -> Radiograph:
    """The middle `fraction` of the range fills 0-1, rounded to 8 bits; more than 1 leaves black and white unused."""
    low, high = (float(value) for value in np.percentile(radiograph.pixels, RANGE))
    middle, width = (low + high) / 2, max(high - low, 1e-6) * fraction
    shown = np.clip((radiograph.pixels - middle) / width + 0.5, 0, 1)
    return _with(radiograph, np.rint(shown * LEVELS) / LEVELS)


def _gamma(radiograph: Radiograph, _: Rng, exponent: float) -> Radiograph:
    return _with(radiograph, np.clip(radiograph.pixels, 0, 1) ** np.float32(exponent))


def _inverted(radiograph: Radiograph, _: Rng, __: None) -> Radiograph:
    return _with(radiograph, 1 - radiograph.pixels)


def _noise(radiograph: Radiograph, rng: Rng, deviation: float) -> Radiograph:
    """Gaussian noise of a standard deviation, as a fraction of the range, in each pixel of the file."""
    noise = rng.standard_normal(radiograph.pixels.shape, np.float32) * np.float32(deviation)
    return _with(radiograph, radiograph.pixels + noise)


def _blurred(radiograph: Radiograph, _: Rng, deviation_mm: float) -> Radiograph:
    from scipy import ndimage

    sigma = deviation_mm / pixel_mm(radiograph)
    return replace(radiograph, pixels=ndimage.gaussian_filter(radiograph.pixels, sigma, mode="nearest"))


def _drawn(radiograph: Radiograph, rng: Rng, draw: Callable[[Radiograph, Rng], Pixels]) -> Radiograph:
    return replace(radiograph, pixels=draw(radiograph, rng))


# Places


def _resampled_move(rows: int, cols: int, longer: int) -> Move:
    new = [max(1, round(length * longer / max(rows, cols))) for length in (rows, cols)]
    return Move(new[0], new[1], (new[1] / cols, 0.0, 0.0), (0.0, new[0] / rows, 0.0))


def _resampled(radiograph: Radiograph, _: Rng, longer: int) -> Radiograph:
    """Resampled to `longer` pixels on the longer side."""
    move = _resampled_move(radiograph.rows, radiograph.cols, longer)
    geometry = Geometry(radiograph.rows, radiograph.cols, move.rows, move.cols, move.y_row[1], move.x_row[0])
    pixels = resample(radiograph.pixels, geometry)
    return replace(radiograph, pixels=pixels, spacing_mm=move.spacing_mm(radiograph.spacing_mm))


def _border_move(rows: int, cols: int, _: float) -> Move:
    down, across = round(rows / 10), round(cols / 10)
    return Move(rows + 2 * down, cols + 2 * across, (1.0, 0.0, float(across)), (0.0, 1.0, float(down)))


def _border(radiograph: Radiograph, _: Rng, level: float) -> Radiograph:
    """A border of a tenth of the sides added all round."""
    down, across = round(radiograph.rows / 10), round(radiograph.cols / 10)
    pixels = np.pad(radiograph.pixels, ((down, down), (across, across)), constant_values=level)
    return replace(radiograph, pixels=pixels)


def _rotated_move(rows: int, cols: int, degrees: float) -> Move:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = cols / 2, rows / 2
    return Move(rows, cols, (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y))


def _rotated(radiograph: Radiograph, _: Rng, degrees: float) -> Radiograph:
    """Turned clockwise about the image's middle, on a canvas of the same size; the corners that open are black."""
    from scipy import ndimage

    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    back = np.array([[cos, -sin], [sin, cos]])  # of (row, column): the inverse of the move's
    middle = (np.array(radiograph.pixels.shape) - 1) / 2
    pixels = ndimage.affine_transform(radiograph.pixels, back, middle - back @ middle, order=1, cval=0.0)
    return replace(radiograph, pixels=pixels)


# What the file states


def _spacing(radiograph: Radiograph, _: Rng, factor: float | None) -> Radiograph:
    """The spacing that the file states: the true one times `factor`, or none."""
    if radiograph.spacing_mm is None or factor is None:
        return replace(radiograph, spacing_mm=None, spacing_from=None)
    row_mm, col_mm = radiograph.spacing_mm
    return replace(radiograph, spacing_mm=(row_mm * factor, col_mm * factor))


UNPERTURBED = Perturbation("unaltered", "as it is", lambda radiograph, _, __: radiograph)

BORDER = "border of 10 % of the sides added all round"
LONGER = "pixels on the longer side"
ALL = (
    Perturbation("window-narrow", "narrow window: the middle 80 % of the range, 8 bits", _window, 0.8),
    Perturbation("window-wide", "wide window: twice the range, 8 bits", _window, 2.0),
    Perturbation("gamma-0.6", "gamma 0.6: brighter middle tones", _gamma, 0.6),
    Perturbation("gamma-1.6", "gamma 1.6: darker middle tones", _gamma, 1.6),
    Perturbation("inverted", "inverted: dense is dark", _inverted),
    Perturbation("noise-low", "Gaussian noise, standard deviation 3 % of the range", _noise, 0.03),
    Perturbation("noise-high", "Gaussian noise, standard deviation 10 % of the range", _noise, 0.10),
    Perturbation("blur-low", "blurred, standard deviation 0.7 mm", _blurred, 0.7),
    Perturbation("blur-high", "blurred, standard deviation 2 mm", _blurred, 2.0),
    Perturbation("side-512", f"resampled to 512 {LONGER}", _resampled, 512, _resampled_move),
    Perturbation("side-3000", f"resampled to 3000 {LONGER}", _resampled, 3000, _resampled_move),
    Perturbation("side-4000", f"resampled to 4000 {LONGER}", _resampled, 4000, _resampled_move),
    Perturbation("border-black", f"black {BORDER}", _border, 0.0, _border_move),
    Perturbation("border-white", f"white {BORDER}", _border, 1.0, _border_move),
    Perturbation("rotated-clockwise", "rotated by 5 degrees clockwise", _rotated, 5.0, _rotated_move),
    Perturbation("rotated-anticlockwise", "rotated by 5 degrees anticlockwise", _rotated, -5.0, _rotated_move),
    Perturbation("spacing-absent", "file without pixel spacing", _spacing),
    Perturbation("spacing-small", "pixel spacing told 20 % too small", _spacing, 0.8),
    Perturbation("spacing-large", "pixel spacing told 20 % too large", _spacing, 1.2),
    Perturbation("text", "burned-in text in the corners", _drawn, draw_text),
    Perturbation("electrodes", "three ECG electrodes with leads", _drawn, draw_electrodes),
    Perturbation("pacemaker", "a pacemaker with two leads", _drawn, draw_pacemaker),
    Perturbation("port", "a port with its catheter", _drawn, draw_port),
)

PERTURBATIONS: Mapping[str, Perturbation] = {perturbation.name: perturbation for perturbation in ALL}
"""The perturbations by name, in the order of the table that `cxrcad robustness` prints."""
