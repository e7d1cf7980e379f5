"""DeepLabV3+ (Chen et al. 2018) on a residual encoder from scratch: ASPP at output stride 16 and a light decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.config import NetworkConfig
from cxrcad.networks.blocks import ConvUnit, InputChannels, check_input, residual_options, tasks_of
from cxrcad.networks.resnet import ResidualEncoder

__all__ = ["DeepLabV3Plus", "SeparableUnit", "build"]


def build(config: NetworkConfig, side: int) -> nn.Module:
    """DeepLabV3+ as `config` has it. Raises NetworkError."""
    return DeepLabV3Plus(tasks_of(config), **residual_options(config, side))


class SeparableUnit(nn.Module):
    """Depthwise 3x3 at a rate, then 1x1, norm, ReLU. (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, channels: int, *, rate: int, norm: str, groups: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=rate, dilation=rate, groups=in_channels)
        self.pointwise = ConvUnit(in_channels, channels, 1, norm=norm, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # torch 2.13 on CPUs with AMX: in bf16, laid out channels last, a dilated depthwise convolution's weights
            # get gradients of what the memory held before.
            with torch.autocast("cpu", enabled=False):
                x = self.depthwise(x.float())
        else:
            x = self.depthwise(x)
        out: Tensor = self.pointwise(x)
        return out


class DeepLabV3Plus(nn.Module):
    """(B, 1, H, W), 0-1 -> {task: (B, 2, H, W) logits}; H and W multiples of 16."""

    multiple = 16
    early = ("encoder.stem.", "encoder.low.")
    rates = (6, 12, 18)

    def __init__(
        self,
        tasks: tuple[str, ...],
        *,
        width: int,
        norm: str,
        groups: int,
        channels: tuple[str, ...],
        side: int,
    ) -> None:
        super().__init__()
        self.inputs = InputChannels(channels, side)
        self.encoder = ResidualEncoder(len(channels), width=width, stride=16, norm=norm, groups=groups)
        high, inner, low = 8 * width, 2 * width, width * 3 // 4 // 8 * 8  # 512, 128, 48 at the published width of 64
        self.point = ConvUnit(high, inner, 1, norm=norm, groups=groups)
        self.atrous = nn.ModuleList(
            SeparableUnit(high, inner, rate=rate, norm=norm, groups=groups) for rate in self.rates
        )
        # One image a batch pools to one value a channel, which no batch norm can take: GN in this branch.
        self.image = ConvUnit(high, inner, 1, norm="GN", groups=groups)
        self.project = ConvUnit(inner * (len(self.rates) + 2), inner, 1, norm=norm, groups=groups)
        self.low = ConvUnit(width, low, 1, norm=norm, groups=groups)
        self.decode = nn.Sequential(
            SeparableUnit(inner + low, inner, rate=1, norm=norm, groups=groups),
            SeparableUnit(inner, inner, rate=1, norm=norm, groups=groups),
        )
        self.heads = nn.ModuleDict({task: nn.Conv2d(inner, 2, 1) for task in tasks})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_input(x, self.multiple)
        low, high = self.encoder(self.inputs(x))  # at width 64: (B, 64, H/4, W/4), (B, 512, H/16, W/16)
        pooled = self.image(high.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *high.shape[2:])
        parts = [self.point(high), *(unit(high) for unit in self.atrous), pooled]
        context = self.project(torch.cat(parts, dim=1))  # (B, 128, H/16, W/16)
        context = functional.interpolate(context, size=low.shape[2:], mode="bilinear", align_corners=False)
        decoded = self.decode(torch.cat([context, self.low(low)], dim=1))  # (B, 128, H/4, W/4)
        return {
            task: functional.interpolate(head(decoded), size=x.shape[2:], mode="bilinear", align_corners=False)
            for task, head in self.heads.items()
        }
