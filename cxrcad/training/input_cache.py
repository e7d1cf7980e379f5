"""The radiographs and masks of a data set on the model's grid, decoded once, kept on disk and mapped into memory.

A cache is bound to what it was made from: the content of every case, the settings of the grid and the masks, and the
code that reads. Anything else is another cache, so none is ever out of date, and each may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cxrcad
from cxrcad.config import AREA, LESIONS, TrainConfig, to_dict
from cxrcad.core import Case, CxrcadError, WriteError, counted
from cxrcad.datasets.content import content_of
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.samples import Sample, load_samples, read_samples
from cxrcad.documents import MALFORMED
from cxrcad.files import json_sha256, read_json, sha256_of, write_atomically, write_json
from cxrcad.imaging.preprocess import Geometry
from cxrcad.training.locks import locked

__all__ = ["CACHE", "sample_loader"]

CACHE = "cache"
"""The folder of the caches, beside the run's folder where no other is named."""

SCHEMA = "cxrcad/samples/1"
PIXELS, INDEX = "samples.bin", "index.json"
READING = ("imaging", "datasets")
"""The folders of cxrcad whose code decides what is kept."""

Loader = Callable[[Sequence[Case]], tuple[Sample, ...]]
Index = Mapping[str, Any]


def sample_loader(
    config: TrainConfig, dataset: Dataset, run: Path, multiple: int, note: Callable[[str], None]
) -> Loader:
    """What gives the samples of cases of the data set, as `load_samples` does, from the cache of all that train.

    The cache is made where there is none, or a damaged one; of two processes that start at once, one makes it. Where it
    cannot be written, that is noted, and the radiographs are kept in memory.
    """

    def decoded(cases: Sequence[Case]) -> tuple[Sample, ...]:
        return load_samples(cases, config, multiple)

    if not config.input_cache:
        return decoded
    cases = _cases(config, dataset)
    key = _key(cases, config, multiple)
    place = (config.cache or run.parent / CACHE) / key[:16]
    try:
        with locked(place, wait=True):
            index = _whole(place, key) or _made(place, key, cases, config, multiple, note)
        pixels = np.asarray(np.memmap(place / PIXELS, np.uint8, "r"))
    except (WriteError, OSError) as error:
        note(f"{error}; decoded radiographs are not kept")
        return decoded
    entries = dict(zip((case.name for case in cases), index["cases"], strict=True))

    def kept(cases: Sequence[Case]) -> tuple[Sample, ...]:
        found = [entries.get(case.name) for case in cases]
        decoded([case for case, entry in zip(cases, found, strict=True) if entry is None])  # raises what is wrong
        return tuple(_sample(case, entry, pixels) for case, entry in zip(cases, found, strict=True) if entry)

    return kept


def _cases(config: TrainConfig, dataset: Dataset) -> tuple[Case, ...]:
    """The cases that one of the folds trains or validates on."""
    every = config.normals or config.loss.teacher is not None or LESIONS[config.data.lesion] == AREA
    return tuple(case for case in dataset.cases if every or case.positive)


def _key(cases: Sequence[Case], config: TrainConfig, multiple: int) -> str:
    """The SHA-256 of all that decides what is kept."""
    loss = config.loss
    settings = [to_dict(config.grid), multiple, loss.truth, loss.ellipse_scale, loss.ignore_rim]
    return json_sha256([SCHEMA, settings, _code_sha256(), [asdict(content_of(case)) for case in cases]])


def _code_sha256() -> str:
    source = Path(cxrcad.__file__).parent
    files = sorted(file for name in READING for file in (source / name).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _whole(place: Path, key: str) -> Index | None:
    """The index of a whole cache; None where there is none, or it is damaged."""
    try:
        index: Index = read_json(place / INDEX, WriteError)
        same = index["key"] == key and index["sha256"] == sha256_of(place / PIXELS)
        return index if same else None
    except (CxrcadError, OSError, *MALFORMED):
        return None


def _made(
    place: Path, key: str, cases: Sequence[Case], config: TrainConfig, multiple: int, note: Callable[[str], None]
) -> Index:
    """Decode the cases into a new cache; its index, with null for those that cannot be read. Raises WriteError."""
    started, digest = time.monotonic(), hashlib.sha256()
    entries: list[dict[str, Any] | None] = []
    size = 0

    def pieces() -> Iterator[bytes]:
        nonlocal size
        for sample in read_samples(cases, config, multiple):
            known = _planes(sample) if isinstance(sample, Sample) else {}
            entries.append(_entry(sample, known, size) if isinstance(sample, Sample) else None)
            for plane in known.values():
                content = plane.tobytes()
                digest.update(content)
                size += len(content)
                yield content

    write_atomically(place / PIXELS, pieces())
    index = {"schema": SCHEMA, "key": key, "sha256": digest.hexdigest(), "bytes": size, "cases": entries}
    write_json(place / INDEX, index)
    seconds = time.monotonic() - started
    note(f"{counted(len(cases), 'case')} decoded in {seconds:.1f} s and kept in {place} ({size / 1e6:,.0f} MB)")
    return index


def _planes(sample: Sample) -> dict[str, NDArray[np.uint8]]:
    """What of the sample is kept, by name: the image, and the masks that it has."""
    planes = {"image": sample.image, "lesion": sample.lesion, "lung": sample.lung, "unknown": sample.unknown}
    return {name: np.ascontiguousarray(plane).view(np.uint8) for name, plane in planes.items() if plane is not None}


def _entry(sample: Sample, planes: Mapping[str, Any], start: int) -> dict[str, Any]:
    shape = list(sample.image.shape)
    return {
        "start": start, "shape": shape, "planes": list(planes), "geometry": asdict(sample.geometry),
        "sha256": sample.sha256,
    }  # fmt: skip


def _sample(case: Case, entry: Mapping[str, Any], pixels: NDArray[np.uint8]) -> Sample:
    """The case's sample, whose arrays lie in the mapped file and cannot be written to."""
    rows, cols = entry["shape"]
    end = entry["start"] + len(entry["planes"]) * rows * cols
    planes = dict(zip(entry["planes"], pixels[entry["start"] : end].reshape(-1, rows, cols), strict=True))
    lesion, lung, unknown = (
        planes[name].view(np.bool_) if name in planes else None for name in ("lesion", "lung", "unknown")
    )
    assert lesion is not None
    spacing = entry["geometry"]["spacing_mm"]
    geometry = Geometry(**{**entry["geometry"], "spacing_mm": None if spacing is None else tuple(spacing)})
    return Sample(case, planes["image"], lesion, lung, geometry, entry["sha256"], unknown)
