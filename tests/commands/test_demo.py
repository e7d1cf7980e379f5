"""`cxrcad demo`: phantoms, boxes beside the truth, overlays and a report, with a toy model for the packaged one."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from PIL import Image


@pytest.fixture
def packaged(make_toy, tmp_path, monkeypatch):
    """Toy deeplabv3plus-real in an otherwise empty shelf: bright discs are nodules, and so is much else."""
    make_toy(tmp_path / "shelf" / "deeplabv3plus-real", grid={"side": 256}, threshold=0.05)
    monkeypatch.setattr("cxrcad.inference.model.models_folder", lambda: tmp_path / "shelf")
    return tmp_path / "shelf"


def test_the_demo_prints_boxes_beside_the_truth_and_writes_its_files(cxrcad, packaged, tmp_path):
    answer = cxrcad("demo", "--cases", "2", "--out", "show")
    assert answer.code == 0, answer.err
    assert answer.err.startswith("writing 2 phantom scans as DICOM\ndetecting with deeplabv3plus-real on ")
    lines = answer.out.splitlines()
    assert lines[0] == "JPCLN001"
    truth = [line for line in lines if line.strip().startswith("truth")]
    assert re.fullmatch(r"    truth    center \(\d+, \d+\) px, \d+ mm, subtlety 5", truth[0])
    assert truth[1] == "    truth    no nodule"
    assert any(re.match(r"    finding  center \(\d+, \d+\) px, score \d\.\d\d, box", line) for line in lines)
    assert sum(line.startswith("    hits ") for line in lines) == 2
    assert re.fullmatch(r"[01] of 1 nodule found in 2 phantoms with deeplabv3plus-real", lines[-4])
    assert lines[-3:] == ["boxes: show/boxes.json", "overlays: show/overlays", "report: show/report.html"]
    document = json.loads((tmp_path / "show" / "boxes.json").read_text())
    assert [image["path"] for image in document["images"]] == [
        *("show/scans/images/JPCLN001.dcm", "show/scans/images/JPCNN001.dcm")
    ]
    assert (document["images"][0]["rows"], document["failures"]) == (2048, [])
    with Image.open(tmp_path / "show" / "overlays" / "JPCLN001.png") as picture:
        assert picture.size == (1024, 1024)
    page = (tmp_path / "show" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "Phantoms are drawn, not real patients." in page
    assert page.count("Research only, not for diagnosis.") == 2
    assert "with <code>cxrcad demo --out show --cases 2 --seed 0</code>" in page
    assert re.search(r"JPCLN001</strong><br>nodule of \d+ mm, subtlety 5[^:]*: hits [01], missed [01], false pos", page)
    assert "JPCNN001</strong><br>no nodule: hits 0, missed 0, false positives " in page
    assert not re.search(r'src="(?!data:)|href=|<script', page)
    (tmp_path / "show" / "report.html").unlink()  # as if it had been stopped
    (tmp_path / "show" / "overlays" / "mine.png").write_text("mine")
    again = cxrcad("demo", "--cases", "1", "--out", "show")
    assert (again.code, again.err.splitlines()[0]) == (0, "writing 1 phantom scan as DICOM")
    assert re.search(r"^[01] of 1 nodule found in 1 phantom with deeplabv3plus-real$", again.out, re.MULTILINE)
    assert (tmp_path / "show" / "report.html").is_file()
    assert sorted(path.name for path in (tmp_path / "show" / "overlays").iterdir()) == ["JPCLN001.png", "mine.png"]


def test_what_an_earlier_demo_found_does_not_stand_beside_other_scans(cxrcad, packaged, tmp_path, monkeypatch):
    assert cxrcad("demo", "--cases", "1", "--out", "show").code == 0

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("cxrcad.commands.demo.detect_paths", stop)
    assert cxrcad("demo", "--cases", "1", "--seed", "1", "--out", "show").code == 130
    assert {path.name for path in (tmp_path / "show").iterdir()} == {"scans", "overlays"}
    assert list((tmp_path / "show" / "overlays").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--out", "used"], 2, "--out used: holds other files; name a new folder"),
        (["--out", "file"], 2, "--out file: is a file; name a folder"),
    ],
)
def test_a_place_that_holds_something_else_is_left_alone(cxrcad, packaged, tmp_path, flags, code, sentence):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "report.tex").write_text("mine")
    (tmp_path / "file").write_text("mine")
    answer = cxrcad("demo", *flags)
    assert (answer.code, answer.out, answer.err) == (code, "", f"Error: {sentence}\n")
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["report.tex"]


def test_without_a_packaged_model_nothing_is_written(cxrcad, packaged, tmp_path):
    shutil.rmtree(packaged / "deeplabv3plus-real")
    answer = cxrcad("demo", "--out", "show")
    assert answer.code == 1
    assert answer.err.startswith("Error: deeplabv3plus-real: no packaged model has this name")
    assert not (tmp_path / "show").exists()
