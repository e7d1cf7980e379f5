"""A segmentation network, at half the side or the full one, and beside it a patch classifier that judges every place.

The segmentation network (MO-SegNet or another) knows where it is in the chest and outlines what it finds; the patch
classifier tells nodules from what looks like them. Their logits are averaged. Not in the paper: it belongs to this
project's recipe.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.networks.blocks import InputChannels, check_input
from cxrcad.networks.patch_classifier import STRIDE, PatchClassifier

__all__ = ["AWAY", "Ensemble", "lesion_logit", "near_lungs", "segmentation_of"]

AWAY = -20.0
"""The patch classifier's logit away from the lungs, where it does not look: too low, at the usual ensemble weights, for
a candidate."""


class Ensemble(nn.Module):
    """(B, 1, H, W), 0-1 -> {task: (B, 2, H, W) logits}: `segmentation` on the image made `times` smaller, `classifier`.

    The lesion's logit is (1 - `weight`) x the segmentation network's + `weight` x the patch classifier's; the lungs are
    the segmentation network's. H and W must be multiples of `times` the segmentation network's. Where `margin` is set,
    the patch classifier counts only in the lungs' bounding box grown by so many pixels, rounded down to fours
    (`near_lungs`), and is AWAY elsewhere.
    """

    weight: Tensor

    def __init__(
        self,
        segmentation: nn.Module,
        channels: tuple[str, ...],
        side: int,
        *,
        times: int,
        patch: int,
    ) -> None:
        super().__init__()
        self.times = times
        self.margin: int | None = None
        own = int(getattr(segmentation, "multiple"))  # noqa: B009 (a Module's attributes are Tensor | Module to mypy)
        self.multiple = times * own
        self.segmentation = segmentation
        self.inputs = InputChannels(channels, side)
        self.classifier = PatchClassifier(len(channels), patch)
        self.register_buffer("weight", torch.tensor(0.5))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_input(x, self.multiple)
        outputs = self.segment(x)
        lesion = (1 - self.weight) * lesion_logit(outputs) + self.weight * self.classify(x, outputs.get("lung"))
        outputs["lesion"] = torch.cat([torch.zeros_like(lesion), lesion], dim=1)
        return outputs

    def segment(self, x: Tensor) -> dict[str, Tensor]:
        """The segmentation network's logits by task, (B, 2, H, W) each."""
        found = self.segmentation(functional.avg_pool2d(x, self.times) if self.times > 1 else x)
        return {task: _enlarged(logits, self.times) for task, logits in found.items()}

    def classify(self, x: Tensor, lung: Tensor | None = None) -> Tensor:
        """The patch classifier's logit of a nodule at each pixel, (B, 1, H, W).

        With a margin, it is AWAY at places that are not near the lungs, whose logits (B, 2, H, W) are `lung`.
        """
        judged = self.classifier.judge_all(self.inputs(x))
        if lung is not None and self.margin is not None:
            places = functional.max_pool2d(lung[:, 1] - lung[:, 0], STRIDE) > 0
            judged = torch.where(near_lungs(places, self.margin // STRIDE), judged, AWAY)
        return _moved(_enlarged(judged[:, None], STRIDE))


def near_lungs(lung: Tensor, margin: int) -> Tensor:
    """The bounding box of the true places of (B, rows, cols), grown by `margin` places: (B, rows, cols), bool.

    It begins and ends with rows, and columns, of which at least 1/32 is lung: stray places do not count. Where it would
    have less than half of the rows, or columns, it has all of them: an opaque lung may be missing.
    """
    rows, cols = (_span(32 * lung.sum(axis) >= lung.shape[axis], margin) for axis in (2, 1))
    return rows[:, :, None] & cols[:, None, :]


def _span(lung: Tensor, margin: int) -> Tensor:
    """From the first true place of each row of (B, length) to the last, grown by `margin`; all where that is short."""
    length = lung.shape[1]
    place = torch.arange(length, device=lung.device)
    first = torch.where(lung, place, length).amin(1, keepdim=True)
    last = torch.where(lung, place, -1).amax(1, keepdim=True)
    inside = (place >= first - margin) & (place <= last + margin)
    return inside | (2 * (last - first + 1) < length)


def segmentation_of(network: nn.Module) -> nn.Module:
    """The segmentation network of an ensemble, else the network itself."""
    return network.segmentation if isinstance(network, Ensemble) else network


def lesion_logit(outputs: dict[str, Tensor]) -> Tensor:
    """(B, 1, H, W): the logit of the lesion, from a network's two logits a pixel."""
    return outputs["lesion"][:, 1:] - outputs["lesion"][:, :1]


def _enlarged(x: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _moved(x: Tensor) -> Tensor:
    """`x` half a pixel down and right: pixel 2 is judged first, and enlarging by 4 puts the first value at 1.5."""
    x = functional.pad(x, (1, 0, 1, 0), mode="replicate")
    x = x[..., 1:, :] + x[..., :-1, :]
    return (x[..., 1:] + x[..., :-1]) / 4
