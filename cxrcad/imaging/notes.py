"""Which notes of a radiograph are told to whoever reads it, and which may be told to anybody."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["is_plain", "kind_of", "remarks"]

ROUTINE = re.compile(
    r"(window|VOI LUT|modality LUT).* applied(?<!not applied)|no VOI: full range.*|rescaled by slope.*|"
    r"(MONOCHROME1|PresentationLUTShape|JSRT's|min-is-white).* inverted( once)?|spacing divided by magnification.*|"
    r".* assumed|.* read as grey|alpha channel left out|EXIF orientation .*|pixel spacing unknown.*|"
    r"\d+ bit( in 16)?, 0-[\d,]+ to 0-1|range \S+ to \S+ stretched to 0-1"
)
"""What is done to pixels as the standard says, and what no PNG tells. Any other note is told."""

NUMBER = r"-?\d[\d.,]{0,8}(e[+-]?\d+)?"
PLAIN = re.compile(
    r"(MONOCHROME1|(MONOCHROME1 with )?PresentationLUTShape INVERSE|JSRT's dark = dense|min-is-white) inverted( once)?|"
    r"(modality|VOI) LUT( \((first|number \d+) of \d+\))? applied|rescaled by slope <N>, intercept <N>|"
    r"window center <N>, width <N> \((LINEAR|LINEAR_EXACT|SIGMOID)\)( applied|"
    r" would (leave one value|saturate <N> % of the chest): not applied)|"
    r"no VOI: full range <N> to <N>(, padding <N>( to <N>)? left out)?|bright = dense assumed|alpha channel left out|"
    r"(palette|equal channels) read as grey|EXIF orientation \d|\d+ bit( in 16)?, 0-<N> to 0-1|"
    r"range <N> to <N> stretched to 0-1|spacing divided by magnification <N>|pixel spacing unknown: no sizes in mm|"
    r"pixels <N> times as high as wide: .*|(mirrored|turned [a-z0-9 ]+) for the model; .*|perhaps no frontal chest: .*|"
    r"the lungs were bright .* turned back|the pixels do not tell .* left as it is".replace("<N>", NUMBER)
)
"""Notes that hold nothing of a header but numbers."""


def is_plain(note: str) -> bool:
    """Whether a note can hold no name or UID."""
    return PLAIN.fullmatch(note) is not None


def remarks(notes: Iterable[str]) -> tuple[str, ...]:
    """The notes that are told: a view, a turn, a window or a spacing that could not be taken as it stands."""
    return tuple(note for note in notes if not ROUTINE.fullmatch(note))


def kind_of(note: str) -> str:
    """The note without its numbers: what it has in common with those of other images."""
    return re.sub(r"\d+(\.\d+)?", "#", note)
