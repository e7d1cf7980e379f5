"""`cxrcad detect` as a library call: paths -> boxes.json, overlays, and one sentence of summary."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cxrcad.config import DetectConfig, check_one_threshold, to_dict
from cxrcad.core import Failure, Outcome, Radiograph, Result, UsageError, WorkerError, WriteError, counted
from cxrcad.files import Progress, names_in
from cxrcad.imaging.notes import kind_of, remarks
from cxrcad.imaging.read import content_sha256
from cxrcad.inference.batch import Outcomes, detect_each, reading_for
from cxrcad.inference.detector import Detector
from cxrcad.inference.inputs import Inputs, find_inputs, part_of
from cxrcad.inference.model import Bundle, resolve_model
from cxrcad.inference.workers import Workers
from cxrcad.interchange import boxes
from cxrcad.interchange.boxes import SCORE_DECIMALS
from cxrcad.interchange.journal import ENDING, Journal
from cxrcad.interchange.outputs import check_places, write_outputs
from cxrcad.pacs.evidence import Author
from cxrcad.pacs.objects import Objects, object_names
from cxrcad.report.drawing.overlay import write_overlay
from cxrcad.report.findings import Found, Pictures, write_findings_page
from cxrcad.report.html import Made

__all__ = ["Summary", "detect_to_file", "open_detector"]


@dataclass(frozen=True)
class Summary:
    """What a detection came to, and how many inputs failed."""

    sentence: str
    failed: int


def open_detector(config: DetectConfig) -> Detector:
    """The detector that `config` asks for: its model, with the settings of `config.find` that were changed.

    Raises ModelError, also for a model that is made for another lesion than `config.lesion`, and UsageError for an
    operating point that it does not have.
    """
    check_one_threshold(config.operating_point, config.find.threshold)
    bundle = resolve_model(config.model, config.lesion)
    if config.operating_point is not None:
        bundle = bundle.at_operating_point(config.operating_point)
    bundle = replace(bundle, find=config.find.applied_to(bundle.find))
    return Detector.open(bundle, config.device, config.threads)


def detect_to_file(
    config: DetectConfig,
    paths: Sequence[Path],
    out: Path | Callable[[str], object],
    overlay: Path | None,
    progress: Progress,
    beside: Mapping[str, Path] | None = None,
    objects: Mapping[str, Path] | None = None,
) -> Summary:
    """Find nodules in the files, folders, zip archives and DICOMDIRs of `paths`.

    `out` is a file, written in the format of its ending (`cxrcad.interchange.outputs`), or takes boxes.json's text. A
    file that fails is in the document's failures and in `Summary.failed`; one that was found in a folder or archive and
    is no radiograph is in its `skipped`. `beside` are other files of the same results by their option: --csv, --coco,
    --node21, and --html, a page of all cases. `objects` are the folders of DICOM objects by their kind
    (`cxrcad.pacs.objects.KINDS`); a radiograph of which one cannot be made counts as failed in `Summary.failed` alone.

    What is done is kept at once in a journal beside `out`, from which all are written in the end, also where the work
    is stopped. With `config.resume` the work goes on from that journal, or from the finished boxes.json: files of the
    same content are not read again. Raises ModelError, WriteError, UsageError.
    """
    started = time.monotonic()
    found = find_inputs(paths)
    inputs = part_of(found, config.shard)
    file = out if isinstance(out, Path) else None
    places = {**({} if file is None else {"--out": file}), **(beside or {})}
    check_places(places, inputs.on_disk)
    if file is None and config.resume:
        raise UsageError("--resume: what went to standard output cannot be gone on with; name a file with --out")
    overlays: dict[str, Path] = {}
    if overlay:  # all parts know the names of all
        overlays = names_in(overlay, found.files, ".png", found.on_disk, "--overlay")
    names = object_names(found.files, found.on_disk, objects or {})
    detector = open_detector(config)
    least = config.min_score if config.min_score is not None else detector.bundle.threshold
    find = _find(detector.bundle, least)
    place = file and file.with_name(file.name + ENDING)
    with Journal(place, detector.identity, find, resume=file if config.resume else None) as kept:
        if kept.put_aside is not None:
            progress.note(f"{kept.put_aside}: of a run that did not end; --resume would have gone on from it")
        lungs = detector.lungs if "lung" in detector.bundle.tasks else None
        made = Objects(names, Author(detector.identity, find), detector.bundle.lesion, lungs)
        _Job(inputs, detector, least, find, overlays, kept, out, places, made).run(progress, config)
        sentence = _sentence(kept, len(made.without), time.monotonic() - started, file)
        return Summary(sentence, len(kept.failures) + len(made.without))


@dataclass(frozen=True)
class _Job:
    """One detection: what is read, with what, and where it goes."""

    inputs: Inputs
    detector: Detector
    least: float
    find: Mapping[str, Any]
    overlays: Mapping[str, Path]
    kept: Journal
    out: Path | Callable[[str], object]
    places: Mapping[str, Path]
    objects: Objects
    pictures: Pictures = field(default_factory=Pictures)
    told: Counter[str] = field(default_factory=Counter)

    def run(self, progress: Progress, config: DetectConfig) -> None:
        """Detect in what is not done yet, then write `out`. Ctrl-C and what cannot be written end it, `out` written."""
        files = self.inputs.files
        self.kept.keep_only(map(str, files))
        done = [file for file in files if self._is_done(file)]
        for sentence in self.objects.without.values():
            progress.note(sentence)
        if config.resume:
            progress.note(f"{len(done):,} of {counted(len(files), 'file')} done before")
        progress.start(f"{self.detector.bundle.name} on {self.detector.provider}", len(files), len(done))
        left = {str(file) for file in files}.difference(map(str, done))
        count = len(done)
        try:
            with closing(self._found(config, done)) as found:
                for outcome, radiograph in found:
                    if isinstance(outcome, Result):
                        outcome = replace(outcome, overlay=self._overlay_of(outcome.path))
                    self.kept.add(outcome)
                    if outcome.path in left:
                        count += 1
                        progress.step(count)
                    if isinstance(outcome, Result) and radiograph is not None:
                        self._draw(outcome, radiograph, progress)
                    for note in self._notes(outcome):
                        progress.note(note)
        except (KeyboardInterrupt, WorkerError, WriteError) as stop:
            words = (str(stop) or "stopped", self._held(count))
            raise type(stop)("; ".join(filter(None, words))) from stop
        for kind, number in self.told.items():
            if number > 1:
                progress.note(f"{number:,} images have a note as this: {kind}")
        self._write(complete=True)
        self.kept.remove()

    def _found(self, config: DetectConfig, done: Sequence[Path]) -> Outcomes:
        """What comes of each input, with its radiograph where something is made of that."""
        pixels = "--html" in self.places or bool(self.overlays or self.objects.names)
        reading = reading_for(self.detector, force=config.force, pixels=pixels)
        workers = Workers.fitting(len(self.inputs.files) - len(done), config.workers, config.timeout)
        return detect_each(self.inputs, self.detector, reading, min_score=self.least, done=done, workers=workers)

    def _notes(self, outcome: Outcome) -> list[str]:
        """What is told of an input: its failure, and its remarks of a kind that was not told before."""
        if isinstance(outcome, Failure):
            return [f"failed: {outcome.error}"]
        found = {kind_of(note): note for note in remarks(outcome.notes if isinstance(outcome, Result) else ())}
        self.told.update(found.keys())
        return [f"{outcome.path}: {note}" for kind, note in found.items() if self.told[kind] == 1]

    def _held(self, count: int) -> str:
        """Write the `count` inputs that were done before a stop, and say where they stand; "" where none was."""
        if not count:
            if not len(self.kept):  # else results of before whose overlays are missing
                self.kept.remove()
            return ""
        self._write(complete=False)
        done = f"holds the {count} of {counted(len(self.inputs.files), 'file')} that were done"
        return f"{self.out} {done}; --resume goes on" if isinstance(self.out, Path) else f"the document {done}"

    def _is_done(self, file: Path) -> bool:
        """Whether the file's result is kept, of the same content, with the overlay and objects that are wanted."""
        sha256, overlay = self.kept.sha256_of(str(file)), self._overlay_of(str(file))
        if sha256 is None or (overlay and not (overlay == self.kept.overlay_of(str(file)) and os.path.isfile(overlay))):
            return False
        return content_sha256(file) == sha256 and self.objects.are_there(file)

    def _overlay_of(self, path: str) -> str | None:
        return str(self.overlays[path]) if path in self.overlays else None

    def _results(self) -> Iterator[Result]:
        """What is kept of the inputs, in their order; overlays are those of this run."""
        for result in self.kept.results([str(file) for file in self.inputs.files]):
            yield replace(result, overlay=self._overlay_of(result.path))

    def _draw(self, result: Result, radiograph: Radiograph, progress: Progress) -> None:
        if "--html" in self.places:
            self.pictures.add(result.path, radiograph)
        if result.path in self.overlays:
            threshold = self.detector.bundle.threshold
            write_overlay(radiograph, result.findings, self.overlays[result.path], threshold=threshold)
        sentence = self.objects.write(result, radiograph)
        if sentence is not None:
            progress.note(sentence)

    def _write(self, complete: bool) -> None:
        kept, identity, results = self.kept, self.detector.identity, _Again(self._results)
        parts = (identity, results, kept.failures, self.find, kept.skipped, complete)
        if not isinstance(self.out, Path):
            self.out("".join(boxes.write(*parts)))
        try:
            write_outputs(self.places, lambda write: write(*parts))
            if "--html" in self.places:
                found = Found(identity, tuple(results), kept.failures, kept.skipped, self.find)
                _write_html(self.places["--html"], found, self.pictures)
        except WriteError as error:
            if kept.path is None:
                raise
            held = f"{kept.path} holds what was found, and --resume goes on from it"
            lost = f"{kept.path} was removed too, and what was found is lost"
            raise WriteError(f"{error}; {held if kept.is_there else lost}") from None


