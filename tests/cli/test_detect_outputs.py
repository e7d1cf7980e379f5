"""`cxrcad detect` and `merge` with --csv, --coco and --node21: the boxes of boxes.json, and where they may go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrcad.interchange.predictions import read_predictions
from cxrcad.interchange.truth import read_truth

FILES = ("--csv", "t/boxes.csv", "--coco", "t/coco.json", "--node21", "t/nodules.json")


@pytest.fixture(scope="module")
def model(make_toy, tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture
def scan(disc_data, tmp_path):
    content = (disc_data / "images" / "JPCLN001.png").read_bytes()
    (tmp_path / "scan.png").write_bytes(content)
    return content


def test_all_files_of_one_run_and_of_its_merged_parts_hold_the_boxes_of_boxes_json(cxrcad, model, disc_data, tmp_path):
    images = sorted((disc_data / "images").glob("JPC*.png"))[:4]
    assert cxrcad("detect", *images, "--model", model, "--min-score", 0, *FILES).code == 0
    sides = [{"name": image.name, "rows": 64, "cols": 64, "nodules": []} for image in images]
    (tmp_path / "truth.json").write_text(json.dumps({"schema": "cxrcad/truth/1", "images": sides}))
    truth = read_truth(tmp_path / "truth.json")

    def found(path):
        read = read_predictions(tmp_path / path, truth, missing="empty")
        return {name: [(one.score, one.box_px) for one in findings] for name, findings in read.items()}

    whole = found("boxes.json")
    assert sum(map(len, whole.values())) >= 2
    for path in FILES[1::2]:
        assert found(path) == whole, path
    written = [(tmp_path / path).read_bytes() for path in FILES[1::2]]
    for part in (1, 2):
        options = ("--model", model, "--min-score", 0, "--shard", f"{part}/2", "--out", f"part-{part}.json")
        assert cxrcad("detect", *images, *options).code == 0
    assert cxrcad("merge", "part-1.json", "part-2.json", "--out", "merged.json", *FILES).code == 0
    assert [(tmp_path / path).read_bytes() for path in FILES[1::2]] == written


def test_a_finished_document_gets_the_other_files_without_detecting_again(cxrcad, model, scan, tmp_path):
    assert cxrcad("detect", "scan.png", "--model", model).code == 0
    answer = cxrcad("detect", "scan.png", "--model", model, "--resume", "--coco", "coco.json", "--out", "boxes.json")
    assert "1 of 1 file done before" in answer.err
    assert len(json.loads((tmp_path / "coco.json").read_text())["annotations"]) == 1
    assert cxrcad("merge", "boxes.json", "--csv", "boxes.csv").code == 0
    assert len((tmp_path / "boxes.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--csv", "-"), "--csv -: the file is not written to standard output; name a file"),
        (("--csv", "folder"), "--csv folder: is a folder; name the file, for example folder/csv.csv"),
        (("--coco", "boxes.json"), "--coco boxes.json: is also the file of --out; name another file"),
        (
            ("--coco", "x.json", "--node21", "./x.json"),
            "--node21 x.json: is also the file of --coco",
        ),
        (("--csv", "x.json"), "--csv x.json: its ending is .json; end the name in .csv"),
        (("--node21", "x.csv"), "--node21 x.csv: its ending is .csv; end the name in .json"),
        (
            ("--csv", "scan.png"),
            "--csv scan.png: is one of the radiographs and would be overwritten",
        ),
        (("--coco", "scan.png/x.json"), "--coco scan.png/x.json: scan.png is a file, not a folder; name another place"),
    ],
)
def test_a_file_that_cannot_be_there_is_refused_before_any_work(cxrcad, model, scan, tmp_path, options, sentence):
    (tmp_path / "folder").mkdir()
    answer = cxrcad("detect", "scan.png", "--model", model, *options)
    assert answer.code == 2
    assert sentence in answer.err
    assert not (tmp_path / "boxes.json").exists()
    assert (tmp_path / "scan.png").read_bytes() == scan


def test_merge_overwrites_no_part(cxrcad, model, scan, tmp_path):
    assert cxrcad("detect", "scan.png", "--model", model, "--out", "part.json").code == 0
    before = (tmp_path / "part.json").read_bytes()
    answer = cxrcad("merge", "part.json", "--out", "whole.json", "--coco", "part.json")
    assert answer.code == 2
    assert "--coco part.json: is one of the parts and would be overwritten; name another file" in answer.err
    assert not Path(tmp_path / "whole.json").exists()
    assert (tmp_path / "part.json").read_bytes() == before


def test_a_file_that_cannot_be_written_in_the_end_loses_nothing(cxrcad, model, scan, tmp_path, monkeypatch):
    from cxrcad.core import WriteError
    from cxrcad.interchange import outputs

    real = outputs.write_atomically

    def full(path, data):
        if path.suffix == ".csv":
            raise WriteError(f"{path}: cannot be written (No space left on device); choose another place or make room")
        real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(outputs, "write_atomically", full)
        answer = cxrcad("detect", "scan.png", "--model", model, "--csv", "x.csv")
    assert answer.code == 1
    assert "boxes.json.jsonl holds what was found, and --resume goes on from it" in answer.err
    assert (tmp_path / "boxes.json.jsonl").is_file()
    assert cxrcad("detect", "scan.png", "--model", model, "--csv", "x.csv", "--resume").code == 0
    assert (tmp_path / "x.csv").is_file()
    assert not (tmp_path / "boxes.json.jsonl").exists()
