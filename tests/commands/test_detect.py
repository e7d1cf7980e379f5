"""`cxrcad detect` as a library call: its summary, its overlays' names, and places that cannot be."""

from __future__ import annotations

import json
import zipfile

import pytest

from cxrcad.commands.detect import detect_to_file, open_detector
from cxrcad.config import DetectConfig, build
from cxrcad.core import UsageError
from tests.told import Told


@pytest.fixture
def settings(make_toy, tmp_path):
    make_toy(tmp_path / "toy")
    return lambda **values: build(DetectConfig, {"model": str(tmp_path / "toy"), "device": "cpu", **values})


def test_the_summary_counts_images_findings_and_failures(settings, disc_data, tmp_path):
    told = Told()
    out = tmp_path / "boxes.json"
    paths = [disc_data / "images" / "JPCLN001.png", disc_data / "images" / "JPCNN001.png", tmp_path / "none.dcm"]
    summary = detect_to_file(settings(min_score=0.0), paths, out, None, told)
    assert summary.failed == 1
    count = sum(len(image["findings"]) for image in json.loads(out.read_text())["images"])
    assert summary.sentence.startswith(f"2 images done, {count} findings, 1 failed, ")
    assert summary.sentence.endswith(f" s; {out}")
    assert told.steps == [1, 2, 3]
    assert told.notes == [f"failed: {tmp_path / 'none.dcm'}: there is no such file; check the path"]


def test_what_lies_beside_radiographs_is_skipped(settings, disc_data, boxes_schema, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.png").write_bytes((disc_data / "images" / "JPCLN001.png").read_bytes())
    (folder / "report").write_text("nothing found")
    with zipfile.ZipFile(folder / "old.zip", "w") as archive:
        archive.write(folder / "a.png", "inner/a.png")
        archive.writestr("notes.txt", "")
    told = Told()
    summary = detect_to_file(settings(), [folder], tmp_path / "boxes.json", tmp_path / "overlays", told)
    assert summary.failed == 0
    assert summary.sentence.startswith("2 images done, 2 findings, 2 skipped, ")
    assert (told.notes, told.steps) == ([], [1, 2])
    document = json.loads((tmp_path / "boxes.json").read_text())
    jsonschema.validate(document, boxes_schema)
    assert [image["path"] for image in document["images"]] == [
        str(folder / "a.png"),
        str(folder / "old.zip" / "inner" / "a.png"),
    ]
    assert [one["path"] for one in document["skipped"]] == [
        str(folder / "old.zip" / "notes.txt"),
        str(folder / "report"),
    ]
    assert document["skipped"][1]["reason"].startswith(f"{folder / 'report'}: text, not an image (13 bytes); ")
    overlays = [str(tmp_path / "overlays" / name) for name in ("a.png", "a-2.png")]
    assert [image["overlay"] for image in document["images"]] == overlays
    assert sorted(map(str, (tmp_path / "overlays").iterdir())) == sorted(overlays)


def test_an_archive_is_not_overwritten(settings, disc_data, tmp_path):
    path = tmp_path / "scans.png"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(disc_data / "images" / "JPCLN001.png", "scans.png")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="would be overwritten"):
        detect_to_file(settings(), [path], path, None, Told())
    with pytest.raises(UsageError, match="would be overwritten"):
        detect_to_file(settings(), [path], print, tmp_path, Told())
    assert path.read_bytes() == before


def test_stdout_gets_the_document_and_no_file(settings, disc_data, tmp_path):
    taken: list[str] = []
    summary = detect_to_file(settings(), [disc_data / "images" / "JPCLN001.png"], taken.append, None, Told())
    assert summary.sentence.startswith("1 image done, 1 finding, ")
    assert summary.sentence.endswith(" s")
    (text,) = taken
    assert json.loads(text)["images"][0]["rows"] == 64


def test_the_ending_of_the_file_chooses_the_format(settings, disc_data, tmp_path):
    detect_to_file(settings(), [disc_data / "images" / "JPCLN001.png"], tmp_path / "boxes.csv", None, Told())
    head, row = (tmp_path / "boxes.csv").read_text().splitlines()
    assert head == "name,x_min,y_min,x_max,y_max,probability,label,diameter_mm"
    assert row.startswith(f"{disc_data / 'images' / 'JPCLN001.png'},")


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_stopped_detection_gives_the_document_of_what_is_done(settings, disc_data, stop_after):
    class Stopped(Told):
        def step(self, done_steps, loss=None):
            if done_steps == stop_after:
                raise KeyboardInterrupt

    told, taken = Stopped(), []
    paths = [disc_data / "images" / f"JPCLN00{number}.png" for number in (1, 2, 3)]
    words = f"^stopped; the document holds the {stop_after} of 3 files that were done$"
    with pytest.raises(KeyboardInterrupt, match=words):
        detect_to_file(settings(), paths, taken.append, None, told)
    (text,) = taken
    assert [image["path"] for image in json.loads(text)["images"]] == list(map(str, paths[:stop_after]))
    assert told.notes == []


def test_a_detection_that_is_stopped_before_the_first_file_gives_no_document(settings, disc_data, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("cxrcad.commands.detect.detect_each", stop)
    told, taken = Told(), []
    with pytest.raises(KeyboardInterrupt):
        detect_to_file(settings(), [disc_data / "images" / "JPCLN001.png"], taken.append, None, told)
    assert (taken, told.notes) == ([], [])


def test_only_settings_that_were_changed_go_before_the_card_s(settings):
    assert open_detector(settings()).bundle.find.min_area_mm2 == 30.0
    changed = open_detector(settings(threshold=0.25, grow=0.7)).bundle.find
    assert (changed.threshold, changed.grow, changed.min_area_mm2) == (0.25, 0.7, 30.0)


def test_files_of_one_name_get_numbered_overlays(settings, disc_data, tmp_path):
    data = (disc_data / "images" / "JPCLN001.png").read_bytes()
    for name in ("a/x.png", "b/x.png", "c/x-2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in ("c", "a", "b")]
    detect_to_file(settings(), paths, tmp_path / "boxes.json", tmp_path / "ov", Told())
    assert sorted(path.name for path in (tmp_path / "ov").iterdir()) == ["x-2.png", "x-3.png", "x.png"]


def test_an_input_is_never_overwritten(settings, disc_data, tmp_path):
    scan = tmp_path / "scan.png"
    scan.write_bytes((disc_data / "images" / "JPCLN001.png").read_bytes())
    (tmp_path / "link.json").symlink_to(scan)
    before = scan.read_bytes()
    with pytest.raises(UsageError, match="is one of the radiographs and would be overwritten"):
        detect_to_file(settings(), [scan], tmp_path / "link.json", None, Told())
    with pytest.raises(UsageError, match=r"scan\.png is a radiograph and would be overwritten; name a new folder"):
        detect_to_file(settings(), [scan], print, tmp_path, Told())
    assert scan.read_bytes() == before
