"""The graph of an ensemble with a lung margin, its patch classifier given only what is near the lungs.

torch judges everywhere and then writes over what is away from the lungs, since it cannot export sides that depend on
the image. Here the graph is cut to the rows and columns that count; its outputs stay the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxrcad.core import ModelError
from cxrcad.networks.ensemble import AWAY

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

__all__ = ["crop_to_lungs"]

FIRST, LAST = "network.classifier.convs.0.weight", "network.classifier.last.weight"
"""The weights of the classifier's first and last convolutions."""


def crop_to_lungs(graph: GraphProto, stride: int, patch: int) -> None:
    """Slice what goes into the patch classifier, and pad what comes out, by the places that the graph goes on to keep.

    Neighbouring places are judged `stride` pixels apart, each by `patch` x `patch` of them. A batch is cut to the
    places that any of its images keeps. Raises ModelError for a graph that is not of such an ensemble.
    """
    first, last = (_convolution(graph, name) for name in (FIRST, LAST))
    select = _user(graph, last.output[0], "Gather")
    near = _user(graph, select.output[0], "Where").input[0]
    parts = _Nodes()
    kept = parts.add("Cast", near, to=6)  # int32
    size = parts.add("Shape", near, start=1)
    starts, ends = [], []
    for axis in (1, 2):
        line = parts.add("ReduceMax", kept, parts.integers(0, 3 - axis), keepdims=0)
        starts.append(parts.add("ArgMax", line, axis=0))
        ends.append(parts.add("Add", parts.add("ArgMax", line, axis=0, select_last_index=1), parts.integers(1)))
    start, end = (parts.add("Concat", *places, axis=0) for places in (starts, ends))
    step, none = parts.integers(stride), parts.integers(0, 0)
    from_pixel = parts.add("Mul", start, step)
    to_pixel = parts.add("Add", parts.add("Mul", end, step), parts.integers(patch - 1))
    first.input[0] = parts.add("Slice", first.input[0], from_pixel, to_pixel, parts.integers(2, 3))
    margins = parts.add("Concat", none, start, none, parts.add("Sub", size, end), axis=0)
    select.input[0] = parts.add("Pad", last.output[0], margins, parts.number(AWAY))
    graph.initializer.extend(parts.constants)
    del graph.value_info[:]  # sides in between are others now
    _in_order(graph, parts.nodes)


class _Nodes:
    """Operations and constants to be, under names of their own."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[Any] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The name of the output of one more operation."""
        from onnx import helper

        output = f"near_lungs_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def integers(self, *values: int) -> str:
        """The name of a constant, int64."""
        return self._constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """The name of a constant, float32."""
        return self._constant(np.array(value, np.float32))

    def _constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"near_lungs_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name


def _convolution(graph: GraphProto, weight: str) -> NodeProto:
    return _only([node for node in graph.node if node.op_type == "Conv" and node.input[1] == weight], weight)


def _user(graph: GraphProto, value: str, kind: str) -> NodeProto:
    return _only([node for node in graph.node if node.op_type == kind and value in node.input], value)


def _only(found: list[NodeProto], what: str) -> NodeProto:
    if len(found) != 1:
        raise ModelError(f"the ONNX graph cannot be cut to the lungs: {len(found)} operations take {what}, not 1")
    return found[0]


def _in_order(graph: GraphProto, added: list[NodeProto]) -> None:
    """Put the nodes of the graph and `added` where all their inputs are known."""
    waiting = [*graph.node, *added]
    made = {output for node in waiting for output in node.output}
    ordered: list[NodeProto] = []
    while waiting:
        ready = [node for node in waiting if not any(name in made for name in node.input)]
        waiting = [node for node in waiting if any(name in made for name in node.input)]
        ordered += ready
        made -= {output for node in ready for output in node.output}
    del graph.node[:]
    graph.node.extend(ordered)
