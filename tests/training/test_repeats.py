"""A training that is done twice: the same weights, where each was made, and a run that is repeated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cxrcad.config import TrainConfig, build, to_dict
from cxrcad.core import DataError, TrainingError, UsageError
from cxrcad.training.plan import train
from cxrcad.training.resume import read_kept, repeated
from tests.told import Told

SMALL = {
    "side": 64, "fold": "2", "threads": 2, "batch": 2, "max_steps": 4, "network": "deeplabv3plus", "width": 16,
    "norm": "group", "deterministic": True, "hardware": 0.5,
}  # fmt: skip


def repeat(source: Path, **values) -> Path:
    """A training with --from-run."""
    notes = values.pop("notes", None)
    return train(build(TrainConfig, {"from_run": source, **values}), notes, {"from_run", *values})


def weights(run: Path) -> bytes:
    return (run / "fold2" / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def first(tiny_data, tmp_path_factory):
    """A run on data of its own."""
    folder = tmp_path_factory.mktemp("first")
    data = shutil.copytree(tiny_data, folder / "data")
    return train(build(TrainConfig, {**SMALL, "data": data, "run": folder / "run"}))


@pytest.fixture(autouse=True)
def _as_before():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_a_run_that_is_repeated_has_the_same_bits(first, tmp_path):
    notes = Told()
    again = repeat(first, run=tmp_path / "again", notes=notes)
    assert weights(again) == weights(first)
    assert (again / "folds.json").read_bytes() == (first / "folds.json").read_bytes()
    assert not [line for line in notes.notes if "other there than now" in line]
    before, now = (to_dict(read_kept(run / "fold2" / "config.toml")) for run in (first, again))
    assert before == now
    one, other = (load_file(run / "fold2" / "checkpoint.safetensors") for run in (first, again))
    assert all(np.array_equal(value, one[name]) for name, value in other.items())


def test_what_is_given_beside_it_takes_its_place(first, tmp_path):
    notes = Told()
    other = repeat(first, run=tmp_path / "other", seed=5, notes=notes)
    assert weights(other) != weights(first)
    assert any("other there than now: seed 0, now 5. The weights may differ" in line for line in notes.notes)


def test_of_a_fold_that_was_never_begun_there_nothing_is_other(first, tmp_path):
    notes = Told()
    repeat(first, run=tmp_path / "other", fold="3", max_steps=1, notes=notes)
    assert not [line for line in notes.notes if "other there than now" in line]


def test_the_fold_s_folder_says_where_it_was_trained(first):
    (start,) = json.loads((first / "fold2" / "environment.json").read_text())["starts"]
    assert start["step"] == 0
    assert start["libraries"]["torch"] == torch.__version__
    assert (start["threads"], start["seed"], start["deterministic"]) == (2, 0, True)
    assert start["device"]
    assert start["python"].startswith("3.")


def test_a_run_of_all_folds_is_repeated_whole_wherever_it_was_stopped(first, tmp_path):
    run = shutil.copytree(first, tmp_path / "run")
    config = build(TrainConfig, {"from_run": run})
    assert repeated(config, {"from_run"}, Told()).fold == "2"
    for fold in "1345":  # what a training of all makes first
        (run / f"fold{fold}").mkdir()
    assert repeated(config, {"from_run"}, Told()).fold == "all"


def test_data_that_changed_are_told_in_a_sentence(first, tiny_data, tmp_path):
    data = shutil.copytree(first.parent / "data", tmp_path / "data")
    run = shutil.copytree(first, tmp_path / "run")
    for file in run.glob("fold2/config.toml"):
        file.write_text(file.read_text().replace(str(first.parent / "data"), str(data)))
    shutil.copy(data / "images" / "OXLN003.png", data / "images" / "OXLN004.png")
    words = r"content.json: made from other data than .* holds: OXLN004 has another image; put them back"
    with pytest.raises(DataError, match=words):
        repeat(run, run=tmp_path / "again")
    assert not (tmp_path / "again").exists()
    notes = Told()
    repeat(run, run=tmp_path / "again", data=data, max_steps=1, notes=notes)
    assert any("OXLN004 has another image; its settings are repeated" in line for line in notes.notes)


def test_what_cannot_be_repeated_is_refused(first, tmp_path):
    with pytest.raises(TrainingError, match="no training was begun in it; name the folder of a run with --from-run"):
        repeat(tmp_path)
    with pytest.raises(UsageError, match=r"--from-run .*: repeats a run in a new folder, and --resume goes on in one"):
        repeat(first, resume=True)
