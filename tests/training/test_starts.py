"""Which models a training may start from: what they saw, and from which CT series their nodules came."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

pytest.importorskip("torch")

from cxrcad.config import TrainConfig, build
from cxrcad.core import ModelError, TrainingError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.files import sha256_of
from cxrcad.inference.model import load_bundle
from cxrcad.training.data import make_source
from cxrcad.training.initial_weights import initial_model
from cxrcad.training.plan import train

SPLIT = Split(1, ("JPCLN001", "JPCLN002"), ("JPCLN003",), ("JPCLN004",))
SMALL = {"side": 64, "threads": 1, "precision": "fp32", "max_steps": 1, "norm": "group", "tasks": "single",
         "network": "u-net", "min_area_mm2": 30, "peak_distance_mm": 20}  # fmt: skip


def digests(*series: str) -> list[str]:
    return sorted(sha256(uid.encode()).hexdigest() for uid in series)


@pytest.fixture
def with_series(disc_data, tmp_path):
    """`disc_data` whose cases JPCLN001 ... JPCLN004 hold a nodule of the CT series 1.1 ... 1.4."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in disc_data.iterdir():
        (folder / path.name).symlink_to(path)
    rows = [f"JPCLN{number:03d},{number},1.{number}" for number in range(1, 5)]
    (folder / "sources.csv").write_text("\n".join(["file,patient,series_uid", *rows]) + "\n")
    return read_dataset(folder)


@pytest.fixture
def start(make_toy, tmp_path, with_series):
    """`start(training, **settings)` -> what a start from a toy model with that training gives."""

    def try_start(training: dict, dataset: Dataset = with_series, split: Split = SPLIT, **settings):
        folder = make_toy(tmp_path / "first", training={"images": [], "steps": 1, "minutes": 1, **training})
        return initial_model(str(folder), "--initial-weights", build(TrainConfig, settings), dataset, split)

    return try_start


@pytest.mark.parametrize("held", ["1.3", "1.4"])
def test_a_model_of_a_held_out_case_s_series_is_refused(start, held):
    case = {"1.3": "JPCLN003", "1.4": "JPCLN004"}[held]
    words = rf"other nodules of the CT series of 1 of fold 1's validation and test cases \({case}\)"
    with pytest.raises(TrainingError, match=words):
        start({"series": digests("1.2", held)})
    assert start({"series": digests("1.1", "1.2", "1.9")}).name == "first"


@pytest.mark.parametrize("training", [{}, {"series": [], "series_unknown": ["older"]}])
def test_a_model_of_unknown_series_needs_to_be_allowed(start, training, disc_data):
    name = training.get("series_unknown", ["first"])[0]
    words = (
        rf"--initial-weights .*first: the CT series .* not known .*none for {name}.*, or give --allow-unknown-series"
    )
    with pytest.raises(TrainingError, match=words):
        start(training)
    assert start(training, allow_unknown_series=True).name == "first"
    bare = read_dataset(disc_data)
    assert start(training, bare).name == "first"  # no held-out case has a series
    with pytest.raises(TrainingError, match=words):
        start(training, bare, simulate="analytic")


def test_a_damaged_list_is_named(start):
    with pytest.raises(ModelError, match=r"card\.json: its training's series is no list of texts"):
        start({"series": 3})


@pytest.mark.parametrize("held", ["JPCLN003", "JPCLN004"])
def test_a_model_that_saw_a_validation_or_test_case_is_refused(start, with_series, held):
    images = [sha256_of(case.image) for case in with_series.select([held])]
    with pytest.raises(TrainingError, match=rf"was trained on 1 of fold 1's validation and test cases, .*\({held}\)"):
        start({"images": images, "series": []})


def test_no_nodule_of_a_held_out_series_is_projected(with_series, ball_nodules):
    config = build(TrainConfig, {**SMALL, "simulate": ball_nodules})  # of the series 1.1, 1.2 and 1.3
    samples = load_samples(with_series.select(SPLIT.train), config, 16)
    source = make_source(samples, config, with_series, ["JPCLN001"])  # 1.2 and 1.3 are held out
    assert {projection.series_uid for projection in source.projections} == {"1.1"}
    assert source.series == set(digests("1.1", "1.2"))  # 1.2 lies in a sample itself


def test_a_card_lists_the_series_of_its_cases_its_projections_and_its_start(disc_data, ball_nodules, tmp_path):
    first = train(build(TrainConfig, {**SMALL, "data": disc_data, "run": tmp_path / "1", "simulate": ball_nodules}))
    card = first / "fold1" / "model" / "card.json"
    training = json.loads(card.read_text())["training"]
    assert training["series"] == digests("1.1", "1.2")  # the third is too small
    assert training["nodules_sha256"] == sha256_of(ball_nodules)
    assert "series_unknown" not in training
    values = {**SMALL, "data": disc_data, "init": str(first), "simulate": "analytic"}
    second = train(build(TrainConfig, {**values, "run": tmp_path / "2"}))
    assert load_bundle(second / "fold1" / "model").card["training"]["series"] == digests("1.1", "1.2")
    older = json.loads(card.read_text())
    del older["training"]["series"]
    card.write_text(json.dumps(older))
    with pytest.raises(TrainingError, match="give --allow-unknown-series"):
        train(build(TrainConfig, {**values, "run": tmp_path / "3"}))
    assert not (tmp_path / "3").exists()
    third = train(build(TrainConfig, {**values, "run": tmp_path / "3", "allow_unknown_series": True}))
    kept = load_bundle(third / "fold1" / "model").card["training"]
    assert (kept["series"], kept["series_unknown"]) == ([], ["1-fold1"])
