"""The insertion-artefact test: which radiographs and nodules it takes, its text, and its document."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest

from cxrcad.commands.insertion_test import run_insertion_test
from cxrcad.config import InsertionTestConfig, build
from cxrcad.core import DataError, ModelError, UsageError
from cxrcad.datasets.content import content_of
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.report.insertion_test import verdict_sentence
from cxrcad.scoring.insertion_test import VERSIONS


@pytest.fixture
def measure(make_toy, nih_folder, ball_nodules, tmp_path):
    """`measure(**settings)` -> (text, document) of a toy model, which finds what is bright, on two radiographs."""
    toy = str(make_toy(tmp_path / "toy"))

    def run(**values):
        settings = {"model": toy, "backgrounds": nih_folder, "nodules": ball_nodules, "limit": 2, "device": "cpu"}
        settings = {**settings, "threads": 1, "resamples": 100, "out": tmp_path / "out", **values}
        text = run_insertion_test(build(InsertionTestConfig, settings))
        return text, json.loads((tmp_path / "out" / "insertion_test.json").read_text())

    return run


def test_a_detector_of_brightness_sees_the_nodule_and_no_background_patch(measure, tmp_path):
    text, document = measure()
    figures = document["figures"]
    assert figures["difference nodule"]["value"] > 0.05
    for patch in ("contralateral", "blurred"):
        assert abs(figures[f"difference sham {patch}"]["value"]) < 0.02
    assert (document["verdict"], document["held_out"]) == ("below", None)
    assert text.rstrip().endswith(": below the bound of 0.05.")
    assert (tmp_path / "out" / "insertion_test.md").read_text() == text
    assert "The model may have been trained on some of them" in text
    scores = [one["scores"] for one in document["radiographs"]]
    assert [list(one) for one in scores] == [list(VERSIONS)] * 2
    for name in VERSIONS:
        assert figures[f"mean {name}"]["value"] == pytest.approx(np.mean([one[name] for one in scores]))
    paired = np.mean([one["nodule"] - one["untouched"] for one in scores])
    assert figures["difference nodule"]["value"] == pytest.approx(paired)
    above = [(a["nodule"] > b["untouched"]) + (a["nodule"] == b["untouched"]) / 2 for a in scores for b in scores]
    assert figures["AUC nodule"]["value"] == pytest.approx(np.mean(above)) != 0.5


def test_one_patient_gives_no_interval_and_no_verdict(measure):
    text, document = measure(limit=1)
    assert document["figures"]["mean nodule"]["low"] is None
    assert document["verdict"] == "undecided"
    assert "1 radiograph of 1 patient." in text
    assert measure(limit=2, resamples=0)[1]["verdict"] == "undecided"


def test_images_of_a_patient_are_drawn_together(measure, nih_folder):
    table = nih_folder / "metadata.csv"
    table.write_text(table.read_text().replace(",101,", ",100,").replace(",102,", ",100,").replace(",103,", ",100,"))
    text, document = measure(limit=4)
    assert "4 radiographs of 1 patient." in text
    assert document["figures"]["mean untouched"]["low"] is None


@pytest.fixture
def known_patients(disc_data, tmp_path):
    """`disc_data` with patient 102 and ball 2's series in a test case of fold 3, patient 100 in one of fold 1."""
    data = tmp_path / "data"
    shutil.copytree(disc_data, data)
    splits = make_folds(read_dataset(disc_data), 2020)
    rows = ["file,patient,series_uid", f"{splits[2].test[0]},102,1.2", f"{splits[0].test[0]},100,1.1"]
    (data / "sources.csv").write_text("\n".join(rows) + "\n")
    return data


def test_a_fold_takes_only_patients_and_series_that_it_holds_out(measure, known_patients):
    text, document = measure(limit=None, data=known_patients, fold="3")
    assert [(one["patient"], one["nodule"]) for one in document["radiographs"]] == [("102", 1)]
    assert document["held_out"] == f"the test cases of fold 3 of {known_patients}"
    dataset = read_dataset(known_patients)
    tested = dataset.select(make_folds(dataset, 2020)[2].test)
    assert document["content"] == {case.name: asdict(content_of(case)) for case in tested}
    assert f"Their patients are in the test cases of fold 3 of {known_patients}." in text
    assert "1 nodule of held-out CT series." in text
    _, every = measure(limit=None, data=known_patients, fold="all")
    assert sorted(one["patient"] for one in every["radiographs"]) == ["100", "102"]
    _, no_fold = measure(limit=None, data=known_patients)
    assert sorted(one["patient"] for one in no_fold["radiographs"]) == ["100", "101", "102", "103"]
    assert (no_fold["content"], no_fold["settings_sha256"]) == ({}, document["settings_sha256"])


