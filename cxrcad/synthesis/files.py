"""Radiographs as files in JSRT's layout: images (.IMG, PNG, DICOM), SCR masks, and the tables of truth."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrcad.core import Nodule
from cxrcad.files import write_atomically
from cxrcad.imaging.jsrt_img import FIELD_MM, LARGEST

__all__ = [
    "MASK_SIDE",
    "DicomOrigin",
    "TableRow",
    "box_row",
    "dicom_bytes",
    "encoded",
    "image_path",
    "img_bytes",
    "location",
    "mask_bytes",
    "png_bytes",
    "write_csv",
    "write_masks",
    "write_tables",
]

MASK_SIDE = 1024  # pixels of an SCR mask, and of the grid of boxes.csv
DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"  # Digital X-Ray Image Storage - For Presentation, PS3.4 B.5
VIEWS = {"PA": ("399348003", "postero-anterior"), "AP": ("399173006", "antero-posterior")}  # SNOMED CT, PS3.16 CID 4010

UNKNOWN = (
    *("PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "StudyDate", "StudyTime"),
    *("ContentDate", "ContentTime", "AcquisitionDate", "AcquisitionTime"),
)
"""DICOM elements that must be there and are empty."""

BOX_COLUMNS = ("file", "x", "y", "x0", "y0", "x1", "y1", "diameter_mm", "subtlety", "outside_lung")
TITLES = ("file", "subtlety", "size", "age", "sex", "x", "y", "malignancy", "location", "diagnosis")
"""All that CLNDAT_EN.txt holds where there is no nodule."""

LOBES = (("upper lobe", "upper lobe"), ("middle lobe", "upper lobe"), ("lower lobe", "lower lobe"))
"""(right, left) by third of the lungs' height."""

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


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


def img_bytes(pixels: Image32) -> bytes:
    """A JSRT .IMG of 2048 x 2048 pixels 0-1: 12 bits in big-endian 16, dense tissue low, no header."""
    return (LARGEST - _counts(pixels)).astype(">u2").tobytes()


