"""`cxrcad detect` as a library call: paths -> boxes.json, overlays, and one sentence of summary."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad.config import DetectConfig, FindConfig
from cxrcad.core import CxrcadError, Failure, Result, UsageError, WriteError
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.batch import Detections, detect_paths, expand_paths
from cxrcad.inference.bundle import Bundle, resolve_model
from cxrcad.inference.detector import Detector
from cxrcad.jobs import Progress
from cxrcad.report.boxes import to_document, to_text, write_boxes
from cxrcad.report.overlay import write_overlay

__all__ = ["Summary", "detect_to_file", "open_detector"]


@dataclass(frozen=True)
class Summary:
    """What a detection came to: `text` is the boxes document where it was asked for on stdout."""

    sentence: str
    failed: int
    text: str | None


def open_detector(config: DetectConfig) -> Detector:
    """The detector that `config` asks for: its model, with the settings of `config.find` that were changed.

    Raises ModelError.
    """
    bundle = resolve_model(config.model)
    return Detector.open(_with_find(bundle, config.find), config.device, config.threads)


def detect_to_file(
    config: DetectConfig, paths: Sequence[Path], out: Path, overlay: Path | None, progress: Progress
) -> Summary:
    """Find nodules in the files and folders of `paths`; boxes.json goes to `out` ("-": into the summary).

    A file that fails is in the document's failures and in `Summary.failed`. Raises ModelError, WriteError, UsageError.
    """
    stdout = str(out) == "-"
    if not stdout and out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name the file, for example {out / 'boxes.json'}")
    detector = open_detector(config)
    files = expand_paths(paths)
    least = config.min_score if config.min_score is not None else detector.bundle.threshold
    progress.start(f"{detector.bundle.name} on {detector.provider}", len(files), 0)
    started, done = time.monotonic(), 0
    overlays = _overlay_names(files, overlay) if overlay else {}

    def on_done(outcome: Result | Failure) -> None:
        nonlocal done
        done += 1
        if isinstance(outcome, Failure):
            progress.note(f"failed: {outcome.error}")
        elif outcome.path in overlays:
            _draw(outcome, overlays[outcome.path], detector.bundle.threshold)
        progress.step(done)

    found = detect_paths(files, detector, min_score=least, on_done=on_done)
    document = to_document(detector.identity, found.results, found.failures)
    if not stdout:
        write_boxes(document, out)
    return Summary(
        _sentence(found, time.monotonic() - started, None if stdout else out),
        len(found.failures),
        to_text(document) if stdout else None,
    )


def _with_find(bundle: Bundle, find: FindConfig) -> Bundle:
    """The bundle with those finding settings that differ from their defaults; the rest stays the card's."""
    default = FindConfig()
    changed = {name: value for name, value in vars(find).items() if value != getattr(default, name)}
    return replace(bundle, find=replace(bundle.find, **changed))


def _overlay_names(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """A PNG in `folder` for each file; files of one name get a number."""
    names: dict[str, Path] = {}
    for file in files:
        path, number = folder / f"{file.stem}.png", 2
        while path in names.values():
            path, number = folder / f"{file.stem}-{number}.png", number + 1
        names[str(file)] = path
    return names


def _draw(result: Result, path: Path, threshold: float) -> None:
    try:
        write_overlay(read_radiograph(Path(result.path)), result.findings, path, threshold=threshold)
    except WriteError:
        raise
    except CxrcadError as error:
        raise WriteError(f"{path}: no overlay, because the file changed while it was read ({error})") from None


def _sentence(found: Detections, seconds: float, out: Path | None) -> str:
    count = sum(len(result.findings) for result in found.results)
    text = f"{_counted(len(found.results), 'image')} done, {_counted(count, 'finding')}"
    text += f", {len(found.failures)} failed" if found.failures else ""
    return f"{text}, {seconds:.1f} s" + (f"; {out}" if out else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
