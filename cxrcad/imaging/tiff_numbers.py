"""Signed, 32-bit and float pixels of TIFF files, of which Pillow takes some for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.imaging.bits import with_sign

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["in_native_order", "with_stated_sign"]

SAMPLE_FORMAT = 339
"""TIFF tag: 1 is unsigned, 2 signed, 3 float (TIFF 6.0, section 19)."""
UNSIGNED, SIGNED = 1, 2
NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Pillow's words for the bytes in a big-endian file, and for those that libtiff, which swaps them, hands over."""


def in_native_order(image: Image.Image) -> None:
    """Let Pillow not swap what libtiff has swapped. `image` is any of Pillow's, not loaded yet."""
    file: Any = image
    file.tile = [
        tile._replace(args=(NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
        if tile.codec_name == "libtiff"
        else tile
        for tile in getattr(file, "tile", [])
    ]


def with_stated_sign(values: NDArray[Any], tags: Any) -> tuple[NDArray[Any], str]:
    """The values (rows, cols) of a grey TIFF file with the sign that its `tags` state or its pixels show; a note."""
    stated = tags.get(SAMPLE_FORMAT, UNSIGNED)
    kind = stated[0] if isinstance(stated, tuple) else stated
    if values.dtype == np.int32 and kind == UNSIGNED:
        return values.view(np.uint32), ""
    if values.dtype == np.uint8 and kind == SIGNED:
        return with_sign(values.view(np.int8), 8, signed=True)
    return with_sign(values, 16, signed=False) if values.dtype.itemsize == 2 else (values, "")
