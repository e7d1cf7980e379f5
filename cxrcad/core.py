"""The nouns of the project (Radiograph, Case, Nodule, Finding, Result), counted in words, and its one tree of errors.

Coordinates are in pixel *edges*: the first pixel covers [0, 1), x to the right and y down; boxes are half-open.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Box",
    "Case",
    "CxrcadError",
    "DataError",
    "EvaluationError",
    "Failure",
    "Finding",
    "ModelError",
    "ModelIdentity",
    "NetworkError",
    "Nodule",
    "NotRadiographError",
    "Outcome",
    "PeerError",
    "Radiograph",
    "RankError",
    "ReadError",
    "Result",
    "Skipped",
    "Source",
    "ToldElsewhere",
    "TrainingError",
    "UsageError",
    "WorkerError",
    "WriteError",
    "counted",
    "disc_box_px",
    "duration_words",
    "nodule_box_px",
    "or_unknown",
    "radii_px",
    "usable_cores",
]


class CxrcadError(Exception):
    """The root of every error that cxrcad raises on purpose: a sentence that names the fault and the remedy."""

    exit_code = 1


class UsageError(CxrcadError):
    """A setting or argument that cannot be right whatever the data (exit code 2)."""

    exit_code = 2


class ReadError(CxrcadError):
    """A file that cannot be read as a frontal radiograph."""


class NotRadiographError(ReadError):
    """A file that is whole, and says of itself that it holds something other than a frontal chest radiograph."""


class DataError(CxrcadError):
    """A data folder, table, mask or fold file that is missing, incomplete or contradicts itself."""


class ModelError(CxrcadError):
    """A packaged model or run folder that is missing, damaged, or cannot run here."""


class NetworkError(CxrcadError):
    """An input or option that a network cannot take."""


class TrainingError(CxrcadError):
    """A training that cannot start or go on."""


class RankError(TrainingError):
    """A training of several processes, in which another one than the first failed or ended."""


class ToldElsewhere(CxrcadError):
    """The end of a process whose fault another process tells, or that ended with another."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__("another process of this work tells why it ended")
        self.exit_code = exit_code


class EvaluationError(CxrcadError):
    """Predictions and truth that cannot be scored against each other."""


class WorkerError(CxrcadError):
    """A process beside this one that cannot be started."""


class WriteError(CxrcadError):
    """A result that cannot be written where it was asked for."""


class PeerError(CxrcadError):
    """A DICOM peer or DICOMweb server that cannot be reached, refuses, or breaks off."""


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def counted(number: int, noun: str) -> str:
    """`number` and `noun` in words for a reader: 1 image, 2 images. The plural is the noun with an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def or_unknown(value: object) -> str:
    """A value to stand in a line for a reader: "unknown" for None."""
    return "unknown" if value is None else str(value)


def duration_words(seconds: float) -> str:
    """A time as one reads it: 40 s, 12 min, 3 h 20 min, 4 days."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{round(seconds / 86400)} days"


@dataclass(frozen=True)
class Box:
    """A half-open rectangle [x0, x1) x [y0, y1), in pixels or mm as the field that holds it says."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Area in the square of the box's unit; 0 for an empty box."""
        return max(0.0, self.x1 - self.x0) * max(0.0, self.y1 - self.y0)

    @property
    def center(self) -> tuple[float, float]:
        """(x, y) of the middle."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def iou(self, other: Box) -> float:
        """Intersection over union with `other`, 0-1."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        shared = max(0.0, width) * max(0.0, height)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0


