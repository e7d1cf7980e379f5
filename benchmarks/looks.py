"""What a run of ensembles gives when its two maps are joined otherwise, without any training.

The ensemble weight, the image mirrored and both maps averaged, the map lowered outside the lungs or by the image's
own level, both maps smoothed, and averaged with those of other runs: each on the validation cases of every finished
fold, averaged over folds, and on its test cases, pooled. CPM of these is compared, paired, with the maps' as they are.

python benchmarks/looks.py RUN --data DATA [--beside RUN ...] [--threads 2]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cxrcad.cli.progress import Bar
from cxrcad.config import TrainConfig, build
from cxrcad.core import Case, Finding, ModelIdentity
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split, load_folds
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import Sample, load_samples
from cxrcad.evaluation.bootstrap import Comparison, compare
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoringContext
from cxrcad.inference.candidates import find
from cxrcad.inference.model import folds_of_run, load_bundle
from cxrcad.networks.ensemble import Ensemble, lesion_logit
from cxrcad.packaging.parity import load_network
from cxrcad.report.tables import Table
from cxrcad.training.patch_classifier.task import WEIGHTS

Map = NDArray[np.float32]

AS_IT_IS = "as it is"
PARTS = ("validation", "test")
RATES = ("1/4", "1/2", "1", "2", "4")
PER_MM, FREE_MM, MOST_MM = 0.05, 2.0, 20.0  # what the logit loses outside the lungs, from where on, and up to where
LEVEL_SHARE, LEVEL = 0.3, 99  # the part taken off of this percentile of the logit in the lungs
SMOOTH_MM = 1.0


@torch.inference_mode()
def looked(network: Ensemble, pixels: Map) -> tuple[Map, Map, Map]:
    """Logits (H, W) of one grid image (H, W), 0-1: a nodule's by either network, and the lungs'."""
    x = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    outputs, second = network.segment(x), network.classify(x)
    lung = outputs["lung"][:, 1:] - outputs["lung"][:, :1]
    first, second, lung = (one[0, 0].numpy() for one in (lesion_logit(outputs), second, lung))
    return first, second, lung


def lowered_outside(logit: Map, lung: Map, spacing_mm: tuple[float, float]) -> Map:
    """The nodule's logit less PER_MM for each mm farther than FREE_MM from the lungs (where their logit is above 0)."""
    distance = np.asarray(ndimage.distance_transform_edt(lung <= 0, spacing_mm))
    return np.asarray(logit - PER_MM * np.clip(distance - FREE_MM, 0, MOST_MM), np.float32)


def less_level(logit: Map, lung: Map) -> Map:
    """The logit less LEVEL_SHARE of its own LEVEL percentile in the lungs: a cluttered image counts less."""
    inside = logit[lung > 0]
    return np.asarray(logit - LEVEL_SHARE * np.percentile(inside, LEVEL), np.float32) if inside.size else logit


def variants(network: Ensemble, others: Mapping[str, Ensemble], sample: Sample) -> dict[str, Map]:
    """The nodule's logit in every way, by its name."""
    share, spacing = float(network.weight), sample.geometry.grid_spacing_mm or (1.0, 1.0)
    first, second, lung = looked(network, sample.pixels)
    again = [one[:, ::-1] for one in looked(network, sample.pixels[:, ::-1])]

    def joined(one: Map, other: Map, by: float = share) -> Map:
        return (1 - by) * one + by * other

    def smooth(one: Map) -> Map:
        return np.asarray(ndimage.gaussian_filter(one, [SMOOTH_MM / step for step in spacing]), np.float32)

    plain = joined(first, second)
    found = {
        AS_IT_IS: plain,
        **{f"share {by:g} everywhere": joined(first, second, by) for by in WEIGHTS},
        "averaged with the mirrored image": (plain + joined(again[0], again[1])) / 2,
        "lowered outside the lungs": lowered_outside(plain, lung, spacing),
        "less the image's own level": less_level(plain, lung),
        "both smoothed": joined(smooth(first), smooth(second)),
    }
    for name, other in others.items():
        one, two, _ = looked(other, sample.pixels)
        found[f"averaged with {name}"] = (plain + joined(one, two, float(other.weight))) / 2
    return found


