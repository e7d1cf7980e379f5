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
from cxrcad.evaluation.markdown import grid
from cxrcad.imaging.preprocess import Geometry
from cxrcad.inference.bundle import load_bundle
from cxrcad.networks.twolooks import TwoLooks
from cxrcad.training.export import load_network
from cxrcad.training.loader import load_samples
from cxrcad.training.secondlook import SHARES, both_looks, joined, reached

Map = NDArray[np.float32]


def lines(parts: Mapping[str, Sequence[tuple[Map, Map]]], scored: Mapping[str, list[tuple[Case, Geometry]]],
          config: TrainConfig) -> list[str]:  # fmt: skip
    """A Markdown table: a row a share, for each part the figures of `reached`."""
    head = ["second look's share", *(f"{part}: at 1/4, 1/2, 1, 2, 4; mean; F1" for part in parts)]
    body = []
    for share in SHARES:
        cells = [f"{share:g}"]
        for part, maps in parts.items():
            *rates, mean, f1 = reached(joined(maps, share), scored[part], config)
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
            first, second = both_looks(network, sample.pixels)
            if given.mirror:
                again = both_looks(network, np.ascontiguousarray(sample.pixels[:, ::-1]))
                first, second = (first + again[0][:, ::-1]) / 2, (second + again[1][:, ::-1]) / 2
            parts[part].append((first, second))
    print(f"{bundle.name}, fold {given.fold}{', averaged with the mirrored image' if given.mirror else ''}")
    print("\n".join(lines(parts, scored, config)))


if __name__ == "__main__":
    main()
