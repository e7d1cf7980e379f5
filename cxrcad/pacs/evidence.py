"""What every DICOM object rests on: the image's header, who made it, and UIDs and dates that a second run repeats.

Patient, study, reference identity and character set are the image's. UIDs follow from the image's, the model, the
settings and the version of cxrcad; dates and times are the image's. So a rerun gives the same objects, to the byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad import __version__
from cxrcad.core import Finding, ModelIdentity, Radiograph, Result
from cxrcad.files import json_sha256
from cxrcad.imaging.archives import local_file, unpacked
from cxrcad.imaging.dicom_file import opened
from cxrcad.imaging.elements import texts
from cxrcad.imaging.faults import refuse
from cxrcad.imaging.read import reader_of
from cxrcad.imaging.view import MANUFACTURER
from cxrcad.interchange.boxes import SCORE_DECIMALS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Author", "Evidence", "image_header", "uid_of"]

DICOM_READERS = ("dicom", "bare dicom")
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
NEVER_ABSENT = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Elements of patient and study that an object must have, if empty (type 2 in PS3.3 C.7.1.1 and C.7.2.1)."""
DATE = re.compile(r"(18|19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?")
ALLOWED = {
    **{"PatientBirthDate": DATE, "StudyDate": DATE, "StudyTime": TIME, "PatientSex": re.compile("[MFO]")},
    **{"Laterality": re.compile("[LR]"), "PatientOrientation": re.compile(r"[LRAPHF]{1,3}\\[LRAPHF]{1,3}")},
}
"""What elements may hold that objects take over (PS3.3 C.7, PS3.5 6.2); another value is left empty."""
DATES = ("ContentDate", "AcquisitionDate", "SeriesDate", "StudyDate")
UNKNOWN_DATE, UNKNOWN_TIME = "19000101", "000000"
"""What stands where a date is demanded and the image has none."""
MOMENTS = ("InstanceCreation{}", "Content{}", "PresentationCreation{}", "{}OfSecondaryCapture")
LONGEST = 64
"""Characters of a value that is a long string (LO, PS3.5 6.2)."""


def plain(text: str) -> str:
    """`text` as a long string that every character set holds: other letters than ASCII's are question marks."""
    kept = text.encode("ascii", "replace").decode().replace("\\", "/")
    return kept[:LONGEST].strip() or "unnamed"


def image_header(path: Path) -> Dataset | None:
    """The header of a DICOM image, packed ones too, without pixels and private elements; None for another format.

    Elements that cannot be read are left out, and those of ALLOWED that hold another value are empty. Raises ReadError,
    also where a UID lacks by which objects belong to the image.
    """
    with local_file(path) as file:
        reader = reader_of(file)
        if reader is not None and reader.name == "gzip":
            with unpacked(file) as inner:
                return image_header(inner)
        if reader is None or reader.name not in DICOM_READERS:
            return None
        with opened(file) as dicom:
            header = _readable(dicom.dataset)
        missing = [name for name in IDENTITY if not texts(header, name)]
        if missing:
            refuse(file, f"no {' and no '.join(missing)}, to which a DICOM object could refer", "export it again")
        return header


def _readable(dataset: Dataset) -> Dataset:
    """The elements that a DICOM object may take over, each with its value decoded."""
    from pydicom.datadict import keyword_for_tag
    from pydicom.dataset import Dataset

    dataset.decode()
    kept = Dataset()
    for tag in sorted(dataset.keys()):
        if tag.is_private or tag.group in (0x0002, 0x7FE0) or not keyword_for_tag(tag):
            continue
        try:
            kept[tag] = dataset[tag]
        except Exception:  # pydicom raises whatever a damaged value leads to
            continue
    for name in NEVER_ABSENT:
        if name not in kept:
            setattr(kept, name, None)
    for name, allowed in ALLOWED.items():
        if name in kept and not allowed.fullmatch("\\".join(texts(kept, name))):
            setattr(kept, name, None)
    return kept