def ensemble(run: Path, fold: int) -> Ensemble:
    """The fold's network."""
    network = load_network(run / f"fold{fold}" / "model")
    assert isinstance(network, Ensemble), f"{run}, fold {fold}: is no ensemble"
    return network


def findings_of(sample: Sample, logit: Map, config: TrainConfig) -> tuple[Finding, ...]:
    """Every candidate of one map of logits."""
    return find((1 / (1 + np.exp(-logit))).astype(np.float32), None, sample.geometry, config.find)


def result_of(fold: int, found: Sequence[tuple[Case, tuple[Finding, ...]]], context: ScoringContext) -> FoldResult:
    """The matches of one fold's cases."""
    matches = tuple(match_image(case, findings, context.rule) for case, findings in found)
    scored_images = tuple(ScoredImage(case, case.name, findings, (None,) * len(findings)) for case, findings in found)
    return FoldResult(context, matches, (None,) * len(matches), (), scored_images)


def scored(
    run: Path, also: Sequence[Path], dataset: Dataset, split: Split, bar: Bar
) -> dict[tuple[str, str], FoldResult]:
    """One fold's matches by part and variant."""
    bundle, network = load_bundle(run / f"fold{split.fold}" / "model"), ensemble(run, split.fold)
    others = {other.name: ensemble(other, split.fold) for other in also}
    config = build(TrainConfig, {**bundle.card["grid"], **bundle.card["find"]})
    model = ModelIdentity(bundle.name, bundle.sha256, bundle.threshold, "torch")
    context = ScoringContext(str(dataset.folder), dataset.protocol, HitRule(), model, run.name, "multi", "", split.fold)
    found = {}
    for part in PARTS:
        kept = defaultdict(list)
        samples = load_samples(dataset.select(getattr(split, part)), config, bundle.multiple)
        bar.start(f"fold {split.fold}, {part}", len(samples), 0)
        for number, sample in enumerate(samples):
            for name, logit in variants(network, others, sample).items():
                kept[name].append((sample.case, findings_of(sample, logit, config)))
            bar.step(number + 1)
        found.update({(part, name): result_of(split.fold, cases, context) for name, cases in kept.items()})
    return found


def reached(found: Mapping[str, Comparison]) -> list[float]:
    """The first run's sensitivity at RATES, 0 where not reached."""
    return [found[f"sensitivity at {rate}"].first or 0.0 for rate in RATES]


def lines(results: Mapping[tuple[str, str], Sequence[FoldResult]], resamples: int = 1000) -> list[str]:
    """A Markdown table, %: a row a variant, its mean sensitivity on the validation cases, and what the test gives."""
    head = ["map", "validation", *(f"test, at {rate}" for rate in RATES), "mean", "image AUC", "CPM less as it is", "p"]
    body = []
    for name in dict.fromkeys(name for _, name in results):
        found = compare(results["test", name], results["test", AS_IT_IS], resamples, 0)
        rates = reached(found)
        held = [compare([one], [one], 0, 0) for one in results["validation", name]]  # a case may be in several folds'
        mean = np.mean([np.mean(reached(one)) for one in held])
        shown = [f"{100 * value:.1f}" for value in (mean, *rates, np.mean(rates), found["image AUC"].first or 0)]
        change = found["CPM"]
        p = "" if change.p is None else f"{change.p:.3f}"
        own = ("", "") if name == AS_IT_IS else (str(change.difference), p)
        body.append([name, *shown, *own])
    return Table(head, body).markdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--beside", type=Path, nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = read_dataset(given.data, protocol="jsrt-247")
    results = defaultdict(list)
    with Bar("image") as bar:
        for split in load_folds(given.run / "folds.json", dataset):
            if split.fold in folds_of_run(given.run):
                for key, result in scored(given.run, given.beside, dataset, split, bar).items():
                    results[key].append(result)
    folds = ", ".join(str(result.context.fold) for result in results["test", AS_IT_IS])
    print(f"{given.run.name}, fold {folds}")
    print("\n".join(lines(results)))


if __name__ == "__main__":
    main()
