"""What a path or the packaged models are, in lines and as JSON that agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrcad.commands.info import describe_path
from cxrcad.commands.models import describe_models
from cxrcad.core import ModelError, ReadError


def test_lines_and_json_of_a_radiograph_tell_the_same(disc_data):
    path = disc_data / "images" / "JPCLN002.png"
    facts = json.loads(describe_path(path, as_json=True))
    names = [line[:13].strip() for line in describe_path(path).splitlines()]
    assert names == [name.replace("_", " ") for name in facts]
    assert describe_path(path).splitlines()[3] == "rows          64"
    assert describe_path(path).splitlines()[5] == "spacing mm    unknown"


def test_a_run_a_fold_and_a_model(make_run, tmp_path):
    run = make_run(tmp_path / "run", folds=(4,))
    assert describe_path(run) == f"{run}: a run; finished folds: 4"
    assert json.loads(describe_path(run, as_json=True))["finished_folds"] == [4]
    assert describe_path(run / "fold4").splitlines()[0] == "run-fold4"
    assert describe_path(run / "fold4") == describe_path(run / "fold4" / "model")
    (run / "fold4").rename(run / "fold0")
    (run / "folds.json").write_text("{}")
    assert describe_path(run) == f"{run}: a run; a model trained on every case, {run}/fold0"
    assert json.loads(describe_path(run, as_json=True))["whole"] is True


def test_a_run_that_was_stopped_and_a_packaged_name(make_toy, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "folds.json").write_text("{}")
    assert describe_path(tmp_path / "run").endswith("a run; no finished fold; go on with --resume")
    make_toy(tmp_path / "shelf" / "toy")
    monkeypatch.setattr("cxrcad.inference.model.models_folder", lambda: tmp_path / "shelf")
    assert describe_path(Path("toy")).splitlines()[0] == "toy"


def test_what_is_nothing_of_these_raises(tmp_path):
    with pytest.raises(ReadError, match="there is no such file"):
        describe_path(tmp_path / "none")
    with pytest.raises(ModelError, match=r"mo-segnet-opne: no packaged model has this name .* mo-segnet-open"):
        describe_path(Path("mo-segnet-opne"))
    with pytest.raises(ModelError, match=r"holds neither card\.json"):
        describe_path(tmp_path)


def test_models_are_told_with_their_size_and_use(make_toy, tmp_path, monkeypatch):
    make_toy(tmp_path / "shelf" / "toy", training={"images": ["a" * 64, "b" * 64], "steps": 12})
    monkeypatch.setattr("cxrcad.inference.model.models_folder", lambda: tmp_path / "shelf")
    lines = describe_models().splitlines()
    assert lines[0] == "toy"
    assert "  trained on   2 images, 12 steps" in lines
    assert "  use          Tests." in lines
    parts = {"images": [], "steps": 0, "init": {"steps": 5, "init": {"steps": 7}}, "second_init": {"steps": 11}}
    parts["second_init"] |= {
        "second_init": {"steps": 13},
        "init": {"steps": 1000},
    }  # beside another segmentation network
    make_toy(tmp_path / "joined", training=parts)
    assert "  trained on   0 images, 36 steps" in describe_path(tmp_path / "joined").splitlines()
    make_toy(tmp_path / "one", training={"images": ["a" * 64], "steps": 1})
    make_toy(tmp_path / "untold", training={"images": []})
    assert "  trained on   1 image, 1 step" in describe_path(tmp_path / "one").splitlines()
    assert "  trained on   0 images, unknown steps" in describe_path(tmp_path / "untold").splitlines()
    assert json.loads(describe_models(as_json=True))[0]["name"] == "toy"
