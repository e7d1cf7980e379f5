"""Radiographs and masks in PNG, TIFF, JPEG, BMP and JPEG 2000, 8 or 16 bit, through Pillow.

These formats do not say which end is dense and how large a pixel is on the detector: bright = dense is assumed and
noted (a TIFF's min-is-white is honoured), and the spacing is unknown (PNG's pHYs and TIFF's resolution are for print).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Radiograph, Source
from cxrcad.imaging.deep_colour import deep_channels
from cxrcad.imaging.faults import (
    LARGEST_ASPECT,
    Header,
    bytes_of,
    check_bulk,
    check_byte_order,
    check_file,
    check_size,
    check_values,
    digest,
    grey_of,
    reason,
    refuse,
)
from cxrcad.imaging.orientation import TURNS, UPRIGHT, as_stored, letters_of, transposes
from cxrcad.imaging.packed import check_strips
from cxrcad.imaging.streams import Stream, check_png, check_whole, stream_of
from cxrcad.imaging.tiff_numbers import in_native_order, with_stated_sign

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["header", "matches", "read", "read_mask", "stretched"]

FORMATS = ("PNG", "TIFF", "JPEG", "BMP", "JPEG2000")
MASK_FORMATS = (*FORMATS, "GIF")
MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
    b"II*\x00",  # TIFF
    b"MM\x00*",
    b"II+\x00",  # BigTIFF
    b"MM\x00+",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",  # JPEG 2000, in its file format and as a bare codestream
    b"\xff\x4f\xff\x51",
)
PHOTOMETRIC = 262
"""TIFF tag PhotometricInterpretation: 0 is min-is-white (TIFF 6.0, section 8)."""
ORIENTATION = 274
SPECKS, SPECK_RANGE = 8, 2
"""Pixels that are left out of the range where it is more than twice that of all others."""
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, TypeError, IndexError)  # what Pillow raises at it
GREY = ("L", "I", "I;16", "I;16B", "I;16L", "I;16N")
EIGHT_BIT = ("L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")


def matches(head: bytes, _size: int) -> bool:
    """Whether a file starts as one of these formats does."""
    return head.startswith(MAGIC) or (head.startswith(b"BM") and head[6:10] == bytes(4))


def header(path: Path) -> Header:
    """The size from the file's header; the pixels are not decoded. Raises ReadError."""
    size = check_file(path)
    with _opened(path, path, MASK_FORMATS, size) as image:
        turned_by_pillow = image.format == "TIFF" and transposes(image.getexif().get(ORIENTATION, UPRIGHT))
        return Header(image.width, image.height) if turned_by_pillow else Header(image.height, image.width)


def read(path: Path) -> Radiograph:
    """The radiograph in a PNG, TIFF, JPEG, BMP or JPEG 2000 file.

    Raises ReadError for a damaged file, several images, black and white, colour, and what is no radiograph by its size.
    """
    size = check_file(path)
    with _opened(path, path, FORMATS, size) as image:
        check_size(path, image.height, image.width)
        check_bulk(path, size, image.height, image.width)
        count = getattr(image, "n_frames", 1)
        if count > 1:
            refuse(path, f"{count} images in one file", "save the radiograph alone")
        if image.mode == "1":
            refuse(path, "1 bit a pixel, black and white", "give the radiograph, not a mask of it")
        kind = image.format or "raster"
        inverted = kind == "TIFF" and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
        aspect = _pixel_aspect(image)
    data = bytes_of(path)
    stream = _stream(path, data)
    with _opened(path, io.BytesIO(stream.data if stream else data), FORMATS, len(data)) as image:
        if kind == "TIFF":
            check_strips(path, data, image.tag_v2)  # type: ignore[attr-defined]
        deep = deep_channels(path, data, image)
        turned, by_pillow = _loaded(image)
        values, notes = _grey(path, image, deep)
        check_byte_order(path, values)
        mode = image.mode
        if kind == "TIFF" and mode in GREY:
            values, note = with_stated_sign(values, image.tag_v2)  # type: ignore[attr-defined]
            notes += [note] * bool(note)
        values = as_stored(values, by_pillow)
    if stream:
        check_whole(path, values, stream, lambda other: _values(path, other))
    check_values(path, values)
    pixels, note = _presentation(values)
    notes += [note]
    if inverted:  # Pillow has done it for 8 bit and less, and for nothing above
        pixels = pixels if mode in EIGHT_BIT else 1 - pixels
        notes += ["min-is-white inverted"]
    if turned != 1:
        notes += [f"EXIF orientation {turned}"]
    notes += ["bright = dense assumed"]
    orientation = None if turned == UPRIGHT else letters_of(turned)
    source = Source(str(path), kind, digest(data), notes=tuple(notes))
    return Radiograph(pixels, None, None, orientation, source, aspect)


def _loaded(image: Image.Image) -> tuple[int, int]:
    """EXIF's orientation, and by which one Pillow has already turned the pixels (it does so for TIFF); then loaded."""
    turned = image.getexif().get(ORIENTATION, UPRIGHT)
    turned = turned if turned in TURNS else UPRIGHT
    in_native_order(image)
    image.load()
    return turned, turned if ORIENTATION not in image.getexif() else UPRIGHT


