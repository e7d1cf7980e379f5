"""How large a pixel is, and its shape, by a header: what no radiograph can have is taken as unknown, and noted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrcad.imaging.elements import numbers, texts, unreadable
from cxrcad.imaging.faults import LARGEST_ASPECT

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["implausible", "pixel_aspect", "pixel_spacing"]

Spacing = tuple[float, float]

WIDEST_FIELD_MM = 1000.0
"""A field wider than any chest detector's means a placeholder for the spacing, or another unit."""
SMALLEST_PIXEL_MM = 0.03
"""Detectors of radiographs have pixels of 0.05 mm and more: less means cm or m."""
PLACEHOLDER = (1.0, 1.0)
SAME_SHAPE = 0.01
"""Relative difference of two statements of one shape, for rounding."""
ELEMENTS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
MAGNIFICATION = "EstimatedRadiographicMagnificationFactor"
LARGEST_MAGNIFICATION = 10.0


def implausible(rows: int, cols: int, spacing_mm: Spacing) -> str:
    """Why an image of `rows` x `cols` has no pixels of this (row, column) distance; "" where it may have."""
    row, col = spacing_mm
    if not (row > 0 and col > 0):
        return "is no size"
    high, wide = row * rows, col * cols
    if min(high, wide) > WIDEST_FIELD_MM or max(high, wide) > LARGEST_ASPECT * min(high, wide):
        return f"makes a field of {high:,.0f} x {wide:,.0f} mm"
    if spacing_mm == PLACEHOLDER:
        return "is a placeholder"
    return "is less than any detector's" if min(row, col) < SMALLEST_PIXEL_MM else ""


def pixel_spacing(dataset: Dataset) -> tuple[Spacing | None, str | None, list[str]]:
    """(row, column) mm, the element it comes from, and notes; None where no usable one is given (PS3.3 10.7.1.3)."""
    notes: list[str] = []
    found: tuple[Spacing, str] | None = None
    for name in ELEMENTS:
        values = numbers(dataset, name)
        row, col = values if len(values) == 2 else (None, None)
        if row is None or col is None:
            if values and found is None:
                notes += [f"{unreadable(dataset, name)}, not two numbers: taken as unknown"]
            continue
        why = implausible(int(dataset.Rows), int(dataset.Columns), (row, col))
        stated = f"{name} {row:g} x {col:g} mm"
        if found is None and why:
            notes += [f"{stated} {why}: taken as unknown"]
        elif found is None:
            found = (row, col), name
        elif not why and _differ(row / col, found[0][0] / found[0][1]):
            notes += [f"{stated} states pixels of another shape than {found[1]}: not applied"]
    if found is None:
        return None, None, notes
    (row, col), name = found
    if name != "ImagerPixelSpacing" or not texts(dataset, MAGNIFICATION):
        return (row, col), name, notes
    factor = numbers(dataset, MAGNIFICATION)[0]
    if factor is None or not 0 < factor <= LARGEST_MAGNIFICATION:
        return (row, col), name, [*notes, f"{unreadable(dataset, MAGNIFICATION)}, no magnification: not applied"]
    if factor == 1:
        return (row, col), name, notes
    notes += [f"spacing divided by magnification {factor:g}"]
    return (row / factor, col / factor), f"{name} / {MAGNIFICATION}", notes


def pixel_aspect(dataset: Dataset, spacing_mm: Spacing | None) -> tuple[float | None, list[str]]:
    """The height of a pixel / its width by PixelAspectRatio (PS3.3 C.7.6.3.1.7), and a note where it is not applied.

    None where it states none that can be. It counts where `spacing_mm` is None.
    """
    values = numbers(dataset, "PixelAspectRatio")
    down, across = (each or 0.0 for each in values) if len(values) == 2 else (0.0, 0.0)
    if not (down > 0 and across > 0 and 1 / LARGEST_ASPECT <= down / across <= LARGEST_ASPECT):
        wrong = f"{unreadable(dataset, 'PixelAspectRatio')}, no height and width of a pixel: not applied"
        return None, [wrong] if values and spacing_mm is None else []
    if spacing_mm is None or not _differ(down / across, spacing_mm[0] / spacing_mm[1]):
        return down / across, []
    return down / across, [f"PixelAspectRatio {down:g}:{across:g} is not the shape of the spacing: not applied"]


def _differ(one: float, other: float) -> bool:
    return abs(one / other - 1) > SAME_SHAPE
