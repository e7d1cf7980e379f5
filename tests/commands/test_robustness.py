"""Robustness: perturbed cases are handled like evaluated ones, and their truth moves with them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from cxrcad.commands.robustness import measure_robustness
from cxrcad.config import EvaluateConfig, RobustnessConfig, build
from cxrcad.core import DataError, EvaluationError, ModelError, UsageError
from cxrcad.evaluation.bootstrap import compare
from cxrcad.evaluation.records import read_matches
from cxrcad.files import sha256_of
from cxrcad.scoring.runs import score

MOVING = "side-512,border-black,rotated-clockwise,rotated-anticlockwise"


class Told:
    """A Progress that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def start(self, title, total_steps, done_steps):
        self.lines.append((title, total_steps, done_steps))

    def step(self, done_steps, loss=None):
        self.lines.append(done_steps)

    def note(self, text):
        self.lines.append(text)


@pytest.fixture
def measure(make_toy, disc_data, tmp_path):
    """`measure(**settings)` -> (text, document) of the toy model on fold 3's two positives."""
    toy = str(make_toy(tmp_path / "toy"))

    def run(progress=None, **values):
        settings = {
            "model": toy,
            "data": disc_data,
            "fold": "3",
            "device": "cpu",
            "threads": 1,
            "out": tmp_path / "out",
        }
        text = measure_robustness(build(RobustnessConfig, {"resamples": 50, **settings, **values}), progress)
        place = values.get("out", tmp_path / "out")
        return text, json.loads((place / "robustness.json").read_text())

    return run


def figures(document, name):
    (one,) = [one["figures"] for one in document["alterations"] if one["name"] == name]
    return one


def test_what_moves_the_pixels_moves_the_truth_and_the_toy_still_hits(measure, make_toy, tmp_path):
    text, document = measure(perturbations=MOVING, model=str(make_toy(tmp_path / "low", threshold=0.5)))
    for name in ("unaltered", *MOVING.split(",")):
        assert figures(document, name)["recall"]["altered"] == 1.0, name
        assert figures(document, name)["localisation error, mm"]["altered"] < 3, name  # half a pixel of the grid
    assert text.startswith("# Robustness of low\n\nData ")
    assert "| rotated by 5 degrees clockwise" in text


def test_the_unperturbed_cases_are_scored_as_evaluate_scores_them(measure, disc_data, tmp_path):
    measure(perturbations="text")
    settings = {
        "model": str(tmp_path / "toy"),
        "data": disc_data,
        "fold": "3",
        "device": "cpu",
        "out": tmp_path / "evaluated",
    }
    (scored,) = score(build(EvaluateConfig, settings))
    mine = read_matches(tmp_path / "out" / "robustness" / "matches-unaltered.json")
    assert [match.hits for match in mine.matches] == [match.hits for match in scored.results[0].matches]
    assert [scored_image.findings for scored_image in mine.scored] == [
        scored_image.findings for scored_image in scored.results[0].scored
    ]
    assert mine.context == scored.results[0].context


