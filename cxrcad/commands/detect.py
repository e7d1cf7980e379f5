"""`cxrcad detect` as a library call: paths -> boxes.json, overlays, and one sentence of summary."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrcad.config import DetectConfig, check_one_threshold, to_dict
from cxrcad.core import Failure, Radiograph, Result, Skipped, UsageError, WriteError, counted
from cxrcad.files import Progress, check_folder, write_atomically
from cxrcad.inference.batch import Detections, detect_paths
from cxrcad.inference.detector import Detector
from cxrcad.inference.inputs import Inputs, find_inputs
from cxrcad.inference.model import Bundle, resolve_model
from cxrcad.interchange import boxes
from cxrcad.interchange.boxes import SCORE_DECIMALS
from cxrcad.interchange.outputs import output_for
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
    html: Path | None = None,
) -> Summary:
    """Find nodules in the files, folders, zip archives and DICOMDIRs of `paths`.

    `out` is a file, written in the format of its ending (`cxrcad.interchange.outputs`), or takes boxes.json's text. A
    file that fails is in the document's failures and in `Summary.failed`; one that was found in a folder or archive and
    is no radiograph is in its `skipped`. `html` is the file of a page of all cases. Where the work is stopped, both get
    the files that were done. Raises ModelError, WriteError, UsageError.
    """
    inputs = find_inputs(paths)
    _check_files(out, html, inputs.on_disk)
    pictures = Pictures()
    overlays = _overlay_names(inputs, overlay) if overlay else {}
    detector = open_detector(config)
    least = config.min_score if config.min_score is not None else detector.bundle.threshold
    progress.start(f"{detector.bundle.name} on {detector.provider}", len(inputs.files), 0)
    started = time.monotonic()
    results: list[Result] = []
    failures: list[Failure] = []
    skipped: list[Skipped] = []
    found = Found(detector.identity, results, failures, skipped, _find(detector.bundle, least))

    def on_result(result: Result, radiograph: Radiograph) -> None:
        results.append(result)
        if html is not None:
            pictures.add(result.path, radiograph)
        if result.path in overlays:
            threshold = detector.bundle.threshold
            write_overlay(radiograph, result.findings, overlays[result.path], threshold=threshold)

    def on_done(outcome: Result | Failure | Skipped) -> None:
        if isinstance(outcome, Failure):
            failures.append(outcome)
            progress.note(f"failed: {outcome.error}")
        elif isinstance(outcome, Skipped):
            skipped.append(outcome)
        if (count := _tried(found, inputs)) > 0:
            progress.step(min(count, len(inputs.files)))

    try:
        done = detect_paths(inputs, detector, min_score=least, on_result=on_result, on_done=on_done)
    except (KeyboardInterrupt, WriteError):
        if (count := _tried(found, inputs)) > 0:
            _write(out, html, found, pictures)
            place = out if isinstance(out, Path) else "the document"
            progress.note(f"stopped: {place} holds the {count} of {counted(len(inputs.files), 'file')} that were done")
        raise
    _write(out, html, found, pictures)
    return Summary(_sentence(done, time.monotonic() - started, out), len(failures))


def _tried(found: Found, inputs: Inputs) -> int:
    """How many files were read or refused, beside those that were never tried."""
    count = len(found.results) + len(found.failures) + len(found.skipped)
    return count - len(inputs.failures) - len(inputs.skipped)


def _write(out: Path | Callable[[str], object], html: Path | None, found: Found, pictures: Pictures) -> None:
    if isinstance(out, Path):
        form = output_for(out).write
        write_atomically(out, form(found.identity, found.results, found.failures, found.find, found.skipped))
    else:
        out(boxes.write(found.identity, found.results, found.failures, found.find, found.skipped))
    if html is not None:
        _write_html(html, found, pictures)


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


def _check_files(out: Path | Callable[[str], object], html: Path | None, files: Sequence[Path]) -> None:
    """Raise before any work where boxes.json or the page cannot be written or would overwrite a radiograph."""
    if isinstance(out, Path):
        _check_file("--out", out, "boxes.json", files)
    if html is None:
        return
    if str(html) == "-":
        raise UsageError("--html -: the page is not written to standard output; name a file")
    if isinstance(out, Path) and os.path.realpath(html) == os.path.realpath(out):
        raise UsageError(f"--html {html}: is also the file of --out; name another file")
    _check_file("--html", html, "page.html", files)


def _check_file(option: str, path: Path, example: str, files: Sequence[Path]) -> None:
    if path.is_dir():
        raise UsageError(f"{option} {path}: is a folder; name the file, for example {path / example}")
    if os.path.realpath(path) in map(os.path.realpath, files):
        raise UsageError(f"{option} {path}: is one of the radiographs and would be overwritten; name another file")
    check_folder(path.parent, f"{option} {path}")


def _write_html(html: Path, found: Found, pictures: Pictures) -> None:
    """Write the page; the command on it names no folder, which may be called after a patient."""
    command = shlex.join(["cxrcad", "detect", "--html", html.name])
    write_findings_page(html, found, Made.today(command), pictures)


def _overlay_names(inputs: Inputs, folder: Path) -> dict[str, Path]:
    """A PNG in `folder` for each file; files of one name get a number. Raises UsageError, WriteError."""
    check_folder(folder, f"--overlay {folder}")
    names: dict[str, Path] = {}
    taken: set[Path] = set()
    kept = set(map(os.path.realpath, inputs.on_disk))
    for file in inputs.files:
        path, number = folder / f"{file.stem}.png", 2
        while path in taken:
            path, number = folder / f"{file.stem}-{number}.png", number + 1
        if os.path.realpath(path) in kept:
            raise UsageError(f"--overlay {folder}: {path} is a radiograph and would be overwritten; name a new folder")
        names[str(file)] = path
        taken.add(path)
    return names


def _sentence(found: Detections, seconds: float, out: Path | Callable[[str], object]) -> str:
    count = sum(len(result.findings) for result in found.results)
    text = f"{counted(len(found.results), 'image')} done, {counted(count, 'finding')}"
    text += f", {len(found.failures)} failed" if found.failures else ""
    text += f", {len(found.skipped)} skipped" if found.skipped else ""
    return f"{text}, {seconds:.1f} s" + (f"; {out}" if isinstance(out, Path) else "")
