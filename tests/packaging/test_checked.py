"""Kept figures go into a card only where they are of its model, of the fold's test cases, and of the run's data."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from cxrcad.commands.robustness import measure_robustness
from cxrcad.config import EvaluateConfig, RobustnessConfig, TrainConfig, build, to_toml
from cxrcad.core import EvaluationError, ModelError, UsageError
from cxrcad.datasets.content import CONTENT_NAME, write_content
from cxrcad.datasets.folds import make_folds, save_folds
from cxrcad.datasets.nih import read as read_effusions
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.records import pooled, read_matches
from cxrcad.files import sha256_of
from cxrcad.inference.model import load_bundle, write_card
from cxrcad.packaging.checked import kept_matches, kept_segmentation
from cxrcad.packaging.out_of_fold import out_of_fold
from cxrcad.packaging.robustness_results import robustness_figures
from cxrcad.scoring.runs import score
from cxrcad.scoring.segmentation import score_segmentation
from tests.scoring.test_runs import another_network, remask, repaint, rewrite, settings

KEPT = "matches-jsrt-247-center.json"


@pytest.fixture
def run(make_run, disc_data, tmp_path) -> Path:
    """Folds 2 and 3 of a run that knows its data, evaluated."""
    run = make_run(tmp_path / "run", folds=(2, 3))
    write_content(run, read_dataset(disc_data))
    evaluate(run)
    return run


def evaluate(run: Path, **values) -> None:
    score(build(EvaluateConfig, {"device": "cpu", "threads": 1, "run": run, "protocol": "jsrt-247", **values}))


def model(run: Path, fold: int = 3):
    return load_bundle(run / f"fold{fold}" / "model")


def remedy(run: Path, fold: int = 3) -> str:
    flags = "--protocol jsrt-247 --hit-rule center --data DATA"
    return f"run `cxrcad evaluate --run {run} --fold {fold} {flags}`, or remove the file"


def refused(error: type[Exception], run: Path, *parts: str) -> None:
    with pytest.raises(error) as caught:
        kept_matches(model(run))
    for part in (f"{run / 'fold3' / KEPT}: ", *parts, remedy(run)):
        assert part in str(caught.value)


def test_figures_of_the_model_its_data_and_truth_are_taken(run):
    (kept,) = kept_matches(model(run))
    assert (kept.path, kept.notes) == (run / "fold3" / KEPT, {})
    evaluate(run, protocol="jsrt-140")  # it looks up whether nodules lie in the lungs: the truth is the same
    assert [one.notes for one in kept_matches(model(run))] == [{}, {}]


def test_five_folds_of_other_data_are_one_figure_of_a_model_of_every_case(make_run, disc_data, tmp_path):
    whole = make_run(tmp_path / "run", folds=(1,)) / "fold1"
    place = whole.rename(whole.with_name("fold0"))
    evaluate(None, model=str(place), data=disc_data, out=place)
    source = load_bundle(place / "model")
    (kept,) = kept_matches(source)
    parts = [read_matches(place / f"fold{fold}" / KEPT) for fold in range(1, 6)]
    assert kept.result.context.fold is None
    assert kept.result.operating == pooled(parts)
    assert kept.notes == {"not checked": "the data, which are not the run's"}
    card = json.loads((place / "model" / "card.json").read_text())
    seen = sorted(image.sha256 for image in kept.result.scored)
    card["training"] = {"images": [], "teacher": {"name": "one", "images": seen[:1]}}
    write_card(place / "model", card)
    (kept,) = kept_matches(load_bundle(place / "model"))
    assert kept.notes["teacher"] == "was trained on some of these images, the model itself on none"
    card["training"]["images"] = seen[:1]
    write_card(place / "model", card)
    with pytest.raises(ModelError, match="scored 1 image that the model was trained on"):
        kept_matches(load_bundle(place / "model"))
    shutil.rmtree(place / "fold5")
    assert kept_matches(load_bundle(place / "model")) == ()


def test_matches_of_another_model_are_refused_and_made_again_as_is_said(run):
    shutil.copytree(run, run.parent / "before")
    another_network(run / "fold3" / "model")
    refused(ModelError, run, f"is of another model ({model(run.parent / 'before').sha256[:12]}...) than ")
    evaluate(run, fold="3")
    assert [one.notes for one in kept_matches(model(run))] == [{}]


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"threshold": 0.3}, "was made at a threshold of 0.9, and the card of"), ({"grow": 0.25}, "with other settings")],
)
def test_matches_at_other_settings_are_refused(run, changed, words):
    settings(run / "fold3" / "model", **changed)
    refused(ModelError, run, words)
    evaluate(run, fold="3")
    assert [one.notes for one in kept_matches(model(run))] == [{}]


def test_another_threshold_is_not_kept_with_the_matches(run):
    evaluate(run, fold="3", threshold=0.3)
    assert [one.result.context.model.threshold for one in kept_matches(model(run))] == [0.9]


@pytest.mark.parametrize("what", ["image", "truth", "lung masks"])
def test_matches_of_other_data_are_refused(run, disc_data, fold_names, tmp_path, what):
    data = shutil.copytree(disc_data, tmp_path / "data")
    (case, *_) = fold_names(run, 3, "JPCLN")
    change = {
        "image": lambda: repaint(data / "images" / f"{case}.png"),
        "truth": lambda: rewrite(data / "CLNDAT_EN.txt", case, x=900),
        "lung masks": lambda: remask(data, case),
    }
    evaluate(run, fold="3", data=data)
    assert [one.notes for one in kept_matches(model(run))] == [{}]  # the same data in another folder
    change[what]()
    evaluate(run, fold="3", data=data)
    refused(EvaluationError, run, f"{case} has another {what} than {run / CONTENT_NAME} says; ")
    evaluate(run, fold="3", data=disc_data)
    assert [one.notes for one in kept_matches(model(run))] == [{}]


def test_images_that_are_no_test_cases_of_the_fold_are_refused(run, fold_names):
    document = json.loads((run / "folds.json").read_text())
    first, third = document["folds"][0], document["folds"][2]
    first["test"], third["test"] = third["test"], first["test"]
    names = fold_names(run, 3)
    (run / "folds.json").write_text(json.dumps(document))
    refused(EvaluationError, run, f"{names[0]} is no test case of fold 3 in {run / 'folds.json'}, and 2 more; ")


def test_images_that_the_model_was_trained_on_are_refused(run, disc_data, fold_names):
    (case, *_) = fold_names(run, 3)
    file = run / "fold3" / "model" / "card.json"
    card = json.loads(file.read_text())
    card["training"]["images"] = [sha256_of(disc_data / "images" / f"{case}.png")]
    file.write_text(json.dumps(card))
    refused(ModelError, run, f"scored 1 image that the model was trained on ({case}); ")


def test_a_run_and_matches_from_before_are_compared_as_far_as_they_go(run):
    (run / CONTENT_NAME).unlink()
    assert kept_matches(model(run))[0].notes == {"not checked": "the data, as the run has no content.json"}
    file = run / "fold3" / KEPT
    document = json.loads(file.read_text())
    del document["settings_sha256"]
    for image in document["images"]:
        del image["masks_sha256"]
    file.write_text(json.dumps(document))
    words = "the model's settings but its threshold; the data, as the run has no content.json"
    assert kept_matches(model(run))[0].notes == {"not checked": words}
    settings(run / "fold3" / "model", threshold=0.3)
    refused(ModelError, run, "was made at a threshold of 0.9")


def whole(run: Path, make_toy):
    """A model of the folds' recipe that held no case out."""
    folder = make_toy(run.parent / "whole" / "fold0" / "model")
    return load_bundle(folder)