def test_nodules_that_are_of_no_held_out_series_are_said_to_be_that(measure, known_patients):
    table = known_patients / "sources.csv"
    table.write_text(table.read_text().replace(",1.2", ",9.9"))
    text, document = measure(limit=None, data=known_patients, fold="3")
    assert "none is of a held-out CT series, so the model may have been trained on them" in text
    assert document["nodules_are"].startswith("none is of a held-out CT series")


def test_the_seed_decides_which_radiographs_and_places(measure):
    def places(**values):
        return [(one["file"], one["x_px"], one["y_px"]) for one in measure(**values)[1]["radiographs"]]

    first = places(seed=1, limit=1)
    assert places(seed=1, limit=1) == first
    assert places(seed=2, limit=1) != first


def test_analytic_nodules_need_no_file_and_results_go_to_the_models_folder(make_toy, nih_folder, tmp_path):
    settings = {"model": str(make_toy(tmp_path / "toy")), "backgrounds": nih_folder, "nodules": "analytic", "limit": 2}
    more = {"runs": tmp_path / "runs", "device": "cpu", "threads": 1, "resamples": 50}
    text = run_insertion_test(build(InsertionTestConfig, {**settings, **more}))
    assert (tmp_path / "runs" / "toy" / "insertion_test.md").read_text() == text
    assert "Nodules analytic." in text


def test_what_cannot_be_measured_is_said(measure, disc_data, known_patients, nih_folder, ball_nodules, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no backgrounds are named; give --backgrounds DIR"):
        measure(backgrounds=None)
    with pytest.raises(UsageError, match=r"no nodules are named; give --nodules FILE\.npz, or --nodules analytic"):
        measure(nodules=None)
    with pytest.raises(UsageError, match="--fold 3: needs the data that the model was trained on; add --data DATA"):
        measure(fold="3")
    with pytest.raises(ModelError, match="no packaged model has this name"):
        measure(model="gone")
    with pytest.raises(DataError, match=r"neither metadata\.csv"):
        measure(backgrounds=tmp_path / "empty")
    with pytest.raises(DataError, match="not a file of CT nodules"):
        measure(nodules=tmp_path / "gone.npz")
    with pytest.raises(DataError, match="none of its 4 backgrounds is of a patient of the test cases of fold 3"):
        measure(data=disc_data, fold="3")
    np.savez(
        tmp_path / "small.npz",
        **{name: values for name, values in np.load(ball_nodules).items() if name != "diameters"},
        diameters=np.array([5, 5, 5], np.float32),
    )
    with pytest.raises(DataError, match=r"small\.npz: no nodule of 6 mm or more in it; take --nodules analytic"):
        measure(nodules=tmp_path / "small.npz")


START = "The mean score of a background patch differs from the untouched place's by "


@pytest.mark.parametrize(
    ("contralateral", "bound", "sentence"),
    [
        (
            Interval(0.012, -0.0301, 0.04),
            0.05,
            "+0.012 [-0.030, 0.040] (contralateral) and +0.000 [-0.001, 0.001] (blurred): below the bound of 0.05.",
        ),
        (
            Interval(0.012, -0.0301, 0.04),
            0.03,
            "+0.012 [-0.030, 0.040] (contralateral) and +0.000 [-0.001, 0.001] (blurred): undecided, as an interval "
            "crosses the bound of 0.03; take more radiographs.",
        ),
        (
            Interval(0.2, 0.06, 0.3),
            0.05,
            "+0.200 [0.060, 0.300] (contralateral) and +0.000 [-0.001, 0.001] (blurred): beyond the bound of 0.05. "
            "The model responds to insertion artefacts.",
        ),
        (
            Interval(0.01),
            0.05,
            "+0.010 (contralateral) and +0.000 [-0.001, 0.001] (blurred): undecided, as there is no interval to "
            "compare with the bound of 0.05; take more radiographs.",
        ),
    ],
)
def test_the_sentence_shows_each_kind_of_patch_with_its_interval_and_the_verdict(contralateral, bound, sentence):
    differences = {"contralateral": contralateral, "blurred": Interval(-0.0002, -0.001, 0.001)}
    assert verdict_sentence(differences, bound) == START + sentence
