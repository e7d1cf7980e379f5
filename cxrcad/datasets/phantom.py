"""Phantoms: synthetic chest radiographs with known nodules, in JSRT's exact layout, for tests, demo and CI.

No patient and no data set enters them: everything is drawn from a seed. `phantom_draw` says how.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrcad.config import PhantomConfig
from cxrcad.core import Box, Case, Nodule, UsageError, WriteError
from cxrcad.datasets.phantom_anatomy import FIELD_MM
from cxrcad.datasets.phantom_draw import Phantom, phantom_image
from cxrcad.datasets.phantom_files import (
    JSRT_SIDE,
    MASK_SIDE,
    dicom_bytes,
    image_path,
    img_bytes,
    mask_bytes,
    png_bytes,
    write_tables,
)
from cxrcad.datasets.phantom_marks import Blob
from cxrcad.jobs import write_atomically

__all__ = ["Phantom", "PhantomSet", "Plan", "phantom_image", "plan_phantoms", "write_phantoms"]

# JSRT, Shiraishi et al. 2000: 154 nodules by subtlety, 14 of them outside the lung fields
SUBTLETY_COUNTS = {1: 25, 2: 29, 3: 50, 4: 38, 5: 12}
JSRT_NODULES, JSRT_OUTSIDE = 154, 14
MASKS = ("right lung", "left lung", "heart")
DIAGNOSIS = "phantom nodule"
"""What stands in CLNDAT_EN.txt beside a phantom's nodule."""


@dataclass(frozen=True)
class Plan:
    """What one phantom shall be: `subtlety` is None for one without a nodule; `index` picks its random streams."""

    name: str
    index: int
    subtlety: int | None
    outside_lung: bool


@dataclass(frozen=True)
class PhantomSet:
    """The phantoms of a folder; each case's nodules are in the pixels of its image."""

    folder: Path
    cases: tuple[Case, ...]

    @property
    def positives(self) -> tuple[Case, ...]:
        """The cases with a nodule."""
        return tuple(case for case in self.cases if case.positive)


def plan_phantoms(cases: int, seed: int) -> tuple[Plan, ...]:
    """`cases` plans: 5 in 8 with a nodule, subtleties in JSRT's shares, 14 of 154 nodules outside the lung fields.

    Nodules come first (JPCLN001...), then the phantoms without (JPCNN001...), as JSRT names them.
    """
    positives = (5 * cases + 4) // 8
    rng = np.random.default_rng([seed, 0])
    levels = rng.permutation(_apportion(positives))
    outside = rng.permutation(positives) < round(JSRT_OUTSIDE * positives / JSRT_NODULES)
    plans = [Plan(f"JPCLN{i + 1:03d}", i, int(levels[i]), bool(outside[i])) for i in range(positives)]
    return (*plans, *(Plan(f"JPCNN{i - positives + 1:03d}", i, None, False) for i in range(positives, cases)))


def _apportion(positives: int) -> list[int]:
    """`positives` subtleties in JSRT's shares, by largest remainders."""
    exact = {level: positives * count / JSRT_NODULES for level, count in SUBTLETY_COUNTS.items()}
    counts = {level: int(share) for level, share in exact.items()}
    by_remainder = sorted(exact, key=lambda level: counts[level] - exact[level])
    for level in by_remainder[: positives - sum(counts.values())]:
        counts[level] += 1
    return [level for level, count in counts.items() for _ in range(count)]


def write_phantoms(folder: Path, config: PhantomConfig) -> PhantomSet:
    """Draw `config.cases` phantoms into `folder` and return them as cases.

    Writes images/ (.IMG at 2048 pixels; .dcm with MONOCHROME1 and MONOCHROME2 in turn; .png with 8 and 16 bits in
    turn), scr/fold1 and scr/fold2 masks (right lung, left lung, heart), CLNDAT_EN.txt (x and y on the 2048 grid),
    CNNDAT_EN.TXT and boxes.csv (exact extents on the 1024 grid). The same config writes the same bytes. Raises
    UsageError where .IMG is asked for at another side than 2048, or `folder` holds anything but
    phantoms; WriteError where the folder cannot be written.
    """
    if config.format == "img" and config.image_side != JSRT_SIDE:
        raise UsageError(
            f"image_side is {config.image_side}; a JSRT .IMG is always {JSRT_SIDE} x {JSRT_SIDE}: leave image_side "
            "out, or choose format dcm or png"
        )
    _make_room(folder)
    try:
        return _written(folder, config)
    except BaseException:
        _remove(folder)  # half a set is of no use, and in the way of the next call
        raise


def _written(folder: Path, config: PhantomConfig) -> PhantomSet:
    drawn = list(_write_images(folder, config))
    positives, negatives, boxes = [], [], []
    for plan, phantom in drawn:
        sex, age = phantom.sex, str(phantom.age_years)
        if phantom.nodule is None:
            negatives.append((f"{plan.name}.IMG", age, sex, "normal"))
            continue
        positives.append(_clndat_row(plan.name, phantom))
        boxes.append(_box_row(plan.name, phantom))
    write_tables(folder, positives, negatives, boxes)
    return PhantomSet(folder, tuple(_case(folder, config, plan, phantom) for plan, phantom in drawn))


