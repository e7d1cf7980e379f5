"""A data set in JSRT's layout: one nodule projected into each of so many radiographs, and others without.

The preset open-jsrt copies JSRT's counts with open data: NIH radiographs and LIDC-IDRI's CT nodules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrcad.config import SimulateConfig
from cxrcad.core import DataError, UsageError
from cxrcad.files import Progress, Silent
from cxrcad.synthesis.backgrounds import Background, BackgroundSet, read_background, read_backgrounds
from cxrcad.synthesis.dataset_files import Row, write_case, write_set_tables
from cxrcad.synthesis.insertion import (
    PATCHES,
    Candidates,
    Inserted,
    insert_nodule,
    reinsert_background,
)
from cxrcad.synthesis.nodules import ANALYTIC, NoduleStock, read_nodules
from cxrcad.synthesis.phantom.dataset import JSRT_NODULES, JSRT_OUTSIDE, SUBTLETY_COUNTS

__all__ = ["Plan", "Preset", "SimulatedSet", "plan_set", "write_simulated"]

PACKAGED_TABLE = Path(__file__).with_name("open_jsrt.csv")
"""The radiographs of open-jsrt: NIH's file names with what their own table says of them, in the set's order."""

ROLES = ("normal", "other_finding")
"""The backgrounds that are taken, the former first; a radiograph of another role (effusion) is never one."""


@dataclass(frozen=True)
class Preset:
    """A known data set: its counts, its seed, and how its cases are named.

    `oddities` puts unknown ages and stray tabs into CLNDAT_EN.txt, as the table that is handed round has them.
    """

    letters: str
    seed: int
    positives: int | None = None
    negatives: int | None = None
    oddities: bool = False
    table: Path | None = None


PRESETS = {
    "open-jsrt": Preset("OX", 2000, JSRT_NODULES, 93, True, PACKAGED_TABLE),
    None: Preset("SX", 0),
}


@dataclass(frozen=True)
class Plan:
    """One radiograph of the set: `subtlety` is None for one that gets nothing; `index` picks its random stream.

    `negative` puts a background patch where the nodule would be.
    """

    name: str
    index: int
    background: Background
    subtlety: int | None
    outside: bool
    negative: bool = False


@dataclass(frozen=True)
class SimulatedSet:
    """What was written: numbers of radiographs in all, with a nodule, and with a negative insertion."""

    folder: Path
    cases: int
    positives: int
    negative_insertions: int


def write_simulated(folder: Path, config: SimulateConfig, progress: Progress | None = None) -> SimulatedSet:
    """Write the data set that `config` asks for into `folder`, which must be new or empty.

    Writes images/ (PNG of 8 bits or DICOM of 1024 pixels, or .IMG of 2048), scr/fold1 and scr/fold2 lung masks,
    boxes.csv (or shams.csv), sources.csv, CNNDAT_EN.TXT and, last, CLNDAT_EN.txt. No nodule is used twice. The same
    data and seed give the same set. Raises UsageError for settings that cannot be and a `folder` that holds files,
    DataError for backgrounds or nodules that are missing, damaged or too few, WriteError.
    """
    progress = progress or Silent()
    preset = PRESETS[config.preset]
    config = _completed(config, preset)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: is a file or holds files already; name a new folder")
    assert config.backgrounds is not None
    found = read_backgrounds(config.backgrounds, preset.table)
    for note in found.notes:
        progress.note(note)
    everyone = plan_set(found, config, preset)
    plans = _limited(everyone, config.limit)
    stock = _stock(config, _marked(everyone), _marked(plans))
    progress.start("simulate", len(plans), 0)
    rows = []
    for row in _written(folder, plans, stock, config, preset):
        rows.append(row)
        progress.step(len(rows))
    write_set_tables(folder, rows, found.column, config.background_patches)
    marked = sum(row.inserted is not None for row in rows)
    return SimulatedSet(
        folder, len(rows), 0 if config.background_patches else marked, marked if config.background_patches else 0
    )


def _completed(config: SimulateConfig, preset: Preset) -> SimulateConfig:
    """The settings with folder, nodules and seed filled in; UsageError for what is missing."""
    backgrounds, nodules = config.backgrounds, config.nodules
    if config.data_root is not None:
        backgrounds = backgrounds or config.data_root / "nih"
        nodules = nodules or config.data_root / "lidc-nodules.npz"
    if backgrounds is None:
        raise UsageError("no backgrounds are named; give --backgrounds DIR, or --data-root DIR with nih/ in it")
    if nodules is None:
        raise UsageError(f"no nodules are named; give --nodules FILE.npz, or --nodules {ANALYTIC}")
    if config.limit is not None and config.limit % 2:
        raise UsageError(f"--limit: limit is {config.limit}; it takes an even number, half of them get a nodule")
    seed = preset.seed if config.seed is None else config.seed
    return replace(config, backgrounds=backgrounds, nodules=nodules, seed=seed)


def plan_set(found: BackgroundSet, config: SimulateConfig, preset: Preset) -> tuple[Plan, ...]:
    """Which background becomes which case: first those with a nodule, then those without.

    Normals are taken before radiographs with other findings, and spread alike over both parts. Subtleties come in
    JSRT's proportions, and 14 of 154 nodules lie outside the lung fields. Raises DataError for too few backgrounds.
    """
    rows = found.backgrounds
    rng = np.random.default_rng(config.seed)
    ordered = [rows[i] for role in ROLES for i in rng.permutation(len(rows)) if rows[i].role == role]
    positives, negatives = _counts(len(ordered), config, preset)
    chosen = ordered[: positives + negatives]
    if len(chosen) < positives + negatives:
        raise DataError(
            f"{found.folder}: {len(chosen)} backgrounds with a lung mask, and {positives} + {negatives} are asked for; "
            "add radiographs, or lower --cases and --normals"
        )
    chosen = [chosen[i] for i in rng.permutation(len(chosen))]
    exact = np.array(list(SUBTLETY_COUNTS.values())) * positives / JSRT_NODULES
    levels = rng.permutation(np.repeat(list(SUBTLETY_COUNTS), np.ceil(exact).astype(int)))[:positives]
    outside = rng.permutation(positives) < round(JSRT_OUTSIDE * positives / JSRT_NODULES)
    plans = []
    for index, background in enumerate(chosen):
        marked = index < positives
        number = index + 1 if marked or config.background_patches else index + 1 - positives
        name = f"{preset.letters}{'LN' if marked and not config.background_patches else 'NN'}{number:03d}"
        subtlety = int(levels[index]) if marked else None
        plans.append(
            Plan(
                name, index, background, subtlety, marked and bool(outside[index]), marked and config.background_patches
            )
        )
    return tuple(plans)


def _counts(there: int, config: SimulateConfig, preset: Preset) -> tuple[int, int]:
    """How many radiographs get a nodule and how many none: as set, else the preset's, else 5 in 8 and the rest."""
    positives = config.positives or preset.positives or max(1, (5 * there + 4) // 8)
    negatives = preset.negatives if config.negatives is None else config.negatives
    return positives, max(0, there - positives) if negatives is None else negatives


def _limited(plans: tuple[Plan, ...], limit: int | None) -> tuple[Plan, ...]:
    """The first `limit` / 2 plans of each part; all of them without a limit."""
    if limit is None:
        return plans
    marked = [plan for plan in plans if plan.subtlety is not None]
    return (*marked[: limit // 2], *plans[len(marked) :][: limit // 2])


def _marked(plans: tuple[Plan, ...]) -> int:
    """How many radiographs get a nodule or a negative insertion."""
    return sum(plan.subtlety is not None for plan in plans)


def _stock(config: SimulateConfig, in_all: int, needed: int) -> NoduleStock:
    """The nodules, of which `needed` are written; of analytic ones more than the whole set has, for all sizes.

    Raises DataError for too few.
    """
    assert config.nodules is not None
    assert config.seed is not None
    stock = read_nodules(config.nodules, count=2 * in_all + 30, seed=config.seed)
    usable = len(stock.usable())
    if usable < needed:
        raise DataError(
            f"{config.nodules}: {usable} nodules of 6 mm or more, and {needed} are needed, each for one radiograph; "
            f"lower --cases, or take --nodules {ANALYTIC}"
        )
    return stock


def _written(
    folder: Path, plans: tuple[Plan, ...], stock: NoduleStock, config: SimulateConfig, preset: Preset
) -> Iterator[Row]:
    """Each radiograph's row for the tables, once its image and masks are written."""
    assert config.seed is not None
    free = stock.usable()
    for plan in plans:
        image, lung = read_background(plan.background)
        inserted: Inserted | None = None
        rng = np.random.default_rng([config.seed, plan.index])
        patch = PATCHES[plan.index % 2] if plan.negative else ""
        candidates = Candidates(stock, free)
        try:
            if plan.negative:
                image, inserted = reinsert_background(
                    image, lung, rng, candidates=candidates, outside=plan.outside, patch=patch
                )
            elif plan.subtlety is not None:
                image, inserted = insert_nodule(image, lung, candidates, plan.subtlety, plan.outside, rng)
        except DataError as error:
            raise DataError(f"{plan.background.image}: {error}") from None
        row = Row(plan.name, plan.index, plan.background, oddities=preset.oddities)
        if inserted is not None:
            free.remove(inserted.index)
            kind, series = stock.kinds[inserted.index], stock.series_uid[inserted.index]
            row = replace(row, inserted=inserted, subtlety=plan.subtlety, kind=kind, series_uid=series, patch=patch)
        yield write_case(folder, row, image, lung, config)
