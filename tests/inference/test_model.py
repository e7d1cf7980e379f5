"""Packaged models: found by name or path, checked, and refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxrcad import __version__
from cxrcad.config import FindConfig, GridConfig
from cxrcad.core import ModelError
from cxrcad.files import sha256_of
from cxrcad.inference import model as module
from cxrcad.inference.model import Bundle, load_bundle, packaged_models, resolve_model, write_card

MakeModel = Callable[..., Bundle]


@pytest.fixture
def packaged(tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the packaged models deeplabv3plus-real and other."""
    folder = tmp_path / "models"
    make_model(folder / "deeplabv3plus-real", name="deeplabv3plus-real")
    make_model(folder / "other", name="other")
    (folder / "README.md").write_text("not a model")
    monkeypatch.setattr(module, "models_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def change_card(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    card.update(changes)
    (folder / "card.json").write_text(json.dumps({key: value for key, value in card.items() if value != "delete"}))


def test_a_bundle_holds_what_its_card_says(tiny: Bundle) -> None:
    assert tiny.name == "tiny"
    assert tiny.grid == GridConfig(side=128)
    assert tiny.find == FindConfig(threshold=0.5, min_area_mm2=4.0)
    assert tiny.threshold == 0.5
    assert tiny.multiple == 16
    assert tiny.tasks == ("lesion", "lung")
    assert tiny.sha256 == sha256_of(tiny.onnx_path)
    assert tiny.training_images == frozenset(["a" * 64])


def test_a_written_card_has_schema_version_and_checksums(tiny: Bundle) -> None:
    card = json.loads((tiny.folder / "card.json").read_text())
    assert card["schema"] == "cxrcad/model/1"
    assert card["cxrcad_version"] == __version__
    assert card["files"] == {"model.onnx": tiny.sha256}
    assert card["grid"] == {"side": 128, "low_percentile": 0.5, "high_percentile": 99.5}


def test_a_card_without_a_threshold_is_not_written(tmp_path: Path) -> None:
    card = {"name": "x", "tasks": ["lesion"], "multiple": 16, "grid": GridConfig(), "find": FindConfig()}
    with pytest.raises(ModelError, match="no threshold"):
        write_card(tmp_path, card)
    assert list(tmp_path.iterdir()) == []


def test_a_card_without_its_network_is_not_written(tmp_path: Path) -> None:
    card = {"name": "x", "tasks": ["lesion"], "multiple": 16, "grid": {"side": 128}, "find": {"threshold": 0.5}}
    with pytest.raises(ModelError, match=r"there is no model\.onnx"):
        write_card(tmp_path, card)


def test_weights_may_be_absent_but_not_changed(tiny: Bundle) -> None:
    weights = tiny.folder / "model.safetensors"
    weights.write_bytes(b"weights")
    write_card(tiny.folder, tiny.card)
    assert set(load_bundle(tiny.folder).card["files"]) == {"model.onnx", "model.safetensors"}
    weights.write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"model\.safetensors: its SHA-256 is"):
        load_bundle(tiny.folder)
    weights.unlink()
    assert load_bundle(tiny.folder).name == "tiny"


def test_a_changed_network_is_refused(tiny: Bundle) -> None:
    with tiny.onnx_path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match=r"model\.onnx: its SHA-256 is [0-9a-f]{12}\.\.\., its card says"):
        load_bundle(tiny.folder)


def test_a_missing_network_is_refused(tiny: Bundle) -> None:
    tiny.onnx_path.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: there is no such file, only its card"):
        load_bundle(tiny.folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schema": "cxrcad/model/9"}, r"its schema is 'cxrcad/model/9', not 'cxrcad/model/1'"),
        ({"grid": "delete", "multiple": "delete"}, r"multiple, grid missing"),
        ({"grid": {}}, r".*grid: side missing; export the model again"),
        ({"name": "../x"}, r"name is '\.\./x', where .* is needed; correct it in this file"),
        ({"grid": {"side": 7}}, r"side is 7; it takes a whole number at least 32"),
        ({"find": {"treshold": 0.5}}, r"there is no setting treshold; did you mean threshold"),
        ({"find": {"threshold": None}}, r"the model has no threshold"),
        (
            {"find": {"threshold": "0.5"}},
            r"threshold is '0\.5'; it takes a number at least 0, at most 1; export the model again",
        ),
        ({"tasks": ["lung"]}, r"tasks is \[\"lung\"\], where a list of different tasks, lesion among them, is needed"),
        ({"tasks": "nodule"}, r"tasks is 'nodule', where a list of texts is needed; export the model again"),
        ({"multiple": "many"}, r"multiple is 'many', where what an image's sides are multiples of, a whole number fr"),
        ({"multiple": 0}, r"multiple is 0, where"),
        ({"name": "../../x/evil"}, r"name is '\.\./\.\./x/evil', where a name \(at most 200 bytes, no / or \\, no co"),
        ({"name": None}, r"name is null, where a text is needed; export the model again with cxrcad export"),
        ({"files": {"../card.json": "0"}}, r".*files: it has '\.\./card\.json', where the name of a file in the model"),
        (
            {"training": {"init": {"steps": "9"}}},
            r".*training, init: steps is '9', where steps, a whole number from 0 t",
        ),
        ({"network": {"width": "wide"}}, r"width is 'wide'; it takes a whole number"),
        ({"files": {}}, r"lists no SHA-256 of model\.onnx"),
    ],
)
def test_a_card_that_is_off_is_refused(tiny: Bundle, changes: dict[str, Any], sentence: str) -> None:
    change_card(tiny.folder, **changes)
    between = ", " if sentence.startswith(".*") else ": "
    with pytest.raises(ModelError, match=rf"card\.json{between}{sentence.removeprefix('.*')}"):
        _ = load_bundle(tiny.folder).network


