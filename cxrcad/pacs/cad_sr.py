"""A Chest CAD SR by TID 4100 and its parts (PS3.16), built from content items: highdicom has no template for it.

There is no Image Library, which TID 4100 leaves open: each place names its image itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxrcad import __version__
from cxrcad.config import NODULE
from cxrcad.core import Finding
from cxrcad.pacs.codes import LESIONS, sct
from cxrcad.pacs.evidence import Evidence
from cxrcad.pacs.sr import corners, percent

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["cad_report"]

CHEST_CAD_SR = "1.2.840.10008.5.1.4.1.1.88.65"


def cad_report(evidence: Evidence) -> Dataset:
    """The Chest CAD report of an image: what was found, and that the detection succeeded where nothing was."""
    from highdicom import sr
    from pydicom.sr.codedict import codes
    from pydicom.uid import UID

    found = codes.DCM.AllAlgorithmsSucceededWithFindings
    nothing = codes.DCM.AllAlgorithmsSucceededWithoutFindings
    summary = _code("CONTAINS", codes.DCM.CADProcessingAndFindingsSummary, found if evidence.findings else nothing)
    _hold(summary, [_finding(evidence, number, one) for number, one in enumerate(evidence.findings, 1)])
    detections = _code("CONTAINS", codes.DCM.SummaryOfDetections, codes.DCM.Succeeded)
    successful = sr.ContainerContentItem(codes.DCM.SuccessfulDetections, relationship_type="INFERRED FROM")
    performed = _code("CONTAINS", codes.DCM.DetectionPerformed, sct(LESIONS[evidence.lesion]))
    _hold(performed, [*_algorithm(evidence, "HAS PROPERTIES"), _image(evidence, "HAS PROPERTIES")])
    _hold(successful, [performed])
    _hold(detections, [successful])
    analyses = _code("CONTAINS", codes.DCM.SummaryOfAnalyses, codes.DCM.NotAttempted)
    language = sr.LanguageOfContentItemAndDescendants(sr.CodedConcept("en-US", "RFC5646", "English (United States)"))
    root = sr.ContainerContentItem(codes.DCM.ChestCADReport, template_id="4100")
    _hold(root, [*language, summary, detections, analyses])
    made = sr.ComprehensiveSR(
        evidence=[evidence.image], content=root, is_complete=True, is_final=False, **evidence.described
    )
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(CHEST_CAD_SR)  # the modules are those of any SR
    return made


def _finding(evidence: Evidence, number: int, finding: Finding) -> Any:
    """A single image finding (TID 4104) with its geometry (TID 4107); one below the threshold need not be shown."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    uid, identifier = evidence.tracking(number)
    reported = finding.score >= evidence.author.identity.threshold
    required = codes.DCM.PresentationRequiredRenderingDeviceIsExpectedToPresent
    optional = codes.DCM.PresentationOptionalRenderingDeviceMayPresent
    measured = [
        (codes.DCM.CertaintyOfFinding, percent(finding.score), codes.UCUM.Percent),
        (codes.SCT.Diameter, finding.diameter_mm, codes.UCUM.Millimeter),
        (codes.SCT.Area, finding.area_mm2, codes.UCUM.SquareMillimeter),
    ]
    numbers = [
        sr.NumContentItem(name, value, unit, relationship_type="HAS PROPERTIES")
        for name, value, unit in measured
        if value is not None
    ]
    modifier = [_code("HAS CONCEPT MOD", codes.DCM.SingleImageFindingModifier, sct(LESIONS[finding.label]))]
    item = _code("INFERRED FROM", codes.DCM.SingleImageFinding, codes.DCM.AbnormalOpacity)
    content = [
        *(modifier if finding.label == NODULE else ()),  # CID 6102 has no effusion
        _code("HAS CONCEPT MOD", codes.DCM.RenderingIntent, required if reported else optional),
        sr.TextContentItem(codes.DCM.TrackingIdentifier, identifier, relationship_type="HAS OBS CONTEXT"),
        sr.UIDRefContentItem(codes.DCM.TrackingUniqueIdentifier, uid, relationship_type="HAS OBS CONTEXT"),
        *_algorithm(evidence, "HAS OBS CONTEXT"),
        numbers[0],
        _place(evidence, codes.DCM.Center, "POINT", np.array([finding.center_px])),
        _place(evidence, codes.DCM.Outline, "POLYLINE", corners(finding.box_px)),
        *numbers[1:],
    ]
    return _hold(item, content)


def _algorithm(evidence: Evidence, relationship: str) -> list[Any]:
    """The algorithm (TID 4019)."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    author = evidence.author
    named = [(codes.DCM.AlgorithmName, author.name), (codes.DCM.AlgorithmVersion, __version__)]
    named += [(codes.DCM.AlgorithmParameters, words) for words in author.parameters]
    return [sr.TextContentItem(name, words, relationship_type=relationship) for name, words in named]


def _place(evidence: Evidence, name: Any, shape: str, points: Any) -> Any:
    from highdicom import sr

    return _hold(
        sr.ScoordContentItem(name, shape, points, relationship_type="HAS PROPERTIES"),
        [_image(evidence, "SELECTED FROM")],
    )


def _image(evidence: Evidence, relationship: str) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    image = evidence.image
    return sr.ImageContentItem(
        codes.DCM.SourceImage, image.SOPClassUID, image.SOPInstanceUID, relationship_type=relationship
    )


def _code(relationship: str, name: Any, value: Any) -> Any:
    from highdicom import sr

    return sr.CodeContentItem(name, value, relationship_type=relationship)


def _hold(item: Any, content: list[Any]) -> Any:
    """The item, with these below it."""
    from highdicom import sr

    if content:
        item.ContentSequence = sr.ContentSequence(content)
    return item