def test_out_of_fold_figures_are_of_the_folds_models_and_data(run, make_toy, disc_data, fold_names, tmp_path):
    figures, _ = out_of_fold(run, whole(run, make_toy))
    (pooled,) = figures.values()
    assert (pooled["images"], "not checked" in pooled) == (6, False)
    content = (run / CONTENT_NAME).read_text()
    (run / CONTENT_NAME).unlink()
    ((_, pooled),) = out_of_fold(run, whole(run, make_toy))[0].items()
    assert pooled["not checked"] == "the data, as the run has no content.json"
    (run / CONTENT_NAME).write_text(content)
    data = shutil.copytree(disc_data, tmp_path / "data")
    rewrite(data / "CLNDAT_EN.txt", fold_names(run, 2)[0], x=900)
    evaluate(run, data=data)
    with pytest.raises(EvaluationError, match=rf"fold2/{KEPT}: .* has another truth .*{re.escape(remedy(run, 2))}"):
        out_of_fold(run, whole(run, make_toy))


def test_out_of_fold_figures_of_another_model_of_the_recipe_are_refused(run, make_toy):
    another_network(run / "fold2" / "model")
    with pytest.raises(ModelError, match=rf"fold2/{KEPT}: is of another model .*{re.escape(remedy(run, 2))}"):
        out_of_fold(run, whole(run, make_toy))
    evaluate(run, fold="2")
    assert len(out_of_fold(run, whole(run, make_toy))[0]) == 1


