"""What a DICOM header says against a frontal chest radiograph: another kind of image, another view, another body part.

Codes are believed (ViewPosition, ViewCodeSequence, PatientOrientation, BodyPartExamined, AnatomicRegionSequence). Free
text (SeriesDescription, ProtocolName) counts where no code says the contrary: a series "PA and lateral" has both views.
What was ordered or done (StudyDescription) counts where it is of one view and nothing else names another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cxrcad.imaging.elements import code, items, numbers, texts
from cxrcad.imaging.faults import not_radiograph
from cxrcad.imaging.orientation import directions, frontal, of_cosines
from cxrcad.imaging.view_words import (
    CHEST,
    FRONTAL,
    LOCALIZER,
    NOT_FRONTAL,
    OTHER_PARTS,
    POSITIONS,
    SIDES,
    UNTOLD,
    XRAY,
    words,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["MANUFACTURER", "against_frontal_chest", "class_name", "perhaps_another_part", "with_view"]

CLASSES = re.compile(
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\."
    r"(1|1\.1|1\.1\.1|7(\.[1-4])?|12\.2)"  # CR, DX, secondary capture, radiofluoroscopy
)
"""SOP classes of chest radiographs; other ones that the standard knows are of other images (PS3.4 B.5)."""
MANUFACTURER = "cxrcad"
"""Of the DICOM objects that this program makes of its results."""
SIDEWAYS = frozenset(("LL", "RL", "LLD", "RLD", "LLO", "RLO", "RAO", "LAO", "RPO", "LPO"))
"""Of POSITIONS, what may stand in a free text, where nothing but the chest does beside it."""
FREE_TEXTS = (
    *("SeriesDescription", "ProtocolName", "PerformedProtocolCodeSequence"),
    "AcquisitionDeviceProcessingDescription",
)
"""Of the image or its series."""
ORDERS = (
    *("PerformedProcedureStepDescription", "RequestAttributesSequence", "RequestedProcedureDescription"),
    *("ProcedureCodeSequence", "StudyDescription"),
)
"""Of several images, perhaps; what is nearest to the image first."""
SEVERAL = re.compile(r"[2-9+&/]")
"""In a text: of several views."""
PARTS = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")
HUMAN = frozenset(("HUMAN", "HOMO", "SAPIENS"))


def class_name(dataset: Dataset) -> str:
    """The name of the SOP class; "" where none is stated."""
    from pydicom.uid import UID

    return UID("".join(texts(dataset, "SOPClassUID")[:1])).name


def with_view(path: Path, against: list[str], force: bool) -> list[str]:
    """The notes on what a header says `against` a frontal chest; without `force` NotRadiographError where it does."""
    if against and not force:
        fault = f"no frontal chest radiograph by its header ({'; '.join(against)})"
        not_radiograph(path, fault, "give a frontal chest radiograph, or add --force if it is one")
    return [f"{one}: no frontal chest radiograph by its header, read all the same" for one in against]


def against_frontal_chest(dataset: Dataset) -> Iterator[str]:
    """Each statement of the header that the image is no frontal chest radiograph, as an element and its value."""
    uid = "".join(texts(dataset, "SOPClassUID")[:1])
    if class_name(dataset) != uid and not CLASSES.fullmatch(uid):
        yield f"SOP class {class_name(dataset)}"
    if texts(dataset, "Manufacturer") == (MANUFACTURER,):
        yield f"Manufacturer {MANUFACTURER}, so a picture of our own results"
    kinds = words(code(dataset, "ImageType"))
    if kinds & (LOCALIZER | NOT_FRONTAL):
        yield f"ImageType {code(dataset, 'ImageType')}"
    yield from _view(dataset)
    yield from _part(dataset)
    species = _free(dataset, "PatientSpeciesDescription")
    if species and not species & HUMAN:
        yield f"PatientSpeciesDescription {_text(dataset, 'PatientSpeciesDescription')}"


def _view(dataset: Dataset) -> Iterator[str]:
    position = words(code(dataset, "ViewPosition"))
    views = [_meaning(item, "view") for item in items(dataset, "ViewCodeSequence")]
    orientation = directions(texts(dataset, "PatientOrientation"))
    is_frontal = bool(position & FRONTAL)
    if position & (NOT_FRONTAL | POSITIONS) and not is_frontal:
        yield f"ViewPosition {code(dataset, 'ViewPosition')}"
    for view in views:
        if words(view) & NOT_FRONTAL:
            yield f"ViewCodeSequence {view}"
        is_frontal |= bool(words(view) & FRONTAL)
    for modifier in _modifiers(dataset):
        if words(modifier) & NOT_FRONTAL and not words(modifier) & FRONTAL:
            yield f"ViewModifierCodeSequence {modifier}"
    if orientation and not frontal(orientation):
        yield f"PatientOrientation {orientation[0]}\\{orientation[1]}"
    if not orientation and _is_sagittal(dataset):
        yield "ImageOrientationPatient " + "\\".join(texts(dataset, "ImageOrientationPatient"))
    if not is_frontal:
        yield from (f"{name} {_text(dataset, name)}" for name in _texts_against(dataset))


def _texts_against(dataset: Dataset) -> Iterator[str]:
    """The names of the free texts that speak of another view, or of a localizer of CT or MR."""
    is_frontal = False
    for name in FREE_TEXTS:
        found = _free(dataset, name)
        is_frontal |= bool(found & FRONTAL)
        other = found & NOT_FRONTAL or (found & SIDEWAYS and found <= CHEST | SIDEWAYS | XRAY)
        if found & LOCALIZER or (other and not found & FRONTAL):
            yield name
    for name in ORDERS:
        found, others = _free(dataset, name), NOT_FRONTAL | SIDEWAYS | LOCALIZER
        is_frontal |= bool(found & FRONTAL)
        alone = found & others and found <= CHEST | XRAY | SIDES | others
        if alone and not is_frontal and not SEVERAL.search(_text(dataset, name)):
            yield name


def _modifiers(dataset: Dataset) -> list[str]:
    places = [dataset, *items(dataset, "ViewCodeSequence")]
    return [_meaning(item, "view") for place in places for item in items(place, "ViewModifierCodeSequence")]


def _is_sagittal(dataset: Dataset) -> bool:
    """Whether rows and columns run along the patient, by ImageOrientationPatient: neither to the left nor right."""
    ways = set(of_cosines(numbers(dataset, "ImageOrientationPatient")) or ())
    return bool(ways & {"H", "F"}) and bool(ways & {"A", "P"})


def _part(dataset: Dataset) -> Iterator[str]:
    stated = [("BodyPartExamined", code(dataset, "BodyPartExamined"))]
    stated += [(name, _meaning(item, "part")) for name in PARTS for item in items(dataset, name)]
    for name, value in stated:
        if words(value) & OTHER_PARTS and not words(value) & CHEST:
            yield f"{name} {value}"
    for name in () if any(words(value) & CHEST for _, value in stated) else FREE_TEXTS:
        found = _free(dataset, name)
        if found & OTHER_PARTS and not found & CHEST:
            yield f"{name} {_text(dataset, name)}"


def perhaps_another_part(dataset: Dataset) -> list[str]:
    """Notes where the header may speak of another part of the body, and nothing in it says chest.

    They are of a BodyPartExamined that is not known here, and of what was ordered, which may be several images.
    """
    if any(_free(dataset, name) & CHEST for name in ("BodyPartExamined", *ORDERS, *FREE_TEXTS)):
        return []
    part = _free(dataset, "BodyPartExamined")
    doubtful = ["BodyPartExamined"] if part and not part & (OTHER_PARTS | UNTOLD) else []
    doubtful += [name for name in ORDERS if _free(dataset, name) & OTHER_PARTS]
    return [f"{name} {_text(dataset, name)}: perhaps no frontal chest radiograph" for name in doubtful]


def _text(dataset: Dataset, name: str) -> str:
    """The text of an element, or what the codes or steps in it mean."""
    if name.endswith("Sequence"):
        meaning = "ScheduledProcedureStepDescription" if name == "RequestAttributesSequence" else "CodeMeaning"
        return ", ".join("".join(texts(item, meaning)[:1]) for item in items(dataset, name))
    return " ".join(texts(dataset, name))


def _free(dataset: Dataset, name: str) -> frozenset[str]:
    return words(_text(dataset, name))


def _meaning(item: Dataset, kind: str) -> str:
    """What a coded item means: its CodeMeaning, or where that tells nothing the standard's (PS3.16, CID 4009, 4010)."""
    own = " ".join(texts(item, "CodeMeaning")[:1])
    value, scheme = ("".join(texts(item, name)[:1]) for name in ("CodeValue", "CodingSchemeDesignator"))
    if not value or words(own) & (FRONTAL | NOT_FRONTAL if kind == "view" else CHEST | OTHER_PARTS):
        return own
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    known = codes.cid4010 if kind == "view" else codes.cid4009
    wanted = Code(value, scheme, own)  # an old SNOMED code equals the new one
    return next((one.meaning for one in (getattr(known, name) for name in known.dir()) if one == wanted), own)
