"""The parts that networks share: norms, the convolution unit, the input channels, the size check."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.config import NetworkConfig
from cxrcad.core import NetworkError

__all__ = [
    "RESIDUAL",
    "ConvUnit",
    "InputChannels",
    "channels_of",
    "check_input",
    "make_norm",
    "residual_options",
    "tasks_of",
]


def tasks_of(config: NetworkConfig) -> tuple[str, ...]:
    """The outputs of the network: ("lesion", "lung") or ("lesion",)."""
    return ("lesion", "lung") if config.tasks == "multi" else ("lesion",)


def channels_of(config: NetworkConfig) -> tuple[str, ...]:
    """The names of the input channels."""
    return tuple(name.strip() for name in config.channels.split(",") if name.strip())


RESIDUAL = ("deeplabv3plus", "pspnet")
"""Networks on a residual encoder, whose width is a setting."""


def residual_options(config: NetworkConfig, side: int) -> dict[str, Any]:
    """What a network on a residual encoder is built with: width, norm, groups, channels and side.

    Of the norms `table1` means batch norm. Raises NetworkError for what only MO-SegNet has, and for a width that the
    groups do not divide.
    """
    if not (config.aspp and config.skips):
        raise NetworkError(f"{config.network} has no variant without ASPP or skips; those are of mo-segnet (Figure 3)")
    if config.width % config.groups or config.width % 8:
        raise NetworkError(f"--width {config.width}: is no multiple of 8 and of the {config.groups} groups; take one")
    norm = "GN" if config.norm == "group" else "BN"
    return {
        **{"width": config.width, "norm": norm, "groups": config.groups},
        **{"channels": channels_of(config), "side": side},
    }


def make_norm(norm: str | None, channels: int, groups: int) -> nn.Module:
    """The norm that Table 1 calls `norm` (GN, BN or None) over `channels`; at most `groups` groups for GN.

    Raises NetworkError for groups that do not divide the channels.
    """
    if norm is None:
        return nn.Identity()
    if norm == "BN":
        return nn.BatchNorm2d(channels)
    if channels % min(groups, channels):
        raise NetworkError(f"--groups {groups}: does not divide the network's {channels} channels; take 8, or 4")
    return GroupNorm(min(groups, channels), channels)


class GroupNorm(nn.GroupNorm):
    """Group norm whose gradient is fast in bf16 on a CPU too. (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.bfloat16 or x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        if self.num_channels >= 8 * self.num_groups or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        # torch 2.13 takes a group's few channels, where they lie last, one by one: up to 5 times as slow as two copies.
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


class ConvUnit(nn.Module):
    """Convolution -> norm -> ReLU. (B, in, H, W) -> (B, out, H/stride, W/stride).

    `transposed` doubles the side instead (3x3, stride 2, padding 1, output padding 1).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int = 3,
        *,
        norm: str | None = "BN",
        groups: int,
        stride: int = 1,
        rate: int = 1,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        bias = norm is None
        if transposed:
            self.conv: nn.Module = nn.ConvTranspose2d(
                in_channels, channels, kernel, stride=2, padding=1, output_padding=1, bias=bias
            )
        else:
            padding = rate * (kernel // 2)
            self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, dilation=rate, bias=bias)
        self.norm = make_norm(norm, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)), inplace=not torch.is_grad_enabled())


INPUT_CHANNELS = ("raw", "local", "blob")


class InputChannels(nn.Module):
    """The radiograph and locally normalised views of it. (B, 1, H, W), 0-1 -> (B, C, H, W), about zero mean.

    `raw` is the image about 0.5. `local` is the image less its blur, over the local standard deviation, with a blur of
    `sides / 24` pixels (about 15 mm on a chest); `blob` is the difference of a fine and a coarse blur at nodule scale,
    over the same standard deviation. The paper uses `raw` alone; the others belong to this project's recipe.
    Blurs are three box means in a row (a piecewise-cubic kernel), so that they cost little.
    """

    def __init__(self, channels: Sequence[str], side: int) -> None:
        super().__init__()
        unknown = set(channels) - set(INPUT_CHANNELS)
        if unknown or not channels:
            raise NetworkError(
                f"input channels {sorted(unknown)} are not known; choose from {', '.join(INPUT_CHANNELS)}"
            )
        if len(set(channels)) < len(channels):
            raise NetworkError(f"--channels {','.join(channels)}: a channel is named twice; name each once")
        self.channels = tuple(channels)
        self.wide = max(3, side // 24 | 1)
        self.fine = max(3, side // 170 | 1)
        self.coarse = max(5, side // 40 | 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.channels == ("raw",):
            return (x - 0.5) * 4
        x = x.contiguous()
        mean, scale = _local(x, self.wide)
        views = {"raw": lambda: (x - 0.5) * 4, "local": lambda: ((x - mean) * scale).clamp(-5, 5)}
        views["blob"] = lambda: ((_blur(x, self.fine) - _blur(x, self.coarse)) * scale * 2).clamp(-5, 5)
        return torch.cat([views[name]() for name in self.channels], dim=1)


def _local(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The local mean, and one over the local standard deviation."""
    mean = _blur(x, size)
    return mean, torch.rsqrt(_blur((x - mean) ** 2, size) + 1e-4)


def _blur(x: Tensor, size: int) -> Tensor:
    """Three box means of `size` pixels in a row, the border taken as the mean of what lies inside.

    A wide blur is smooth, so it is taken on a grid 2 or 4 times coarser (sides are multiples of 8) and interpolated
    back.
    """
    factor = 4 if size >= 16 else 2 if size >= 8 else 1
    y = functional.avg_pool2d(x, factor) if factor > 1 else x
    box = max(3, size // factor | 1)
    # how many rows, and columns, of the box about each place lie inside
    rows, cols = _box_sum(torch.ones_like(y[:1, :1, :, :1]), box, 2), _box_sum(torch.ones_like(y[:1, :1, :1]), box, 3)
    inside = 1 / (rows * cols)
    for _ in range(3):
        y = _box_sum(_box_sum(y, box, 2), box, 3) * inside
    return functional.interpolate(y, scale_factor=factor, mode="bilinear", align_corners=False) if factor > 1 else y


def _box_sum(x: Tensor, box: int, axis: int) -> Tensor:
    """The sum of the `box` values (odd) about each along `axis` (2 or 3), 0 beyond the border.

    Sums of slices that double: as average pools they took six times as long in ONNX Runtime.
    """
    length, half = x.shape[axis], box // 2
    total = functional.pad(x, (0, 0, half, half) if axis == 2 else (half, half, 0, 0))
    parts = []
    for power in range(box.bit_length()):
        width = 2**power  # `total` is the sum of each value and the next ones, `width` in all
        if power:
            left = total.shape[axis] - width // 2
            total = total.narrow(axis, 0, left) + total.narrow(axis, width // 2, left)
        if box & width:
            parts.append(total.narrow(axis, box % width, length))
    return functools.reduce(torch.add, parts)


def check_input(x: Tensor, multiple: int) -> None:
    """Raise NetworkError unless `x` is (B, 1, H, W) with H and W multiples of `multiple`; names the size to pad to."""
    if torch.compiler.is_compiling():
        return
    if x.ndim != 4 or x.shape[1] != 1:
        raise NetworkError(f"input has shape {tuple(x.shape)}; a network takes (batch, 1, height, width)")
    height, width = x.shape[2:]
    if height % multiple or width % multiple:
        up = tuple(-(-side // multiple) * multiple for side in (height, width))
        raise NetworkError(
            f"input is {height} x {width}; sides must be multiples of {multiple}: pad to {up[0]} x {up[1]}"
        )
