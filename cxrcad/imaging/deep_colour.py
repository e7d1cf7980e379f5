"""Colour images with more than 8 bits a channel, of which Pillow keeps the high byte: their channels with all bits.

Pillow is asked twice, the second time with the bytes of each value swapped.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.imaging.faults import refuse

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["deep_channels"]

BITS_PER_SAMPLE, PLANAR_CONFIGURATION = 258, 284
"""TIFF tags (TIFF 6.0, section 8); the configuration is 2 where each channel lies in a plane of its own."""
SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def deep_channels(path: Path, data: bytes, image: Image.Image) -> NDArray[np.uint16] | None:
    """The channels (rows, cols, 3 or 4) of the PNG, TIFF or JPEG 2000 file in `data`; None where they have 8 bits.

    `image` is Pillow's of the same file, not loaded yet; the channels lie as its pixels do. Grey with alpha is three
    equal channels and the fourth. What Pillow raises passes through. Raises ReadError for a TIFF in planes.
    """
    if image.mode not in ("RGB", "RGBA"):
        return None
    if image.format == "JPEG2000":
        return _jpeg2000(data)
    if image.format not in ("PNG", "TIFF"):
        return None
    tags = getattr(image, "tag_v2", {})
    if tags.get(PLANAR_CONFIGURATION) == 2 and max(tags.get(BITS_PER_SAMPLE, (1,))) > 8:
        fault = f"{max(tags[BITS_PER_SAMPLE])} bit a channel in a plane for each channel, which Pillow reads as 8"
        refuse(path, fault, "save the radiograph as 16-bit grey")
    raw = _raw_mode(image)
    if ";16" not in raw:
        return None
    if raw.startswith("LA"):  # its four bytes are those of a pixel of 8-bit RGBA
        grey_high, grey_low, high, low = np.moveaxis(_loaded(data, "RGBA"), 2, 0)
        grey = _joined(grey_high, grey_low)
        return np.stack([grey, grey, grey, _joined(high, low)], axis=2)
    whole = raw.replace("RGBa", "RGBA")
    channels = _joined(_loaded(data, whole), _loaded(data, whole[:-1] + SWAPPED[whole[-1]]))
    if whole != raw:  # premultiplied by alpha
        alpha = np.maximum(channels[..., 3:], 1).astype(np.uint64)
        channels[..., :3] = np.minimum(channels[..., :3].astype(np.uint64) * 65535 // alpha, 65535)
    return channels


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return high.astype(np.uint16) << np.uint16(8) | low


def _raw_mode(image: Any) -> str:
    """How the values of a pixel lie in the file, in Pillow's words, for example RGB;16B."""
    if not image.tile:
        return ""
    arguments = image.tile[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _loaded(data: bytes, raw: str) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        file: Any = image
        file.tile = [
            tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in file.tile
        ]
        return np.asarray(image)


def _jpeg2000(data: bytes) -> NDArray[np.uint16] | None:
    from openjpeg.utils import decode, get_parameters

    stated = get_parameters(data)
    if (
        not 8 < int(stated["precision"]) <= 16
        or stated["is_signed"]
        or stated["colourspace"] not in ("sRGB", "unspecified")
    ):
        return None
    channels: NDArray[np.uint16] = decode(data)
    return channels
