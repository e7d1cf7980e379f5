"""A model trained on every case: its threshold and share come from a run that held cases out."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cxrcad.commands.robustness import measure_robustness
from cxrcad.config import EvaluateConfig, RobustnessConfig, TrainConfig, build
from cxrcad.core import EvaluationError, TrainingError, UsageError
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.bootstrap import bootstrap
from cxrcad.evaluation.froc import best_f1_threshold
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.model import load_bundle
from cxrcad.packaging.out_of_fold import out_of_fold
from cxrcad.scoring.runs import score
from cxrcad.training.plan import train

SHARED = {
    "threads": 1, "precision": "fp32", "norm": "group", "channels": "raw,local", "normals": True,
    "min_area_mm2": 30, "peak_distance_mm": 20,
}  # fmt: skip
FIRST = {**SHARED, "side": 32, "max_steps": 4, "validate_epochs": 1}
LOOK = {
    **{**SHARED, "side": 64, "patch_classifier": True, "batch": 2, "patches_per_image": 12, "mining_rounds": 1},
    **{"max_steps": 3, "ema": 0.9, "simulate": "analytic", "simulate_count": 2},
}


def trained(data: Path, run: Path, **values) -> Path:
    return train(build(TrainConfig, {"data": data, "run": run, **values}))


@pytest.fixture(scope="module")
def folds(tiny_data, tmp_path_factory) -> Path:
    """Folds 1 and 2 of a segmentation network."""
    run = tmp_path_factory.mktemp("runs") / "folds"
    for fold in ("1", "2"):
        trained(tiny_data, run, **FIRST, fold=fold)
    return run


@pytest.fixture(scope="module")
def every(tiny_data, folds, tmp_path_factory) -> Path:
    """The segmentation network trained on every case."""
    run = tmp_path_factory.mktemp("runs") / "every"
    return trained(tiny_data, run, **FIRST, fold="none", threshold_from=folds)


def test_every_case_is_trained_on_and_the_card_says_so(tiny_data, every):
    bundle = load_bundle(every / "fold0" / "model")
    images = {read_radiograph(case.image).source.sha256 for case in read_dataset(tiny_data, protocol="jsrt-247").cases}
    assert bundle.training_images == images
    assert bundle.card["training"]["config"]["fold"] == "none"
    assert bundle.card["training"]["config"]["threshold_from"] == "folds"


def test_its_threshold_is_the_best_over_the_pooled_cases_that_the_folds_held_out(tiny_data, folds, every):
    asked = build(EvaluateConfig, {"data": tiny_data, "run": folds, "protocol": "jsrt-247"})
    matches = [match for result in score(asked)[0].results for match in result.matches]
    bundle = load_bundle(every / "fold0" / "model")
    assert bundle.threshold == pytest.approx(best_f1_threshold(matches))
    words = "best F1 on the test cases of folds 1, 2 of folds, each scored by its own fold's model"
    assert bundle.card["threshold_from"] == words


def test_without_validation_cases_the_history_holds_the_loss_alone(every):
    last = json.loads((every / "fold0" / "history.json").read_text())[-1]
    assert (last["step"], last["f1"], last["lung_dice"]) == (4, None, None)
    assert last["loss"] > 0


def test_it_is_resumed_as_it_was(every):
    before = load_file(every / "fold0" / "model" / "model.safetensors")
    (every / "fold0" / "model" / "card.json").unlink()
    train(build(TrainConfig, {"run": every, "fold": "none", "resume": True}))
    for name, weights in load_file(every / "fold0" / "model" / "model.safetensors").items():
        np.testing.assert_array_equal(weights, before[name], err_msg=name)


def test_it_is_not_scored_on_cases_that_it_saw(tiny_data, every):
    with pytest.raises(EvaluationError, match=r"trained on every case .*; score the run that --threshold-from named"):
        score(build(EvaluateConfig, {"data": tiny_data, "run": every}))


def test_a_second_look_takes_the_mean_of_the_folds_weights(tiny_data, folds, every, tmp_path):
    run = tmp_path / "looks"
    for fold, share in (("1", 0.25), ("2", 0.75)):
        trained(tiny_data, run, **LOOK, fold=fold, init=str(folds), ensemble_weight=share)

    def again(**more):
        place = tmp_path / f"one-{len(list(tmp_path.iterdir()))}"
        return trained(tiny_data, place, **LOOK, fold="none", threshold_from=run, init=str(every / "fold0"), **more)

    one = again()
    weights = load_file(one / "fold0" / "model" / "model.safetensors")
    assert float(weights["weight"]) == 0.5
    assert json.loads((one / "fold0" / "history.json").read_text())[-1]["share"] == 0.5
    assert float(load_file(run / "fold1" / "model" / "model.safetensors")["weight"]) == 0.25
    with pytest.raises(UsageError, match=r"--ensemble-weight 0.75: the threshold comes from scores that .* averaged"):
        again(ensemble_weight=0.75)
    shutil.rmtree(run / "fold1")
    assert float(load_file(again(ensemble_weight=0.75) / "fold0" / "model" / "model.safetensors")["weight"]) == 0.75


def test_a_given_threshold_is_kept_and_needs_no_run(tiny_data, folds, tmp_path):
    alone = trained(tiny_data, tmp_path / "alone", **FIRST, fold="none", threshold=0.4)
    bundle = load_bundle(alone / "fold0" / "model")
    assert (bundle.threshold, bundle.find.lung_threshold) == (0.4, None)
    assert bundle.card["threshold_from"] == "given for the training"
    beside = trained(tiny_data, tmp_path / "beside", **FIRST, fold="none", threshold=0.4, threshold_from=folds)
    bundle = load_bundle(beside / "fold0" / "model")
    own = [load_bundle(folds / f"fold{fold}" / "model").find.lung_threshold for fold in (1, 2)]
    assert bundle.find.lung_threshold == pytest.approx(sum(own) / 2, abs=0.001)
    assert (bundle.threshold, bundle.card["threshold_from"]) == (0.4, "given for the training")


def test_what_gives_no_threshold_is_refused(tiny_data, folds, every, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UsageError, match=r"--fold none: .* name a run of the same recipe with --threshold-from"):
        trained(tiny_data, run, **FIRST, fold="none")
    for place, words in (
        (every, "was trained on every case itself; name the run that held its folds out"),
        (folds / "fold1", "is one fold of a run; name the run"),
        (tmp_path, "holds no finished fold"),
        (tmp_path / "nowhere", "there is no such folder"),
    ):
        with pytest.raises(TrainingError, match=rf"--threshold-from .*: {words}"):
            trained(tiny_data, run, **FIRST, fold="none", threshold_from=place)
    with pytest.raises(TrainingError, match=r"fold 1 has patch_classifier False, side 32, and this training patch_c"):
        trained(tiny_data, run, **LOOK, fold="none", threshold_from=folds, init=str(folds / "fold1"))
    with pytest.raises(TrainingError, match=r"fold 1 has norm group, and this training norm table1; name a run of the"):
        trained(tiny_data, run, **{**FIRST, "norm": "table1"}, fold="none", threshold_from=folds)
    with pytest.raises(UsageError, match=r"--threshold-from: is for --fold none, and the fold is 1"):
        trained(tiny_data, run, **FIRST, threshold_from=folds)
    assert not run.exists()


def test_a_part_of_the_training_cases_is_trained_on_and_the_same_are_held_out(tiny_data, folds, tmp_path):
    half = trained(tiny_data, tmp_path / "half", **FIRST, fold="1", train_fraction=0.5)
    images = {run: load_bundle(run / "fold1" / "model").training_images for run in (half, folds)}
    assert 0 < len(images[half]) < len(images[folds])
    assert images[half] < images[folds]
    assert (half / "folds.json").read_text() == (folds / "folds.json").read_text()
    some = trained(tiny_data, tmp_path / "some", **FIRST, fold="none", threshold_from=folds, train_fraction=0.5)
    images = load_bundle(some / "fold0" / "model").training_images
    assert 0 < len(images) < len(read_dataset(tiny_data, protocol="jsrt-247").cases)


def test_a_resume_without_a_fold_goes_on_with_the_run_s_last(tiny_data, tmp_path):
    run = trained(tiny_data, tmp_path / "run", **FIRST, fold="1")
    trained(tiny_data, run, **FIRST, fold="3")
    (run / "fold3" / "model" / "card.json").unlink()
    train(build(TrainConfig, {"run": run, "resume": True}))
    assert (run / "fold3" / "model" / "card.json").is_file()


def test_its_card_has_the_pooled_figures_of_the_folds_that_held_out(tiny_data, folds, every):
    asked = build(EvaluateConfig, {"data": tiny_data, "run": folds, "protocol": "jsrt-247"})
    results = score(asked)[0].results
    figures, failed = out_of_fold(folds, load_bundle(every / "fold0" / "model"))
    (title,) = (name for name in figures if "jsrt-247" in name)
    told = figures[title]
    assert title == "out of fold: test cases of folds 1, 2 of folds, protocol jsrt-247, hit rule center"
    assert told["images"] == sum(len(result.matches) for result in results)
    assert told["recall"].startswith(f"{bootstrap(results, 0, 0)['recall'].value:.3f} [")
    assert sum(int(told[f"subtlety {n}"].split(" of ")[1].split(",")[0]) for n in range(1, 6)) == told["nodules"]
    assert failed is None


def test_a_model_that_held_a_fold_out_itself_takes_no_figures_of_others(folds):
    with pytest.raises(UsageError, match="the model held fold 1 out itself, and its card has the figures of that"):
        out_of_fold(folds, load_bundle(folds / "fold1" / "model"))


def test_a_fold_s_robustness_and_failures_are_named_as_the_fold_s(tiny_data, folds, every, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folds, run)
    score(build(EvaluateConfig, {"data": tiny_data, "run": run, "protocol": "jsrt-247"}))
    robustness = {
        "model": run / "fold2",
        "data": tiny_data,
        "fold": "2",
        "alterations": "inverted",
        "out": run / "fold2",
    }
    measure_robustness(build(RobustnessConfig, {**robustness, "limit": 4, "resamples": 20}))
    figures, failed = out_of_fold(run, load_bundle(every / "fold0" / "model"))
    assert "altered radiographs, fold 2's model of run" in figures
    assert failed is not None
    assert failed["command"].startswith("cxrcad evaluate --model run/fold2 --fold 2")


def test_out_of_fold_figures_need_folds_of_the_recipe_with_matches(tiny_data, folds, every, tmp_path):
    bundle = load_bundle(every / "fold0" / "model")
    with pytest.raises(UsageError, match="was trained on every case itself; name the run that held its folds out"):
        out_of_fold(every, bundle)
    bare = tmp_path / "bare"
    shutil.copytree(folds, bare)
    for path in bare.glob("fold?/matches-*.json"):
        path.unlink()
    with pytest.raises(
        UsageError, match=r"keep no matches of one protocol; run cxrcad evaluate --run .*bare --fold all"
    ):
        out_of_fold(bare, bundle)
    other = trained(tiny_data, tmp_path / "other", **{**FIRST, "side": 48})
    with pytest.raises(UsageError, match="fold 1 has another grid than the model; name a run of the same recipe"):
        out_of_fold(other, bundle)


def test_a_threshold_comes_from_folds_of_the_same_data(tiny_data, folds, tmp_path):
    """Two images under each other's names: fold 1's model is then scored on one that it was trained on."""
    run, data = shutil.copytree(folds, tmp_path / "folds"), shutil.copytree(tiny_data, tmp_path / "data")
    split = json.loads((run / "folds.json").read_text())["folds"][0]
    names = [next(name for name in split[part] if name.startswith("OXLN")) for part in ("train", "test")]
    for name, other in (names, names[::-1]):
        shutil.copy(tiny_data / "images" / f"{name}.png", data / "images" / f"{other}.png")
    asked = {**FIRST, "fold": "none", "threshold_from": run}
    with pytest.raises(TrainingError, match=rf"content.json: made from other data than {data} holds: .* another image"):
        trained(data, tmp_path / "whole", **asked)
    (run / "content.json").unlink()  # as runs of earlier versions have none
    words = rf"--threshold-from {run}: its models were trained on \d images? of the cases that their folds hold out"
    with pytest.raises(TrainingError, match=words):
        trained(data, tmp_path / "whole", **asked)
    assert not (tmp_path / "whole").exists()
