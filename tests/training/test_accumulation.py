"""Gradients of several micro-batches make a step: which images it shows, and what it learns from them."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from cxrcad.config import TrainConfig, build
from cxrcad.core import TrainingError
from cxrcad.datasets.read import cases_to_train, read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.files import Silent
from cxrcad.networks.registry import build_network
from cxrcad.training.data import Source, make_source
from cxrcad.training.device import open_backend
from cxrcad.training.loop import take_step
from cxrcad.training.plan import train
from cxrcad.training.segmentation import SegmentationTask
from cxrcad.training.state import new_state, read_record

SMALL = {"side": 64, "threads": 1, "precision": "fp32", "device": "cpu", "norm": "group", "network": "u-net",
         "min_area_mm2": 30, "peak_distance_mm": 20, "fold": "1", "accumulate": 2}  # fmt: skip


def config(data: Path, **values) -> TrainConfig:
    return build(TrainConfig, {**SMALL, "data": data, **values})


def make(own: TrainConfig, folder: Path, count: int = 5) -> Source:
    dataset = read_dataset(folder)
    names = [case.name for case in dataset.cases if case.positive][:count]
    return make_source(load_samples(cases_to_train(dataset, names, False), own, 16), own, dataset, names)


def test_an_epoch_may_end_within_a_step_and_each_sample_is_shown_once_in_it(disc_data):
    source = make(config(disc_data, batch=2, accumulate=2), disc_data)
    assert (source.per_epoch, [source.steps(epochs) for epochs in (1, 2, 3, 4)]) == (3, [2, 3, 5, 6])
    assert [source.epoch(step) for step in range(7)] == [0, 0, 1, 2, 2, 3, 4]
    numbers = [range(3 * epoch, 3 * epoch + 3) for epoch in range(4)]
    shown = [sorted(index for number in each for index in source._chosen(number)) for each in numbers]
    assert shown == [list(range(5))] * 4


def test_what_is_drawn_depends_on_the_number_of_the_micro_batch_alone(disc_data):
    one, four = (make(config(disc_data, accumulate=count), disc_data) for count in (1, 4))
    for number in range(9):
        assert torch.equal(one.draw(number).images, four.draw(number).images)


def test_a_step_takes_the_mean_of_the_gradients_that_its_micro_batches_have_by_themselves(disc_data):
    own = config(disc_data)
    source, backend = make(own, disc_data), open_backend(own)
    task = SegmentationTask(source, (), own, Silent())
    state = new_state(build_network(own.network, own.grid.side), own)
    wanted = [torch.zeros_like(weight) for weight in state.network.parameters()]
    for number in range(2):
        alone = replace(state, network=copy.deepcopy(state.network).train())
        task.loss(alone, backend, *task.inputs(source.draw(number), backend)).backward()
        for sum_, weight in zip(wanted, alone.network.parameters(), strict=True):
            sum_ += weight.grad / 2
    take_step(state, task, [source.draw(number) for number in range(2)], 9, backend)
    for gradient, weight in zip(wanted, state.network.parameters(), strict=True):
        torch.testing.assert_close(state.optimizer.state[weight]["exp_avg"], 0.1 * gradient, rtol=1e-4, atol=1e-9)


def test_a_run_goes_on_with_the_micro_batches_that_it_was_begun_with(disc_data, tmp_path):
    run = train(config(disc_data, run=tmp_path / "run", max_steps=1, tasks="single"))
    place = run / "fold1"
    assert read_record(place / "checkpoint.safetensors")["step"] == 1
    with pytest.raises(TrainingError, match="accumulate is 2 and 3 was given; leave it out, or start a new run"):
        train(build(TrainConfig, {"run": run, "resume": True, "accumulate": 3}))
    (place / "model" / "card.json").unlink()
    train(build(TrainConfig, {"run": run, "resume": True, "max_steps": 2}))
    assert read_record(place / "checkpoint.safetensors")["step"] == 2
