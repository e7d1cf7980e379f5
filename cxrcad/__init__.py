"""cxrcad finds lung nodules in chest radiographs with MO-SegNet (Park, Jeong, Moon 2020).

    from cxrcad import Detector, read_radiograph, resolve_model

The names of `__all__` are imported when they are asked for, so that `import cxrcad` loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxrcad.core import Box, Case, CxrcadError, Finding, Nodule, Radiograph, Result
    from cxrcad.imaging.read import read_radiograph
    from cxrcad.inference.detector import Detector
    from cxrcad.inference.model import resolve_model

__all__ = [
    "Box",
    "Case",
    "CxrcadError",
    "Detector",
    "Finding",
    "Nodule",
    "Radiograph",
    "Result",
    "read_radiograph",
    "resolve_model",
]

__version__ = "0.1.0"

_HOMES = {
    "Detector": "cxrcad.inference.detector",
    "read_radiograph": "cxrcad.imaging.read",
    "resolve_model": "cxrcad.inference.model",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "cxrcad.core")), name)
