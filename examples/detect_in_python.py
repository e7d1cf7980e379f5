"""Detection from Python: one model, opened once, for any number of radiographs; prints a line a finding.

    python examples/detect_in_python.py scan.dcm more/*.dcm [--model DIR]

A file that cannot be read is named on stderr and makes the exit code 1; the others are done. What lies beside
radiographs in a folder and is none is counted there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cxrcad.core import CxrcadError, Failure, Result, Skipped
from cxrcad.inference.batch import detect_paths
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import resolve_model


def show(outcome: Result | Failure | Skipped) -> None:
    if isinstance(outcome, Failure):
        print(outcome.error, file=sys.stderr)
    if not isinstance(outcome, Result):
        return
    print(f"{outcome.path}: {outcome.rows} x {outcome.cols} pixels, {len(outcome.findings)} findings")
    for finding in outcome.findings:
        x, y = finding.center_px
        size = "size unknown" if finding.diameter_mm is None else f"{finding.diameter_mm:.0f} mm"
        print(f"  {finding.label} at ({x:.0f}, {y:.0f}), score {finding.score:.2f}, {size}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Find nodules in radiographs.")
    parser.add_argument("paths", nargs="+", type=Path, help="files, folders or zip archives")
    parser.add_argument("--model", help="a packaged model by name, or its folder (default: the one that ships)")
    arguments = parser.parse_args()
    try:
        detector = Detector.open(resolve_model(arguments.model))
    except CxrcadError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    done = detect_paths(arguments.paths, detector, on_done=show)
    if done.skipped:
        print(f"other files skipped: {len(done.skipped)}", file=sys.stderr)
    return 1 if done.failures else 0


if __name__ == "__main__":
    sys.exit(main())
