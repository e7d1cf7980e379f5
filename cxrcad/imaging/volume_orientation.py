"""How a chest lies in a MetaImage or NIfTI file: by its matrix or AnatomicalOrientation, and in doubt by its pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.imaging.orientation import TURNS, UPRIGHT, directions, letters_of, towards, turned
from cxrcad.imaging.polarity import way_shown

__all__ = ["letters", "shown", "stated"]

Directions = tuple[str, str]
"""Where the rows and the columns of a file run to."""
HEADS = {number: place for place, pair in
         (("at the top", (1, 2)), ("at the bottom", (3, 4)), ("on the left", (5, 6)), ("on the right", (7, 8)))
         for number in pair}  # fmt: skip
"""Where in the file the head of a chest lies, by its number."""
OPPOSITE = dict(zip("LRPAHF", "RLAPFH", strict=True))
PLAIN = ("RAI", "RA")
"""AnatomicalOrientation as ITK writes it beside the identity; it tells no more than that."""


def stated(reader: Any, axes: list[int], anatomy: str = "") -> tuple[Directions | None, list[str], bool]:
    """(row direction, column direction) by the header, and a note; None where it tells nothing. Whether it says little.

    `anatomy` is a MetaImage's AnatomicalOrientation. It counts where the matrix tells nothing, and says little.
    """
    found, notes = _of_matrix(reader, axes)
    if not anatomy:
        return found, notes, reader.GetImageIO() == "NiftiImageIO" and _says_little(reader, axes)
    other, other_notes = _of_anatomy(anatomy, axes)
    if found is None:
        return other, other_notes, other is not None
    if other and found not in (other, _opposite(other)):
        notes.append(f"AnatomicalOrientation {anatomy} is not what the matrix says: not applied")
    return found, notes, False


def _of_matrix(reader: Any, axes: list[int]) -> tuple[Directions | None, list[str]]:
    """(row direction, column direction) by the header's matrix, and a note; None where the matrix tells nothing.

    The identity tells nothing in either format, nor does NIfTI without qform and sform. A radiograph that lies in the
    axial plane, as dcm2niix writes one without an orientation, has its head where a slice has its front.
    """
    count = reader.GetDimension()
    matrix = np.reshape(reader.GetDirection(), (count, count))
    rows_and_cols = matrix[:, axes].T
    stored = ["rows and columns as stored"] if reader.GetImageIO() == "NiftiImageIO" else []
    codes = [reader.GetMetaData(code) for code in ("qform_code", "sform_code") if reader.HasMetaDataKey(code)]
    plain = stored and np.array_equal(np.abs(matrix), np.eye(count)) and set(reader.GetSpacing()) == {1.0}
    if np.array_equal(matrix, np.eye(count)) or plain or (codes and set(codes) == {"0"}):
        return None, stored
    row, col = letters(rows_and_cols)
    return (row, col), [f"the header's matrix: rows run to {row}, columns to {col}"]


def letters(rows_and_cols: NDArray[np.float64]) -> Directions:
    """Where rows and columns (2, 3), in coordinates to L, P and H, run to; in the axial plane P is F, and A is H."""
    return _as_radiograph(*(towards(direction) for direction in rows_and_cols))


def _as_radiograph(row: str, col: str) -> Directions:
    if not {"F", "H"} & {row, col} and {"L", "R"} & {row, col}:
        row, col = ({"P": "F", "A": "H"}.get(letter, letter) for letter in (row, col))
    return row, col


def _says_little(reader: Any, axes: list[int]) -> bool:
    """Whether a NIfTI matrix is one that tools write without knowing: none, or its axes as they are or both reversed.

    The latter is RAS's diag(1, 1, 1) times any spacing, as nibabel's users give it.
    """
    count = reader.GetDimension()
    matrix = np.reshape(reader.GetDirection(), (count, count))
    signs = {float(matrix[axis, axis]) for axis in axes}
    return np.array_equal(np.abs(matrix), np.eye(count)) and len(signs) == 1


def _of_anatomy(text: str, axes: list[int]) -> tuple[Directions | None, list[str]]:
    """(row direction, column direction) by AnatomicalOrientation, and a note; None where it tells nothing.

    Its letters are those from which the axes come, as ITK writes them; others write where they run to.
    """
    letters_of_axes = text.upper()
    if letters_of_axes in PLAIN or not text.strip("?"):
        return None, []
    found = directions([letters_of_axes[axis : axis + 1] for axis in axes])
    if found is None:
        return None, [f"AnatomicalOrientation is {text[:40]!r}, not a direction for each axis: taken as stored"]
    row, col = _as_radiograph(*_opposite(found))
    return (row, col), [f"AnatomicalOrientation {text}: rows run to {row}, columns to {col}"]


def _opposite(found: Directions) -> Directions:
    return OPPOSITE[found[0]], OPPOSITE[found[1]]


def shown(
    orientation: Directions | None, notes: list[str], pixels: NDArray[np.float32], anatomy: bool = False
) -> tuple[Directions | None, list[str]]:
    """The orientation and the notes by the pixels (rows, cols), 0-1, where they contradict a header that says little.

    `anatomy`: by AnatomicalOrientation, which may mean the opposite of both directions.
    """
    way = way_shown(pixels)
    source = "AnatomicalOrientation" if anatomy else "the header's matrix"
    if anatomy and orientation:
        other = _opposite(orientation)
        if turned(other) == UPRIGHT if way is None else HEADS[turned(other)] == HEADS[way]:
            orientation, notes = other, [f"{notes[0].split(':')[0]}: rows run to {other[0]}, columns to {other[1]}"]
    told = turned(orientation)
    if way is None and told != UPRIGHT:
        return orientation, [f"{notes[0]}; the pixels do not tell whether it is right"]
    if way is None or HEADS[way] == HEADS[told]:
        return orientation, notes
    taken = f"{TURNS[way]} (they do not tell left from right)" if way != UPRIGHT else "taken as stored"
    contradiction = f"{source} puts the head {HEADS[told]}, the pixels show it {HEADS[way]}: {taken}"
    return None if way == UPRIGHT else letters_of(way), [contradiction]
