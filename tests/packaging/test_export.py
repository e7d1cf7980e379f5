"""What the validation cases choose when a fold is packaged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from cxrcad.core import ModelError
from cxrcad.packaging.fold import _lung_threshold
from cxrcad.packaging.onnx_export import write_onnx


def case(true: np.ndarray | None, **maps: np.ndarray) -> tuple[SimpleNamespace, SimpleNamespace]:
    return SimpleNamespace(lung=true), SimpleNamespace(maps=maps)


def test_the_lung_threshold_has_the_best_dice_and_of_equal_ones_is_the_higher():
    true = np.zeros((40, 40), bool)
    true[10:30, 10:18] = true[10:30, 24:32] = True
    found = np.full((40, 40), 0.1, np.float32)
    found[6:34, 6:36] = 0.7  # the map reaches beyond the lungs
    found[true] = 0.88
    assert _lung_threshold([case(true, lung=found), case(None, lung=found)]) == 0.85


def test_without_lung_maps_or_masks_there_is_none_to_choose():
    some = np.ones((8, 8), np.float32)
    assert _lung_threshold([case(some > 0, nodule=some), case(None, lung=some)]) is None
    assert _lung_threshold([]) is None


def test_ctrl_c_inside_the_exporter_is_no_fault_of_the_network(tmp_path, monkeypatch):
    import torch

    def stopped(*arguments, **options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise RuntimeError("Failed to export the model with torch.export") from error

    monkeypatch.setattr(torch.onnx, "export", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_onnx(torch.nn.Conv2d(1, 2, 1), ("lesion",), 8, tmp_path / "model.onnx")


def test_a_failed_export_names_what_lies_behind_it(tmp_path, monkeypatch):
    import torch

    def failing(*arguments, **options):
        raise RuntimeError("Failed to export the model with torch.export. Step 1/3") from ValueError("no kernel")

    monkeypatch.setattr(torch.onnx, "export", failing)
    with pytest.raises(ModelError, match=r"model\.onnx: the network cannot be written as ONNX \(no kernel\)"):
        write_onnx(torch.nn.Conv2d(1, 2, 1), ("lesion",), 8, tmp_path / "model.onnx")
