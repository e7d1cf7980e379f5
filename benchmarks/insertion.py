"""What inserting nodules costs a training step: the time of drawing an image with and without it, as parts of a step.

python benchmarks/insertion.py --config RECIPE --data DATA --simulate NODULES [--side 512] [--repeats 40] [--threads 2]
"""

from __future__ import annotations

import argparse
import statistics
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cxrcad.config import TrainConfig, build
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.networks.registry import build_network
from cxrcad.training.augment import augment
from cxrcad.training.data import Batch, make_source
from cxrcad.training.losses import weighted_cross_entropy

IMAGES = 12


def seconds(work: Callable[[int], object], repeats: int) -> float:
    """The median seconds of work(0), work(1) ...; one before is not counted."""
    work(0)
    times = []
    for number in range(repeats):
        start = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--config", "--data", "--simulate"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--side", type=int)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    values = tomllib.loads(given.config.read_text(encoding="utf-8"))
    values |= {"simulate": str(given.simulate)} | ({"side": given.side} if given.side else {})
    config = build(TrainConfig, values, str(given.config))
    dataset = read_dataset(given.data, protocol="jsrt-247")
    split = make_folds(dataset, config.data.fold_seed)[0]
    network = build_network(config.network, config.grid.side).train()
    samples = load_samples(dataset.select(split.train[:IMAGES]), config, int(getattr(network, "multiple")))  # noqa: B009
    inserting = make_source(samples, config, dataset, split.train)
    plain = replace(inserting, projections=())
    optimizer = torch.optim.Adam(network.parameters())

    def learn(batch: Batch, number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        images, masks = augment(
            batch.images, batch.masks.float(), config.augment, np.random.default_rng(number), generator
        )
        outputs = network(images.contiguous(memory_format=torch.channels_last))
        losses = [
            weighted_cross_entropy(logits, masks[:, place].long(), 0.0, 4.0, 0.0)
            for place, logits in enumerate(outputs.values())
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()

    def drawn(number: int) -> Batch:
        return plain.draw(number)

    without = seconds(drawn, given.repeats)
    inserted = seconds(inserting.draw, given.repeats)
    step = seconds(lambda number: learn(drawn(number), number), given.repeats)
    name = config.network.network
    print(f"{name}, side {config.grid.side}, {given.threads} threads, up to {config.synthesis.simulate_count} nodules")
    print(f"a step without inserting   {1000 * step:7.1f} ms")
    print(
        f"inserting, more            {1000 * (inserted - without):7.1f} ms   {(inserted - without) / step:6.1%} of it"
    )


if __name__ == "__main__":
    main()
