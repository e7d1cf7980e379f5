"""Radiographs in DICOM through pydicom: stored values, size, spacing, orientation, UIDs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import NotRadiographError, Radiograph, ReadError, Source
from cxrcad.imaging.bits import picture_values, with_sign
from cxrcad.imaging.decoding import EXPORT_RAW, decode
from cxrcad.imaging.dicom_file import UNDEFINED, DicomFile, matches, matches_bare, opened
from cxrcad.imaging.elements import code, correct, numbers, texts, unreadable
from cxrcad.imaging.elements import whole as _whole
from cxrcad.imaging.faults import (
    MOST_PADDING,
    Header,
    check_byte_order,
    check_size,
    check_values,
    digest_of,
    grey_of,
    not_radiograph,
    reason,
    refuse,
    with_padding,
)
from cxrcad.imaging.orientation import directions, frontal, of_cosines
from cxrcad.imaging.presentation import middle_of, presented
from cxrcad.imaging.spacing import pixel_aspect, pixel_spacing
from cxrcad.imaging.view import against_frontal_chest, class_name, perhaps_another_part, with_view
from cxrcad.imaging.view_words import OTHER_MODALITIES

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["header", "matches", "matches_bare", "read"]

UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
EXPORT_WHOLE = "export the radiograph with 8 to 16 bit"
PALETTE = "PALETTE COLOR"
PALETTE_TABLES = tuple(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue"))
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
MOST_COMPRESSED = 2
"""Times the size of the pixels that compressed ones may have; noise needs about 1.1."""
NEEDED = {"Rows": "", "Columns": "", "BitsAllocated": "16", "PhotometricInterpretation": "MONOCHROME2"}
"""What decides the picture and is never taken for granted, with a usual value to add to a file that lacks it."""


def header(path: Path) -> Header:
    """Rows, Columns and spacing from the header, without the pixel data. Raises ReadError."""
    with opened(path) as file:
        dataset = file.dataset
        _check_present(path, dataset, "Rows", "Columns")
        dataset.Rows, dataset.Columns = _whole(path, dataset, "Rows"), _whole(path, dataset, "Columns")
        return Header(dataset.Rows, dataset.Columns, pixel_spacing(dataset)[0])


def read(path: Path, force: bool = False) -> Radiograph:
    """The radiograph in a DICOM file, with its UIDs, spacing and orientation.

    `force`: also an image that is no frontal chest radiograph by its header; its notes say so. Raises ReadError for
    files cut short, objects without an image, volumes, colour, syntaxes without decoder, damage.
    """
    with opened(path) as file:
        dataset = file.dataset
        against = _check_object(path, file, force)
        stored, notes = _stored(path, file)
        pixels, shown_notes = _presentation(path, dataset, stored)
        spacing, spacing_from, spacing_notes = pixel_spacing(dataset)
        aspect, aspect_notes = pixel_aspect(dataset, spacing)
        orientation, lie_notes = _orientation(dataset)
        uids = {name: texts(dataset, name)[0] for name in UIDS if texts(dataset, name)}
    all_notes = (*against, *notes, *shown_notes, *spacing_notes, *aspect_notes, *lie_notes)
    source = Source(str(path), "DICOM", digest_of(path), uids, all_notes)
    return Radiograph(pixels, spacing, spacing_from, orientation, source, aspect)


def _check_present(path: Path, dataset: Dataset, *names: str) -> None:
    """Raise ReadError where one of these elements is absent or empty."""
    missing = [name for name in names if not texts(dataset, name)]
    if missing:
        remedy = "export the radiograph again"
        if all(NEEDED[name] for name in missing):
            add = " ".join(f"-i {name}={NEEDED[name]}" for name in missing)
            remedy = correct(path, add)
        refuse(path, f"no {' and no '.join(missing)} in its header", remedy)


def _check_object(path: Path, file: DicomFile, force: bool) -> list[str]:
    """Raise ReadError for what is not one image of a radiograph; with `force` a note where the header alone says so."""
    dataset, size, radiograph = file.dataset, file.size, "give a frontal chest radiograph"
    modality = code(dataset, "Modality")
    kind = class_name(dataset) or "DICOM object of no stated class"
    frames = _whole(path, dataset, "NumberOfFrames", 1)
    other = modality in OTHER_MODALITIES
    if other and not (force and file.stated is not None):
        what = f", {frames} frames" if frames > 1 else ""
        fault = f"Modality {modality} ({kind}{what}), not a radiograph's (DX, CR, RG)"
        may_be = file.stated is not None and frames == 1
        not_radiograph(path, fault, f"{radiograph}, or add --force if it is one" if may_be else radiograph)
    if file.stated is None:
        if "Rows" in dataset and "Columns" in dataset:
            stated = f"{dataset.Rows} x {dataset.Columns} pixels stated"
            if any(name in dataset for name in ("FloatPixelData", "DoubleFloatPixelData")):
                refuse(path, "pixels that are no whole numbers (Float Pixel Data)", EXPORT_WHOLE)
            refuse(path, f"{stated}, but no pixel data in {size:,} bytes", "copy the file again")
        remedy = f"{radiograph}, or copy the file again if it is one"
        damaged = "Image Storage" in kind or not dataset.get("SOPClassUID")
        (refuse if damaged else not_radiograph)(path, f"no pixel data, in a {kind} of {size:,} bytes", remedy)
    against = [f"Modality {modality}"] * other + list(against_frontal_chest(dataset))
    notes = with_view(path, against, force) + perhaps_another_part(dataset)
    _check_present(path, dataset, *NEEDED)
    if frames > 1:
        not_radiograph(path, f"{frames} frames in one file", f"{radiograph} of one frame")
    dataset.NumberOfFrames = 1
    dataset.Rows, dataset.Columns = _whole(path, dataset, "Rows"), _whole(path, dataset, "Columns")
    check_size(path, dataset.Rows, dataset.Columns)
    photometric = re.sub(r"MONOCHROME[ _]+(?=[12]$)", "MONOCHROME", code(dataset, "PhotometricInterpretation"))
    looked_up = photometric == PALETTE and all(name in dataset for name in PALETTE_TABLES)
    if not looked_up and photometric not in ("MONOCHROME1", "MONOCHROME2", *COLOUR):
        fault = f"PhotometricInterpretation {photometric}, but grey is MONOCHROME1 or MONOCHROME2"
        fault = f"{PALETTE} without its palette" if photometric == PALETTE else fault
        refuse(path, fault, "export the radiograph in grey, as MONOCHROME2")
    dataset.PhotometricInterpretation = photometric
    return notes


def _stored(path: Path, file: DicomFile) -> tuple[NDArray[Any], list[str]]:
    """The stored values, (rows, cols) integers, (rows, cols, 3) for colour, and what was done to them."""
    dataset = file.dataset
    allocated = _whole(path, dataset, "BitsAllocated")
    bits = _whole(path, dataset, "BitsStored", _whole(path, dataset, "HighBit", allocated - 1) + 1)
    high = _whole(path, dataset, "HighBit", bits - 1)
    if allocated in (8, 16) and 2 <= bits <= allocated and not bits - 1 <= high < allocated:
        fault = f"HighBit {high} with BitsStored {bits} of BitsAllocated {allocated}"
        refuse(path, fault, correct(path, f"-m HighBit={bits - 1}"))
    if allocated not in (8, 16) or not 2 <= bits <= allocated:
        fault = f"BitsAllocated {allocated}, BitsStored {bits}, HighBit {high}, but 8 to 16 bit are read"
        refuse(path, fault, EXPORT_WHOLE)
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax or syntax.is_private:
        refuse(path, f"an unknown transfer syntax, {syntax}", EXPORT_RAW)
    compressed = syntax.is_compressed and not syntax.is_deflated
    samples, signed = _whole(path, dataset, "SamplesPerPixel", 1), _whole(path, dataset, "PixelRepresentation", 0)
    if samples not in (1, 3) or signed not in (0, 1):
        fault = f"SamplesPerPixel {samples}, PixelRepresentation {signed}, but 1 or 3 samples of sign 0 or 1 are read"
        refuse(path, fault, "export the radiograph in grey, as MONOCHROME2")
    # JPEG-LS and JPEG 2000 state their own bits and sign; of the others pydicom would leave out bits unasked
    own_bits = compressed and not any(name in syntax.name for name in ("RLE", "JPEG Lossless"))
    dataset.BitsAllocated, dataset.SamplesPerPixel = allocated, samples
    dataset.BitsStored, dataset.PixelRepresentation = (high + 1, signed) if own_bits else (allocated, 0)
    if samples > 1:
        dataset.PlanarConfiguration = _whole(path, dataset, "PlanarConfiguration", 0)
    file.load(_check_length(path, file, samples * allocated, compressed))
    try:
        values: NDArray[Any] = decode(path, dataset) if compressed else dataset.pixel_array
    except ReadError:
        raise
    except Exception as error:
        length = f"{len(dataset.PixelData):,} bytes of pixel data"
        refuse(path, f"{syntax.name} cannot be decoded from {length} ({reason(error, line=-1)})", "copy the file again")
    if values.shape[:2] != (dataset.Rows, dataset.Columns):
        stated, held = f"{dataset.Rows} x {dataset.Columns}", " x ".join(map(str, values.shape))
        refuse(path, f"the header states {stated} pixels, the data hold {held}", "export the radiograph again")
    check_byte_order(path, values)
    dataset.BitsStored, dataset.PixelRepresentation = high + 1, signed
    if values.ndim == 3:
        return (values & (2 ** (high + 1) - 1)) >> (high + 1 - bits), []
    if own_bits:
        beyond = f"values up to {values.max():,}, beyond BitsStored {bits}: all bits read"
        is_beyond = int(values.max()).bit_length() > high + 1 - signed
        values, note = with_sign(values >> (high + 1 - bits), bits, bool(signed))
        return values, [beyond] * is_beyond + [note] * bool(note)
    values, note = picture_values(values, bits, high, bool(signed), _overlay_bits(dataset))
    values, sign_note = with_sign(values, bits, bool(signed))
    return values, [each for each in (note, sign_note) if each]


def _overlay_bits(dataset: Dataset) -> tuple[int, ...]:
    """The bits of the pixels that hold overlays (OverlayBitPosition without OverlayData, PS3.3 C.9.2 before 2004)."""
    groups = (group for group in range(0x6000, 0x6020, 2) if (group, 0x3000) not in dataset)
    positions = (dataset.get((group, 0x0102)) for group in groups)
    return tuple(one.value for one in positions if one is not None and isinstance(one.value, int))


def _check_length(path: Path, file: DicomFile, bits: int, compressed: bool) -> int:
    """The most bytes that the pixel data may have, at `bits` a pixel; they are not read yet.

    Raises ReadError where the length that the header states for them, or what the file holds, is another one.
    """
    dataset = file.dataset
    row = int(dataset.Columns) * bits // 8
    expected = int(dataset.Rows) * row
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        expected = expected * 2 // 3
    length = min(length for length in (file.stated, file.held, UNDEFINED) if length is not None)
    most = with_padding(expected, row)
    if compressed:
        most = MOST_COMPRESSED * most + MOST_PADDING
    elif file.stated == UNDEFINED:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        refuse(path, f"compressed pixel data in a file that states {syntax}", "export the radiograph again")
    elif length < expected:
        refuse(path, f"pixel data ends after {length:,} of {expected:,} bytes", "copy the file again")
    if length > most:
        stated = f"{dataset.Rows} x {dataset.Columns} pixels of {bits} bit make {expected:,}"
        refuse(path, f"{length:,} bytes of pixel data, but {stated}", "export the radiograph again")
    return most


def _presentation(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[np.float32], list[str]]:
    """Presentation values 0-1, bright = dense, and what was done."""
    palette = dataset.PhotometricInterpretation == PALETTE
    if palette or stored.ndim == 3:
        top = 2 ** int(dataset.BitsStored) - 1
        if palette:
            stored, top = _looked_up(path, dataset, stored)
        try:
            stored = grey_of(path, stored, top)
        except ReadError as error:
            raise NotRadiographError(str(error)) from None
        check_values(path, stored)
        notes = [f"{dataset.PhotometricInterpretation} with equal channels read as grey", "bright = dense assumed"]
        return stored.astype(np.float32) / np.float32(top), notes
    check_values(path, stored)
    lowest = int(stored.min())
    index = stored.astype(np.int32) - lowest
    present = np.nonzero(np.bincount(index.ravel()))[0]  # each value goes through the pipeline once, not each pixel
    table = np.zeros(int(present[-1]) + 1, dtype=np.float32)
    middle = middle_of(index).ravel()
    table[present], notes = presented(
        path, dataset, present + lowest, np.bincount(middle, minlength=len(table))[present]
    )
    return table[index], notes


def _looked_up(path: Path, dataset: Dataset, stored: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The colours (rows, cols, 3) of a palette's indices, and the largest possible value (PS3.3 C.7.9).

    Raises ReadError for a palette that lacks entries.
    """
    from pydicom.pixels.processing import apply_color_lut

    try:
        channels: NDArray[Any] = apply_color_lut(stored, dataset)
    except Exception as error:  # pydicom raises whatever a damaged palette leads to
        refuse(path, f"a damaged palette ({reason(error)})", "export the radiograph in grey, as MONOCHROME2")
    return channels, 65535 if channels.max() > 255 else 255  # some writers state 16 bits and fill 8


def _orientation(dataset: Dataset) -> tuple[tuple[str, str] | None, list[str]]:
    """(row direction, column direction) by PatientOrientation, else by a frontal ImageOrientationPatient; and a note.

    None, with a note where PatientOrientation states no two directions.
    """
    letters = texts(dataset, "PatientOrientation")
    found = directions(letters)
    if found:
        return found, []
    told = f"{unreadable(dataset, 'PatientOrientation')}, not two directions: "
    by_cosines = of_cosines(numbers(dataset, "ImageOrientationPatient"))
    if by_cosines and frontal(by_cosines):
        return by_cosines, [f"{told}ImageOrientationPatient taken"] if letters else []
    return None, [f"{told}taken as upright"] if letters else []
