"""A packaged model small enough to know its answers: the lesion map is the image's 3 x 3 mean, the lung map 0.75."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrcad.config import FindConfig, GridConfig
from cxrcad.inference.model import Bundle, load_bundle, write_card

MakeModel = Callable[..., Bundle]


def write_onnx(path: Path, outputs: tuple[str, ...] = ("lesion", "lung"), bias: float = 0.75, doc: str = "") -> None:
    """A graph with dynamic batch, height and width: a blurring convolution for the lesion, a constant otherwise."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    mean = numpy_helper.from_array(np.full((1, 1, 3, 3), 1 / 9, dtype=np.float32), "mean")
    zero = numpy_helper.from_array(np.zeros((1, 1, 1, 1), dtype=np.float32), "zero")
    level = numpy_helper.from_array(np.array([bias], dtype=np.float32), "level")
    axis = numpy_helper.from_array(np.array([1], dtype=np.int64), "axis")
    nodes = []
    for name in outputs:
        if name in ("lesion", "nodule"):
            nodes.append(helper.make_node("Conv", ["image", "mean"], [f"{name}_map"], pads=[1, 1, 1, 1]))
        else:
            nodes.append(helper.make_node("Conv", ["image", "zero", "level"], [f"{name}_map"]))
        nodes.append(helper.make_node("Squeeze", [f"{name}_map", "axis"], [name]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "height", "width"]) for name in outputs],
        [mean, zero, level, axis],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model.doc_string = doc
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def tiny_card(**changes: Any) -> dict[str, Any]:
    card: dict[str, Any] = {
        "name": "tiny",
        "tasks": ["lesion", "lung"],
        "multiple": 16,
        "grid": GridConfig(side=128),
        "find": FindConfig(threshold=0.5, min_area_mm2=4.0),
        "training": {"images": ["a" * 64]},
    }
    return {**card, **changes}


@pytest.fixture
def make_model() -> MakeModel:
    """A function (folder, outputs=..., bias=..., **card) -> Bundle that writes the tiny model."""

    def make(folder: Path, *, outputs: tuple[str, ...] = ("lesion", "lung"), bias: float = 0.75, **card: Any) -> Bundle:
        write_onnx(folder / "model.onnx", outputs, bias)
        write_card(folder, tiny_card(**card))
        return load_bundle(folder)

    return make


@pytest.fixture
def tiny(tmp_path: Path, make_model: MakeModel) -> Bundle:
    return make_model(tmp_path / "tiny")
