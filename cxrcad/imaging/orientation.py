"""How a chest lies in its file: one of eight orientations, told by letters or by a number.

The letters are DICOM's PatientOrientation (PS3.3 C.7.6.1.1.1): where the rows and the columns run to, L or R, F or H.
The number is EXIF's Orientation (CIPA DC-008, 4.6.5 A), 1 to 8. Upright, as a frontal chest is shown, are L and F, 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TURNS", "UPRIGHT", "as_stored", "directions", "frontal", "letters_of", "of_cosines", "reverses", "towards",
    "transposes", "turned", "upright",
]  # fmt: skip

UPRIGHT = 1
DIRECTION = re.compile("[LRAPHF]{1,3}")
"""A direction of PatientOrientation: up to three letters, the nearest axis first."""
LETTERS = {
    ("L", "F"): 1,
    ("R", "F"): 2,
    ("R", "H"): 3,
    ("L", "H"): 4,
    ("F", "L"): 5,
    ("F", "R"): 6,
    ("H", "R"): 7,
    ("H", "L"): 8,
}
REVERSED = {
    1: (False, False),
    2: (False, True),
    3: (True, True),
    4: (True, False),
    5: (False, False),
    6: (False, True),
    7: (True, True),
    8: (True, False),
}
"""Whether rows and columns are reversed to stand upright, after the transposition."""
TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "turned upside down",
    5: "turned by 90 degrees and mirrored",
    6: "turned clockwise by 90 degrees",
    7: "turned by 90 degrees and mirrored",
    8: "turned anticlockwise by 90 degrees",
}
"""What is done to a file's pixels so that the chest stands upright."""
WORDS = {
    **{"LEFT": "L", "RIGHT": "R", "ANTERIOR": "A", "POSTERIOR": "P", "S": "H", "I": "F"},
    **{"HEAD": "H", "SUPERIOR": "H", "CRANIAL": "H", "FOOT": "F", "FEET": "F", "INFERIOR": "F", "CAUDAL": "F"},
}
AXES = (("L", "R"), ("P", "A"), ("H", "F"))
"""Where the axes of DICOM's and ITK's patient coordinates run to, and their opposites."""


def transposes(orientation: int) -> bool:
    """Whether the file's rows are the upright chest's columns."""
    return orientation > 4


def reverses(orientation: int) -> tuple[bool, bool]:
    """Whether the (rows, columns), after any transposition, are reversed to stand upright."""
    return REVERSED[orientation]


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels of a file as the upright chest, a view of them."""
    rows, cols = reverses(orientation)
    return (pixels.T if transposes(orientation) else pixels)[:: -1 if rows else 1, :: -1 if cols else 1]


def as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """An upright chest as it lies in its file, a view: the inverse of `upright`."""
    rows, cols = reverses(orientation)
    turned_back = pixels[:: -1 if rows else 1, :: -1 if cols else 1]
    return turned_back.T if transposes(orientation) else turned_back


def turned(letters: tuple[str, str] | None) -> int:
    """The number of (row direction, column direction); upright where they are no frontal chest's or unknown."""
    return LETTERS.get((letters[0][:1], letters[1][:1]), UPRIGHT) if letters else UPRIGHT


def frontal(letters: tuple[str, str]) -> bool:
    """Whether the rows and columns are those of a frontal chest: one runs to L or R, the other to F or H."""
    return (letters[0][:1], letters[1][:1]) in LETTERS


def directions(values: Sequence[str]) -> tuple[str, str] | None:
    """PatientOrientation's (row direction, column direction) in capitals; None where they are no two directions.

    Words and S and I, which others write for H and F, are read, and L/H or L,H without the backslash; two directions
    along one axis are none.
    """
    parts = re.split("[/,; ]+", values[0]) if len(values) == 1 else values
    letters = [WORDS.get(each.upper(), each.upper()) for each in parts]
    if len(letters) != 2 or not all(DIRECTION.fullmatch(each) for each in letters):
        return None
    axes = [next(axis for axis in AXES if each[0] in axis) for each in letters]
    return None if axes[0] == axes[1] else (letters[0], letters[1])


def of_cosines(values: Sequence[float | None]) -> tuple[str, str] | None:
    """The (row direction, column direction) of ImageOrientationPatient's six cosines; None where they are none."""
    cosines = [each for each in values if each is not None]
    if len(cosines) != 6 or not (any(cosines[:3]) and any(cosines[3:])):
        return None
    return towards(cosines[:3]), towards(cosines[3:])


def letters_of(orientation: int) -> tuple[str, str]:
    """The (row direction, column direction) of a number."""
    return next(letters for letters, number in LETTERS.items() if number == orientation)


def towards(direction: Sequence[float]) -> str:
    """The letter of the axis that a direction (x, y, z) in patient coordinates, to L, P and H, is nearest to."""
    axis = int(np.argmax(np.abs(direction)))
    return AXES[axis][0 if direction[axis] > 0 else 1]
