"""A case's radiograph, with the spacing that its data set knows."""

from __future__ import annotations

from dataclasses import replace

from cxrcad.core import Case, Radiograph
from cxrcad.imaging.read import read_radiograph

__all__ = ["read_case"]


def read_case(case: Case) -> Radiograph:
    """The case's radiograph; where its file states no spacing, the data set's (`spacing_from` "data set").

    Raises ReadError.
    """
    radiograph = read_radiograph(case.image, force=True)  # the data set says that it is a case
    if radiograph.spacing_mm is None and case.spacing_mm is not None:
        return replace(radiograph, spacing_mm=case.spacing_mm, spacing_from="data set")
    return radiograph
