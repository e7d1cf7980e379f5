"""Which notes of a radiograph are told to whoever reads it: those that are not of every day."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["kind_of", "remarks"]

ROUTINE = re.compile(
    r"(window|VOI LUT|modality LUT).* applied(?<!not applied)|no VOI: full range.*|rescaled by slope.*|"
    r"(MONOCHROME1|PresentationLUTShape|JSRT's|min-is-white).* inverted( once)?|spacing divided by magnification.*|"
    r".* assumed|.* read as grey|alpha channel left out|EXIF orientation .*|pixel spacing unknown.*|"
    r"\d+ bit( in 16)?, 0-[\d,]+ to 0-1|range \S+ to \S+ stretched to 0-1"
)
"""What is done to pixels as the standard says, and what no PNG tells. Any other note is told."""


def remarks(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes that are told: a view, a turn, a window or a spacing that could not be taken as it stands."""
    return tuple(note for note in notes if not ROUTINE.fullmatch(note))


def kind_of(note: str) -> str:
    """The note without its numbers: what it has in common with those of other images."""
    return re.sub(r"\d+(\.\d+)?", "#", note)