@dataclass(frozen=True)
class _Again(Iterable[Result]):
    """Results that are read from the journal each time that they are gone through."""

    read: Callable[[], Iterator[Result]]

    def __iter__(self) -> Iterator[Result]:
        return self.read()


def _find(bundle: Bundle, least: float) -> dict[str, Any]:
    """The `find` of boxes.json: how findings are cut, and from which score they are listed."""
    find = {**to_dict(bundle.find), "min_score": round(least, SCORE_DECIMALS)}
    del find["threshold"], find["lung_threshold"]  # the one stands with the model, the other cuts no finding
    find["settings_sha256"] = bundle.settings_sha256
    if bundle.operating_point is not None:
        find["operating_point"] = bundle.operating_point
    if bundle.calibration is not None:
        find["calibrated"] = True
    return find


def _write_html(html: Path, found: Found, pictures: Pictures) -> None:
    """Write the page; the command on it names no folder, which may be called after a patient."""
    command = shlex.join(["cxrcad", "detect", "--html", html.name])
    write_findings_page(html, found, Made.today(command), pictures)


def _sentence(kept: Journal, without: int, seconds: float, out: Path | None) -> str:
    text = f"{counted(len(kept), 'image')} done, {counted(kept.findings, 'finding')}"
    text += f", {len(kept.failures)} failed" if kept.failures else ""
    text += f", {len(kept.skipped)} skipped" if kept.skipped else ""
    text += f", {without} without a DICOM object" if without else ""
    return f"{text}, {seconds:.1f} s" + (f"; {out}" if out is not None else "")
