"""A packaged model's card as Markdown, and what an export refuses."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")

import onnx

from cxrcad.config import ExportConfig, FindConfig, GridConfig, NetworkConfig, build
from cxrcad.core import EvaluationError, ModelError, ModelIdentity, UsageError
from cxrcad.evaluation.segmentation import SCHEMA, SegmentedFold
from cxrcad.inference.model import DEFAULT_MODEL, Bundle, load_bundle, outlining
from cxrcad.packaging import package
from cxrcad.packaging.package import card_text, export_run

CARD = {
    "name": "lungs", "intended_use": "Research only.", "created": "2026-01-01", "cxrcad_version": "9.9",
    "network": {"network": "u-net", "norm": "group", "channels": "raw"}, "tasks": ["lesion", "lung"],
    "grid": {"side": 512}, "multiple": 16, "find": {"threshold": 0.41},
    "training": {"images": ["a", "b"], "steps": 6000, "minutes": 3.5, "config": {"balance": "0.99", "seed": 4}},
}  # fmt: skip


def test_a_card_tells_network_grid_threshold_and_training():
    lines = card_text(CARD).splitlines()
    assert lines[:4] == ["# lungs", "", "Research only.", ""]
    assert lines[4] == "- network: u-net, tasks lesion, lung, norm group, input channels raw"
    assert lines[5] == "- grid: shorter side 512 pixels; height and width in multiples of 16"
    assert lines[6].startswith("- threshold: 0.41 (")
    assert lines[7].startswith("- training: 2 images, 6000 steps, 3.5 minutes; lambda 0.99, seed 4; SHA-256")
    assert lines[8] == "- written by cxrcad 9.9, 2026-01-01"
    assert "Sources" not in card_text(CARD)


def test_a_card_s_null_is_unknown():
    text = card_text({**CARD, "network": dict.fromkeys(CARD["network"])})
    assert "\n- network: unknown, tasks lesion, lung, norm unknown, input channels unknown\n" in text


def test_a_card_counts_one_without_an_s():
    init = {"name": "first", "steps": 1, "minutes": 0.5}
    training = {**CARD["training"], "images": ["a"], "steps": 1, "init": init}
    text = card_text({**CARD, "training": training, "parity": {"images": 1, "largest_difference": 1e-6}})
    assert "\n- training: 1 image, 1 step, 3.5 minutes; lambda" in text
    assert "\n- before that: 1 step, 0.5 minutes (first); its images are counted\n" in text
    assert "\nLargest difference in probability on 1 image: 1.0e-06.\n" in text


def test_a_card_follows_each_look_s_own_trainings():
    def before(name: str, steps: int, **more):
        return {"name": name, "steps": steps, "minutes": 1.0, **more}

    seconds = before("long", 60, init=before("another segmentation network", 15), second_init=before("short", 30))
    training = {**CARD["training"], "init": before("first", 64), "second_init": seconds}
    lines = [line for line in card_text({**CARD, "training": training}).splitlines() if "before that" in line]
    assert lines == [
        "- before that: 64 steps, 1.0 minutes (first); its images are counted",
        "- its patch classifier before that: 60 steps, 1.0 minutes (long); its images are counted",
        "- its patch classifier before that: 30 steps, 1.0 minutes (short); its images are counted",
    ]


def test_a_card_tells_figures_parity_and_sources():
    figures = {"test": {"lung_dice": None, "sensitivity_at_fp_per_image": {"1": 0.5, "8": "not reached"}}}
    parity = {"images": 3, "largest_difference": 2.5e-6}
    text = card_text({**CARD, "figures": figures, "parity": parity, "sources": ["NIH, public domain"]})
    assert "## Figures: test\n\n- lung dice: unknown\n" in text
    assert "- sensitivity at fp per image: 0.5 at 1, not reached at 8\n" in text
    assert "Largest difference in probability on 3 images: 2.5e-06.\n" in text
    assert text.endswith("## Sources\n\n- NIH, public domain\n")


@pytest.mark.parametrize("difference", [0.02, float("nan")])
def test_an_export_that_differs_from_torch_is_not_written(tiny_run, tiny_data, tmp_path, monkeypatch, difference):
    monkeypatch.setattr(
        package, "write_onnx", lambda network, tasks, multiple, path, weights: path.write_bytes(b"\x08\x09")
    )
    monkeypatch.setattr(package, "differences", lambda folder, images: [difference])
    config = build(ExportConfig, {"data": tiny_data / "images", "compare": 1})
    with pytest.raises(ModelError, match=rf"differ by {difference:.2g} in probability .* was not written; report it"):
        export_run(tiny_run[0], tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_weights_of_16_bits_that_lose_more_than_is_allowed_are_not_written(tiny_run, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "differences", lambda folder, images: [0.006])
    config = build(ExportConfig, {"data": tiny_data / "images", "compare": 1, "weights": "fp16"})
    with pytest.raises(ModelError, match=r"differ by 0.006 .*allowed 0.005.* was not written; use --weights fp32"):
        export_run(tiny_run[0], tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def exported_once(real_exporter, monkeypatch):
    """torch's export, which takes seconds, is made once for the same weights."""
    import torch

    real, kept = torch.onnx.export, {}

    def export(network, *arguments, **options):
        weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
        if weights not in kept:
            kept[weights] = real(network, *arguments, **options).model_proto
        return SimpleNamespace(model_proto=copy.deepcopy(kept[weights]))

    monkeypatch.setattr(torch.onnx, "export", export)


