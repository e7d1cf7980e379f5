"""F1 on the validation cases against the epoch, mean and range over trainings, as numbers and as a plot (Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cxrcad.core import EvaluationError, counted
from cxrcad.documents import MALFORMED, fault_words, made
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.paper.cells import Item
from cxrcad.paper.jobs import Job
from cxrcad.paper.results import CellResult, Drawn
from cxrcad.report.drawing.learning import LearningCurve, plot_curves
from cxrcad.report.tables import Table

__all__ = ["draw_curves", "learning_curves", "learning_text", "plot_learning"]


def draw_curves(item: Item, rows: Sequence[CellResult], folder: Path, sentence: str) -> Drawn:
    """The table of the item's curves, and ITEM.png and ITEM.svg in `folder`; `sentence` ends the plot's caption.

    Without a curve, pictures of an earlier call are deleted. Raises EvaluationError, WriteError.
    """
    curves = learning_curves(rows)
    pictures = [folder / f"{item.name}.png", folder / f"{item.name}.svg"]
    document = {"curves": [vars(curve) for curve in curves]}
    if not curves:
        for picture in pictures:
            picture.unlink(missing_ok=True)
        return Drawn((), document)
    caption = f"Lines: mean over the trainings; shaded: their range. {sentence}"
    plot_learning(curves, item.columns[0].lower(), pictures, caption)
    lines = [*learning_text(curves, item.columns[0]), "", f"Plot: {', '.join(map(str, pictures))}"]
    return Drawn(lines, document)


def learning_curves(rows: Sequence[CellResult]) -> tuple[LearningCurve, ...]:
    """A curve for each row that has a finished training. Raises EvaluationError for a damaged history.json."""
    return tuple(_curve(" ".join(row.cell.label), [_scores(one.job) for one in row.there]) for row in rows if row.there)


def _curve(name: str, scores: Sequence[Mapping[int, float]]) -> LearningCurve:
    epochs = tuple(sorted(set.intersection(*map(set, scores))))
    values = [[one[epoch] for one in scores] for epoch in epochs]
    mean = tuple(sum(one) / len(one) for one in values)
    return LearningCurve(name, len(scores), epochs, mean, tuple(map(min, values)), tuple(map(max, values)))


def _scores(job: Job) -> dict[int, float]:
    """F1 by epoch. Raises EvaluationError for a damaged history.json."""
    try:
        return {int(made(float, one["epoch"])): made(float, one["f1"]) for one in job.history}
    except MALFORMED as fault:
        path = job.folder / "history.json"
        raise EvaluationError(f"{path}: damaged ({fault_words(fault)}); train the fold again") from None


def learning_text(curves: Sequence[LearningCurve], what: str) -> list[str]:
    """A table: for each curve the trainings, the best mean F1 with its epoch, and the last one with its range.

    `what` tells the curves apart.
    """
    body = []
    for one in curves:
        if one.epochs:
            best = max(range(len(one.epochs)), key=lambda place: one.mean[place])
            last = Interval(one.mean[-1], one.low[-1], one.high[-1]).shown(1, 100, " %")
            top = f"{100 * one.mean[best]:.1f} % (epoch {one.epochs[best]})"
            body.append([one.name, str(one.n), top, f"{last} (epoch {one.epochs[-1]})"])
    head = [what, "trainings", "best mean F1", "last mean F1 [range]"]
    return ["F1 on the validation cases:", "", *Table(head, body).markdown()] if body else []


def plot_learning(curves: Sequence[LearningCurve], what: str, paths: Sequence[Path], caption: str) -> None:
    """Draw mean F1 on the validation cases against the epoch, a line a curve, its range over trainings shaded.

    `what` tells the curves apart. Raises UsageError for a path that does not end in .png or .svg, WriteError.
    """
    named = [replace(one, name=f"{what}: {one.name} ({counted(one.n, 'training')})") for one in curves]
    plot_curves(named, "F1 on the validation cases", paths, caption)
