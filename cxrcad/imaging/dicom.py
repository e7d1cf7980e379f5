"""Radiographs in DICOM through pydicom: presentation values by the standard's pipeline, once.

Stored values -> modality LUT -> first VOI -> one inversion (DICOM PS3.4 N.2, PS3.3 C.11). MONOCHROME1 and
PresentationLUTShape INVERSE mean the same (PS3.3 C.8.11.3: INVERSE where MONOCHROME1), so both together invert once.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Radiograph, ReadError, Source
from cxrcad.imaging.decoding import EXPORT_RAW, decode
from cxrcad.imaging.faults import (
    LARGEST_ASPECT,
    Header,
    bytes_of,
    check_file,
    check_size,
    check_values,
    digest,
    grey_of,
    reason,
    refuse,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["header", "matches", "matches_bare", "read"]

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
OTHER_MODALITIES = (
    *("BMD", "CT", "IVUS", "MR", "NM", "OCT", "PT", "US"),
    *("ES", "GM", "IO", "MG", "OP", "OPT", "PX", "RTDOSE", "RTIMAGE", "SEG", "SM", "XC"),
    *("DOC", "ECG", "KO", "PR", "RTPLAN", "RTSTRUCT", "SR"),  # no images
)
"""Modalities that make no chest radiograph (DICOM PS3.3 C.7.3.1.1.1); DX, CR, RG, and captures (OT, SC) are read."""
LATERAL_VIEWS = ("LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
WIDEST_FIELD_MM = 1000.0
"""A field wider than any chest detector's means a placeholder for the spacing."""
MOST_PADDING = 65536
"""Bytes behind the pixels that are left out, where they are not a large part of the picture."""
BARE = re.compile(rb"\x08\x00[\x00\x01\x05\x06\x08\x12-\x18\x20-\x23\x30-\x33\x50\x60]\x00|\x02\x00[\x00-\x02\x10]\x00")
"""A data set without preamble starts with an element of group 0008 (or 0002), little endian (DICOM PS3.10, 7.1)."""


def matches(head: bytes, _size: int) -> bool:
    """Whether a file has DICOM's mark after its preamble."""
    return head[128:132] == b"DICM"


def matches_bare(head: bytes, _size: int) -> bool:
    """Whether a file starts as a data set without preamble does."""
    return BARE.match(head) is not None


def header(path: Path) -> Header:
    """Rows, Columns and spacing from the header, without the pixel data. Raises ReadError."""
    size = check_file(path)
    dataset = _dataset(path, path, size, header_only=True)
    if "Rows" not in dataset or "Columns" not in dataset:
        refuse(path, f"no Rows and Columns in its header ({size:,} bytes)", "copy the file again, or give a radiograph")
    with _damage(path):
        return Header(_whole(path, dataset, "Rows"), _whole(path, dataset, "Columns"), _spacing(dataset)[0])


def read(path: Path) -> Radiograph:
    """The radiograph in a DICOM file, with its UIDs, spacing and orientation.

    Raises ReadError for files cut short, objects without an image, volumes, colour, syntaxes without decoder, damage.
    """
    data = bytes_of(path)
    dataset = _dataset(path, io.BytesIO(data), len(data))
    with _damage(path):
        _check_object(path, dataset, len(data))
        stored = _stored(path, dataset)
        pixels, notes = _presentation(path, dataset, stored)
        spacing, spacing_from, spacing_notes = _spacing(dataset)
        aspect = _pixel_aspect(dataset)
        orientation, view_notes = _view(dataset)
        uids = {name: str(dataset[name].value) for name in UIDS if dataset.get(name)}
    source = Source(str(path), "DICOM", digest(data), uids, (*notes, *spacing_notes, *view_notes))
    return Radiograph(pixels, spacing, spacing_from, orientation, source, aspect)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Whatever pydicom raises at a damaged value becomes a ReadError; its warnings are silenced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ReadError:
            raise
        except Exception as error:
            refuse(path, f"a damaged DICOM header ({reason(error)})", "export the radiograph again")