@pytest.mark.slow
@pytest.mark.usefixtures("exported_once")
def test_a_model_with_weights_of_16_bits_keeps_those_that_train(tiny_run, tiny_data, tmp_path):
    said = {}
    for weights in ("fp32", "fp16"):
        config = build(ExportConfig, {"data": tiny_data / "images", "compare": 1, "weights": weights, "name": "tiny"})
        said[weights] = export_run(tiny_run[0], tmp_path / weights, config)
    full, half = (load_bundle(tmp_path / weights) for weights in said)
    assert half.onnx_path.stat().st_size < 0.6 * full.onnx_path.stat().st_size
    first, second = ((bundle.folder / "model.safetensors").read_bytes() for bundle in (full, half))
    assert first == second
    difference = half.card["parity"]["largest_difference"]
    assert full.card["parity"]["largest_difference"] < difference < 5e-3
    assert "ONNX weights: fp16." in (half.folder / "README.md").read_text()
    back = build(ExportConfig, {"data": tiny_data / "images", "compare": 1, "name": "tiny"})
    export_run(half.folder, tmp_path / "back", back)
    assert (tmp_path / "back" / "model.onnx").read_bytes() == full.onnx_path.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("real_exporter")
def test_a_patch_classifier_that_judges_near_the_lungs_in_8_bits_is_told_and_served(make_toy, tiny_data, tmp_path):
    import torch
    from safetensors.torch import save

    from cxrcad.networks.registry import build_network
    from cxrcad.packaging.parity import load_network

    settings = {"network": "deeplabv3plus", "width": 16, "norm": "group", "channels": "raw", "patch_classifier": True}
    torch.manual_seed(0)
    weights = build_network(build(NetworkConfig, settings), 128).state_dict()
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "model.safetensors").write_bytes(save(weights))
    told = {"network": settings, "multiple": 32, "grid": GridConfig(side=128), "created": "2026-01-01"}
    whole = make_toy(tmp_path / "whole", **told)
    given = {"data": tiny_data / "images", "compare": 2, "weights": "int8", "lung_margin": 24}
    export_run(whole, tmp_path / "near", build(ExportConfig, given))
    near = load_bundle(tmp_path / "near")
    assert near.lung_margin == load_network(near.folder).margin == 24
    assert load_network(whole).margin is None
    text = (near.folder / "README.md").read_text()
    assert "patch classifier within the lungs' bounding box grown by 24 pixels" in text
    assert "measured before that: in float32 and with the patch classifier judging everything." in text
    graph = onnx.load(near.onnx_path, load_external_data=False).graph
    assert {"Slice", "Pad", "QuantizeLinear"} <= {node.op_type for node in graph.node}


def test_a_model_without_a_patch_classifier_has_no_lung_margin(tiny_run, tmp_path):
    with pytest.raises(ModelError, match=r"^--lung-margin 24: .* has no patch classifier, or finds no lungs; leave it"):
        export_run(tiny_run[0], tmp_path / "out", build(ExportConfig, {"lung_margin": 24}))
    assert not (tmp_path / "out").exists()


