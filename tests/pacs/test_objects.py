"""DICOM objects of four studies: two findings, none, MONOCHROME1 without spacing, a Japanese patient."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from cxrcad.cli.detect import OBJECTS
from cxrcad.imaging.read import read_radiograph
from cxrcad.pacs.objects import KINDS
from cxrcad.pacs.seg import box_mask
from cxrcad.synthesis.files import dicom_bytes

pytest.importorskip("highdicom")

SIDE = 250  # no multiple of the model's 64: boxes do not lie on whole pixels
BACKGROUND, DISC = 0.2, 0.95
DISCS = {"two": [(70, 90), (180, 150)], "none": [], "mono": [(70, 90)], "japanese": [(180, 150)]}
NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう"
STUDIES, NAMES = tuple(DISCS), tuple(kind.name for kind in KINDS)


def phantom(discs, number, name, **changes) -> bytes:
    """A Digital X-Ray file with bright discs (x, y) of 20 pixels; an element given as None is left out."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    pixels = (BACKGROUND + 0.1 * rows / SIDE).astype(np.float32)
    if not discs:  # the toy takes what is brightest for a nodule, so nothing may be it
        squares = np.kron(np.random.default_rng(0).random((64, 64)), np.ones((4, 4)))
        pixels = squares[:SIDE, :SIDE].astype(np.float32)
    for x, y in discs:
        pixels[(rows - y) ** 2 + (cols - x) ** 2 <= 100] = DISC
    return changed(dicom_bytes(pixels, name, number, 0, "Female", 60), **changes)


