"""What is kept of a lesion that is measured by its area, on a run with a toy model, and what is used again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.config import EvaluateConfig, TrainConfig, build, to_toml
from cxrcad.core import EvaluationError, ModelError, UsageError
from cxrcad.datasets.folds import make_folds, save_folds
from cxrcad.datasets.nih import read as read_effusions
from cxrcad.evaluation.segmentation import read_segmentation
from cxrcad.files import sha256_of
from cxrcad.scoring.runs import find_run
from cxrcad.scoring.segmentation import score_segmentation
from tests.toys import write_onnx


@pytest.fixture
def toy_run(effusion_data: Path, make_toy, tmp_path: Path) -> Path:
    """Fold 3 of a run for effusions, by a model whose map is the image's brightness: 0 lung, 0.53 body, 1 effusion."""
    run = tmp_path / "runs" / "toy"
    dataset = read_effusions(effusion_data)
    save_folds(run / "folds.json", make_folds(dataset, 2020), dataset)
    make_toy(run / "fold3" / "model", lesion="effusion", threshold=0.8, grid={"side": 128})
    own = build(TrainConfig, {"data": effusion_data, "lesion": "effusion", "fold": "3"})
    (run / "fold3" / "config.toml").write_text(to_toml(own))
    return run


def config(**values) -> EvaluateConfig:
    return build(EvaluateConfig, {"device": "cpu", "threads": 1, "lesion": "effusion", "fold": "3", **values})


def test_a_run_is_segmented_and_kept(toy_run: Path) -> None:
    said: list[str] = []
    (one,) = score_segmentation(config(runs=toy_run.parent), said.append).folds
    names = json.loads((toy_run / "folds.json").read_text())["folds"][2]["test"]
    assert [image.case for image in one.images] == names
    for found in one.images:
        assert found.positive == found.reported == found.case.startswith("e")
        assert (found.dice is not None) == found.positive
        if found.dice is not None:  # all of 32 x 40 but what the model's 3 x 3 mean takes off the rim
            assert 0.9 < found.dice < 1
            assert found.area == pytest.approx(found.dice * 32 * 40 / 128**2, rel=0.1)
            assert found.lung_dice is None
        else:
            assert found.score < 0.75  # the bright column, less its neighbours
            assert found.area == 0
    assert said[-1].startswith("fold 3: segmenting")
    (again,) = score_segmentation(config(run=toy_run), said.append).folds
    assert again == one
    assert said[-1].endswith("segmentation.json used again")


def test_a_threshold_is_honoured_and_settings_of_nodules_are_refused(toy_run: Path) -> None:
    (one,) = score_segmentation(config(run=toy_run, threshold=0.4)).folds
    assert one.threshold_from == "--threshold"
    assert all(image.reported for image in one.images)  # the body's 0.53 too
    assert max(image.dice for image in one.images if image.dice is not None) < 0.3
    for name, value in {"hit_rule": "iou", "protocol": "jsrt-247", "missing": "empty", "beside": "runs"}.items():
        with pytest.raises(
            UsageError, match=f"--{name.replace('_', '-')}: is for nodules and not for --lesion effusion"
        ):
            score_segmentation(config(run=toy_run, **{name: value}))


def test_a_fold_without_an_effusion_has_no_dice(toy_run: Path) -> None:
    document = json.loads((toy_run / "folds.json").read_text())
    first, third = document["folds"][0], document["folds"][2]
    effusions = [name for name in third["test"] if name.startswith("e")]
    for part in ("train", "validation"):
        first[part] = [name for name in first[part] if name not in effusions]
    first["test"] = sorted([*first["test"], *effusions])
    third["test"] = [name for name in third["test"] if name not in effusions]
    third["train"] = sorted([*third["train"], *effusions])
    (toy_run / "folds.json").write_text(json.dumps(document))
    with pytest.raises(EvaluationError, match="no test case of fold 3 has an effusion, so there is no Dice"):
        score_segmentation(config(run=toy_run))


def test_the_newest_run_is_one_of_the_lesion(toy_run: Path, make_run) -> None:
    nodules = make_run(toy_run.parent / "nodules")
    assert find_run(toy_run.parent, "3", "effusion") == toy_run
    assert find_run(toy_run.parent, "3") == nodules
    with pytest.raises(ModelError, match="is made for nodule, not for effusion; name another model or run"):
        score_segmentation(config(run=nodules))


