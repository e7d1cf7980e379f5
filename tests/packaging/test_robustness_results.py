"""What a card tells of perturbations, insertion artefacts, and radiographs without nodules."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrcad.core import EvaluationError, ModelError, UsageError
from cxrcad.datasets.content import CONTENT_NAME
from cxrcad.packaging.robustness_results import negative_figures, robustness_figures

SOURCE = SimpleNamespace(
    **{"sha256": "a" * 64, "threshold": 0.50004, "settings_sha256": "5" * 64, "training_images": frozenset({"seen"})},
    **{"folder": Path("model"), "training_config": {}, "card": {}},
)
ROBUSTNESS = {
    "model": {"sha256": "a" * 64, "threshold": 0.50004}, "fold": 3, "protocol": "paper", "images": ["A", "B"],
    "trained_on": [], "limit": None, "seed": 0,
    "alterations": [
        {"name": "unaltered", "words": "as it is", "figures": {
            "sensitivity at 1/2": {"altered": 0.5, "unaltered": 0.5, "difference": {"value": 0.0}},
            "F1": {"altered": 0.4, "unaltered": 0.4, "difference": {"value": 0.0}}}},
        {"name": "noise-high", "words": "noise", "figures": {
            "sensitivity at 1/2": {"altered": 0.25, "unaltered": 0.5,
                                   "difference": {"value": -0.25, "low": -0.5, "high": 0.0}}}},
    ],
}  # fmt: skip
INSERTION_TEST = {
    "model": {"sha256": "a" * 64, "threshold": 0.50004}, "nodules": "/here/lidc.npz", "fold": "3",
    "held_out": "the test cases of fold 3 of /data",
    "figures": {"mean untouched": {"value": 0.25, "low": 0.125, "high": 0.5}, "AUC nodule": {"value": None}},
    "trained_on": ["A"], "limit": 9, "seed": 2, "sentence": "Below the bound.", "radiographs": [{}, {}, {}],
}  # fmt: skip


def within(folder: Path) -> SimpleNamespace:
    """The model, in a fold's folder."""
    return SimpleNamespace(**{**vars(SOURCE), "folder": folder / "model"})


def write(folder: Path, **documents) -> Path:
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return folder


def test_the_card_has_each_perturbation_with_its_difference(tmp_path):
    figures = robustness_figures(within(write(tmp_path, robustness=ROBUSTNESS)), "open")
    assert figures == {
        "altered radiographs": {
            "command": "cxrcad robustness --model open --fold 3 --protocol paper --data DATA "
            "--perturbations noise-high",
            "images": 2,
            "as it is": "sensitivity at 1/2 50.0 %, F1 40.0 %",
            "noise": "sensitivity at 1/2 25.0 % (-25.0 [-50.0, 0.0]), F1 not reached",
            "not checked": "the model's settings but its threshold; the data, as the run has no content.json",
        }
    }


def test_the_card_has_the_scores_of_background_patches_and_the_verdict(tmp_path):
    (told,) = robustness_figures(within(write(tmp_path, insertion_test=INSERTION_TEST)), "open").values()
    assert told["command"].endswith(
        "--model open --backgrounds BACKGROUNDS --nodules lidc.npz --fold 3 --data DATA --limit 9 --seed 2"
    )
    assert told["held out"] == "patients in the test cases of fold 3"
    assert told["NOT A TEST"] == "1 case of these stand in the training list"
    assert (told["radiographs"], told["mean untouched"]) == ("3 radiographs", "0.250 [0.125, 0.500]")
    assert told["verdict"] == "Below the bound."
    assert "AUC nodule" not in told


def test_the_file_of_a_version_before_is_read_where_there_is_no_new_one(tmp_path):
    place = within(write(tmp_path, fingerprint=INSERTION_TEST))
    (old,) = robustness_figures(place, "open").values()
    assert old["command"].startswith("cxrcad insertion-test --model open ")
    write(tmp_path, insertion_test={**INSERTION_TEST, "sentence": "Beyond."}, fingerprint="{")
    (new,) = robustness_figures(place, "open").values()
    assert (old["verdict"], new["verdict"]) == ("Below the bound.", "Beyond.")


