"""Which run is scored, on which cases, and when kept matches are used again."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.config import EvaluateConfig, build
from cxrcad.core import DataError, EvaluationError, ModelError, ReadError, WriteError
from cxrcad.datasets.made_masks import MadeMasks, write_made_masks
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.records import read_matches, to_document
from cxrcad.files import sha256_of
from cxrcad.inference.model import folds_of_run, load_bundle
from cxrcad.scoring.runs import find_run, score
from tests.toys import write_onnx


def config(**values) -> EvaluateConfig:
    return build(EvaluateConfig, {"device": "cpu", "threads": 1, **values})


def test_finished_folds_are_those_with_a_card(make_run, tmp_path):
    run = make_run(tmp_path / "run", folds=(1, 4))
    (run / "fold5").mkdir()
    (run / "fold4" / "model" / "card.json").unlink()
    assert folds_of_run(run) == (1,)
    assert folds_of_run(tmp_path / "none") == ()


def test_the_newest_run_is_the_one_that_finished_the_fold_last(make_run, tmp_path):
    first = make_run(tmp_path / "runs" / "first", folds=(1, 3), finished=1_000)
    second = make_run(tmp_path / "runs" / "second", folds=(1,), finished=2_000)
    assert find_run(tmp_path / "runs", "1") == second
    assert find_run(tmp_path / "runs", "3") == first
    assert find_run(tmp_path / "runs", "5") is None
    os.utime(first / "fold3" / "model" / "card.json", (3_000, 3_000))
    assert find_run(tmp_path / "runs", "1") == second
    assert find_run(tmp_path / "runs", "all") == first


def test_what_is_no_run_is_passed_over(make_run, tmp_path):
    (tmp_path / "runs" / "begun").mkdir(parents=True)
    (tmp_path / "runs" / "note.txt").write_text("")
    assert find_run(tmp_path / "runs", "all") is None
    assert find_run(tmp_path / "none", "all") is None
    run = make_run(tmp_path / "runs" / "whole")
    (run / "folds.json").unlink()
    assert find_run(tmp_path / "runs", "3") == run
    with pytest.raises(DataError, match=r"folds\.json: there is no such file"):
        score(config(run=run))


def test_a_scored_run_has_its_name_place_and_folds(make_run, fold_names, disc_data, tmp_path):
    run = make_run(tmp_path / "run", folds=(2, 3))
    said = []
    (scored,) = score(config(run=run), said.append)
    assert (scored.name, scored.folder, [result.context.fold for result in scored.results]) == ("run", run, [2, 3])
    for result in scored.results:
        assert [match.case for match in result.matches] == fold_names(run, result.context.fold, "JPCLN")
        assert [len(match.hits) for match in result.matches] == [1, 1]
        assert (result.context.data, result.context.network, result.context.tasks) == (str(disc_data), "u-net", "multi")
    assert said[0] == f"{run}: folds 1, 4, 5 are not finished and not in the figures"
    said.clear()
    assert score(config(run=run, fold="2"), said.append)[0].results == (scored.results[0],)
    assert said == [f"fold 2: 2 images, matches of {run / 'fold2' / 'matches-paper-center.json'} used again"]


def test_each_protocol_and_hit_rule_keeps_its_own_matches(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    for protocol, rule in (("paper", "center"), ("jsrt-247", "center"), ("paper", "distance")):
        score(config(run=run, fold="3", protocol=protocol, hit_rule=rule))
    assert sorted(path.name for path in (run / "fold3").glob("*.json")) == [
        *("matches-jsrt-247-center.json", "matches-paper-center.json", "matches-paper-distance.json")
    ]
    said = []
    score(config(run=run, fold="3", hit_rule="distance", max_distance_mm=10), said.append)
    kept = run / "fold3" / "matches-jsrt-247-center.json"
    assert said == [f"fold 3: 2 images, matches of {kept} matched again under this hit rule"]
    assert (run / "fold3" / "matches-paper-distance-max_distance_mm-10.json").is_file()


def test_beside_has_the_first_run_s_folds_only(make_run, tmp_path):
    first = make_run(tmp_path / "first", folds=(2,))
    second = make_run(tmp_path / "second", folds=(1, 2), outputs=("lesion",))
    one, two = score(config(run=first, beside=second, out=tmp_path / "out"))
    assert [[result.context.fold for result in scored.results] for scored in (one, two)] == [[2], [2]]
    assert (one.folder, two.folder) == (tmp_path / "out", tmp_path / "out" / "second")


def test_a_run_called_by_its_place_and_a_file_of_dots_are_written_inside_out(make_run, tmp_path, monkeypatch):
    """`..` is where a run lies, and no name of a folder; neither is what is left of ...json without its ending."""
    first, second = make_run(tmp_path / "first", folds=(2,)), make_run(tmp_path / "second", folds=(2,))
    (second / "here").mkdir()
    monkeypatch.chdir(second / "here")
    _, two = score(config(run=first, beside="..", out=tmp_path / "out"))
    assert two.folder == tmp_path / "out" / "second"
    assert (tmp_path / "out" / "second" / "fold2").is_dir()
    truth = {"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}], "annotations": []}
    truth["annotations"].append({"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]})
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "...json").write_text("[]")
    flags = {"predictions": tmp_path / "...json", "truth_file": tmp_path / "truth.json", "missing": "empty"}
    (scored,) = score(build(EvaluateConfig, flags))
    assert (scored.name, scored.folder) == ("_", EvaluateConfig().runs / "_")


def test_a_model_whose_name_is_a_path_writes_nothing(make_run, disc_data, tmp_path):
    run = make_run(tmp_path / "run", folds=(2,))
    card = run / "fold2" / "model" / "card.json"
    card.write_text(card.read_text().replace('"run-fold2"', '"../../evil"'))
    model = str(run / "fold2" / "model")
    with pytest.raises(ModelError, match=r"card\.json: name is '\.\./\.\./evil', where a name .* is needed; correct"):
        score(config(model=model, data=disc_data, fold="2", runs=tmp_path / "a" / "b" / "runs"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_run_without_the_fold_says_which_it_holds(make_run, tmp_path):
    run = make_run(tmp_path / "run", folds=(2, 4))
    with pytest.raises(EvaluationError, match=r"holds no finished fold 1 \(finished: 2, 4\); train it"):
        score(config(run=run, fold="1"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"holds no finished fold \(finished: none\)"):
        score(config(run=tmp_path / "empty"))


def rewrite(table: Path, case: str, **columns: object) -> None:
    """Change columns of a case's line: subtlety, x, y (on JSRT's grid of 2048)."""
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    for line in lines:
        if line[0].startswith(case):
            for name, value in columns.items():
                line[{"subtlety": 1, "size_mm": 2, "x": 5, "y": 6}[name]] = str(value)
    table.write_text("".join("\t".join(line) + "\n" for line in lines))


def repaint(image: Path) -> None:
    pixels = np.array(Image.open(image))
    pixels[40:46, 40:46] = 250
    Image.fromarray(pixels).save(image)


def remask(data: Path, case: str) -> None:
    masks = data / "scr" / "fold1" / "masks"
    shutil.copy(masks / "left lung" / f"{case}.gif", masks / "right lung" / f"{case}.gif")


def another_network(model: Path) -> None:
    """The same card with other weights: the lung map is 0.25 everywhere, so no lung is found."""
    write_onnx(model / "model.onnx", bias=0.25)
    card = json.loads((model / "card.json").read_text())
    card["files"]["model.onnx"] = sha256_of(model / "model.onnx")
    (model / "card.json").write_text(json.dumps(card))


def settings(model: Path, **values: object) -> None:
    card = json.loads((model / "card.json").read_text())
    card["find"].update(values)
    (model / "card.json").write_text(json.dumps(card))


A, B, NORMAL = "FIRST", "SECOND", "NORMAL"  # fold 3's test cases, by these names in CHANGES
CHANGES: dict[str, tuple[Callable[[Path, Path, dict[str, str]], object], str]] = {
    "nothing": (lambda data, model, case: None, "3 images, matches of KEPT used again"),
    "a nodule moves": (
        lambda data, model, case: rewrite(data / "CLNDAT_EN.txt", case[A], x=640, y=700),
        "2 images, matches of KEPT used again|detecting in 1 image: truth changed (FIRST)",
    ),
    "every nodule moves": (
        lambda data, model, case: [rewrite(data / "CLNDAT_EN.txt", case[one], x=400, y=1500) for one in (A, B)],
        "1 image, matches of KEPT used again|detecting in 2 images: truth changed (FIRST, SECOND)",
    ),
    "a nodule grows": (
        lambda data, model, case: rewrite(data / "CLNDAT_EN.txt", case[B], size_mm=60),
        "2 images, matches of KEPT used again|detecting in 1 image: truth changed (SECOND)",
    ),
    "a subtlety": (
        lambda data, model, case: rewrite(data / "CLNDAT_EN.txt", case[A], subtlety=1 if case[A][-1] != "0" else 2),
        "1 image, matches of KEPT matched again with the changed truth|2 images, matches of KEPT used again",
    ),
    "an image": (
        lambda data, model, case: repaint(data / "images" / f"{case[NORMAL]}.png"),
        "2 images, matches of KEPT used again|detecting in 1 image: image changed (NORMAL)",
    ),
    "a lung mask": (
        lambda data, model, case: remask(data, case[NORMAL]),
        "2 images, matches of KEPT used again|detecting in 1 image: lung masks changed (NORMAL)",
    ),
    "image and mask": (
        lambda data, model, case: (repaint(data / "images" / f"{case[NORMAL]}.png"), remask(data, case[NORMAL])),
        "2 images, matches of KEPT used again|detecting in 1 image: image changed, lung masks changed (NORMAL)",
    ),
    "the smallest area": (
        lambda data, model, case: settings(model, min_area_mm2=400.0),
        "detecting in 3 images: settings changed (FIRST, SECOND, NORMAL)",
    ),
    "the threshold": (
        lambda data, model, case: settings(model, threshold=0.3),
        "detecting in 3 images: settings changed (FIRST, SECOND, NORMAL)",
    ),
    "the lung threshold": (
        lambda data, model, case: settings(model, lung_threshold=0.8),
        "detecting in 3 images: settings changed (FIRST, SECOND, NORMAL)",
    ),
    "the network": (
        lambda data, model, case: another_network(model),
        "detecting in 3 images: model changed (FIRST, SECOND, NORMAL)",
    ),
}


@pytest.mark.parametrize("moved", [False, True], ids=["here", "moved"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_used_again_equals_a_fresh_evaluation(make_run, fold_names, disc_data, tmp_path, change, moved):
    run, data = make_run(tmp_path / "run"), shutil.copytree(disc_data, tmp_path / "data")
    asked = {"run": run, "fold": "3", "protocol": "jsrt-247"}
    (before,) = score(config(**asked, data=data))[0].results
    cases = dict(zip((A, B, NORMAL), (match.case for match in before.matches), strict=True))
    assert list(cases.values()) == fold_names(run, 3)
    if moved:
        data = data.rename(tmp_path / "elsewhere")
        os.utime(run / "fold3" / "model" / "card.json")  # later than what is kept
    make_change, told = CHANGES[change]
    make_change(data, run / "fold3" / "model", cases)
    said: list[str] = []
    (now,) = score(config(**asked, data=data), said.append)[0].results
    kept = run / "fold3" / "matches-jsrt-247-center.json"
    for name, case in {**cases, "KEPT": str(kept)}.items():
        told = told.replace(name, case)
    assert said == [f"fold 3: {line}" for line in told.split("|")]
    (fresh,) = score(config(**asked, data=data, out=tmp_path / "fresh"))[0].results
    assert to_document(now) == to_document(fresh)
    assert read_matches(kept) == fresh
    assert (to_document(now) == to_document(before)) == (change == "nothing" and not moved)
    said.clear()
    score(config(**asked, data=data), said.append)
    assert said == [f"fold 3: 3 images, matches of {kept} used again"]


def test_images_of_another_protocol_are_used_again_and_the_others_are_new(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    score(config(run=run, fold="3"))
    said: list[str] = []
    (result,) = score(config(run=run, fold="3", protocol="jsrt-247"), said.append)[0].results
    assert said == [
        f"fold 3: 2 images, matches of {run / 'fold3' / 'matches-paper-center.json'} used again",
        "fold 3: detecting in 1 image",
    ]
    (fresh,) = score(config(run=run, fold="3", protocol="jsrt-247", out=tmp_path / "fresh"))[0].results
    assert to_document(result) == to_document(fresh)


def test_matches_of_another_model_with_the_same_settings_are_not_used(make_run, tmp_path):
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other")
    another_network(other / "fold3" / "model")
    one, two = (load_bundle(place / "fold3" / "model") for place in (run, other))
    assert (one.settings_sha256, one.threshold) == (two.settings_sha256, two.threshold)
    (theirs,) = score(config(run=other, fold="3"))[0].results
    shutil.copy(other / "fold3" / "matches-paper-center.json", run / "fold3")
    (mine,) = score(config(run=run, fold="3"))[0].results
    assert (theirs.lung_dice, mine.context.model.sha256) == ((0.0, 0.0), one.sha256)
    assert mine.lung_dice == score(config(run=run, fold="3", out=tmp_path / "fresh"))[0].results[0].lung_dice
    assert min(value for value in mine.lung_dice if value is not None) > 0.5


def test_matches_of_the_version_before_can_be_read_and_are_made_again(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    first = score(config(run=run, fold="3"))[0]
    kept = run / "fold3" / "matches-paper-center.json"
    new = json.loads(kept.read_text())
    older = {key: value for key, value in new.items() if key != "settings_sha256"}
    older["images"] = [{k: v for k, v in one.items() if k != "masks_sha256"} for one in new["images"]]
    kept.write_text(json.dumps(older))
    (read,) = [read_matches(kept)]
    assert (read.context.settings_sha256, [scored_image.masks_sha256 for scored_image in read.scored]) == (
        "",
        [None, None],
    )
    assert read.matches == first.results[0].matches
    said: list[str] = []
    assert score(config(run=run, fold="3"), said.append)[0] == first
    names = ", ".join(scored_image.case.name for scored_image in read.scored)
    assert said == [f"fold 3: detecting in 2 images: kept by an earlier version ({names})"]
    assert json.loads(kept.read_text()) == new


def test_what_the_model_was_trained_on_is_read_from_the_present_card(make_run, disc_data, fold_names, tmp_path):
    run = make_run(tmp_path / "run")
    assert score(config(run=run, fold="3"))[0].results[0].trained_on == ()
    name = fold_names(run, 3, "JPCLN")[1]
    file = run / "fold3" / "model" / "card.json"
    card = json.loads(file.read_text())
    card["training"]["images"] = [sha256_of(disc_data / "images" / f"{name}.png")]
    file.write_text(json.dumps(card))
    said: list[str] = []
    assert score(config(run=run, fold="3"), said.append)[0].results[0].trained_on == (name,)
    assert said == [f"fold 3: 2 images, matches of {run / 'fold3' / 'matches-paper-center.json'} used again"]
    assert json.loads((run / "fold3" / "matches-paper-center.json").read_text())["trained_on"] == [name]


def test_damaged_images_are_all_named(make_run, fold_names, disc_data, tmp_path):
    run, data = make_run(tmp_path / "run"), tmp_path / "data"
    shutil.copytree(disc_data, data)
    names = fold_names(run, 3, "JPCLN")
    for name in names:
        path = data / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ReadError, match=rf"^2 of 2 images cannot be read: {', '.join(names)}; the first: {data}/"):
        score(config(run=run, fold="3", data=data))


@pytest.mark.parametrize(("fold", "place"), [("3", "fold3"), ("all", "")])
def test_a_place_that_takes_no_results_is_named_before_anything_is_detected(
    make_run, tmp_path, monkeypatch, fold, place
):
    run = make_run(tmp_path / "run")
    written = tempfile.TemporaryFile

    def read_only(dir: Path):
        if dir == run / place:
            raise PermissionError
        return written(dir=dir)

    monkeypatch.setattr("cxrcad.files.tempfile.TemporaryFile", read_only)
    said: list[str] = []
    sentence = f"{run / place}: nothing can be written in {run / place}; name another folder with --out"
    with pytest.raises(WriteError, match=f"^{re.escape(sentence)}$"):
        score(config(run=run, fold=fold), said.append)
    assert not any("detecting" in line for line in said)
    (elsewhere,) = score(config(run=run, fold=fold, out=tmp_path / "out"))
    assert elsewhere.folder == tmp_path / "out"
    shutil.copy(next((tmp_path / "out").glob("fold3/matches-*.json")), run / "fold3")
    assert score(config(run=run, fold=fold))[0].results == elsewhere.results  # what is kept needs no place


def test_a_lung_dice_is_taken_again_where_the_masks_turn_out_to_be_a_model_s(make_run, disc_data, tmp_path):
    """The mask files stay as they are: model.json beside them says who drew them."""
    run, data = make_run(tmp_path / "run"), shutil.copytree(disc_data, tmp_path / "data")
    asked = {"run": run, "fold": "3", "data": data}
    (before,) = score(config(**asked))[0].results
    case = read_dataset(data).by_name[before.matches[0].case]
    mask = case.lung_masks[0]
    write_made_masks(mask.parent, MadeMasks("toy", "0" * 64, None, {mask.name: sha256_of(case.image)}))
    said: list[str] = []
    (now,) = score(config(**asked), said.append)[0].results
    assert said[-1] == f"fold 3: detecting in 1 image: who drew the lung masks changed ({case.name})"
    assert now.lung_dice == (None, *before.lung_dice[1:])
    (mask.parent / "model.json").unlink()
    assert score(config(**asked))[0].results == (before,)
