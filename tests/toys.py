"""Models small enough to know their answers: the lesion map is the image's 3 x 3 mean, the lung map 0.75.

`python -m tests.toys ...` is `cxrcad ...` whose trained models have such a graph: torch takes ten seconds and more to
export even the smallest network, which is most of what a training of a step takes.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cxrcad.config import FindConfig, GridConfig


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


def export_toy(network: Any, tasks: tuple[str, ...], multiple: int, path: Path, *, weights: str = "fp32") -> None:
    """In place of `cxrcad.packaging.onnx_export.write_onnx`: the toy graph, another one for other weights."""
    digest = hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in network.state_dict().values()))
    write_onnx(path, tasks, doc=digest.hexdigest())


def main() -> None:
    """`cxrcad`, with trainings that write the toy graph."""
    from cxrcad.cli.main import main as cxrcad

    if sys.argv[1:2] in (["train"], ["reproduce"]):  # the others would import torch for nothing
        from cxrcad.packaging import fold

        fold.write_onnx = export_toy
    cxrcad()


if __name__ == "__main__":
    main()
