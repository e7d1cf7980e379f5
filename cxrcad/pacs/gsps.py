"""A grayscale softcopy presentation state: the image as its file says that it is shown, with boxes and scores on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxrcad.core import Finding
from cxrcad.imaging.elements import code, items, numbers, texts
from cxrcad.imaging.presentation import FUNCTIONS, lut
from cxrcad.pacs.evidence import Evidence
from cxrcad.pacs.sr import corners

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["presentation_state"]

RESCALE = ("RescaleSlope", "RescaleIntercept", "RescaleType")
WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def presentation_state(evidence: Evidence) -> Dataset:
    """The presentation state of an image: findings from the threshold in one layer, those below it in another."""
    from highdicom import pr
    from highdicom.content import PresentationLUTTransformation

    image = evidence.image
    threshold = evidence.author.identity.threshold
    numbered = list(enumerate(evidence.findings, 1))
    layers, annotations = [], []
    for order, (name, words, reported) in enumerate(
        [("FINDINGS", "from the threshold", True), ("BELOW_THRESHOLD", "below the threshold", False)], 1
    ):
        found = [(number, one) for number, one in numbered if (one.score >= threshold) == reported]
        if found:
            layer = pr.GraphicLayer(name, order, f"{evidence.title}, {words}")
            layers.append(layer)
            annotations.append(_annotation(evidence, layer, found))
    # PS3.3 C.11.6.1.2: the photometric interpretation plays no part where a presentation state is applied.
    inverse = code(image, "PhotometricInterpretation") == "MONOCHROME1"
    inverse |= code(image, "PresentationLUTShape") == "INVERSE"
    made = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[_with_transformations(image)],
        content_label="FINDINGS",
        content_description=evidence.title,
        graphic_layers=layers or None,
        graphic_annotations=annotations or None,
        presentation_lut_transformation=PresentationLUTTransformation("INVERSE" if inverse else "IDENTITY"),
        **evidence.described,
    )
    evidence.of_chest(made)
    return made


def _with_transformations(image: Dataset) -> Dataset:
    """The image with those transformations alone that a presentation state takes over, as it is read itself.

    That is the modality LUT or else the rescale, and the VOI LUTs or else the windows, as far as they are whole.
    """
    from pydicom.dataset import Dataset

    shown = Dataset()
    shown.update({one.tag: one for one in image if one.keyword not in (*RESCALE, *WINDOW, *TABLES)})
    for values in (_modality_luts(image) or _rescale(image), _voi_luts(image) or _window(image)):
        for name, value in values.items():
            setattr(shown, name, value)
    return shown


def _modality_luts(image: Dataset) -> dict[str, Any]:
    whole = [one for one in items(image, "ModalityLUTSequence") if texts(one, "LUTDescriptor") and "LUTData" in one]
    return {"ModalityLUTSequence": whole} if whole else {}


def _voi_luts(image: Dataset) -> dict[str, Any]:
    """The VOI LUTs with entries of 16 bits: of those of 12, which images have, a presentation state knows nothing."""
    from pydicom.dataset import Dataset

    luts = []
    for item in items(image, "VOILUTSequence"):
        table = lut(Path(), image, item, "VOI LUT", signed=image.get("PixelRepresentation") == 1)
        if table is not None:
            made = Dataset()
            size = len(table.entries) % 65536  # 0 stands for 65,536
            made.add_new("LUTDescriptor", "SS" if table.first < 0 else "US", [size, table.first, 16])
            made.LUTExplanation = "".join(texts(item, "LUTExplanation")[:1])
            made.add_new("LUTData", "OW", np.rint(table.entries * (65535 / table.top)).astype("<u2").tobytes())
            luts.append(made)
    return {"VOILUTSequence": luts} if luts else {}


def _rescale(image: Dataset) -> dict[str, Any]:
    stated = [numbers(image, name)[:1] for name in RESCALE[:2]]
    slope, intercept = ((found or (default,))[0] for found, default in zip(stated, (1.0, 0.0), strict=True))
    if not any(stated) or not slope or intercept is None:
        return {}
    values = (_decimal(slope), _decimal(intercept), code(image, "RescaleType") or "US")
    return dict(zip(RESCALE, values, strict=True))


def _window(image: Dataset) -> dict[str, Any]:
    function = code(image, "VOILUTFunction")
    function = function if function in FUNCTIONS else "LINEAR"
    pairs = zip(numbers(image, "WindowCenter"), numbers(image, "WindowWidth"), strict=False)
    found = [
        (_decimal(center), _decimal(width))
        for center, width in pairs
        if center is not None and width is not None and width > 0 and (width >= 1 or function != "LINEAR")
    ]
    if not found:
        return {}
    named = texts(image, "WindowCenterWidthExplanation")
    values = ([center for center, _ in found], [width for _, width in found], list(named), function)
    window = dict(zip(WINDOW, values, strict=True))
    return window if len(named) == len(found) else {name: window[name] for name in WINDOW if name != WINDOW[2]}


def _decimal(value: float) -> str:
    """A number as a decimal string, which has 16 characters at most."""
    return f"{value:.9g}"


def _annotation(evidence: Evidence, layer: Any, found: Sequence[tuple[int, Finding]]) -> Any:
    """The boxes of findings with their scores, in the image's pixels."""
    from highdicom import pr

    boxes, words = [], []
    for number, finding in found:
        uid, identifier = evidence.tracking(number)
        tracked: dict[str, Any] = {"tracking_id": identifier, "tracking_uid": uid}
        box = finding.box_px
        boxes.append(pr.GraphicObject("POLYLINE", corners(box), "PIXEL", **tracked))
        anchor = (box.x1, box.y0)
        words.append(pr.TextObject(f"{identifier}: {finding.score:.2f}", "PIXEL", anchor_point=anchor, **tracked))
    return pr.GraphicAnnotation([evidence.image], layer, graphic_objects=boxes, text_objects=words)