def _dataset(path: Path, content: Path | io.BytesIO, size: int, header_only: bool = False) -> Dataset:
    """The data set, with a transfer syntax. Raises ReadError where the file ends in its header or compressed pixels."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            dataset = pydicom.dcmread(content, force=True, stop_before_pixels=header_only)
        except Exception as error:  # pydicom raises whatever a damaged value leads to
            fault = f"a damaged DICOM header, in a file of {size:,} bytes ({reason(error)})"
            refuse(path, fault, "copy the file again")
    if any("End of file reached" in str(warning.message) for warning in caught):  # pydicom has then dropped all it read
        refuse(path, f"the file ends inside its compressed pixel data, after {size:,} bytes", "copy the file again")
    if not len(dataset):
        refuse(path, f"the DICOM file ends inside its header, after {size:,} bytes", "copy the file again")
    if not getattr(dataset, "file_meta", None):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _whole(path: Path, dataset: Dataset, name: str, default: int | None = None) -> int:
    value = dataset.get(name, default)
    try:
        return int(value)
    except (TypeError, ValueError):
        refuse(path, f"{name} is {value!r}", "export the radiograph again")


def _check_object(path: Path, dataset: Dataset, size: int) -> None:
    """Raise ReadError for what is not one image of a radiograph."""
    from pydicom.uid import UID

    radiograph = "give a frontal chest radiograph"
    modality = str(dataset.get("Modality") or "")
    kind = UID(str(dataset.get("SOPClassUID") or "")).name or "DICOM object of no stated class"
    frames = _whole(path, dataset, "NumberOfFrames") if dataset.get("NumberOfFrames") else 1
    if modality in OTHER_MODALITIES:
        what = f", {frames} frames" if frames > 1 else ""
        refuse(path, f"Modality {modality} ({kind}{what}), not a radiograph's (DX, CR, RG)", radiograph)
    if "PixelData" not in dataset:
        if "Rows" in dataset and "Columns" in dataset:
            stated = f"{dataset.Rows} x {dataset.Columns} pixels stated"
            refuse(path, f"{stated}, but no pixel data in {size:,} bytes", "copy the file again")
        remedy = f"{radiograph}, or copy the file again if it is one"
        refuse(path, f"no pixel data, in a {kind} of {size:,} bytes", remedy)
    for name in ("Rows", "Columns", "BitsAllocated"):
        if name not in dataset:
            refuse(path, f"no {name} in its header", "export the radiograph again")
    if frames > 1:
        refuse(path, f"{frames} frames in one file", f"{radiograph} of one frame")
    check_size(path, _whole(path, dataset, "Rows"), _whole(path, dataset, "Columns"))
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if photometric not in ("MONOCHROME1", "MONOCHROME2", *COLOUR):
        refuse(path, f"PhotometricInterpretation {photometric}, but grey is MONOCHROME1 or MONOCHROME2", radiograph)


def _stored(path: Path, dataset: Dataset) -> NDArray[Any]:
    """The stored values, (rows, cols) integers; (rows, cols, 3) for colour."""
    allocated = _whole(path, dataset, "BitsAllocated")
    bits = _whole(path, dataset, "BitsStored", allocated)
    high = _whole(path, dataset, "HighBit", bits - 1)
    if allocated not in (8, 16) or not 2 <= bits <= allocated or not bits - 1 <= high < allocated:
        fault = f"BitsAllocated {allocated}, BitsStored {bits}, HighBit {high}, but 8 to 16 bit are read"
        refuse(path, fault, "export the radiograph with 8 to 16 bit")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax or syntax.is_private:
        refuse(path, f"an unknown transfer syntax, {syntax}", EXPORT_RAW)
    compressed = syntax.is_compressed and not syntax.is_deflated
    if not compressed:
        _check_length(path, dataset, allocated)
    try:
        dataset.BitsStored, dataset.PixelRepresentation = high + 1, _whole(path, dataset, "PixelRepresentation", 0)
        values: NDArray[Any] = decode(path, dataset) if compressed else dataset.pixel_array
    except ReadError:
        raise
    except Exception as error:
        length = f"{len(dataset.PixelData):,} bytes of pixel data"
        refuse(path, f"{syntax.name} cannot be decoded from {length} ({reason(error, line=-1)})", "copy the file again")
    if values.shape[:2] != (dataset.Rows, dataset.Columns):
        stated, held = f"{dataset.Rows} x {dataset.Columns}", " x ".join(map(str, values.shape))
        refuse(path, f"the header states {stated} pixels, the data hold {held}", "export the radiograph again")
    return values >> (high + 1 - bits)


def _check_length(path: Path, dataset: Dataset, allocated: int) -> None:
    samples = _whole(path, dataset, "SamplesPerPixel", 1)
    row = int(dataset.Columns) * samples * allocated // 8
    expected = int(dataset.Rows) * row
    if str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422":
        expected = expected * 2 // 3
    length = len(dataset.PixelData or b"")
    if length < expected:
        refuse(path, f"pixel data ends after {length:,} of {expected:,} bytes", "copy the file again")
    if length > expected + max(row, min(MOST_PADDING, expected // 16)):  # padding that some writers add
        stated = f"{dataset.Rows} x {dataset.Columns} pixels of {allocated} bit make {expected:,}"
        refuse(path, f"{length:,} bytes of pixel data, but {stated}", "export the radiograph again")


def _presentation(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[np.float32], list[str]]:
    """Presentation values 0-1, bright = dense, and what was done."""
    if stored.ndim == 3:
        top = 2 ** int(dataset.BitsStored) - 1
        stored = grey_of(path, stored, top)
        check_values(path, stored)
        notes = [f"{dataset.PhotometricInterpretation} with equal channels read as grey", "bright = dense assumed"]
        return stored.astype(np.float32) / np.float32(top), notes
    check_values(path, stored)
    lowest = int(stored.min())
    index = stored.astype(np.int32) - lowest
    present = np.nonzero(np.bincount(index.ravel()))[0]  # each value goes through the pipeline once, not each pixel
    table = np.zeros(int(present[-1]) + 1, dtype=np.float32)
    table[present], notes = _pipeline(path, dataset, present + lowest)
    return table[index], notes


def _pipeline(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Presentation values of all the stored values that the image holds, and what was done."""
    values, notes = _modality(path, dataset, stored)
    pixels, note = _voi(path, dataset, values)
    if pixels is not None and pixels.min() == pixels.max():
        pixels, note = None, f"{note} would leave one value: not applied"
    elif pixels is not None:
        note = f"{note} applied"
    notes += [note] if note else []
    if pixels is None:
        pixels, note = _full_range(dataset, stored, values)
        notes += [note]
    monochrome1 = str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1"
    inverse = str(dataset.get("PresentationLUTShape")) == "INVERSE"
    if monochrome1 or inverse:
        pixels = 1 - pixels
        name = " with ".join(["MONOCHROME1"] * monochrome1 + ["PresentationLUTShape INVERSE"] * inverse)
        notes += [f"{name} inverted{' once' if monochrome1 and inverse else ''}"]
    return pixels, notes


