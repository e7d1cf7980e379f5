"""Phantoms: synthetic chest radiographs with known nodules, in JSRT's exact layout, for tests, demo and CI.

No patient and no data set enters them: everything is drawn from a seed, see `chest` and `image`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxrcad.config import PhantomConfig
from cxrcad.core import Box, Case, Nodule, UsageError, WriteError
from cxrcad.files import Pace, Progress, Silent, write_atomically
from cxrcad.imaging.jsrt_img import FIELD_MM, SIDE
from cxrcad.synthesis.files import (
    MASK_SIDE,
    TableRow,
    dicom_bytes,
    image_path,
    img_bytes,
    location,
    png_bytes,
    write_masks,
    write_tables,
)
from cxrcad.synthesis.nodules import JSRT_NODULES, JSRT_OUTSIDE, SUBTLETY_COUNTS
from cxrcad.synthesis.phantom.image import Phantom, phantom_image

__all__ = ["Plan", "plan_phantoms", "write_phantoms"]

DIAGNOSIS = "phantom nodule"
"""What stands in CLNDAT_EN.txt beside a phantom's nodule."""


@dataclass(frozen=True)
class Plan:
    """What one phantom shall be: `subtlety` is None for one without a nodule; `index` picks its random streams."""

    name: str
    index: int
    subtlety: int | None
    outside_lung: bool


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


def write_phantoms(folder: Path, config: PhantomConfig, progress: Progress | None = None) -> tuple[Case, ...]:
    """Draw `config.cases` phantoms into `folder` and return them as cases, their nodules in the pixels of their images.

    Writes images/ (.IMG at 2048 pixels; .dcm with MONOCHROME1 and MONOCHROME2 in turn; .png with 8 and 16 bits in
    turn), scr/fold1 and scr/fold2 masks (right lung, left lung, heart), CLNDAT_EN.txt (x and y on the 2048 grid),
    CNNDAT_EN.TXT and boxes.csv (exact extents on the 1024 grid). The same config writes the same bytes. Raises
    UsageError where .IMG is asked for at another side than 2048, or `folder` holds anything but phantoms; WriteError
    where the folder cannot be written.
    """
    progress = progress or Silent()
    if config.format == "img" and config.image_side != SIDE:
        raise UsageError(
            f"--image-side {config.image_side}: a JSRT .IMG is always {SIDE} x {SIDE}; leave --image-side out, or add "
            "--format png or --format dcm"
        )
    _make_room(folder)
    progress.start("phantom", config.cases, 0)
    pace = Pace(config.cases, progress, "phantoms", fewest=5)
    cases: list[Case] = []
    try:
        for plan in plan_phantoms(config.cases, config.seed):
            cases.append(_write_phantom(folder, config, plan))
            progress.step(len(cases))
            pace.step(len(cases))
        write_tables(folder, [_table_row(case) for case in cases])
    except BaseException:
        _remove(folder)  # half a set is of no use, and in the way of the next call
        raise
    return tuple(cases)


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
    image, chest = image_path(folder, plan.name, config.format), phantom.chest
    write_atomically(image, content)
    structures = {"right lung": chest.right_lung, "left lung": chest.left_lung, "heart": chest.heart}
    masks = write_masks(folder, plan.name, plan.index, structures)
    return Case(
        name=plan.name,
        image=image,
        rows=side,
        cols=side,
        spacing_mm=(FIELD_MM / side, FIELD_MM / side),
        nodules=_nodules(phantom, side),
        lung_masks=masks[:2],
        age_years=age_years,
        sex=sex,
        view="PA",
    )


def _nodules(phantom: Phantom, side: int) -> tuple[Nodule, ...]:
    """The nodule, if there is one, in the pixels of the image of `side`."""
    nodule, lungs = phantom.nodule, phantom.chest.lungs
    if nodule is None:
        return ()
    middle = float(np.flatnonzero(lungs.any(0))[[0, -1]].mean()) + 0.5
    place = location(nodule.x_px, nodule.y_px, middle, lungs)
    known = replace(nodule, malignancy="benign", location=place, diagnosis=DIAGNOSIS)
    return (_scaled(known, side / len(lungs)),)


def _scaled(nodule: Nodule, scale: float) -> Nodule:
    """The nodule on a grid with `scale` times as many pixels a side."""
    box = nodule.box_px
    assert box is not None
    larger = Box(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)
    return replace(nodule, x_px=nodule.x_px * scale, y_px=nodule.y_px * scale, box_px=larger)


def _table_row(case: Case) -> TableRow:
    nodule = _scaled(case.nodules[0], MASK_SIDE / case.cols) if case.nodules else None
    return TableRow(case.name, str(case.age_years), str(case.sex), nodule)