def changed(data: bytes, **changes) -> bytes:
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    buffer = pydicom.filebase.DicomBytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def of_tool(name: str, *arguments: object) -> str:
    """What a program of Debian's dicom3tools or dcmtk says, or a skip."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    done = subprocess.run([name, *map(str, arguments)], capture_output=True)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_toy, command_line):
    """A folder with the four studies, boxes.json, and their objects in `objects`."""
    folder = tmp_path_factory.mktemp("pacs")
    make_toy(folder / "toy")
    changes = {
        "two": {"StudyDate": "20240102", "StudyTime": "101112"},
        "none": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Nováková^Žofie"},
        "mono": {"ImagerPixelSpacing": None, "SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"},
        "japanese": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": NAME},
    }
    for number, name in enumerate(STUDIES, 1):
        inverted = 1 if name == "mono" else 0
        data = phantom(DISCS[name], 2 * number + inverted, name, **changes[name])
        (folder / f"{name}.dcm").write_bytes(data)
    answer = detect(command_line, folder)
    assert answer.code == 0, answer.err
    return folder


def detect(command_line, folder, *words, kinds=NAMES, paths=None, objects="objects"):
    files = paths or [folder / f"{name}.dcm" for name in STUDIES]
    folders = [part for kind in kinds for part in (f"--{kind}", folder / objects)]
    return command_line(folder, "detect", *files, "--model", folder / "toy", "--device", "cpu", *folders, *words)


def object_of(made: Path, study: str, kind: str) -> Path:
    return made / "objects" / f"{study}.{kind}.dcm"


def findings_of(made: Path, study: str) -> list[dict]:
    images = json.loads((made / "boxes.json").read_text())["images"]
    return next(image["findings"] for image in images if Path(image["path"]).stem == study)


def outline(finding: dict) -> list[float]:
    box = finding["box_px"]
    x0, y0, x1, y1 = (box[name] for name in ("x0", "y0", "x1", "y1"))
    return [x0, y0, x1, y0, x1, y1, x0, y1, x0, y0]


def items(dataset, kind: str) -> list:
    """All content items of a report of this value type, in their order."""
    below = dataset.get("ContentSequence", ())
    return [found for item in below for found in ([item] if item.ValueType == kind else []) + items(item, kind)]


def named(dataset, kind: str, meaning: str) -> list:
    found = (item for item in items(dataset, kind) if "ConceptNameCodeSequence" in item)
    return [item for item in found if item.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def test_the_studies_have_the_findings_that_they_were_drawn_with(made):
    assert [len(findings_of(made, study)) for study in STUDIES] == [2, 0, 1, 1]
    assert findings_of(made, "mono")[0]["diameter_mm"] is None


def test_every_kind_has_its_option():
    assert tuple(OBJECTS) == NAMES


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("kind", NAMES)
def test_dciodvfy_finds_no_error_and_gives_no_warning(made, study, kind):
    said = of_tool("dciodvfy", "-new", object_of(made, study, kind)).splitlines()
    assert said  # the name of the IOD, at least
    said = [line for line in said if "would be needed to build DICOMDIR" not in line]  # as of no study date
    assert not [line for line in said if line.startswith(("Error", "Abort", "Warning"))]


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("kind", ["sr", "cad-sr"])
def test_dsrdump_reads_the_reports(made, study, kind):
    said = of_tool("dsrdump", object_of(made, study, kind))
    assert said.count("Tracking Unique Identifier") == len(findings_of(made, study)) + (
        kind == "sr" and not findings_of(made, study)
    )


@pytest.mark.parametrize("study", STUDIES)
def test_the_boxes_of_the_reports_and_of_the_presentation_state_are_those_of_boxes_json(made, study):
    findings = findings_of(made, study)
    report, cad = (pydicom.dcmread(object_of(made, study, kind)) for kind in ("sr", "cad-sr"))
    state = pydicom.dcmread(object_of(made, study, "gsps"))
    drawn = [
        one.GraphicData for layer in state.get("GraphicAnnotationSequence", ()) for one in layer.GraphicObjectSequence
    ]
    for found in (
        [item.GraphicData for item in named(report, "SCOORD", "Image Region")],
        [item.GraphicData for item in named(cad, "SCOORD", "Outline")],
        drawn,
    ):
        assert len(found) == len(findings)
        for data, finding in zip(found, findings, strict=True):
            assert list(data) == pytest.approx(outline(finding), abs=0.01)
    centers = [list(item.GraphicData) for item in named(cad, "SCOORD", "Center")]
    assert centers == [pytest.approx(finding["center_px"], abs=0.01) for finding in findings]


@pytest.mark.parametrize("study", STUDIES)
def test_the_numbers_of_the_reports_are_those_of_boxes_json_and_mm_are_left_out_where_unknown(made, study):
    findings = findings_of(made, study)
    for kind in ("sr", "cad-sr"):
        report = pydicom.dcmread(object_of(made, study, kind))
        for name, values in (
            ("Certainty of Finding", [100 * one["score"] for one in findings]),
            ("Diameter", [one["diameter_mm"] for one in findings if one["diameter_mm"] is not None]),
            ("Area", [one["area_mm2"] for one in findings if one["area_mm2"] is not None]),
        ):
            numbers = [float(one.MeasuredValueSequence[0].NumericValue) for one in named(report, "NUM", name)]
            assert numbers == pytest.approx(values, abs=1e-6)
        sha256 = json.loads((made / "boxes.json").read_text())["model"]["sha256"]
        assert f"model SHA-256 {sha256}" in [one.TextValue for one in named(report, "TEXT", "Algorithm Parameters")]


def test_no_findings_are_said(made):
    (absent,) = named(pydicom.dcmread(object_of(made, "none", "sr")), "CODE", "Nodule")
    assert absent.ConceptCodeSequence[0].CodeMeaning == "Absent"
    (summary,) = named(
        pydicom.dcmread(object_of(made, "none", "cad-sr")), "CODE", "CAD Processing and Findings Summary"
    )
    assert summary.ConceptCodeSequence[0].CodeMeaning == "All algorithms succeeded; without findings"


@pytest.mark.parametrize("study", STUDIES)
def test_the_masks_of_the_segmentation_are_exactly_the_boxes(made, study):
    import highdicom

    findings = findings_of(made, study)
    read = highdicom.seg.segread(object_of(made, study, "seg"))
    image = pydicom.dcmread(made / f"{study}.dcm", stop_before_pixels=True)
    masks = read.get_pixels_by_source_instance([image.SOPInstanceUID])[0]
    assert masks.shape == (SIDE, SIDE, len(findings) + 1)
    rows, cols = np.mgrid[:SIDE, :SIDE] + 0.5
    for index, finding in enumerate(findings):
        x0, y0, x1, y1 = (finding["box_px"][name] for name in ("x0", "y0", "x1", "y1"))
        assert np.array_equal(masks[..., index] > 0, (x0 <= cols) & (cols < x1) & (y0 <= rows) & (rows < y1))
        assert masks[..., index].any()
    assert masks[..., -1].all()  # the toy finds lungs everywhere
    assert read.SegmentSequence[len(findings)].SegmentLabel == "lung fields"


def test_a_box_s_mask_has_the_pixels_whose_centre_lies_in_it():
    from cxrcad.core import Box

    mask = box_mask(Box(1.5, 0, 3.4, 1.6), 4, 5)
    assert mask.astype(int).tolist() == [[0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("study", STUDIES)
def test_the_presentation_state_passes_and_shows_the_radiograph_as_it_was_read(made, study, tmp_path):
    state, image = object_of(made, study, "gsps"), made / f"{study}.dcm"
    assert "Test passed" in of_tool("dcmpschk", state)
    of_tool("dcmp2pgm", "--pstate", state, image, tmp_path / "shown.pgm")
    shown = np.asarray(Image.open(tmp_path / "shown.pgm")).astype(float) / 255
    pixels = read_radiograph(image).pixels
    assert shown.std() > 0.05
    assert np.abs(shown - pixels).max() < 0.01  # dense is bright in both; dcmp2pgm draws no boxes


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("kind", NAMES)
def test_patient_study_and_character_set_are_the_image_s(made, study, kind):
    image, one = pydicom.dcmread(made / f"{study}.dcm"), pydicom.dcmread(object_of(made, study, kind))
    for name in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime"):
        assert one[name].value == image[name].value
    assert one.get("SpecificCharacterSet") == image.get("SpecificCharacterSet")
    assert str(one.PatientName) == str(image.PatientName)
    assert one.SeriesInstanceUID != image.SeriesInstanceUID
    assert one.SOPInstanceUID.startswith("2.25.")
    moment = ("20240102", "101112") if study == "two" else ("19000101", "000000")
    assert (one.InstanceCreationDate, one.InstanceCreationTime) == moment


def test_one_finding_has_one_tracking_uid_in_all_objects(made):
    report, cad = (pydicom.dcmread(object_of(made, "two", kind)) for kind in ("sr", "cad-sr"))
    uids = [one.UID for one in named(report, "UIDREF", "Tracking Unique Identifier")]
    assert len(set(uids)) == 2
    assert [one.UID for one in named(cad, "UIDREF", "Tracking Unique Identifier")] == uids
    segments = pydicom.dcmread(object_of(made, "two", "seg")).SegmentSequence
    assert [one.TrackingUID for one in segments][:2] == uids
    (layer,) = pydicom.dcmread(object_of(made, "two", "gsps")).GraphicAnnotationSequence
    assert [one.TrackingUID for one in layer.GraphicObjectSequence] == uids


def test_the_capture_is_coloured_and_says_that_it_is_for_research(made, command_line):
    one = pydicom.dcmread(object_of(made, "two", "sc"))
    picture = one.pixel_array
    orange = (picture == (255, 176, 0)).all(-1)
    assert orange[:40].sum() > 200
    assert orange[40:].sum() > 200
    answer = command_line(made, "detect", made / "objects", "--model", made / "toy", "--out", made / "again.json")
    assert answer.code == 1  # no object is taken for a radiograph
    assert len(json.loads((made / "again.json").read_text())["skipped"]) == len(STUDIES) * len(NAMES)


def test_a_second_run_gives_the_same_bytes_and_other_settings_other_uids(made, command_line):
    assert detect(command_line, made, objects="second").code == 0
    for one in (made / "objects").iterdir():
        assert one.read_bytes() == (made / "second" / one.name).read_bytes()
    assert detect(command_line, made, "--threshold", "0.8", objects="third", kinds=["sr"]).code == 0
    first, third = (pydicom.dcmread(made / name / "two.sr.dcm") for name in ("objects", "third"))
    assert first.StudyInstanceUID == third.StudyInstanceUID
    assert first.SOPInstanceUID != third.SOPInstanceUID
    assert first.SeriesInstanceUID != third.SeriesInstanceUID


def test_resume_makes_what_is_missing_or_of_another_model_and_leaves_the_rest(made, command_line):
    folder = made / "resumed"
    arguments = {"kinds": ["sr", "seg"], "objects": "resumed"}
    assert detect(command_line, made, "--out", "resumed.json", **arguments).code == 0
    whole = {one.name: one.read_bytes() for one in folder.iterdir()}
    (folder / "two.seg.dcm").unlink()
    (folder / "mono.sr.dcm").write_bytes((made / "mono.dcm").read_bytes())
    before = (folder / "none.sr.dcm").stat().st_ino
    answer = detect(command_line, made, "--out", "resumed.json", "--resume", **arguments)
    assert answer.code == 0
    assert "2 of 4 files done before" in answer.err
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == whole
    assert (folder / "none.sr.dcm").stat().st_ino == before


def test_of_a_png_there_is_no_object_but_its_finding(made, command_line, disc_data):
    scan, second = (disc_data / "images" / f"JPCLN00{number}.png" for number in (1, 2))
    sentence = f"no DICOM object: {scan}: a file that is no DICOM names no patient, study or image"
    for words in ((), ("--resume",)):
        options = {"kinds": ["sr"], "paths": [scan, second, made / "two.dcm"], "objects": "mixed"}
        answer = detect(command_line, made, "--out", "mixed.json", *words, **options)
        assert answer.code == 1
        assert sentence in answer.err
        assert answer.err.count("no DICOM object: ") == 1  # of many files one line tells all
        assert "2 images have a note as this: a file that is no DICOM names no patient, study or image" in answer.err
        assert "3 images done, 4 findings, 2 without a DICOM object, " in answer.err
        document = json.loads((made / "mixed.json").read_text())
        assert [len(image["findings"]) for image in document["images"]] == [1, 1, 2]
        assert document["failures"] == []
        assert [one.name for one in (made / "mixed").iterdir()] == ["two.sr.dcm"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"StudyInstanceUID": None}, "no StudyInstanceUID, to which a DICOM object could refer"),
        ({"SOPClassUID": "1.2.3.4"}, "its header does not allow it"),
    ],
)
def test_a_header_that_allows_no_object_is_told(made, command_line, tmp_path, changes, words):
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(changed((made / "two.dcm").read_bytes(), **changes))
    answer = detect(command_line, made, "--out", "odd.json", kinds=["sr"], paths=[scan], objects="odd")
    assert answer.code == 1
    assert words in answer.err
    assert "1 without a DICOM object" in answer.err


def test_a_header_with_wrong_dates_and_sex_and_a_packed_file_are_taken(made, command_line, tmp_path):
    scan = tmp_path / "scan.dcm.gz"
    data = phantom(DISCS["two"], 2, "odd", StudyDate="20240102")
    data = data.replace(b"CS\x02\x00F ", b"CS\x02\x00X ").replace(b"DA\x08\x0020240102", b"DA\x08\x0020249902")
    scan.write_bytes(gzip.compress(data))
    assert detect(command_line, made, "--out", "gz.json", paths=[scan], objects="gz").code == 0
    one = pydicom.dcmread(made / "gz" / "scan.dcm.sr.dcm")
    assert (one.PatientSex, one.StudyDate) == ("", "")


def test_files_of_one_name_get_numbers_and_no_radiograph_is_overwritten(made, command_line, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(made / "two.dcm", tmp_path / name / "x.dcm")
    paths = [tmp_path / "a", tmp_path / "b"]
    assert detect(command_line, made, "--out", "n.json", kinds=["sr"], paths=paths, objects="numbered").code == 0
    assert sorted(os.listdir(made / "numbered")) == ["x-2.sr.dcm", "x.sr.dcm"]
    shutil.copy(made / "two.dcm", tmp_path / "a" / "x.sr.dcm")
    before = (tmp_path / "a" / "x.sr.dcm").read_bytes()
    answer = detect(command_line, made, kinds=["sr"], paths=paths, objects=tmp_path / "a")
    assert answer.code == 2
    assert "is a radiograph and would be overwritten; name a new folder" in answer.err
    assert (tmp_path / "a" / "x.sr.dcm").read_bytes() == before


def test_without_highdicom_a_sentence_says_what_to_install(made, command_line, monkeypatch):
    monkeypatch.setattr("cxrcad.pacs.peers.importlib.util.find_spec", lambda name: None)
    answer = detect(command_line, made, kinds=["sr", "seg"])
    assert answer.code == 2
    assert "--sr, --seg: the package highdicom is missing; install it with pip install 'cxrcad[dicom]'" in answer.err
