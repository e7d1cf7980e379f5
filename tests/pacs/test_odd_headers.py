"""DICOM objects of images whose headers hold what others wrote: LUTs, empty windows, wrong values, lost detail."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from cxrcad.core import Box, Finding, ModelIdentity, Result, WriteError
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.examining import Examined
from cxrcad.pacs import codes, objects
from cxrcad.pacs.evidence import Author
from cxrcad.pacs.objects import KINDS, Objects
from tests.pacs.conftest import radiograph
from tests.pacs.test_objects import named, of_tool

pytest.importorskip("highdicom")

BOX = Box(12.3, 20.1, 30.2, 41.0)
FOUND = (Finding("nodule", 0.9, BOX, BOX.center, 300.0), Finding("nodule", 0.3, Box(1, 1, 9, 9), (5.0, 5.0), 60.0))
AUTHOR = Author(ModelIdentity("toy", "b" * 64, 0.5, "cpu"), {"min_score": 0.1})
TOP = 2**12 - 1


def table(entries: np.ndarray, bits: int) -> pydicom.Dataset:
    """A VOI LUT, its entries in the words of 16 bits that DICOM has for them."""
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), 0, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def made(folder: Path, kinds: tuple[str, ...] = ("sr", "cad-sr", "seg", "gsps", "sc"), **changes: object) -> dict:
    """The objects by their kind of a radiograph in which elements are changed; one given as None is left out."""
    image = radiograph(2)
    for name, value in changes.items():
        image.pop(name, None)
        if value is not None:
            setattr(image, name, value)
    scan = folder / "scan.dcm"
    image.save_as(scan, enforce_file_format=True)
    read = read_radiograph(scan, force=True)
    result = Result(str(scan), read.source.sha256, *read.pixels.shape, None, None, FOUND)
    files = {kind: folder / f"{kind}.dcm" for kind in kinds}
    assert Objects({str(scan): files}, AUTHOR, "nodule", None).write(result, Examined(result, {}, None, read)) is None
    return files


def check(files: dict) -> None:
    for kind, file in files.items():
        said = of_tool("dciodvfy", "-new", file).splitlines()
        assert not [line for line in said if line.startswith(("Error", "Abort"))], kind


VOI_LUT = table(np.linspace(0, TOP, TOP + 1) ** 2 / TOP, 12)


@pytest.mark.parametrize(
    ("changes", "voi"),
    [
        ({"VOILUTSequence": [VOI_LUT]}, "VOILUTSequence"),  # and a window, as many have both
        ({"VOILUTSequence": [], "WindowCenter": "", "WindowWidth": ""}, None),
        ({"VOILUTSequence": [pydicom.Dataset()], "WindowWidth": "0"}, None),
        ({"WindowCenter": ["2000", ""], "WindowWidth": ["4000", "3"]}, "WindowCenter"),
        ({"WindowCenterWidthExplanation": ["A", "B"], "VOILUTFunction": "FOO"}, "WindowCenter"),
        ({"RescaleSlope": "2", "RescaleIntercept": None, "RescaleType": ""}, "WindowCenter"),
        ({"ModalityLUTSequence": []}, "WindowCenter"),
    ],
)
def test_a_presentation_state_shows_what_was_read_whatever_the_header_lacks(tmp_path, changes, voi):
    files = made(tmp_path, ("gsps",), **changes)
    check(files)
    softcopy = pydicom.dcmread(files["gsps"]).get("SoftcopyVOILUTSequence")
    if voi is None:
        assert softcopy is None
        return
    assert voi in softcopy[0]
    of_tool("dcmp2pgm", "--pstate", files["gsps"], tmp_path / "scan.dcm", tmp_path / "shown.pgm")
    shown = np.asarray(Image.open(tmp_path / "shown.pgm")).astype(float) / 255
    assert np.abs(shown - read_radiograph(tmp_path / "scan.dcm").pixels).max() < 0.02


def test_a_time_a_side_or_an_orientation_that_is_none_is_not_taken_over(tmp_path):
    wrong = {"StudyTime": "256199", "ContentTime": "1", "Laterality": "Q", "PatientOrientation": ["L", "F", "H"]}
    files = made(tmp_path, **wrong)
    check(files)
    assert pydicom.dcmread(files["sr"]).StudyTime == ""


def test_a_capture_of_an_image_that_lost_detail_or_shows_a_name_says_so(tmp_path):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12",
             "LossyImageCompressionMethod": "ISO_10918_1"}  # fmt: skip
    files = made(tmp_path, ("sc",), BurnedInAnnotation="YES", **lossy)
    check(files)
    capture = pydicom.dcmread(files["sc"])
    assert (capture.BurnedInAnnotation, capture.LossyImageCompression) == ("YES", "01")
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == radiograph(2).SOPInstanceUID
    assert "BurnedInAnnotation" not in pydicom.dcmread(made(tmp_path, ("sc",), BurnedInAnnotation=None)["sc"])


def test_uids_are_those_of_uuids_and_the_model_is_one_device_for_all_images(tmp_path):
    devices = set()
    for number in range(3):
        report = pydicom.dcmread(made(tmp_path, ("sr",), SOPInstanceUID=f"1.2.{number}")["sr"])
        (device,) = (item.UID for item in named(report, "UIDREF", "Device Observer UID"))
        devices.add(device)
        for uid in (report.SOPInstanceUID, report.SeriesInstanceUID, device):
            known = uuid.UUID(int=int(uid.removeprefix("2.25.")))
            assert (known.variant, known.bytes[6] >> 4) == (uuid.RFC_4122, 8)
    assert len(devices) == 1


def test_codes_are_the_standard_s():
    from pydicom.sr._concepts_dict import concepts

    known = {value: name[0] for names in concepts["SCT"].values() for value, name in names.items()}
    terms = {codes.LUNG, codes.ABNORMAL, codes.ANATOMY, codes.BOUNDED, *codes.LESIONS.values(), *codes.SITES.values()}
    for value, meaning in terms:
        assert known[value].startswith(meaning)


@pytest.mark.parametrize("error", [IndexError("list index out of range"), LookupError("unknown encoding: x")])
def test_whatever_a_header_leads_to_is_a_sentence_but_a_full_disk_is_raised(tmp_path, monkeypatch, error):
    def make(evidence):
        raise error

    kinds = tuple(objects.Kind(kind.name, kind.series, kind.title, make) for kind in KINDS)
    monkeypatch.setattr(objects, "KINDS", kinds)
    with pytest.raises(AssertionError, match="its header does not allow it"):
        made(tmp_path, ("sr",))
    error = WriteError("sr.dcm: cannot be written (No space left on device)")
    with pytest.raises(WriteError):
        made(tmp_path, ("sr",))
