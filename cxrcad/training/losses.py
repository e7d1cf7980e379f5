"""Equations 1 and 2 of the paper, and the learned balance that it names as future work."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.config import LossConfig
from cxrcad.core import UsageError

__all__ = [
    "FixedBalance",
    "LearnedBalance",
    "class_weights",
    "make_balance",
    "weighted_cross_entropy",
]

IGNORED = -100  # a label that cross_entropy skips


def class_weights(labels: Tensor, low: float, high: float) -> Tensor:
    """(2,) weights w_c = (N - r_c) / r_c of equation 1, from the pixel counts r_c in `labels`, held within [low, high].

    Labels other than 0 and 1 do not count.
    The bound is ours: without it a batch with no nodule has an infinite weight, and one with a small nodule some 1,000.
    """
    counts = torch.stack([(labels == 0).sum(), (labels == 1).sum()]).float()
    weights = (counts.sum() - counts) / counts.clamp(min=1)
    return weights.clamp(low, high)


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, low: float, high: float, focal: float, ignored: Tensor | None = None
) -> Tensor:
    """Equation 1, mean over the pixels. `logits` (B, 2, H, W); `labels` (B, H, W) int64, 0 or 1.

    The pixels of `ignored` (B, H, W) bool add nothing, neither to the mean nor to the class weights.

    `focal` above 0 multiplies each pixel's loss by (1 - probability of its label) ** focal (Lin et al. 2017): the many
    pixels that are told apart easily then no longer outweigh the few that look like nodules.
    """
    if ignored is not None:
        labels = labels.masked_fill(ignored, IGNORED)
    weights = class_weights(labels, low, high)
    losses = functional.cross_entropy(logits.float(), labels, reduction="none", ignore_index=IGNORED)
    if focal > 0:
        losses = losses * (1 - torch.exp(-losses)).clamp(min=1e-6) ** focal
    weighted = losses * weights[labels.clamp(min=0)]
    return weighted.mean() if ignored is None else weighted.sum() / (~ignored).sum().clamp(min=1)


class FixedBalance(nn.Module):
    """Equation 2: lambda x lesion loss + (1 - lambda) x lung loss; without a lung loss, the lesion loss alone."""

    def __init__(self, balance: float) -> None:
        super().__init__()
        self.balance = balance

    def forward(self, losses: dict[str, Tensor]) -> Tensor:
        if set(losses) == {"lesion"}:
            return losses["lesion"]
        return self.balance * losses["lesion"] + (1 - self.balance) * losses["lung"]

    def state(self) -> float:
        """Lambda as it stands."""
        return self.balance


class LearnedBalance(nn.Module):
    """Kendall, Gal, Cipolla 2018: exp(-s_t) x loss_t + s_t / 2, summed over tasks, with the log variances s_t learned.

    `start` is the lambda that the first step uses: s = -log(lambda) and -log(1 - lambda).
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log_variance = nn.ParameterDict(  # in the order of the optimiser's states in earlier checkpoints
            [
                ("lung", nn.Parameter(torch.tensor(-math.log(1 - start)))),
                ("lesion", nn.Parameter(torch.tensor(-math.log(start)))),
            ]
        )

    def forward(self, losses: dict[str, Tensor]) -> Tensor:
        terms = [
            torch.exp(-self.log_variance[task]) * loss + self.log_variance[task] / 2 for task, loss in losses.items()
        ]
        return torch.stack(terms).sum()

    def state(self) -> float:
        """The lambda that the learned weights amount to: the lesion's fraction of both weights."""
        lesion, lung = (math.exp(-float(self.log_variance[task].detach())) for task in ("lesion", "lung"))
        return lesion / (lesion + lung)


def make_balance(config: LossConfig) -> FixedBalance | LearnedBalance:
    """The module that joins the task losses: learned, or fixed at a lambda of 0-1. Raises UsageError."""
    if config.balance == "learned":
        return LearnedBalance(config.balance_start)
    try:
        value = float(config.balance)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(f"--balance {config.balance}: it takes a number of 0-1, or learned")
    return FixedBalance(value)
