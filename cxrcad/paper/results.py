"""What an item's trainings amount to, cell by cell: spread over folds and seeds, pooled figures with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrcad.evaluation.bootstrap import Comparison, Interval, bootstrap, compare_seeds
from cxrcad.evaluation.records import FoldResult
from cxrcad.evaluation.statistics import Spread, spread
from cxrcad.paper.cells import Cell, Item
from cxrcad.paper.jobs import FAILED, ScoredJob

__all__ = ["CPM", "FIGURES", "PLACES", "CellResult", "Drawn", "Pair", "Pooled", "cell_results", "pairs_of"]

FIGURES = ("F1", "recall", "precision")
"""The columns of the paper's tables, as `evaluation.figures` names them."""

CPM = "CPM"
"""Mean sensitivity at 1/8 to 8 false positives per image; unlike F1 it does not depend on the threshold."""

PLACES = ("false positives in the lung fields", "false positives outside the lung fields")


@dataclass(frozen=True)
class Pooled:
    """The folds of one seed added up: every figure with its 95 % interval."""

    seed: int
    folds: tuple[int, ...]
    figures: Mapping[str, Interval]


@dataclass(frozen=True)
class CellResult:
    """One cell: its jobs in order; mean and SD of each of `FIGURES` over the folds and seeds there; each seed pooled.

    `over_seeds` is the mean and SD of the pooled figures where several seeds hold the same folds.
    """

    cell: Cell
    scored: tuple[ScoredJob, ...]
    spreads: Mapping[str, Spread | None]
    pooled: tuple[Pooled, ...]
    over_seeds: Mapping[str, Spread | None]

    @property
    def there(self) -> tuple[ScoredJob, ...]:
        """The jobs that have a result."""
        return tuple(one for one in self.scored if one.result is not None)

    @property
    def failed(self) -> tuple[ScoredJob, ...]:
        """The jobs that failed."""
        return tuple(one for one in self.scored if one.record.state == FAILED)


@dataclass(frozen=True)
class Pair:
    """Two cells on the same images: first less second, every figure, of several seeds their mean."""

    first: Cell
    second: Cell
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    figures: Mapping[str, Comparison]


@dataclass(frozen=True)
class Drawn:
    """What a picture adds to the item's page and to its document."""

    lines: Sequence[str]
    document: Mapping[str, Any]


def cell_results(
    item: Item, scored: Sequence[ScoredJob], resamples: int, bootstrap_seed: int
) -> tuple[CellResult, ...]:
    """A result for every cell of the item, in its order; a cell without a job has an empty one.

    Raises EvaluationError where folds of a cell do not go together.
    """
    return tuple(
        _row(cell, tuple(one for one in scored if cell.name in one.job.cells), resamples, bootstrap_seed)
        for cell in item.cells
    )


def _row(cell: Cell, scored: tuple[ScoredJob, ...], resamples: int, bootstrap_seed: int) -> CellResult:
    counts = [one.result.operating for one in scored if one.result is not None]
    values = {name: [getattr(one, name.lower()) for one in counts] for name in FIGURES}
    pooled = tuple(
        Pooled(seed, tuple(results), bootstrap(tuple(results.values()), resamples, bootstrap_seed))
        for seed, results in _by_seed(scored).items()
    )
    alike = len(pooled) > 1 and len({one.folds for one in pooled}) == 1
    return CellResult(
        cell,
        scored,
        {name: spread(values[name]) for name in FIGURES} if counts else {},
        pooled,
        {name: spread([one.figures[name].value for one in pooled]) for name in FIGURES} if alike else {},
    )


def _by_seed(scored: Sequence[ScoredJob]) -> dict[int, dict[int, FoldResult]]:
    """The results by seed, then by fold ascending."""
    found: dict[int, dict[int, FoldResult]] = {}
    for one in sorted(scored, key=lambda one: (one.job.seed, one.job.fold)):
        if one.result is not None:
            found.setdefault(one.job.seed, {})[one.job.fold] = one.result
    return found


def pairs_of(item: Item, rows: Sequence[CellResult], resamples: int, bootstrap_seed: int) -> tuple[Pair, ...]:
    """The item's paired comparisons on the folds that both cells hold: a seed each, then all that hold the same folds.

    Raises EvaluationError.
    """
    by_name = {row.cell.name: row for row in rows}
    pairs = []
    for names in item.pairs:
        first, second = (by_name[name] for name in names)
        mine, theirs = _by_seed(first.scored), _by_seed(second.scored)
        folds = {seed: tuple(sorted(mine[seed].keys() & theirs[seed])) for seed in sorted(mine.keys() & theirs.keys())}
        groups: list[tuple[int, ...]] = [(seed,) for seed in folds if folds[seed]]
        if len(groups) > 1 and len(set(folds.values())) == 1:
            groups.append(tuple(folds))
        for seeds in groups:
            sides = [
                ([mine[seed][fold] for fold in folds[seed]], [theirs[seed][fold] for fold in folds[seed]])
                for seed in seeds
            ]
            found = compare_seeds(sides, resamples, bootstrap_seed)
            pairs.append(Pair(first.cell, second.cell, seeds, folds[seeds[0]], found))
    return tuple(pairs)