def png_bytes(pixels: Image32, bits: int) -> bytes:
    """A greyscale PNG of 8 or 16 bits, dense tissue bright."""
    levels = np.rint(pixels * np.float32(2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    return encoded(levels, "PNG", compress_level=1)


def mask_bytes(mask: Bits) -> bytes:
    """An SCR mask: a GIF of 1024 x 1024 pixels, 255 inside and 0 outside."""
    levels = mask.astype(np.uint8) * 255
    if mask.shape != (MASK_SIDE, MASK_SIDE):
        levels = np.asarray(Image.fromarray(levels).resize((MASK_SIDE, MASK_SIDE), Image.Resampling.NEAREST))
    return encoded(levels, "GIF")


def encoded(levels: NDArray[Any], kind: str, **options: Any) -> bytes:
    """The picture of these grey levels as a file of Pillow's format `kind`."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


def _counts(pixels: Image32) -> NDArray[np.uint16]:
    return np.rint(np.clip(pixels, 0, 1) * LARGEST).astype(np.uint16)


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

    def coded(value: str, meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
        return item

    inverted = number % 2 == 1
    instance, study, series = (_uid(kind, seed, name, *origin.salt) for kind in ("instance", "study", "series"))
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.MediaStorageSOPClassUID = UID(DIGITAL_XRAY)
    file.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta.ImplementationClassUID = UID(_uid("cxrcad", "phantom"))
    described = {
        **_image_description(pixels.shape[0], inverted, origin),
        "SOPClassUID": DIGITAL_XRAY,
        "SOPInstanceUID": instance,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "PatientName": f"{origin.patient}^{number:03d}",
        "PatientID": f"{origin.patient.upper()}-{name}",
        "PatientSex": sex[0] if sex else "",
        "PatientAge": "" if age_years is None else f"{age_years:03d}Y",
        "StudyID": str(number),
        "StudyDescription": origin.study,
        "Manufacturer": origin.manufacturer,
        **dict.fromkeys(UNKNOWN, ""),
    }
    for keyword, value in described.items():
        setattr(file, keyword, value)
    view = coded(*VIEWS[origin.view])
    view.ViewModifierCodeSequence = []
    file.AnatomicRegionSequence, file.ViewCodeSequence = [coded("43799004", "Chest")], [view]
    file.AcquisitionContextSequence = []
    counts = _counts(pixels)
    file.PixelData = (LARGEST - counts if inverted else counts).astype("<u2").tobytes()
    buffer = io.BytesIO()
    dcmwrite(buffer, file, enforce_file_format=True)
    return buffer.getvalue()


def _image_description(side: int, inverted: bool, origin: DicomOrigin) -> dict[str, Any]:
    spacing = round(FIELD_MM / side, 6)
    return {
        "Modality": "DX",
        "PresentationIntentType": "FOR PRESENTATION",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
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
        "PixelIntensityRelationshipSign": 1 if inverted else -1,
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


def write_masks(folder: Path, name: str, index: int, masks: Mapping[str, Bits]) -> tuple[Path, ...]:
    """Write the masks of case `name`, the `index`-th of its set, where SCR has them: in both folds by turns.

    `masks` names structures (right lung, left lung, heart). Returns the files in their order. Raises WriteError.
    """
    place = folder / "scr" / f"fold{1 + index % 2}" / "masks"
    paths = tuple(place / structure / f"{name}.gif" for structure in masks)
    for path, mask in zip(paths, masks.values(), strict=True):
        write_atomically(path, mask_bytes(mask))
    return paths


def location(x_px: float, y_px: float, middle_px: float, lungs: Bits) -> str:
    """JSRT's words for where a nodule lies: side and lobe, from the third of the lungs' height."""
    rows = np.flatnonzero(lungs.any(1))
    third = int(np.clip(3 * (y_px - rows[0]) / (rows[-1] - rows[0]), 0, 2))
    at_right = x_px >= middle_px  # of the image: the patient's left
    return f"{'l' if at_right else 'r'}.{LOBES[third][at_right]}"


@dataclass(frozen=True)
class TableRow:
    """A case as the tables tell of it: its nodule in pixels of the 1024 grid, None where it has none."""

    name: str
    age: str
    sex: str
    nodule: Nodule | None

    def nodule_fields(self) -> tuple[str, ...]:
        """The case's line of CLNDAT_EN.txt, x and y on the 2048 grid."""
        nodule = self.nodule
        assert nodule is not None
        known = (f"{self.name}.IMG", nodule.subtlety, round(nodule.diameter_mm or 0), self.age, self.sex)
        place = (round(nodule.x_px * 2), round(nodule.y_px * 2))
        return tuple(map(str, (*known, *place, nodule.malignancy, nodule.location, nodule.diagnosis)))


def box_row(name: str, nodule: Nodule, what: object) -> tuple[object, ...]:
    """A row of boxes.csv, or of shams.csv, with `what` in the place of the subtlety."""
    box = nodule.box_px
    assert box is not None
    lengths = (nodule.x_px, nodule.y_px, box.x0, box.y0, box.x1, box.y1, nodule.diameter_mm or 0.0)
    return (name, *(round(length, 2) for length in lengths), what, int(not nodule.in_lung))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table with a first row of names. Raises WriteError."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([columns, *rows])
    write_atomically(path, buffer.getvalue())


def write_tables(folder: Path, rows: Sequence[TableRow]) -> None:
    """Write CNNDAT_EN.TXT, boxes.csv and, last, CLNDAT_EN.txt (tab-separated, CR-LF). Raises WriteError.

    Without CLNDAT_EN.txt a folder is no data set, so none is read before it is whole.
    """
    normals = [f"{row.name}.IMG {row.age} {row.sex} normal\n" for row in rows if row.nodule is None]
    write_atomically(folder / "CNNDAT_EN.TXT", "".join(normals))
    boxes = [box_row(row.name, row.nodule, row.nodule.subtlety) for row in rows if row.nodule is not None]
    write_csv(folder / "boxes.csv", BOX_COLUMNS, boxes)
    nodules = [row.nodule_fields() for row in rows if row.nodule is not None] or [TITLES]
    write_atomically(folder / "CLNDAT_EN.txt", "".join("\t".join(fields) + "\r\n" for fields in nodules))
