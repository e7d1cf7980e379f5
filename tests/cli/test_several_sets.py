"""--data given twice: trained, resumed, evaluated, drawn; one set has lung masks and labels differ."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

TINY = (
    *("--fold", 1, "--network", "u-net", "--norm", "group", "--side", 64, "--batch", 2, "--max-steps", 3),
    *("--precision", "fp32", "--threads", 1, "--device", "cpu", "--min-area-mm2", 30, "--peak-distance-mm", 20),
)


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten boxed lesions, every other one a mass, of 64 x 64 pixels; no lung masks, no spacing."""
    folder = tmp_path_factory.mktemp("sets") / "BOXED"
    folder.mkdir()
    lines = ["file,x0,y0,x1,y1,label,patient"]
    for number in range(10):
        image = np.full((64, 64), 40, np.uint8)
        image[-1, -4:] -= np.arange(1, 5, dtype=np.uint8)
        x, y = 20 + 2 * number, 24
        image[y - 3 : y + 4, x - 3 : x + 4] = 230
        Image.fromarray(image).save(folder / f"b{number}.png")
        label = "mass" if number % 2 else "nodule"
        lines.append(f"b{number}.png,{x - 3},{y - 3},{x + 4},{y + 4},{label},p{number}")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def clear(tmp_path):
    """Five radiographs without a lesion."""
    folder = tmp_path / "CLEAR"
    folder.mkdir()
    rows, cols = np.mgrid[:64, :64]
    lines = ["file,x0,y0,x1,y1,label,patient"]
    for number in range(5):
        Image.fromarray((60 + rows + cols + number).astype(np.uint8)).save(folder / f"n{number}.png")
        lines.append(f"n{number}.png,,,,,,q{number}")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_set_without_a_lesion_has_false_positives_and_some_sets_are_scored(cxrcad, boxed, clear, tmp_path):
    run = tmp_path / "run"
    answer = cxrcad("train", "--data", boxed, "--data", clear, *TINY, "--tasks", "single", "--run", run)
    assert answer.code == 0, answer.err
    options = ("--run", run, "--protocol", "boxed", "--threshold", 0, "--resamples", 50, "--no-report")
    answer = cxrcad("evaluate", *options)
    assert answer.code == 0, answer.err
    part = answer.out.split("Data set CLEAR. ")[1].split("Data set")[0]
    assert "false positives per image" in part
    assert "F1" not in part
    (document,) = json.loads((run / "evaluation.json").read_text())["runs"]
    sets = document["data_sets"]
    assert not [key for key in sets["BOXED"] if key.startswith(("sensitivity", "CPM"))]  # it has no normals
    name = "false positives an image"
    assert list(sets["CLEAR"]) == [name]
    assert sets["CLEAR"][name]["value"] == document["figures"][name]["value"]  # protocol boxed counts them in normals
    answer = cxrcad("froc", *options[:-1])
    assert answer.code == 0, answer.err
    assert "data_sets" not in json.loads((run / "froc.json").read_text())  # neither set has a curve of its own
    answer = cxrcad("evaluate", *options, "--sets", "BOXED,CLEAR")
    assert answer.code == 0, answer.err
    answer = cxrcad("evaluate", *options, "--sets", "OTHER")
    assert (answer.code, answer.err.splitlines()[-1]) == (
        *(1, "Error: --sets: there is no data set 'OTHER'; choose from BOXED, CLEAR"),
    )