def test_a_name_may_have_spaces_dots_and_letters_of_any_script(tmp_path: Path, make_model: Any) -> None:
    assert make_model(tmp_path / "model", name="Rö 1.5 (µ) 胸").name == "Rö 1.5 (µ) 胸"


def test_a_card_that_is_no_json_is_refused(tiny: Bundle) -> None:
    (tiny.folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match=r"card\.json: not JSON"):
        load_bundle(tiny.folder)


def test_the_default_is_mo_segnet_open(packaged: Path) -> None:
    assert resolve_model(None).folder == packaged / "deeplabv3plus-real"


def test_a_name_a_folder_and_a_runs_fold_are_found(packaged: Path, tmp_path: Path) -> None:
    shutil.copytree(packaged / "other", tmp_path / "runs" / "r1" / "fold3" / "model")
    assert resolve_model("other").folder == packaged / "other"
    assert resolve_model("models/other").name == "other"
    assert resolve_model(tmp_path / "runs" / "r1" / "fold3").folder == tmp_path / "runs" / "r1" / "fold3" / "model"


def test_an_unknown_name_lists_the_packaged_models(packaged: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing: no packaged model .*; packaged models: deeplabv3plus-real, other"):
        resolve_model("nothing")


def test_a_run_with_two_folds_asks_for_one(packaged: Path, tmp_path: Path) -> None:
    for fold in ("fold1", "fold3"):
        shutil.copytree(packaged / "other", tmp_path / "runs" / "r1" / fold / "model")
    with pytest.raises(ModelError, match=r"several models; name one of runs/r1/fold1, runs/r1/fold3"):
        resolve_model("runs/r1")


def test_an_unfinished_fold_and_a_file_are_refused(packaged: Path, tmp_path: Path) -> None:
    (tmp_path / "fold2").mkdir()
    with pytest.raises(ModelError, match=r"fold2: holds neither card\.json nor model/card\.json"):
        resolve_model("fold2")
    with pytest.raises(ModelError, match=r"model\.onnx: a file; a model is a folder with card\.json"):
        resolve_model("models/other/model.onnx")


def test_packaged_models_are_in_order(packaged: Path) -> None:
    assert [bundle.name for bundle in packaged_models()] == ["deeplabv3plus-real", "other"]


def test_without_packaged_models_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "models_folder", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert packaged_models() == ()
    with pytest.raises(ModelError, match="no models are packaged here"):
        resolve_model()


def test_a_model_is_of_nodules_unless_its_card_says_effusion(packaged: Path, tiny: Bundle) -> None:
    assert tiny.lesion == "nodule"
    change_card(packaged / "other", lesion="effusion")
    assert resolve_model("other").lesion == "effusion"
    assert resolve_model(lesion="effusion").name == "other"
    assert resolve_model(lesion="nodule").name == resolve_model().name == "deeplabv3plus-real"
    with pytest.raises(ModelError, match=r"the model other is made for effusion, not for nodule; .* --lesion effusion"):
        resolve_model("other", lesion="nodule")
    change_card(packaged / "other", lesion="nodule")
    with pytest.raises(ModelError, match="--lesion effusion: no packaged model is made for it; train one"):
        resolve_model(lesion="effusion")
    change_card(packaged / "other", lesion="fracture")
    with pytest.raises(ModelError, match=r"card\.json: lesion is 'fracture', where nodule or effusion is needed"):
        resolve_model("other")
