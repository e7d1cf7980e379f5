"""Many radiographs through one detector: each file for itself, the next one read while the present one is inferred."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad.core import CxrcadError, Failure, Radiograph, ReadError, Result
from cxrcad.imaging.read import FORMATS, IMAGE_ENDINGS, read_radiograph, reader_of
from cxrcad.inference.candidates import select
from cxrcad.inference.detector import Detector

__all__ = ["Detections", "detect_paths", "expand_paths"]

OTHER_ENDINGS = frozenset(
    (".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".md", ".toml", ".gif", ".raw", ".zraw")
)
"""Endings of the files of a folder that are never tried: tables, sidecars, lung masks."""


@dataclass(frozen=True)
class Detections:
    """What many inputs gave: each is in `results` or in `failures`, both in the order of the inputs."""

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]


def detect_paths(
    paths: Sequence[Path],
    detector: Detector,
    *,
    min_score: float | None = None,
    on_result: Callable[[Result, Radiograph], None] | None = None,
    on_done: Callable[[Result | Failure], None] | None = None,
) -> Detections:
    """Findings from `min_score` (the model's threshold when None) in each file; a bad file is a failure, not an end.

    Files are done in order. `on_result` is called with each result and the radiograph that it is of, then `on_done`
    with each result or failure. Radiographs are not kept. `seconds` of a result: read is the file and its resampling,
    which overlap with the inference of the file before. Folders are failures here: see `expand_paths`.
    """
    least = detector.identity.threshold if min_score is None else min_score
    results: list[Result] = []
    failures: list[Failure] = []
    for path, reading in _read_ahead(paths):
        outcome = _detect_one(path, reading, detector, least)
        if isinstance(outcome, Result):
            results.append(outcome)
            if on_result is not None:
                on_result(outcome, reading.result()[0])
        else:
            failures.append(outcome)
        if on_done is not None:
            on_done(outcome)
    return Detections(tuple(results), tuple(failures))


def expand_paths(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files to detect in: files as named, folders replaced by their radiographs, sorted, each file once.

    In a folder, hidden files, DICOMDIR, tables, GIF masks and what is no image by ending or content are left out.
    A path that is not there and a folder without a radiograph stay as they are, so that detection reports them.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = list(_radiographs(path)) if path.is_dir() else []
        found.update(dict.fromkeys(inside or [path]))
    return tuple(found)


def _radiographs(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for path in (Path(place) / name for name in sorted(names)) if _is_tried(path))


def _is_tried(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name == "dicomdir" or path.suffix.lower() in OTHER_ENDINGS or not path.is_file():
        return False
    if name.endswith(IMAGE_ENDINGS):  # tried whatever it holds, so that a damaged one is reported
        return True
    try:
        return reader_of(path) is not None
    except ReadError:
        return False


def _read_ahead(paths: Sequence[Path]) -> Iterator[tuple[Path, Future[tuple[Radiograph, float]]]]:
    """Each path with its reading, the next path's already begun."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        ahead = pool.submit(_read, paths[0]) if paths else None
        for index, path in enumerate(paths):
            assert ahead is not None
            reading = ahead
            ahead = pool.submit(_read, paths[index + 1]) if index + 1 < len(paths) else None
            yield path, reading


def _read(path: Path) -> tuple[Radiograph, float]:
    """A radiograph and the seconds that reading it took."""
    if path.is_dir():
        raise ReadError(f"{path}: a folder without a radiograph; name one that holds {FORMATS}")
    start = time.perf_counter()
    radiograph = read_radiograph(path)
    return radiograph, time.perf_counter() - start


def _detect_one(
    path: Path, reading: Future[tuple[Radiograph, float]], detector: Detector, min_score: float
) -> Result | Failure:
    """The result of one file, or the sentence why there is none. KeyboardInterrupt passes through."""
    try:
        radiograph, seconds = reading.result()
        result = detector.detect(radiograph)
    except CxrcadError as error:
        return Failure(str(path), str(error))
    except MemoryError:
        return Failure(str(path), f"{path}: not enough memory for this image; close other programs or shrink it")
    except Exception as error:
        fault = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return Failure(str(path), f"{path}: not detected (internal error: {fault}); please report it with the file")
    return replace(
        result,
        path=str(path),
        findings=select(result.findings, min_score),
        seconds={**result.seconds, "read": result.seconds["read"] + seconds},
    )
