"""`cxrcad lungs`: the lung fields that a model finds, as masks that data layouts read, marked as a model's."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import LungsConfig, to_dict
from cxrcad.core import DataError, Failure, ModelError, NotRadiographError, Radiograph, ReadError, UsageError, counted
from cxrcad.datasets.images import read_case
from cxrcad.datasets.made_masks import MadeMasks, read_made_masks, write_made_masks
from cxrcad.datasets.read import layout_of
from cxrcad.files import Progress, check_folder, write_atomically
from cxrcad.imaging.archives import file_of
from cxrcad.imaging.read import read_radiograph
from cxrcad.imaging.volume import image_sha256
from cxrcad.inference.detector import Detector
from cxrcad.inference.inputs import find_inputs
from cxrcad.inference.model import resolve_model

__all__ = ["LUNGS", "Written", "write_lungs"]

LUNGS = "lungs"
"""The folder in which data layouts look for lung masks."""


@dataclass(frozen=True)
class Written:
    """What was done, in one sentence, and how many radiographs have no mask because they failed."""

    sentence: str
    failed: int


def write_lungs(folder: Path, out: Path | None, config: LungsConfig, progress: Progress) -> Written:
    """Write a mask (PNG, 0 or 255, of the radiograph's own size) for each radiograph of a data set or folder.

    Those of a data set that have a drawn mask get none. `out` is where they go, by default the folder's lungs/; a mask
    has its radiograph's path there and ends in .png. model.json beside them names the model. A mask that this model
    made of the same radiograph is left as it is. A radiograph that cannot be read fails alone, and what says of itself
    that it is none is skipped.
    Raises UsageError where a mask would replace one that the model did not make, ModelError for a model without a lung
    task, DataError, WriteError.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; name a data set or a folder of radiographs")
    out = out or folder / LUNGS
    bundle = resolve_model(config.model)
    if "lung" not in bundle.tasks:
        raise ModelError(f"{bundle.name}: has no lung task; name a model of --tasks multi with --model")
    check_folder(out, f"--out {out}")
    own = MadeMasks(bundle.name, bundle.sha256, bundle.find.lung_threshold, {}, to_dict(bundle.grid))
    kept = read_made_masks(out) or own
    if replace(kept, masks={}, files={}, grid=kept.grid or own.grid) != own:
        this = (kept.name, kept.sha256) == (own.name, own.sha256)
        other = "with other settings" if this else f"of the model {kept.name}"
        raise UsageError(f"{out}: holds lung masks {other}; name another --out, or remove that folder")
    kept = replace(kept, grid=own.grid)
    todo, failures = _masks(folder, out)
    foreign = [mask for mask in todo if (out / mask).exists() and not kept.made(mask, out / mask)]
    if foreign:
        fault = "was changed since the model made it" if foreign[0] in kept.masks else "not named in model.json"
        raise UsageError(f"{out / foreign[0]}: is there already and {fault}; name another --out, or remove it")
    detector = Detector.open(bundle, config.device, config.threads)
    progress.start(f"{bundle.name} on {detector.provider}", len(todo), 0)
    for failure in failures:
        progress.note(f"failed: {failure.error}")
    written = same = skipped = 0
    failed = len(failures)
    for number, (mask, (image, read)) in enumerate(todo.items(), start=1):
        try:
            digest = image_sha256(image)
            if kept.masks.get(mask) == digest and (out / mask).is_file():
                same += 1
            else:
                data = _png(_lungs(read(), detector, image))
                (out / mask).unlink(missing_ok=True)  # that of the image before
                files = {**kept.files, mask: hashlib.sha256(data).hexdigest()}
                kept = replace(kept, masks={**kept.masks, mask: digest}, files=files)
                write_made_masks(out, kept)  # first: a mask of a model is never without its mark
                write_atomically(out / mask, data)
                written += 1
        except NotRadiographError as error:
            progress.note(f"skipped: {error}")
            skipped += 1
        except (ReadError, OSError) as error:
            progress.note(f"failed: {error}")
            failed += 1
        progress.step(number)
    parts = [f"{counted(written, 'lung mask')} of {bundle.name} written to {out}"]
    parts += [f"{same} there already"] * bool(same) + [f"{skipped} skipped"] * bool(skipped)
    parts += [f"{failed} failed"] * bool(failed)
    return Written(", ".join(parts), failed)


def _masks(folder: Path, out: Path) -> tuple[dict[str, tuple[Path, Callable[[], Radiograph]]], tuple[Failure, ...]]:
    """The radiograph of each mask, and how it is read, by the mask's path in `out`, with slashes; what cannot be."""
    layout, failures = layout_of(folder), tuple[Failure, ...]()
    reads: dict[Path, Callable[[], Radiograph]]
    if layout is None:
        inputs = find_inputs([folder])
        files, failures = [path for path in inputs.files if file_of(path) == path], inputs.failures
        images = [path for path in files if out not in path.parents and LUNGS not in _folders(path, folder)]
        reads = {image: partial(read_radiograph, image) for image in images}
    else:
        cases = layout.read(folder).cases  # not `read_dataset`, which refuses masks of an image before
        todo = [case for case in cases if not case.lung_masks or _is_made(case.lung_masks[0], out)]
        reads = {case.image: partial(read_case, case) for case in todo}  # with the spacing that the data set knows
    if not reads:
        raise DataError(f"{folder}: holds no radiograph without a lung mask; there is nothing to do")
    found: dict[str, tuple[Path, Callable[[], Radiograph]]] = {}
    for image, read in reads.items():
        mask = image.relative_to(folder).with_suffix(".png").as_posix()
        if mask in found:
            raise DataError(f"{image}, {found[mask][0]}: their masks would have one name, {mask}; rename one of them")
        found[mask] = image, read
    return found, failures


def _folders(file: Path, folder: Path) -> tuple[str, ...]:
    return file.relative_to(folder).parts[:-1]


def _is_made(mask: Path, out: Path) -> bool:
    """Whether the mask is one that lies in `out` and that model.json names."""
    kept = read_made_masks(out)
    return kept is not None and out in mask.parents and kept.made(mask.relative_to(out).as_posix(), mask)


def _lungs(radiograph: Radiograph, detector: Detector, image: Path) -> NDArray[np.bool_]:
    """The lung fields in the radiograph's own pixels, (rows, cols). Raises ReadError where there are none."""
    try:
        mask = detector.lungs(detector.examine(radiograph))
    except ModelError as error:
        raise ReadError(f"{image}: {error}") from None
    if not mask.any():
        raise ReadError(f"{image}: the model finds no lungs in it; draw them, or leave the image without a mask")
    return mask


def _png(mask: NDArray[np.bool_]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    return buffer.getvalue()
