"""Which encodings can be read here: a small picture in each is really read, and by each decoder that is installed.

syntaxes.json holds the picture's frame in every compressed transfer syntax that pydicom has decoders for.
"""

from __future__ import annotations

import base64
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import ReadError
from cxrcad.doctor.checks import BROKEN, OK, Check
from cxrcad.imaging.decoding import INSTALL
from cxrcad.imaging.faults import reason
from cxrcad.imaging.read import read_radiograph

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["check_formats", "check_syntaxes"]

SIDE, STEP, LEVEL, LOWEST, BITS = 64, 8, 256, 100, 12
"""The picture: squares of STEP pixels, each LEVEL denser than the one to its left and the one above, 12 bits."""

LOSS = 64
"""Levels of 4,096 by which the frames of lossy syntaxes differ at most from the picture."""

UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
"""The one syntax of 8 bits."""

SHORTER = {
    "1.2.840.10008.1.2.4.57": "JPEG Lossless (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless (Process 14, SV 1)",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-Lossless",
    "1.2.840.10008.1.2.4.201": "HTJ2K (Lossless Only)",
    "1.2.840.10008.1.2.4.202": "HTJ2K RPCL (Lossless Only)",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}
"""Names in a line's width."""


def check_syntaxes() -> tuple[Check, ...]:
    """Every DICOM transfer syntax that a complete installation reads."""
    try:
        from pydicom.uid import UID
    except Exception as error:  # a damaged installation raises more than ImportError
        return (Check("DICOM", BROKEN, f"pydicom cannot be imported ({reason(error)})", "pip install pydicom"),)
    frames: dict[str, str] = json.loads(Path(__file__).with_name("syntaxes.json").read_text("utf-8"))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for uid in (*UNCOMPRESSED, RLE, *frames):
            dataset = _dataset(uid, base64.b64decode(frames[uid]) if uid in frames else None)
            path = Path(folder) / f"{uid}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            decoders = ("pydicom",) if uid in UNCOMPRESSED else _decoders(dataset)
            fault = _fault(path)
            facts = {"uid": uid, "decoders": list(decoders)}
            name = SHORTER.get(uid, UID(uid).name.replace(" Image Compression", ""))
            told = fault.replace(f" for {UID(uid).name}", "").replace(UID(uid).name, "it") or ", ".join(decoders)
            found.append(Check(name, BROKEN if fault else OK, told, INSTALL if fault else "", facts))
    return tuple(found)


def check_formats() -> tuple[Check, ...]:
    """The file formats beside DICOM that need a library."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (library, ending, write) in FORMATS.items():
            path = Path(folder) / f"picture{ending}"
            try:
                write(path)
            except Exception as error:  # a library that is missing or damaged
                fault = f"{library} cannot write it ({reason(error)})"
            else:
                fault = _fault(path)
            remedy = f"pip install --force-reinstall {library}" if fault else ""
            found.append(Check(name, BROKEN if fault else OK, fault or library, remedy))
    return tuple(found)


def _picture() -> NDArray[np.uint16]:
    """(SIDE, SIDE) stored values."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    picture: NDArray[np.uint16] = ((rows // STEP + cols // STEP) * LEVEL + LOWEST).astype(np.uint16)
    return picture


def _with_pillow(path: Path) -> None:
    from PIL import Image

    Image.fromarray((_picture() >> 4).astype(np.uint8)).save(path)


def _with_itk(path: Path) -> None:
    import SimpleITK

    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(_picture()), str(path))


FORMATS: Mapping[str, tuple[str, str, Callable[[Path], None]]] = {
    "PNG": ("Pillow", ".png", _with_pillow),
    "TIFF": ("Pillow", ".tiff", _with_pillow),
    "JPEG": ("Pillow", ".jpg", _with_pillow),
    "JPEG 2000": ("Pillow", ".jp2", _with_pillow),
    "MHA": ("SimpleITK", ".mha", _with_itk),
    "NIfTI": ("SimpleITK", ".nii.gz", _with_itk),
}
"""What reads a format, its ending, and who writes the picture in it."""


def _dataset(uid: str, frame: bytes | None) -> Dataset:
    """The picture as DICOM, its pixels `frame` as it is, or made of the picture."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, RLELossless

    bits = 8 if uid == JPEG_BASELINE else BITS
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if uid == RLE else UID(uid)
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, UID("1.2.3")
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    dataset.PixelRepresentation = 0
    if frame is None:
        order = ">u2" if uid == UNCOMPRESSED[-1] else "<u2"
        dataset.add_new("PixelData", "OW", _picture().astype(order).tobytes())
    else:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    if uid == RLE:
        dataset.compress(RLELossless, generate_instance_uid=False)
    return dataset


def _decoders(dataset: Dataset) -> tuple[str, ...]:
    """Pydicom's plugins that decode the frame to the picture."""
    from pydicom.pixels.decoders import base

    found = []
    for plugin in sorted(base.get_decoder(dataset.file_meta.TransferSyntaxUID).available_plugins):
        dataset.pixel_array_options(decoding_plugin=plugin)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = dataset.pixel_array
        except Exception:  # decoders raise what they like; that none is left is a fault of its own
            continue
        shift = BITS - int(dataset.BitsStored)
        if np.abs((values.astype(np.int32) << shift) - (_picture() >> shift << shift)).max() <= LOSS:
            found.append(plugin)
    return tuple(found)


def _fault(path: Path) -> str:
    """Why the file is not read as the picture; "" where it is."""
    try:
        pixels = read_radiograph(path).pixels
    except ReadError as error:
        return str(error).removeprefix(f"{path}: ").partition("; ")[0]
    except Exception as error:  # a library that is missing or damaged
        return f"it cannot be read ({reason(error)})"
    wanted = _stretched(_picture())
    worst = float(np.abs(_stretched(pixels) - wanted).max()) if pixels.shape == wanted.shape else 1.0
    return "" if worst <= 2 * LOSS / 2**BITS else f"it is read wrongly: values differ by {worst:.0%} of their range"


def _stretched(values: NDArray[Any]) -> NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    return ((values - low) / max(high - low, 1e-6)).astype(np.float32)
