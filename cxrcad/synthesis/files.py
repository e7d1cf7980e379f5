"""Radiographs as files in JSRT's layout: images (.IMG, PNG, DICOM), SCR masks, and the tables of truth."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrcad.files import write_atomically

__all__ = [
    "FIELD_MM",
    "JSRT_SIDE",
    "MASK_SIDE",
    "DicomOrigin",
    "box_row",
    "dicom_bytes",
    "image_path",
    "img_bytes",
    "location",
    "mask_bytes",
    "mask_paths",
    "png_bytes",
    "write_tables",
]

FIELD_MM = 358.4  # side of the field: 2048 pixels of 0.175 mm
JSRT_SIDE = 2048  # of an .IMG, and of the grid of CLNDAT's coordinates
MASK_SIDE = 1024  # of an SCR mask, and of the grid of boxes.csv
WHITE_12 = 4095
DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation, PS3.4 B.5
BOX_COLUMNS = ("file", "x", "y", "x0", "y0", "x1", "y1", "diameter_mm", "subtlety", "outside_lung")

LOBES = (("upper lobe", "upper lobe"), ("middle lobe", "upper lobe"), ("lower lobe", "lower lobe"))
"""(right, left) by third of the lungs' height."""

Image32 = NDArray[np.float32]


@dataclass(frozen=True)
class DicomOrigin:
    """What a written DICOM file says of its origin; `view` is PA or AP, `salt` makes UIDs of its own."""

    patient: str = "Phantom"
    manufacturer: str = "cxrcad phantom"
    study: str = "Synthetic chest radiograph"
    derivation: str = "drawn by cxrcad phantom; no patient"
    view: str = "PA"
    salt: tuple[str, ...] = ()


PHANTOM = DicomOrigin()
VIEWS = {"PA": ("399348003", "postero-anterior"), "AP": ("399173006", "antero-posterior")}  # SNOMED CT, PS3.16 CID 4010


def img_bytes(pixels: Image32) -> bytes:
    """A JSRT .IMG of 2048 x 2048 pixels 0-1: 12 bits in big-endian 16, dense tissue low, no header."""
    return (WHITE_12 - _counts(pixels)).astype(">u2").tobytes()


def png_bytes(pixels: Image32, bits: int) -> bytes:
    """A greyscale PNG of 8 or 16 bits, dense tissue bright."""
    kind = np.uint8 if bits == 8 else np.uint16
    levels = np.rint(pixels * np.float32(2**bits - 1)).astype(kind)
    return _encoded(Image.fromarray(levels), "PNG", compress_level=1)


