"""`--lesion effusion`: a training of two steps through `reproduce`, its page and picture, and each command on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import TrainingError
from cxrcad.report.drawing.case_views import OUTLINE

pytest.importorskip("torch")

FLAGS = (
    *("--profile", "cpu", "--side", 64, "--max-steps", 2, "--folds", 3, "--threads", 1, "--precision", "fp32"),
    *("--cells", "u-net-multi"),
)


@pytest.fixture(scope="module")
def made(effusion_data, tmp_path_factory):
    """The folder of a reproduction with one training of two steps, and its page."""
    from cxrcad.commands.reproduce import reproduce
    from cxrcad.config import ReproduceConfig, build

    out = tmp_path_factory.mktemp("reproduction") / "out"
    values = {name.lstrip("-").replace("-", "_"): value for name, value in zip(FLAGS[::2], FLAGS[1::2], strict=True)}
    done = reproduce("effusion", build(ReproduceConfig, {**values, "data": effusion_data, "out": out}))
    assert (done.jobs, done.failed) == (1, 0), done.text
    return out, done.text


@pytest.fixture
def run(made) -> Path:
    (folder,) = (folder for folder in (made[0] / "runs").iterdir() if folder.name != "cache")
    return folder


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]


def test_the_page_has_dice_beside_what_the_paper_does_not_print(made):
    out, text = made
    assert (out / "effusion.md").read_text() == text
    assert [line[:3] for line in rows(text)[1:4]] == [
        ["MO-SegNet", "paper", "no figure printed"],
        ["MO-SegNet", "ours", "not run"],
        ["U-net", "ours, fold 3", rows(text)[3][2]],
    ]
    assert rows(text)[0][2:5] == ["Dice", "sensitivity", "specificity"]
    assert "the best mean Dice on its validation cases" in text
    document = json.loads((out / "effusion.json").read_text())
    first, second = document["cells"]
    assert (first["name"], first["seeds"], second["jobs"][0]["state"]) == ("mo-segnet-multi", [], "done")
    assert 0 <= second["seeds"][0]["pooled"]["Dice"]["value"] <= 1
    assert rows(text)[3][2].startswith(f"{100 * second['seeds'][0]['pooled']['Dice']['value']:.1f} %")
    with Image.open(out / "effusion.png") as sheet:
        assert sheet.width == 1500  # two cases of the fold, side by side
        pixels = np.asarray(sheet)
    for half in (pixels[:, :750], pixels[:, 750:]):
        assert (half == OUTLINE).all(axis=2).any()
    assert sorted(document["pictured"]) == [name for name in document["pictured"] if name.startswith("e")]


def test_nothing_is_trained_twice(made, cxrcad, effusion_data, monkeypatch):
    monkeypatch.setattr("cxrcad.training.plan.train", None)
    answer = cxrcad("reproduce", "effusion", "--data", effusion_data, *FLAGS, "--out", made[0])
    assert answer.code == 0, answer.err
    assert "trained before" in answer.err
    assert "segmentation.json used again" in answer.err
    listed = cxrcad("reproduce", "effusion", "--list", "--data", effusion_data, *FLAGS, "--out", made[0])
    assert listed.out.splitlines()[-1] == "1 job: 1 done, 0 failed, 0 not run"


def test_a_picture_of_an_earlier_call_goes_where_nothing_is_there_to_draw(effusion_data, cxrcad, monkeypatch, tmp_path):
    def train(config, progress):
        raise TrainingError("the loss is nan")

    monkeypatch.setattr("cxrcad.training.plan.train", train)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "effusion.png").write_text("earlier")
    assert cxrcad("reproduce", "effusion", "--data", effusion_data, *FLAGS, "--out", "out").code == 1
    assert not (tmp_path / "out" / "effusion.png").exists()


def test_the_training_is_validated_by_dice_and_its_card_says_effusion(run):
    entry = json.loads((run / "fold3" / "history.json").read_text())[-1]
    assert (entry["step"], entry["f1"]) == (2, None)
    assert 0 <= entry["dice"] <= 1
    card = json.loads((run / "fold3" / "model" / "card.json").read_text())
    assert (card["lesion"], card["find"]["method"]) == ("effusion", "components")
    assert card["threshold_from"] == "best mean Dice on the validation cases"
    assert card["figures"]["validation cases"]["threshold"] == card["find"]["threshold"]
    positives = [name for name in json.loads((run / "folds.json").read_text())["folds"][2]["train"] if name[0] == "e"]
    normals = min(len(positives), 8)
    assert len(positives) < len(card["training"]["images"]) <= len(positives) + normals


def test_evaluate_prints_dice_and_writes_its_files(run, cxrcad):
    answer = cxrcad("evaluate", "--lesion", "effusion", "--run", run, "--fold", 3, "--resamples", 100)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert any(line.startswith("  Dice ") and "[" in line for line in lines)
    for name in ("sensitivity", "specificity", "image AUC, highest probability", "image AUC, area"):
        assert any(line.startswith(f"  {name} ") for line in lines), name
    assert (run / "fold3" / "evaluation-effusion.txt").read_text() == answer.out
    document = json.loads((run / "fold3" / "evaluation-effusion.json").read_text())
    assert document["lesion"] == "effusion"
    (one,) = document["folds"]
    assert one["figures"]["Dice"] == document["pooled"]["Dice"]["value"]
    every = cxrcad("evaluate", "--lesion", "effusion", "--run", run, "--resamples", 0)
    assert (every.code, (run / "evaluation-effusion.json").is_file()) == (0, True)
    assert "folds 1, 2, 4, 5 are not finished" in every.err


def test_findings_are_called_effusion_and_another_lesion_is_refused(run, cxrcad, effusion_data, tmp_path):
    model = run / "fold3"
    answer = cxrcad("detect", effusion_data / "e02.png", "--model", model, "--threshold", 0.01, "--out", "boxes.json")
    assert answer.code == 0, answer.err
    (image,) = json.loads((tmp_path / "boxes.json").read_text())["images"]
    assert {finding["label"] for finding in image["findings"]} == {"effusion"}
    assert cxrcad("detect", effusion_data / "e02.png", "--model", model, "--lesion", "effusion").code == 0
    refused = cxrcad("detect", effusion_data / "e02.png", "--model", model, "--lesion", "nodule")
    assert refused.code == 1
    assert "is made for effusion, not for nodule; name another model or run, or give --lesion effusion" in refused.err
    none = cxrcad("detect", effusion_data / "e02.png", "--lesion", "effusion")
    assert (none.code, none.err.startswith("Error: --lesion effusion: no packaged model is made for it; ")) == (1, True)
    assert "finds        effusion" in cxrcad("info", model).out
    assert "is made for effusion, not for nodule" in cxrcad("evaluate", "--run", run, "--fold", 3).err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["froc"],
            2,
            "--lesion effusion: it is measured by Dice, and no findings are counted; `cxrcad evaluate --lesion",
        ),
        (["compare", "a", "b"], 2, "--lesion effusion: it is measured by Dice"),
        (["train", "--simulate", "analytic"], 2, "--simulate: is for nodules and not for --lesion effusion"),
        (["train", "--truth", "box"], 2, "--truth: is for nodules and not for --lesion effusion"),
        (["train", "--protocol", "jsrt-247"], 2, "--protocol: is for nodules and not for --lesion effusion"),
        (
            ["reproduce", "table2"],
            2,
            "--lesion effusion: table2 is about another lesion; leave the option out, or reproduce effusion",
        ),
        (["evaluate", "--seeds", "x", "--fold", 3], 2, "--seeds: is for nodules"),
        (
            ["evaluate", "--fold", 3, "--runs", "none"],
            1,
            "none: no run holds fold 3 finished; `cxrcad train --lesion eff",
        ),
    ],
)
def test_what_an_effusion_cannot_have_is_a_sentence(cxrcad, effusion_data, tmp_path, arguments, code, sentence):
    answer = cxrcad(*arguments, "--lesion", "effusion", "--data", effusion_data)
    assert answer.code == code
    assert answer.err.startswith(f"Error: {sentence}"), answer.err
    assert list(tmp_path.iterdir()) == []


def test_without_data_two_lines_say_what_is_needed(cxrcad):
    answer = cxrcad("train", "--lesion", "effusion")
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 2
    assert "docs/DATA.md" in answer.err
