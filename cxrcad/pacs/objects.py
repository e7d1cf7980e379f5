"""The DICOM objects that a detection writes beside boxes.json: a kind for each option, from the same results.

A new kind is a module with a function that makes it, and its row in `KINDS`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import CxrcadError, ReadError, Result, UsageError
from cxrcad.files import names_in, write_atomically
from cxrcad.imaging.faults import reason
from cxrcad.imaging.remote import path_of
from cxrcad.imaging.view import MANUFACTURER
from cxrcad.inference.examining import Examined
from cxrcad.interchange.boxes import image_document, result_from
from cxrcad.pacs.cad_sr import cad_report
from cxrcad.pacs.evidence import Author, Evidence, image_header, uid_of
from cxrcad.pacs.gsps import presentation_state
from cxrcad.pacs.peers import check_installed
from cxrcad.pacs.sc import capture
from cxrcad.pacs.seg import segmentation
from cxrcad.pacs.sr import report

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["KINDS", "NOT_DICOM", "Kind", "Objects", "kinds_of", "object_names"]


@dataclass(frozen=True)
class Kind:
    """One kind of object: its option is --NAME, its files end in .NAME.dcm, `series` is the number of its series."""

    name: str
    series: int
    title: str
    make: Callable[[Evidence], Dataset]

    @property
    def ending(self) -> str:
        """The end of its files' names."""
        return f".{self.name}.dcm"


KINDS = (
    Kind("sr", 9001, "findings", report),
    Kind("cad-sr", 9002, "chest CAD report", cad_report),
    Kind("seg", 9003, "segmentation", segmentation),
    Kind("gsps", 9004, "boxes", presentation_state),
    Kind("sc", 9005, "picture with boxes", capture),
)

NOT_DICOM = "a file that is no DICOM names no patient, study or image, to which a DICOM object could refer"


def kinds_of(text: str) -> tuple[str, ...]:
    """The names of the kinds that a text lists between commas, in their order; () for none. UsageError."""
    known = [kind.name for kind in KINDS]
    named = [part.strip().lower() for part in text.split(",")]
    if named == ["none"]:
        return ()
    unknown = [name for name in named if name not in known]
    if unknown:
        raise UsageError(f"--store {text}: there is no object {unknown[0]!r}; choose from {', '.join(known)}, or none")
    return tuple(name for name in known if name in named)


def object_names(
    files: Sequence[Path], on_disk: Sequence[Path], folders: Mapping[str, Path]
) -> dict[str, dict[str, Path]]:
    """The file of each kind of `folders`, by the radiograph's path; those of one name get a number.

    Raises UsageError where a radiograph would be overwritten or highdicom is missing, WriteError.
    """
    if folders:
        check_installed(["highdicom"], ", ".join(f"--{kind}" for kind in folders))
    names: dict[str, dict[str, Path]] = {}
    for kind in (kind for kind in KINDS if kind.name in folders):
        found = names_in(folders[kind.name], files, kind.ending, on_disk, f"--{kind.name}")
        for file, path in found.items():
            names.setdefault(file, {})[kind.name] = path
    return names


@dataclass
class Objects:
    """The objects of one detection. `names` are those of `object_names`, `lesion` is what the model looks for.

    `lungs` finds the lung fields for a segmentation, None for a model without a lung task. `without` has the sentence
    of each radiograph of which an object could not be made.
    """

    names: Mapping[str, Mapping[str, Path]]
    author: Author
    lesion: str
    lungs: Callable[[Examined], NDArray[np.bool_]] | None
    without: dict[str, str] = field(default_factory=dict)

    def are_there(self, path: Path) -> bool:
        """Whether the radiograph has all its objects, of this model and these settings, or can have none."""
        wanted = self.names.get(str(path), {})
        if not wanted:
            return True
        try:
            image = self._image(path)
        except ReadError as error:
            self.without[str(path)] = f"no DICOM object: {error}"
            return True
        return all(_uid_in(file) == uid_of(image, self.author, kind) for kind, file in wanted.items())

    def write(self, result: Result, examined: Examined) -> str | None:
        """Write the radiograph's objects; the sentence why one could not be made, which is kept in `without` too.

        They hold what boxes.json holds, with its decimals. Raises WriteError.
        """
        wanted = self.names.get(result.path, {})
        kind = None
        try:
            image = self._image(path_of(result.path)) if wanted else None
            for kind in (kind for kind in KINDS if kind.name in wanted):
                assert image is not None
                write_atomically(wanted[kind.name], self._made(kind, image, result, examined))
        except ReadError as error:
            self.without[result.path] = f"no DICOM object: {error}"
        except CxrcadError:
            raise
        except Exception as error:  # highdicom and pydicom raise whatever a header leads to
            option = "" if kind is None else f" --{kind.name}"
            words = f"its header does not allow it ({reason(error)})"
            self.without[result.path] = f"no{option} object: {result.path}: {words}"
        return self.without.get(result.path)

    @staticmethod
    def _image(path: Path) -> Dataset:
        image = image_header(path)
        if image is None:
            raise ReadError(f"{path}: {NOT_DICOM}; give the DICOM file of the radiograph")
        return image

    def _made(self, kind: Kind, image: Dataset, result: Result, examined: Examined) -> bytes:
        """The object as a file."""
        rounded = result_from(image_document(result))
        lungs = self.lungs(examined) if kind.name == "seg" and self.lungs is not None else None
        title, radiograph = f"{MANUFACTURER} {kind.title}, research only", examined.radiograph
        assert radiograph is not None
        evidence = Evidence(image, self.author, kind.name, kind.series, title, rounded, radiograph, self.lesion, lungs)
        buffer = io.BytesIO()
        evidence.finished(kind.make(evidence)).save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()


def _uid_in(file: Path) -> str | None:
    """The SOP instance UID of an object that was written before; None where there is none."""
    from pydicom import dcmread

    try:
        return str(dcmread(file, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
    except Exception:  # pydicom raises whatever damage leads to
        return None
