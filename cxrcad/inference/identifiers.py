"""How inputs are called in what a detection writes: by their paths, or without any path, name or UID.

Without identifiers a file is called by the SHA-256 of its content, which whoever has the file computes again, and which
says nothing to others. What cannot be read is called by its number among the inputs. Of a sentence or note only that is
kept which is made of words of ours and numbers: what quotes a header, a link or an archive may hold a name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cxrcad.core import Failure, Outcome, Result, Skipped
from cxrcad.imaging.archives import file_of
from cxrcad.imaging.read import content_sha256
from cxrcad.imaging.remote import RemotePath, path_of
from cxrcad.inference.inputs import OTHER_ENDINGS, Inputs

__all__ = ["Names"]

KEPT = """
% + +1 --force .IMG 16-bit 2000 7z = A a above add after again all allowed alone alpha an and another anticlockwise
any applied archive are array as ask assumed at back bare Baseline Basic be because before beside between beyond
big-endian bit bits BitsAllocated BitsStored black BMP boxes bright but by byte bytes bzip2 cannot Capture center
changed channel channels check chest chmod chunk class clipped clockwise close coded COLOR colour coloured columns
Comprehensive compressed Compression Computed content convert copy Corrupt CR CT cut damaged dark data decoded
decoder deflated degrees dense detected DICM DICOM Digital directions disk divided do DOC document does down DX each
early else Emission empty Encapsulated encrypted end ended Endian ends Enhanced enough entries equal exactly EXIF
Explicit export Extended F fewer field fields file file's files finite first folder FOR For for frame frames free
from frontal full GIF give grey group gzip H has have HDF5 header header's high HighBit hold horizontally IDENTITY
Image image image's ImagerPixelSpacing images in incomplete inflated inside installed intercept INVERSE inverted is
it its JPEG JPEG-LS JSRT JSRT's kind L lack larger least leave left level lie LIN LINEAR LINEAR_EXACT list Little
logarithm Lossless lung lungs LUT LUTs machine magnification makes Mammography many mark marks mask matrix mean
mediastinum memory message MG MHA min-is-white mirrored missing mm Modality modality model MONOCHROME1 MONOCHROME2
more most mount MR need needed needs NIfTI NM no NominalScannedPixelSpacing not nothing number numbers NumPy object
of off on once one Only only or order orientation OT other out outside over owner P packaged padding PALETTE parsed
password path PDF perhaps permission permissions picture Pillow pixdim pixel pixels PixelSpacing plane PNG points
polarity Positron Presentation PresentationLUTShape process PROCESSING Processing programs PT R radiograph
radiograph's Radiography range RAR read reads recognised regular Report resampled rescaled RescaleSlope RG RGB RLE
room row rows run same saturate save SC scan scans Secondary seconds segment several sform short shrink side sides
SIGABRT SIGKILL SIGMOID sign SIGSEGV size sizes skipped slope smaller so spacing square SR start stated states still
Storage stored stream stretched Structured such table taken tell text than that the their them there they this TIFF
tile tiles timeout times to Tomography too tried true truncated turned twice two Ultrasound uncompressed unknown
unpack unpacked up upright upside US value values VOI volume VR was were what whether white whole wide width window
with without would write x X-Ray XA zero zip
"""
WORDS = OTHER_ENDINGS.union(KEPT.split())
"""What is kept. Words that a name may follow (link, leads, name, names, holds, which, syntax) are not among them."""
NUMBER = re.compile(
    r"[+-]?\d{1,5}(\.\d{1,6})?(e[+-]?\d+)?|\d{1,3}(,\d{3})+(\.\d+)?|0-\d{1,5}|0-\d{1,3}(,\d{3})+", re.ASCII
)
"""Sizes, counts and pixel values; no date, no UID."""
BRACKETS = re.compile(r" \([^()]*\)")
UNSAID = "why is not said without identifiers, as it may hold a name"
UNNOTED = "a note that may hold a name is left out"

Told = TypeVar("Told", Failure, Skipped)


@dataclass
class Names:
    """What the inputs of a detection are called; `files` has the path of each name that was given so far.

    `inputs` are all, also where a part is done: the numbers in all parts are one row.
    """

    inputs: Inputs
    identifiers: bool = True
    files: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)

    def of(self, path: str) -> str:
        """The name of an input; without identifiers its content is read once."""
        if path not in self._names:
            self._name(path, path if self.identifiers else self._sha256(path) or f"input-{self._number(path)}")
        return self._names[path]

    def given(self, paths: Iterable[str]) -> list[str]:
        """The names of these inputs that were given so far, each once; without identifiers in an order of their own."""
        names = list(dict.fromkeys(self._names[path] for path in paths if path in self._names))
        return names if self.identifiers else sorted(names)

    def written(self, outcome: Outcome) -> Outcome:
        """The outcome as it is written; without identifiers also without its overlay, which may be called after it."""
        if isinstance(outcome, Result):
            name = self._name(outcome.path, outcome.path if self.identifiers else outcome.sha256)
            if self.identifiers:
                return outcome
            notes = dict.fromkeys(_said(note) or UNNOTED for note in outcome.notes)
            return replace(outcome, path=name, uids={}, notes=tuple(notes), overlay=None)
        if self.identifiers:
            return outcome
        known = outcome.path in self._names or not isinstance(path_of(outcome.path), RemotePath)
        name = self.of(outcome.path) if known else self._name(outcome.path, f"input-{self._number(outcome.path)}")
        if isinstance(outcome, Failure):
            return Failure(name, _sentence(outcome.error, outcome.path, name))
        return Skipped(name, _sentence(outcome.reason, outcome.path, name))

    def ordered(self, told: Iterable[Told]) -> list[Told]:
        """Failures or skipped files in the order in which they are written."""
        return list(told) if self.identifiers else sorted(told, key=_path)

    def _name(self, path: str, name: str) -> str:
        self._names[path] = name
        self.files.setdefault(name, path)
        return name

    @staticmethod
    def _sha256(path: str) -> str | None:
        file = path_of(path)
        return content_sha256(file) if isinstance(file, RemotePath) or os.path.isfile(file_of(file)) else None

    def _number(self, path: str) -> int:
        if not self._numbers:
            told = [*map(_path, self.inputs.failures), *map(_path, self.inputs.skipped)]
            places = dict.fromkeys([*map(str, self.inputs.files), *told, *map(str, self.inputs.roots)])
            self._numbers = {place: number for number, place in enumerate(places, start=1)}
        return self._numbers.get(path, 0)


def _path(one: Failure | Skipped) -> str:
    return one.path


def _sentence(sentence: str, path: str, name: str) -> str:
    """A sentence that begins with the path of what it is of: fault and remedy, or the fault alone, as far as kept."""
    said = sentence.removeprefix(f"{path}: ")
    kept = (_said(said) or _said(said.partition("; ")[0])) if said != sentence else ""
    return f"{name}: {kept or UNSAID}"


def _said(text: str) -> str:
    """The text, or else the text without brackets, where all of it is kept; "" otherwise."""
    for part in (text, BRACKETS.sub("", text)):
        words = (word.strip("(),;:") for word in part.split())
        if all(not word or word in WORDS or NUMBER.fullmatch(word) for word in words):
            return part
    return ""
