"""Batch norm at one image a batch: MO-SegNet with its running statistics and with each image's own, on new phantoms.

Training normalises by the image's own statistics, the packaged network by the running ones. Both are measured after a
short training with each norm; group norm has no running ones and is the control.

python benchmarks/batch_norm.py [--steps 300] [--side 128] [--cases 32] [--seed 0]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxrcad.config import LossConfig, PhantomConfig, TrainConfig, build
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import Sample, load_samples
from cxrcad.evaluation.statistics import dice
from cxrcad.packaging.parity import load_network
from cxrcad.synthesis.phantom.dataset import write_phantoms
from cxrcad.training.losses import weighted_cross_entropy
from cxrcad.training.plan import train

NORMS = ("table1", "batch", "group")


@dataclass(frozen=True, eq=False)
class Measured:
    """Means over the images, and the lesion's probability of each (H, W)."""

    lesion_loss: float
    lung_dice: float
    lesion_maps: tuple[NDArray[np.float32], ...]


def use_statistics(network: nn.Module, own: bool) -> int:
    """Let each batch norm take its batch's own statistics, or the running ones, which stay as they are; how many."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train(own)
        norm.momentum = 0.0
    return len(norms)


@torch.inference_mode()
def measure(network: nn.Module, samples: Sequence[Sample], config: LossConfig) -> Measured:
    """Equation 1's lesion loss, and the Dice of the lung map above 0.5, one image a batch."""
    losses, overlaps, maps = [], [], []
    for sample in samples:
        outputs = network(torch.from_numpy(sample.image.astype(np.float32) / 255)[None, None])
        labels = torch.from_numpy(sample.lesion)[None].long()
        bounds = config.min_class_weight, config.max_class_weight
        losses.append(float(weighted_cross_entropy(outputs["lesion"], labels, *bounds, config.focal)))
        probabilities = {task: logits.softmax(1)[0, 1].numpy() for task, logits in outputs.items()}
        maps.append(probabilities["lesion"])
        if sample.lung is not None:
            overlaps.append(dice(probabilities["lung"] > 0.5, sample.lung))
    return Measured(float(np.mean(losses)), float(np.mean(overlaps)), tuple(maps))


def rows_of(norm: str, place: Path, values: dict[str, object]) -> list[str]:
    """The table's rows of one norm: trained in `place` on its phantoms `seen`, measured on its phantoms `new`."""
    config = build(TrainConfig, {**values, "norm": norm, "data": place / "seen", "run": place / norm})
    network = load_network(train(config) / "fold1" / "model")
    samples = load_samples(read_dataset(place / "new").cases, config, int(network.multiple))
    count = use_statistics(network, own=False)
    running = measure(network, samples, config.loss)
    use_statistics(network, own=True)
    own = measure(network, samples, config.loss)
    apart = max(
        float(np.abs(one - other).max()) for one, other in zip(running.lesion_maps, own.lesion_maps, strict=True)
    )
    return [
        f"{norm:<7} {count:>11}  {name:<10} {found.lesion_loss:>11.4f} {found.lung_dice:>10.4f} {apart:>19.3f}"
        for name, found in (("running", running), ("image's", own))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--cases", type=int, default=32, help="phantoms in each of both sets; 5 in 8 have a nodule")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    once = {"epochs": args.steps, "max_steps": args.steps, "validate_epochs": args.steps, "fold": "1"}
    values = {**once, "side": args.side, "seed": args.seed, "device": "cpu", "precision": "fp32"}
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as folder:
        place = Path(folder)
        for name, seed in (("seen", args.seed), ("new", args.seed + 1)):
            phantoms = {"cases": args.cases, "seed": seed, "image_side": 256, "format": "png"}
            held = sum(case.positive for case in write_phantoms(place / name, build(PhantomConfig, phantoms)))
        print(f"MO-SegNet, side {args.side}, {args.steps} steps of one image, measured on {held} new phantoms")
        print(f"{'norm':<7} {'batch norms':>11}  {'statistics':<10} {'lesion loss':>11} {'lung Dice':>10} ", end="")
        print(f"{'largest difference*':>19}")
        for norm in NORMS:
            print("\n".join(rows_of(norm, place, values)), flush=True)
    print("* between both statistics, of a pixel's lesion probability")


if __name__ == "__main__":
    main()
