"""Stored values of a DICOM radiograph -> presentation values 0-1 by the standard's pipeline, once.

Modality LUT -> first VOI that leaves a picture -> one inversion (DICOM PS3.4 N.2, PS3.3 C.11). MONOCHROME1 and
PresentationLUTShape INVERSE mean the same (PS3.3 C.8.11.3: INVERSE where MONOCHROME1), so both together invert once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxrcad.imaging.elements import code, items, numbers, stated, texts, unreadable
from cxrcad.imaging.faults import refuse

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["FUNCTIONS", "Table", "lut", "middle_of", "presented"]

SHAPES = ("", "IDENTITY", "INVERSE")
MOST_SATURATED = 0.5
"""Part of the chest, on which a window that was made for the image leaves next to nothing (docs/DETECT.md)."""
MIDDLE = 0.2
SATURATED = 0.5 / 255
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
"""SOP class Digital X-Ray Image Storage - For Processing."""
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def middle_of(values: NDArray[Any]) -> NDArray[Any]:
    """The part of an image (rows, cols) that a chest fills, without its borders and the air beside it."""
    rows, cols = (round(MIDDLE * length) for length in values.shape)
    return values[rows:-rows, cols:-cols]


def presented(
    path: Path, dataset: Dataset, stored: NDArray[Any], counts: NDArray[Any]
) -> tuple[NDArray[Any], list[str]]:
    """Presentation values 0-1, bright = dense, of all the stored values that an image holds, and what was done.

    `stored` is ascending, each value once; `counts` are how many pixels in the middle of the image have it. Raises
    ReadError where a number or table that decides the picture cannot be read. A window that cannot be, or that would
    saturate most of the chest, is not applied, and noted.
    """
    monochrome1 = code(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = code(dataset, "PresentationLUTShape")
    values, notes = _modality(path, dataset, stored)
    if not np.isfinite(values).all() or values.min() == values.max():
        refuse(path, f"{notes[-1]} would leave no picture", "export the radiograph again")
    pixels = None
    for shown, note in _voi(path, dataset, values):
        if shown is None:
            notes.append(f"{note}: not applied")
        elif shown.min() == shown.max():
            notes.append(f"{note} would leave one value: not applied")
        elif (part := _saturated(shown, counts)) > MOST_SATURATED:
            notes.append(f"{note} would saturate {100 * part:.0f} % of the chest: not applied")
        else:
            pixels = shown
            notes.append(f"{note} applied")
            break
    intensity = pixels is None and values.max() > 0 and _is_intensity(dataset)
    if intensity:
        values = -np.log(np.maximum(values, values[values > 0].min()))
        notes += ["FOR PROCESSING, LIN, sign +1: dense = dark; its logarithm taken and inverted"]
    if pixels is None:
        pixels, note = _full_range(dataset, stored, values)
        notes += [note]
    if shape not in SHAPES:
        notes += [f"{unreadable(dataset, 'PresentationLUTShape')}, not IDENTITY or INVERSE: not applied"]
    if (monochrome1 or shape == "INVERSE") and not intensity:
        pixels = 1 - pixels
        name = " with ".join(["MONOCHROME1"] * monochrome1 + ["PresentationLUTShape INVERSE"] * (shape == "INVERSE"))
        notes += [f"{name} inverted{' once' if monochrome1 and shape == 'INVERSE' else ''}"]
    return pixels, notes


def _is_intensity(dataset: Dataset) -> bool:
    """Whether the values are in proportion to the X-ray intensity behind the patient, so low where he is dense.

    PS3.3 C.8.11.3.1.2: PixelIntensityRelationship LIN with sign +1, which is taken for granted. In a picture FOR
    PRESENTATION the photometric interpretation has the last word.
    """
    sign = numbers(dataset, "PixelIntensityRelationshipSign")
    for_processing = texts(dataset, "SOPClassUID")[:1] == (FOR_PROCESSING,)
    intent = code(dataset, "PresentationIntentType") or ("FOR PROCESSING" if for_processing else "")
    return sign in ((), (1.0,)) and (intent, code(dataset, "PixelIntensityRelationship")) == ("FOR PROCESSING", "LIN")


def _saturated(shown: NDArray[Any], counts: NDArray[Any]) -> float:
    """The part of the pixels that are black or white; `shown` is 0-1."""
    return float(counts[(shown <= SATURATED) | (shown >= 1 - SATURATED)].sum() / counts.sum())


def _modality(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Values after the modality LUT or the rescale (PS3.3 C.11.1)."""
    notes = []
    for item in items(dataset, "ModalityLUTSequence"):
        if not texts(item, "LUTDescriptor") and "LUTData" not in item:
            notes = ["an empty modality LUT: not applied"]
            continue
        table = lut(path, dataset, item, "modality LUT", bool(stored.min() < 0))
        if table is None:
            refuse(path, "a modality LUT without its entries or their number", "export the radiograph again")
        return table.of(stored), ["modality LUT applied"]
    slope, intercept = stated(path, dataset, "RescaleSlope", 1.0), stated(path, dataset, "RescaleIntercept", 0.0)
    if slope == 0:
        return stored, [*notes, "RescaleSlope 0 not applied"]
    if (slope, intercept) == (1.0, 0.0):
        return stored, notes
    values = stored.astype(np.float64) * slope + intercept
    return values, [*notes, f"rescaled by slope {slope:g}, intercept {intercept:g}"]


