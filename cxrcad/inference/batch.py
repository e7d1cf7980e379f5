"""Many radiographs through one detector: each file for itself, the next one read while the present one is inferred."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad.core import CxrcadError, Failure, NotRadiographError, Outcome, Radiograph, Result, Skipped
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.candidates import select
from cxrcad.inference.detector import Detector
from cxrcad.inference.inputs import Inputs, empty_words, expand_paths, find_inputs

__all__ = ["Detections", "detect_each", "detect_paths", "expand_paths"]


@dataclass(frozen=True)
class Detections:
    """What many inputs gave: each is in `results`, `failures` or `skipped`, in the order of the inputs."""

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    skipped: tuple[Skipped, ...] = ()


def detect_paths(
    paths: Sequence[Path] | Inputs,
    detector: Detector,
    *,
    min_score: float | None = None,
    force: bool = False,
    on_result: Callable[[Result, Radiograph], None] | None = None,
    on_done: Callable[[Outcome], None] | None = None,
) -> Detections:
    """Findings from `min_score` (the model's threshold when None) in each file; a bad file is a failure, not an end.

    Folders, zip archives and DICOMDIRs are replaced by what they hold (`find_inputs`). What is found in them and is no
    radiograph is skipped; what was named and is none is a failure, and so is a folder without a radiograph. `force`:
    what is no frontal chest radiograph by its header is detected in too, and the result's notes say so.

    Files are done in order. `on_result` is called with each result and the radiograph that it is of, then `on_done`
    with each result, failure or file that is skipped. Radiographs are not kept. `seconds` of a result: read is the file
    and its resampling, which overlap with the inference of the file before.
    """
    inputs = paths if isinstance(paths, Inputs) else find_inputs(paths)
    outcomes: list[Outcome] = []
    for outcome, radiograph in detect_each(inputs, detector, min_score=min_score, force=force):
        outcomes.append(outcome)
        if isinstance(outcome, Result) and radiograph is not None and on_result is not None:
            on_result(outcome, radiograph)
        if on_done is not None:
            on_done(outcome)
    return Detections(
        tuple(one for one in outcomes if isinstance(one, Result)),
        tuple(one for one in outcomes if isinstance(one, Failure)),
        tuple(one for one in outcomes if isinstance(one, Skipped)),
    )


def detect_each(
    inputs: Inputs,
    detector: Detector,
    *,
    min_score: float | None = None,
    force: bool = False,
    done: Collection[Path] = (),
) -> Iterator[tuple[Outcome, Radiograph | None]]:
    """What `detect_paths` gathers, one by one, each result with its radiograph; none is kept.

    The files of `done` are not read: their results are there.

    Named folders, archives and DICOMDIRs that turn out to hold no radiograph come last, as failures.
    """
    least = detector.identity.threshold if min_score is None else min_score
    held, skipped = set[Path](), Counter[Path]()

    def counted(outcome: Outcome) -> Outcome:
        places = _roots(Path(outcome.path), inputs)
        if isinstance(outcome, Skipped):
            skipped.update(places)
        else:
            held.update(places)
        return outcome

    for skip in inputs.skipped:
        yield counted(skip), None
    for failure in inputs.failures:
        yield counted(failure), None
    for path in done:
        held.update(_roots(path, inputs))
    left = set(done)
    for path, reading in _read_ahead([file for file in inputs.files if file not in left], force):
        outcome = _detect_one(path, reading, detector, least, found=path in inputs.origin)
        yield counted(outcome), reading.result()[0] if isinstance(outcome, Result) else None
    for root in inputs.roots:
        if root not in held:
            yield Failure(str(root), empty_words(root, skipped[root])), None


def _roots(path: Path, inputs: Inputs) -> set[Path]:
    """Those of the folders, archives and DICOMDIRs that were named which the file lies in."""
    origin = inputs.origin.get(path)
    return {root for root in inputs.roots if root in (path, origin) or root in path.parents}


def _read_ahead(paths: Sequence[Path], force: bool) -> Iterator[tuple[Path, Future[tuple[Radiograph, float]]]]:
    """Each path with its reading, the next path's already begun."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        ahead = pool.submit(_read, paths[0], force) if paths else None
        for index, path in enumerate(paths):
            assert ahead is not None
            reading = ahead
            ahead = pool.submit(_read, paths[index + 1], force) if index + 1 < len(paths) else None
            yield path, reading


def _read(path: Path, force: bool) -> tuple[Radiograph, float]:
    """A radiograph and the seconds that reading it took."""
    start = time.perf_counter()
    radiograph = read_radiograph(path, force)
    return radiograph, time.perf_counter() - start


def _detect_one(
    path: Path, reading: Future[tuple[Radiograph, float]], detector: Detector, min_score: float, *, found: bool
) -> Outcome:
    """The result of one file, or the sentence why there is none. KeyboardInterrupt passes through.

    `found`: it was not named itself, so it is skipped where it is no radiograph.
    """
    try:
        radiograph, seconds = reading.result()
        result = detector.detect(radiograph)
    except NotRadiographError as error:
        return Skipped(str(path), str(error)) if found else Failure(str(path), str(error))
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
