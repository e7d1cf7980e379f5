"""F1, recall and precision in the layout of the paper's Table 2, with the paper's rows beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from cxrcad.core import counted
from cxrcad.evaluation.bootstrap import Interval
from cxrcad.evaluation.froc import Operating
from cxrcad.evaluation.published import paper_row
from cxrcad.evaluation.records import FoldResult, check_alike, context_lines, pooled, scope
from cxrcad.evaluation.statistics import spread, wilson
from cxrcad.report.tables import Table, false_positive_places, not_a_test, spread_shown

NETWORK_NAMES = {"mo-segnet": "MO-SegNet", "u-net": "U-net", "deeplabv3plus": "Deeplab V3+", "pspnet": "PSPNet"}
TASK_NAMES = {"single": "Single", "multi": "Multiple"}

COLUMNS = ("Task", "Model", "figures", "F1", "Recall", "Precision")
LAYOUT = "{:<9} {:<12} {:<16} {:<15} {:<22} {}"


def table2_text(groups: Sequence[Sequence[FoldResult]]) -> str:
    """`table2` as text, with the context above and the notes below. Raises as `table2`."""
    table = table2(groups).text(LAYOUT)
    return "\n".join([*context_lines(groups[0][0].context), "", *table, "", *table2_notes(groups)]) + "\n"


def table2(groups: Sequence[Sequence[FoldResult]]) -> Table:
    """F1, recall and precision in the layout of the paper's Table 2, its rows beside ours.

    Each group holds the folds of one network. The mean over folds has the standard deviation with n - 1; the pooled row
    adds up the folds' counts, each at its own threshold. Brackets hold Wilson's 95 % interval of a recall.

    Raises:
        EvaluationError: No fold, two folds with the same image, or contexts that differ.
    """
    check_alike([result for group in groups for result in group])
    return Table(COLUMNS, [row for group in groups for row in _group_rows(group)])


def table2_notes(groups: Sequence[Sequence[FoldResult]]) -> list[str]:
    """What Table 2 rests on, network by network, and what its signs mean; lines."""
    lines = [line for group in groups for line in _group_notes(group)]
    if any(len(group) > 1 for group in groups):
        lines.append("± is the standard deviation over folds (n - 1).")
    lines.append("Brackets hold Wilson's 95 % interval.")
    if any(paper_row(group[0].context.network, group[0].context.tasks) for group in groups):
        lines.append("The paper's rows are JSRT's 154 positives; it states neither hit rule nor threshold protocol.")
    return lines


def _group_rows(group: Sequence[FoldResult]) -> list[tuple[str, ...]]:
    context = group[0].context
    names = TASK_NAMES.get(context.tasks, context.tasks), NETWORK_NAMES.get(context.network, context.network)
    rows: list[tuple[str, ...]] = []
    paper = paper_row(context.network, context.tasks)
    if paper is not None:
        source = f"paper, Table {paper.table}"
        rows.append((*names, source, str(paper.f1), str(paper.recall), str(paper.precision)))
    folds = [result.operating for result in group]
    for result, fold in zip(group, folds, strict=True):
        name = f"fold {result.context.fold}" if result.context.fold is not None else "all cases"
        rows.append((*names, name, *_operating_cells(fold)))
    if len(folds) > 1:
        means = [
            spread_shown(spread([getattr(fold, figure) for fold in folds])) for figure in ("f1", "recall", "precision")
        ]
        rows.append((*names, f"mean of {len(folds)} folds", *means))
        rows.append((*names, "pooled", *_operating_cells(pooled(group))))
    return rows


def _group_notes(group: Sequence[FoldResult]) -> list[str]:
    """Threshold, false positives by place, lung Dice and training cases of one network's folds, a line each."""
    context = group[0].context
    counts = pooled(group)
    thresholds = ", ".join(f"{result.context.model.threshold:.4g}" for result in group)
    origins = "; ".join(dict.fromkeys(result.context.threshold_from for result in group))
    task = f", {TASK_NAMES.get(context.tasks, context.tasks).lower()} task" if context.tasks else ""
    overlaps = [value for result in group for value in result.known_dice]
    dice = "lung Dice: none (no lung task, or no lung mask)"
    if overlaps:
        dice = f"lung Dice {sum(overlaps) / len(overlaps):.3f}, mean of {counted(len(overlaps), 'image')}"
    notes = [
        f"threshold {thresholds} ({origins})",
        f"false positives {counts.fp} ({counts.fp_per_image:.2f} per image): {false_positive_places(counts)}",
        dice,
        *not_a_test(group),
    ]
    network = NETWORK_NAMES.get(context.network, context.network)
    return [f"{network}{task}, {scope(group)}", *(f"  {note}" for note in notes)]


def _operating_cells(counts: Operating) -> tuple[str, ...]:
    recall = Interval(counts.recall, *wilson(counts.tp, counts.tp + counts.fn))
    shown = (one.shown(1, 100, " %") for one in (Interval(counts.f1), recall, Interval(counts.precision)))
    return tuple(shown)
