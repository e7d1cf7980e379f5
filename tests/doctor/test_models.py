"""Models are opened and run: one that gives no probabilities is broken, one without its weights is a warning."""

from __future__ import annotations

import pytest

from cxrcad.core import ModelError
from cxrcad.doctor import models
from cxrcad.doctor.checks import BROKEN, OK, WARNING
from cxrcad.inference.detector import Detector


@pytest.fixture
def packaged(tmp_path, make_toy, monkeypatch):
    """The folder of one packaged toy, with a file of weights that its card lists."""
    folder = tmp_path / "packaged"
    (folder / "one").mkdir(parents=True)
    (folder / "one" / "model.safetensors").write_bytes(b"weights")
    make_toy(folder / "one")
    monkeypatch.setattr(models, "models_folder", lambda: folder)
    return folder


def test_a_model_that_runs_is_ok_with_its_checksum(packaged):
    (check,) = models.check_models(None)
    assert check.state == OK
    assert check.told.startswith(f"sha256 {check.facts['sha256'][:12]} as on its card, opened and run in ")
    assert len(models.check_models("one")) == 1  # it is not checked twice


def test_maps_that_are_no_probabilities_are_broken(packaged, monkeypatch):
    real = Detector.probabilities

    def doubled(self, image):
        return {task: found * 4 for task, found in real(self, image).items()}

    monkeypatch.setattr(Detector, "probabilities", doubled)
    (check,) = models.check_models(None)
    assert (check.state, check.told) == (BROKEN, "its lesion and lung maps have values outside 0-1")
    assert check.remedy


def test_a_model_that_fails_while_it_runs_is_broken(packaged, monkeypatch):
    def fail(self, image):
        raise ModelError("one: ONNX Runtime failed (no memory); free memory")

    monkeypatch.setattr(Detector, "probabilities", fail)
    (check,) = models.check_models(None)
    assert (check.state, check.told, check.remedy) == (
        BROKEN, "one: ONNX Runtime failed (no memory)", "free memory",
    )  # fmt: skip


def test_weights_that_are_missing_are_a_warning_and_damaged_ones_broken(packaged):
    weights = packaged / "one" / "model.safetensors"
    weights.write_bytes(b"others")
    assert models.check_models(None)[0].state == BROKEN
    weights.unlink()
    (check,) = models.check_models(None)
    assert check.state == WARNING
    assert "model.safetensors is not there" in check.told
