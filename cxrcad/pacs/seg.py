"""A binary segmentation: a segment for the box of each finding, and one for the lung fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad import __version__
from cxrcad.core import Box
from cxrcad.imaging.view import MANUFACTURER
from cxrcad.pacs.codes import ABNORMAL, ANATOMY, LESIONS, LUNG, SITES, Term, sct
from cxrcad.pacs.evidence import Evidence

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["box_mask", "segmentation"]


def box_mask(box: Box, rows: int, cols: int) -> NDArray[np.bool_]:
    """The pixels (rows, cols) whose centre lies in a box."""
    y0, y1, x0, x1 = (math.ceil(edge - 0.5) for edge in (box.y0, box.y1, box.x0, box.x1))
    mask = np.zeros((rows, cols), dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def segmentation(evidence: Evidence) -> Dataset:
    """The segmentation of an image in its own pixels; one empty segment where there is nothing to segment."""
    from highdicom import seg

    rows, cols = evidence.result.rows, evidence.result.cols
    masks, described = [], []
    for number, finding in enumerate(evidence.findings, 1):
        masks.append(box_mask(finding.box_px, rows, cols))
        words = f"{evidence.tracking(number)[1]}, box, score {finding.score:.2f}"
        described.append(_segment(evidence, number, words, (ABNORMAL, LESIONS[finding.label], SITES[finding.label])))
    if evidence.lungs is not None and evidence.lungs.any():
        masks.append(evidence.lungs)
        described.append(_segment(evidence, len(masks), "lung fields", (ANATOMY, LUNG, None)))
    if not masks:
        masks.append(np.zeros((rows, cols), dtype=np.bool_))
        kind = (ABNORMAL, LESIONS[evidence.lesion], SITES[evidence.lesion])
        described.append(_segment(evidence, 1, f"no {evidence.lesion} found", kind))
    made = seg.Segmentation(
        source_images=[evidence.image],
        pixel_array=np.stack(masks, axis=-1)[None],
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        omit_empty_frames=False,
        content_label="FINDINGS",
        content_description=evidence.title,
        **evidence.described,
    )
    evidence.take_over(made, "PatientOrientation")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = evidence.uid("dimensions")
    return made


def _segment(evidence: Evidence, number: int, words: str, kind: tuple[Term, Term, Term | None]) -> Any:
    from highdicom import AlgorithmIdentificationSequence, seg
    from pydicom.sr.codedict import codes

    category, what, where = kind
    author = evidence.author
    algorithm = AlgorithmIdentificationSequence(
        name=author.name,
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        source=MANUFACTURER,
        parameters={"model": author.parameters[0], "threshold": author.parameters[1]},
    )
    uid, identifier = evidence.tracking(number) if where else (evidence.uid("lungs"), "lung fields")
    return seg.SegmentDescription(
        segment_number=number,
        segment_label=words,
        segmented_property_category=sct(category),
        segmented_property_type=sct(what),
        algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=uid,
        tracking_id=identifier,
        anatomic_regions=[sct(where)] if where else None,
    )
