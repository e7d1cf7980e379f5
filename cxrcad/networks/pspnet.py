"""PSPNet (Zhao et al. 2017) on a residual encoder from scratch: pyramid pooling at 1, 2, 3 and 6 bins."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.config import NetworkConfig
from cxrcad.networks.blocks import ConvUnit, InputChannels, check_input, residual_options, tasks_of
from cxrcad.networks.resnet import ResidualEncoder

__all__ = ["PSPNet", "build"]


def build(config: NetworkConfig, side: int) -> nn.Module:
    """PSPNet as `config` has it. Raises NetworkError."""
    return PSPNet(tasks_of(config), **residual_options(config, side))


class PSPNet(nn.Module):
    """(B, 1, H, W), 0-1 -> {task: (B, 2, H, W) logits}; H and W multiples of 8."""

    multiple = 8
    early = ("encoder.stem.", "encoder.low.")
    bins = (1, 2, 3, 6)

    def __init__(
        self, tasks: tuple[str, ...], *, width: int, norm: str, groups: int, channels: tuple[str, ...], side: int
    ) -> None:
        super().__init__()
        self.inputs = InputChannels(channels, side)
        self.encoder = ResidualEncoder(len(channels), width=width, stride=8, norm=norm, groups=groups)
        # One image a batch pools to one value a channel, which no batch norm can take: GN in the branches.
        high, inner = 8 * width, 2 * width  # 512, 128 at the published width of 64
        self.branches = nn.ModuleList(ConvUnit(high, inner, 1, norm="GN", groups=groups) for _ in self.bins)
        self.fuse = ConvUnit(high + inner * len(self.bins), inner, norm=norm, groups=groups)
        self.heads = nn.ModuleDict({task: nn.Conv2d(inner, 2, 1) for task in tasks})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_input(x, self.multiple)
        _, high = self.encoder(self.inputs(x))  # at width 64: (B, 512, H/8, W/8)
        parts = [high]
        for bins, branch in zip(self.bins, self.branches, strict=True):
            pooled = branch(_pool_to_bins(high, bins))  # (B, 128, bins, bins)
            parts.append(functional.interpolate(pooled, size=high.shape[2:], mode="bilinear", align_corners=False))
        fused = self.fuse(torch.cat(parts, dim=1))  # (B, 128, H/8, W/8)
        return {
            task: functional.interpolate(head(fused), size=x.shape[2:], mode="bilinear", align_corners=False)
            for task, head in self.heads.items()
        }


def _pool_to_bins(x: Tensor, bins: int) -> Tensor:
    """Means over a division of the plane in `bins` x `bins`; slices, since adaptive pooling to 6 does not export."""
    if bins == 1:
        return x.mean(dim=(2, 3), keepdim=True)
    height, width = x.shape[2:]
    # Ends are rounded up; of positive numbers, because ONNX divides towards zero and Python downwards.
    rows = [x[:, :, i * height // bins : ((i + 1) * height + bins - 1) // bins].mean(2, True) for i in range(bins)]
    tall = torch.cat(rows, dim=2)
    cols = [tall[..., i * width // bins : ((i + 1) * width + bins - 1) // bins].mean(3, True) for i in range(bins)]
    return torch.cat(cols, dim=3)
