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
from cxrcad.core import Failure, Outcome, Result, UsageError, WorkerError, WriteError, counted
from cxrcad.files import Progress, check_folder, names_in
from cxrcad.imaging.notes import kind_of, remarks
from cxrcad.imaging.read import content_sha256
from cxrcad.inference.batch import Outcomes, detect_each, reading_for
from cxrcad.inference.detector import Detector
from cxrcad.inference.examining import Examined
from cxrcad.inference.identifiers import Names
from cxrcad.inference.inputs import Inputs, find_inputs, part_of
from cxrcad.inference.model import Bundle, resolve_model
from cxrcad.inference.workers import Workers
from cxrcad.interchange import boxes
from cxrcad.interchange.boxes import SCORE_DECIMALS, Found
from cxrcad.interchange.journal import ENDING, Journal
from cxrcad.interchange.outputs import check_places, put_aside, write_outputs
from cxrcad.pacs.evidence import Author
from cxrcad.pacs.objects import NOT_DICOM, Objects, object_names
from cxrcad.report.drawing.overlay import write_overlay
from cxrcad.report.findings import Pictures, write_findings_page
from cxrcad.report.html import Made

__all__ = ["Remarks", "Summary", "detect_to_file", "find_of", "model_of", "open_detector"]

OF_BEFORE = "the result of the run before"


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
    return Detector.open(model_of(config), config.device, config.threads, config.inference_batch)


def model_of(config: DetectConfig) -> Bundle:
    """The model that `config` asks for, with the settings of `config.find` that were changed. As `open_detector`."""
    check_one_threshold(config.operating_point, config.find.threshold)
    bundle = resolve_model(config.model, config.lesion)
    if config.operating_point is not None:
        bundle = bundle.at_operating_point(config.operating_point)
    return replace(bundle, find=config.find.applied_to(bundle.find))


def detect_to_file(
    config: DetectConfig,
    paths: Sequence[Path],
    out: Path | Callable[[str], object],
    overlay: Path | None,
    progress: Progress,
    beside: Mapping[str, Path] | None = None,
    objects: Mapping[str, Path] | None = None,
    lasting: Mapping[str, str] | None = None,
) -> Summary:
    """Find nodules in the files, folders, zip archives and DICOMDIRs of `paths`.

    `out` is a file, written in the format of its ending (`cxrcad.interchange.outputs`), or takes boxes.json's text. A
    file that fails is in the document's failures and in `Summary.failed`; one that was found in a folder or archive and
    is no radiograph is in its `skipped`. `beside` are other files of the same results by their option: --csv, --coco,
    --node21, and --html, a page of all cases. `objects` are the folders of DICOM objects by their kind
    (`cxrcad.pacs.objects.KINDS`); a radiograph of which one cannot be made counts as failed in `Summary.failed` alone.
    `lasting` are the names of files whose paths are temporary; they are called by these.

    What is done is kept at once in a journal beside `out`, from which all are written in the end, also where the work
    is stopped. With `config.resume` the work goes on from that journal, or from the finished boxes.json: files of the
    same content are not read again. Without `config.identifiers` no path, name or UID is in what is written: only
    `progress` is told of them. Raises ModelError, WriteError, UsageError.
    """
    started = time.monotonic()
    found = find_inputs(paths)
    inputs = part_of(found, config.shard)
    file = out if isinstance(out, Path) else None
    places = {**({} if file is None else {"--out": file}), **(beside or {})}
    check_places(places, inputs.on_disk)
    if file is None and config.resume:
        raise UsageError("--resume: what went to standard output cannot be gone on with; name a file with --out")
    if objects and not config.identifiers:
        options = ", ".join(f"--{kind}" for kind in objects)
        raise UsageError(f"--no-identifiers: a DICOM object names patient, study and image; leave out {options}")
    names = Names(found, config.identifiers, lasting or {})
    overlays = _overlays(overlay, found, names)
    objects_of = object_names(found.files, found.on_disk, objects or {})
    detector = open_detector(config)
    least = config.min_score if config.min_score is not None else detector.bundle.threshold
    find = find_of(detector.bundle, least)
    place = file and file.with_name(file.name + ENDING)
    resume = file if config.resume else None
    with Journal(place, detector.identity, find, resume=resume, identifiers=config.identifiers) as kept:
        if kept.put_aside is not None:
            progress.note(f"{kept.put_aside}: of a run that did not end; --resume would have gone on from it")
        lungs = detector.lungs if "lung" in detector.bundle.tasks else None
        made = Objects(objects_of, Author(detector.identity, find), detector.bundle.lesion, lungs)
        pictures = Pictures(names.files)
        _Job(inputs, names, detector, least, find, overlays, kept, out, places, made, pictures).run(progress, config)
        sentence = _sentence(kept, len(made.without), time.monotonic() - started, file)
        return Summary(sentence, len(kept.failures) + len(made.without))


