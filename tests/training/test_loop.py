"""Trainings of a few seconds: what they learn, write, resume and refuse."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cxrcad.config import TrainConfig, build
from cxrcad.core import DataError, EvaluationError, TrainingError
from cxrcad.datasets.images import read_case
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.evaluation.froc import best_f1_threshold, score_at_threshold
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.files import json_sha256
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import load_bundle
from cxrcad.paper.jobs import Job
from cxrcad.training import loop as trainer
from cxrcad.training.data import drawn_ahead, make_source
from cxrcad.training.plan import train
from cxrcad.training.segmentation import SegmentationTask
from tests.told import Told

SMALL = {
    "side": 64, "fold": "1", "threads": 1, "precision": "fp32", "epochs": 2, "min_area_mm2": 30, "peak_distance_mm": 20,
}  # fmt: skip


def config(data: Path, run: Path, **values) -> TrainConfig:
    return build(TrainConfig, {**SMALL, "data": data, "run": run, **values})


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "first"
    notes = Told()
    train(config(tiny_data, run, norm="group", channels="raw,local", epochs=15, max_class_weight=20, min_class_weight=1,
                 normals=True, validate_epochs=5), notes)  # fmt: skip
    return run, notes


def test_a_short_training_finds_the_discs_of_its_validation_cases(trained):
    run, _ = trained
    history = json.loads((run / "fold1" / "history.json").read_text())
    assert history[-1]["f1"] >= 0.6
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["lung_dice"] > 0.8


def test_a_finished_fold_is_a_packaged_model_with_the_images_it_saw(trained, tiny_data):
    run, _ = trained
    bundle = load_bundle(run / "fold1" / "model")
    folds = json.loads((run / "folds.json").read_text())["folds"][0]
    assert len(bundle.training_images) == len(folds["train"])
    assert 0 < bundle.threshold < 1
    assert bundle.tasks == ("lesion", "lung")
    assert bundle.card["network"]["channels"] == "raw,local"
    assert set(bundle.card["files"]) == {"model.onnx", "model.safetensors"}


def test_the_card_names_the_history_of_its_training(trained):
    run, _ = trained
    history = json.loads((run / "fold1" / "history.json").read_text())
    job = Job(("a",), 1, 0, run, build(TrainConfig, {}))
    assert load_bundle(run / "fold1" / "model").training["history_sha256"] == json_sha256(history)
    assert [entry["step"] for entry in job.history] == [entry["step"] for entry in history]
    other = shutil.copytree(run, run.parent / "other")
    (other / "fold1" / "history.json").write_text(json.dumps([*history[:-1], {**history[-1], "loss": 99.0}]))
    with pytest.raises(EvaluationError, match=r"history.json: is not of the training whose model lies beside it"):
        _ = replace(job, run=other).history


def test_the_run_s_config_builds_the_same_training(trained, tiny_data):
    import tomllib

    run, _ = trained
    values = tomllib.loads((run / "fold1" / "config.toml").read_text())
    assert build(TrainConfig, values).epochs == 15
    assert build(TrainConfig, values).data.data == tiny_data


def test_a_case_without_a_lung_mask_is_counted(trained):
    _, notes = trained
    said = [line for line in notes.notes if "no lung mask" in line]
    assert said, notes.notes
    assert all("1 of " in line for line in said)


def test_lungs_are_not_learned_from_no_mask_at_all(tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    shutil.rmtree(data / "scr")
    with pytest.raises(TrainingError, match=r"none of the \d+ training cases has a lung mask, .*; give --tasks single"):
        train(config(data, tmp_path / "run", max_steps=1))
    train(config(data, tmp_path / "run2", max_steps=1, tasks="single"))


def test_another_training_is_not_written_over_a_finished_one(trained, tiny_data):
    run, _ = trained
    with pytest.raises(TrainingError, match="use --resume or another --run"):
        train(config(tiny_data, run))


def test_a_training_without_data_says_how_to_get_it_in_three_lines():
    with pytest.raises(DataError, match="JSRT") as error:
        train(build(TrainConfig, {}))
    assert len(str(error.value).splitlines()) == 3
    assert "cxrcad phantom" in str(error.value)


def test_single_task_learned_balance_and_batches_train(tiny_data, tmp_path):
    short = {"max_steps": 6, "batch": 2, "checkpoint_minutes": 0}
    train(config(tiny_data, tmp_path / "single", tasks="single", network="u-net", **short))
    assert load_bundle(tmp_path / "single" / "fold1" / "model").tasks == ("lesion",)
    train(config(tiny_data, tmp_path / "learned", balance="learned", balance_start=0.9, ema=0.9, **short))
    history = json.loads((tmp_path / "learned" / "fold1" / "history.json").read_text())
    assert history[-1]["balance"] != 0.9
    assert abs(history[-1]["balance"] - 0.9) < 0.05


@pytest.mark.parametrize("network", ["deeplabv3plus", "pspnet"])
def test_the_networks_of_table_5_train(network, tiny_data, tmp_path):
    train(config(tiny_data, tmp_path / "run", network=network, tasks="single", max_steps=3))
    bundle = load_bundle(tmp_path / "run" / "fold1" / "model")
    assert bundle.card["network"]["network"] == network
    assert bundle.card["training"]["steps"] == 3


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "fold1" / "checkpoint.safetensors")


def test_a_training_killed_inside_an_epoch_resumes_to_the_same_weights(tiny_data, tmp_path):
    values = {**SMALL, "epochs": 2, "checkpoint_minutes": 0, "ema": 0.9, "mirror": True, "validate_epochs": 1}
    train(build(TrainConfig, {**values, "data": tiny_data, "run": tmp_path / "whole"}))
    run = tmp_path / "killed"
    script = (
        "import sys, json\nfrom cxrcad.config import TrainConfig, build\nfrom cxrcad.training.plan import train\n"
        "train(build(TrainConfig, json.loads(sys.argv[1])))"
    )
    told = json.dumps({**values, "data": str(tiny_data), "run": str(run)})
    child = subprocess.Popen([sys.executable, "-c", script, told], cwd=Path(__file__).parents[2])
    checkpoint = run / "fold1" / "checkpoint.safetensors"
    deadline = time.monotonic() + 600
    while not checkpoint.is_file() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert checkpoint.is_file()
    assert not (run / "fold1" / "model").exists()
    notes = Told()
    train(build(TrainConfig, {**values, "data": tiny_data, "run": run, "resume": True}), notes)
    assert notes.steps[0] > 1
    first, second = weights(tmp_path / "whole"), weights(run)
    assert set(first) == set(second)
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


def test_a_checkpoint_of_another_network_is_refused(trained, tiny_data, tmp_path):
    run, _ = trained
    folder = tmp_path / "other" / "fold1"
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_bytes((run / "fold1" / "checkpoint.safetensors").read_bytes())
    for name in ("folds.json", "content.json"):
        (tmp_path / "other" / name).write_bytes((run / name).read_bytes())
    with pytest.raises(TrainingError, match=r"not a checkpoint of this training .*; remove this file, and --resume"):
        train(config(tiny_data, tmp_path / "other", network="pspnet", resume=True))
    (folder / "checkpoint.safetensors").write_bytes(b"cut")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        train(config(tiny_data, tmp_path / "other", resume=True))


def test_resume_without_a_run_says_so(tiny_data, tmp_path):
    with pytest.raises(TrainingError, match="there is no run to resume"):
        train(build(TrainConfig, {**SMALL, "data": tiny_data, "runs": tmp_path, "resume": True}))


def test_a_run_to_resume_that_is_not_there_is_named(tiny_data, tmp_path):
    with pytest.raises(TrainingError, match="there is no such run to resume; check --run"):
        train(config(tiny_data, tmp_path / "none", resume=True))


def test_cuda_that_is_not_there_is_an_error(tiny_data, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("CUDA is here")
    with pytest.raises(TrainingError, match="torch finds no usable CUDA device; use --device auto"):
        train(config(tiny_data, tmp_path / "cuda", device="cuda"))


def test_resume_takes_the_run_s_own_settings_and_refuses_others(tiny_data, tmp_path):
    run = tmp_path / "runs" / "one"
    train(config(tiny_data, run, fold="2", network="u-net", tasks="single", max_steps=2))
    (run / "fold2" / "model" / "card.json").unlink()  # as if it had been stopped before the end
    runs = tmp_path / "runs"
    with pytest.raises(TrainingError, match=r"network is 'u-net' and 'pspnet' was given; leave it out, or start a new"):
        train(build(TrainConfig, {"runs": runs, "resume": True, "network": "pspnet"}))
    notes = Told()
    assert train(build(TrainConfig, {"runs": runs, "resume": True, "max_steps": 4}), notes) == run
    assert notes.steps == [3, 4]
    assert load_bundle(run / "fold2" / "model").card["network"]["network"] == "u-net"
    train(build(TrainConfig, {"runs": runs, "resume": True}), notes)
    assert notes.notes[-1] == "fold 2 is finished already"


def test_a_training_can_start_from_a_packaged_model(trained, tiny_data, tmp_path):
    run, _ = trained
    values = {"norm": "group", "channels": "raw,local", "max_steps": 1, "learning_rate": 0.0}
    train(config(tiny_data, tmp_path / "next", init=str(run / "fold1"), **values))
    first = load_file(run / "fold1" / "model" / "model.safetensors")
    second = load_file(tmp_path / "next" / "fold1" / "model" / "model.safetensors")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    with pytest.raises(TrainingError, match="its weights do not fit this network; give the --network"):
        train(config(tiny_data, tmp_path / "other", init=str(run / "fold1"), network="pspnet"))


def test_a_start_that_saw_a_held_out_case_is_refused(trained, tiny_data, tmp_path):
    run, _ = trained
    with pytest.raises(
        TrainingError, match=r"--initial-weights .*fold1: was trained on \d+ of fold 2's validation and test cases"
    ):
        train(config(tiny_data, tmp_path / "run", init=str(run / "fold1"), fold="2"))
    assert not (tmp_path / "run").exists()


def test_of_a_run_each_fold_starts_from_its_own_model(trained, tiny_data, tmp_path):
    run, _ = trained
    values = {"norm": "group", "channels": "raw,local", "max_steps": 1, "learning_rate": 0.0, "init": str(run)}
    train(config(tiny_data, tmp_path / "next", **values))
    start = load_bundle(tmp_path / "next" / "fold1" / "model").card["training"]["init"]
    assert start["sha256"] == load_bundle(run / "fold1" / "model").sha256


def test_settings_that_a_training_has_no_use_for_are_named(tiny_data, tmp_path):
    notes = Told()
    unused = {"width": 24, "lung_threshold": 0.4, "tasks": "single", "negative_insertions": 3, "ensemble_weight": 0.2}
    unused |= {"simulate_count": 2}
    train(config(tiny_data, tmp_path / "run", max_steps=1, **unused), notes)
    assert [line for line in notes.notes if "not used" in line] == [
        "--width 24 is not used: mo-segnet has the paper's widths",
        "--lung-threshold is not used: a single-task network outlines no lungs",
        "--simulate-count not used: no nodules are projected (--simulate)",
        "--negative-insertions, --ensemble-weight not used: for a patch classifier, and this training has none "
        "(--patch-classifier)",
    ]


def test_the_folds_of_a_run_are_of_one_network(tiny_data, tmp_path):
    run = tmp_path / "run"
    train(config(tiny_data, run, max_steps=1))
    with pytest.raises(TrainingError, match=r"fold1/config.toml: norm is 'table1' and 'group' was given; the folds of"):
        train(config(tiny_data, run, fold="2", max_steps=1, norm="group"))
    assert not (run / "fold2").exists()
    train(config(tiny_data, run, fold="2", max_steps=1, learning_rate=0.01))
    assert (run / "fold2" / "model" / "card.json").is_file()


def test_images_drawn_ahead_by_processes_give_the_same_weights(tiny_data, tmp_path):
    values = {"simulate": "analytic", "batch": 2, "max_steps": 4, "normals": True}
    runs = [tmp_path / str(workers) for workers in (0, 2)]
    for run, workers in zip(runs, (0, 2), strict=True):
        train(config(tiny_data, run, workers=workers, **values))
    first, second = (load_file(run / "fold1" / "checkpoint.safetensors") for run in runs)
    assert all(np.array_equal(first[name], second[name]) for name in first)


class Interrupted(Told):
    """Presses Ctrl-C after the third step."""

    def step(self, done_steps, loss=None):
        if done_steps == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("patch_classifier", [False, True])
def test_a_training_that_is_stopped_keeps_its_last_step(tiny_data, tmp_path, patch_classifier):
    values = {"max_steps": 6, "simulate": "analytic", "norm": "group"}
    if patch_classifier:
        train(config(tiny_data, tmp_path / "first", **values))
        values |= {
            "patch_classifier": True,
            "half_side": False,
            "init": tmp_path / "first",
            "mining_rounds": 1,
            "patches_per_image": 8,
        }
    train(config(tiny_data, tmp_path / "whole", **values))
    told = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        train(config(tiny_data, tmp_path / "cut", **values), told)
    assert told.notes[-1] == "step 3 is kept"
    notes = Told()
    train(config(tiny_data, tmp_path / "cut", **values, resume=True), notes)
    assert "fold 1: going on from step 3" in notes.notes
    first, second = (load_file(tmp_path / run / "fold1" / "checkpoint.safetensors") for run in ("whole", "cut"))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_validation_that_is_cut_short_is_done_again(tiny_data, tmp_path, monkeypatch):
    def cut(*arguments):
        raise KeyboardInterrupt

    own = config(tiny_data, tmp_path / "run", max_steps=2)
    with monkeypatch.context() as patched:
        patched.setattr(SegmentationTask, "work", cut)
        with pytest.raises(KeyboardInterrupt):
            train(own)
    assert not (tmp_path / "run" / "fold1" / "checkpoint.safetensors").exists()
    train(replace(own, resume=True))
    assert json.loads((tmp_path / "run" / "fold1" / "history.json").read_text())[-1]["step"] == 2


def test_processes_that_draw_get_neither_ctrl_c_nor_sigterm():
    def draw(step):
        return {signal.SIGINT, signal.SIGTERM} <= set(signal.pthread_sigmask(signal.SIG_BLOCK, []))

    assert list(drawn_ahead(draw, 0, 2, workers=1)) == [True, True]


def test_a_process_that_ends_while_it_draws_is_told_with_the_remedy():
    def draw(step):
        os.kill(os.getpid(), signal.SIGBUS)  # what a full /dev/shm does

    with pytest.raises(
        TrainingError, match=r"a process that draws training images ahead ended .DataLoader worker .*--workers 0"
    ):
        list(drawn_ahead(draw, 0, 2, workers=1))


def test_an_error_of_drawing_itself_stays_what_it_is():
    def draw(step):
        raise RuntimeError("no such step")

    with pytest.raises(RuntimeError, match="no such step"):
        list(drawn_ahead(draw, 0, 2, workers=1))


def test_a_training_that_loses_a_process_keeps_its_last_step(tiny_data, tmp_path):
    class Killing(Told):
        def step(self, done_steps, loss=None):
            if done_steps == 2:
                for process in multiprocessing.active_children():
                    process.kill()
            super().step(done_steps, loss)

    told, own = Killing(), config(tiny_data, tmp_path / "run", workers=1, max_steps=24)
    with pytest.raises(TrainingError, match=r"a process that draws .* ended .*--resume goes on from what is kept"):
        train(own, told)
    assert told.notes[-1] == f"step {told.steps[-1]} is kept"
    assert 2 <= told.steps[-1] < 24
    train(replace(own, resume=True))
    assert json.loads((tmp_path / "run" / "fold1" / "history.json").read_text())[-1]["step"] == 24


def test_no_process_outlives_an_error_of_drawing_that_somebody_keeps():
    def draw(step):
        if step == 1:
            raise ValueError("no such step")
        return step

    with pytest.raises(ValueError, match="no such step") as held:
        list(drawn_ahead(draw, 0, 9, workers=2))
    assert multiprocessing.active_children() == []
    assert held.tb is not None


def test_a_process_that_hangs_is_ended_with_the_drawing(monkeypatch):
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.5)  # torch waits 5 s for each process
    hanging = multiprocessing.Event()

    def draw(step):
        if step == 1:
            hanging.set()
            time.sleep(3600)
        return step

    drawn = drawn_ahead(draw, 0, 9, workers=2)
    assert next(drawn) == 0
    assert hanging.wait(600)
    drawn.close()
    assert multiprocessing.active_children() == []


def test_a_batch_of_images_that_differ_in_size_is_refused(tiny_data, tmp_path):
    own = config(tiny_data, tmp_path, batch=2)
    one, *others = load_samples(read_dataset(tiny_data).cases[:3], own, 16)
    lower = replace(one, image=one.image[:32])
    with pytest.raises(TrainingError, match=r"differ in size .*, as \(32, 64\) and \(64, 64\); use --batch 1"):
        make_source((lower, *others), own, read_dataset(tiny_data), ())
    assert len(make_source((lower, *others), replace(own, batch=1), read_dataset(tiny_data), ()).samples) == 3


def test_hardware_is_drawn_over_a_part_of_the_images_and_into_no_mask(tiny_data, tmp_path):
    own = config(tiny_data, tmp_path, hardware=0.5)
    dataset = read_dataset(tiny_data)
    source = make_source(load_samples(dataset.cases[:8], own, 16), own, dataset, ())
    bare = replace(source, augment=replace(own.augment, hardware=0.0))
    drawn, plain = ([one.draw(step) for step in range(8)] for one in (source, bare))
    changed = [not bool((a.images == b.images).all()) for a, b in zip(drawn, plain, strict=True)]
    assert 1 <= sum(changed) <= 7
    assert all(bool((a.masks == b.masks).all()) for a, b in zip(drawn, plain, strict=True))


def test_each_epoch_shows_every_sample_once_in_another_order(tiny_data, tmp_path):
    own = config(tiny_data, tmp_path, augment=False)
    dataset = read_dataset(tiny_data)
    source = make_source(load_samples(dataset.cases[:8], own, 16), own, dataset, ())
    names = {sample.pixels.tobytes(): sample.case.name for sample in source.samples}
    epochs = [[names[source.draw(8 * epoch + step).images.numpy().tobytes()] for step in range(8)] for epoch in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(names.values())
    assert epochs[0] != epochs[1]


def test_the_moving_average_keeps_its_decay_and_takes_the_rest_from_the_network():
    import torch

    average, network = (torch.nn.BatchNorm1d(1) for _ in range(2))
    average.weight.data[:], network.weight.data[:] = 1.0, 0.0
    network.running_mean[:], network.num_batches_tracked[...] = 10.0, 7
    trainer.follow(average, network, 0.75)
    assert (average.weight.item(), average.running_mean.item(), average.num_batches_tracked.item()) == (0.75, 2.5, 7)


def test_the_threshold_comes_from_the_validation_cases(tiny_data, tmp_path):
    short = {"network": "u-net", "tasks": "single", "norm": "group", "max_class_weight": 20, "min_class_weight": 1}
    own = config(tiny_data, tmp_path / "run", **short, max_steps=40)
    bundle = load_bundle(train(own) / "fold1" / "model")
    split = json.loads((tmp_path / "run" / "folds.json").read_text())["folds"][0]
    dataset, detector = read_dataset(tiny_data), Detector.open(bundle, "cpu")
    best = {}
    for part in ("train", "validation"):
        cases = [case for case in dataset.select(split[part]) if case.positive]
        found = [match_image(case, detector.examine(read_case(case)).result.findings, HitRule()) for case in cases]
        threshold = best_f1_threshold(found)
        best[part] = threshold, score_at_threshold(found, threshold).f1, len(cases)
    assert best["train"][0] != best["validation"][0]
    threshold, f1, cases = best["validation"]
    figure = {"cases": cases, "f1": round(f1, 4), "threshold": round(threshold, 4)}
    assert (bundle.threshold, bundle.card["figures"]["validation cases"]) == (threshold, figure)