def _pixel_aspect(image: Image.Image) -> float | None:
    """The height of a pixel / its width by PNG's pHYs, JPEG's density or TIFF's resolution; None where square."""
    density = image.info.get("dpi") or image.info.get("aspect") or image.info.get("jfif_density") or (1, 1)
    across, down = (float(value) for value in density)
    if not (across > 0 and down > 0 and 1 / LARGEST_ASPECT <= across / down <= LARGEST_ASPECT):
        return None
    return None if across == down else across / down


def _stream(path: Path, data: bytes) -> Stream | None:
    """A JPEG's stream, None for other formats. Raises ReadError where a JPEG, JPEG 2000 or PNG is cut or damaged."""
    if data.startswith(b"\x89PNG"):
        check_png(path, data)
    stream = stream_of(path, data)
    return stream if stream and stream.spare else None  # JPEG 2000 is read with its boxes


def _values(path: Path, data: bytes) -> NDArray[Any]:
    with _opened(path, io.BytesIO(data), FORMATS, len(data)) as image:
        image.load()
        return _grey(path, image, None)[0]


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask (rows, cols), true where its file is brighter than half of its largest value; all false where all is 0.

    GIF, PNG or another format of Pillow; palettes are looked up. Raises ReadError.
    """
    data = bytes_of(path)
    with _opened(path, io.BytesIO(data), MASK_FORMATS, len(data)) as image:
        deep = deep_channels(path, data, image)
        _, by_pillow = _loaded(image)
        grey = np.asarray(image if image.mode not in EIGHT_BIT else image.convert("L"))
        values = as_stored(grey if deep is None else deep[..., :3].max(axis=2), by_pillow)
    return np.asarray(2 * values.astype(np.float64) > values.max(initial=0), dtype=np.bool_)


@contextmanager
def _opened(path: Path, content: Path | io.BytesIO, formats: tuple[str, ...], size: int) -> Iterator[Image.Image]:
    """A Pillow image; what Pillow raises while it is open becomes a ReadError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(content, formats=formats)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        refuse(path, f"more than {Image.MAX_IMAGE_PIXELS:,} pixels", "give a frontal chest radiograph")
    except UnidentifiedImageError:
        fault = f"a damaged image header, or a kind that Pillow does not read ({size:,} bytes)"
        refuse(path, fault, "copy the file again, or save it as PNG")
    except DAMAGE as error:
        refuse(path, f"a damaged image header ({reason(error)})", "copy the file again")
    try:
        with image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield image
    except DAMAGE as error:
        fault = f"{image.format} data end early or are damaged, in a file of {size:,} bytes ({reason(error)})"
        refuse(path, fault, "copy the file again")


def _grey(path: Path, image: Image.Image, deep: NDArray[np.uint16] | None) -> tuple[NDArray[Any], list[str]]:
    """The (rows, cols) values and what was done; refused where the channels differ. `deep` are those of 16 bits."""
    if image.mode not in EIGHT_BIT:
        return np.asarray(image), []
    notes = ["alpha channel left out"] if "transparency" in image.info or image.mode.endswith(("A", "a")) else []
    if image.mode == "L":
        return np.asarray(image), notes
    if image.mode in ("LA", "La"):
        return np.asarray(image)[..., 0], notes
    what = "palette" if image.mode in ("P", "PA") else "equal channels"
    if deep is not None:
        return grey_of(path, deep[..., :3], 2 ** _bits(deep[..., :3]) - 1), [*notes, f"{what} read as grey"]
    channels = np.asarray(image.convert("RGBA" if "transparency" in image.info else "RGB"))[..., :3]
    return grey_of(path, channels, 255), [*notes, f"{what} read as grey"]


def _bits(values: NDArray[np.uint16]) -> int:
    """8 to 16: 12 and 14 bit radiographs are commonly saved in 16-bit files as they are."""
    high = values.max()
    return next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)


def _presentation(values: NDArray[Any]) -> tuple[NDArray[np.float32], str]:
    """Presentation values 0-1 and the note that says over which range."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255), "8 bit, 0-255 to 0-1"
    if values.dtype.itemsize == 2 and values.min() >= 0:
        values, note = _without_specks(values)
        bits = _bits(values)
        note += f"{bits} bit in 16, 0-{2**bits - 1:,} to 0-1"
        return values.astype(np.float32) / np.float32(2**bits - 1), note
    return stretched(values)


def stretched(values: NDArray[Any]) -> tuple[NDArray[np.float32], str]:
    """Values of any range as 0-1, and the note that says so."""
    values, note = _without_specks(values)
    low, high = float(values.min()), float(values.max())
    pixels = ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)
    return pixels, f"{note}range {low:g} to {high:g} stretched to 0-1"


def _without_specks(values: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Values of which at most SPECKS, damaged or dead pixels that would decide the range, are clipped to it; a note."""
    ordered = np.partition(values.ravel(), (0, SPECKS, values.size - 1 - SPECKS, values.size - 1))
    lowest, low, high, highest = ordered[[0, SPECKS, -1 - SPECKS, -1]].tolist()
    most = SPECK_RANGE * (high - low)
    bottom, top = low if high - lowest > most else lowest, high if highest - low > most else highest
    if low == high or (bottom, top) == (lowest, highest):
        return values, ""
    count = np.count_nonzero((values < bottom) | (values > top))
    return np.clip(values, bottom, top), f"{count} pixels beyond {bottom:g} to {top:g} clipped, "
