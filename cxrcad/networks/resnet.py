"""A residual encoder from scratch (He et al. 2016, the 18-layer basic-block layout), for PSPNet and DeepLabV3+.

The paper compares with PSPNet and DeepLabV3+ and states no backbone; this one is ours, untrained, with one input
channel.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from cxrcad.networks.blocks import ConvUnit, make_norm

__all__ = ["ResidualEncoder"]


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the identity. (B, in, H, W) -> (B, out, H/stride, W/stride)."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, rate: int, norm: str, groups: int) -> None:
        super().__init__()
        self.first = ConvUnit(in_channels, channels, norm=norm, groups=groups, stride=stride, rate=rate)
        self.conv = nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, bias=False)
        self.norm = make_norm(norm, channels, groups)
        same = stride == 1 and in_channels == channels
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), make_norm(norm, channels, groups)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(self.first(x))) + self.shortcut(x))


class ResidualEncoder(nn.Module):
    """(B, in, H, W) -> (low (B, width, H/4, W/4), high (B, 8 width, H/stride, W/stride)); `stride` is 8 or 16.

    A width of 64 is the published layout; the weights grow with its square. The last stages
    trade their stride for dilation, as both papers do.
    """

    def __init__(self, in_channels: int, *, width: int, stride: int, norm: str, groups: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvUnit(in_channels, width, 7, norm=norm, groups=groups, stride=2), nn.MaxPool2d(3, stride=2, padding=1)
        )
        plan = {8: ((2, 1), (1, 2), (1, 4)), 16: ((2, 1), (2, 1), (1, 2))}[stride]
        self.low = self._stage(width, width, (1, 1), norm, groups)
        stages = []
        for step in plan:
            stages.append(self._stage(width, 2 * width, step, norm, groups))
            width *= 2
        self.high = nn.Sequential(*stages)

    @staticmethod
    def _stage(width: int, channels: int, step: tuple[int, int], norm: str, groups: int) -> nn.Sequential:
        stride, rate = step
        return nn.Sequential(
            _BasicBlock(width, channels, stride=stride, rate=rate, norm=norm, groups=groups),
            _BasicBlock(channels, channels, stride=1, rate=rate, norm=norm, groups=groups),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low(self.stem(x))  # (B, width, H/4, W/4)
        return low, self.high(low)
