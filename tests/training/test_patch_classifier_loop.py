"""A patch classifier trained beside a first one: what it takes for a start, writes, resumes and refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cxrcad.config import TrainConfig, build
from cxrcad.core import TrainingError, UsageError
from cxrcad.datasets.folds import Split
from cxrcad.datasets.read import read_dataset
from cxrcad.files import Silent
from cxrcad.inference.model import load_bundle
from cxrcad.training.loop import train_fold
from cxrcad.training.plan import train

SHARED = {
    "fold": "1", "threads": 1, "precision": "fp32", "norm": "group", "channels": "raw,local", "normals": True,
    "min_area_mm2": 30, "peak_distance_mm": 20,
}  # fmt: skip
ENSEMBLE = {
    **{"side": 64, "patch_classifier": True, "batch": 2, "patches_per_image": 12, "mining_rounds": 1, "max_steps": 6},
    **{"ema": 0.9, "checkpoint_minutes": 0, "simulate": "analytic", "simulate_count": 2},
}


def segmentation(data: Path, run: Path, **values) -> Path:
    return train(build(TrainConfig, {**SHARED, "side": 32, "epochs": 1, "data": data, "run": run, **values}))


def ensemble(data: Path, run: Path, init: Path | None, **values) -> Path:
    return train(
        build(TrainConfig, {**SHARED, **ENSEMBLE, "data": data, "run": run, "init": init and str(init), **values})
    )


@pytest.fixture(scope="module")
def first(tiny_data, tmp_path_factory) -> Path:
    return segmentation(tiny_data, tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def second(tiny_data, first, tmp_path_factory) -> Path:
    return ensemble(tiny_data, tmp_path_factory.mktemp("runs") / "second", first)


def test_the_model_has_the_segmentation_as_it_was_and_a_second_that_learned(first, second):
    before, after = (load_file(run / "fold1" / "model" / "model.safetensors") for run in (first, second))
    for name, weights in before.items():
        np.testing.assert_array_equal(after[f"segmentation.{name}"], weights)
    assert np.abs(after["classifier.last.weight"]).max() > 0
    (entry,) = json.loads((second / "fold1" / "history.json").read_text())
    assert entry["step"] == 6
    assert float(after["weight"]) == pytest.approx(entry["share"])
    assert entry["mean_sensitivity"][f"{entry['share']:g}"] == max(entry["mean_sensitivity"].values())


def test_the_card_counts_the_segmentation_s_training_and_serves_at_the_full_side(first, second):
    bundle = load_bundle(second / "fold1" / "model")
    assert bundle.card["network"]["patch_classifier"] is True
    assert (bundle.grid.side, bundle.multiple) == (64, 32)
    assert bundle.card["training"]["init"]["sha256"] == load_bundle(first / "fold1" / "model").sha256
    assert bundle.training_images >= load_bundle(first / "fold1" / "model").training_images


def test_a_resumed_training_ends_with_the_same_weights(tiny_data, first, second, tmp_path):
    run = tmp_path / "stopped"
    ensemble(tiny_data, run, first)
    checkpoint = run / "fold1" / "checkpoint.safetensors"
    finished = load_file(checkpoint)
    _back_to_step_3(tiny_data, first, tmp_path / "half", run)
    ensemble(tiny_data, run, first, resume=True)
    for name, weights in load_file(checkpoint).items():
        np.testing.assert_array_equal(weights, finished[name], err_msg=name)


def _back_to_step_3(data: Path, first: Path, place: Path, run: Path) -> None:
    """Leave `run` as a training that was stopped after its third step, when it had mined."""

    class Stopped(Exception):
        pass

    class Watch:
        def start(self, title, total_steps, done_steps): ...

        def note(self, text): ...

        def step(self, done_steps, loss=None):
            if done_steps == 4:
                raise Stopped

    config = build(TrainConfig, {**SHARED, **ENSEMBLE, "data": data, "run": place, "init": str(first)})
    with pytest.raises(Stopped):
        train(config, Watch())
    (run / "fold1" / "checkpoint.safetensors").write_bytes((place / "fold1" / "checkpoint.safetensors").read_bytes())
    for name in ("card.json", "model.onnx", "model.safetensors"):
        (run / "fold1" / "model" / name).unlink()


def test_a_ensemble_is_taken_over_beside_another_segmentation_and_only_weighed(tiny_data, second, tmp_path):
    other = segmentation(tiny_data, tmp_path / "other", seed=5)
    run = ensemble(tiny_data, tmp_path / "run", other, classifier_weights=str(second), max_steps=0)
    kept, joined, own = (load_file(one / "fold1" / "model" / "model.safetensors") for one in (second, run, other))
    for name, weights in joined.items():
        if name.startswith("classifier."):
            np.testing.assert_array_equal(weights, kept[name], err_msg=name)
        elif name.startswith("segmentation."):
            np.testing.assert_array_equal(weights, own[name.removeprefix("segmentation.")], err_msg=name)
    training = load_bundle(run / "fold1" / "model").card["training"]
    assert (training["steps"], training["second_init"]["steps"]) == (0, 6)
    assert training["second_init"]["sha256"] == load_bundle(second / "fold1" / "model").sha256


def test_a_two_look_model_is_fine_tuned_look_by_look(tiny_data, first, second, tmp_path):
    """Its segmentation network goes on alone, then its second one beside that."""
    alone = segmentation(tiny_data, tmp_path / "alone", init=str(second), max_steps=1, learning_rate=0.0)
    before, after = (load_file(run / "fold1" / "model" / "model.safetensors") for run in (first, alone))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    both = ensemble(tiny_data, tmp_path / "both", alone, classifier_weights=str(second), max_steps=0)
    again = ensemble(tiny_data, tmp_path / "again", second, classifier_weights=str(second), max_steps=0)
    weights = [load_file(run / "fold1" / "model" / "model.safetensors") for run in (both, again, second)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert all(np.array_equal(weights[0][name], weights[2][name]) for name in weights[0] if name != "share")


def test_a_ensemble_of_another_kind_is_refused(tiny_data, first, tmp_path):
    with pytest.raises(
        TrainingError, match=r"--classifier-weights .* is no ensemble of side 64, channels raw,local and patch 69"
    ):
        ensemble(tiny_data, tmp_path / "run", first, classifier_weights=str(first))


def test_without_simulated_nodules_it_learns_from_the_cases_own(tiny_data, first, tmp_path):
    run = ensemble(tiny_data, tmp_path / "run", first, simulate=None, max_steps=2)
    assert load_bundle(run / "fold1" / "model").card["training"]["steps"] == 2


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"max_steps": 0}, UsageError, "--max-steps 0: trains nothing"),
        ({"init": None}, UsageError, "--patch-classifier needs a segmentation network"),
        ({"side": 96}, TrainingError, "has side 32, and this training's segmentation network side 48"),
        ({"half_side": False}, TrainingError, "has side 32, and this training's segmentation network side 64"),
        (
            {"norm": "batch"},
            TrainingError,
            "has side 32, norm group, and this training's segmentation network side 32, norm batch; give",
        ),
        ({"fold": "2"}, TrainingError, r"was trained on \d+ of fold 2's validation and test cases"),
    ],
)
def test_a_segmentation_that_does_not_fit_or_leaks_is_refused(tiny_data, first, tmp_path, values, error, words):
    init = values.pop("init", first / "fold1")
    with pytest.raises(error, match=words):
        ensemble(tiny_data, tmp_path / "run", init, **values)
    assert not (tmp_path / "run").exists()


def test_all_folds_have_their_segmentation_before_the_first_is_trained(tiny_data, first, tmp_path):
    with pytest.raises(TrainingError, match=r"holds no finished fold2 \(finished: fold1\); train it, or name a model"):
        ensemble(tiny_data, tmp_path / "run", first, fold="all")
    assert not (tmp_path / "run").exists()


def test_a_segmentation_that_saw_a_held_out_patient_leaks(tiny_data, first, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    (split, *_) = json.loads((first / "folds.json").read_text())["folds"]
    rows = ["file,patient", f"{split['train'][0]},7", f"{split['test'][0]},7"]
    (data / "sources.csv").write_text("\n".join(rows) + "\n")
    dataset = read_dataset(data)
    seen_by_hash = Split(1, tuple(split["train"]), tuple(split["validation"]), tuple(split["test"]))
    config = build(TrainConfig, {**SHARED, **ENSEMBLE, "init": str(first / "fold1")})
    with pytest.raises(TrainingError, match=r"1 of fold 1's validation and test cases, or on their patients or series"):
        train_fold(config, dataset, seen_by_hash, tmp_path / "run", Silent())
