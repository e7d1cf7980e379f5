"""A grayscale softcopy presentation state: the image as its file says that it is shown, with boxes and scores on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cxrcad.core import Finding
from cxrcad.imaging.elements import code
from cxrcad.pacs.evidence import Evidence
from cxrcad.pacs.sr import corners

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["presentation_state"]


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
        referenced_images=[image],
        content_label="FINDINGS",
        content_description=evidence.title,
        graphic_layers=layers or None,
        graphic_annotations=annotations or None,
        presentation_lut_transformation=PresentationLUTTransformation("INVERSE" if inverse else "IDENTITY"),
        **evidence.described,
    )
    evidence.of_chest(made)
    return made


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