def _modality(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Values after the modality LUT or the rescale (PS3.3 C.11.1)."""
    from pydicom.pixels.processing import apply_modality_lut

    if dataset.get("ModalityLUTSequence"):
        _check_lut(path, dataset, dataset.ModalityLUTSequence[0], "modality LUT", bool(stored.min() < 0))
        return apply_modality_lut(stored, dataset), ["modality LUT applied"]
    slope, intercept = _number(dataset.get("RescaleSlope"), 1.0), _number(dataset.get("RescaleIntercept"), 0.0)
    if slope == 0:
        return stored, ["RescaleSlope 0 not applied"]
    if (slope, intercept) == (1.0, 0.0):
        return stored, []
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    return apply_modality_lut(stored, dataset), [f"rescaled by slope {slope:g}, intercept {intercept:g}"]


def _voi(path: Path, dataset: Dataset, values: NDArray[Any]) -> tuple[NDArray[Any] | None, str]:
    """Values 0-1 after the first VOI LUT, else the first window (PS3.3 C.11.2), and its note; None without one."""
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_voi, apply_windowing

    if dataset.get("VOILUTSequence"):
        item, count = dataset.VOILUTSequence[0], len(dataset.VOILUTSequence)
        last, top = _check_lut(path, dataset, item, "VOI LUT", bool(values.min() < 0))
        # pydicom counts from the table's start in 16 bits: what lies beyond its end would come round to the start
        looked_up = apply_voi(np.minimum(np.rint(values).astype(np.int64), last), dataset)
        return looked_up / top, "VOI LUT" + (f" (first of {count})" if count > 1 else "")
    center, width = _number(dataset.get("WindowCenter"), None), _number(dataset.get("WindowWidth"), None)
    if center is None or width is None:
        return None, ""
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    note = f"window center {center:g}, width {width:g} ({function})"
    if not width > 0 or (function not in ("LINEAR_EXACT", "SIGMOID") and width < 1):
        return None, f"{note} is not allowed: not applied"
    window = Dataset()  # of 1 bit: so pydicom's result is 0-1
    window.PhotometricInterpretation, window.PixelRepresentation, window.BitsStored = "MONOCHROME2", 0, 1
    window.WindowCenter, window.WindowWidth = center, width
    window.VOILUTFunction = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    return apply_windowing(values, window), note


def _full_range(dataset: Dataset, stored: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """All values to 0-1, pixel padding (PS3.3 C.7.5.1.1.2) left out of the range."""
    inside, note = np.ones(stored.shape, dtype=np.bool_), ""
    padding = dataset.get("PixelPaddingValue")
    if isinstance(padding, int):
        limit = dataset.get("PixelPaddingRangeLimit", padding)
        low, high = sorted((padding, limit if isinstance(limit, int) else padding))
        inside = (stored < low) | (stored > high)
        note = f", padding {low}{f' to {high}' if high > low else ''} left out"
    if not inside.any() or values[inside].min() == values[inside].max():
        inside, note = np.ones(stored.shape, dtype=np.bool_), ""
    lowest, highest = float(values[inside].min()), float(values[inside].max())
    pixels = np.clip((values.astype(np.float64) - lowest) / (highest - lowest), 0, 1)
    return pixels, f"no VOI: full range {lowest:g} to {highest:g}{note}"


def _check_lut(path: Path, dataset: Dataset, item: Dataset, name: str, signed: bool) -> tuple[int, int]:
    """The last value that a LUT has an entry for, and its largest possible entry (PS3.3 C.11.1.1).

    The item is put into the form that pydicom always looks up rightly: 16 bits per entry (also where two of 8 bits
    share a word), and the first value with its sign. Raises ReadError where entries are missing.
    """
    count, first, bits = (int(value) for value in item.LUTDescriptor)
    count = count % 65536 or 65536
    first -= 65536 if signed and first > 32767 else 0
    entries = item["LUTData"].value
    if isinstance(entries, bytes):
        order = "<" if dataset.original_encoding[1] is not False else ">"
        entries = np.frombuffer(entries, dtype=np.uint8 if len(entries) < 2 * count else f"{order}u2")
    entries = np.atleast_1d(np.asarray(entries, dtype=np.int64))[:count] & 0xFFFF
    if len(entries) < count:
        refuse(path, f"{len(entries):,} of {count:,} entries in its {name}", "export the radiograph again")
    item.LUTDescriptor = [count, first, 16]
    item.add_new("LUTData", "US", entries.tolist())
    return first + count - 1, 2 ** max(bits, int(entries.max()).bit_length(), 1) - 1


def _number(value: Any, default: Any) -> Any:
    """The first of one or many values as a finite float, or the default."""
    try:
        number = float(value if isinstance(value, str) or not hasattr(value, "__len__") else value[0])
    except (TypeError, ValueError, IndexError):
        return default
    return number if np.isfinite(number) else default


def _spacing(dataset: Dataset) -> tuple[tuple[float, float] | None, str | None, list[str]]:
    """(row, column) mm, the element it comes from, and notes; None where no usable one is given (PS3.3 10.7.1.3)."""
    notes = []
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = dataset.get(name)
        if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
            continue
        row, col = float(value[0]), float(value[1])
        if not (np.isfinite([row, col]).all() and row > 0 and col > 0):
            notes += [f"{name} {row:g} x {col:g} mm is no size: taken as unknown"]
            continue
        if min(row * int(dataset.Rows), col * int(dataset.Columns)) > WIDEST_FIELD_MM:
            field = f"{row * int(dataset.Rows):,.0f} x {col * int(dataset.Columns):,.0f} mm"
            notes += [f"{name} {row:g} x {col:g} mm makes a field of {field}: taken as unknown"]
            continue
        factor = _number(dataset.get("EstimatedRadiographicMagnificationFactor"), 1.0)
        if name == "ImagerPixelSpacing" and factor > 0 and factor != 1:
            source = "ImagerPixelSpacing / EstimatedRadiographicMagnificationFactor"
            return (row / factor, col / factor), source, [*notes, f"spacing divided by magnification {factor:g}"]
        return (row, col), name, notes
    return None, None, notes


def _pixel_aspect(dataset: Dataset) -> float | None:
    """The height of a pixel / its width by PixelAspectRatio, vertical before horizontal (PS3.3 C.7.6.3.1.7)."""
    value = dataset.get("PixelAspectRatio")
    if value is None or isinstance(value, str) or len(value) != 2:
        return None
    down, across = (_number(each, 0.0) for each in value)
    plausible = down > 0 and across > 0 and 1 / LARGEST_ASPECT <= down / across <= LARGEST_ASPECT
    return down / across if plausible else None


def _view(dataset: Dataset) -> tuple[tuple[str, str] | None, list[str]]:
    """PatientOrientation (row direction, column direction) or None, and a note where the view is not frontal."""
    view = str(dataset.get("ViewPosition") or "")
    notes = [f"ViewPosition {view} is not frontal"] if view in LATERAL_VIEWS else []
    value = dataset.get("PatientOrientation")
    if value is None or isinstance(value, str) or len(value) != 2 or not all(value):
        return None, notes
    row, col = (str(each).strip().upper() for each in value)
    return (row, col), notes
