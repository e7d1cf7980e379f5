"""A patch classifier that computes in 8 bits, on a graph made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx
from onnx import TensorProto, helper, numpy_helper

from cxrcad.config import ExportConfig, build
from cxrcad.core import ModelError, UsageError
from cxrcad.inference.detector import CPU, open_session
from cxrcad.packaging.int8 import quantize
from cxrcad.packaging.package import export_run

LAYERS = ("network.classifier.convs.0.weight", "network.classifier.convs.1.weight", "network.classifier.last.weight")


def write_network(path: Path, names: tuple[str, ...] = LAYERS) -> list[np.ndarray]:
    """A file of three convolutions, 1 -> 16 -> 16 -> 1 channels, with a ReLU between; gives their weights."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.2, shape).astype(np.float32) for shape in ((16, 1, 3, 3), (16, 16, 3, 3), (1, 16, 1, 1))]
    nodes, last = [], "image"
    for number, name in enumerate(names):
        nodes.append(helper.make_node("Conv", [last, name], [f"conv{number}"], name=f"conv_{number}"))
        nodes.append(helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"], name=f"relu_{number}"))
        last = f"relu{number}"
    nodes.append(helper.make_node("Identity", [f"conv{len(names) - 1}"], ["map"], name="end"))
    graph = helper.make_graph(
        [node for node in nodes if node.output[0] != last],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, "rows", "cols"])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, name) for weight, name in zip(weights, names, strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return weights


def images() -> list[np.ndarray]:
    return list(np.random.default_rng(1).random((3, 24, 32), np.float32))


def mapped(path: Path, image: np.ndarray) -> np.ndarray:
    found: np.ndarray = open_session(path, [CPU], 1).run(["map"], {"image": image[None, None]})[0]
    return found


def test_the_classifiers_convolutions_but_the_first_and_last_have_weights_of_7_bits(tmp_path):
    path = tmp_path / "model.onnx"
    first, second, last = write_network(path)
    before = mapped(path, images()[0])
    quantize(path, images())
    kept = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    whole = {name: values for name, values in kept.items() if values.dtype == np.int8 and values.ndim == 4}
    assert [values.shape for values in whole.values()] == [second.shape]
    (halved,) = whole.values()
    assert 60 <= np.abs(halved.astype(int)).max() <= 64  # so that no pair of products is beyond 16 bits
    assert np.abs(halved.astype(int)).max(axis=(1, 2, 3)).min() >= 60  # each channel has its own scale
    np.testing.assert_array_equal(kept[LAYERS[0]], first)
    np.testing.assert_array_equal(kept[LAYERS[2]], last)
    after = mapped(path, images()[0])
    assert 0 < np.abs(after - before).max() < 0.03 * np.ptp(before)


def test_a_network_without_a_patch_classifier_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    write_network(path, ("network.stem.weight", "network.body.weight", "network.head.weight"))
    content = path.read_bytes()
    with pytest.raises(ModelError, match="this one has none; use fp16"):
        quantize(path, images())
    assert path.read_bytes() == content


def test_ranges_are_not_taken_from_phantoms(tmp_path):
    with pytest.raises(UsageError, match="its ranges are taken from radiographs; name some with --data"):
        export_run(tmp_path, tmp_path / "out", build(ExportConfig, {"weights": "int8"}))