def test_a_model_is_replaced_only_where_that_is_asked_for(tiny_run, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        package, "write_onnx", lambda network, tasks, multiple, path, weights: path.write_bytes(b"\x08\x09")
    )
    monkeypatch.setattr(package, "differences", lambda folder, images: [2e-6])
    out = tmp_path / "packed"

    def export(**values):
        return export_run(tiny_run[0], out, build(ExportConfig, {"data": tiny_data, "compare": 1, **values}))

    said = f"{out}: packaged; torch and ONNX Runtime differ by at most 2.0e-06 on 1 radiograph"
    assert export(name="first") == said
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError) as error:
        export(name="second")
    remedy = "already; name another folder, or give --overwrite to replace it"
    assert str(error.value) == f"--out {out}: holds the model first {remedy}"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "model.onnx").unlink()
    with pytest.raises(UsageError) as error:
        export(name="second")
    assert str(error.value) == f"--out {out}: holds a damaged model {remedy}"
    assert export(name="second", overwrite=True) == said
    assert load_bundle(out).name == "second"


def test_a_fold_s_folder_and_a_packaged_model_can_be_exported_too(make_toy, tmp_path):
    from cxrcad.packaging.package import _source

    make_toy(tmp_path / "run" / "fold2" / "model")
    for place in ("run", "run/fold2", "run/fold2/model"):
        assert _source(tmp_path / place, "all").folder == tmp_path / "run" / "fold2" / "model"
    assert _source(Path(DEFAULT_MODEL), "all").name == DEFAULT_MODEL
    with pytest.raises(ModelError, match="holds no finished fold 3"):
        _source(tmp_path / "run", "3")


def test_the_card_of_an_outlined_lesion_has_its_test_cases_dice(tmp_path):
    images = tuple(
        {"case": name, "patient": name, "sha256": "0" * 64, "positive": dice is not None, "dice": dice, "score": score,
         "area": score, "reported": score > 0.5, "lung_dice": None}
        for name, dice, score in (("a", 0.8, 0.9), ("b", 0.4, 0.7), ("c", None, 0.1))
    )  # fmt: skip
    model = ModelIdentity("fluid", "1" * 64, 0.5, "CPUExecutionProvider")
    kept = SegmentedFold(2, "data", model, "u-net", "multi", "validation", 12.0, "0" * 64, ())
    bundle = Bundle(
        **{"folder": tmp_path / "model", "name": "fluid", "card": {"lesion": "effusion"}, "grid": GridConfig()},
        **{"find": FindConfig(threshold=0.5), "multiple": 16, "tasks": ("lesion",), "sha256": "1" * 64},
        onnx_path=tmp_path / "model" / "model.onnx",
    )
    kept = replace(kept, settings_sha256=outlining(bundle).settings_sha256)
    (tmp_path / "segmentation.json").write_text(json.dumps({"schema": SCHEMA, **asdict(kept), "images": images}))
    (figures,) = package._area_figures(bundle, "fluid").items()
    assert figures[0] == "test cases of fold 2, lesion effusion"
    assert figures[1]["command"] == "cxrcad evaluate --lesion effusion --model fluid --fold 2 --data DATA"
    assert (figures[1]["images"], figures[1]["Dice"]) == (3, "0.600 [0.400, 0.800]")
    assert "lung Dice" not in figures[1]
    assert figures[1]["not checked"] == "the data, as the run has no content.json"
    (tmp_path / "segmentation.json").write_text(json.dumps({"schema": SCHEMA, "fold": 2}))
    with pytest.raises(EvaluationError, match=r"segmentation.json: not what cxrcad evaluate keeps .*; score the fold"):
        package._area_figures(bundle, "fluid")


def test_a_card_s_commands_name_the_folder_of_a_model_that_is_not_packaged(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "models_folder", lambda: tmp_path / "models")
    assert package._called("own", tmp_path / "models" / "own") == "own"
    assert package._called("own", Path("exported/own")) == "exported/own"
    assert package._called("own", tmp_path / "models" / "other") == str(tmp_path / "models" / "other")
