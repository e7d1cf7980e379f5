"""The codes of lesions, organs and procedure in the objects: SNOMED CT, as PS3.16 lists them (CID 6104, 7151)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxrcad.config import NODULE

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

__all__ = ["ABNORMAL", "ANATOMY", "BOUNDED", "CHEST_RADIOGRAPH", "LESIONS", "LUNG", "SITES", "sct"]

Term = tuple[str, str]
"""A code's value and its meaning."""

LUNG: Term = ("39607008", "Lung")
LESIONS: dict[str, Term] = {NODULE: ("27925004", "Nodule"), "effusion": ("60046008", "Pleural effusion")}
SITES: dict[str, Term] = {NODULE: LUNG, "effusion": ("3120008", "Pleura")}
ABNORMAL: Term = ("49755003", "Morphologically Abnormal Structure")
ANATOMY: Term = ("91723000", "Anatomical Structure")
BOUNDED: Term = ("75958009", "Bounded by")
CHEST_RADIOGRAPH: Term = ("399208008", "Plain chest X-ray")


def sct(term: Term) -> Code:
    """The code of a term in SNOMED CT."""
    from pydicom.sr.coding import Code

    return Code(term[0], "SCT", term[1])