def edit(file: Path, change) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def redraw(data: Path, case: str) -> None:
    corners = [[128, 128], [300, 128], [300, 400]]
    edit(data / "effusion.json", lambda document: document[f"{case}.png"][0].update(polygon=corners))


def repaint(file: Path) -> None:
    pixels = np.array(Image.open(file))
    pixels[20:40, 20:40] = 220
    Image.fromarray(pixels).save(file)


def another_network(model: Path) -> None:
    write_onnx(model / "model.onnx", bias=0.25)
    edit(model / "card.json", lambda card: card["files"].update({"model.onnx": sha256_of(model / "model.onnx")}))


CHANGES = {
    "nothing": (lambda data, model, first, last: None, "ALL images, KEPT used again"),
    "an outline": (
        lambda data, model, first, last: redraw(data, first),
        "REST images, KEPT used again|segmenting 1 image: truth changed (FIRST)",
    ),
    "an image": (
        lambda data, model, first, last: repaint(data / f"{first}.png"),
        "REST images, KEPT used again|segmenting 1 image: image changed (FIRST)",
    ),
    "a lung mask": (
        lambda data, model, first, last: repaint(data / "lungs" / f"{last}.png"),
        "REST images, KEPT used again|segmenting 1 image: lung masks changed (LAST)",
    ),
    "the lung threshold": (
        lambda data, model, first, last: edit(
            model / "card.json", lambda card: card["find"].update(lung_threshold=0.8)
        ),
        "segmenting ALL images: settings changed (NAMES)",
    ),
    "the smallest area": (
        lambda data, model, first, last: edit(model / "card.json", lambda card: card["find"].update(min_area_mm2=1e6)),
        "segmenting ALL images: settings changed (NAMES)",
    ),
    "the network": (
        lambda data, model, first, last: another_network(model),
        "segmenting ALL images: model changed (NAMES)",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_used_again_equals_a_fresh_segmentation(
    toy_run: Path, effusion_data: Path, tmp_path: Path, change
) -> None:
    data = shutil.copytree(effusion_data, tmp_path / "data")
    (before,) = score_segmentation(config(run=toy_run, data=data)).folds
    data = data.rename(tmp_path / "elsewhere")
    cases = [image.case for image in before.images]
    make_change, told = CHANGES[change]
    make_change(data, toy_run / "fold3" / "model", cases[0], cases[-1])
    said: list[str] = []
    (now,) = score_segmentation(config(run=toy_run, data=data), said.append).folds
    kept = toy_run / "fold3" / "segmentation.json"
    names = ", ".join(cases[:3]) + (f" and {len(cases) - 3} more" if len(cases) > 3 else "")
    words = {"ALL": len(cases), "REST": len(cases) - 1, "FIRST": cases[0], "LAST": cases[-1], "NAMES": names}
    for name, word in {**words, "KEPT": kept}.items():
        told = told.replace(name, str(word))
    assert said == [f"fold 3: {line}" for line in told.split("|")]
    assert (now,) == score_segmentation(config(run=toy_run, data=data, out=tmp_path / "fresh")).folds
    assert read_segmentation(kept.parent) == now
    assert (replace(now, data=before.data) == before) == (change == "nothing")


def test_a_segmentation_of_the_version_before_can_be_read_and_is_made_again(toy_run: Path) -> None:
    (new,) = score_segmentation(config(run=toy_run)).folds
    kept = toy_run / "fold3" / "segmentation.json"

    def older(document) -> None:
        del document["settings_sha256"]
        document["outlines_sha256"] = "0" * 64
        for image in document["images"]:
            del image["truth_sha256"], image["masks_sha256"]

    edit(kept, older)
    read = read_segmentation(kept.parent)
    assert read is not None
    assert read.settings_sha256 == ""
    assert [image.dice for image in read.images] == [image.dice for image in new.images]
    said: list[str] = []
    assert score_segmentation(config(run=toy_run), said.append).folds == (new,)
    assert said[0].startswith("fold 3: segmenting ")
    assert ": kept by an earlier version (" in said[0]
