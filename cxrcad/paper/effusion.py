"""The item effusion: Dice of section 4.3 for each cell, as a page, as JSON, and as a picture like Figure 9."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrcad.core import Box, counted
from cxrcad.datasets.images import read_case
from cxrcad.datasets.masks import truth_mask
from cxrcad.datasets.read import read_data
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.evaluation.segmentation import FIGURES, SegmentedFold, SegmentedImage, measured, spreads
from cxrcad.evaluation.statistics import Spread
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import load_bundle
from cxrcad.paper.cells import Cell, Item
from cxrcad.paper.jobs import FAILED, NOT_RUN, ScoredJob
from cxrcad.paper.layout import Setup, cell_document, cost, document_head, ending
from cxrcad.report.drawing.case_views import CaseView, Panel, write_case_views
from cxrcad.report.effusion import PAPER_DICE
from cxrcad.report.tables import Table, spread_shown

__all__ = ["AREA_RULE", "effusion_page", "shown_cases"]

AREA_RULE = (
    "Dice on the model's grid, mean over the images with an effusion; an image is reported where a connected part of "
    "the smallest area that counts (--min-area-mm2) is found."
)
SYMBOLS = (
    "± is the standard deviation (n - 1) over folds; pooled takes all folds' images together; brackets hold 95 % "
    "bootstrap intervals ({resamples:,} resamples of the images, those of a patient together)."
)
PICTURED = 6
"""Most cases on the picture."""


@dataclass(frozen=True)
class _Seed:
    """The folds of one cell and seed: mean and SD over them, and pooled with intervals."""

    seed: int
    scored: tuple[ScoredJob, ...]
    folds: tuple[SegmentedFold, ...]
    mean: Mapping[str, Spread | None]
    pooled: Mapping[str, Interval]

    @property
    def folds_words(self) -> str:
        """Which folds, in words."""
        return f"{len(self.folds)} ({', '.join(str(fold.fold) for fold in self.folds)})"


CellSeeds = Sequence[tuple[Cell, Sequence[_Seed]]]


def effusion_page(
    item: Item, scored: Sequence[ScoredJob], setup: Setup, picture: Path, bootstrap_seed: int
) -> tuple[str, dict[str, Any]]:
    """The item's page and its JSON document; where a training is there, the picture is drawn.

    Raises WriteError, DataError, ModelError, ReadError.
    """
    rows = [(cell, _seeds_of(cell, scored, setup.resamples, bootstrap_seed)) for cell in item.cells]
    pictured = _draw(rows, picture)
    failed = [one for one in scored if one.record.state == FAILED]
    lines = [f"# {item.title}", "", *_dice_table(item, rows, failed), "", *_other_table(item, rows)]
    if pictured:
        lines += ["", f"{counted(len(pictured), 'test case')} from the best Dice to the worst: {picture}"]
    lines += ending(item, failed, setup, [SYMBOLS.format(resamples=setup.resamples), PAPER_DICE])
    cells = [
        {
            **cell_document(cell, [one for one in scored if cell.name in one.job.cells]),
            "seeds": [
                {
                    "seed": one.seed,
                    "folds": [fold.fold for fold in one.folds],
                    "mean": {name: None if value is None else asdict(value) for name, value in one.mean.items()},
                    "pooled": {name: asdict(value) for name, value in one.pooled.items()},
                }
                for one in seeds
            ],
        }
        for cell, seeds in rows
    ]
    return "\n".join(lines) + "\n", {**document_head(item, setup), "cells": cells, "pictured": pictured}


def _seeds_of(cell: Cell, scored: Sequence[ScoredJob], resamples: int, bootstrap_seed: int) -> tuple[_Seed, ...]:
    there = [one for one in scored if cell.name in one.job.cells and one.segmented is not None]
    seeds = []
    for seed in sorted({one.job.seed for one in there}):
        mine = tuple(sorted((one for one in there if one.job.seed == seed), key=lambda one: one.job.fold))
        folds = tuple(one.segmented for one in mine if one.segmented is not None)
        seeds.append(_Seed(seed, mine, folds, spreads(folds), measured(folds, resamples, bootstrap_seed)))
    return tuple(seeds)


def _dice_table(item: Item, rows: CellSeeds, failed: Sequence[ScoredJob]) -> list[str]:
    body = [[*item.cells[0].label, "paper", "no figure printed", *[""] * 4]]
    for cell, seeds in rows:
        for one in seeds:
            seed = f", seed {one.seed}" if len(seeds) > 1 else ""
            if len(one.folds) > 1:
                mean = [spread_shown(one.mean[name]) for name in FIGURES[:5]]
                body.append([*cell.label, f"ours, mean of {len(one.folds)} folds{seed}", *mean])
            what = "pooled" if len(one.folds) > 1 else f"fold {one.folds[0].fold}"
            pooled = [one.pooled[name].shown(1, 100, " %") for name in FIGURES[:5]]
            body.append([*cell.label, f"ours, {what}{seed}", *pooled])
        if not seeds:
            state = "failed" if any(cell.name in one.job.cells for one in failed) else NOT_RUN
            body.append([*cell.label, "ours", state, *[""] * 4])
    return Table([*item.columns, "figures", *FIGURES[:5]], body).markdown()


def _other_table(item: Item, rows: CellSeeds) -> list[str]:
    head = [*item.columns, "seed", "folds", "effusions", "normals", "thresholds", FIGURES[5], "minutes", "device"]
    body = []
    for cell, seeds in rows:
        for one in seeds:
            images = [image for fold in one.folds for image in fold.images]
            effusions = sum(image.positive for image in images)
            thresholds = ", ".join(f"{fold.model.threshold:.2f}" for fold in one.folds)
            counts = [
                str(effusions),
                str(len(images) - effusions),
                thresholds,
                one.pooled[FIGURES[5]].shown(1, 100, " %"),
            ]
            body.append([*cell.label, str(one.seed), one.folds_words, *counts, *cost(one.scored)])
        if not seeds:
            body.append([*cell.label, "", "0", *[""] * 6])
    return Table(head, body).markdown()


def _draw(rows: CellSeeds, path: Path) -> list[str]:
    """Draw test cases of the first cell that has a training, in its lowest seed; their names."""
    found = next(((cell, seeds[0]) for cell, seeds in rows if seeds), None)
    if found is None:
        path.unlink(missing_ok=True)  # it shows an earlier call's trainings
        return []
    cell, one = found
    dataset = read_data(one.scored[0].job.config.data)
    words = " ".join(cell.label)
    views = []
    for place, image in shown_cases(one.folds):
        job, fold = one.scored[place].job, one.folds[place]
        case = dataset.by_name[image.case]
        radiograph = read_case(case)
        detector = Detector.open(load_bundle(job.folder / "model"), "cpu", job.config.threads)
        examined = detector.examine(radiograph)
        as_stored = examined.geometry.as_stored
        marked = as_stored(examined.maps["lesion"] >= np.float32(fold.model.threshold)).astype(np.float32)
        panels = (
            Panel("True outline", outline=as_stored(truth_mask(case, examined.geometry, "disc"))),
            Panel(f"{words} at its threshold", shade=marked),
        )
        caption = f"{case.name}, fold {fold.fold}: Dice {image.dice:.2f}"
        views.append(CaseView(caption, radiograph, Box(0, 0, radiograph.cols, radiograph.rows), panels))
    write_case_views(views, path, 2, ("the true effusion", "what was found"))
    return [image.case for _, image in shown_cases(one.folds)]


def shown_cases(folds: Sequence[SegmentedFold]) -> list[tuple[int, SegmentedImage]]:
    """Up to six test images with an effusion, evenly from best to worst Dice, each with its place in `folds`."""
    ranked = [(place, image) for place, fold in enumerate(folds) for image in fold.images if image.positive]
    ranked.sort(key=lambda one: (-(one[1].dice or 0.0), one[1].case))
    count = min(PICTURED, len(ranked))
    return [ranked[round(step)] for step in np.linspace(0, len(ranked) - 1, count)]
