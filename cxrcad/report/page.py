"""The report of `cxrcad evaluate`, one HTML page: verdict first, then tables, charts and a gallery.

Its words are in templates/evaluation.html.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.core import counted
from cxrcad.evaluation.bootstrap import Comparison, Interval, draw, froc_band
from cxrcad.evaluation.calibration import ERROR_RATE, calibration_error
from cxrcad.evaluation.froc import RATES, Curve, Operating, froc, sensitivity_at
from cxrcad.evaluation.metrics import rate_name
from cxrcad.evaluation.records import AXIS_WORDS, FoldResult, context_lines, pooled, pooled_matches, scope
from cxrcad.evaluation.subgroups import Stratum, strata
from cxrcad.report.drawing.froc import Band, band_rates, plot_froc
from cxrcad.report.drawing.roc import (
    area,
    drawn_afroc,
    drawn_reliability,
    drawn_roc,
    plot_reliability,
    plot_roc,
    score_words,
)
from cxrcad.report.drawing.subgroups import plot_bars, plot_folds
from cxrcad.report.froc import froc_caption
from cxrcad.report.gallery import Gallery, gallery
from cxrcad.report.html import Made, Picture, write_page
from cxrcad.report.table2 import table2, table2_notes
from cxrcad.report.tables import (
    Table,
    comparison_table,
    comparison_words,
    figure_shown,
    figures_table,
    interval_shown,
    subgroups_table,
)

__all__ = ["write_evaluation_report"]

Runs = Mapping[str, Sequence[FoldResult]]

CHART_FILE = re.compile(r"(froc|roc|folds|subtlety|size|reliability)(-\d)?(-small)?\.(png|svg)")
"""What a report writes into charts/, and deletes when it is written again."""

MOST_CROPS, MOST_CROPS_OF_TWO = 12, 8
"""Crops of each kind, where one run is shown and where two are."""


@dataclass(frozen=True)
class RunShown:
    """One run or model of the page: its folds, figures with intervals, subgroups and gallery."""

    name: str
    results: Sequence[FoldResult]
    figures: Mapping[str, Interval]
    subgroups: Table
    gallery: Gallery

    @property
    def counts(self) -> Operating:
        """All folds' counts, each at its own threshold."""
        return pooled(self.results)

    @property
    def trained_on(self) -> list[str]:
        """Scored images that the models were trained on."""
        return [name for result in self.results for name in result.trained_on]

    @property
    def folds(self) -> Table:
        """A row for each fold: its size, and the model with its threshold."""
        columns = ("fold", "images", "nodules", "model", "threshold", "chosen from", "run by", "model's sha256")
        rows = []
        for result in self.results:
            context, nodules = result.context, sum(match.n_nodules for match in result.matches)
            model = context.model
            fold = "all cases" if context.fold is None else str(context.fold)
            counts = (fold, str(len(result.matches)), str(nodules))
            chosen = (f"{model.threshold:.4g}", context.threshold_from)
            rows.append((*counts, model.name, *chosen, model.provider or "not known", model.sha256))
        return Table(columns, rows)


def write_evaluation_report(
    results_by_name: Runs,
    folder: Path,
    resamples: int,
    seed: int,
    made: Made,
    figures: Sequence[Mapping[str, Interval]],
    compared: Mapping[str, Comparison] | None,
) -> Path:
    """Write report.html into `folder`, with charts/*.png and .svg and gallery/*.png beside it; the page's path.

    `figures` has each run's (`bootstrap`), `compared` those of two runs (`compare`). `resamples` and `seed` are of the
    FROC curve's bands; 0 leaves them out. Pictures of an earlier report there are replaced.

    Raises:
        EvaluationError: No fold or no nodule, or folds in different contexts.
        WriteError: A file cannot be written.
    """
    for old in (folder / "charts").glob("*"):
        if CHART_FILE.fullmatch(old.name):
            old.unlink()
    several = len(results_by_name) > 1
    runs, own_charts = [], []
    for number, (name, results) in enumerate(results_by_name.items(), 1):
        mark = f"-{number}" if several else ""
        subgroups = strata(results)
        crops = gallery(results, folder / f"gallery{mark}", MOST_CROPS_OF_TWO if several else MOST_CROPS)
        own_charts += _own_charts(name, results, subgroups, folder / "charts", mark, (resamples, seed))
        runs.append(RunShown(name, results, figures[number - 1], subgroups_table(subgroups), crops))
    context = runs[0].results[0].context
    networks = table2([run.results for run in runs])
    named = [(f"{model}, {task.lower()} task", *cells) for task, model, *cells in networks.rows]
    path = folder / "report.html"
    write_page(
        path,
        "evaluation.html",
        made,
        title=f"Evaluation of {' and '.join(results_by_name)}",
        runs=runs,
        extent=scope(runs[0].results),
        context=context_lines(context),
        axis=AXIS_WORDS[context.fp_axis],
        curve=_curve(results_by_name, folder / "charts", resamples, seed),
        table2=Table(("network", *networks.columns[2:]), named, grouped=True),
        table2_notes=table2_notes([run.results for run in runs]),
        all_figures=figures_table({run.name if several else "": run.figures for run in runs}),
        unreached=any(run.figures[f"sensitivity at {rate_name(RATES[-1])}"].value is None for run in runs),
        comparison=None if compared is None else comparison_table(compared),
        comparison_words=comparison_words(resamples),
        ranking=" ".join(dict.fromkeys(score_words(run.results[0].context) for run in runs)),
        resamples=resamples,
        charts=[*_shared_charts(results_by_name, folder / "charts"), *own_charts],
        figure_shown=figure_shown,
        interval_shown=interval_shown,
    )
    return path


