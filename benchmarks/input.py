"""What the input of a training costs: decoding, the cache of decoded radiographs, and the wait for images in a step.

python benchmarks/input.py DATA [--side 512] [--steps 60] [--workers 0 2]

Decoding and cache are told in processor time, which other work on the machine does not move much, and steps by the
clock.
"""

import argparse
import itertools
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from cxrcad.config import TrainConfig, build
from cxrcad.core import counted
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.training.data import make_source
from cxrcad.training.input_cache import sample_loader
from cxrcad.training.plan import train

MULTIPLE = 16
SMALL = {"network": "deeplabv3plus", "width": 24, "norm": "group", "channels": "raw,local,blob", "fold": "1"}


def cache_costs(config: TrainConfig, folder: Path) -> None:
    """Print what decoding, making the cache and opening it take in processor time, and the cache's size."""
    dataset = read_dataset(config.data.folders)
    cases = [case for case in dataset.cases if case.positive]
    times = []

    def cached() -> object:
        return sample_loader(config, dataset, folder / "run", MULTIPLE, lambda _: None)(cases)

    for work in (lambda: load_samples(cases, config, MULTIPLE), cached, cached):
        since = time.process_time()
        work()
        times.append(time.process_time() - since)
    size = sum(file.stat().st_size for file in (folder / "cache").rglob("*") if file.is_file())
    print(f"{len(cases)} cases of {cases[0].rows} x {cases[0].cols}, side {config.grid.side}")
    for name, seconds in zip(("decoded", "decoded and kept", "opened, checked"), times, strict=True):
        print(f"{name:<17} {seconds:7.2f} s")
    print(f"{'on disk':<17} {size / 1e6:7.1f} MB, {size / 1e6 / len(cases):.2f} MB a case")


def drawing(config: TrainConfig, steps: int) -> None:
    """Print the processor time in which the images of a step are drawn: order, projected nodules, masks."""
    dataset = read_dataset(config.data.folders)
    cases = [case for case in dataset.cases if case.positive]
    source = make_source(load_samples(cases, config, MULTIPLE), config, dataset, [case.name for case in cases])
    source.draw(0)
    since = time.process_time()
    for step in range(1, steps + 1):
        source.draw(step)
    print(f"drawn in {1000 * (time.process_time() - since) / steps:.1f} ms a step of {counted(config.batch, 'image')}")


def waited(config: TrainConfig, steps: int, workers: int, folder: Path) -> None:
    """Print the part of a training's steps that is spent waiting for images."""
    run = folder / f"workers-{workers}"
    train(replace(config, run=run, workers=workers, max_steps=steps))
    log = [json.loads(line) for line in (run / "fold1" / "log.jsonl").read_text().splitlines()]
    lines = [entry for entry in log if entry["event"] == "steps"]
    spans = [entry["seconds"] - before["seconds"] for before, entry in itertools.pairwise(log[:1] + lines)]
    part = sum(entry["waited"] * span for entry, span in zip(lines, spans, strict=True)) / sum(spans)
    print(
        f"{workers} workers: {sum(spans) / lines[-1]['step']:.3f} s a step, {100 * part:.1f} % of it waiting for images"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    args = parser.parse_args()
    config = build(TrainConfig, {**SMALL, "data": args.data, "side": args.side, "simulate": "analytic"})
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        cache_costs(config, Path(name))
        drawing(config, args.steps)
        for workers in args.workers:
            waited(config, args.steps, workers, Path(name))


if __name__ == "__main__":
    main()
