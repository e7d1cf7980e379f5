"""`cxrcad froc`: the table, and froc.png, .svg, .json and .csv beside the run."""

from __future__ import annotations

import csv
import json
from xml.etree import ElementTree

import pytest
from PIL import Image


@pytest.fixture
def run(make_run, tmp_path):
    return make_run(tmp_path / "runs" / "toy", folds=(1, 3))


def test_the_table_goes_to_stdout_and_four_files_beside_the_fold(cxrcad, run):
    answer = cxrcad("froc", "--fold", "3")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0] == "u-net, multi-task (toy)"
    assert "Scored: fold 3: 2 images, 2 nodules." in lines
    assert "Published" not in answer.out
    start = lines.index("FP/image  sensitivity") + 1
    assert [line.split()[0] for line in lines[start : start + 7]] == ["1/8", "1/4", "1/2", "1", "2", "4", "8"]
    assert lines[start] == "     1/8  100.0 %"  # half of the resamples have no false positive
    assert lines[start + 6] == "       8  not reached"
    assert lines[start + 7] == "     CPM  100.0 % (lower bound: an unreached rate takes the last one)"
    places = ", ".join(f"runs/toy/fold3/froc.{ending}" for ending in ("json", "csv", "png", "svg"))
    assert lines[-1] == f"written: {places}"


def test_the_files_hold_the_curve(cxrcad, run):
    cxrcad("froc", "--fold", "3")
    fold = run / "fold3"
    document = json.loads((fold / "froc.json").read_text())
    assert (document["schema"], document["images"], document["nodules"]) == ("cxrcad/froc/1", 2, 2)
    assert [point["fp_per_image"] for point in document["sensitivities"]] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert document["sensitivities"][0] == {"fp_per_image": 0.125, "sensitivity": 1.0, "low": None, "high": None}
    assert document["sensitivities"][-1]["sensitivity"] is None
    assert document["cpm"] == {"value": 1.0, "low": None, "high": None}
    with (fold / "froc.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["hits"]) for row in rows] == [point["hits"] for point in document["points"]]
    assert float(rows[-1]["sensitivity"]) == 1.0
    with Image.open(fold / "froc.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) >= 600
    svg = ElementTree.parse(fold / "froc.svg").getroot()
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"


def test_all_folds_are_pooled_in_the_run_s_folder(cxrcad, run):
    answer = cxrcad("froc")
    assert "Scored: folds 1, 3: 4 images, 4 nodules." in answer.out
    assert json.loads((run / "froc.json").read_text())["folds"] == [1, 3]


def test_a_second_run_is_printed_and_drawn_beside_the_first(cxrcad, run, make_run, tmp_path):
    make_run(tmp_path / "runs" / "single", outputs=("lesion",), finished=1_000)
    answer = cxrcad("froc", "--fold", "3", "--run", "runs/toy", "--beside", "runs/single")
    assert answer.code == 0, answer.err
    assert answer.out.index("u-net, multi-task (toy)") < answer.out.index("u-net, single-task (single)")
    text = "".join(ElementTree.parse(run / "fold3" / "froc.svg").getroot().itertext())
    svg = (run / "fold3" / "froc.svg").read_text()
    assert "single-task (single)" in text or "single-task (single)" in svg
    assert (tmp_path / "runs" / "single" / "fold3" / "froc.json").is_file()


def test_two_runs_of_one_name_keep_both_curves(cxrcad, run, make_run, tmp_path):
    make_run(tmp_path / "elsewhere" / "toy")
    answer = cxrcad("froc", "--fold", "3", "--beside", "elsewhere/toy")
    titles = [line for line in answer.out.splitlines() if line.startswith("u-net, ")]
    assert titles == ["u-net, multi-task (runs/toy)", "u-net, multi-task (elsewhere/toy)"]


def test_results_go_where_out_says(cxrcad, run, tmp_path):
    cxrcad("froc", "--fold", "3", "--out", "figures")
    assert sorted(path.name for path in (tmp_path / "figures" / "fold3").iterdir()) == [
        *("froc.csv", "froc.json", "froc.png", "froc.svg", "matches-paper-center.json")
    ]


def test_without_data_three_lines_say_how_to_get_it_and_how_to_try_without(cxrcad):
    answer = cxrcad("froc", "--fold", "3")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (1, "", 3)
    assert "Japanese Society of Radiological Technology" in answer.err
    assert "`cxrcad phantom OUT`" in answer.err
