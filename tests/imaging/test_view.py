"""What a header says against a frontal chest: refused, or read and noted with force."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, MRImageStorage, UltrasoundImageStorage, XRayAngiographicImageStorage

from cxrcad.imaging.read import read_radiograph


def coded(value="", scheme="SCT", meaning=""):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def step(description):
    item = Dataset()
    item.ScheduledProcedureStepDescription = description
    return Sequence([item])


AGAINST = [
    # (elements, what the sentence names)
    ({"SOPClassUID": CTImageStorage, "Modality": None}, "SOP class CT Image Storage"),
    ({"SOPClassUID": MRImageStorage, "Modality": "OT"}, "SOP class MR Image Storage"),
    ({"SOPClassUID": UltrasoundImageStorage, "Modality": ""}, "SOP class Ultrasound Image Storage"),
    (
        {"SOPClassUID": XRayAngiographicImageStorage, "Modality": None},
        "SOP class X-Ray Angiographic Image Storage",
    ),
    ({"ViewPosition": "LL"}, "ViewPosition LL"),
    ({"ViewPosition": b"rld "}, "ViewPosition RLD"),
    ({"ViewPosition": "LATERAL"}, "ViewPosition LATERAL"),
    ({"ViewPosition": "RAO"}, "ViewPosition RAO"),
    ({"ViewCodeSequence": coded("399067008", meaning="lateral projection")}, "ViewCodeSequence lateral projection"),
    ({"ViewCodeSequence": coded("399173006")}, "ViewCodeSequence left lateral"),
    ({"ViewCodeSequence": coded("R-10228", "SRT", "?"), "ViewPosition": "PA"}, "ViewCodeSequence lateral-medial"),
    ({"PatientOrientation": ["A", "F"]}, "PatientOrientation A\\F"),
    ({"PatientOrientation": b"p\\fl"}, "PatientOrientation P\\FL"),
    ({"PatientOrientation": ["R", "A"]}, "PatientOrientation R\\A"),
    ({"BodyPartExamined": "HAND"}, "BodyPartExamined HAND"),
    ({"BodyPartExamined": b"hip "}, "BodyPartExamined HIP"),
    ({"BodyPartExamined": "TSPINE"}, "BodyPartExamined TSPINE"),
    ({"AnatomicRegionSequence": coded("T-D8700", "SRT", "Hand")}, "AnatomicRegionSequence Hand"),
    ({"AnatomicRegionSequence": coded("85562004")}, "AnatomicRegionSequence Hand"),
    ({"SeriesDescription": "Thorax seitlich"}, "SeriesDescription Thorax seitlich"),
    ({"SeriesDescription": "Thorax seitl.", "BodyPartExamined": "THORAX"}, "SeriesDescription Thorax seitl."),
    ({"SeriesDescription": "胸部側面", "SpecificCharacterSet": "ISO_IR 192"}, "SeriesDescription 胸部側面"),
    (
        {"SeriesDescription": "胸部 侧位".encode("gb18030"), "SpecificCharacterSet": "GB18030"},
        "SeriesDescription 胸部 侧位",
    ),
    ({"SeriesDescription": "Грудная клетка, бок".encode()}, "SeriesDescription Грудная клетка, бок"),
    ({"PatientOrientation": b"ANTERIOR\\FEET"}, "PatientOrientation A\\F"),
    ({"ViewPosition": "LLAT"}, "ViewPosition LLAT"),
    ({"SeriesDescription": "Hüfte rechts", "SpecificCharacterSet": "ISO_IR 100"}, "SeriesDescription Hüfte rechts"),
    ({"BodyPartExamined": "HANDWRIST"}, "BodyPartExamined HANDWRIST"),
    ({"SeriesDescription": "CHEST LAT", "BodyPartExamined": "CHEST"}, "SeriesDescription CHEST LAT"),
    ({"ProtocolName": "Left hand PA"}, "ProtocolName Left hand PA"),
    ({"ViewPosition": "LLATERAL"}, "ViewPosition LLATERAL"),
    ({"ViewPosition": "RLATERAL"}, "ViewPosition RLATERAL"),
    ({"ViewPosition": "CHESTLAT"}, "ViewPosition CHESTLAT"),
    ({"SeriesDescription": "ChestLat"}, "SeriesDescription ChestLat"),
    ({"SeriesDescription": "Chest RAO"}, "SeriesDescription Chest RAO"),
    ({"SeriesDescription": "LL"}, "SeriesDescription LL"),
    ({"ProtocolName": "Torace LL"}, "ProtocolName Torace LL"),
    ({"ProtocolName": "RX torace LL"}, "ProtocolName RX torace LL"),
    ({"SeriesDescription": "CXRLat"}, "SeriesDescription CXRLat"),
    ({"BodyPartExamined": "LHAND"}, "BodyPartExamined LHAND"),
    ({"BodyPartExamined": "RTKNEE"}, "BodyPartExamined RTKNEE"),
    ({"BodyPartExamined": "HANDR"}, "BodyPartExamined HANDR"),
    ({"BodyPartExamined": "ABD"}, "BodyPartExamined ABD"),
    ({"BodyPartExamined": "THORACICSPINE"}, "BodyPartExamined THORACICSPINE"),
    ({"SeriesDescription": "Kniegelenk links"}, "SeriesDescription Kniegelenk links"),
    ({"SeriesDescription": "Chest LLD"}, "SeriesDescription Chest LLD"),
    ({"BodyPartExamined": "DENTAL"}, "BodyPartExamined DENTAL"),
    ({"BodyPartExamined": "HEADNECK"}, "BodyPartExamined HEADNECK"),
    ({"ProtocolName": "左手 正面".encode(), "SpecificCharacterSet": "ISO_IR 192"}, "ProtocolName 左手 正面"),
    ({"SeriesDescription": "胸椎 正位".encode()}, "SeriesDescription 胸椎 正位"),
    ({"SeriesDescription": "무릎 정면".encode()}, "SeriesDescription 무릎 정면"),
    ({"SeriesDescription": "Коленный сустав".encode()}, "SeriesDescription Коленный сустав"),
    (
        {"ViewModifierCodeSequence": coded(meaning="Lateral decubitus")},
        "ViewModifierCodeSequence Lateral decubitus",
    ),
    ({"AcquisitionDeviceProcessingDescription": "CHEST,LAT"}, "AcquisitionDeviceProcessingDescription CHEST,LAT"),
    (
        {"PerformedProtocolCodeSequence": coded("1", "99X", "Chest lateral")},
        "PerformedProtocolCodeSequence Chest lateral",
    ),
    ({"PrimaryAnatomicStructureSequence": coded("T-12710", "SRT", "Femur")}, "PrimaryAnatomicStructureSequence Femur"),
    (
        {"SeriesDescription": "Beckenübersicht", "SpecificCharacterSet": "ISO_IR 100"},
        "SeriesDescription Beckenübersicht",
    ),
    ({"PatientSpeciesDescription": "Canis lupus"}, "PatientSpeciesDescription Canis lupus"),
    ({"ImageOrientationPatient": b"0\\1\\0\\0\\0\\-1"}, "ImageOrientationPatient 0\\1\\0\\0\\0\\-1"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "ImageType ORIGINAL\\PRIMARY\\LOCALIZER"),
    ({"ImageType": b"derived\\primary\\\\scout view"}, "ImageType DERIVED\\PRIMARY\\SCOUT VIEW"),
    ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, "ImageType ORIGINAL\\PRIMARY\\AXIAL"),
    (
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ViewPosition": "AP"},
        "ImageType ORIGINAL\\PRIMARY\\LOCALIZER",
    ),
    ({"SeriesDescription": "Scout"}, "SeriesDescription Scout"),
    ({"SeriesDescription": "Topogram AP 0.6 T20f"}, "SeriesDescription Topogram AP 0.6 T20f"),
    ({"ProtocolName": "ScoutView chest"}, "ProtocolName ScoutView chest"),
    ({"SeriesDescription": "3-plane localizer"}, "SeriesDescription 3-plane localizer"),
    ({"StudyDescription": "Topogramm"}, "StudyDescription Topogramm"),
    ({"PerformedProcedureStepDescription": "Chest lateral"}, "PerformedProcedureStepDescription Chest lateral"),
    ({"StudyDescription": "XR CHEST 1 VIEW LATERAL"}, "StudyDescription XR CHEST 1 VIEW LATERAL"),
    ({"StudyDescription": "Chest, lat. decubitus, left"}, "StudyDescription Chest, lat. decubitus, left"),
    ({"RequestedProcedureDescription": "Torace LL"}, "RequestedProcedureDescription Torace LL"),
    ({"StudyDescription": "胸部 側面".encode()}, "StudyDescription 胸部 側面"),
    (
        {"ProcedureCodeSequence": coded("1", "99X", "Thorax seitlich"), "SeriesDescription": "Thorax"},
        "ProcedureCodeSequence Thorax seitlich",
    ),
    (
        {"PerformedProcedureStepDescription": "CHEST LAT", "StudyDescription": "CHEST PA AND LATERAL"},
        "PerformedProcedureStepDescription CHEST LAT",
    ),
    ({"RequestAttributesSequence": step("RX torax perfil")}, "RequestAttributesSequence RX torax perfil"),
]

FOR = [
    {"ViewPosition": "PA", "BodyPartExamined": "CHEST", "PatientOrientation": ["L", "F"]},
    {"ViewPosition": "AP", "SeriesDescription": "CHEST PA AND LATERAL"},
    {"SeriesDescription": "Chest PA and lateral"},
    {"SeriesDescription": "W Chest bilateral, latest", "ProtocolName": "Chest, hands on hips"},
    {"ViewCodeSequence": coded("272479007", meaning="postero-anterior"), "SeriesDescription": "LAT"},
    {"ViewCodeSequence": coded("R-10206", "SRT", ""), "SeriesDescription": "LAT"},
    {"AnatomicRegionSequence": coded("51185008", meaning="Chest"), "SeriesDescription": "Foot end up"},
    {"BodyPartExamined": "UNKNOWN"},
    {"BodyPartExamined": "CHEST_ABDOMEN"},
    {"PatientOrientation": ["R", "H"]},
    {"PatientOrientation": ["LA", "FP"]},
    {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"},
    {"SOPClassUID": "1.3.6.1.4.1.9999.1"},
    {"Modality": None},
    {"SeriesDescription": "胸部正面 側面", "SpecificCharacterSet": "ISO_IR 192"},
    {"PatientOrientation": b"Left\\Inferior"},
    {"PatientOrientation": ["L", "L"]},
    {"SeriesDescription": "Thorax PA LL"},
    {"SeriesDescription": "LL lobe follow-up"},
    {"SeriesDescription": "術後 手術 胸部".encode()},
    {"SeriesDescription": "ОГК прямая и боковая".encode()},
    {"BodyPartExamined": "CHESTABDOMEN"},
    {"ProtocolName": "RLL pneumonia, clear AP"},
    {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
    {"PatientSpeciesDescription": "Homo sapiens"},
    {"AcquisitionDeviceProcessingDescription": "CHEST PA"},
    {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "PatientOrientation": ["L", "F"]},
    {"StudyDescription": "Chest and left hand"},
    {"StudyDescription": "Hand", "BodyPartExamined": "CHEST"},
    {"Modality": "RF"},
    {"Modality": "XR"},
    {"ImageType": ["DERIVED", "PRIMARY", "POST_PROCESSED", "RT", "", "", "", "100000"]},
    {"ImageType": ["ORIGINAL", "PRIMARY", "", ""]},
    {"SeriesDescription": "Thorax p.a. und seitlich"},
    {"SeriesDescription": "Chest P/A, lateral"},
    {"SeriesDescription": "Chest posterior-anterior and lateral"},
    {"SeriesDescription": "Lungenübersicht", "SpecificCharacterSet": "ISO_IR 100"},
    *(
        {"StudyDescription": text}
        for text in (
            *(
                "CHEST PA AND LATERAL",
                "XR CHEST 2 VIEW LATERAL",
                "CHEST+LAT",
                "Chest and lateral",
                "CHEST PA/LAT",
                "CHEST",
            ),
            *("Thorax in 2 Ebenen", "XR CHEST 2 VIEWS", "Thorax face et profil", "Chest with lateral decubitus"),
        )
    ),
    {"StudyDescription": "Chest lateral", "PerformedProcedureStepDescription": "Chest PA"},
    {"StudyDescription": "Chest lateral", "SeriesDescription": "W Chest PA"},
    {"PerformedProcedureStepDescription": "Chest lateral", "ViewPosition": "PA"},
    {"RequestAttributesSequence": step("Chest PA, lateral")},
]


@pytest.mark.parametrize(("elements", "what"), AGAINST)
def test_what_the_header_says_against_a_frontal_chest_is_refused(make_dicom, stored, fault, elements, what):
    assert fault(make_dicom(stored, **elements)) == (
        f"a.dcm: no frontal chest radiograph by its header ({what}); give a frontal chest radiograph, "
        "or add --force if it is one"
    )


@pytest.mark.parametrize(("elements", "what"), AGAINST)
def test_with_force_it_is_read_and_noted(make_dicom, stored, elements, what):
    radiograph = read_radiograph(make_dicom(stored, **elements), force=True)
    np.testing.assert_allclose(radiograph.pixels, stored / 4095, atol=1e-6)
    assert radiograph.source.notes[0] == f"{what}: no frontal chest radiograph by its header, read all the same"


@pytest.mark.parametrize("elements", FOR)
def test_what_says_nothing_against_one_is_read(make_dicom, stored, elements):
    assert not [note for note in read_radiograph(make_dicom(stored, **elements)).source.notes if "frontal" in note]


def test_all_that_speaks_against_it_is_told(make_dicom, stored, fault):
    path = make_dicom(stored, ViewPosition="LL", PatientOrientation=["A", "F"], BodyPartExamined="KNEE")
    assert "(ViewPosition LL; PatientOrientation A\\F; BodyPartExamined KNEE)" in fault(path)


def test_another_modality_is_read_with_force_where_it_has_one_image(make_dicom, stored, fault):
    path = make_dicom(stored, Modality="XA", SOPClassUID=XRayAngiographicImageStorage)
    assert fault(path).startswith("a.dcm: Modality XA (X-Ray Angiographic Image Storage), not a radiograph's")
    radiograph = read_radiograph(path, force=True)
    assert radiograph.source.notes[0] == "Modality XA: no frontal chest radiograph by its header, read all the same"


@pytest.mark.parametrize("modality", ["TG", "EPS", "DG", "US", "MR", "PX", "XA", "mr "])
def test_modalities_of_the_standard_that_make_no_radiograph(make_dicom, stored, fault, modality):
    assert fault(make_dicom(stored, Modality=modality)).startswith(f"a.dcm: Modality {modality.strip().upper()} (")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("StudyDescription", "Left knee 3 views"), ("BodyPartExamined", "EYE"), ("BodyPartExamined", "GI")),
        *(("RequestedProcedureDescription", "XR ankle"), ("PerformedProcedureStepDescription", "Hand")),
    ],
)
def test_what_may_be_another_part_is_noted(make_dicom, stored, name, value):
    told = f"{name} {value}: perhaps no frontal chest radiograph"
    assert told in read_radiograph(make_dicom(stored, **{name: value})).source.notes
    notes = read_radiograph(make_dicom(stored, **{name: value}, SeriesDescription="Thorax")).source.notes
    assert told not in notes
