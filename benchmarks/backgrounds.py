"""What a run's models give on radiographs that they were trained on, and on others, with nodules new to all of them.

OTHER is the run's data set made again with other nodules (`cxrcad simulate --preset open-jsrt --seed 2001 OTHER`). Its
radiographs are divided by the patients of each fold: trained on, validation, test. What the first have more than the
others comes of knowing the radiograph; what they lack is not for want of it.

Both must name patients (sources.csv), as such data do.

python benchmarks/backgrounds.py RUN --data DATA --beside OTHER [--threads 2]
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from cxrcad.cli.progress import Bar
from cxrcad.core import Case
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split, load_folds
from cxrcad.datasets.images import read_case
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.froc import froc, sensitivity_at
from cxrcad.evaluation.matching import HitRule, ImageMatch, match_image
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import folds_of_run, load_bundle
from cxrcad.report.tables import Table
from cxrcad.training.patch_classifier.task import RATES

PARTS = ("train", "validation", "test")


def patients(case: Case) -> set[str]:
    """The case's groups that name a patient."""
    return {group for group in case.groups if group.startswith("patient:")}


def by_part(dataset: Dataset, split: Split, other: Dataset) -> dict[str, tuple[Case, ...]]:
    """The cases of `other` by the part of the split that their patients are in; those of no patient in it are left."""
    parts = {}
    for part in PARTS:
        known = set().union(*(patients(case) for case in dataset.select(getattr(split, part))))
        parts[part] = tuple(case for case in other.cases if patients(case) & known)
    if not all(parts.values()):
        sys.exit(f"{other.folder}: no radiographs of the patients of {dataset.folder}; make it of the same backgrounds")
    return parts


def reached(matches: Sequence[ImageMatch]) -> list[float]:
    """Sensitivity at RATES, 0 where not reached."""
    curve = froc(matches)
    return [sensitivity_at(curve, rate) or 0.0 for rate in RATES]


def lines(found: Mapping[str, Sequence[Sequence[ImageMatch]]]) -> list[str]:
    """A Markdown table, %, a row a part: means over the folds."""
    head = ["radiographs", "images a fold", "nodules a fold", *(f"at {Fraction(rate)}" for rate in RATES), "mean"]
    body = []
    for part, folds in found.items():
        rates = np.mean([reached(matches) for matches in folds], axis=0)
        counts = (
            np.mean([len(matches) for matches in folds]),
            np.mean([sum(match.n_nodules for match in matches) for matches in folds]),
        )
        shown = [f"{count:.0f}" for count in counts] + [f"{100 * value:.1f}" for value in (*rates, rates.mean())]
        body.append([part, *shown])
    return Table(head, body).markdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--beside", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    dataset, other = (read_dataset(folder, protocol="jsrt-247") for folder in (given.data, given.beside))
    found = defaultdict(list)
    finished = folds_of_run(given.run)
    with Bar("image") as bar:
        for split in load_folds(given.run / "folds.json", dataset):
            if split.fold not in finished:
                continue
            detector = Detector.open(load_bundle(given.run / f"fold{split.fold}" / "model"), "cpu", given.threads)
            for part, cases in by_part(dataset, split, other).items():
                bar.start(f"fold {split.fold}, {part}", len(cases), 0)
                matches = []
                for number, case in enumerate(cases):
                    matches.append(match_image(case, detector.detect(read_case(case)).findings, HitRule()))
                    bar.step(number + 1)
                found[part].append(matches)
    print(f"{given.run.name}, fold {', '.join(map(str, finished))}")
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()
