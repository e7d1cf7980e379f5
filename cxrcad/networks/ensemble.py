"""Two looks: a network, at half the side or the full one, and beside it a classifier that judges every place.

The first look (MO-SegNet or another) knows where it is in the chest and outlines what it finds; the second is trained
on patches alone, thousands of nodules and of what looks like them, and on every place of the image at once in use.
Their logits are averaged. Not in the paper: it belongs to this project's recipe.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.networks.blocks import InputChannels, check_input

__all__ = ["LAYERS", "STRIDE", "PatchClassifier", "TwoLooks", "first_of", "nodule_logit"]

STRIDE = 4
"""Distance of the places that are judged in a whole image, pixels."""

LAYERS = {
    69: ((16, 1), (24, 2), (32, 1), (48, 2), (64, 1), (64, 1), (96, 2), (96, 1), (128, 1)),
    97: (
        *((24, 1), (32, 2), (48, 1), (48, 1), (64, 2), (80, 1)),
        *((80, 1), (80, 1), (112, 2), (112, 1), (144, 1), (144, 1)),
    ),
}
"""Width and stride of each 3x3 convolution, by the side of the patch that one judgement sees: 48 or 67 mm of a chest on
a grid of 512. No padding, so that a patch and a place of an image are one thing; the third and last stride becomes a
dilation in a whole image: places then lie 4 pixels apart instead of 8."""


class PatchClassifier(nn.Module):
    """A nodule in the middle? Patches (N, C, P, P) -> (N,) logits; `judge_all` gives an image's (B, H/4, W/4).

    Batch norm throughout: patches come by the hundred, and in use its running statistics count.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch, self.strides = patch, [stride for _, stride in LAYERS[patch]]
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for width, _ in LAYERS[patch]:
            self.convs.append(nn.Conv2d(channels, width, 3, bias=False))
            self.norms.append(nn.BatchNorm2d(width))
            channels = width
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, patches: Tensor) -> Tensor:
        x = patches
        for place, stride in enumerate(self.strides):
            x = self._layer(place, x, stride, 1)
        logits: Tensor = self.last(functional.dropout(x, 0.2, self.training))
        return logits[:, 0, 0, 0]

    def judge_all(self, image: Tensor) -> Tensor:
        """The logits of the patches about pixels 2, 6, 10 ... of (B, C, H, W), sides multiples of 4; edges repeated."""
        half = self.patch // 2
        dense_from = len(self.strides) - 1 - self.strides[::-1].index(2)
        x = functional.pad(image, (half - 2, half + 2, half - 2, half + 2), mode="replicate")
        dilation = 1
        for place, stride in enumerate(self.strides):
            dense = place >= dense_from
            x = self._layer(place, x, 1 if dense else stride, dilation)
            dilation *= stride if dense else 1
        logits: Tensor = self.last(x)
        return logits[:, 0]

    def _layer(self, place: int, x: Tensor, stride: int, dilation: int) -> Tensor:
        weight = cast("Tensor", self.convs[place].weight)
        return functional.relu(self.norms[place](functional.conv2d(x, weight, None, stride, 0, dilation)))


class TwoLooks(nn.Module):
    """(B, 1, H, W), 0-1 -> {task: (B, 2, H, W) logits}: `first` on the image made `times` smaller, and `second`.

    The nodule's logit is (1 - `share`) x the first look's + `share` x the second's; the lungs are the first look's.
    H and W must be multiples of `times` the first look's.
    """

    share: Tensor

    def __init__(self, first: nn.Module, channels: tuple[str, ...], side: int, times: int, patch: int) -> None:
        super().__init__()
        self.times = times
        self.multiple = times * int(getattr(first, "multiple"))  # noqa: B009 (a Module's attributes are Tensor | Module)
        self.first = first
        self.inputs = InputChannels(channels, side)
        self.second = PatchClassifier(len(channels), patch)
        self.register_buffer("share", torch.tensor(0.5))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_input(x, self.multiple)
        outputs = self.first_look(x)
        nodule = (1 - self.share) * nodule_logit(outputs) + self.share * self.second_look(x)
        outputs["nodule"] = torch.cat([torch.zeros_like(nodule), nodule], dim=1)
        return outputs

    def first_look(self, x: Tensor) -> dict[str, Tensor]:
        """The first look's logits by task, (B, 2, H, W) each."""
        looked = self.first(functional.avg_pool2d(x, self.times) if self.times > 1 else x)
        return {task: _enlarged(logits, self.times) for task, logits in looked.items()}

    def second_look(self, x: Tensor) -> Tensor:
        """The second look's logit of a nodule, (B, 1, H, W)."""
        return _moved(_enlarged(self.second.judge_all(self.inputs(x))[:, None], STRIDE))


def first_of(network: nn.Module) -> nn.Module:
    """The first look of a network that has two, else the network itself."""
    return network.first if isinstance(network, TwoLooks) else network


def nodule_logit(outputs: dict[str, Tensor]) -> Tensor:
    """(B, 1, H, W): the logit of a nodule, from a network's two logits a pixel."""
    return outputs["nodule"][:, 1:] - outputs["nodule"][:, :1]


def _enlarged(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _moved(x: Tensor) -> Tensor:
    """`x` half a pixel down and right: pixel 2 is judged first, and enlarging by 4 puts the first value at 1.5."""
    return functional.avg_pool2d(functional.pad(x, (1, 0, 1, 0), mode="replicate"), 2, stride=1)