def test_robustness_is_of_the_run_s_data(run, disc_data, fold_names, tmp_path):
    data = shutil.copytree(disc_data, tmp_path / "data")
    own = {"model": run / "fold3", "fold": "3", "alterations": "inverted", "out": run / "fold3", "resamples": 0}
    measure_robustness(build(RobustnessConfig, {**own, "data": data}))
    (told,) = robustness_figures(model(run), "toy").values()
    assert "not checked" not in told
    (case, *_) = fold_names(run, 3, "JPCLN")
    rewrite(data / "CLNDAT_EN.txt", case, x=900)
    measure_robustness(build(RobustnessConfig, {**own, "data": data}))
    again = rf"`cxrcad robustness --model {run}/fold3/model --fold 3 .* --data DATA .*--out {run}/fold3`, or remove"
    with pytest.raises(EvaluationError, match=rf"robustness\.json: {case} has another truth .*{again}"):
        robustness_figures(model(run), "toy")
    measure_robustness(build(RobustnessConfig, {**own, "data": disc_data}))
    assert len(robustness_figures(model(run), "toy")) == 1


def test_a_segmentation_is_of_the_model_at_its_threshold_and_of_the_run_s_outlines(effusion_data, make_toy, tmp_path):
    run, dataset = tmp_path / "run", read_effusions(effusion_data)
    save_folds(run / "folds.json", make_folds(dataset, 2020), dataset)
    write_content(run, dataset)
    make_toy(run / "fold3" / "model", lesion="effusion", threshold=0.8, grid={"side": 128})
    own = build(TrainConfig, {"data": effusion_data, "lesion": "effusion", "fold": "3"})
    (run / "fold3" / "config.toml").write_text(to_toml(own))
    asked = {"device": "cpu", "threads": 1, "lesion": "effusion", "fold": "3", "run": run}
    assert kept_segmentation(model(run)) is None
    score_segmentation(build(EvaluateConfig, asked))
    kept = kept_segmentation(model(run))
    assert kept is not None
    assert kept[1] == {}
    score_segmentation(build(EvaluateConfig, {**asked, "threshold": 0.4}))
    again = f"run `cxrcad evaluate --lesion effusion --run {run} --fold 3 --data DATA`, or remove the file"
    with pytest.raises(ModelError, match=f"segmentation.json: was made at a threshold of 0.4, .*{re.escape(again)}"):
        kept_segmentation(model(run))
    data = shutil.copytree(effusion_data, tmp_path / "data")
    repaint(data / f"{kept[0].images[0].case}.png")
    score_segmentation(build(EvaluateConfig, {**asked, "data": data}))
    with pytest.raises(EvaluationError, match=r"segmentation.json: \w+ has another image than "):
        kept_segmentation(model(run))


def test_out_of_fold_figures_of_other_data_than_the_model_s_are_refused(run, make_toy, disc_data, tmp_path):
    """By content.json of both runs, else by the training lists: of a packaged model only its list is known."""
    source = whole(run, make_toy)
    place = run.parent / "whole"
    shutil.copy(run / CONTENT_NAME, place)
    assert len(out_of_fold(run, source)[0]) == 1
    data = shutil.copytree(disc_data, tmp_path / "data")
    rewrite(data / "CLNDAT_EN.txt", "JPCLN001", x=900)
    write_content(place, read_dataset(data))
    with pytest.raises(
        UsageError, match=r"--out-of-fold .*: its data are not those of .*: JPCLN001 has another truth;"
    ):
        out_of_fold(run, source)
    (place / CONTENT_NAME).unlink()
    lists("b", "a", fold := run / "fold2" / "model")
    lists("a", "b", "c", source.folder)
    assert len(out_of_fold(run, load_bundle(source.folder))[0]) == 1
    lists("b", "x", fold)
    words = "fold 2 was trained on 1 image that the model model was not trained on; name the run whose folds are of the"
    with pytest.raises(UsageError, match=words):
        out_of_fold(run, load_bundle(source.folder))
    lists("a", "b", source.folder, train_fraction=0.5)
    assert len(out_of_fold(run, load_bundle(source.folder))[0]) == 1


def lists(*images: str | Path, **settings) -> None:
    """Put these images (SHA-256), and settings, into the training list of the card in the folder that stands last."""
    *names, folder = images
    path = Path(folder) / "card.json"
    card = json.loads(path.read_text())
    card["training"] |= {"images": names, "config": settings}
    path.write_text(json.dumps(card))