def test_what_another_model_gave_is_refused_and_a_damaged_file_is_named(tmp_path):
    place, other = within(tmp_path), {"model": {"sha256": "b" * 64, "threshold": 0.50004}}
    again = rf"run `cxrcad robustness --model {place.folder} --fold 3 --protocol paper .* --out {tmp_path}`, or remove"
    write(tmp_path, robustness={**ROBUSTNESS, **other})
    with pytest.raises(ModelError, match=rf"robustness\.json: is of another model \(bbb.*{again}"):
        robustness_figures(place, "open")
    write(tmp_path, robustness={**ROBUSTNESS, "settings_sha256": "4" * 64})
    with pytest.raises(ModelError, match=rf"robustness\.json: was made with other settings than .*{again}"):
        robustness_figures(place, "open")
    write(tmp_path, robustness={"model": {"sha256": "a" * 64}})
    with pytest.raises(ModelError, match=r"robustness\.json: not what cxrcad robustness writes .* run it again"):
        robustness_figures(place, "open")
    write(tmp_path, robustness=ROBUSTNESS, insertion_test={**INSERTION_TEST, **other})
    with pytest.raises(
        ModelError, match=r"insertion_test\.json: is of another model .*`cxrcad insertion-test --model "
    ):
        robustness_figures(place, "open")


def test_the_held_out_patients_are_of_the_run_s_test_cases(tmp_path):
    place = within(tmp_path / "run" / "fold3")
    place.folder.mkdir(parents=True)
    known = {name: {"image": name * 64, "truth": "0" * 64, "masks": ""} for name in "ab"}
    (tmp_path / "run" / CONTENT_NAME).write_text(json.dumps({"schema": "cxrcad/content/1", "cases": known}))
    folds = {"folds": [{"fold": 3, "test": ["a"]}]}
    (tmp_path / "run" / "folds.json").write_text(json.dumps(folds))
    bound = {**INSERTION_TEST, "settings_sha256": "5" * 64, "content": {"a": known["a"]}}
    write(tmp_path / "run" / "fold3", insertion_test=bound)
    assert "not checked" not in next(iter(robustness_figures(place, "open").values()))
    for content, words in (
        ({"b": known["b"]}, "b is no test case of fold 3 in"),
        ({"a": {**known["a"], "image": "c" * 64}}, "a has another image than"),
    ):
        write(tmp_path / "run" / "fold3", insertion_test={**bound, "content": content})
        with pytest.raises(EvaluationError, match=rf"insertion_test\.json: {words} .*; with the data that the run was"):
            robustness_figures(place, "open")


def boxes(
    *scores: tuple[float, ...], sha256: str = "a" * 64, threshold: float = 0.5, image: str = "new", **find
) -> dict:
    images = [{"path": "x", "sha256": image, "findings": [{"score": score} for score in one]} for one in scores]
    return {"model": {"name": "m", "sha256": sha256, "threshold": threshold}, "images": images, "find": find}


def test_findings_from_the_threshold_on_are_counted_an_image(tmp_path):
    write(tmp_path, other=boxes((0.9, 0.5, 0.2), (), (0.4,), (0.6,)))
    assert negative_figures([tmp_path / "other.json"], SOURCE) == {
        "radiographs without a nodule, other": {
            "images": 4, "false positives per image": 0.75, "images without a finding": 2,
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "boxes.json"),
        ({"images": []}, "no boxes.json of cxrcad detect"),
        (boxes((0.9,), sha256="b" * 64), "is what m found .* detect with it again"),
        (boxes(), "holds no image"),
        (boxes((0.9,), threshold=0.9), "reported from a score of 0.9 on, not the model's threshold of 0.5"),
        (boxes((0.9,), settings_sha256="4" * 64), "was found with other settings than the model's card has"),
        (boxes((0.9,), min_score=0.7), "holds no finding below a score of 0.7, .* detect without --min-score"),
        (boxes((0.9,), image="seen"), "1 image stand in the model's training list"),
    ],
)
def test_what_is_no_result_of_this_model_is_refused(tmp_path, document, words):
    write(tmp_path, boxes=document)
    with pytest.raises(UsageError, match=words):
        negative_figures([tmp_path / "boxes.json"], SOURCE)
