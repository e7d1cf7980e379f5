"""An item's rows in the paper's layout, as Markdown that reads as text too, and as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cxrcad.evaluation.bootstrap import Interval
from cxrcad.evaluation.statistics import Spread
from cxrcad.paper.cells import Cell, Item
from cxrcad.paper.jobs import NOT_RUN, ScoredJob
from cxrcad.paper.results import CPM, FIGURES, PLACES, CellResult, Pair
from cxrcad.report.tables import Table, spread_shown

__all__ = [
    "Setup",
    "cell_document",
    "cost",
    "document",
    "document_head",
    "ending",
    "text",
]

SCHEMA = "cxrcad/reproduction/1"
DICE = "lung Dice"
SYMBOLS = (
    "± is the standard deviation (n - 1) over folds, and over seeds where there are several; pooled adds up the "
    "folds' counts; brackets hold 95 % bootstrap intervals ({resamples:,} resamples of the images)."
)
PAPER_DATA = "The paper's figures are for JSRT's 154 positives; it states neither hit rule nor threshold protocol."


@dataclass(frozen=True)
class Setup:
    """What the figures rest on, in words: protocol and hit rule, profile and settings, and the exact command."""

    protocol: tuple[str, ...]
    profile: str
    settings: Mapping[str, Any]
    command: str
    resamples: int
    version: str


def text(item: Item, rows: Sequence[CellResult], pairs: Sequence[Pair], setup: Setup, more: Sequence[str] = ()) -> str:
    """The item's page: the paper beside ours, other figures, comparisons, `more`, failures, and what they rest on."""
    lines = [f"# {item.title}", "", *_paper_table(item, rows), "", *_other_table(item, rows)]
    for pair in pairs:
        lines += ["", *_pair_table(pair, setup.resamples)]
    lines += ["", *more] if more else []
    failed = [one for row in rows for one in row.failed]
    printed = [PAPER_DATA] if any(cell.paper for cell in item.cells) else []
    lines += ending(item, failed, setup, [SYMBOLS.format(resamples=setup.resamples), *printed])
    return "\n".join(lines) + "\n"


def ending(item: Item, failed: Sequence[ScoredJob], setup: Setup, sentences: Sequence[str]) -> list[str]:
    """The last lines of a page: what failed, what the figures rest on with `sentences` after it, and the command."""
    jobs = {one.job.key: one for one in failed}  # one may be several cells
    lines = ["", f"Failed ({len(jobs)}):", ""] if jobs else []
    lines += [f"- {key} ({', '.join(one.job.cells)}): {one.record.error}" for key, one in jobs.items()]
    given = ", ".join(f"{name} {value}" for name, value in setup.settings.items())
    rests = [*setup.protocol, f"Profile {setup.profile}: {given}.", item.note, *sentences]
    lines += ["", *(f"- {sentence}" for sentence in rests)]
    return [*lines, "", f"Made by cxrcad {setup.version} with:", "", f"    {setup.command}"]


def _paper_table(item: Item, rows: Sequence[CellResult]) -> list[str]:
    body = []
    for row in rows:
        if row.cell.paper is not None:
            paper = row.cell.paper
            printed = [str(paper.f1), str(paper.recall), str(paper.precision)]
            body.append([*row.cell.label, f"paper, Table {paper.table}", *printed])
        body += [[*row.cell.label, *line] for line in _ours(row)]
    return Table([*item.columns, "figures", "F1", "Recall", "Precision"], body).markdown()


def _ours(row: CellResult) -> list[list[str]]:
    """Mean over folds and seeds, then each seed's folds pooled, then the mean of those over seeds."""
    if not row.there:
        state = "failed" if row.failed else NOT_RUN
        return [["ours", state, "", ""]]
    lines = []
    if len(row.there) > 1:
        lines.append([f"ours, mean of {_extent(row)}", *(spread_shown(row.spreads[name]) for name in FIGURES)])
    for one in row.pooled:
        what = "pooled" if len(row.there) > 1 else f"fold {one.folds[0]}"
        name = f"ours, {what}" + (f", seed {one.seed}" if len(row.pooled) > 1 else "")
        lines.append([name, *(one.figures[name].shown(1, 100, " %") for name in FIGURES)])
    if row.over_seeds:
        name = f"ours, pooled, mean of {len(row.pooled)} seeds"
        lines.append([name, *(spread_shown(row.over_seeds[figure]) for figure in FIGURES)])
    return lines


def _extent(row: CellResult) -> str:
    folds = len({one.job.fold for one in row.there})
    seeds = len({one.job.seed for one in row.there})
    of_folds = f"{folds} fold{'s' if folds > 1 else ''}"
    return of_folds if seeds == 1 else f"{len(row.there)} trainings ({of_folds}, {seeds} seeds)"


