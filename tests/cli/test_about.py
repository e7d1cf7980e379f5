"""`cxrcad info`, `cxrcad models` and `cxrcad phantom`."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image


def test_info_says_what_a_radiograph_is(cxrcad, disc_data):
    path = disc_data / "images" / "JPCLN001.png"
    lines = dict(line.split(maxsplit=1) for line in cxrcad("info", path).out.splitlines() if len(line.split()) == 2)
    assert (lines["kind"], lines["format"], lines["rows"], lines["cols"]) == ("radiograph", "PNG", "64", "64")
    facts = json.loads(cxrcad("info", path, "--json").out)
    assert facts["path"] == str(path)
    assert (facts["rows"], facts["cols"], facts["spacing_mm"], facts["spacing_from"]) == (64, 64, None, None)
    assert len(facts["sha256"]) == 64
    assert "8 bit, 0-255 to 0-1" in facts["notes"]


def test_info_of_several_says_what_each_is(cxrcad, disc_data, make_run, tmp_path):
    make_run(tmp_path / "run", folds=(2,))
    path = disc_data / "images" / "JPCLN001.png"
    first, second = cxrcad("info", path, "run").out.split("\n\n")
    assert first.startswith("kind")
    assert second == "run: a run; finished folds: 2\n"
    answer = cxrcad("info", "none.png", "run")
    assert (answer.code, answer.out) == (1, "\nrun: a run; finished folds: 2\n")
    assert "failed: none.png: there is no such file" in answer.err


def test_info_says_where_a_spacing_comes_from(cxrcad, tmp_path):
    (tmp_path / "a.IMG").write_bytes((np.arange(2048 * 2048) % 4096).astype(">u2").tobytes())
    facts = json.loads(cxrcad("info", "a.IMG", "--json").out)
    assert (facts["rows"], facts["spacing_mm"]) == (2048, [0.175, 0.175])
    assert facts["spacing_from"]


def test_info_says_what_a_run_and_a_model_are(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "run", folds=(2, 5))
    assert cxrcad("info", "run").out == "run: a run; finished folds: 2, 5\n"
    assert json.loads(cxrcad("info", "run", "--json").out) == {
        "kind": "run",
        "path": "run",
        "finished_folds": [2, 5],
        "whole": False,
    }
    lines = cxrcad("info", "run/fold2").out.splitlines()
    assert lines[0] == "run-fold2"
    assert "  network      u-net, tasks lesion, lung" in lines
    assert "  grid         shorter side 64 pixels" in lines
    assert "  threshold    0.9" in lines
    assert json.loads(cxrcad("info", "run/fold2/model", "--json").out)["schema"] == "cxrcad/model/1"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("none", "none: no packaged model has this name and there is no such folder; packaged models: "),
        ("empty", "empty: holds neither card.json nor model/card.json"),
        ("table.txt", "table.txt: text, not an image (3 bytes)"),
        ("cut.png", "cut.png: "),
    ],
)
def test_info_of_something_else_is_one_sentence(cxrcad, tmp_path, path, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.txt").write_text("a b")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    answer = cxrcad("info", path)
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (1, "", 1)
    assert answer.err.startswith(f"Error: {sentence}")


@pytest.fixture
def packaged(make_toy, tmp_path, monkeypatch):
    make_toy(tmp_path / "shelf" / "one")
    make_toy(tmp_path / "shelf" / "two", outputs=("lesion",))
    monkeypatch.setattr("cxrcad.inference.model.models_folder", lambda: tmp_path / "shelf")
    return tmp_path / "shelf"


def test_a_network_that_its_card_does_not_name_is_unknown(cxrcad, packaged):
    card = json.loads((packaged / "one" / "card.json").read_text())
    card["network"] = dict.fromkeys(card["network"])
    (packaged / "one" / "card.json").write_text(json.dumps(card))
    assert "  network      unknown, tasks lesion, lung" in cxrcad("models").out.splitlines()


def test_models_lists_what_is_packaged(cxrcad, packaged):
    answer = cxrcad("models")
    assert answer.code == 0
    first, second = answer.out.split("\n\n")
    assert first.splitlines()[0] == "one"
    assert "  network      u-net, tasks lesion" in second.splitlines()
    assert "  trained on   0 images, 7 steps" in second.splitlines()
    cards = json.loads(cxrcad("models", "--json").out)
    assert [card["name"] for card in cards] == ["one", "two"]


def test_a_damaged_model_is_named(cxrcad, packaged):
    (packaged / "two" / "model.onnx").write_bytes(b"x")
    answer = cxrcad("models")
    assert answer.code == 1
    assert answer.err.startswith(f"Error: {packaged / 'two' / 'model.onnx'}: its SHA-256 is ")


def test_no_models_is_no_error(cxrcad, packaged):
    shutil.rmtree(packaged)
    packaged.mkdir()
    answer = cxrcad("models")
    assert (answer.code, answer.out[:29]) == (0, "no models are packaged here; ")
    assert cxrcad("models", "--json").out == "[]\n"


def test_phantoms_are_written_in_jsrt_s_layout_from_a_seed(cxrcad, tmp_path):
    small = ["--cases", "3", "--image-side", "256", "--format", "png"]
    answer = cxrcad("phantom", "one", *small, "--seed", "4")
    assert (answer.code, answer.out, answer.err) == (0, "one: 3 phantoms, 2 with a nodule\n", "phantom: 3 phantoms\n")
    assert sorted(path.name for path in (tmp_path / "one" / "images").iterdir()) == [
        *("JPCLN001.png", "JPCLN002.png", "JPCNN001.png")
    ]
    assert len((tmp_path / "one" / "CLNDAT_EN.txt").read_text().splitlines()) == 2
    with Image.open(tmp_path / "one" / "images" / "JPCLN001.png") as picture:
        assert picture.size == (256, 256)
    again = cxrcad("phantom", "one", *small, "--seed", "4")
    assert again.out == "one: 3 phantoms, 2 with a nodule, in place of those that were there\n"
    alone = cxrcad("phantom", "alone", "--cases", "1", "--image-side", "256", "--format", "png")
    assert alone.out == "alone: 1 phantom, 1 with a nodule\n"
    cxrcad("phantom", "same", *small, "--seed", "4")
    cxrcad("phantom", "other", *small, "--seed", "5")
    images = (tmp_path / name / "images" / "JPCLN002.png" for name in ("one", "same", "other"))
    first, same, other = (image.read_bytes() for image in images)
    assert first == same
    assert first != other


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--cases", "0"], 2, "--cases 0: it takes a whole number at least 1"),
        (["--format", "bmp"], 2, "--format bmp: choose from img, dcm, png"),
        (
            ["--image-side", "512"],
            2,
            "--image-side 512: a JSRT .IMG is always 2048 x 2048; leave --image-side out, or add --format png",
        ),
    ],
)
def test_phantoms_that_cannot_be(cxrcad, tmp_path, flags, code, sentence):
    answer = cxrcad("phantom", "out", *flags)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith(f"Error: {sentence}")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(cxrcad, tmp_path):
    (tmp_path / "file").write_text("")
    answer = cxrcad("phantom", "file", "--cases", "1", "--image-side", "256", "--format", "png")
    assert answer.code in (1, 2)
    assert answer.err.startswith("Error: ")
    assert "file" in answer.err
