"""`cxrcad runs`: the trainings in a folder, or what tells several runs apart, as a text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cxrcad.config import TrainConfig
from cxrcad.core import TrainingError, UsageError
from cxrcad.evaluation.trainings import RunTrainings, read_run, runs_in
from cxrcad.report.runs import comparison_document, comparison_text, runs_document, runs_table

__all__ = ["describe_runs"]


def describe_runs(paths: Sequence[Path], as_json: bool = False) -> str:
    """A row for each fold of the run, or of the runs, in a folder; of several paths, runs each, what differs.

    Raises UsageError for what is no folder, TrainingError where no training was begun.
    """
    if len(paths) > 1:
        runs = [_run(path) for path in paths]
        return _json(comparison_document(runs)) if as_json else comparison_text(runs)
    folder = paths[0] if paths else TrainConfig().runs
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "there is no such folder"
        raise UsageError(
            f"{folder}: {fault}; name a folder of runs (`cxrcad train` makes them in {TrainConfig().runs})"
        )
    found = runs_in(folder)
    if not found:
        raise TrainingError(f"{folder}: no training was begun in it; name another folder, or begin one: cxrcad train")
    return _json(runs_document(found)) if as_json else "\n".join(runs_table(found).markdown()) + "\n"


def _run(path: Path) -> RunTrainings:
    run = read_run(path)
    if run is None:
        raise TrainingError(f"{path}: no training was begun in it; to compare, name the folders of runs")
    return run


def _json(document: object) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