def _other_table(item: Item, rows: Sequence[CellResult]) -> list[str]:
    head = [*item.columns, "seed", "folds", "FP per image in the lungs", "outside the lungs", DICE, "minutes", "device"]
    body = []
    for row in rows:
        if not row.pooled:
            body.append([*row.cell.label, "", "0", NOT_RUN if not row.failed else "failed", "", "", "", ""])
        for one in row.pooled:
            mine = [scored for scored in row.there if scored.job.seed == one.seed]
            places = [one.figures[name].shown(2) for name in PLACES]
            dice = "none" if one.figures[DICE].value is None else one.figures[DICE].shown(3)
            folds = f"{len(one.folds)} ({', '.join(map(str, one.folds))})"
            body.append([*row.cell.label, str(one.seed), folds, *places, dice, *cost(mine)])
    return Table(head, body).markdown()


def cost(scored: Sequence[ScoredJob]) -> list[str]:
    """The minutes of these jobs' trainings altogether, and their devices, in words."""
    seconds = [one.record.seconds for one in scored]
    known = [value for value in seconds if value is not None]
    minutes = f"{sum(known) / 60:.1f}" if len(known) == len(seconds) else "unknown"
    return [minutes, ", ".join(dict.fromkeys(one.record.device or "unknown" for one in scored))]


def _pair_table(pair: Pair, resamples: int) -> list[str]:
    first, second = (" ".join(cell.label) for cell in (pair.first, pair.second))
    folds = ("fold " if len(pair.folds) == 1 else "folds ") + ", ".join(map(str, pair.folds))
    head = ["figure", first, second, "difference", "p"]
    body = []
    for name in (*FIGURES, CPM, *PLACES):
        one = pair.figures[name]
        scale, decimals, unit = (1, 2, "") if name in PLACES else (100, 1, " %")
        sides = [Interval(value).shown(decimals, scale, unit) for value in (one.first, one.second)]
        p = "" if one.p is None else f"{one.p:.4f}"
        body.append([name, *sides, one.difference.shown(decimals, scale, sign="+"), p])
    seeds = f"seed {pair.seeds[0]}" if len(pair.seeds) == 1 else f"mean of {len(pair.seeds)} seeds"
    title = f"{first} less {second} on the same images ({folds}, {seeds}), in points of percent or false"
    return [
        f"{title} positives per image; p of a permutation test, {resamples:,} draws.",
        "",
        *Table(head, body).markdown(),
    ]


def document(item: Item, rows: Sequence[CellResult], pairs: Sequence[Pair], setup: Setup) -> dict[str, Any]:
    """The same as JSON: parts of 1, null where undefined; every job with its state and its fold's counts."""
    cells = [
        {
            **cell_document(row.cell, row.scored),
            "mean": _spreads(row.spreads),
            "pooled": [
                {
                    "seed": one.seed,
                    "folds": list(one.folds),
                    "figures": {name: asdict(interval) for name, interval in one.figures.items()},
                }
                for one in row.pooled
            ],
            "mean_over_seeds": _spreads(row.over_seeds),
        }
        for row in rows
    ]
    comparisons = [
        {
            "first": pair.first.name,
            "second": pair.second.name,
            "seeds": list(pair.seeds),
            "folds": list(pair.folds),
            "figures": {name: asdict(one) for name, one in pair.figures.items()},
        }
        for pair in pairs
    ]
    return {**document_head(item, setup), "cells": cells, "comparisons": comparisons}


def document_head(item: Item, setup: Setup) -> dict[str, Any]:
    """The first fields of an item's JSON document."""
    return {"schema": SCHEMA, "item": item.name, "title": item.title, **asdict(setup)}


def cell_document(cell: Cell, scored: Sequence[ScoredJob]) -> dict[str, Any]:
    """The first fields of a cell in it: its settings, the paper's row, and its jobs."""
    jobs = []
    for one in scored:
        job = {"run": one.job.run.name, "fold": one.job.fold, "seed": one.job.seed, **asdict(one.record)}
        if one.result is not None:
            found = one.result.operating
            figures = {name: getattr(found, name) for name in ("f1", "recall", "precision")}
            job["counts"] = {**asdict(found), **figures}
        jobs.append(job)
    return {
        "name": cell.name,
        "label": list(cell.label),
        "overrides": dict(cell.overrides),
        "paper_percent": None if cell.paper is None else asdict(cell.paper),
        "jobs": jobs,
    }


def _spreads(found: Mapping[str, Spread | None]) -> dict[str, Any]:
    return {name: None if one is None else asdict(one) for name, one in found.items()}
