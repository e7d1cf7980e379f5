"""The report of `cxrcad evaluate`, one HTML page: verdict first, then tables, charts and a gallery."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxrcad.core import counted
from cxrcad.evaluation.bootstrap import Comparison, Interval, bootstrap, compare, froc_band
from cxrcad.evaluation.froc import RATES, Curve, froc, sensitivity_at
from cxrcad.evaluation.metrics import rate_name
from cxrcad.evaluation.records import AXIS_WORDS, FoldResult, context_lines, pooled, pooled_matches, scope
from cxrcad.evaluation.subgroups import Stratum, strata
from cxrcad.report.drawing.froc import Band, band_rates, plot_froc
from cxrcad.report.drawing.roc import (
    RANKING,
    area,
    drawn_afroc,
    drawn_reliability,
    drawn_roc,
    plot_reliability,
    plot_roc,
)
from cxrcad.report.drawing.subgroups import drawn_bars, plot_bars, plot_folds
from cxrcad.report.froc import froc_caption
from cxrcad.report.gallery import Gallery, gallery
from cxrcad.report.html import KeyFigure, Made, Page, Picture, Section, write_page
from cxrcad.report.table2 import table2, table2_notes
from cxrcad.report.tables import (
    Table,
    comparison_lines,
    comparison_table,
    figure_shown,
    figures_table,
    interval_shown,
    subgroups_table,
)

__all__ = ["RunShown", "write_evaluation_report"]

Runs = Mapping[str, Sequence[FoldResult]]

KEY_FIGURES: Mapping[str, str] = {
    "sensitivity at 1/4": "Sensitivity at 1/4 false positive per image",
    "sensitivity at 1": "Sensitivity at 1 false positive per image",
    "F1": "F1 at the threshold",
}
"""The figures of the first screen: few false marks, as many as a reader may bear, and the paper's own figure."""

BAR_KINDS = ("subtlety", "size")
CHART_FILE = re.compile(r"(froc|froc-small|roc|folds|subtlety|size|reliability)(-\d)?\.(png|svg)")
"""What a report writes into charts/, and deletes when it is written again."""

MOST_CROPS, MOST_CROPS_OF_TWO = 12, 8
"""Crops of each kind, where one run is shown and where two are."""

GALLERY_WORDS = (
    "Each crop is 60 mm wide, or more where the boxes need it (a quarter of the image where the spacing is unknown), "
    "its greys stretched to its own range. Orange: a finding at the threshold or above, with its score; light blue and "
    "thinner: below the threshold; green and dashed: the labelled nodule. " + RANKING
)
SUBGROUP_WORDS = (
    "Recall at the threshold with Wilson's 95 % interval, then sensitivity in percent at so many false positives per "
    "image; -: not reached, or no image over which false positives are counted. Subgroups of nodules keep the false "
    "positives of {axis}."
)


@dataclass(frozen=True)
class RunShown:
    """One run or model of the page: its folds, figures with intervals, subgroups, own charts and gallery."""

    name: str
    results: tuple[FoldResult, ...]
    figures: Mapping[str, Interval]
    strata: tuple[Stratum, ...]
    charts: tuple[Picture, ...]
    gallery: Gallery


def write_evaluation_report(
    results_by_name: Runs,
    folder: Path,
    resamples: int,
    seed: int,
    made: Made,
    figures: Sequence[Mapping[str, Interval]] = (),
    compared: Mapping[str, Comparison] | None = None,
) -> Path:
    """Write report.html into `folder`, with charts/*.png and .svg and gallery/*.png beside it; the page's path.

    Everything is worked out from the scored folds, by the name of their run; two runs on the same images are also
    compared. `figures` (a run's `bootstrap` each) and `compared` are given where they are known already. `resamples` 0
    leaves bootstrap intervals out. `made` stands at the foot. Pictures of an earlier report there are replaced.

    Raises:
        EvaluationError: No fold or no nodule, folds in different contexts, or two runs on different images.
        WriteError: A file cannot be written.
    """
    for old in (folder / "charts").glob("*"):
        if CHART_FILE.fullmatch(old.name):
            old.unlink()
    several = len(results_by_name) > 1
    runs = []
    for number, (name, results) in enumerate(results_by_name.items(), 1):
        mark = f"-{number}" if several else ""
        own = strata(results)
        crops = gallery(results, folder / f"gallery{mark}", MOST_CROPS_OF_TWO if several else MOST_CROPS)
        charts = _own_charts(name, results, own, folder / "charts", mark)
        mine = figures[number - 1] if figures else bootstrap(results, resamples, seed)
        runs.append(RunShown(name, tuple(results), mine, own, charts, crops))
    if compared is None and len(runs) == 2 and resamples:
        compared = compare(runs[0].results, runs[1].results, resamples, seed)
    curve = _curve(results_by_name, folder / "charts", resamples, seed)
    charts = _shared_charts(results_by_name, folder / "charts")
    sections = [_table2(runs), _figures(runs), *_subgroups(runs)]
    if compared is not None:
        notes = tuple(comparison_lines((runs[0].name, runs[1].name), resamples))
        words = (*notes[:2], " ".join(notes[2:]))
        sections.append(Section("Comparison", words, tables=(comparison_table(compared),)))
    sections.append(_scored(runs, resamples))
    if charts or any(run.charts for run in runs):
        sections.append(Section("Charts", charts=(*charts, *(chart for run in runs for chart in run.charts))))
    sections += _gallery(runs)
    path = folder / "report.html"
    write_page(path, _page(runs, made, curve, sections))
    return path


