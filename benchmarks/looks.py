"""A two-look model's looks apart, joined by each share, and averaged with the mirrored image, on one fold.

Sensitivity at 1/4, 1/2, 1, 2, 4 false positives an image, its mean, and the best F1, on the validation cases (where the
share is chosen) and on the test cases.

python benchmarks/looks.py MODEL --data DATA [--fold 3] [--mirror] [--threads 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cxrcad.config import TrainConfig, build
from cxrcad.core import Case
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.jsrt import read_jsrt
from cxrcad.evaluation.froc import best_f1_threshold, froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.markdown import grid
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.bundle import load_bundle
from cxrcad.inference.findings import find
from cxrcad.networks.twolooks import TwoLooks
from cxrcad.training.export import load_network
from cxrcad.training.loader import load_samples

SHARES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
RATES = (0.25, 0.5, 1.0, 2.0, 4.0)

Map = NDArray[np.float32]


@torch.inference_mode()
def both_looks(network: TwoLooks, image: NDArray[np.uint8]) -> tuple[Map, Map]:
    """The nodule's logit (H, W) of the first look and of the second."""
    x = torch.from_numpy(image.astype(np.float32) / 255)[None, None]
    kept, maps = network.share.clone(), []
    for share in (0.0, 1.0):
        network.share.fill_(share)
        nodule = network(x)["nodule"]
        maps.append((nodule[:, 1] - nodule[:, 0])[0].numpy())
    network.share.copy_(kept)
    return maps[0], maps[1]


def reached(joined: Sequence[Map], cases: Sequence[tuple[Case, Geometry]], config: TrainConfig) -> list[float]:
    """Sensitivity at RATES (0 where not reached), their mean, and the best F1, of maps of logits."""
    matches = [
        match_image(case, find(1 / (1 + np.exp(-logit)), None, geometry, config.find), HitRule())
        for logit, (case, geometry) in zip(joined, cases, strict=True)
    ]
    curve = froc(matches)
    values = [sensitivity_at(curve, rate) or 0.0 for rate in RATES]
    return [*values, float(np.mean(values)), score_at_threshold(matches, best_f1_threshold(matches)).f1]


def lines(parts: Mapping[str, Sequence[tuple[Map, Map]]], scored: Mapping[str, list[tuple[Case, Geometry]]],
          config: TrainConfig) -> list[str]:  # fmt: skip
    """A Markdown table: a row a share, for each part the figures of `reached`."""
    head = ["second look's share", *(f"{part}: at 1/4, 1/2, 1, 2, 4; mean; F1" for part in parts)]
    body = []
    for share in SHARES:
        cells = [f"{share:g}"]
        for part, maps in parts.items():
            *rates, mean, f1 = reached([(1 - share) * a + share * b for a, b in maps], scored[part], config)
            cells.append(", ".join(f"{value:.2f}" for value in rates) + f"; {mean:.3f}; {f1:.3f}")
        body.append(cells)
    return grid(head, body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=3)
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bundle, network = load_bundle(given.model), load_network(given.model)
    assert isinstance(network, TwoLooks), f"{given.model} has one look"
    config = build(TrainConfig, {**bundle.card["grid"], **bundle.card["find"]})
    dataset = read_jsrt(given.data, protocol="jsrt-247")
    split = next(one for one in make_folds(dataset, config.data.fold_seed) if one.fold == given.fold)
    cases = {case.name: case for case in dataset.cases}
    parts: dict[str, list[tuple[Map, Map]]] = {}
    scored: dict[str, list[tuple[Case, Geometry]]] = {}
    for part in ("validation", "test"):
        samples = load_samples([cases[name] for name in getattr(split, part)], config, bundle.multiple)
        scored[part] = [(sample.case, sample.geometry) for sample in samples]
        parts[part] = []
        for sample in samples:
            first, second = both_looks(network, sample.image)
            if given.mirror:
                again = both_looks(network, np.ascontiguousarray(sample.image[:, ::-1]))
                first, second = (first + again[0][:, ::-1]) / 2, (second + again[1][:, ::-1]) / 2
            parts[part].append((first, second))
    print(f"{bundle.name}, fold {given.fold}{', averaged with the mirrored image' if given.mirror else ''}")
    print("\n".join(lines(parts, scored, config)))


if __name__ == "__main__":
    main()
