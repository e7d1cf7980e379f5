"""A validation case on the model's grid: its truth, and beside it what the network finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Box, Radiograph, Source
from cxrcad.datasets.samples import Sample
from cxrcad.inference.lungs import lung_fields
from cxrcad.report.drawing.case_views import TRUE, CaseView, Mark, Panel, render_case_views

if TYPE_CHECKING:
    from PIL.Image import Image

MAPS = ("lung fields", "probability of the lesion")


def render_validation(sample: Sample, maps: Mapping[str, NDArray[np.float32]], caption: str) -> Image:
    """The case twice, 1500 pixels wide in all: true lesions and lungs, and the network's maps (H, W), 0-1."""
    from scipy import ndimage

    rows, cols = sample.image.shape
    places = ndimage.find_objects(ndimage.label(sample.lesion)[0])
    marks = tuple(Mark(TRUE, Box(x.start, y.start, x.stop, y.stop)) for y, x in places)
    found = lung_fields(maps["lung"], None) if "lung" in maps else None
    panels = (Panel("truth", marks, None, sample.lung), Panel("network", marks, maps["lesion"], found))
    radiograph = Radiograph(sample.pixels, None, None, None, Source(sample.case.name, "grid", sample.sha256))
    return render_case_views([CaseView(caption, radiograph, Box(0, 0, cols, rows), panels)], maps=MAPS)