class Remarks:
    """What is told of inputs: of those of one kind the first, and in the end how many there are."""

    def __init__(self) -> None:
        self._told = Counter[str]()

    def first(self, kind: str) -> bool:
        """Count one more of a kind; whether it is the first."""
        self._told[kind] += 1
        return self._told[kind] == 1

    def of(self, outcome: Outcome, name: str) -> list[str]:
        """What is told of an input of this name: its failure, and its remarks of a kind that was not told before."""
        if isinstance(outcome, Failure):
            return [f"failed: {outcome.error}" + (f" (written as {name})" if name != outcome.path else "")]
        found = {kind_of(note): note for note in remarks(outcome.notes if isinstance(outcome, Result) else ())}
        return [f"{outcome.path}: {note}" for kind, note in found.items() if self.first(kind)]

    def in_all(self) -> list[str]:
        """How many images there are of each kind that has several."""
        return [f"{number:,} images have a note as this: {kind}" for kind, number in self._told.items() if number > 1]


@dataclass(frozen=True)
class _Job:
    """One detection: what is read, with what, and where it goes."""

    inputs: Inputs
    names: Names
    detector: Detector
    least: float
    find: Mapping[str, Any]
    overlays: Callable[[str], Path | None] | None
    kept: Journal
    out: Path | Callable[[str], object]
    places: Mapping[str, Path]
    objects: Objects
    pictures: Pictures
    told: Remarks = field(default_factory=Remarks)

    def run(self, progress: Progress, config: DetectConfig) -> None:
        """Detect in what is not done yet, then write `out`. Ctrl-C and what cannot be written end it, `out` written."""
        files = self.inputs.files
        same = [file for file in files if self._is_same(file)] if len(self.kept) else []
        self.kept.keep_only(self.names.of(str(file)) for file in same)
        done = [file for file in same if self._is_drawn(file)]
        for path in self.objects.without:
            self._tell_of_none(path, progress)
        if config.resume:
            progress.note(f"{len(done):,} of {counted(len(files), 'file')} done before")
        progress.start(f"{self.detector.bundle.name} on {self.detector.provider}", len(files), len(done))
        left = {str(file) for file in files}.difference(map(str, done))
        count = len(done)
        try:
            with closing(self._found(config, done, progress.note)) as found:
                for outcome, examined in found:
                    written = self.names.written(outcome)
                    if isinstance(written, Result):
                        written = replace(written, overlay=self._shown_overlay(written.path))
                    self.kept.add(written)
                    if outcome.path in left:
                        count += 1
                        progress.step(count)
                    if isinstance(written, Result) and examined is not None:
                        self._draw(written, outcome.path, examined, progress)
                    for note in self.told.of(written if config.identifiers else outcome, written.path):
                        progress.note(note)
        except (KeyboardInterrupt, WorkerError, WriteError) as stop:
            words = (str(stop) or "stopped", self._held(count))
            raise type(stop)("; ".join(filter(None, words))) from stop
        for note in self.told.in_all():
            progress.note(note)
        if not len(self.kept) and (before := self._put_aside()):  # as of a path that was mistyped
            progress.note(before)
        self._write(complete=True)
        self.kept.remove()

    def _found(self, config: DetectConfig, done: Sequence[Path], note: Callable[[str], object]) -> Outcomes:
        """What comes of each input, with its radiograph where something is made of that."""
        pixels = "--html" in self.places or self.overlays is not None or bool(self.objects.names)
        reading = reading_for(self.detector, force=config.force, pixels=pixels)
        workers = Workers.fitting(len(self.inputs.files) - len(done), config.workers, config.timeout)
        wanted = config.inference_batch or 1
        if wanted > self.detector.batch:
            note(f"--batch {wanted}: {self.detector.bundle.name} takes one image at a time; export it again")
        return detect_each(
            self.inputs, self.detector, reading, min_score=self.least, done=done, workers=workers, note=note
        )

    def _held(self, count: int) -> str:
        """Write the `count` inputs that were done before a stop, and say where they stand; "" where none was."""
        if not count:
            if not len(self.kept):  # else results of before whose overlays are missing
                self.kept.remove()
            return ""
        before = self._put_aside()
        self._write(complete=False)
        done = f"holds the {count} of {counted(len(self.inputs.files), 'file')} that were done"
        if not isinstance(self.out, Path):
            return f"the document {done}"
        return f"{self.out} {done}; --resume goes on" + (f"; {before}" if before else "")

    def _put_aside(self) -> str:
        """Keep the files of a finished run that found more; the words where they stand, "" without one."""
        kept = put_aside(self.places, len(self.kept))
        return f"{', '.join(map(str, kept))}: {OF_BEFORE}" if kept else ""

    def _is_same(self, file: Path) -> bool:
        """Whether a result of the file's content is kept."""
        sha256 = self.kept.sha256_of(self.names.of(str(file)))
        return sha256 is not None and content_sha256(file) == sha256

    def _is_drawn(self, file: Path) -> bool:
        """Whether the overlay and the objects that are wanted of the file, of which a result is kept, are there."""
        name = self.names.of(str(file))
        overlay, shown = self._overlay_of(name), self._shown_overlay(name)
        if overlay is not None and not (shown == self.kept.overlay_of(name) and overlay.is_file()):
            return False
        return self.objects.are_there(file)

    def _overlay_of(self, name: str) -> Path | None:
        """The picture to draw of the input of this name."""
        return self.overlays(name) if self.overlays is not None else None

    def _shown_overlay(self, name: str) -> str | None:
        """What is written of the picture's path: without identifiers the last part."""
        overlay = self._overlay_of(name)
        return None if overlay is None else str(overlay) if self.names.identifiers else overlay.name

    def _results(self) -> Iterator[Result]:
        """What is kept of the inputs, in their order; overlays are those of this run."""
        for result in self.kept.results(self.names.given(map(str, self.inputs.files))):
            yield replace(result, overlay=self._shown_overlay(result.path))

    def _draw(self, result: Result, path: str, examined: Examined, progress: Progress) -> None:
        radiograph = examined.radiograph
        if radiograph is None:
            return
        if "--html" in self.places:
            self.pictures.add(result.path, radiograph)
        overlay = self._overlay_of(result.path)
        if overlay is not None:
            write_overlay(radiograph, result.findings, overlay, threshold=self.detector.bundle.threshold)
        if self.objects.write(replace(result, path=path), examined) is not None:
            self._tell_of_none(path, progress)

    def _tell_of_none(self, path: str, progress: Progress) -> None:
        """Say why a radiograph has no DICOM object; of files that are no DICOM, for the first alone."""
        sentence = self.objects.without[path]
        if NOT_DICOM not in sentence or self.told.first(NOT_DICOM):
            progress.note(self.names.told(path, sentence))

    def _write(self, complete: bool) -> None:
        kept, results = self.kept, _Again(self._results)
        failures, skipped = self.names.ordered(kept.failures), self.names.ordered(kept.skipped)
        identity, identifiers = self.detector.identity, self.names.identifiers
        found = Found(identity, results, failures, self.find, skipped, complete, identifiers, self.inputs.shard)
        if not isinstance(self.out, Path):
            self.out("".join(boxes.write(found)))
        try:
            write_outputs(self.places, found)
            if "--html" in self.places:
                found = replace(found, results=tuple(results))
                _write_html(self.places["--html"], found, self.pictures, identifiers)
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


