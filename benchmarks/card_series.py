"""Write into a card of before which CT series its model may have been shown, as a training now does itself.

DATA is the data set, and NODULES.npz the file of CT nodules, that the card names. Each training that it tells of (the
last one, and those under `init` and `second_init`) could project every nodule of 6 mm or more but those of the series
that its fold held out. The images in the card must be those folds' training images: then the folds are the same.

cxrcad simulate --preset open-jsrt --data-root ROOT DATA
python benchmarks/card_series.py models/mo-segnet-open --data DATA --nodules ROOT/lidc-nodules.npz
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import Split, make_folds, whole
from cxrcad.datasets.read import read_dataset
from cxrcad.files import sha256_of, write_json
from cxrcad.packaging.series import hashed, series_of_cases
from cxrcad.synthesis.nodules import read_nodules


def trainings(training: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The training of a card and all those before it."""
    yield training
    for name in ("init", "classifier_weights"):
        if training.get(name):
            yield from trainings(training[name])


def split_of(training: Mapping[str, Any], dataset: Dataset) -> Split:
    """What the training held out."""
    config = training["config"]
    if config["fold"] == "none":
        return whole(dataset)
    return make_folds(dataset, config["fold_seed"])[int(config["fold"]) - 1]


def shown_series(card: Mapping[str, Any], dataset: Dataset, nodules: Path) -> list[str]:
    """SHA-256 of each series that the card's trainings may have shown the model, sorted."""
    stock = read_nodules(nodules, count=1, seed=0)
    usable = {stock.series_uid[index] for index in stock.usable()}
    shown: set[str] = set()
    images: set[str] = set()
    for training in trainings(card["training"]):
        split = split_of(training, dataset)
        learned = dataset.select(split.train)
        images |= {sha256_of(case.image) for case in learned}
        shown |= series_of_cases(learned)
        shown |= usable - series_of_cases(dataset.select((*split.validation, *split.test)))
    if images != set(card["training"]["images"]):
        sys.exit(f"{dataset.folder}: its folds' training images are not those of the card; name the card's data set")
    return sorted(hashed(shown))


def main() -> None:
    """Write the list into the card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nodules", type=Path, required=True)
    asked = parser.parse_args()
    path = asked.model / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    training = {"images": card["training"]["images"], "series": []} | card["training"]
    training["series"] = shown_series(card, read_dataset(asked.data), asked.nodules)
    write_json(path, {**card, "training": training})
    print(f"{path}: {len(training['series'])} series")


if __name__ == "__main__":
    main()