@dataclass(frozen=True)
class Source:
    """Where a radiograph came from: `notes` lists, in order, what was done to its pixels."""

    path: str
    format: str
    sha256: str
    uids: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One frontal chest radiograph on its file's own grid.

    `pixels` is float32 (rows, cols), presentation values 0-1, bright = dense. `spacing_mm` is (row, column) distance or
    None where the file does not say; `spacing_from` names the element it was taken from. `orientation` is DICOM's
    PatientOrientation (row direction, column direction) or None, whatever the format. `pixel_aspect` is the height of
    a pixel / its width where the file states that alone.
    """

    pixels: NDArray[np.float32]
    spacing_mm: tuple[float, float] | None
    spacing_from: str | None
    orientation: tuple[str, str] | None
    source: Source
    pixel_aspect: float | None = None

    @property
    def rows(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def cols(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True)
class Nodule:
    """One true nodule, in the pixels of its case's image. None where the data set does not say.

    `subtlety` is JSRT's degree, 1 (extremely subtle) to 5 (obvious). `box_px` is the exact extent where it is known,
    else None; `disc_box_px` of the case's nodule then serves. `label` is the data set's word for the lesion, in small
    letters ("nodule", "mass"), None in a data set of one kind. `boxed` says that a box alone tells where it is and how
    large: readers draw boxes loosely.
    """

    x_px: float
    y_px: float
    diameter_mm: float | None = None
    subtlety: int | None = None
    malignancy: str | None = None
    location: str | None = None
    diagnosis: str | None = None
    box_px: Box | None = None
    in_lung: bool | None = None
    label: str | None = None
    boxed: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Case:
    """A radiograph of a data set with its truth; the image itself is read when it is needed.

    `nodules` are in the pixels of `image` (rows x cols), and so are the corners (x, y) of `polygons`, the outlines of
    lesions that are drawn and not discs (effusion). `lung_masks` are mask files whose union is the lung fields; empty
    where there is none. `groups` name what must not be split over folds ("patient:9145", "series:1.3.6..."). `data_set`
    names the set of several that it is from, None where there is one. `role` is the data set's word for a case without
    a lesion ("normal", "other_finding"), None where it does not say.
    """

    name: str
    image: Path
    rows: int
    cols: int
    spacing_mm: tuple[float, float] | None = None
    nodules: tuple[Nodule, ...] = ()
    lung_masks: tuple[Path, ...] = ()
    age_years: int | None = None
    sex: str | None = None
    view: str | None = None
    groups: tuple[str, ...] = ()
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()
    data_set: str | None = None
    role: str | None = None

    @property
    def positive(self) -> bool:
        """Whether the case holds at least one lesion: a nodule, or an outline."""
        return bool(self.nodules or self.polygons)


def radii_px(case: Case, nodule: Nodule) -> tuple[float, float]:
    """(along x, along y) radius of the nodule's disc, in pixels of its image; of a boxed one without a size, the box's.

    Raises DataError where size or spacing lack, and the box too.
    """
    if nodule.diameter_mm is None or case.spacing_mm is None:
        if nodule.box_px is not None:
            return (nodule.box_px.x1 - nodule.box_px.x0) / 2, (nodule.box_px.y1 - nodule.box_px.y0) / 2
        lacking = "size of its nodule" if nodule.diameter_mm is None else "spacing of its pixels"
        raise DataError(
            f"{case.name}: the {lacking} in mm is unknown; write it in the data set's tables (in a truth file, "
            "diameter_mm and spacing_mm), or give its box"
        )
    row_mm, col_mm = case.spacing_mm
    return nodule.diameter_mm / 2 / col_mm, nodule.diameter_mm / 2 / row_mm


def disc_box_px(case: Case, nodule: Nodule) -> Box:
    """The bounding box of the nodule's disc, in pixels of the case's image (it may reach over the edge). DataError."""
    radius_x, radius_y = radii_px(case, nodule)
    return Box(nodule.x_px - radius_x, nodule.y_px - radius_y, nodule.x_px + radius_x, nodule.y_px + radius_y)


def nodule_box_px(case: Case, nodule: Nodule) -> Box:
    """The nodule's exact box where it is known, else that of its disc, in pixels of the case's image. DataError."""
    return nodule.box_px if nodule.box_px is not None else disc_box_px(case, nodule)


@dataclass(frozen=True)
class Finding:
    """One suspected lesion, in its file's own pixels; mm fields are None where the spacing is unknown.

    `score` is 0-1; `area_px` counts pixels of the file's grid; `lung_probability` is the mean of the lung map under it,
    None for a model without a lung task.
    """

    label: str
    score: float
    box_px: Box
    center_px: tuple[float, float]
    area_px: float
    box_mm: Box | None = None
    area_mm2: float | None = None
    diameter_mm: float | None = None
    lung_probability: float | None = None


@dataclass(frozen=True)
class ModelIdentity:
    """Which model made a result: `sha256` is that of its ONNX file; `provider` what ONNX Runtime really used."""

    name: str
    sha256: str
    threshold: float
    provider: str


@dataclass(frozen=True)
class Result:
    """What was found in one image. `seconds` has read, infer and find; `uids` are the DICOM file's (`Source.uids`).

    `overlay` is the path of the picture with the boxes, where one was drawn.
    """

    path: str
    sha256: str
    rows: int
    cols: int
    spacing_mm: tuple[float, float] | None
    spacing_from: str | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    uids: Mapping[str, str] = field(default_factory=dict)
    overlay: str | None = None


@dataclass(frozen=True)
class Failure:
    """An input that gave no result, and the sentence that says why."""

    path: str
    error: str


@dataclass(frozen=True)
class Skipped:
    """A file beside radiographs, in a folder or an archive, that holds none, and the sentence that says what it is."""

    path: str
    reason: str


Outcome = Result | Failure | Skipped
"""What becomes of one input of a detection."""