def find_of(bundle: Bundle, least: float) -> dict[str, Any]:
    """The `find` of boxes.json: how findings are cut, and from which score they are listed."""
    find = {**to_dict(bundle.find), "min_score": round(least, SCORE_DECIMALS)}
    del find["threshold"], find["lung_threshold"]  # the one stands with the model, the other cuts no finding
    find["settings_sha256"] = bundle.settings_sha256
    if bundle.operating_point is not None:
        find["operating_point"] = bundle.operating_point
    if bundle.calibration is not None:
        find["calibrated"] = True
    return find


def _overlays(overlay: Path | None, found: Inputs, names: Names) -> Callable[[str], Path | None] | None:
    """The picture of each input by its name, in the folder `overlay`; None where none is drawn. UsageError."""
    if overlay is None:
        return None
    if names.identifiers:  # all parts know the names of all
        places = names_in(overlay, found.files, ".png", found.on_disk, "--overlay")
        return {names.lasting.get(file, file): place for file, place in places.items()}.get
    check_folder(overlay, f"--overlay {overlay}")
    inside = [file for file in found.on_disk if os.path.realpath(file.parent) == os.path.realpath(overlay)]
    if inside:
        raise UsageError(f"--overlay {overlay}: {inside[0]} is a radiograph in it; name a folder that holds none")
    return lambda name: overlay / f"{name}.png"


def _write_html(html: Path, found: Found, pictures: Pictures, identifiers: bool) -> None:
    """Write the page; the command on it names no folder, which may be called after a patient."""
    command = shlex.join(["cxrcad", "detect", *(["--html", html.name] if identifiers else ["--no-identifiers"])])
    write_findings_page(html, found, Made.today(command), pictures)


def _sentence(kept: Journal, without: int, seconds: float, out: Path | None) -> str:
    text = f"{counted(len(kept), 'image')} done, {counted(kept.findings, 'finding')}"
    text += f", {len(kept.failures)} failed" if kept.failures else ""
    text += f", {len(kept.skipped)} skipped" if kept.skipped else ""
    text += f", {without} without a DICOM object" if without else ""
    return f"{text}, {seconds:.1f} s" + (f"; {out}" if out is not None else "")
