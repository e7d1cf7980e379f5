"""Compressed DICOM pixel data -> stored values: each installed decoder is tried, and what is cut is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cxrcad.core import ReadError
from cxrcad.imaging.faults import reason, refuse
from cxrcad.imaging.gdcm_apart import decoded as _gdcm_apart
from cxrcad.imaging.packed import check_rle
from cxrcad.imaging.streams import AGAIN, LS, Stream, check_order, check_whole, stream_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["EXPORT_RAW", "INSTALL", "decode"]

PLUGINS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")
"""Of pydicom, in the order in which they are tried. GDCM ends the whole process at some damaged frames (JPEG-LS)."""
STRICT = ("pyjpegls", "gdcm")
"""They raise at JPEG-LS that is cut (both are CharLS), and at whole data with more bits behind."""
EXPORT_RAW = "export the radiograph uncompressed (Explicit VR Little Endian)"
INSTALL = "pip install python-gdcm pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
FAMILIES = {
    "JPEG 2000": "1.2.840.10008.1.2.4.91",
    "JPEG-LS": "1.2.840.10008.1.2.4.81",
    "JPEG": "1.2.840.10008.1.2.4.51",
}
"""By what stands in their names, and a transfer syntax of each with which any stream of it is decoded."""
RETIRED = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (52, 53, 54, 55, 56, *range(58, 67)))
"""JPEG in retired syntaxes (PS3.6-1992), which pydicom does not know, though decoders read some: full progression."""
NEEDED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)


def decode(path: Path, dataset: Dataset) -> NDArray[Any]:
    """The values of the one frame in a compressed data set, through the first of pydicom's decoders that reads it.

    Raises ReadError where none is installed for the syntax, none reads the frame, and where the frame is cut short.
    """
    from pydicom.encaps import generate_fragments

    syntax = _current(dataset.file_meta.TransferSyntaxUID)
    plugins = _plugins(path, syntax)
    # all of them are the one frame's, whatever the first, an offset table, says
    table, *fragments = generate_fragments(dataset.PixelData)
    frame = b"".join(fragments) or table
    check_order(path, fragments)
    stream = stream_of(path, frame) if "RLE" not in syntax.name else None
    if "RLE" in syntax.name:
        check_rle(path, frame, dataset.Rows, dataset.Columns)
    elif stream is None:
        refuse(path, f"{len(frame):,} bytes that are no {syntax.name}", AGAIN)
    if stream and stream.rows and (stream.rows, stream.cols) != (dataset.Rows, dataset.Columns):
        stated = f"{dataset.Rows} x {dataset.Columns}"
        held = f"{stream.rows} x {stream.cols}"
        refuse(path, f"the header states {stated} pixels, the data hold {held}", "export the radiograph again")
    if stream:
        syntax = _syntax_of(stream, syntax)
        plugins = _plugins(path, syntax)
    faults: list[str] = []
    for plugin in plugins:
        apart = plugin == "gdcm" and bool(faults)
        try:
            values = _with(dataset, syntax, stream.data if stream else frame, plugin, apart)
            if stream and not ("JPEG-LS" in syntax.name and plugin in STRICT):
                check_whole(path, values, stream, lambda data: _with(dataset, syntax, data, plugin, apart))  # noqa: B023
            return values
        except ReadError:
            raise
        except Exception as error:  # the decoders raise what they like
            faults.append(f"{plugin}: {reason(error, line=-1).removeprefix(f'{plugin}: ')}")
    refuse(path, f"{syntax.name} cannot be decoded from {len(frame):,} bytes ({'; '.join(faults)})", AGAIN)


def _current(stated: Any) -> Any:
    """The transfer syntax with which a stated one is decoded."""
    from pydicom.uid import UID

    return UID(FAMILIES["JPEG"]) if stated in RETIRED else stated


def _plugins(path: Path, syntax: Any) -> list[str]:
    """The plugins of pydicom that decode a syntax, the first choice first. Raises ReadError where there is none."""
    from pydicom.pixels.decoders import base

    try:
        decoder = base.get_decoder(syntax)
    except NotImplementedError:
        refuse(path, f"transfer syntax {syntax.name}, which no decoder reads", EXPORT_RAW)
    if not decoder.is_available:
        refuse(path, f"no decoder for {syntax.name} is installed", f"{INSTALL}, or {EXPORT_RAW}")
    return sorted(decoder.available_plugins, key=lambda name: PLUGINS.index(name) if name in PLUGINS else len(PLUGINS))


def _syntax_of(stream: Stream, stated: Any) -> Any:
    """The transfer syntax of a stream: the stated one, or where that is of another family one of its own.

    A decoder of another family may take the stream, and give other values.
    """
    from pydicom.uid import UID

    family = "JPEG 2000" if stream.kind < 0 else "JPEG-LS" if stream.kind == LS else "JPEG"
    return stated if family == next(name for name in FAMILIES if name in stated.name) else UID(FAMILIES[family])


def _with(dataset: Dataset, syntax: Any, frame: bytes, plugin: str, apart: bool) -> NDArray[Any]:
    """The values of a frame with the pixel description of `dataset`. `apart`: in a process of its own, with GDCM."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = syntax
    for name in NEEDED:
        if name in dataset:
            setattr(one, name, dataset[name].value)
    one.PixelData = encapsulate([frame])
    one["PixelData"].VR, one["PixelData"].is_undefined_length = "OB", True
    if apart:
        return _gdcm_apart(one)
    one.pixel_array_options(decoding_plugin=plugin)
    return one.pixel_array