def _curve(runs: Runs, folder: Path, resamples: int, seed: int) -> Picture:
    """The FROC curve of all runs."""
    context = next(iter(runs.values()))[0].context
    curves = {name: froc(pooled_matches(results), context.fp_axis) for name, results in runs.items()}
    bands: dict[str, Band] = {}
    for name, curve in curves.items():
        rates = band_rates(curve)
        if rates and resamples:
            bands[name] = (rates, *froc_band(runs[name], rates, resamples, seed))
    path = _drawn(plot_froc, curves, folder / "froc", froc_caption(context), bands, context.fp_axis)
    told = "; ".join((f"{name}: " if len(curves) > 1 else "") + _reached(curve) for name, curve in curves.items())
    shaded = " Shaded: 95 % interval." if bands else ""
    return Picture("FROC curve", path, f"Sensitivity against false positives per image: {told}.{shaded}")


def _shared_charts(runs: Runs, folder: Path) -> list[Picture]:
    """ROC where there are normal images; folds where there are several points."""
    caption = froc_caption(next(iter(runs.values()))[0].context)
    charts = []
    areas = [
        f"{name}: ROC {area(roc):.3f}, AFROC {area(afroc):.3f}"
        for name, results in runs.items()
        if (roc := drawn_roc(results)) and (afroc := drawn_afroc(results))
    ]
    if areas:
        path = _drawn(plot_roc, runs, folder / "roc", caption)
        words = f"Against the part of normal images with a finding. Areas: {'; '.join(areas)}."
        charts.append(Picture("ROC of the images and AFROC of the nodules", path, words))
    if sum(len(results) for results in runs.values()) > 1:
        path = _drawn(plot_folds, runs, folder / "folds", caption)
        words = "Recall against false positives per image, each fold at its own threshold; large: the folds pooled."
        charts.append(Picture("Folds", path, words))
    return charts


def _own_charts(
    name: str,
    results: Sequence[FoldResult],
    subgroups: Sequence[Stratum],
    folder: Path,
    mark: str,
    drawn: tuple[int, int],
) -> list[Picture]:
    """Recall by subtlety and by size where they are known, and the reliability of the scores, of one run.

    `drawn` has the resamples and their seed.
    """
    caption = f"{name}\n{froc_caption(results[0].context)}"
    charts = []
    of_run = f", {name}" if mark else ""
    for kind in ("subtlety", "size"):
        bars = [one for one in subgroups if one.kind == kind]
        if bars:
            path = _drawn(plot_bars, bars, folder / f"{kind}{mark}", caption, kind)
            told = ", ".join(f"{bar.name}: {bar.hits} of {bar.n_nodules}" for bar in bars)
            charts.append(Picture(f"Recall by {kind}{of_run}", path, f"Nodules found at the threshold. {told}."))
    bins = drawn_reliability(results)
    if bins:
        path = _drawn(plot_reliability, results, folder / f"reliability{mark}", caption)
        told = f"{counted(sum(one.n for one in bins), 'finding')}, {counted(sum(one.hits for one in bins), 'hit')}"
        error = calibration_error(pooled_matches(results), draw(results, *drawn) if drawn[0] else None)
        words = (
            f"{score_words(results[0].context)} {told}, in tenths of the score. Expected calibration error of the "
            f"findings down to {ERROR_RATE:g} false positive per image: {error}."
        )
        charts.append(Picture(f"Reliability of the scores{of_run}", path, words))
    return charts


def _drawn(plot: Callable[..., None], data: object, place: Path, caption: str, *more: object) -> Path:
    """Draw for a talk, as PNG and SVG with a caption, and small, without one, for the page; the small one's path."""
    plot(data, [place.with_suffix(".png"), place.with_suffix(".svg")], caption, *more)
    small = place.with_name(f"{place.name}-small.svg")
    plot(data, [small], "", *more)
    return small


def _reached(curve: Curve) -> str:
    """A curve in words: "45.2 % at 1"."""
    known = [(rate, sensitivity_at(curve, rate)) for rate in RATES]
    told = ", ".join(f"{100 * value:.1f} % at {rate_name(rate)}" for rate, value in known if value is not None)
    return told or f"the curve ends at {curve.final_fp_per_image:.2g} false positives per image"
