"""How long trainings take: the steps that are left counted by hand, and steps of tiny networks timed."""

from __future__ import annotations

import json

import pytest

from cxrcad.config import ReproduceConfig, TrainConfig, build
from cxrcad.core import DataError, duration_words
from cxrcad.paper import duration
from cxrcad.paper.cells import ITEMS
from cxrcad.paper.duration import seconds_a_step, steps_left, time_left
from cxrcad.paper.jobs import plan


def jobs_of(item: str, tmp_path, **values):
    return plan(ITEMS[item], build(ReproduceConfig, {"out": tmp_path, "side": 64, "threads": 1, **values}))


def test_steps_are_those_of_jsrt_where_no_data_are_named(tmp_path):
    """154 positives and 93 normals: a fifth are test cases, a fifth of the others validation cases."""
    cells = {"cells": "u-net-single", "folds": "1"}
    assert steps_left(jobs_of("table2", tmp_path, epochs=2, **cells)) == (2 * 99,)
    assert steps_left(jobs_of("table2", tmp_path, epochs=2, batch=4, **cells)) == (2 * 25,)
    assert steps_left(jobs_of("table2", tmp_path, epochs=2, normals=True, **cells)) == (2 * 158,)
    assert steps_left(jobs_of("table2", tmp_path, epochs=2, max_steps=7, **cells)) == (7,)


def test_steps_are_those_of_the_data_and_what_was_validated_is_done(tmp_path, tiny_data):
    values = {"epochs": 4, "data": tiny_data, "folds": "3", "cells": "u-net-single,u-net-multi"}
    jobs = jobs_of("table2", tmp_path, **values)
    from cxrcad.datasets.folds import make_folds
    from cxrcad.datasets.read import read_dataset

    dataset = read_dataset(tiny_data)
    count = sum(case.positive for case in dataset.select(make_folds(dataset, 2020)[2].train))
    jobs[0].folder.mkdir(parents=True)
    (jobs[0].folder / "history.json").write_text(json.dumps([{"step": 1}, {"step": 3}]))
    assert steps_left(jobs) == (4 * count - 3, 4 * count)


def test_the_number_of_effusions_is_not_guessed(tmp_path):
    with pytest.raises(DataError, match="how many cases with effusion there are is not known; name them with --data"):
        steps_left(jobs_of("effusion", tmp_path))


def test_time_is_steps_times_seconds_of_each_network(tmp_path, monkeypatch):
    seconds = {("u-net", 64): 0.5, ("mo-segnet", 64): 2.0}
    asked = []

    def timed(config, budget_s):
        asked.append((config.network.network, config.network.tasks, budget_s))
        return seconds[config.network.network, config.grid.side], 32

    monkeypatch.setattr(duration, "seconds_a_step", timed)
    jobs = jobs_of("table2", tmp_path, max_steps=100, folds="1,2", cells="u-net-single,mo-segnet-single")
    left = time_left(jobs, 8.0)
    assert asked == [("u-net", "single", 4.0), ("mo-segnet", "single", 4.0)]
    assert (left.steps, left.seconds) == (400, 2 * 100 * 0.5 + 2 * 100 * 2.0)
    assert str(left) == (
        "4 jobs are left, with 400 training steps: about 8 min on this machine, not counting validation. Measured with "
        "2 steps of each of 2 networks on random images, of a smaller side where a step takes long. The number of "
        "training cases is JSRT's; --data counts your own."
    )


def test_a_step_that_takes_long_is_timed_on_smaller_images(monkeypatch):
    """10 us a pixel: side 128 takes 0.16 s a step, 256 0.66 s, 512 2.6 s, and three of those exceed the budget."""
    sides = []

    def timed(config):
        sides.append(config.grid.side)
        return config.grid.side**2 * 1e-5

    monkeypatch.setattr(duration, "_timed", timed)
    config = build(TrainConfig, {"side": 1024})
    assert seconds_a_step(config, 5.0) == (pytest.approx(1024**2 * 1e-5), 256)
    assert sides == [128, 256]
    assert seconds_a_step(build(TrainConfig, {"side": 64}), 5.0) == (pytest.approx(64**2 * 1e-5), 64)
    assert seconds_a_step(build(TrainConfig, {"side": 400}), 50.0)[1] == 400


@pytest.mark.parametrize(
    "values",
    [
        {"network": "u-net", "batch": 2},
        {"lesion": "effusion", "tasks": "multi", "network": "deeplabv3plus", "width": 16},
        {"patch_classifier": True, "network": "u-net", "patches_per_image": 8},
    ],
)
def test_each_kind_of_training_is_timed_without_data(values):
    pytest.importorskip("torch")
    config = build(TrainConfig, {"side": 64, "threads": 1, "precision": "fp32", "device": "cpu", **values})
    seconds, side = seconds_a_step(config, 0.0)
    assert (seconds > 0, side) == (True, 64)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"), (59, "59 s"), (60, "1 min"), (3569, "59 min"), (3599, "1 h 00 min"), (8 * 3600, "8 h 00 min"),
        (47 * 3600, "47 h 00 min"), (75 * 3600, "3 days"),
    ],
)  # fmt: skip
def test_a_time_is_told_as_one_reads_it(seconds, words):
    assert duration_words(seconds) == words