@dataclass(frozen=True)
class Author:
    """The model and the settings that made the results of a run; `find` is that of boxes.json."""

    identity: ModelIdentity
    find: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """What differs where objects must differ, in hexadecimal."""
        identity = self.identity
        threshold = round(identity.threshold, SCORE_DECIMALS)
        return json_sha256([identity.name, identity.sha256, threshold, dict(self.find), __version__])

    @property
    def device_uid(self) -> str:
        """The UID of the model as a device: one for all images and settings."""
        return _uid("device", self.identity.sha256, __version__)

    @property
    def parameters(self) -> list[str]:
        """The parameters of the algorithm, in words."""
        return [f"model SHA-256 {self.identity.sha256}", f"threshold {self.identity.threshold:.4g}"]

    @property
    def name(self) -> str:
        """The model's name as a long string."""
        return plain(self.identity.name)


@dataclass(frozen=True, eq=False)
class Evidence:
    """An image, what was found in it, and the kind of object that is made of it.

    `findings` have the decimals of boxes.json, and `lesion` is what was looked for. `lungs` is the mask of the lung
    fields in the image's own pixels (rows, cols), None where the model has no lung task. `kind` names the object, and
    `number` is that of its series.
    """

    image: Dataset
    author: Author
    kind: str
    number: int
    title: str
    result: Result
    radiograph: Radiograph
    lesion: str
    lungs: NDArray[np.bool_] | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, best score first, with the decimals of boxes.json."""
        return self.result.findings

    def uid(self, *parts: object) -> str:
        """A UID that follows from the image's, the author, and `parts` alone."""
        return uid_of(self.image, self.author, *parts)

    def tracking(self, number: int) -> tuple[str, str]:
        """(unique identifier, identifier) by which the finding of this number is tracked in all objects."""
        return self.uid("finding", number), f"{self.lesion} {number}"

    @property
    def reference(self) -> Dataset:
        """An item that refers to the image."""
        from pydicom.dataset import Dataset

        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.image.SOPClassUID, self.image.SOPInstanceUID
        return item

    @property
    def moment(self) -> tuple[str, str]:
        """(date, time) of the object, as DICOM writes them: when the image says that it was made."""
        for name in DATES:
            date = "".join(texts(self.image, name))
            if DATE.fullmatch(date):
                time = "".join(texts(self.image, name.replace("Date", "Time")))
                return date, time if TIME.fullmatch(time) else UNKNOWN_TIME
        return UNKNOWN_DATE, UNKNOWN_TIME

    @property
    def described(self) -> dict[str, Any]:
        """Highdicom's arguments for the series and the equipment of an object, which is alone in its series."""
        return {
            "series_instance_uid": self.uid("series", self.kind),
            "series_number": self.number,
            "series_description": self.title,
            "sop_instance_uid": self.uid(self.kind),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.author.name,
            "software_versions": __version__,
            "device_serial_number": self.author.identity.sha256,
            "specific_character_set": "ISO_IR 192",  # until `finished`: highdicom does not know all of DICOM's
        }

    def take_over(self, made: Dataset, *names: str) -> None:
        """Give an object these elements of the image, empty where it lacks them."""
        for name in names:
            setattr(made, name, self.image.get(name))

    def of_chest(self, made: Dataset) -> None:
        """State the body part in place of its side, which an unpaired one has not (PS3.3 C.7.3.1)."""
        made.BodyPartExamined = "CHEST"
        if texts(self.image, "Laterality"):
            self.take_over(made, "Laterality")

    def finished(self, made: Dataset) -> Dataset:
        """The object with the image's character set, and with its dates and times in place of the present ones."""
        for name, value in zip(("Date", "Time"), self.moment, strict=True):
            for moment in MOMENTS:
                if moment.format(name) in made:
                    setattr(made, moment.format(name), value)
        for item in made.get("ContributingEquipmentSequence", ()):
            if "ContributionDateTime" in item:
                del item.ContributionDateTime
        characters = self.image.get("SpecificCharacterSet")
        if characters:
            made.SpecificCharacterSet = characters
        elif "SpecificCharacterSet" in made:
            del made.SpecificCharacterSet
        return made


def uid_of(image: Dataset, author: Author, *parts: object) -> str:
    """A UID that follows from the image's, the author and `parts` alone."""
    return _uid(image.SOPInstanceUID, author.key, *parts)


def _uid(*parts: object) -> str:
    """A UID that follows from `parts`: a UUID by a name's hash (PS3.5 B.2, RFC 9562 version 8) with SHA-256."""
    number = int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:16], "big")
    number = number & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62  # version and variant
    return f"2.25.{number}"
