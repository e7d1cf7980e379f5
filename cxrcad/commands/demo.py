"""`cxrcad demo`: phantom scans as DICOM -> the packaged model -> boxes beside the truth, overlays, a report."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from cxrcad.commands.detect import open_detector
from cxrcad.config import DetectConfig, PhantomConfig
from cxrcad.core import Case, Result, UsageError, WriteError, counted
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.evaluation.records import nodule_words
from cxrcad.files import write_atomically
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.batch import detect_paths
from cxrcad.interchange import boxes
from cxrcad.report.drawing.overlay import write_overlay
from cxrcad.report.html import Made, Picture, write_page
from cxrcad.synthesis.phantom.dataset import write_phantoms

__all__ = ["run_demo"]

OBVIOUS = 5  # the subtlety of the demo's nodules: the packaged model is no better than its card says

PARTS = {"scans", "boxes.json", "overlays", "report.html"}


def run_demo(out: Path, cases: int, seed: int, note: Callable[[str], None]) -> str:
    """The demo's text: each scan's findings beside its true nodules, and where boxes, overlays and report lie.

    `out` gets scans/ (JSRT's layout, DICOM), boxes.json, overlays/*.png and report.html. Raises ModelError, WriteError.
    """
    _check_out(out)
    detector = open_detector(DetectConfig())
    _remove_earlier(out)
    note(f"writing {counted(cases, 'phantom scan')} as DICOM")
    write_phantoms(out / "scans", PhantomConfig(cases=cases, seed=seed, subtlety=OBVIOUS, format="dcm"))
    scans = read_dataset(out / "scans").cases
    note(f"detecting with {detector.bundle.name} on {detector.provider}")
    found = detect_paths([case.image for case in scans], detector)
    write_atomically(out / "boxes.json", boxes.write(boxes.Found(detector.identity, found.results, found.failures)))
    results = {result.path: result for result in found.results}
    lines: list[str] = []
    pictures: list[Picture] = []
    hits = 0
    for case in scans:
        result = results[str(case.image)]
        matched = match_image(case, result.findings, HitRule())
        hits += len(matched.hits)
        text = _case_lines(case, result)
        counts = f"hits {len(matched.hits)}, missed {matched.misses}, false positives {len(matched.false_positives)}"
        lines += [*text, f"    {counts}"]
        overlay = out / "overlays" / f"{case.name}.png"
        write_overlay(
            read_radiograph(case.image),
            result.findings,
            overlay,
            truth=case.nodules,
            threshold=detector.bundle.threshold,
        )
        truth = "; ".join(f"nodule of {nodule_words(nodule)}" for nodule in case.nodules) or "no nodule"
        pictures.append(Picture(case.name, overlay, f"{truth}: {counts}."))
    total = sum(len(case.nodules) for case in scans)
    phantoms = counted(len(scans), "phantom")
    summary = f"{hits} of {counted(total, 'nodule')} found in {phantoms} with {detector.bundle.name}"
    made = Made.today(shlex.join(["cxrcad", "demo", "--out", str(out), "--cases", str(cases), "--seed", str(seed)]))
    write_page(out / "report.html", "demo.html", made, title="cxrcad demo", summary=summary, pictures=pictures)
    places = f"boxes: {out / 'boxes.json'}\noverlays: {out / 'overlays'}\nreport: {out / 'report.html'}\n"
    return "\n".join([*lines, "", summary, places])


def _check_out(out: Path) -> None:
    """Raise UsageError unless `out` is new or holds a demo, finished or not."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; name a folder")
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if held - PARTS:
        raise UsageError(f"--out {out}: holds other files; name a new folder")


def _remove_earlier(out: Path) -> None:
    """Remove what an earlier demo found: it was found in other scans than will lie beside it. Raises WriteError."""
    try:
        for path in (out / "boxes.json", out / "report.html", *(out / "overlays").glob("JPC[LN]N*.png")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{error.filename}: cannot be removed ({error.strerror}); name a new folder") from None


def _case_lines(case: Case, result: Result) -> list[str]:
    lines = [case.name]
    for nodule in case.nodules:
        size = f"{nodule.diameter_mm:.0f} mm" if nodule.diameter_mm else "size unknown"
        lines.append(
            f"    truth    center ({nodule.x_px:.0f}, {nodule.y_px:.0f}) px, {size}, subtlety {nodule.subtlety}"
        )
    if not case.nodules:
        lines.append("    truth    no nodule")
    for finding in result.findings:
        box = finding.box_px
        lines.append(
            f"    finding  center ({finding.center_px[0]:.0f}, {finding.center_px[1]:.0f}) px, "
            f"score {finding.score:.2f}, "
            f"box {box.x0:.0f} {box.y0:.0f} {box.x1:.0f} {box.y1:.0f}"
        )
    if not result.findings:
        lines.append("    finding  none at the model's threshold")
    return lines
