"""A data set in JSRT's layout: one nodule projected into each of so many radiographs, and others without.

The preset open-jsrt copies JSRT's counts with open data: NIH radiographs and LIDC-IDRI's CT nodules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import SimulateConfig
from cxrcad.core import DataError, Nodule, UsageError
from cxrcad.files import Pace, Progress, Silent, write_atomically
from cxrcad.imaging.jsrt_img import LARGEST
from cxrcad.synthesis.backgrounds import GRID_SIDE, Background, BackgroundSet, read_background, read_backgrounds
from cxrcad.synthesis.files import (
    DicomOrigin,
    TableRow,
    box_row,
    dicom_bytes,
    encoded,
    image_path,
    location,
    write_csv,
    write_masks,
    write_tables,
)
from cxrcad.synthesis.insertion import PATCHES, Candidates, Inserted, insert_nodule, reinsert_background
from cxrcad.synthesis.nodules import (
    ANALYTIC,
    JSRT_NODULES,
    JSRT_OUTSIDE,
    SUBTLETY_COUNTS,
    NoduleStock,
    read_nodules,
)

__all__ = ["PACKAGED_TABLE", "PRESETS", "ROLES", "Plan", "Preset", "plan_set", "write_simulated"]

PACKAGED_TABLE = Path(__file__).with_name("open_jsrt.csv")
"""The radiographs of open-jsrt: NIH's file names with what their own table says of them, in the set's order."""

ROLES = ("normal", "other_finding")
"""The backgrounds that are taken, the former first; a radiograph of another role (effusion) is never one."""

SOURCES = ("patient", "view", "role", "nodule", "series_uid", "scale")
NEGATIVE_INSERTIONS = ("file", "x", "y", "x0", "y0", "x1", "y1", "diameter_mm", "patch", "outside_lung")

Image32 = NDArray[np.float32]
Bits = NDArray[np.bool_]


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

    `patch` says what a negative insertion in the nodule's place is made of, "" where there is none.
    """

    name: str
    index: int
    background: Background
    subtlety: int | None
    outside: bool
    patch: str = ""


@dataclass(frozen=True)
class _Written:
    """A radiograph that is written: what was inserted, and the nodule (or patch) as the tables have it."""

    plan: Plan
    inserted: Inserted | None = None
    nodule: Nodule | None = None
    series_uid: str = ""


