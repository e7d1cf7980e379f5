"""`cxrcad detect --no-identifiers`: no path, name or UID in any file that is written, and what is refused beside it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

SECRETS = ("MUELLER", "mueller", "19531224", "1.2.840.99", "QUIRK")
"""Of these none may stand anywhere: parts of folders, files, links, archives and headers of `scans`."""


@pytest.fixture(scope="module")
def model(make_toy, tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("models") / "toy")


def write_dicom(path: Path, number: int, **values: object) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    rows, cols = np.mgrid[:64, :64]
    pixels = 100 + 5 * rows + cols + 2000 * ((rows - 30) ** 2 + (cols - 20 - number) ** 2 < 16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, f"1.2.840.99.{number}"
    dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "1.2.840.99.1000"
    dataset.PatientName, dataset.PatientID, dataset.SeriesDescription = "MUELLER^QUIRK", "19531224", "PA MUELLER"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def scans(tmp_path):
    """Radiographs whose paths and headers name a patient, beside all that makes sentences quote a name."""
    folder = tmp_path / "data" / "MUELLER_QUIRK"
    folder.mkdir(parents=True)
    for number in range(3):
        write_dicom(folder / f"mueller-{number}.dcm", number)
    write_dicom(folder / "quoted.dcm", 4, PatientOrientation=["QUIRK", "MUELLER"])
    write_dicom(folder / "forced.dcm", 5, SeriesDescription="LATERAL MUELLER")
    write_dicom(folder / "colour.dcm", 6, PhotometricInterpretation="MUELLER")
    whole = (folder / "mueller-0.dcm").read_bytes()
    (folder / "mueller-cut.dcm").write_bytes(whole[:-3000])
    (folder / "letter-to-mueller.txt").write_text("MUELLER")
    (folder / "report").write_text("QUIRK")
    (folder / "mueller-lost.png").symlink_to("19531224 MUELLER.png")
    (folder / "again").symlink_to(folder)
    (folder / "mueller.mha").write_text(
        "ObjectType = Image\nNDims = 2\nDimSize = 64 64\nElementType = MET_UCHAR\nElementDataFile = 19531224.raw\n"
    )
    with zipfile.ZipFile(folder / "mueller.zip", "w") as archive:
        archive.writestr("../MUELLER.dcm", whole)
        archive.writestr("QUIRK/inner.dcm", (folder / "mueller-1.dcm").read_bytes()[:-2000])
    return folder


OUTPUTS = (
    *("--out", "out/boxes.json", "--csv", "out/boxes.csv", "--coco", "out/coco.json", "--node21", "out/nodules.json"),
    *("--html", "out/page.html", "--overlay", "out/MUELLER-pictures"),
)


def test_no_path_name_or_uid_is_in_anything_that_is_written(cxrcad, model, scans, boxes_schema, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    answer = cxrcad("detect", scans, "--model", model, "--force", "--no-identifiers", *OUTPUTS)
    assert answer.code == 1
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 5 + 5
    for path in files:
        content = path.name.encode() + path.read_bytes()
        for secret in (*SECRETS, str(tmp_path)):
            assert secret.encode() not in content, (path, secret)
    document = json.loads((tmp_path / "out" / "boxes.json").read_text())
    jsonschema.validate(document, boxes_schema)
    assert document["identifiers"] is False
    digests = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in scans.glob("*") if path.is_file()}
    names = ["forced.dcm", "mueller-0.dcm", "mueller-1.dcm", "mueller-2.dcm", "quoted.dcm"]
    assert sorted(digests[image["path"]] for image in document["images"]) == names
    for image in document["images"]:
        assert image["path"] == image["sha256"]
        assert image["overlay"] == f"{image['sha256']}.png"
        assert "uids" not in image
    assert [image["path"] for image in document["images"]] == sorted(image["path"] for image in document["images"])
    failed = {digests.get(one["path"], one["path"]) for one in document["failures"]}
    assert "mueller-cut.dcm" in failed
    assert len([name for name in failed if name.startswith("input-")]) >= 1
    assert "MUELLER" in answer.err  # the one who runs it reads which file failed, and as what it is written
    written = next(one["path"] for one in document["failures"] if digests.get(one["path"]) == "mueller-cut.dcm")
    assert f"(written as {written})" in answer.err


def test_a_run_that_is_gone_on_with_and_merged_parts_give_the_same(cxrcad, model, scans, tmp_path):
    def read(path):
        document = json.loads((tmp_path / path).read_text())
        for image in document["images"]:
            del image["seconds"], image["notes"]
        return document

    options = ("--model", model, "--no-identifiers")
    cxrcad("detect", scans, *options, "--html", "page.html", "--out", "whole.json")
    before, page = read("whole.json"), (tmp_path / "page.html").read_text()
    answer = cxrcad("detect", scans, *options, "--html", "page.html", "--out", "whole.json", "--resume")
    assert "4 of 9 files done before" in answer.err
    assert read("whole.json") == before
    assert (tmp_path / "page.html").read_text() == page  # pictures are those of the files
    for part in (1, 2):
        cxrcad("detect", scans, *options, "--shard", f"{part}/2", "--out", f"part-{part}.json")
    assert cxrcad("merge", "part-1.json", "part-2.json", "--out", "merged.json").code == 0
    assert read("merged.json") == before


def test_what_was_made_with_identifiers_is_not_mixed_with_what_was_made_without(cxrcad, model, scans, tmp_path):
    scan = scans / "mueller-0.dcm"
    assert cxrcad("detect", scan, "--model", model, "--out", "named.json").code == 0
    assert cxrcad("detect", scan, "--model", model, "--out", "bare.json", "--no-identifiers").code == 0
    answer = cxrcad("detect", scan, "--model", model, "--out", "named.json", "--no-identifiers", "--resume")
    assert answer.code == 2
    assert "--resume: named.json was made with identifiers true, and now it is identifiers false" in answer.err
    assert cxrcad("detect", scan, "--model", model, "--out", "bare.json", "--resume").code == 2
    answer = cxrcad("merge", "named.json", "bare.json", "--out", "both.json")
    assert answer.code == 2
    assert not (tmp_path / "both.json").exists()


@pytest.mark.parametrize("kind", ["sr", "cad-sr", "seg", "gsps", "sc"])
def test_dicom_objects_are_refused(cxrcad, model, scans, tmp_path, kind):
    answer = cxrcad("detect", scans / "mueller-0.dcm", "--model", model, "--no-identifiers", f"--{kind}", "objects")
    assert answer.code == 2
    assert f"--no-identifiers: a DICOM object names patient, study and image; leave out --{kind}" in answer.err
    assert not (tmp_path / "boxes.json").exists()


def test_a_folder_of_overlays_that_holds_radiographs_is_refused(cxrcad, model, scans):
    answer = cxrcad("detect", scans, "--model", model, "--no-identifiers", "--overlay", scans)
    assert answer.code == 2
    assert "is a radiograph in it; name a folder that holds none" in answer.err


def test_the_owner_of_the_images_scores_what_holds_no_names(cxrcad, model, disc_data, tmp_path):
    from cxrcad.interchange.predictions import read_predictions
    from cxrcad.interchange.truth import read_truth

    images = sorted((disc_data / "images").glob("JPC*.png"))
    options = ("--model", model, "--min-score", 0)
    cxrcad("detect", *images, *options, "--out", "named.json")
    cxrcad(
        "detect", *images, *options, "--out", "bare.json", "--no-identifiers", "--csv", "bare.csv", "--coco", "c.json"
    )
    truth = read_truth(disc_data)
    known = read_predictions(tmp_path / "named.json", truth)
    assert sum(map(len, known.values())) > 0
    for name in ("bare.json", "bare.csv", "c.json"):
        found = read_predictions(tmp_path / name, truth, missing="empty")
        boxes = {case: [(one.score, one.box_px) for one in findings] for case, findings in found.items()}
        assert boxes == {case: [(one.score, one.box_px) for one in findings] for case, findings in known.items()}


def test_results_that_are_there_are_merged_without_identifiers(cxrcad, model, scans, boxes_schema, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    cxrcad("detect", scans, "--model", model, "--force", "--overlay", "pictures")
    before = (tmp_path / "boxes.json").read_bytes()
    tables = ("--csv", "out/boxes.csv", "--coco", "out/coco.json", "--node21", "out/nodules.json")
    answer = cxrcad("merge", "boxes.json", "--no-identifiers")
    assert answer.code == 2  # the names would be lost
    assert "--out boxes.json: is one of the parts and would be overwritten" in answer.err
    assert cxrcad("merge", "boxes.json", "--no-identifiers", "--out", "out/shared.json", *tables).code == 0
    for path in (tmp_path / "out").iterdir():
        for secret in (*SECRETS, str(tmp_path), "pictures"):
            assert secret.encode() not in path.read_bytes(), (path, secret)
    merged, named = json.loads((tmp_path / "out" / "shared.json").read_text()), json.loads(before)
    jsonschema.validate(merged, boxes_schema)
    assert sorted(image["path"] for image in named["images"]) != sorted(image["path"] for image in merged["images"])
    assert sorted(image["sha256"] for image in named["images"]) == [image["path"] for image in merged["images"]]
    assert [len(merged[part]) for part in ("failures", "skipped")] == [
        len(named[part]) for part in ("failures", "skipped")
    ]
    assert cxrcad("merge", "out/shared.json", "--no-identifiers", "--out", "again.json").code == 0
    assert json.loads((tmp_path / "again.json").read_text()) == merged
    assert (tmp_path / "boxes.json").read_bytes() == before