def _page(runs: Sequence[RunShown], made: Made, curve: Picture, sections: Sequence[Section]) -> Page:
    """The first screen: what was found at the threshold, key figures, and what they rest on."""
    several = len(runs) > 1
    warnings = tuple(
        f"NOT A TEST: {len(seen)} of the scored images of {run.name} stand in the model's training list: "
        + ", ".join(seen)
        for run in runs
        if (seen := [name for result in run.results for name in result.trained_on])
    )
    key = tuple(
        KeyFigure(
            words,
            tuple(
                (run.name if several else "", figure_shown(name, one.value), interval_shown(name, one))
                for run in runs
                for one in (run.figures[name],)
            ),
        )
        for name, words in KEY_FIGURES.items()
    )
    extent = scope(runs[0].results)
    paragraphs = (f"{extent[:1].upper()}{extent[1:]}.", context_lines(runs[0].results[0].context)[0])
    return Page(
        title=f"Evaluation of {' and '.join(run.name for run in runs)}",
        made=made,
        lead=tuple((f"{run.name}: " if several else "") + _found(run) for run in runs),
        warnings=warnings,
        figures=key,
        paragraphs=(*paragraphs, "Brackets hold 95 % intervals."),
        curve=curve,
        sections=tuple(sections),
    )


def _found(run: RunShown) -> str:
    counts = pooled(run.results)
    limits = "its folds' thresholds" if counts.threshold is None else "its threshold"
    return (
        f"At {limits} {counts.tp} of {counted(counts.tp + counts.fn, 'nodule')} found, with {counts.fp_per_image:.2f} "
        "false positives per image."
    )


def _said_once(table: Table, every: str) -> tuple[Table, tuple[str, ...]]:
    """The table without the columns that say the same in every row, and a sentence of what they say."""
    same = table.constants()
    told = "; ".join(f"{name} {value}" for name, value in same.items())
    return table.without(*same), (f"In every {every}: {told}.",) if same else ()


def _scored(runs: Sequence[RunShown], resamples: int) -> Section:
    """What the figures rest on: data, protocol, hit rule, and each fold's model and threshold."""
    drawn = (
        "Brackets, bands and whiskers hold 95 % intervals: Wilson's for recall, the folds and the subgroups, and for a "
        "proportion that is the same in every resample; for all other figures the percentiles of "
        f"{resamples:,} bootstrap resamples of the images, at the folds' own thresholds."
        if resamples
        else "Other intervals than Wilson's are left out: no resamples were asked for."
    )
    columns = ("fold", "images", "nodules", "model", "threshold", "chosen from", "run by", "model's sha256")
    tables, told = [], []
    for run in runs:
        table, same = _said_once(
            Table(columns, [_fold_row(one) for one in run.results], run.name if len(runs) > 1 else ""), "fold"
        )
        tables.append(table)
        told += [f"{run.name}: {same[0]}" if len(runs) > 1 else same[0]] if same else []
    words = (*context_lines(runs[0].results[0].context), drawn, RANKING, *told)
    return Section("What was scored", words, tables=tuple(tables))


def _fold_row(result: FoldResult) -> tuple[str, ...]:
    context = result.context
    return (
        "all cases" if context.fold is None else str(context.fold),
        str(len(result.matches)),
        str(sum(match.n_nodules for match in result.matches)),
        context.model.name,
        f"{context.model.threshold:.4g}",
        context.threshold_from,
        context.model.provider or "not known",
        context.model.sha256,
    )


def _table2(runs: Sequence[RunShown]) -> Section:
    groups = [run.results for run in runs]
    order = (f"Runs, in this order: {', '.join(run.name for run in runs)}.",) if len(runs) > 1 else ()
    table = table2(groups)
    rows = tuple((f"{model}, {task.lower()} task", *cells) for task, model, *cells in table.rows)
    table = Table(("network", *table.columns[2:]), rows, grouped=True)
    return Section("F1, recall and precision", order, tables=(table,), notes=tuple(table2_notes(groups)))


def _figures(runs: Sequence[RunShown]) -> Section:
    """A row a figure; those that no run defines (no normals, no lung task) are left out."""
    table = figures_table({run.name if len(runs) > 1 else "": run.figures for run in runs})
    words = "Sensitivities are those at so many false positives per image."
    if any(run.figures[f"sensitivity at {rate_name(RATES[-1])}"].value is None for run in runs):
        words += " Not reached: the curve ends before that rate."
    return Section("All figures", (words,), tables=(table,))