def write_simulated(folder: Path, config: SimulateConfig, progress: Progress | None = None) -> tuple[int, int]:
    """Write the data set that `config` asks for into `folder`, which must be new or empty.

    Returns how many radiographs it has, and how many of them with a nodule (or with a negative insertion, where
    `config` asks for background patches).

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
    plans = plan_set(found, config, preset)
    in_all = _marked(plans)
    if config.limit is not None:
        plans = (*plans[:in_all][: config.limit // 2], *plans[in_all:][: config.limit // 2])
    stock = _stock(config, in_all, _marked(plans))
    free = stock.usable()
    progress.start("simulate", len(plans), 0)
    pace = Pace(len(plans), progress, "radiographs", fewest=5)
    written: list[_Written] = []
    for plan in plans:
        written.append(_write(folder, plan, Candidates(stock, free), config, preset.oddities))
        inserted = written[-1].inserted
        if inserted is not None:
            free.remove(inserted.index)
        progress.step(len(written))
        pace.step(len(written))
    _write_tables(folder, written, found.column, preset.oddities)
    return len(plans), _marked(plans)


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
        raise UsageError(f"--limit {config.limit}: it takes an even number, half of them get a nodule")
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
        marked, patches = index < positives, config.background_patches
        number = index + 1 if marked or patches else index + 1 - positives
        plans.append(
            Plan(
                name=f"{preset.letters}{'LN' if marked and not patches else 'NN'}{number:03d}",
                index=index,
                background=background,
                subtlety=int(levels[index]) if marked else None,
                outside=marked and bool(outside[index]),
                patch=PATCHES[index % 2] if marked and patches else "",
            )
        )
    return tuple(plans)


def _counts(there: int, config: SimulateConfig, preset: Preset) -> tuple[int, int]:
    """How many radiographs get a nodule and how many none: as set, else the preset's, else 5 in 8 and the rest."""
    positives = config.positives or preset.positives or max(1, (5 * there + 4) // 8)
    negatives = preset.negatives if config.negatives is None else config.negatives
    return positives, max(0, there - positives) if negatives is None else negatives


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


def _write(folder: Path, plan: Plan, candidates: Candidates, config: SimulateConfig, oddities: bool) -> _Written:
    """Write a radiograph with what `plan` puts into it, and its lung masks."""
    image, lung = read_background(plan.background)
    inserted: Inserted | None = None
    assert config.seed is not None
    rng = np.random.default_rng([config.seed, plan.index])
    try:
        if plan.patch:
            image, inserted = reinsert_background(
                image, lung, rng, candidates=candidates, outside=plan.outside, patch=plan.patch
            )
        elif plan.subtlety is not None:
            image, inserted = insert_nodule(image, lung, candidates, plan.subtlety, plan.outside, rng)
    except DataError as error:
        raise DataError(f"{plan.background.image}: {error}") from None
    write_atomically(image_path(folder, plan.name, config.format), _image_bytes(plan, image, config))
    right, left = _halves(lung)
    write_masks(folder, plan.name, plan.index, {"right lung": right, "left lung": left})
    if inserted is None:
        return _Written(plan)
    stock, nodule = candidates.stock, inserted.nodule
    nodule = replace(
        nodule,
        subtlety=plan.subtlety,
        malignancy="benign",
        location=location(nodule.x_px, nodule.y_px, GRID_SIDE / 2, lung),
        diagnosis=" ".join(filter(None, ("simulated", stock.kinds[inserted.index], "nodule")))
        + ("\t" if oddities and plan.index % 50 == 9 else ""),
    )
    return _Written(plan, inserted, nodule, stock.series_uid[inserted.index])


def _image_bytes(plan: Plan, image: Image32, config: SimulateConfig) -> bytes:
    if config.format == "png":
        return encoded(np.clip(np.rint(image), 0, 255).astype(np.uint8), "PNG")
    if config.format == "img":
        from scipy import ndimage

        full = ndimage.zoom(image, 2, order=1, grid_mode=True, mode="nearest")
        counts: NDArray[np.uint16] = (LARGEST - np.clip(np.rint(full * 16), 0, LARGEST)).astype(">u2")  # dense is dark
        return counts.tobytes()
    made_of = "a piece of itself" if plan.patch else "a nodule"
    origin = DicomOrigin(
        patient="Simulated",
        manufacturer="cxrcad simulate",
        study="Chest radiograph, simulated nodules",
        derivation=f"{f'{made_of} inserted' if plan.subtlety else 'resampled'} by cxrcad simulate",
        view="AP" if plan.background.view == "AP" else "PA",
        salt=("simulate", hashlib.sha256(image.tobytes()).hexdigest()),
    )
    assert config.seed is not None
    sex, age = plan.background.sex, plan.background.age
    sex_or_none, age_years = None if sex == "?" else sex, int(age) if age.isdigit() else None
    pixels = image / np.float32(255)
    return dicom_bytes(pixels, plan.name, plan.index + 1, config.seed, sex_or_none, age_years, origin)


def _halves(lung: Bits) -> tuple[Bits, Bits]:
    """(right, left) lung: the connected parts whose middle lies at image left or right of the lungs' middle."""
    from scipy import ndimage

    labels, _ = ndimage.label(lung)
    middle = np.flatnonzero(lung.any(0)).mean()
    at_left = [(found[1].start + found[1].stop) / 2 < middle for found in ndimage.find_objects(labels)]
    is_right = np.array([False, *at_left])[labels]
    return is_right, lung & ~is_right


def _write_tables(folder: Path, written: Sequence[_Written], source_column: str, oddities: bool) -> None:
    write_csv(folder / "sources.csv", ("file", source_column, *SOURCES), map(_source, written))
    patches = [box_row(one.plan.name, one.nodule, one.plan.patch) for one in written if one.nodule and one.plan.patch]
    if patches:
        write_csv(folder / "shams.csv", NEGATIVE_INSERTIONS, patches)
    rows = []
    for one in written:
        nodule = None if one.plan.patch else one.nodule
        unknown = oddities and nodule is not None and one.plan.index % 40 == 7
        background = one.plan.background
        rows.append(TableRow(one.plan.name, "?" if unknown else background.age, background.sex, nodule))
    write_tables(folder, rows)


def _source(one: _Written) -> tuple[object, ...]:
    background, inserted = one.plan.background, one.inserted
    of_nodule = ("", "", "") if inserted is None else (inserted.index, one.series_uid, round(inserted.scale, 3))
    return (one.plan.name, background.image.name, background.patient, background.view, background.role, *of_nodule)
