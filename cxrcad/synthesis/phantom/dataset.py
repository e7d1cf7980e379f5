"""Phantoms: synthetic chest radiographs with known nodules, in JSRT's exact layout, for tests, demo and CI.

No patient and no data set enters them: everything is drawn from a seed, see `chest` and `image`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import PhantomConfig
from cxrcad.core import Box, Case, Nodule, UsageError, WriteError
from cxrcad.files import write_atomically
from cxrcad.synthesis.files import (
    FIELD_MM,
    JSRT_SIDE,
    MASK_SIDE,
    box_row,
    dicom_bytes,
    image_path,
    img_bytes,
    location,
    mask_bytes,
    mask_paths,
    png_bytes,
    write_tables,
)
from cxrcad.synthesis.phantom.image import DrawnNodule, Phantom, phantom_image

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
    """`cases` plans: 5 in 8 with a nodule, subtleties in JSRT's proportions, 14 of 154 nodules outside the lung fields.

    Nodules come first (JPCLN001...), then the phantoms without (JPCNN001...), as JSRT names them.
    """
    positives = (5 * cases + 4) // 8
    rng = np.random.default_rng([seed, 0])
    levels = rng.permutation(_apportion(positives))
    outside = rng.permutation(positives) < round(JSRT_OUTSIDE * positives / JSRT_NODULES)
    plans = [Plan(f"JPCLN{i + 1:03d}", i, int(levels[i]), bool(outside[i])) for i in range(positives)]
    return (*plans, *(Plan(f"JPCNN{i - positives + 1:03d}", i, None, False) for i in range(positives, cases)))


def _apportion(positives: int) -> list[int]:
    """`positives` subtleties in JSRT's proportions, by largest remainders."""
    exact = {level: positives * count / JSRT_NODULES for level, count in SUBTLETY_COUNTS.items()}
    counts = {level: int(number) for level, number in exact.items()}
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
    plans = plan_phantoms(config.cases, config.seed)
    cases = tuple(_write_phantom(folder, config, plan) for plan in plans)
    normals = [
        (f"{case.name}.IMG", str(case.age_years), str(case.sex), "normal") for case in cases if not case.positive
    ]
    positives = [case for case in cases if case.positive]
    write_tables(folder, [_clndat_row(case) for case in positives], normals, [_box_row(case) for case in positives])
    return PhantomSet(folder, cases)


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


def _write_phantom(folder: Path, config: PhantomConfig, plan: Plan) -> Case:
    """The phantom's case, once its image and masks are written."""
    subtlety = None if plan.subtlety is None else config.subtlety or plan.subtlety
    seeds, side = (config.seed, plan.index), config.image_side
    phantom = phantom_image(seeds, side, subtlety=subtlety, outside_lung=plan.outside_lung)
    number, sex, age_years = plan.index + 1, phantom.anatomy.sex, phantom.anatomy.age_years
    if config.format == "img":
        content = img_bytes(phantom.pixels)
    elif config.format == "png":
        content = png_bytes(phantom.pixels, 8 if number % 2 else 16)
    else:
        content = dicom_bytes(phantom.pixels, plan.name, number, config.seed, sex, age_years)
    image = image_path(folder, plan.name, config.format)
    write_atomically(image, content)
    paths = mask_paths(folder, plan.name, plan.index, MASKS)
    for path, mask in zip(paths, (phantom.right_lung, phantom.left_lung, phantom.heart), strict=True):
        write_atomically(path, mask_bytes(mask))
    mm = FIELD_MM / side
    nodules = () if phantom.nodule is None else (_nodule(phantom.nodule, phantom.lungs, side / phantom.drawn_side),)
    return Case(
        name=plan.name,
        image=image,
        rows=side,
        cols=side,
        spacing_mm=(mm, mm),
        nodules=nodules,
        lung_masks=paths[:2],
        age_years=age_years,
        sex=sex,
        view="PA",
    )


def _nodule(drawn: DrawnNodule, lungs: NDArray[np.bool_], scale: float) -> Nodule:
    """The nodule in the pixels of its image, which has `scale` times as many a side as the grid of `lungs`."""
    box = drawn.box_px
    middle = float(np.flatnonzero(lungs.any(0))[[0, -1]].mean()) + 0.5
    return Nodule(
        x_px=drawn.x_px * scale,
        y_px=drawn.y_px * scale,
        diameter_mm=drawn.diameter_mm,
        subtlety=drawn.subtlety,
        malignancy="benign",
        location=location(drawn.x_px, drawn.y_px, middle, lungs),
        diagnosis=DIAGNOSIS,
        box_px=Box(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale),
        in_lung=drawn.in_lung,
    )


def _clndat_row(case: Case) -> tuple[str, ...]:
    (nodule,), scale = case.nodules, JSRT_SIDE / case.cols
    place = (round(nodule.x_px * scale), round(nodule.y_px * scale), nodule.malignancy, nodule.location, DIAGNOSIS)
    size = round(nodule.diameter_mm or 0)
    return tuple(str(v) for v in (f"{case.name}.IMG", nodule.subtlety, size, case.age_years, case.sex, *place))


def _box_row(case: Case) -> tuple[object, ...]:
    (nodule,), scale = case.nodules, MASK_SIDE / case.cols
    assert nodule.box_px is not None
    assert nodule.diameter_mm is not None
    box = nodule.box_px
    lengths = (scale * v for v in (nodule.x_px, nodule.y_px, box.x0, box.y0, box.x1, box.y1))
    return box_row(case.name, (*lengths, nodule.diameter_mm), nodule.subtlety, not nodule.in_lung)