def test_an_inverted_image_loses_the_disc_and_the_difference_says_so(measure, tmp_path):
    text, document = measure(perturbations="inverted,gamma-0.6")
    found = figures(document, "inverted")
    assert found["recall"] == {
        "altered": 0.0,
        "unaltered": 1.0,
        "difference": {"value": -1.0, "low": -1.0, "high": -1.0},
        "p": found["recall"]["p"],
    }
    assert figures(document, "gamma-0.6")["recall"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    (row,) = [line for line in text.splitlines() if line.startswith("| inverted")]
    assert [cell.strip() for cell in row.split("|")][6:8] == ["0.0", "-100.0 [-100.0, -100.0]"]
    results = [read_matches(tmp_path / "out" / "robustness" / f"matches-{n}.json") for n in ("inverted", "unaltered")]
    again = compare([results[0]], [results[1]], 50, 0)
    assert found["F1"]["difference"]["value"] == again["F1"].difference.value == -1.0
    assert found["recall"]["p"] == again["recall"].p


def test_the_spacing_that_the_file_tells_does_not_change_what_is_a_hit(measure):
    _, document = measure(perturbations="spacing-absent,spacing-small,spacing-large")
    for name in ("spacing-absent", "spacing-small", "spacing-large"):
        assert figures(document, name)["recall"]["altered"] == 1.0
        assert figures(document, name)["localisation error, mm"]["altered"] < 3


def test_progress_counts_every_image_of_every_perturbation(measure):
    told = Told()
    measure(told, perturbations="text,inverted")
    assert told.lines == [("robustness", 6, 0), 1, 2, 3, 4, 5, 6]


def test_a_limit_spreads_over_the_cases_and_one_case_has_no_interval(measure):
    text, document = measure(perturbations="inverted", limit=1)
    assert len(document["images"]) == 1
    assert "Scored: fold 3: 1 image, 1 nodule (--limit 1), each as it is" in text
    assert figures(document, "inverted")["recall"]["difference"] == {"value": -1.0, "low": None, "high": None}
    _, every = measure(perturbations="text", fold="all", protocol="jsrt-247", limit=5)
    assert every["images"] == ["JPCLN001", "JPCLN004", "JPCLN007", "JPCLN010", "JPCNN003"]
    assert every["fold"] is None


def test_the_protocol_decides_which_images_are_scored(measure):
    text, document = measure(perturbations="text", protocol="jsrt-247")
    assert [name[:5] for name in document["images"]] == ["JPCLN", "JPCLN", "JPCNN"]
    assert "protocol jsrt-247 (images with a nodule and normal images)" in text
    _, paper = measure(perturbations="text")
    assert [name[:5] for name in paper["images"]] == ["JPCLN", "JPCLN"]


def test_by_default_all_perturbations_go_to_the_models_folder_of_the_runs(make_toy, disc_data, tmp_path):
    config = {"model": str(make_toy(tmp_path / "toy")), "data": disc_data, "fold": "3", "device": "cpu", "resamples": 0}
    text = measure_robustness(build(RobustnessConfig, {**config, "runs": tmp_path / "runs", "threads": 1}))
    place = tmp_path / "runs" / "toy" / "fold3"
    assert (place / "robustness.md").read_text() == text
    assert len(json.loads((place / "robustness.json").read_text())["alterations"]) == 24
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 25
    assert not list(place.glob("matches-*"))  # which evaluate would take for its own


def test_images_that_the_model_was_trained_on_are_no_test(measure, make_toy, disc_data, tmp_path):
    _, document = measure(perturbations="text")
    seen = sha256_of(disc_data / "images" / f"{document['images'][0]}.png")
    toy = str(make_toy(tmp_path / "leak", training={"images": [seen]}))
    text, again = measure(perturbations="text", model=toy)
    assert again["trained_on"] == [document["images"][0]]
    assert f"NOT A TEST: 1 of the scored images stand in the model's training list: {document['images'][0]}" in text
    assert "NOT A TEST" not in measure(perturbations="text")[0]


def test_chance_follows_from_the_seed(measure):
    def noisy(seed):
        return figures(measure(perturbations="noise-high", seed=seed)[1], "noise-high")["localisation error, mm"]

    assert noisy(1) == noisy(1)
    assert noisy(1) != noisy(2)


def test_what_cannot_be_measured_is_said(measure, disc_data, tmp_path):
    with pytest.raises(UsageError, match="there is no 'invert'; did you mean inverted"):
        measure(perturbations="invert")
    with pytest.raises(ModelError, match="no packaged model has this name"):
        measure(model="gone")
    with pytest.raises(DataError, match="no data folder is named"):
        measure(data=None)
    with pytest.raises(DataError, match="there is no such folder"):
        measure(data=tmp_path / "gone")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(disc_data, elsewhere)
    from PIL import Image

    for mask in elsewhere.rglob("*.gif"):
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(mask)
    with pytest.raises(EvaluationError, match="none of the 0 test cases has a nodule, so sensitivity has no meaning"):
        measure(data=elsewhere, protocol="jsrt-140")
