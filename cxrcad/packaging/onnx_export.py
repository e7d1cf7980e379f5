"""A trained network as an ONNX file: probabilities by task, batch and sides left open, weights in the file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrcad.core import ModelError
from cxrcad.files import write_atomically
from cxrcad.networks.ensemble import Ensemble
from cxrcad.networks.patch_classifier import STRIDE
from cxrcad.packaging.onnx_crop import crop_to_lungs

__all__ = ["halve_weights", "write_onnx"]

SMALLEST_HALVED = 1024  # weights; what is smaller (gains, offsets) takes no room


class _Probabilities(nn.Module):
    """The network with its softmax: (B, 1, H, W) -> per task (B, H, W), the probability of channel 1.

    Of two classes it is the sigmoid of their difference, which ONNX Runtime computes in a tenth of the time.
    """

    def __init__(self, network: nn.Module, tasks: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.tasks = network, tasks

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(image)
        return tuple((outputs[task][:, 1] - outputs[task][:, 0]).sigmoid() for task in self.tasks)


def write_onnx(network: nn.Module, tasks: tuple[str, ...], multiple: int, path: Path, *, weights: str = "fp32") -> None:
    """Write `network` as ONNX, float32, inference mode: image (B, 1, H, W) -> a map a task (B, H, W).

    B, H and W are dynamic. Weights lie in the file; with `weights` fp16 as 16-bit floats, which are made 32-bit
    ones when the file is opened. Raises ModelError where the export fails.
    """
    module = _Probabilities(network.cpu().float().eval(), tasks)
    side = 8 * multiple
    units = torch.export.Dim("rows", min=4, max=512), torch.export.Dim("cols", min=4, max=512)
    shapes = {"image": {0: torch.export.Dim("batch", min=1, max=1024), 2: multiple * units[0], 3: multiple * units[1]}}
    chatter = io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(chatter), contextlib.redirect_stderr(chatter), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                (torch.rand(2, 1, side, side + multiple),),  # torch takes a length of 1 for a fixed one
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=["image"],
                output_names=list(tasks),
                verbose=False,
            )
        except Exception as error:
            if _interrupted(error):
                raise KeyboardInterrupt from None
            raise ModelError(f"{path}: the network cannot be written as ONNX ({_cause(error)})") from error
    assert program is not None
    model = program.model_proto
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.value_info):
        del part.metadata_props[:]  # torch keeps each operation's stack trace there, with this machine's paths
        part.doc_string = ""
    if isinstance(network, Ensemble) and network.margin is not None:
        crop_to_lungs(model.graph, STRIDE, network.classifier.patch)
    if weights == "fp16":
        halve_weights(model.graph)
    write_atomically(path, model.SerializeToString())


def halve_weights(graph: Any) -> None:
    """Keep the graph's larger float32 weights as float16, each with a cast back under its name."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= SMALLEST_HALVED:
            casts.append(helper.make_node("Cast", [f"{weight.name}_fp16"], [weight.name], to=TensorProto.FLOAT))
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{weight.name}_fp16"))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _cause(error: BaseException) -> str:
    """The first line of the error that lies behind torch's own, which tells the exporter's steps."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _interrupted(error: BaseException | None) -> bool:
    """Whether a Ctrl-C lies behind an error: torch's exporter makes another one of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "KeyboardInterrupt" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