def _subgroups(runs: Sequence[RunShown]) -> list[Section]:
    tables, told = [], []
    for run in runs:
        if run.strata:
            table, same = _said_once(subgroups_table(run.strata), "subgroup")
            table = replace(table, caption=run.name if len(runs) > 1 else "")
            tables.append(table)
            told += [f"{run.name}: {same[0]}" if len(runs) > 1 else same[0]] if same else []
    return (
        [
            Section(
                "Subgroups",
                (SUBGROUP_WORDS.format(axis=AXIS_WORDS[runs[0].results[0].context.fp_axis]), *told),
                tables=tuple(tables),
            )
        ]
        if tables
        else []
    )


def _gallery(runs: Sequence[RunShown]) -> list[Section]:
    parts = []
    for run in runs:
        start = f"{run.name}: " if len(runs) > 1 else ""
        groups = run.gallery.groups.items()
        parts += [Section(start + heading, pictures=pictures) for heading, pictures in groups]
        if run.gallery.notes:
            parts.append(Section(start + "Not shown", run.gallery.notes))
    return [Section("Gallery", (GALLERY_WORDS,), sections=tuple(parts))] if parts else []


def _curve(runs: Runs, folder: Path, resamples: int, seed: int) -> Picture:
    """The FROC curve of all runs as files for a talk, and small, without its caption, for the first screen."""
    context = next(iter(runs.values()))[0].context
    curves = {name: froc(pooled_matches(results), context.fp_axis) for name, results in runs.items()}
    bands: dict[str, Band] = {}
    for name, curve in curves.items():
        rates = band_rates(curve)
        if rates and resamples:
            bands[name] = (rates, *froc_band(runs[name], rates, resamples, seed))
    plot_froc(curves, _both(folder, "froc"), froc_caption(context), bands, context.fp_axis)
    plot_froc(curves, [folder / "froc-small.svg"], "", bands, context.fp_axis, small=True)
    several = len(curves) > 1
    told = "; ".join((f"{name}: " if several else "") + _reached(curve) for name, curve in curves.items())
    shaded = " Shaded: 95 % interval." if bands else ""
    caption = f"Sensitivity against false positives per image: {told}.{shaded}"
    return Picture("FROC curve", folder / "froc-small.svg", caption)


def _shared_charts(runs: Runs, folder: Path) -> tuple[Picture, ...]:
    """ROC where there are normal images; folds where there are several points."""
    caption = froc_caption(next(iter(runs.values()))[0].context)
    charts = []
    areas = [
        f"{name}: ROC {area(roc):.3f}, AFROC {area(afroc):.3f}"
        for name, results in runs.items()
        if (roc := drawn_roc(results)) and (afroc := drawn_afroc(results))
    ]
    if areas:
        plot_roc(runs, _both(folder, "roc"), caption)
        words = f"Against the part of normal images with a finding. Areas: {'; '.join(areas)}."
        charts.append(Picture("ROC of the images and AFROC of the nodules", folder / "roc.svg", words))
    if sum(len(results) for results in runs.values()) > 1:
        plot_folds(runs, _both(folder, "folds"), caption)
        words = "Recall against false positives per image, each fold at its own threshold; large: the folds pooled."
        charts.append(Picture("Folds", folder / "folds.svg", words))
    return tuple(charts)


def _own_charts(
    name: str, results: Sequence[FoldResult], own: Sequence[Stratum], folder: Path, mark: str
) -> tuple[Picture, ...]:
    """Recall by subtlety and by size where they are known, and the reliability of the scores, of one run."""
    caption = f"{name}\n{froc_caption(results[0].context)}"
    charts = []
    for kind in BAR_KINDS:
        bars = drawn_bars(own, kind)
        if bars:
            plot_bars(own, _both(folder, f"{kind}{mark}"), caption, kind)
            told = ", ".join(f"{bar.name}: {bar.hits} of {bar.n_nodules}" for bar in bars)
            title = f"Recall by {kind}, {name}" if mark else f"Recall by {kind}"
            charts.append(Picture(title, folder / f"{kind}{mark}.svg", f"Nodules found at the threshold. {told}."))
    bins = drawn_reliability(results)
    if bins:
        plot_reliability(results, _both(folder, f"reliability{mark}"), caption)
        told = f"{counted(sum(one.n for one in bins), 'finding')}, {counted(sum(one.hits for one in bins), 'hit')}"
        title = f"Reliability of the scores, {name}" if mark else "Reliability of the scores"
        charts.append(Picture(title, folder / f"reliability{mark}.svg", f"{RANKING} {told}, in tenths of the score."))
    return tuple(charts)


def _both(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.png", folder / f"{name}.svg"]


def _reached(curve: Curve) -> str:
    """A curve in words: "45.2 % at 1"."""
    known = [(rate, sensitivity_at(curve, rate)) for rate in RATES]
    told = ", ".join(f"{100 * value:.1f} % at {rate_name(rate)}" for rate, value in known if value is not None)
    return told or f"the curve ends at {curve.final_fp_per_image:.2g} false positives per image"
