"""U-Net as the paper compares with it: MO-SegNet without ASPP (Figure 3 b). The paper prints no network of its own."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from cxrcad.config import NetworkConfig
from cxrcad.networks import mosegnet

__all__ = ["build"]


def build(config: NetworkConfig, side: int) -> nn.Module:
    """U-Net as `config` has it. Raises NetworkError."""
    return mosegnet.build(replace(config, aspp=False), side)