def _make_room(folder: Path) -> None:
    """Remove an earlier set of phantoms from `folder`; UsageError where it holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder for the phantoms")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    table = folder / "CLNDAT_EN.txt"
    rows = table.read_text(errors="replace").splitlines() if table.is_file() else []
    if not rows or not all(DIAGNOSIS in row for row in rows):
        raise UsageError(f"{folder}: holds other files, which phantoms could overwrite; name a new folder")
    _remove(folder)


def _remove(folder: Path) -> None:
    """Remove what a set of phantoms is made of. Raises WriteError: what stays would be mixed with the next set."""
    try:
        for name in ("images", "scr"):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        for name in ("CNNDAT_EN.TXT", "boxes.csv", "CLNDAT_EN.txt"):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"{error.filename}: of an earlier set of phantoms, and cannot be removed ({error.strerror}); remove "
            f"{folder}, or name a new folder"
        ) from None


@dataclass(frozen=True)
class _Truth:
    """What is kept of a phantom once its files are written."""

    sex: str
    age_years: int
    nodule: Blob | None
    drawn_side: int
    middle_px: float
    lung_rows: tuple[int, int]


def _write_images(folder: Path, config: PhantomConfig) -> Iterator[tuple[Plan, _Truth]]:
    for plan in plan_phantoms(config.cases, config.seed):
        if config.subtlety is not None and plan.subtlety is not None:
            plan = replace(plan, subtlety=config.subtlety)
        phantom = phantom_image(
            (config.seed, plan.index), config.image_side, subtlety=plan.subtlety, outside_lung=plan.outside_lung
        )
        number = plan.index + 1
        anatomy = phantom.anatomy
        if config.format == "img":
            content = img_bytes(phantom.pixels)
        elif config.format == "png":
            content = png_bytes(phantom.pixels, 8 if number % 2 else 16)
        else:
            content = dicom_bytes(phantom.pixels, plan.name, number, config.seed, anatomy.sex, anatomy.age_years)
        write_atomically(image_path(folder, plan.name, config.format), content)
        for path, mask in zip(
            _mask_paths(folder, plan), (phantom.right_lung, phantom.left_lung, phantom.heart), strict=True
        ):
            write_atomically(path, mask_bytes(mask))
        rows, cols = np.nonzero(phantom.lungs)
        middle = (float(cols.min()) + float(cols.max()) + 1) / 2
        yield (
            plan,
            _Truth(
                anatomy.sex,
                anatomy.age_years,
                phantom.nodule,
                phantom.drawn_side,
                middle,
                (int(rows.min()), int(rows.max())),
            ),
        )


def _mask_paths(folder: Path, plan: Plan) -> tuple[Path, ...]:
    masks = folder / "scr" / f"fold{1 + plan.index % 2}" / "masks"
    return tuple(masks / structure / f"{plan.name}.gif" for structure in MASKS)


def _location(truth: _Truth, nodule: Blob) -> str:
    """JSRT's words for where a nodule lies: side and lobe, from the third of the lungs' height."""
    side = "r" if nodule.x_px < truth.middle_px else "l"
    top, bottom = truth.lung_rows
    third = int(np.clip(3 * (nodule.y_px - top) / (bottom - top), 0, 2))
    return f"{side}.{('upper lobe', 'middle lobe' if side == 'r' else 'upper lobe', 'lower lobe')[third]}"


def _clndat_row(name: str, truth: _Truth) -> tuple[str, ...]:
    nodule = truth.nodule
    assert nodule is not None
    scale = JSRT_SIDE / truth.drawn_side
    return (
        f"{name}.IMG",
        str(nodule.subtlety),
        str(round(nodule.diameter_mm)),
        str(truth.age_years),
        truth.sex,
        str(round(nodule.x_px * scale)),
        str(round(nodule.y_px * scale)),
        "benign",
        _location(truth, nodule),
        DIAGNOSIS,
    )


def _box_row(name: str, truth: _Truth) -> tuple[object, ...]:
    nodule = truth.nodule
    assert nodule is not None
    scale = MASK_SIDE / truth.drawn_side
    box = nodule.box_px
    lengths = [round(value * scale, 2) for value in (nodule.x_px, nodule.y_px, box.x0, box.y0, box.x1, box.y1)]
    return (name, *lengths, round(nodule.diameter_mm, 2), nodule.subtlety, int(not nodule.in_lung))


def _case(folder: Path, config: PhantomConfig, plan: Plan, truth: _Truth) -> Case:
    nodules: tuple[Nodule, ...] = ()
    scale = config.image_side / truth.drawn_side
    if truth.nodule is not None:
        blob = truth.nodule
        box = Box(*(value * scale for value in (blob.box_px.x0, blob.box_px.y0, blob.box_px.x1, blob.box_px.y1)))
        nodules = (
            Nodule(
                x_px=blob.x_px * scale,
                y_px=blob.y_px * scale,
                diameter_mm=blob.diameter_mm,
                subtlety=blob.subtlety,
                malignancy="benign",
                location=_location(truth, blob),
                diagnosis=DIAGNOSIS,
                box_px=box,
                in_lung=blob.in_lung,
            ),
        )
    return Case(
        name=plan.name,
        image=image_path(folder, plan.name, config.format),
        rows=config.image_side,
        cols=config.image_side,
        spacing_mm=(FIELD_MM / config.image_side, FIELD_MM / config.image_side),
        nodules=nodules,
        lung_masks=_mask_paths(folder, plan)[:2],
        age_years=truth.age_years,
        sex=truth.sex,
        view="PA",
    )
