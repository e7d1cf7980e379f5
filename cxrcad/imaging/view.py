"""What a DICOM header says against a frontal chest radiograph: another kind of image, another view, another body part.

Codes are believed (ViewPosition, ViewCodeSequence, PatientOrientation, BodyPartExamined, AnatomicRegionSequence). Free
text (SeriesDescription, ProtocolName) counts where no code says the contrary: a series "PA and lateral" has both views.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cxrcad.imaging.elements import code, items, texts
from cxrcad.imaging.faults import not_radiograph
from cxrcad.imaging.orientation import directions, frontal

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["against_frontal_chest", "class_name", "with_view"]

CLASSES = re.compile(
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\."
    r"(1|1\.1|1\.1\.1|7(\.[1-4])?|12\.2)"  # CR, DX, secondary capture, radiofluoroscopy
)
"""SOP classes of chest radiographs; other ones that the standard knows are of other images (PS3.4 B.5)."""
FRONTAL = frozenset(
    (
        "PA",
        "AP",
        "POSTERO",
        "ANTERO",
        "POSTEROANTERIOR",
        "ANTEROPOSTERIOR",
        "FRONTAL",
        "FRONT",
        "FACE",
        "ПРЯМАЯ",
        "正面",
        "正位",
        "정면",
    )
)
NOT_FRONTAL = frozenset(
    (
        *("LATERAL", "LAT", "LATERO", "LATEROLATERAL", "LLAT", "LATL", "SAGITTAL"),
        *(
            "SEITLICH",
            "SEITL",
            "PROFIL",
            "PERFIL",
            "LATERALE",
            "LATERAAL",
            "DWARS",
            "ZIJDELINGS",
            "BOCZNE",
            "БОК",
            "БОКОВАЯ",
            "БОКОВОИ",
            "側面",
            "側位",
            "侧位",
            "측면",
        ),
        *("OBLIQUE", "OBL", "AXIAL", "TANGENTIAL", "DECUB", "DECUBITUS", "CRANIO", "CAUDO"),
    )
)
POSITIONS = frozenset(("LL", "RL", "LLD", "RLD", "LLO", "RLO", "RAO", "LAO", "RPO", "LPO", "CC", "ML", "LM", "MLO"))
"""ViewPosition's codes of other views (PS3.3 C.8.1.1.1, C.8.11.4)."""
CHEST = frozenset(("CHEST", "THORAX", "LUNG", "LUNGS", "TORAX", "HEART", "RIB", "RIBS", "MEDIASTINUM", "POUMON"))
OTHER_PARTS = frozenset(
    (
        *("HAND", "HANDS", "WRIST", "FINGER", "THUMB", "FOREARM", "ELBOW", "HUMERUS", "ARM", "SHOULDER", "CLAVICLE"),
        *("SCAPULA", "STERNUM", "HIP", "HIPS", "PELVIS", "FEMUR", "THIGH", "KNEE", "KNEES", "PATELLA", "LEG", "TIBIA"),
        *("FIBULA", "ANKLE", "FOOT", "FEET", "TOE", "TOES", "HEEL", "CALCANEUS", "EXTREMITY", "ULNA", "RADIUS"),
        *("SKULL", "HEAD", "BRAIN", "NECK", "JAW", "MANDIBLE", "MAXILLA", "TEETH", "TOOTH", "SINUS", "SINUSES"),
        *(
            "SPINE",
            "CSPINE",
            "TSPINE",
            "LSPINE",
            "SSPINE",
            "CTSPINE",
            "TLSPINE",
            "LSSPINE",
            "SACRUM",
            "COCCYX",
            "ORBIT",
        ),
        *("HANDWRIST", "HANDGELENK", "HUFTE", "HUEFTE", "BECKEN", "KNIE", "FUSS", "SCHULTER", "ELLENBOGEN", "SCHADEL"),
        *("BASSIN", "HANCHE", "GENOU", "EPAULE", "COUDE", "POIGNET", "CADERA", "MANO", "RODILLA", "HOMBRO", "TOBILLO"),
        *("ABDOMEN", "KUB", "KIDNEY", "BLADDER", "COLON", "STOMACH", "LIVER", "UTERUS", "BREAST", "MAMMA"),
    )
)
"""Of PS3.16 Annex L, what is seen on radiographs, plurals, and words of other languages."""
WORD = re.compile("[A-Z]+|[А-Я]+|" + "|".join(each for each in FRONTAL | NOT_FRONTAL if each[0] > "Я"))
FREE_TEXTS = ("SeriesDescription", "ProtocolName")


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
    yield from _view(dataset)
    yield from _part(dataset)


def _view(dataset: Dataset) -> Iterator[str]:
    position = _words(code(dataset, "ViewPosition"))
    views = [_meaning(item, "view") for item in items(dataset, "ViewCodeSequence")]
    orientation = directions(texts(dataset, "PatientOrientation"))
    is_frontal = bool(position & FRONTAL)
    if position & (NOT_FRONTAL | POSITIONS) and not is_frontal:
        yield f"ViewPosition {code(dataset, 'ViewPosition')}"
    for view in views:
        if _words(view) & NOT_FRONTAL:
            yield f"ViewCodeSequence {view}"
        is_frontal |= bool(_words(view) & FRONTAL)
    if orientation and not frontal(orientation):
        yield f"PatientOrientation {orientation[0]}\\{orientation[1]}"
    for name in () if is_frontal else FREE_TEXTS:
        words = _words(code(dataset, name))
        if words & NOT_FRONTAL and not words & FRONTAL:
            yield f"{name} {texts(dataset, name)[0]}"


def _part(dataset: Dataset) -> Iterator[str]:
    stated = [("BodyPartExamined", code(dataset, "BodyPartExamined"))]
    stated += [("AnatomicRegionSequence", _meaning(item, "part")) for item in items(dataset, "AnatomicRegionSequence")]
    for name, value in stated:
        if _words(value) & OTHER_PARTS and not _words(value) & CHEST:
            yield f"{name} {value}"
    for name in () if any(_words(value) & CHEST for _, value in stated) else FREE_TEXTS:
        words = _words(code(dataset, name))
        if words & OTHER_PARTS and not words & CHEST:
            yield f"{name} {texts(dataset, name)[0]}"


def _words(text: str) -> frozenset[str]:
    """The words in capitals, without their accents; of a script without spaces those that are known here."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", text.upper()) if not unicodedata.combining(each))
    return frozenset(WORD.findall(unicodedata.normalize("NFC", plain)))


def _meaning(item: Dataset, kind: str) -> str:
    """What a coded item means: its CodeMeaning, or where that tells nothing the standard's (PS3.16, CID 4009, 4010)."""
    own = " ".join(texts(item, "CodeMeaning")[:1])
    value, scheme = ("".join(texts(item, name)[:1]) for name in ("CodeValue", "CodingSchemeDesignator"))
    if not value or _words(own) & (FRONTAL | NOT_FRONTAL if kind == "view" else CHEST | OTHER_PARTS):
        return own
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    known = codes.cid4010 if kind == "view" else codes.cid4009
    wanted = Code(value, scheme, own)  # an old SNOMED code equals the new one
    return next((one.meaning for one in (getattr(known, name) for name in known.dir()) if one == wanted), own)
