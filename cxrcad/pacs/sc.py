"""A secondary capture for viewers that show nothing else: the radiograph with its boxes, marked as research only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxrcad.imaging.elements import texts
from cxrcad.pacs.evidence import Evidence
from cxrcad.report.drawing.marks import REPORTED, text
from cxrcad.report.drawing.overlay import TEXT_PART, render_overlay

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["BANNER", "capture"]

BANNER = "RESEARCH ONLY - NOT FOR DIAGNOSIS"
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def capture(evidence: Evidence) -> Dataset:
    """The picture that `--overlay` draws, as the file lies, with the banner burnt in at the top left."""
    from highdicom.sc import SCImage
    from PIL import ImageDraw

    threshold = evidence.author.identity.threshold
    picture = render_overlay(evidence.radiograph, evidence.findings, threshold=threshold)
    text(ImageDraw.Draw(picture), (6, 6), BANNER, REPORTED, round(max(picture.size) * TEXT_PART))
    made = SCImage.from_ref_dataset(
        ref_dataset=evidence.image,
        pixel_array=np.asarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # highdicom demands one; the image's comes below
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **evidence.described,
    )
    evidence.take_over(made, "PatientOrientation")
    evidence.of_chest(made)
    # The picture shows what the image shows: who burnt the patient's name into that, or lost detail, did it here too.
    for name in ("BurnedInAnnotation", "RecognizableVisualFeatures", *LOSSY):
        if texts(evidence.image, name):
            evidence.take_over(made, name)
    made.SourceImageSequence = [evidence.reference]
    return made
