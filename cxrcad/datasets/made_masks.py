"""Lung masks that a model made: model.json beside them says which model, for notes and cards."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cxrcad.core import Case, DataError, counted
from cxrcad.documents import made
from cxrcad.files import read_record, sha256_of, stamp, write_json
from cxrcad.imaging.volume import image_sha256

__all__ = ["ORIGIN", "MadeMasks", "made_masks_note", "models_of_masks", "read_made_masks", "write_made_masks"]

SCHEMA = "cxrcad/lungs/1"
ORIGIN = "model.json"
LISTS = ("masks", "files")


@dataclass(frozen=True)
class MadeMasks:
    """The model (its name, SHA-256 of its ONNX file, threshold of the lung map, grid), and its masks.

    `masks` has each mask file's path in the folder, with slashes, and the SHA-256 of the radiograph that it is of;
    `files` has the SHA-256 of the mask file. What came later is empty in a document from before.
    """

    name: str
    sha256: str
    lung_threshold: float | None
    masks: Mapping[str, str]
    grid: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def made(self, mask: str, path: Path) -> bool:
        """Whether the model made the mask of this name, which lies at `path`, and nobody changed it since."""
        known = self.files.get(mask)
        return mask in self.masks and path.is_file() and known in (None, sha256_of(path))


def read_made_masks(folder: Path) -> MadeMasks | None:
    """What the folder's model.json says; None where there is none. Raises DataError for a damaged one."""
    path = folder / ORIGIN
    return _read(path, *stamp(path)) if path.is_file() else None


@functools.lru_cache(maxsize=64)
def _read(path: Path, *_known: int) -> MadeMasks | None:
    return read_record(
        path,
        SCHEMA,
        lambda document: made(MadeMasks, document["model"] | {key: document[key] for key in LISTS if key in document}),
        DataError,
        "write the masks again with `cxrcad lungs`, or remove the file",
    )


def write_made_masks(folder: Path, masks: MadeMasks) -> None:
    """Write model.json, atomically. Raises WriteError."""
    model = asdict(masks)
    lists = {name: dict(sorted(model.pop(name).items())) for name in LISTS}
    write_json(folder / ORIGIN, {"schema": SCHEMA, "model": model, **lists})


def models_of_masks(cases: Iterable[Case]) -> dict[tuple[str, str], int]:
    """Name and SHA-256 of each model that made lung masks of the cases, with their number.

    Raises DataError, also for a mask that a model made of another image than the case has now.
    """
    found: Counter[tuple[str, str]] = Counter()
    for case in cases:
        for mask in case.lung_masks[:1]:
            origin = _origin_of(mask, case.image)
            if origin is not None:
                found[origin.name, origin.sha256] += 1
    return dict(found)


def _origin_of(mask: Path, image: Path) -> MadeMasks | None:
    """What is told of the image's mask by the nearest folder above it, of at most three, that has a model.json."""
    for folder in mask.parents[:3]:
        origin = read_made_masks(folder)
        if origin is not None:
            name = mask.relative_to(folder).as_posix()
            if not origin.made(name, mask):
                return None
            if origin.masks[name] != image_sha256(image):
                raise DataError(
                    f"{mask}: the model {origin.name} made it of another image than {image} is now; run `cxrcad lungs` "
                    "again, or draw the lungs"
                )
            return origin
    return None


def made_masks_note(cases: Iterable[Case]) -> tuple[str, ...]:
    """A sentence for each model that made lung masks of the cases. Raises DataError."""
    return tuple(
        f"{counted(count, 'lung mask')} made by the model {name} (SHA-256 {sha256[:12]}), not drawn"
        for (name, sha256), count in models_of_masks(cases).items()
    )
