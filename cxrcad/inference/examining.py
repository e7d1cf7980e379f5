"""Probability maps -> a result: findings are cut, scored and noted, in whichever process."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import ModelError, Radiograph, Result
from cxrcad.imaging.orientation import TURNS
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.candidates import find
from cxrcad.inference.lungs import lung_fields, unlike_lungs
from cxrcad.inference.model import Bundle
from cxrcad.inference.reading import Prepared

__all__ = ["Examined", "Inferred", "check_numbers"]

SPACING_NOTE = "pixel spacing unknown: no sizes in mm"


@dataclass(frozen=True, eq=False)
class Examined:
    """A result with its (rows, columns) maps by task, 0-1 on the model's grid, padding included, and their geometry.

    `radiograph` is None where its own pixels are not wanted.
    """

    result: Result
    maps: dict[str, NDArray[np.float32]]
    geometry: Geometry
    radiograph: Radiograph | None = None


@dataclass(frozen=True, eq=False)
class Inferred:
    """What the network of `bundle` gave of an image: its `maps` by task, and the `seconds` that it took."""

    bundle: Bundle
    given: Prepared
    maps: dict[str, NDArray[np.float32]]
    seconds: float

    def examined(self, result: Result) -> Examined:
        """Its `result` with what it rests on."""
        return Examined(result, self.maps, self.given.geometry, self.given.radiograph)

    def result(self) -> Result:
        """Every candidate, best first, the threshold not applied. Raises ModelError for maps that are no numbers."""
        start = time.perf_counter()
        bundle, given, maps = self.bundle, self.given, self.maps
        check_numbers(maps, bundle.name)
        source, geometry = given.source, given.geometry
        config = replace(bundle.find, threshold=bundle.map_threshold)
        findings = find(maps["lesion"], maps.get("lung"), geometry, config, label=bundle.lesion)
        calibration = bundle.calibration
        if calibration is not None:
            findings = tuple(replace(one, score=calibration.applied(one.score)) for one in findings)
        found = time.perf_counter()
        notes = (*source.notes, *_geometry_notes(geometry))
        notes += (SPACING_NOTE,) if geometry.spacing_mm is None else ()
        notes += self._view_notes()
        return Result(
            path=source.path,
            sha256=source.sha256,
            rows=geometry.rows,
            cols=geometry.cols,
            spacing_mm=geometry.spacing_mm,
            spacing_from=given.spacing_from,
            findings=findings,
            notes=notes,
            seconds={"read": given.seconds, "infer": self.seconds, "find": found - start},
            uids=source.uids,
        )

    def _view_notes(self) -> tuple[str, ...]:
        """A warning where the lung map is no frontal chest's; none of a model without a lung task."""
        maps, geometry = self.maps, self.given.geometry
        if "lung" not in maps:
            return ()
        content = maps["lung"][: geometry.content_rows : 2, : geometry.content_cols : 2]  # as telling, in a quarter
        unlike = unlike_lungs(lung_fields(content, self.bundle.find.lung_threshold))
        return (f"perhaps no frontal chest: {unlike}",) if unlike else ()


def check_numbers(maps: dict[str, NDArray[np.float32]], name: str) -> None:
    """Raise ModelError where a map of the model `name` has values that are no numbers."""
    for task, values in maps.items():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise ModelError(
                f"{name}: its {task} map of an image {values.shape} has {bad} values that are no "
                "numbers; export the model again"
            )


def _geometry_notes(geometry: Geometry) -> list[str]:
    """What was done to the file's pixels, beside scaling, so that the model sees an upright chest, not mirrored."""
    turn = TURNS.get(geometry.orientation)
    notes = [f"{turn} for the model; boxes lie in the file's pixels"] if turn else []
    if not geometry.square:
        ratio = geometry.scale_row / geometry.scale_col
        notes.append(f"pixels {ratio:.3g} times as high as wide: resampled to square ones for the model")
    return notes
