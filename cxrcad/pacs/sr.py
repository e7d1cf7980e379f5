"""A measurement report by TID 1500 (PS3.16), in a Comprehensive SR: a tracked measurement group for each finding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad import __version__
from cxrcad.core import Box, Finding
from cxrcad.imaging.view import MANUFACTURER
from cxrcad.pacs.codes import BOUNDED, CHEST_RADIOGRAPH, LESIONS, SITES, sct
from cxrcad.pacs.evidence import Evidence

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["corners", "percent", "report"]


def corners(box: Box) -> NDArray[np.float64]:
    """The closed outline of a box, (5, 2) columns and rows, in pixel edges as DICOM has them (PS3.3 C.18.6.1.2)."""
    return np.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0)])


def percent(score: float) -> float:
    """A score of 0-1 in percent, with the decimals that it has in boxes.json."""
    return round(100 * score, 2)


def report(evidence: Evidence) -> Dataset:
    """The report of what was found in an image; of an image without findings it says that the lesion is absent."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=evidence.author.device_uid,
            name=evidence.author.name,
            manufacturer_name=MANUFACTURER,
            model_name=evidence.author.name,
        ),
    )
    groups = [_group(evidence, number, finding) for number, finding in enumerate(evidence.findings, 1)]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=sct(CHEST_RADIOGRAPH),
        imaging_measurements=groups or [_none(evidence)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.ComprehensiveSR(
        evidence=[evidence.image], content=content, is_complete=True, is_final=False, **evidence.described
    )


def _group(evidence: Evidence, number: int, finding: Finding) -> Any:
    """The measurement group of a finding (TID 1410): its box in the image, its score, and mm where they are known."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    image = sr.SourceImageForRegion(evidence.image.SOPClassUID, evidence.image.SOPInstanceUID)
    measured = [
        (codes.DCM.CertaintyOfFinding, percent(finding.score), codes.UCUM.Percent),
        (codes.SCT.Diameter, finding.diameter_mm, codes.UCUM.Millimeter),
        (codes.SCT.Area, finding.area_mm2, codes.UCUM.SquareMillimeter),
    ]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(*evidence.tracking(number)),
        referenced_region=sr.ImageRegion(sr.GraphicTypeValues.POLYLINE, corners(finding.box_px), image),
        finding_type=sct(LESIONS[finding.label]),
        algorithm_id=_algorithm(evidence),
        finding_sites=[sr.FindingSite(sct(SITES[finding.label]))],
        measurements=[sr.Measurement(name, value, unit=unit) for name, value, unit in measured if value is not None],
        geometric_purpose=sct(BOUNDED),
    )


def _none(evidence: Evidence) -> Any:
    """The group of an image without findings (TID 1501)."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    lesion = sct(LESIONS[evidence.lesion])
    image = sr.SourceImageForMeasurementGroup(evidence.image.SOPClassUID, evidence.image.SOPInstanceUID)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(evidence.tracking(0)[0], "No findings"),
        source_images=[image],
        finding_type=lesion,
        algorithm_id=_algorithm(evidence),
        finding_sites=[sr.FindingSite(sct(SITES[evidence.lesion]))],
        qualitative_evaluations=[sr.QualitativeEvaluation(lesion, codes.SCT.Absent)],
    )


def _algorithm(evidence: Evidence) -> Any:
    from highdicom import sr

    author = evidence.author
    return sr.AlgorithmIdentification(name=author.name, version=__version__, parameters=author.parameters)
