"""A run's folder: who trains in it, what was given, what goes on, and what is there after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from safetensors.numpy import load_file, safe_open, save_file

from cxrcad import files
from cxrcad.config import TrainConfig, build
from cxrcad.core import DataError, TrainingError, WriteError
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.networks.registry import build_network
from cxrcad.training import plan, resume
from cxrcad.training.locks import locked
from cxrcad.training.plan import train
from cxrcad.training.state import new_state

SMALL = {"side": 64, "threads": 1, "precision": "fp32", "max_steps": 1, "norm": "group", "tasks": "single",
         "network": "u-net", "min_area_mm2": 30, "peak_distance_mm": 20, "fold": "1"}  # fmt: skip


def config(data: Path | None, run: Path, **values) -> TrainConfig:
    return build(TrainConfig, {**SMALL, "data": data, "run": run, **values})


def settings_of(run: Path, fold: int = 1) -> dict:
    return tomllib.loads((run / f"fold{fold}" / "config.toml").read_text())


@pytest.fixture
def pretended(monkeypatch):
    """The folds that were to be trained, with their settings; nothing is trained."""
    folds = []
    monkeypatch.setattr(plan, "train_fold", lambda config, dataset, split, *_: folds.append((split.fold, config)))
    return folds


@pytest.fixture(scope="module")
def checkpointed(disc_data, ball_nodules, tmp_path_factory):
    """A run that was stopped after its first step, with its own copies of the data and of the CT nodules."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(disc_data, folder / "data")
    shutil.copy(ball_nodules, folder / "nodules.npz")
    train(config(folder / "data", folder / "first"))
    own = {"init": str(folder / "first" / "fold1" / "model"), "simulate": folder / "nodules.npz"}
    train(config(folder / "data", folder / "run", **own))
    (folder / "run" / "fold1" / "model" / "card.json").unlink()
    return folder


@pytest.fixture
def stopped(checkpointed, tmp_path):
    """A copy of `checkpointed` that may be spoilt; its paths are those of the copy."""
    folder = tmp_path / "copy"
    shutil.copytree(checkpointed, folder)
    for file in folder.glob("*/fold1/config.toml"):
        file.write_text(file.read_text().replace(str(checkpointed), str(folder)))
    return folder


def go_on(folder: Path, **values) -> Path:
    return train(build(TrainConfig, {"run": folder / "run", "resume": True, **values}))


# Who trains in it


def test_a_fold_that_is_being_trained_is_refused_and_another_is_not(disc_data, tmp_path, pretended):
    run = tmp_path / "run"
    train(config(disc_data, run))
    with locked(run / "fold1"):
        for fold in ("1", "all"):
            for again in (False, True):
                words = rf"run/fold1: is being trained by process {os.getpid()} on "
                with pytest.raises(TrainingError, match=words):
                    train(config(disc_data, run, fold=fold, resume=again, seed=0))
        train(config(disc_data, run, fold="2"))
    assert [fold for fold, _ in pretended] == [1, 2]
    train(config(disc_data, run))
    assert not list(run.rglob(".lock"))


