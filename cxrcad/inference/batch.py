"""Many radiographs through one detector: each file for itself, others read while the present ones are inferred."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from cxrcad.core import Failure, Outcome, Radiograph, Result, Skipped
from cxrcad.imaging.remote import path_of
from cxrcad.inference.candidates import select
from cxrcad.inference.detector import Detector
from cxrcad.inference.examining import Examined, Inferred
from cxrcad.inference.inputs import Inputs, empty_words, expand_paths, find_inputs
from cxrcad.inference.reading import Prepared, Reading, none_of
from cxrcad.inference.workers import Answer, Readers, Workers

__all__ = [
    "Detections",
    "Outcomes",
    "detect_each",
    "detect_files",
    "detect_paths",
    "expand_paths",
    "of_inputs",
    "reading_for",
]

log = logging.getLogger(__name__)

Outcomes = Generator[tuple[Outcome, Examined | None], None, None]
"""What becomes of one input after the other, a result with what it rests on."""


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
    workers: Workers | None = None,
) -> Detections:
    """Findings from `min_score` (the model's threshold when None) in each file; a bad file is a failure, not an end.

    Folders, zip archives and DICOMDIRs are replaced by what they hold (`find_inputs`). What is found in them and is no
    radiograph is skipped; what was named and is none is a failure, and so is a folder without a radiograph. `force`:
    what is no frontal chest radiograph by its header is detected in too, and the result's notes say so.

    Files are done in order. `on_result` is called with each result and the radiograph that it is of, then `on_done`
    with each result, failure or file that is skipped. Radiographs are not kept. `seconds` of a result: read is the file
    and its resampling, which overlap with the inference of the file before.

    Files are read in `workers`, processes of their own, or else in a thread; what is found is the same. Raises
    WorkerError where such a process cannot be started.
    """
    inputs = paths if isinstance(paths, Inputs) else find_inputs(paths)
    reading = reading_for(detector, force=force, pixels=on_result is not None)
    outcomes: list[Outcome] = []
    with closing(detect_each(inputs, detector, reading, min_score=min_score, workers=workers)) as found:
        for outcome, examined in found:
            outcomes.append(outcome)
            if isinstance(outcome, Result) and examined and examined.radiograph and on_result is not None:
                on_result(outcome, examined.radiograph)
            if on_done is not None:
                on_done(outcome)
    return Detections(
        tuple(one for one in outcomes if isinstance(one, Result)),
        tuple(one for one in outcomes if isinstance(one, Failure)),
        tuple(one for one in outcomes if isinstance(one, Skipped)),
    )


def reading_for(detector: Detector, *, force: bool, pixels: bool) -> Reading:
    """How files are read for a detector."""
    return Reading(detector.bundle.grid, detector.bundle.multiple, force, pixels)


def detect_each(
    inputs: Inputs,
    detector: Detector,
    reading: Reading,
    *,
    min_score: float | None = None,
    done: Collection[Path] = (),
    workers: Workers | None = None,
    note: Callable[[str], object] = log.info,
) -> Outcomes:
    """What `detect_paths` gathers, one by one, each result with what it rests on.

    The files of `done` are not read: their results are there. Close it to end the `workers`. Of as many files as
    `detector.batch` says those of one grid are inferred together; `note` is told where that fails.

    Named folders, archives and DICOMDIRs that turn out to hold no radiograph come last, as failures.
    """
    left = set(done)
    files = [file for file in inputs.files if file not in left]
    yield from of_inputs(inputs, detect_files(files, detector, reading, min_score, workers, note), done)


def of_inputs(inputs: Inputs, found: Outcomes, known: Collection[Path] = ()) -> Outcomes:
    """What becomes of all of `inputs`, of whose files an engine found what `found` gives; closes it.

    An engine may be any that gives an outcome for each file, in any order. Files of `known` have results already.
    """
    held, skipped = set[Path](), Counter[Path]()

    def counted(outcome: Outcome) -> Outcome:
        places = inputs.roots_of(path_of(outcome.path))
        if isinstance(outcome, Skipped):
            skipped.update(places)
        else:
            held.update(places)
        return outcome

    for skip in inputs.skipped:
        yield counted(skip), None
    for failure in inputs.failures:
        yield counted(failure), None
    for path in known:
        held.update(inputs.roots_of(path))
    with closing(found):
        for outcome, examined in found:
            if isinstance(outcome, Skipped) and path_of(outcome.path) not in inputs.origin:
                outcome = Failure(outcome.path, outcome.reason)  # it was named itself
            yield counted(outcome), examined
    for root in inputs.roots:
        if root not in held:
            yield Failure(str(root), empty_words(root, skipped[root])), None


def detect_files(
    files: Sequence[Path],
    detector: Detector,
    reading: Reading,
    min_score: float | None = None,
    workers: Workers | None = None,
    note: Callable[[str], object] = log.info,
) -> Outcomes:
    """What becomes of each file, in order: the engine of one machine. Close it to end the `workers`.

    With `workers` the network goes on while they cut findings from its maps: a few results are waited for at once, and
    each comes when it is done, though a file that is read meanwhile takes long.
    """
    least = detector.identity.threshold if min_score is None else min_score
    together = _Together(detector, note)
    waiting = deque[_Begun]()
    with Readers(reading, workers, detector.batch) as readers:
        reads = readers.read(files)
        while True:
            at_hand = list[tuple[Path, Answer]]()
            for path, answer in islice(reads, together.most):
                while waiting and waiting[0].before(answer):
                    yield waiting.popleft().outcome(least)
                at_hand.append((path, answer.result()))
            if not at_hand:
                break
            infer = together.infer([read for _, read in at_hand if isinstance(read, Prepared)])
            for path, read in at_hand:
                waiting.append(_begun(path, read, infer, readers))
                while waiting and (len(waiting) > readers.behind or waiting[0].done):
                    yield waiting.popleft().outcome(least)
        for begun in waiting:
            yield begun.outcome(least)


@dataclass(frozen=True)
class _Begun:
    """A file of which the network gave something, whose `result` is being made, or why it gave nothing."""

    path: Path
    given: Inferred | Failure | Skipped
    result: Future[Result] | None = None

    @property
    def done(self) -> bool:
        return self.result is None or self.result.done()

    def before(self, other: Future[Answer]) -> bool:
        """Whether it is done before `other` is, or as soon; waits for one of them."""
        if self.result is not None:
            either: tuple[Future[Any], Future[Any]] = self.result, other
            wait(either, return_when=FIRST_COMPLETED)
        return self.done

    def outcome(self, least: float) -> tuple[Outcome, Examined | None]:
        """The result with what it rests on, or why there is none. KeyboardInterrupt passes through."""
        if not isinstance(self.given, Inferred):
            return self.given, None
        assert self.result is not None
        try:
            result = self.result.result()
            result = replace(result, path=str(self.path), findings=select(result.findings, least))
        except Exception as error:
            return none_of(self.path, error), None
        return result, self.given.examined(result)


def _begun(path: Path, read: Answer, infer: Iterator[Callable[[], Inferred]], readers: Readers) -> _Begun:
    """One file, inferred; `infer` has what infers the next image."""
    if not isinstance(read, Prepared):
        return _Begun(path, read)
    try:
        inferred = next(infer)()
    except Exception as error:
        return _Begun(path, none_of(path, error))
    return _Begun(path, inferred, readers.result(inferred))


class _Together:
    """Images through the network together, at most `most`: fewer once that many have failed where a part did not."""

    def __init__(self, detector: Detector, note: Callable[[str], object]) -> None:
        self.detector, self.most, self._note = detector, detector.batch, note

    def infer(self, images: Sequence[Prepared]) -> Iterator[Callable[[], Inferred]]:
        """For each image, in order, what infers it; the first of a grid infers all of that grid."""
        of_grid = defaultdict[tuple[int, ...], list[Prepared]](list)
        for image in images:
            of_grid[image.image.shape].append(image)
        coming = {shape: self._of_one_grid(same) for shape, same in of_grid.items()}
        for image in images:
            yield next(coming[image.image.shape])

    def _of_one_grid(self, images: Sequence[Prepared]) -> Iterator[Callable[[], Inferred]]:
        if len(images) == 1:
            yield partial(self.detector.infer, images[0])
            return
        start = time.perf_counter()
        try:
            maps = self.detector.run([image.image for image in images])
        except Exception as error:
            half = len(images) // 2
            if half < self.most:
                self.most = half
                self._note(f"{error}; {half} at a time from here on")
            yield from self._of_one_grid(images[:half])
            yield from self._of_one_grid(images[half:])
            return
        seconds = (time.perf_counter() - start) / len(images)
        for image, own in zip(images, maps, strict=True):
            yield partial(Inferred, self.detector.bundle, image, own, seconds)