def test_a_run_on_two_sets_is_trained_resumed_and_scored(cxrcad, boxed, disc_data, tmp_path):
    run, data = tmp_path / "run", ("--data", disc_data, "--data", boxed)
    answer = cxrcad("train", *data, *TINY, "--run", run)
    assert answer.code == 0, answer.err
    assert "training cases have no lung mask: they add no lung loss" in answer.err
    kept = tomllib.loads((run / "fold1" / "config.toml").read_text())
    assert kept["data"] == [str(disc_data), str(boxed)]
    card = json.loads((run / "fold1" / "model" / "card.json").read_text())
    assert card["training"]["config"]["data"] == f"{disc_data.name}, BOXED"
    assert {"b0", "JPCLN001"} <= set(json.loads((run / "content.json").read_text())["cases"])

    again = cxrcad("train", "--resume", "--run", run)
    assert again.code == 0, again.err
    assert "fold 1 is finished already" in again.err
    one = cxrcad("train", "--resume", "--run", run, "--data", boxed)
    assert one.code == 1
    assert "data" in one.err
    assert cxrcad("train", "--resume", "--run", run, *data[2:], *data[:2]).code == 0

    answer = cxrcad("evaluate", "--run", run, "--protocol", "jsrt-247", "--resamples", 50, "--no-report")
    assert answer.code == 0, answer.err
    assert f"Data {disc_data}, {boxed}, protocol jsrt-247" in answer.out
    (document,) = json.loads((run / "evaluation.json").read_text())["runs"]
    strata = {(one["kind"], one["name"]): one["n_nodules"] for one in document["strata"] if one["kind"] != "location"}
    assert strata["data set", "BOXED"] == strata["data set", disc_data.name] == 2
    assert strata["label", "nodule"] + strata["label", "mass"] == 4
    assert sorted(document["data_sets"]) == sorted(["BOXED", disc_data.name])
    assert answer.out.count("Data set ") == 2

    answer = cxrcad("froc", "--run", run, "--protocol", "jsrt-247", "--resamples", 50)
    assert answer.code == 0, answer.err
    froc = json.loads((run / "froc.json").read_text())
    parts = froc["data_sets"]
    assert {name: part["nodules"] for name, part in parts.items()} == {"BOXED": 2, disc_data.name: 2}
    assert sum(part["images"] for part in parts.values()) == froc["images"]
    assert ", data set BOXED\n" in answer.out


def test_false_positives_are_outside_the_lungs_only_where_a_mask_says_so(cxrcad, boxed, disc_data, make_toy, tmp_path):
    """A toy that finds what is bright: false positives of BOXED are in images without a mask."""
    toy = make_toy(tmp_path / "toy", threshold=0.1)
    answer = cxrcad(
        *("evaluate", "--model", toy, "--data", disc_data, "--data", boxed, "--fold", "all", "--no-report"),
        *("--resamples", 0, "--protocol", "jsrt-247"),
    )
    assert answer.code == 0, answer.err
    matches = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "toy").glob("fold?/matches-*.json")]
    images = [image for one in matches for image in one["images"]]
    assert {image["data_set"] for image in images} == {"BOXED", disc_data.name}
    inside = {image["data_set"]: {found["in_lung"] for found in image["findings"]} for image in images}
    assert inside["BOXED"] <= {None}


def test_labels_go_with_the_run(cxrcad, boxed, disc_data, tmp_path):
    run = tmp_path / "run"
    data = ("--data", disc_data, "--data", boxed)
    answer = cxrcad("train", *data, *TINY, "--run", run, "--labels", "nodule")
    assert answer.code == 0, answer.err
    assert "--labels nodule: left out, no lesion of this label: b1, b3, b5 and 2 more (5 images)" in answer.err
    assert not {"b1", "b3"} & set(json.loads((run / "content.json").read_text())["cases"])
    answer = cxrcad("evaluate", "--run", run, "--resamples", 0, "--no-report")
    assert answer.code == 0, answer.err
    answer = cxrcad("evaluate", "--run", run, "--resamples", 0, "--no-report", *data, "--labels", "nodule,mass")
    assert answer.code == 1
    assert "give the data that the folds were made from" in answer.err


def test_a_settings_file_lists_the_sets_or_names_one(cxrcad, boxed, disc_data, tmp_path):
    copy = shutil.copytree(boxed, tmp_path / "one")
    for text in (f'data = ["{disc_data}", "{boxed}"]', f'data = "{copy}"'):
        (tmp_path / "own.toml").write_text(text + "\n")
        answer = cxrcad("evaluate", "--config", tmp_path / "own.toml", "--run", tmp_path / "none")
        assert "there is no such run" in answer.err
    (tmp_path / "own.toml").write_text('data = ["a", 3]\n')
    answer = cxrcad("evaluate", "--config", tmp_path / "own.toml")
    assert (answer.code, "data is 3; it takes a path or a list of them" in answer.err) == (2, True)


def test_the_paper_s_items_take_one_set(cxrcad, boxed, disc_data):
    answer = cxrcad("reproduce", "table2", "--data", disc_data, "--data", boxed)
    assert answer.code == 2
    assert "2 folders, where an item of the paper is made on one data set" in answer.err
