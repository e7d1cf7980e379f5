"""An ONNX file whose patch classifier computes in 8 bits, with ranges of its values from radiographs.

Nearly all of the time goes into that classifier's convolutions, whose outputs pass a ReLU and need no fine steps. The
segmentation network, the input channels and the last layer stay in float32.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import ModelError
from cxrcad.files import write_atomically
from cxrcad.packaging.onnx_export import halve_weights

if TYPE_CHECKING:
    from onnx import GraphProto

__all__ = ["quantize"]

CLASSIFIER = "network.classifier.convs."
"""What the names of the weights in question begin with."""
FIRST = f"{CLASSIFIER}0."
"""Its three input channels need more than 8 bits, and it takes little time."""


class _Images:
    """Radiographs on the model's grid, one after the other, as ONNX Runtime's calibration reads them."""

    def __init__(self, images: Sequence[NDArray[np.float32]]) -> None:
        self.images: Iterator[NDArray[np.float32]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image[None, None]}


def quantize(path: Path, images: Sequence[NDArray[np.float32]]) -> None:
    """Have the patch classifier of a float32 ONNX file compute in 8 bits, and keep its other weights in 16.

    `images` (rows, columns), on the model's grid, say which values come.
    Weights have a scale for each channel and 7 bits: with 8, processors without VNNI would cut off sums, and find
    something else. Raises ModelError for a network without a patch classifier.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    names = _nodes(onnx.load(path).graph)
    if not names:
        raise ModelError("--weights int8: is for a model with a patch classifier, and this one has none; use fp16")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises a step that this graph does without
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                path,
                path,
                _Images(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=names,
                calibrate_method=CalibrationMethod.MinMax,
            )
    finally:
        logging.disable(level)
    model = onnx.load(path)
    halve_weights(model.graph)
    write_atomically(path, model.SerializeToString())


def _nodes(graph: GraphProto) -> list[str]:
    """The names of the convolutions in question, and of the ReLUs behind them."""
    convolutions: list[Any] = [
        node
        for node in graph.node
        if node.op_type == "Conv" and node.input[1].startswith(CLASSIFIER) and not node.input[1].startswith(FIRST)
    ]
    outputs = {node.output[0] for node in convolutions}
    relus = [node for node in graph.node if node.op_type == "Relu" and node.input[0] in outputs]
    return [node.name for node in (*convolutions, *relus)]
