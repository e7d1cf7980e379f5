"""A classifier of patches: is there a nodule in the middle? In an image it judges every fourth pixel at once.

It is trained on patches alone, thousands of nodules and of what looks like them. Not in the paper: it belongs to this
project's recipe.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LAYERS", "STRIDE", "PatchClassifier"]

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
        second = [place for place, stride in enumerate(self.strides) if stride == 2][1]
        self.early = tuple(f"{kind}.{place}." for kind in ("convs", "norms") for place in range(second + 1))
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
