"""training.html in a run's folder: how far its folds are, and their learning curves. Words: templates/training.html."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from cxrcad.config import TrainConfig, to_dict
from cxrcad.evaluation.trainings import FINISHED, INTERRUPTED, Entry, FoldTraining, RunTrainings, figures_of, number
from cxrcad.report.drawing.learning import LearningCurve, plot_curves
from cxrcad.report.html import Made, Picture, write_page
from cxrcad.report.runs import runs_table
from cxrcad.report.tables import Table, figure_shown

__all__ = ["PAGE_NAME", "write_training_page"]

PAGE_NAME = "training.html"

LOSS = "loss of the training steps"
CURVES = ("F1", "Dice", "sensitivity at 1", "lung Dice")
"""The figures that have a curve."""


def write_training_page(run: RunTrainings, made: Made) -> Path:
    """Write training.html into the run's folder; its path. Raises WriteError."""
    path = run.folder / PAGE_NAME
    with tempfile.TemporaryDirectory(prefix="cxrcad-") as name:
        write_page(
            path,
            "training.html",
            made,
            title=f"Training of {run.folder.resolve().name}",
            folds=_folds(run),
            lead=_lead(run),
            charts=_charts(run, Path(name)),
            validations=_validations(run),
            settings=_settings(run),
        )
    return path


def _folds(run: RunTrainings) -> Table:
    table = runs_table([run]).without("run")
    rows = [(_name(fold), *row[1:]) for fold, row in zip(run.folds, table.rows, strict=True)]
    return Table(table.columns, rows)


def _lead(run: RunTrainings) -> str:
    states = [fold.state for fold in run.folds]
    asked = sum(place.is_dir() for place in run.folder.glob("fold?"))  # a training of all makes their folders first
    finished = f"{states.count(FINISHED)} of {asked} folds finished" if asked > 1 else states[0].capitalize()
    stopped = " cxrcad train --resume goes on with what was interrupted." if INTERRUPTED in states else ""
    return f"{finished}.{stopped}"


def _charts(run: RunTrainings, folder: Path) -> list[Picture]:
    """The loss, and each figure that a validation has, against the epoch."""
    pictures = []
    values: dict[str, Callable[[Entry], float | None]] = {LOSS: lambda entry: number(entry, "loss")}
    values |= {f"{name} on the validation cases": _figure(name) for name in CURVES}
    for place, (what, value) in enumerate(values.items()):
        curves = [_curve(fold, fold.losses if what == LOSS else fold.validations, value) for fold in run.folds]
        curves = [curve for curve in curves if curve.epochs]
        if curves:
            path = folder / f"{place}.svg"
            plot_curves(curves, what, [path], "", percent=what != LOSS)
            pictures.append(Picture(what[0].upper() + what[1:], path, _reached(curves, what != LOSS)))
    return pictures


def _figure(name: str) -> Callable[[Entry], float | None]:
    return lambda entry: figures_of(entry).get(name)


def _curve(fold: FoldTraining, entries: Sequence[Entry], value: Callable[[Entry], float | None]) -> LearningCurve:
    points = [(number(entry, "epoch"), value(entry)) for entry in entries]
    known = [(epoch, found) for epoch, found in points if epoch is not None and found is not None]
    epochs, values = tuple(epoch for epoch, _ in known), tuple(found for _, found in known)
    return LearningCurve(_name(fold), 1, epochs, values, values, values)


def _name(fold: FoldTraining) -> str:
    return f"fold {fold.name}" if fold.name.isdigit() else "every case"


def _reached(curves: Sequence[LearningCurve], percent: bool) -> str:
    """The last and the best value of each curve in words."""
    told = []
    for curve in curves:
        best = max(curve.mean) if percent else min(curve.mean)
        shown = [f"{100 * value:.1f} %" if percent else f"{value:.4f}" for value in (curve.mean[-1], best)]
        epoch = curve.epochs[curve.mean.index(best)]
        told.append(f"{curve.name}: last {shown[0]}, {'best' if percent else 'lowest'} {shown[1]} (epoch {epoch:g})")
    return "; ".join(told) + "."


def _validations(run: RunTrainings) -> Table:
    """A row for each validation of each fold."""
    entries = [(_name(fold), entry) for fold in run.folds for entry in fold.validations]
    names = dict.fromkeys(name for _, entry in entries for name in figures_of(entry))
    rows = []
    for fold, entry in entries:
        figures, loss = figures_of(entry), number(entry, "loss")
        cells = [figure_shown(name, figures.get(name)) for name in names]
        where = (fold, f"epoch {entry.get('epoch')}", f"{entry['step']:,}", "" if loss is None else f"{loss:.4f}")
        rows.append((*where, *cells))
    return Table(("fold", "validation", "step", "loss", *names), rows, grouped=True)


def _settings(run: RunTrainings) -> Table:
    """The settings of the run that are not the default ones; where folds differ, the first one's."""
    given = next((fold.settings for fold in run.folds if fold.settings), {})
    usual = to_dict(TrainConfig())
    rows = [
        (name, ", ".join(value) if isinstance(value, list) else str(value))
        for name, value in given.items()
        if value != usual[name] and name not in ("fold", "run", "runs")
    ]
    return Table(("setting", "value"), rows)
