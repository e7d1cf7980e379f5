"""`cxrcad train`: every option reaches the training, a short one is real, and it goes on after an interruption."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import cxrcad as cxrcad_package
from cxrcad.config import TrainConfig, to_dict

pytest.importorskip("torch")
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(monkeypatch):
    """The configs with which the library was called; nothing is trained."""
    configs = []

    def train(config, progress, given, watcher):
        configs.append(config)
        return Path("runs") / "pretended"

    monkeypatch.setattr("cxrcad.training.plan.train", train)
    return configs


@pytest.mark.parametrize(
    ("flag", "value", "name", "expected"),
    [
        ("--fold", "4", "fold", "4"),
        ("--fold", "all", "fold", "all"),
        ("--network", "pspnet", "network", "pspnet"),
        ("--tasks", "single", "tasks", "single"),
        ("--norm", "batch", "norm", "batch"),
        ("--balance", "learned", "balance", "learned"),
        ("--balance-start", "0.5", "balance_start", 0.5),
        ("--truth", "box", "truth", "box"),
        ("--side", "512", "side", 512),
        ("--epochs", "3", "epochs", 3),
        ("--max-steps", "9", "max_steps", 9),
        ("--device", "cpu", "device", "cpu"),
        ("--precision", "bf16", "precision", "bf16"),
        ("--groups", "4", "groups", 4),
        ("--learning-rate", "0.01", "learning_rate", 0.01),
        ("--run", "runs/mine", "run", "runs/mine"),
        ("--protocol", "jsrt-247", "protocol", "jsrt-247"),
        ("--data", "jsrt", "data", "jsrt"),
    ],
)
def test_an_option_reaches_the_training(cxrcad, asked, flag, value, name, expected):
    answer = cxrcad("train", flag, value)
    assert (answer.code, answer.out) == (0, "runs/pretended\n")
    assert to_dict(asked[0]) == {**to_dict(TrainConfig()), name: expected}


@pytest.mark.parametrize(
    ("flag", "name", "expected"),
    [
        ("--resume", "resume", True),
        ("--no-resume", "resume", False),
        ("--no-augment", "augment", False),
        ("--no-aspp", "aspp", False),
        ("--no-skips", "skips", False),
        ("--normals", "normals", True),
        ("--mirror", "mirror", True),
    ],
)
def test_a_switch_reaches_the_training(cxrcad, asked, flag, name, expected):
    assert cxrcad("train", flag).code == 0
    assert to_dict(asked[0]) == {**to_dict(TrainConfig()), name: expected}


def test_a_settings_file_reaches_the_training_and_flags_go_before_it(cxrcad, asked, tmp_path):
    (tmp_path / "recipe.toml").write_text('[network]\nnorm = "group"\n[loss]\nbalance = "learned"\ntruth = "box"\n')
    cxrcad("train", "--config", "recipe.toml", "--truth", "disc")
    assert (asked[0].network.norm, asked[0].loss.balance, asked[0].loss.truth) == ("group", "learned", "disc")


def test_a_short_training_prints_its_run_and_says_on_stderr_how_it_goes(tiny_run):
    run, answer = tiny_run
    assert answer.code == 0, answer.err
    assert answer.out == f"{run}\n"
    lines = answer.err.splitlines()
    assert lines[0] == "1 of 30 cases have no lung mask: OXLN001: they add no lung loss"
    assert "fold 3: 144 steps" in lines
    assert sum(line.startswith("epoch ") for line in lines) == 2
    assert lines[-1] == f"done: cxrcad evaluate --run {run} and cxrcad froc --run {run} score it"


def test_the_run_holds_its_settings_its_folds_and_the_model(tiny_run, tiny_data):
    run, _ = tiny_run
    settings = tomllib.loads((run / "fold3" / "config.toml").read_text())
    assert (settings["data"], settings["side"], settings["fold"]) == (str(tiny_data), 64, "3")
    card = json.loads((run / "fold3" / "model" / "card.json").read_text())
    assert card["network"]["network"] == "u-net"
    assert card["training"]["steps"] == 144
    folds = json.loads((run / "folds.json").read_text())["folds"]
    assert [len(fold["test"]) for fold in folds] == [6, 6, 6, 6, 6]


def test_a_mo_segnet_with_learned_balance_trains_from_its_start_value(cxrcad, tiny_data, tmp_path):
    flags = ["--balance", "learned", "--balance-start", "0.8", "--truth", "box", "--norm", "table1", "--fold", "2"]
    small = ["--side", 64, "--max-steps", 8, "--precision", "fp32", "--threads", 1, "--min-area-mm2", 30]
    answer = cxrcad("train", "--data", tiny_data, *flags, *small)
    assert answer.code == 0, answer.err
    run = Path(answer.out.strip())
    assert run.parent == Path("runs")
    assert run.name.endswith("-mo-segnet-multi")
    entry = json.loads((tmp_path / run / "fold2" / "history.json").read_text())[-1]
    assert entry["step"] == 8
    assert entry["balance"] == pytest.approx(0.8, abs=0.01)
    assert entry["balance"] != 0.8
    training = json.loads((tmp_path / run / "fold2" / "model" / "card.json").read_text())["training"]["config"]
    assert (training["truth"], training["norm"], training["balance"]) == ("box", "table1", "learned")


def test_all_folds_are_trained_one_after_the_other(cxrcad, tiny_data, tmp_path, monkeypatch):
    held_out = []

    def train_fold(config, dataset, split, folder, progress, processes, watcher):
        held_out.append((split.fold, len(split.test), folder.name))

    monkeypatch.setattr("cxrcad.training.plan.train_fold", train_fold)
    assert cxrcad("train", "--data", tiny_data, "--fold", "all", "--run", "five").code == 0
    assert held_out == [(fold, 6, f"fold{fold}") for fold in range(1, 6)]
    own = [tomllib.loads((tmp_path / "five" / f"fold{fold}" / "config.toml").read_text())["fold"] for fold in (1, 5)]
    assert own == ["1", "5"]


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_training_says_how_to_go_on_and_does(cxrcad, tiny_data, tmp_path):
    flags = ["--network", "u-net", "--tasks", "single", "--side", "64", "--precision", "fp32", "--threads", "1"]
    flags += ["--fold", "2", "--run", "runs/one", "--data", str(tiny_data), "--checkpoint-minutes", "0"]
    command = [sys.executable, "-m", "cxrcad", "train", *flags, "--epochs", "10000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "runs" / "one" / "fold2" / "checkpoint.safetensors"
    deadline = time.monotonic() + 600
    while not checkpoint.is_file() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=600)
    assert child.returncode == 130
    assert "Traceback" not in said
    assert "stopped; `cxrcad train --resume --run runs/one` goes on from what is kept" in said
    with safe_open(checkpoint, "np") as saved:
        steps = json.loads(saved.metadata()["record"])["step"]
    answer = cxrcad("train", "--resume", "--max-steps", steps + 1)
    assert (answer.code, answer.out) == (0, "runs/one\n"), answer.err
    assert f"fold 2: going on from step {steps}\n" in answer.err
    assert f"fold 2: {steps + 1} steps, {steps} done before\n" in answer.err
    assert "fold 2 is finished already" in cxrcad("train", "--resume").err


def test_without_data_three_lines_say_how_to_get_it_and_how_to_try_without(cxrcad):
    answer = cxrcad("train")
    assert (answer.code, answer.out) == (1, "")
    lines = answer.err.splitlines()
    assert len(lines) == 3
    assert "Japanese Society of Radiological Technology" in lines[0]
    assert "--data FOLDER" in lines[1]
    assert "`cxrcad phantom OUT`" in lines[2]


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--balance", "2"], 2, "--balance 2: it takes a number of 0-1, or learned"),
        (["--channels", "red"], 2, "input channels ['red'] are not known; choose from raw, local, blob"),
        (["--simulate", "."], 1, ".: is a folder; --simulate takes CT nodules (.npz), or analytic"),
        (["--simulate", "no.npz"], 1, "no.npz: there is no such file; --simulate takes CT nodules (.npz), or analytic"),
        (["--fold", "6"], 2, "--fold 6: choose from 1, 2, 3, 4, 5, all, none"),
        (["--epochs", "0"], 2, "--epochs 0: it takes a whole number at least 1"),
        (["--learning-rate", "nan"], 2, "--learning-rate nan: it takes a number at least 0"),
        (["--resume", "--runs", "none"], 1, "none: there is no run to resume; leave out --resume, or name --run"),
    ],
)
def test_settings_that_cannot_be_leave_no_run_behind(cxrcad, tiny_data, tmp_path, flags, code, sentence):
    answer = cxrcad("train", "--data", tiny_data, *flags)
    assert (answer.code, answer.err) == (code, f"Error: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


def test_cuda_that_is_not_there_is_refused_before_anything_is_written(cxrcad, tiny_data, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("CUDA is here")
    answer = cxrcad("train", "--data", tiny_data, "--device", "cuda")
    assert answer.code == 1
    assert answer.err.startswith("Error: --device cuda: torch finds no usable CUDA device")
    assert list(tmp_path.iterdir()) == []


def test_training_without_its_packages_says_what_to_install(cxrcad, monkeypatch):
    importlib.import_module("cxrcad.training.plan")
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("training", "networks"):  # what is imported meanwhile does not stay in their place
        monkeypatch.setattr(cxrcad_package, name, getattr(cxrcad_package, name))
    for name in [name for name in sys.modules if name.startswith(("cxrcad.training", "cxrcad.networks"))]:
        monkeypatch.delitem(sys.modules, name)
    answer = cxrcad("train")
    assert answer.code == 1
    assert answer.err == "Error: training needs torch, which is not installed; run pip install 'cxrcad[train]'\n"


def test_analytic_nodules_need_no_file(cxrcad, tiny_data, monkeypatch):
    trained = []
    crossval = importlib.import_module("cxrcad.training.plan")
    monkeypatch.setattr(crossval, "train_fold", lambda config, *_: trained.append(config.synthesis))
    answer = cxrcad("train", "--data", tiny_data, "--simulate", "analytic", "--side", 64, "--run", "run")
    assert (answer.code, answer.out) == (0, "run\n")
    assert [synthesis.simulate for synthesis in trained] == [Path("analytic")]


def test_a_run_goes_on_with_its_data_in_another_folder_and_with_no_other_data(cxrcad, tiny_run, tiny_data, tmp_path):
    run, data = shutil.copytree(tiny_run[0], tmp_path / "run"), shutil.copytree(tiny_data, tmp_path / "moved")
    arguments = ("train", "--resume", "--run", run, "--fold", 3, "--data", data)
    moved = cxrcad(*arguments)
    assert (moved.code, moved.out) == (0, f"{run}\n")
    assert "fold 3 is finished already" in moved.err
    with Image.open(data / "images" / "OXLN002.png") as picture:
        picture.rotate(180).save(data / "images" / "OXLN002.png")
    changed = cxrcad(*arguments)
    assert (changed.code, changed.out) == (1, "")
    assert changed.err.endswith(
        f"{run}/content.json: made from other data than {data} holds: OXLN002 has another image; give the data that "
        "the run was begun with, or another --run\n"
    )
    (run / "content.json").unlink()
    unknown = cxrcad(*arguments)
    assert (unknown.code, f"data is '{tiny_data}' and '{data}' was given" in unknown.err) == (1, True)
