"""Fine-tuning a model on a site's own data against training from scratch on them, without a leak.

The site is the data set with every image altered. The first model is trained on folds 1 and 2 as they are; a quarter of
folds 4 and 5, altered, is the site's training set, another quarter its validation set; fold 3, altered, is the test.
One training goes on from the first model, two start from scratch: with as many steps, and with as many as both had.

python benchmarks/fine_tuning.py --config RECIPE --data DATA --simulate NODULES --out OUT [--alter NAMES] [--share 0.25]
"""

from __future__ import annotations

import argparse
import shutil
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cxrcad.cli.progress import Bar
from cxrcad.config import EvaluateConfig, TrainConfig, build
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split, make_folds, with_part
from cxrcad.datasets.images import read_case
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.bootstrap import Interval, bootstrap, compare
from cxrcad.evaluation.protocols import protocol_of
from cxrcad.evaluation.records import FoldResult, ScoringContext
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import load_bundle
from cxrcad.report.tables import Table
from cxrcad.scoring.cases import Detection, evaluate_cases
from cxrcad.synthesis.perturbations import Perturbation, perturbations_named
from cxrcad.training.loop import train_fold

TUNE_STEPS = 500
SHOWN = ("sensitivity at 1/2", "sensitivity at 1", "sensitivity at 2", "CPM", "image AUC", "F1")


def write_site(dataset: Dataset, alterations: Sequence[Perturbation], out: Path) -> Dataset:
    """A copy of the data set with every image altered, in `out`; one that lies there finished is taken."""
    finished = out / "finished"
    if not finished.is_file():
        shutil.copytree(dataset.folder, out, ignore=shutil.ignore_patterns("images"), dirs_exist_ok=True)
        (out / "images").mkdir(exist_ok=True)
        for case in dataset.cases:
            radiograph = read_case(case)
            for alteration in alterations:
                radiograph = alteration.of(radiograph, case.name, seed=0)
            pixels = np.rint(255 * np.clip(radiograph.pixels, 0, 1)).astype(np.uint8)
            Image.fromarray(pixels).save(out / "images" / f"{case.name}.png")
        finished.touch()
    return read_dataset(out, protocol=dataset.protocol)


def first_split(splits: Sequence[Split], dataset: Dataset) -> Split:
    """Folds 1 and 2 for training, less a fifth for validation; fold 3 for the test."""
    pool = Split(3, _tests(splits, (1, 2)), (), splits[2].test)
    kept = with_part(pool, dataset, 0.8)
    return replace(kept, validation=tuple(sorted(set(pool.train) - set(kept.train))))


def site_split(splits: Sequence[Split], dataset: Dataset, share: float) -> Split:
    """A share of folds 4 and 5 for training, as much for validation; fold 3 for the test."""
    pool = Split(3, _tests(splits, (4, 5)), (), splits[2].test)
    kept, both = with_part(pool, dataset, share), with_part(pool, dataset, 2 * share)
    return replace(kept, validation=tuple(sorted(set(both.train) - set(kept.train))))


def _tests(splits: Sequence[Split], folds: Iterable[int]) -> tuple[str, ...]:
    return tuple(sorted(name for fold in folds for name in splits[fold - 1].test))


def trained(config: TrainConfig, dataset: Dataset, split: Split, folder: Path, bar: Bar) -> Path:
    """The folder of the trained model; one that lies there finished is taken."""
    model = folder / "model"
    if not (model / "card.json").is_file():
        bar.note(f"{folder.name}: {len(split.train)} training and {len(split.validation)} validation cases")
        data = replace(config.data, data=dataset.folder)
        train_fold(replace(config, data=data, resume=folder.is_dir()), dataset, split, folder, bar)
    return model


def tested(model: Path, dataset: Dataset, names: Sequence[str], threads: int) -> FoldResult:
    """The matches of the test cases, as `cxrcad evaluate` makes them."""
    detector = Detector.open(load_bundle(model), "cpu", threads)
    protocol, _ = protocol_of(EvaluateConfig(data=replace(EvaluateConfig().data, protocol=dataset.protocol)))
    chosen = "best F1 on the validation cases"
    context = ScoringContext(
        str(dataset.folder), protocol.name, protocol.rule, detector.identity, model.parent.name, "multi", chosen, fold=3
    )
    return evaluate_cases(
        dataset.select(names),
        lambda case: Detection(detector.detect(read_case(case))),
        context,
        true_lung=lambda case: None,
        trained_on=detector.bundle.training_images,
    )


def shown(interval: Interval, signed: bool = False) -> str:
    """A figure in percent with its interval."""
    if interval.value is None:
        return "not reached"
    form = "+.1f" if signed else ".1f"
    text = format(100 * interval.value, form)
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{100 * interval.low:{form}}, {100 * interval.high:{form}}]"


def lines(found: dict[str, FoldResult], resamples: int = 1000) -> list[str]:
    """A table of the trainings, and one of each less the fine-tuned."""
    rows = [[words, *(shown(bootstrap([one], resamples, 0)[name]) for name in SHOWN)] for words, one in found.items()]
    tuned = list(found)[1]
    differences = []
    for words, one in found.items():
        if words != tuned:
            compared = compare([found[tuned]], [one], resamples, 0)
            differences.append([words, *(shown(compared[name].difference, signed=True) for name in SHOWN)])
    head = [f"{tuned}, less", *SHOWN]
    return [*Table(["training", *SHOWN], rows).markdown(), "", *Table(head, differences).markdown()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--config", "--data", "--simulate", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--alter", default="blur-high,gamma-1.6,noise-high")
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    values = tomllib.loads(given.config.read_text(encoding="utf-8"))
    recipe = build(
        TrainConfig, {**values, "simulate": str(given.simulate), "threads": given.threads}, str(given.config)
    )
    dataset = read_dataset(given.data, protocol="jsrt-247")
    site = write_site(dataset, perturbations_named(given.alter), given.out / "site")
    splits = make_folds(dataset, recipe.data.fold_seed)
    first, own = first_split(splits, dataset), site_split(splits, dataset, given.share)
    assert recipe.max_steps is not None, "the recipe gives no max_steps"
    scratch = replace(
        recipe, augment=replace(recipe.synthesis, simulate_easy=1.0)
    )  # a short training has no easy phase
    with Bar("step") as bar:
        model = trained(recipe, dataset, first, given.out / "first", bar)
        plan = {
            "fine-tuned": replace(scratch, init=str(model), max_steps=TUNE_STEPS),
            "from scratch": replace(scratch, max_steps=TUNE_STEPS),
            "from scratch, longer": replace(recipe, max_steps=recipe.max_steps + TUNE_STEPS),
        }
        models = {"the first model as it is": model}
        for words, config in plan.items():
            folder = given.out / words.replace(",", "").replace(" ", "-")
            models[f"{words}, {config.max_steps} steps"] = trained(config, site, own, folder, bar)
    found = {words: tested(path, site, own.test, given.threads) for words, path in models.items()}
    print(f"altered: {given.alter}; {len(own.train)} training, {len(own.validation)} validation, {len(own.test)} test")
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
