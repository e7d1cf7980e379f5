"""Trainings as tables and JSON: a row a fold, and of several runs the settings that differ and figures side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from cxrcad.core import DataError
from cxrcad.datasets.content import other_cases, read_content
from cxrcad.evaluation.trainings import FoldTraining, RunTrainings
from cxrcad.report.tables import Table

__all__ = ["comparison_document", "comparison_text", "names_of", "runs_document", "runs_table", "validation_words"]

SCHEMA = "cxrcad/runs/1"
NOT_COMPARED = ("fold", "run", "runs", "resume", "tensorboard", "from_run", "input_cache", "cache")
"""Settings by which every run may differ from another."""


def names_of(runs: Sequence[RunTrainings]) -> list[str]:
    """What the runs are called: their folders' names, or their paths where two have one name."""
    names = [run.folder.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def runs_table(runs: Sequence[RunTrainings]) -> Table:
    """A row for each fold of each run."""
    columns = ("run", "fold", "network", "state", "steps", "last loss", "validation", "minutes")
    rows = []
    for name, run in zip(names_of(runs), runs, strict=True):
        for fold in run.folds:
            shown = (
                _steps(fold),
                _number(fold.loss, "{:.4f}"),
                validation_words(fold),
                _number(fold.minutes, "{:.1f}"),
            )
            rows.append((name, fold.name, fold.network, fold.state, *shown))
    return Table(columns, rows)


def validation_words(fold: FoldTraining) -> str:
    """The first figure of the last validation, in percent; empty before there is one."""
    return next((f"{name} {100 * value:.1f} %" for name, value in fold.figures.items()), "")


def runs_document(runs: Sequence[RunTrainings]) -> dict[str, Any]:
    """The same as JSON, with all figures and settings."""
    return {"schema": SCHEMA, "runs": [_run(name, run) for name, run in zip(names_of(runs), runs, strict=True)]}


def comparison_text(runs: Sequence[RunTrainings]) -> str:
    """The settings by which the runs differ, and their figures beside each other, as Markdown."""
    names = names_of(runs)
    rows = [(name, *map(_value, values)) for name, values in _differing(runs).items()]
    settings = Table(("setting", *names), rows).markdown() if rows else ["The runs have the same settings."]
    figures = Table(("latest", *names), _figure_rows(runs)).markdown()
    return "\n".join([*settings, "", *figures, "", *_data_lines(runs)]) + "\n"


def comparison_document(runs: Sequence[RunTrainings]) -> dict[str, Any]:
    """`runs_document` with the settings that differ, by name, in the runs' order, and sentences about their data."""
    return {**runs_document(runs), "differing": _differing(runs), "data": _data_lines(runs)}


def _run(name: str, run: RunTrainings) -> dict[str, Any]:
    folds = [
        {
            **{key: getattr(fold, key) for key in ("name", "network", "state", "steps", "total_steps", "loss")},
            "minutes": None if fold.minutes is None else round(fold.minutes, 2),
            "figures": dict(fold.figures),
            "settings": dict(fold.settings),
        }
        for fold in run.folds
    ]
    return {"name": name, "folder": str(run.folder), "folds": folds}


def _steps(fold: FoldTraining) -> str:
    total = fold.total_steps
    return f"{fold.steps:,}" if total in (None, fold.steps) else f"{fold.steps:,} of {total:,}"


def _number(value: float | None, layout: str) -> str:
    return "" if value is None else layout.format(value)


def _value(value: Any) -> str:
    return "" if value is None else ", ".join(value) if isinstance(value, list) else str(value)


def _settings(run: RunTrainings) -> Mapping[str, Any]:
    """Those of the first fold whose settings can be read."""
    return next((fold.settings for fold in run.folds if fold.settings), {})


def _differing(runs: Sequence[RunTrainings]) -> dict[str, list[Any]]:
    settings = [_settings(run) for run in runs]
    names = dict.fromkeys(name for one in settings for name in one if name not in NOT_COMPARED)
    values = {name: [one.get(name) for one in settings] for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def _figure_rows(runs: Sequence[RunTrainings]) -> list[tuple[str, ...]]:
    """A row for each fold and figure; then the means over the folds that all runs have validated."""
    folds = [{fold.name: fold for fold in run.folds} for run in runs]
    every = sorted({name for one in folds for name in one})
    shared = [name for name in every if all(name in one and one[name].figures for one in folds)]
    rows = []
    for name in every:
        there = [one.get(name) for one in folds]
        rows.append((f"fold {name}: state", *("" if one is None else one.state for one in there)))
        rows.append((f"fold {name}: steps", *("" if one is None else _steps(one) for one in there)))
        rows.append(
            (
                f"fold {name}: loss of the last steps",
                *("" if one is None else _number(one.loss, "{:.4f}") for one in there),
            )
        )
        rows += [
            (f"fold {name}: {figure}", *(_percent(one.figures.get(figure) if one else None) for one in there))
            for figure in dict.fromkeys(key for one in there if one for key in one.figures)
        ]
    if len(shared) > 1:
        for figure in folds[0][shared[0]].figures:
            values = [[one[name].figures.get(figure) for name in shared] for one in folds]
            if all(None not in found for found in values):
                means = (fmean(value for value in found if value is not None) for found in values)
                rows.append((f"mean of folds {', '.join(shared)}: {figure}", *map(_percent, means)))
    return rows


def _percent(value: float | None) -> str:
    return _number(None if value is None else 100 * value, "{:.1f} %")


def _data_lines(runs: Sequence[RunTrainings]) -> list[str]:
    """Whether the runs were trained on the same data: only then are their figures of the same validation cases."""
    names, lines = names_of(runs), []
    for (first, one), (second, other) in itertools.pairwise(zip(names, runs, strict=True)):
        try:
            before, now = read_content(one.folder), read_content(other.folder)
        except DataError as error:
            lines.append(str(error))
            continue
        if before is None or now is None:
            lines.append(f"It is not known whether {first} and {second} were trained on the same data.")
            continue
        odd = other_cases(before, now)
        lines.append(
            f"{second} was trained on other data than {first}: {odd}."
            if odd
            else f"{first} and {second} were trained on the same data."
        )
    return lines
