"""What a training logs as it goes, and who watches it."""

from __future__ import annotations

import json
import os
import signal

import pytest

pytest.importorskip("torch")

from cxrcad.config import TrainConfig, build
from cxrcad.core import WriteError
from cxrcad.evaluation.trainings import read_log
from cxrcad.training import loop
from cxrcad.training.plan import train
from tests.told import Told

SMALL = {"side": 64, "fold": "1", "threads": 1, "precision": "fp32", "batch": 2, "validate_epochs": 2, "norm": "group"}


class Seen:
    """Keeps what a watcher is told."""

    def __init__(self) -> None:
        self.entries, self.looks = [], []

    def logged(self, fold, entry):
        self.entries.append(entry)

    def epoch_ended(self, fold, step, look):
        self.looks.append((step, look()))


@pytest.fixture(scope="module")
def logged(tiny_data, tmp_path_factory):
    run, seen = tmp_path_factory.mktemp("runs") / "one", Seen()
    train(build(TrainConfig, {**SMALL, "data": tiny_data, "run": run, "epochs": 3}), watcher=seen)
    return run, seen


def test_each_epoch_and_each_validation_has_a_line(logged):
    run, seen = logged
    entries = [json.loads(line) for line in (run / "fold1" / "log.jsonl").read_text().splitlines()]
    assert entries == seen.entries
    (start, *others), length = entries, entries[0]["epoch_steps"]
    assert (start["event"], start["step"], start["total_steps"]) == ("start", 0, 3 * length)
    told = [(entry["event"], entry["step"], entry["epoch"]) for entry in others]
    assert told == [
        ("steps", length, 1.0),
        ("steps", 2 * length, 2.0),
        ("validation", 2 * length, 2),
        ("steps", 3 * length, 3.0),
        ("validation", 3 * length, 3),
    ]
    history = json.loads((run / "fold1" / "history.json").read_text())
    assert [{key: entry[key] for key in history[0]} for entry in entries if "f1" in entry] == history
    first, second = (entry["loss"] for entry in others[:2])
    assert history[0]["loss"] == pytest.approx((first + second) / 2, abs=2e-6)


def test_a_watcher_sees_a_validation_case_at_each_epoch_s_end(logged):
    run, seen = logged
    folds = json.loads((run / "folds.json").read_text())["folds"][0]
    assert [step for step, _ in seen.looks] == [entry["step"] for entry in seen.entries if entry["event"] == "steps"]
    for _, (sample, maps) in seen.looks:
        assert sample.case.name in folds["validation"]
        assert sample.lesion.any()
        assert {task: found.shape for task, found in maps.items()} == {"lesion": (64, 64), "lung": (64, 64)}


def test_what_was_logged_after_the_checkpoint_is_taken_out(logged):
    run, _ = logged
    (run / "fold1" / "model" / "card.json").unlink()
    path, before = run / "fold1" / "log.jsonl", read_log(run / "fold1" / "log.jsonl")
    later = {**before[-1], "step": before[-1]["step"] + 1}
    path.write_text("".join(json.dumps(entry) + "\n" for entry in [*before, later]) + '{"event": "ste')
    train(build(TrainConfig, {"run": run, "resume": True}))
    after = read_log(path)
    assert after[: len(before)] == before
    assert [(entry["event"], entry["step"]) for entry in after[len(before) :]] == [("start", before[-1]["step"])]


@pytest.mark.usefixtures("interruptible")
def test_the_last_steps_before_a_stop_are_logged_and_a_fold_of_which_none_is_kept_is_told(
    tiny_data, tmp_path, monkeypatch
):
    losses = []

    def stopped_in_the_second(state, *given):
        losses.append(take_step(state, *given))
        if state.step == 1:
            os.kill(os.getpid(), signal.SIGINT)  # it waits for the step's end
        return losses[-1]

    run, take_step = tmp_path / "run", loop.take_step
    config = build(TrainConfig, {**SMALL, "data": tiny_data, "run": run, "epochs": 3})
    with monkeypatch.context() as patched:
        patched.setattr(loop, "take_step", stopped_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            train(config, watcher=Seen())
    last = read_log(run / "fold1" / "log.jsonl")[-1]
    assert (last["event"], last["step"], last["loss"]) == ("steps", 2, pytest.approx(sum(losses) / 2, abs=1e-6))
    (run / "fold1" / "checkpoint.safetensors").unlink()
    told = Told()
    train(build(TrainConfig, {"run": run, "resume": True, "max_steps": 1}), told)
    assert "fold 1: no step of it was kept; it begins anew" in told.notes


def test_a_log_that_cannot_be_written_ends_the_training_in_a_sentence(tiny_data, tmp_path):
    (tmp_path / "fold1" / "log.jsonl").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"log.jsonl: cannot be written \(.*\)"):
        train(build(TrainConfig, {**SMALL, "data": tiny_data, "run": tmp_path, "max_steps": 1}))
