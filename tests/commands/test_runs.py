"""`cxrcad runs`: a row a fold, what differs between runs, and a run's page; and what follows a training."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrcad.config import TrainConfig, build, to_toml
from cxrcad.datasets.content import SCHEMA
from cxrcad.evaluation.trainings import read_run
from cxrcad.report.html import Made
from cxrcad.report.training_page import write_training_page

MADE = Made("2020-03-31", "cxrcad train", "9.9")


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def write_fold(place: Path, values: dict[str, Any], f1: Sequence[float], *, finished: bool = True) -> None:
    """A fold of 4 steps an epoch with a validation an epoch; 12 steps were wanted."""
    (place / "model").mkdir(parents=True)
    (place / "config.toml").write_text(to_toml(build(TrainConfig, values)))
    log = [{"event": "start", "step": 0, "epoch": 0.0, "seconds": 0.0, "total_steps": 12, "epoch_steps": 4}]
    history = []
    for epoch, value in enumerate(f1, 1):
        place_in = {"step": 4 * epoch, "epoch": epoch, "seconds": 30.0 * epoch}
        log.append({"event": "steps", **place_in, "loss": 1 / epoch})
        history.append({**place_in, "loss": 1 / epoch, "f1": value, "sensitivity": {"1.0": value / 2, "4.0": None}})
    (place / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    (place / "history.json").write_text(json.dumps(history))
    if finished:
        (place / "model" / "card.json").write_text("{}")


def write_content(run: Path, image: str) -> None:
    case = {"image": image, "truth": "t", "masks": ""}
    (run / "content.json").write_text(json.dumps({"schema": SCHEMA, "cases": {"A": case}}))


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    write_fold(folder / "a" / "fold1", {"data": "D", "network": "u-net"}, [0.2, 0.4, 0.3])
    write_fold(folder / "a" / "fold2", {"data": "D", "network": "u-net"}, [0.6, 0.5], finished=False)
    write_fold(folder / "b" / "fold1", {"data": "D", "network": "u-net", "seed": 3}, [0.1, 0.5, 0.7])
    write_fold(folder / "b" / "fold2", {"data": "D", "network": "u-net", "seed": 3}, [0.1])
    (folder / "no run").mkdir()
    return folder


def test_a_folder_s_trainings_have_a_row_each(cxrcad, runs):
    answer = cxrcad("runs", runs)
    assert (answer.code, answer.err) == (0, "")
    head, _, *rows = cells(answer.out)
    assert head == ["run", "fold", "network", "state", "steps", "last loss", "validation", "minutes"]
    assert rows == [
        ["a", "1", "u-net, multi", "finished", "12", "0.3333", "F1 30.0 %", "1.5"],
        ["a", "2", "u-net, multi", "interrupted", "8 of 12", "0.5000", "F1 50.0 %", "1.0"],
        ["b", "1", "u-net, multi", "finished", "12", "0.3333", "F1 70.0 %", "1.5"],
        ["b", "2", "u-net, multi", "finished", "4 of 12", "1.0000", "F1 10.0 %", "0.5"],
    ]
    assert cells(cxrcad("runs", runs / "b").out)[2:] == rows[2:]
    told = json.loads(cxrcad("runs", "--json", runs).out)["runs"]
    assert [[fold["figures"]["F1"] for fold in run["folds"]] for run in told] == [[0.3, 0.5], [0.7, 0.1]]
    assert told[1]["folds"][0]["settings"]["seed"] == 3


def test_a_training_that_holds_its_lock_is_running(cxrcad, runs):
    locks = pytest.importorskip("cxrcad.training.locks")
    with locks.locked(runs / "a" / "fold2"):
        assert cells(cxrcad("runs", runs / "a").out)[3][3] == "running"
    with locks.locked(runs / "a" / "fold1"):  # of a training of all folds that goes on
        assert cells(cxrcad("runs", runs / "a").out)[2][3] == "finished"
        (runs / "a" / "fold1" / "model" / "card.json").unlink()  # its last step is taken
        assert cells(cxrcad("runs", runs / "a").out)[2][3] == "packaging"
    assert cells(cxrcad("runs", runs / "a").out)[3][3] == "interrupted"


def test_of_two_runs_the_settings_that_differ_and_the_figures_stand_side_by_side(cxrcad, runs):
    for name in "ab":
        write_content(runs / name, "same")
    answer = cxrcad("runs", runs / "a", runs / "b")
    settings, figures = answer.out.split("\n\n")[:2]
    assert cells(settings)[2:] == [["seed", "0", "3"]]
    rows = {row[0]: row[1:] for row in cells(figures)}
    assert rows["fold 1: F1"] == ["30.0 %", "70.0 %"]
    assert rows["fold 2: steps"] == ["8 of 12", "4 of 12"]
    assert rows["mean of folds 1, 2: F1"] == ["40.0 %", "40.0 %"]
    assert rows["mean of folds 1, 2: sensitivity at 1"] == ["20.0 %", "20.0 %"]
    assert "a and b were trained on the same data." in answer.out
    write_content(runs / "b", "another")
    assert "b was trained on other data than a: A has another image." in cxrcad("runs", runs / "a", runs / "b").out
    told = json.loads(cxrcad("runs", "--json", runs / "a", runs / "b").out)
    assert told["differing"] == {"seed": [0, 3]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.toml", "side = "),
        ("history.json", '[{"step": "many"}, 3, {"step": 4, "f1": "high", "sensitivity": [1]}]'),
        ("history.json", "\x00"),
        ("log.jsonl", '{"step": 1e999}\n[1]\n{"step": 8, "seconds": "long", "total_steps": true}\n{"ste'),
    ],
)
def test_damaged_files_leave_cells_empty(cxrcad, runs, name, content):
    (runs / "a" / "fold2" / name).write_text(content)
    answer = cxrcad("runs", runs)
    assert answer.code == 0
    assert [row[:2] for row in cells(answer.out)[2:]] == [["a", "1"], ["a", "2"], ["b", "1"], ["b", "2"]]
    run = read_run(runs / "a")
    assert run is not None
    assert write_training_page(run, MADE).is_file()


def test_what_holds_no_training_is_told_in_a_sentence(cxrcad, runs):
    assert "there is no such folder; name a folder of runs" in cxrcad("runs", runs / "c").err
    assert "no training was begun in it; name another" in cxrcad("runs", runs / "no run").err
    assert "to compare, name the folders of runs" in cxrcad("runs", runs / "a", runs / "no run").err


def test_the_page_has_a_curve_for_the_loss_and_for_each_figure_and_fetches_nothing(runs):
    run = read_run(runs / "a")
    assert run is not None
    page = write_training_page(run, MADE).read_text()
    titles = re.findall(r"<figcaption><strong>(.*?)</strong>", page)
    assert titles == [
        "Loss of the training steps",
        "F1 on the validation cases",
        "Sensitivity at 1 on the validation cases",
    ]
    assert "fold 1: last 30.0 %, best 40.0 % (epoch 2); fold 2: last 50.0 %, best 60.0 % (epoch 1)." in page
    assert "1 of 2 folds finished. cxrcad train --resume goes on with what was interrupted." in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    (runs / "a" / "fold3").mkdir()  # as a training of all makes it, before its turn
    assert "1 of 3 folds finished." in write_training_page(run, MADE).read_text()


def test_a_training_leaves_its_page_and_tensorboard_s_scalars_and_pictures(cxrcad, tiny_data, tmp_path):
    pytest.importorskip("torch.utils.tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small = ("--side", 64, "--norm", "group", "--batch", 2, "--epochs", 2, "--validate-epochs", 1, "--threads", 1)
    answer = cxrcad("train", "--data", tiny_data, "--run", tmp_path / "run", "--tensorboard", *small)
    assert answer.code == 0, answer.err
    assert "Finished." in (tmp_path / "run" / "training.html").read_text()
    events = EventAccumulator(str(tmp_path / "run" / "fold1" / "tensorboard"))
    events.Reload()
    history = json.loads((tmp_path / "run" / "fold1" / "history.json").read_text())
    steps = [entry["step"] for entry in history]
    assert {"training/loss", "training/learning_rate", "validation/F1"} <= set(events.Tags()["scalars"])
    told = [(event.step, event.value) for event in events.Scalars("validation/lung Dice")]
    assert told == [(entry["step"], pytest.approx(entry["lung_dice"])) for entry in history]
    pictures = events.Images("validation case")
    assert [picture.step for picture in pictures] == steps
    assert pictures[0].width == 750


def test_the_weights_are_the_same_whether_a_training_is_watched_or_not(cxrcad, tiny_data, tmp_path):
    pytest.importorskip("torch.utils.tensorboard")
    numpy = pytest.importorskip("safetensors.numpy")
    small = ("--side", 64, "--batch", 2, "--epochs", 1, "--threads", 1, "--precision", "fp32")
    weights = []
    for name, more in (("watched", ("--tensorboard", "--validate-epochs", 1)), ("alone", ())):
        assert cxrcad("train", "--data", tiny_data, "--run", tmp_path / name, *small, *more).code == 0
        weights.append(numpy.load_file(tmp_path / name / "fold1" / "model" / "model.safetensors"))
    first, second = weights
    assert all(np.array_equal(first[name], second[name]) for name in first)