def test_a_run_of_all_folds_goes_on_with_all_of_them(disc_data, tmp_path, monkeypatch):
    trained = []

    def stop_in_the_second(config, dataset, split, *_):
        trained.append(split.fold)
        if len(trained) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(plan, "train_fold", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(config(disc_data, tmp_path / "run", fold="all"))
    again = build(TrainConfig, {"run": tmp_path / "run", "resume": True})
    train(again)
    assert trained == [1, 2, 1, 2, 3, 4, 5]
    train(build(TrainConfig, {"run": tmp_path / "run", "resume": True, "fold": "3"}), given=["fold"])
    assert trained[7:] == [3]


def test_the_folder_is_held_while_its_fold_is_trained(disc_data, tmp_path, monkeypatch):
    def second(*_):
        with pytest.raises(TrainingError, match="fold1: is being trained by"):
            train(config(disc_data, tmp_path / "run", seed=5))

    monkeypatch.setattr(plan, "train_fold", second)
    train(config(disc_data, tmp_path / "run"))
    assert settings_of(tmp_path / "run")["seed"] == 0


def test_two_trainings_of_one_second_get_folders_of_their_own(disc_data, tmp_path, pretended, monkeypatch):
    class Clock:
        def now():
            return resume_time

    resume_time = resume.datetime(2026, 1, 2, 3, 4, 5)
    monkeypatch.setattr(resume, "datetime", Clock)
    own = {"data": disc_data, "runs": tmp_path, **SMALL}
    names = [train(build(TrainConfig, own)).name for _ in range(3)]
    assert names == ["20260102-030405-u-net-single", *(f"20260102-030405-u-net-single-{n}" for n in (2, 3))]
    with locked(tmp_path / names[0] / "fold1"):  # whatever happens in the folder of another training of this second
        (tmp_path / names[0] / "content.json").write_text("{")
        assert train(build(TrainConfig, own | {"side": 96})).name == f"{names[0]}-4"


def test_a_fold_of_another_network_is_refused_though_both_began_at_once(disc_data, tmp_path, pretended, monkeypatch):
    """The second fold is checked before the first has written its settings, and again once it holds the folder."""
    run, check, at = tmp_path / "run", plan.read_data, []

    def first_begins(*values):
        if not at:
            at.append(1)
            train(config(disc_data, run, fold="2", side=96))
        return check(*values)

    monkeypatch.setattr(plan, "read_data", first_begins)
    with pytest.raises(TrainingError, match=r"fold2/config.toml: side is 96 and \d+ was given; the folds of a run"):
        train(config(disc_data, run))
    assert not (run / "fold1" / "config.toml").exists()


@pytest.mark.parametrize("kept", [b"", b"side = 64\n", b"\xff"])
def test_settings_that_were_cut_off_are_no_defaults(disc_data, tmp_path, pretended, kept):
    run = train(config(disc_data, tmp_path / "run"))
    (run / "fold1" / "config.toml").write_bytes(kept)
    with pytest.raises(
        TrainingError, match=r"config.toml: cannot be read \((data, .*missing|it is not text in UTF-8)\)"
    ):
        train(config(disc_data, run, resume=True))


# What was given


@pytest.mark.parametrize("way", ["flag", "variable", "file"])
def test_what_is_given_counts_though_it_is_the_default(cxrcad, disc_data, tmp_path, pretended, monkeypatch, way):
    def resumed(name, value):
        if way == "flag":
            return cxrcad("train", "--resume", "--run", "run", f"--{name}", value)
        if way == "file":
            (tmp_path / "given.toml").write_text(f"{name} = {value}\n")
            return cxrcad("train", "--resume", "--run", "run", "--config", "given.toml")
        with monkeypatch.context() as patched:
            patched.setenv(f"CXRCAD_{name.upper()}", str(value))
            return cxrcad("train", "--resume", "--run", "run")

    (tmp_path / "cxrcad.toml").write_text("seed = 9\nepochs = 50\n")
    assert cxrcad("train", "--data", disc_data, "--run", "run", "--seed", 3, "--epochs", 2).code == 0
    answer = resumed("seed", 0)
    assert answer.code == 1
    assert answer.err == ("Error: run/fold1/config.toml: seed is 3 and 0 was given; leave it out, or start a new run\n")
    assert resumed("epochs", 100).code == 0
    assert [(one.seed, one.epochs) for _, one in pretended] == [(3, 2), (3, 100)]
    assert cxrcad("train", "--resume", "--run", "run").code == 0
    assert pretended[-1][1].epochs == 100


def test_the_library_says_what_was_given_too(disc_data, tmp_path, pretended):
    run = tmp_path / "run"
    train(config(disc_data, run, seed=3, epochs=2))
    again = build(TrainConfig, {"run": run, "resume": True})
    train(again)
    with pytest.raises(TrainingError, match="seed is 3 and 0 was given"):
        train(again, given=["seed"])
    train(again, given=["epochs"])
    assert [one.epochs for _, one in pretended] == [2, 2, 100]


# What it goes on from


def test_a_run_goes_on_from_another_working_folder(disc_data, ball_nodules, tmp_path, pretended, monkeypatch):
    monkeypatch.chdir(disc_data.parent)
    nodules = Path(os.path.relpath(ball_nodules))
    train(config(Path(disc_data.name), tmp_path / "run", simulate=nodules, fold="2"))
    train(config(Path(disc_data.name), tmp_path / "run", simulate="analytic", fold="3"))
    monkeypatch.chdir(tmp_path)
    train(build(TrainConfig, {"run": "run", "resume": True, "fold": "2"}))
    train(build(TrainConfig, {"run": "run", "resume": True, "fold": "3"}))
    kept = [(one.data.data, one.synthesis.simulate) for _, one in pretended[2:]]
    assert kept == [(disc_data, Path.cwd() / Path(os.path.abspath(ball_nodules))), (disc_data, Path("analytic"))]


def test_the_data_may_lie_elsewhere_if_they_are_the_same(disc_data, tmp_path, pretended):
    run = tmp_path / "run"
    train(config(disc_data, run))
    shutil.copytree(disc_data, tmp_path / "moved")
    train(build(TrainConfig, {"run": run, "resume": True, "data": tmp_path / "moved"}))
    assert settings_of(run)["data"] == str(tmp_path / "moved")
    image = tmp_path / "moved" / "images" / "JPCLN003.png"
    image.write_bytes((disc_data / "images" / "JPCLN004.png").read_bytes())
    with pytest.raises(
        DataError, match=r"content.json: made from other data than .*: JPCLN003 has another image; give"
    ):
        train(build(TrainConfig, {"run": run, "resume": True}))
    (run / "content.json").unlink()  # a run of before
    train(build(TrainConfig, {"run": run, "resume": True}))
    with pytest.raises(TrainingError, match=r"data is .*moved' and .* was given; leave it out"):
        train(build(TrainConfig, {"run": run, "resume": True, "data": disc_data}))


def test_a_relative_folder_of_a_run_of_before_is_found_beside_the_run(disc_data, tmp_path, pretended, monkeypatch):
    (tmp_path / "work").mkdir()
    shutil.copytree(disc_data, tmp_path / "work" / "DATA")
    run = tmp_path / "work" / "runs" / "one"
    train(config(tmp_path / "work" / "DATA", run))
    file = run / "fold1" / "config.toml"
    file.write_text(file.read_text().replace(str(tmp_path / "work" / "DATA"), "DATA"))
    monkeypatch.chdir(tmp_path)
    train(build(TrainConfig, {"run": run, "resume": True}))
    assert pretended[-1][1].data.data == tmp_path / "work" / "DATA"


def _other_image(folder: Path) -> None:
    path = folder / "data" / "images" / "JPCLN003.png"
    path.write_bytes((folder / "data" / "images" / "JPCLN004.png").read_bytes())


def _other_truth(folder: Path) -> None:
    path = folder / "data" / "CLNDAT_EN.txt"
    path.write_text(path.read_text().replace("JPCLN003.IMG\t4\t36", "JPCLN003.IMG\t4\t38"))


def _other_mask(folder: Path) -> None:
    (path,) = (folder / "data" / "scr").rglob("right lung/JPCLN003.gif")
    mask = np.array(Image.open(path))
    mask[20] = 0
    Image.fromarray(mask).save(path)


CHANGES = {"image": _other_image, "truth": _other_truth, "lung masks": _other_mask}


@pytest.mark.parametrize("what", CHANGES)
def test_changed_data_are_refused_by_the_run_and_by_its_checkpoint(stopped, what):
    before = (stopped / "data" / "CLNDAT_EN.txt").read_text()
    CHANGES[what](stopped)
    assert what != "truth" or (stopped / "data" / "CLNDAT_EN.txt").read_text() != before
    with pytest.raises(DataError, match=rf"content.json: made from other data than .*: JPCLN003 has another {what}; g"):
        go_on(stopped)
    (stopped / "run" / "content.json").unlink()
    split = json.loads((stopped / "run" / "folds.json").read_text())["folds"][0]
    if "JPCLN003" in split["test"]:
        pytest.skip("a test case")
    words = r"checkpoint.safetensors: was made before the image, truth or lung masks of JPCLN003 changed"
    with pytest.raises(TrainingError, match=words):
        go_on(stopped)


def test_changed_nodules_and_initial_models_are_refused_until_the_checkpoint_is_removed(stopped):
    checkpoint = stopped / "run" / "fold1" / "checkpoint.safetensors"
    store = dict(np.load(stopped / "nodules.npz"))
    np.savez(stopped / "nodules.npz", **{**store, "diameters": store["diameters"] + 1})
    words = r"checkpoint.safetensors: was made before the CT nodules \(--simulate\) changed; put that back"
    with pytest.raises(TrainingError, match=words):
        go_on(stopped)
    checkpoint.unlink()
    go_on(stopped)
    (stopped / "run" / "fold1" / "model" / "card.json").unlink()
    train(config(stopped / "data", stopped / "other", seed=4))
    shutil.rmtree(stopped / "first" / "fold1" / "model")
    shutil.copytree(stopped / "other" / "fold1" / "model", stopped / "first" / "fold1" / "model")
    with pytest.raises(TrainingError, match="was made before the model of --initial-weights changed; put that back"):
        go_on(stopped)


# What is there after a kill


@pytest.mark.parametrize("write", [1, 2, 3])
@pytest.mark.parametrize("way", ["resume", "again"])
def test_after_each_write_that_fails_it_goes_on_and_is_begun_again(
    disc_data, tmp_path, pretended, monkeypatch, write, way
):
    run, writes, real = tmp_path / "runs" / "run", [], os.replace

    def failing(source, target):
        writes.append(Path(target).name)
        if len(writes) == write:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", failing)
        with pytest.raises(WriteError, match="No space left"):
            train(config(disc_data, run, seed=7))
    assert writes == ["config.toml", "content.json", "folds.json"][:write]
    if way == "again":
        train(config(disc_data, run, seed=7))
    elif write > 1:
        train(build(TrainConfig, {"runs": run.parent, "resume": True}))
    else:
        with pytest.raises(TrainingError, match="run: no training was begun in it; leave out --resume, and give --dat"):
            train(build(TrainConfig, {"run": run, "resume": True}))
        return
    assert [(fold, one.seed) for fold, one in pretended] == [(1, 7)]
    assert {path.name for path in run.iterdir()} == {"fold1", "content.json", "folds.json"}


def test_what_killed_writes_left_in_a_run_is_removed_when_it_goes_on(disc_data, tmp_path, pretended):
    run = tmp_path / "run"
    script = "import os, signal, sys\nfrom pathlib import Path\nfrom cxrcad import files\n"
    script += "files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    script += "files.write_atomically(Path(sys.argv[1]), 'x')\n"
    for place in ("folds.json", "fold1/checkpoint.safetensors", "fold1/model/model.onnx"):
        command = [sys.executable, "-c", script, str(run / place)]
        killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert len(list(run.rglob(".*.tmp"))) == 3
    train(config(disc_data, run))
    assert list(run.rglob(".*.tmp")) == []


# Checkpoints


def rewritten(path: Path, change) -> None:
    """Put what `change` makes of tensors and metadata in the place of the checkpoint."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def recorded(**values):
    def change(tensors, metadata):
        metadata["record"] = json.dumps({**json.loads(metadata["record"]), **values})

    return change


def stored(key, value):
    def change(tensors, metadata):
        name = next(name for name in tensors if name.startswith(key) and name.endswith(("weight", "exp_avg")))
        tensors[name] = value(tensors[name])

    return change


def whole(record):
    return lambda tensors, metadata: metadata.update(record=record)


def spoilt(number):
    def change(values):
        result = values.copy()
        result.flat[-1] = number
        return result

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (whole("null"), "its record is NoneType, not an object"),
        (whole("[1]"), "its record is list, not an object"),
        (whole("{"), "Expecting property name"),
        (whole("[" * 10_000), "nested too deeply"),
        (lambda tensors, metadata: metadata.pop("record"), "its record is NoneType, not an object"),
        (recorded(step=None), "step is None, not a number from 0"),
        (recorded(step=[1]), r"step is \[1\], not a number from 0"),
        (recorded(step="1"), "step is '1', not a number from 0"),
        (recorded(step=1.5), "step is 1.5, not a number from 0"),
        (recorded(step=True), "step is True, not a number from 0"),
        (recorded(step=-1), "step is -1, not a number from 0"),
        (recorded(loss_sum=float("nan")), "loss_sum is nan, not a number from 0"),
        (recorded(seconds={}), "seconds is {}, not a number from 0"),
        (recorded(history=None), "history is no list of validations"),
        (recorded(history={"step": 1}), "history is no list of validations"),
        (recorded(history=[{"step": "1"}]), "history is no list of validations"),
        (stored("network/", spoilt(np.nan)), "network/.* holds NaN or infinite values"),
        (stored("optimizer/", spoilt(np.inf)), "optimizer/.* holds NaN or infinite values"),
        (stored("optimizer/", lambda v: v.ravel()[:1]), "optimizer/0/exp_avg is torch.float32 of shape"),
        (stored("optimizer/", lambda v: v.astype(np.int32)), "optimizer/0/exp_avg is torch.int32 of shape"),
        (lambda tensors, _: tensors.update({"optimizer/x": np.zeros(1)}), "not enough values to unpack"),
        (
            lambda tensors, _: tensors.update({"optimizer/9999/step": np.zeros(())}),
            "optimizer/9999 is no state of Adam",
        ),
    ],
)
def test_a_damaged_checkpoint_is_told_in_a_sentence(checkpointed, tmp_path, change, reason):
    path = tmp_path / "checkpoint.safetensors"
    shutil.copy(checkpointed / "run" / "fold1" / "checkpoint.safetensors", path)
    rewritten(path, change)
    own = build(TrainConfig, SMALL)
    state = new_state(build_network(own.network, own.grid.side), own)
    words = rf"^{path}: not a checkpoint of this training \({reason}[^\n]*\); remove this file, and --resume trains"
    with pytest.raises(TrainingError, match=words):
        state.load(path)


def test_with_the_damaged_checkpoint_removed_resume_trains_the_fold_from_its_first_step(stopped, checkpointed):
    path = stopped / "run" / "fold1" / "checkpoint.safetensors"
    whole_run = load_file(path)
    path.write_bytes(b"cut")
    with pytest.raises(TrainingError, match="remove this file, and --resume trains the fold from its first step"):
        go_on(stopped)
    path.unlink()
    go_on(stopped)
    assert (stopped / "run" / "fold1" / "model" / "card.json").is_file()
    again = load_file(path)
    assert [name for name in whole_run if not np.array_equal(whole_run[name], again[name])] == []


# Masks


def test_a_lung_mask_without_a_pixel_is_refused_and_a_nodule_smaller_than_one_is_not(disc_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(disc_data, data)
    table = data / "CLNDAT_EN.txt"
    table.write_text(table.read_text().replace("\t36\t60", "\t1\t60"))
    own = config(data, tmp_path / "run", side=32)
    (one, *_) = load_samples(read_dataset(data).cases[:1], own, 16)
    assert one.lesion.sum() == 1  # 1 mm of 11 a pixel
    for mask in (data / "scr").rglob("JPCLN001.gif"):
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(mask)
    with pytest.raises(DataError, match=r"JPCLN001\.gif: no pixel of the model's grid is lung; draw the lungs in it"):
        load_samples(read_dataset(data).cases[:1], own, 16)


def test_a_run_that_lost_its_folds_is_not_given_new_ones(disc_data, tmp_path, pretended):
    """Other folds would hold out what the begun fold was trained or validated on."""
    run = train(config(disc_data, tmp_path / "run"))
    (run / "folds.json").unlink()
    train(config(disc_data, run, fold="2", fold_seed=1))  # none is begun
    (run / "fold1" / "model").mkdir()
    (run / "fold1" / "model" / "card.json").write_text("{}")
    kept = (run / "folds.json").read_text()
    (run / "folds.json").unlink()
    words = "holds fold1 and no folds.json, and only that says which cases fold1 holds out; put it back"
    for values in ({"fold": "3"}, {"fold": "3", "resume": True}, {"resume": True}):
        with pytest.raises(TrainingError, match=words):
            train(config(disc_data, run, **values), given=set(values))
    (run / "folds.json").write_text(kept)
    train(config(disc_data, run, fold="3"))
    assert [fold for fold, _ in pretended] == [1, 2, 3]
