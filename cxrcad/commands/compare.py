"""`cxrcad compare`: the paired difference of two runs, models or files of predictions on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cxrcad.commands.evaluate import comparison_document
from cxrcad.commands.froc import check_counted
from cxrcad.config import EvaluateConfig
from cxrcad.core import EvaluationError, UsageError
from cxrcad.datasets.folds import FOLDS_NAME
from cxrcad.evaluation.bootstrap import compare
from cxrcad.evaluation.records import context_lines, scope
from cxrcad.files import check_out, write_atomically, write_json
from cxrcad.inference.model import folds_of_run
from cxrcad.report.tables import comparison_text
from cxrcad.scoring.runs import Scored, data_of_run, score

__all__ = ["report_comparison"]

Note = Callable[[str], None]


def report_comparison(first: str, second: str, config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Every figure of two runs (models, files of predictions) on the same images, with the paired difference.

    With `config.out` the text and comparison.json are written there. Raises what `scoring.runs.score` does, and
    EvaluationError where the images differ, UsageError for a lesion that is measured by its area.
    """
    check_counted(config)
    _check_one_kind(first, second)
    check_out(config.out)
    config = _with_data((first, second), config)
    sides: list[Scored] = []
    for name in (first, second):
        own = None if config.out is None else config.out / str(len(sides) + 1)
        sides.append(score(replace(_named(name, config), out=own), note)[0])
    folds = [{result.context.fold for result in side.results} for side in sides]
    shared = folds[0] & folds[1]
    if not shared:
        raise EvaluationError(f"{first} and {second} have no fold in common; score the same folds of both")
    if folds[0] != folds[1]:
        note(f"compared: folds {', '.join(str(fold) for fold in sorted(shared, key=str))}, which both hold")
    results = [[r for r in side.results if r.context.fold in shared] for side in sides]
    compared = compare(results[0], results[1], config.scoring.resamples, config.scoring.bootstrap_seed)
    head = [*context_lines(results[0][0].context), f"Scored: {scope(results[0])}.", ""]
    text = "\n".join(head) + "\n" + comparison_text(compared, (first, second), config.scoring.resamples)
    if config.out is not None:
        write_atomically(config.out / "comparison.txt", text)
        document = {"schema": "cxrcad/comparison/1", "first": first, "second": second, "scored": head[:3]}
        write_json(config.out / "comparison.json", {**document, "figures": comparison_document(compared)})
    return text


def _is_predictions(name: str) -> bool:
    return Path(name).is_file() or Path(name).suffix.lower() in (".json", ".csv")


def _check_one_kind(first: str, second: str) -> None:
    """Raise UsageError for a file of predictions beside a run or model: it has neither their data nor their folds."""
    if _is_predictions(first) != _is_predictions(second):
        other = second if _is_predictions(first) else first
        raise UsageError(
            f"{first}, {second}: a file of predictions is compared with another file of them; write {other}'s boxes "
            "with `cxrcad detect --min-score 0 --model MODEL --out FILE` on the same images"
        )


def _is_run(name: str) -> bool:
    path = Path(name)
    return path.is_dir() and bool(folds_of_run(path) or (path / FOLDS_NAME).is_file())


def _with_data(names: Sequence[str], config: EvaluateConfig) -> EvaluateConfig:
    """`config` on the data of the run among `names` where --data names none: a packaged model does not say its own."""
    runs = [Path(name) for name in names if _is_run(name)]
    return replace(config, data=data_of_run(runs[0], config.data)) if len(runs) == 1 else config


def _named(name: str, config: EvaluateConfig) -> EvaluateConfig:
    """`config` for one side of a comparison: a file of predictions, a run, or a packaged model."""
    path = Path(name)
    if _is_predictions(name):
        if config.truth_file is None:
            raise UsageError(f"{name}: a file of predictions is scored with --truth FILE, what is true of its images")
        return replace(config, predictions=path)
    config = replace(config, truth_file=None)
    if _is_run(name):
        return replace(config, run=path)
    return replace(config, model=name)