def mask_bytes(mask: NDArray[np.bool_]) -> bytes:
    """An SCR mask: a GIF of 1024 x 1024 pixels, 255 inside and 0 outside."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    if picture.size != (MASK_SIDE, MASK_SIDE):
        picture = picture.resize((MASK_SIDE, MASK_SIDE), Image.Resampling.NEAREST)
    return _encoded(picture, "GIF")


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _counts(pixels: Image32) -> NDArray[np.uint16]:
    return np.rint(np.clip(pixels, 0, 1) * WHITE_12).astype(np.uint16)


def _uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that follows from `parts` alone."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def dicom_bytes(
    pixels: Image32,
    name: str,
    number: int,
    seed: int,
    sex: str | None,
    age_years: int | None,
    origin: DicomOrigin = PHANTOM,
) -> bytes:
    """A Digital X-Ray file (for presentation, PS3.3 A.26): 12 bits, MONOCHROME1 for odd numbers, MONOCHROME2 for even.

    The patient is named Phantom^001 after `origin` and `number`; UIDs follow from `seed`, `name` and the origin's salt.
    """
    from pydicom import dcmwrite
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    inverted = number % 2 == 1
    counts = WHITE_12 - _counts(pixels) if inverted else _counts(pixels)
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID = UID(DIGITAL_XRAY)
    file.file_meta.MediaStorageSOPInstanceUID = UID(_uid("instance", seed, name, *origin.salt))
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.ImplementationClassUID = UID(_uid("cxrcad", "phantom"))
    described = {
        **_patient_and_study(file.file_meta.MediaStorageSOPInstanceUID, name, number, seed, origin),
        **_image_description(pixels.shape[0], inverted, origin),
        "PatientSex": sex[0] if sex else "",
        "PatientAge": "" if age_years is None else f"{age_years:03d}Y",
    }
    for keyword, value in described.items():
        setattr(file, keyword, value)
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "43799004", "SCT", "Chest"
    view = Dataset()
    view.CodeValue, view.CodeMeaning = VIEWS[origin.view]
    view.CodingSchemeDesignator = "SCT"
    view.ViewModifierCodeSequence = []
    file.AnatomicRegionSequence, file.ViewCodeSequence, file.AcquisitionContextSequence = [region], [view], []
    file.PixelData = counts.astype("<u2").tobytes()
    buffer = io.BytesIO()
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


def _patient_and_study(instance: str, name: str, number: int, seed: int, origin: DicomOrigin) -> dict[str, Any]:
    return {
        "SOPClassUID": DIGITAL_XRAY,
        "SOPInstanceUID": instance,
        "StudyInstanceUID": _uid("study", seed, name, *origin.salt),
        "SeriesInstanceUID": _uid("series", seed, name, *origin.salt),
        "PatientName": f"{origin.patient}^{number:03d}",
        "PatientID": f"{origin.patient.upper()}-{name}",
        "PatientBirthDate": "",
        "StudyID": str(number),
        "StudyDate": "",
        "StudyTime": "",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Modality": "DX",
        "PresentationIntentType": "FOR PRESENTATION",
        "Manufacturer": origin.manufacturer,
        "StudyDescription": origin.study,
        "ContentDate": "",
        "ContentTime": "",
        "AcquisitionDate": "",
        "AcquisitionTime": "",
    }


def _image_description(side: int, inverted: bool, origin: DicomOrigin) -> dict[str, Any]:
    spacing = round(FIELD_MM / side, 6)
    return {
        "ImageType": ["DERIVED", "PRIMARY", ""],
        "DerivationDescription": origin.derivation,
        "BodyPartExamined": "CHEST",
        "ViewPosition": origin.view,
        "PatientOrientation": ["L", "F"],
        "ImageLaterality": "U",
        "DetectorType": "DIRECT",
        "ImagerPixelSpacing": [spacing, spacing],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME1" if inverted else "MONOCHROME2",
        "PresentationLUTShape": "INVERSE" if inverted else "IDENTITY",
        "Rows": side,
        "Columns": side,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1 if not inverted else 1,
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "RescaleType": "US",
        "WindowCenter": "2048",
        "WindowWidth": "4096",
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
    }


def image_path(folder: Path, name: str, kind: str) -> Path:
    """Where the image of case `name` lies; `kind` is img, dcm or png."""
    return folder / "images" / f"{name}.{'IMG' if kind == 'img' else kind}"


def mask_paths(folder: Path, name: str, index: int, structures: Sequence[str]) -> tuple[Path, ...]:
    """Where SCR has the masks of case `name`, the `index`-th of its set: in both folds by turns."""
    masks = folder / "scr" / f"fold{1 + index % 2}" / "masks"
    return tuple(masks / structure / f"{name}.gif" for structure in structures)


def location(x_px: float, y_px: float, middle_px: float, lungs: NDArray[np.bool_]) -> str:
    """JSRT's words for where a nodule lies: side and lobe, from the third of the lungs' height."""
    rows = np.flatnonzero(lungs.any(1))
    third = int(np.clip(3 * (y_px - rows[0]) / (rows[-1] - rows[0]), 0, 2))
    at_right = x_px >= middle_px  # of the image: the patient's left
    return f"{'l' if at_right else 'r'}.{LOBES[third][at_right]}"


def box_row(name: str, lengths: Iterable[float], what: object, outside_lung: bool) -> tuple[object, ...]:
    """A row of boxes.csv: `lengths` are x, y, x0, y0, x1, y1 on the 1024 grid and the diameter in mm."""
    return (name, *(round(value, 2) for value in lengths), what, int(outside_lung))


def write_tables(
    folder: Path,
    positives: Sequence[tuple[str, ...]],
    negatives: Sequence[tuple[str, ...]],
    boxes: Sequence[tuple[object, ...]],
) -> None:
    """Write boxes.csv, CNNDAT_EN.TXT and, last, CLNDAT_EN.txt (tab-separated, CR-LF). Raises WriteError.

    Without CLNDAT_EN.txt a folder is no data set, so none is read before it is whole.
    """
    write_atomically(folder / "CNNDAT_EN.TXT", "".join(" ".join(row) + "\n" for row in negatives))
    write_atomically(
        folder / "boxes.csv", "".join(",".join(str(value) for value in row) + "\r\n" for row in (BOX_COLUMNS, *boxes))
    )
    write_atomically(folder / "CLNDAT_EN.txt", "".join("\t".join(row) + "\r\n" for row in positives))