def _voi(path: Path, dataset: Dataset, values: NDArray[Any]) -> Iterator[tuple[NDArray[Any] | None, str]]:
    """Values 0-1 after each VOI LUT, then after each window (PS3.3 C.11.2), and its note; None where it cannot be."""
    luts = items(dataset, "VOILUTSequence")
    for index, item in enumerate(luts):
        table = lut(path, dataset, item, "VOI LUT", bool(values.min() < 0))
        which = f" ({'first' if index == 0 else f'number {index + 1}'} of {len(luts)})" if len(luts) > 1 else ""
        if table is None:
            yield None, f"VOI LUT{which} without its entries or their number"
        else:
            yield table.of(np.rint(values)) / table.top, f"VOI LUT{which}"
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    for center, width in zip_longest(centers, widths):
        if center is None or width is None:
            yield None, f"{unreadable(dataset, 'WindowCenter')}, {unreadable(dataset, 'WindowWidth')}, no window"
        else:
            yield _windowed(dataset, values, center, width)


def _windowed(dataset: Dataset, values: NDArray[Any], center: float, width: float) -> tuple[NDArray[Any] | None, str]:
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_windowing

    function = code(dataset, "VOILUTFunction") or "LINEAR"
    note = f"window center {center:g}, width {width:g} ({function})"
    function = function if function in FUNCTIONS else "LINEAR"
    if not width > 0 or (function == "LINEAR" and width < 1):
        return None, f"{note} is not allowed"
    window = Dataset()  # of 1 bit: so pydicom's result is 0-1
    window.PhotometricInterpretation, window.PixelRepresentation, window.BitsStored = "MONOCHROME2", 0, 1
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, function
    return apply_windowing(values, window), note


def _full_range(dataset: Dataset, stored: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """All values to 0-1, pixel padding (PS3.3 C.7.5.1.1.2) left out of the range."""
    inside, note = np.ones(stored.shape, dtype=np.bool_), ""
    both = [*numbers(dataset, "PixelPaddingValue")[:1], *numbers(dataset, "PixelPaddingRangeLimit")[:1]]
    signed = bool(stored.min() < 0)  # and the padding may be written without its sign
    ends = [int(end) - 65536 * (signed and end > 32767) for end in both if end is not None]
    if texts(dataset, "PixelPaddingValue") and len(ends) == len(both):
        low, high = min(ends), max(ends)
        inside = (stored < low) | (stored > high)
        note = f", padding {low}{f' to {high}' if high > low else ''} left out"
    if not inside.any() or values[inside].min() == values[inside].max():
        inside, note = np.ones(stored.shape, dtype=np.bool_), ""
    lowest, highest = float(values[inside].min()), float(values[inside].max())
    pixels = np.clip((values.astype(np.float64) - lowest) / (highest - lowest), 0, 1)
    return pixels, f"no VOI: full range {lowest:g} to {highest:g}{note}"


class Table(NamedTuple):
    """A LUT: its entries, the value that the first is of, and the largest entry that it can have."""

    entries: NDArray[np.int64]
    first: int
    top: int

    def of(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The entries of `values`; beyond its ends the first and the last (PS3.3 C.11.1.1)."""
        found: NDArray[np.int64] = self.entries[np.clip(values - self.first, 0, len(self.entries) - 1).astype(np.int64)]
        return found


def lut(path: Path, dataset: Dataset, item: Dataset, name: str, signed: bool) -> Table | None:
    """The table of an item, also where two entries of 8 bits share a word; None where a part of it is missing.

    Raises ReadError where entries are missing.
    """
    descriptor = numbers(item, "LUTDescriptor")
    entries = item["LUTData"].value if "LUTData" in item else None
    if len(descriptor) != 3 or None in descriptor or entries is None:
        return None
    count, first, bits = (int(value or 0) for value in descriptor)
    count = count % 65536 or 65536
    first -= 65536 if signed and first > 32767 else 0
    if isinstance(entries, bytes):
        order = "<" if dataset.original_encoding[1] is not False else ">"
        kind = np.dtype(np.uint8 if len(entries) < 2 * count else f"{order}u2")
        entries = np.frombuffer(entries, kind, len(entries) // kind.itemsize)
    entries = np.atleast_1d(np.asarray(entries, dtype=np.int64))[:count] & 0xFFFF
    if len(entries) < count:
        refuse(path, f"{len(entries):,} of {count:,} entries in its {name}", "export the radiograph again")
    return Table(entries, first, 2 ** max(bits if bits <= 16 else 0, int(entries.max()).bit_length(), 1) - 1)
