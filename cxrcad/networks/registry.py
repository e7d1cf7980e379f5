"""Networks by name: a NetworkConfig -> a module that keeps the contract (B, 1, H, W) -> {task: (B, 2, H, W)}.

A network is a module of this folder with a function `build(config, side)`, and its name in `cxrcad.config.NETWORKS`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from cxrcad.config import NETWORKS, NetworkConfig
from cxrcad.core import NetworkError
from cxrcad.networks.blocks import channels_of
from cxrcad.networks.ensemble import Ensemble

__all__ = ["build_network", "present_names"]

FORMER_NAMES = (
    (r"\b(heads|log_variance)\.nodule\b", r"\1.lesion"),
    (r"^first\.", "segmentation."),
    (r"^second\.", "classifier."),
    (r"^share$", "weight"),
)
"""Parts of the names of weights in files of earlier versions, as patterns, and what they are called now."""


def build_network(config: NetworkConfig, side: int) -> nn.Module:
    """The untrained network that `config` names, for images whose shorter side is `side` pixels.

    With `patch_classifier`, an ensemble: the segmentation network, for half the side unless `half_side` is off, and a
    patch classifier. Initial weights come from torch's global seed. Raises NetworkError.
    """
    if config.patch_classifier:
        times = 2 if config.half_side else 1
        segmentation = build_network(replace(config, patch_classifier=False), side // times)
        return Ensemble(segmentation, channels_of(config), side, times=times, patch=config.patch_side)
    if config.network not in NETWORKS:
        raise NetworkError(f"there is no network {config.network!r}; choose from {', '.join(NETWORKS)}")
    network: nn.Module = importlib.import_module(f"cxrcad.networks.{NETWORKS[config.network]}").build(config, side)
    return network


def present_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under their present names, whichever version wrote them."""
    renamed = {}
    for name, value in weights.items():
        for former, present in FORMER_NAMES:
            name = re.sub(former, present, name)
        renamed[name] = value
    return renamed
