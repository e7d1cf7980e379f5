"""The torch network of a packaged model, and how far torch and ONNX Runtime differ on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrcad.core import ModelError
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import load_bundle
from cxrcad.networks.ensemble import Ensemble
from cxrcad.networks.registry import build_network, present_names

__all__ = ["differences", "load_network"]


def load_network(folder: Path) -> nn.Module:
    """The torch network of a packaged model, from its card and weights, in inference mode. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    bundle = load_bundle(folder)
    network = build_network(bundle.network, bundle.grid.side)
    if isinstance(network, Ensemble):
        network.margin = bundle.lung_margin
    try:
        network.load_state_dict(present_names(load_file(folder / "model.safetensors")))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{folder / 'model.safetensors'}: weights do not fit ({reason}); export the run again"
        ) from None
    return network.eval()


def differences(folder: Path, images: Sequence[NDArray[np.float32]]) -> Iterator[float]:
    """For each of `images` (H, W, on the model's grid) the largest difference in probability of torch and ONNX Runtime.

    A map that is no number in one of them differs by NaN.
    """
    network, detector = load_network(folder), Detector.open(load_bundle(folder), device="cpu")
    for image in images:
        served = detector.probabilities(image)
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image)[None, None])
        apart = [np.abs(logits.softmax(1)[0, 1].numpy() - served[task]).max() for task, logits in outputs.items()]
        yield float(np.max(apart))
