"""The report of `cxrcad evaluate`: every figure with what it rests on, charts and a gallery, in one HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.core import counted
from cxrcad.evaluation.figures import rate_name
from cxrcad.evaluation.froc import RATES, Curve, froc, sensitivity_at
from cxrcad.evaluation.intervals import Comparison, Interval, bootstrap, compare, froc_band
from cxrcad.evaluation.literature import comparable_with
from cxrcad.evaluation.records import AXIS_WORDS, FoldResult, pooled_matches, scope, terms_lines
from cxrcad.evaluation.strata import STRATUM_RATES, Stratum, strata
from cxrcad.evaluation.table2 import table2_text
from cxrcad.report.charts import drawn_bars, plot_bars, plot_folds
from cxrcad.report.curves import froc_caption
from cxrcad.report.figures import comparison_text, figure_shown, interval_shown
from cxrcad.report.gallery import Gallery, gallery
from cxrcad.report.html import Picture, Section, Table, write_page
from cxrcad.report.plots import Band, band_rates, plot_froc
from cxrcad.report.rankings import RANKING, area, drawn_afroc, drawn_reliability, drawn_roc, plot_reliability, plot_roc

__all__ = ["RunShown", "write_evaluation_page", "write_evaluation_report"]

Runs = Mapping[str, Sequence[FoldResult]]

BAR_KINDS = ("subtlety", "size")
CHART_FILE = re.compile(r"(froc|roc|folds|subtlety|size|reliability)(-\d)?\.(png|svg)")
"""What a report writes into charts/, and deletes when it is written again."""

MOST_CROPS, MOST_CROPS_OF_TWO = 12, 8
"""Crops of each kind, where one run is shown and where two are."""

GALLERY_WORDS = (
    "Each crop is 60 mm wide, or more where the boxes need it (a quarter of the image where the spacing is unknown), "
    "its greys stretched to its own range. Orange: a finding at the threshold or above, with its score; light blue and "
    "thinner: below the threshold; green and dashed: the labelled nodule. " + RANKING
)


@dataclass(frozen=True)
class RunShown:
    """One run or model of the page: its folds, figures with intervals, strata, own charts and gallery."""

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
    figures: Sequence[Mapping[str, Interval]] = (),
    compared: Mapping[str, Comparison] | None = None,
) -> Path:
    """Write report.html into `folder`, with charts/*.png and .svg and gallery/*.png beside it; the page's path.

    Everything is worked out from the scored folds, by the name of their run; two runs on the same images are also
    compared. `figures` (a run's `bootstrap` each) and `compared` are given where they are known already. `resamples` 0
    leaves the intervals out. Pictures of an earlier report there are replaced.

    Raises:
        EvaluationError: No fold or no nodule, folds under different terms, or two runs on different images.
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
    charts = _shared_charts(results_by_name, folder / "charts", resamples, seed)
    path = folder / "report.html"
    write_evaluation_page(path, runs, compared, charts, resamples)
    return path


def write_evaluation_page(
    path: Path,
    runs: Sequence[RunShown],
    compared: Mapping[str, Comparison] | None,
    charts: Sequence[Picture],
    resamples: int,
) -> None:
    """Write the page of one or two runs. `charts` show all runs; `compared` is first less second.

    Raises EvaluationError as `table2_text`, and WriteError.
    """
    names = tuple(run.name for run in runs)
    sections = [_scored(runs, resamples), _table2(runs), _figures(runs, resamples)]
    if compared is not None:
        text = comparison_text(compared, (names[0], names[1]), resamples)
        sections.append(Section("Comparison", text=text))
    sections += [_charts(runs, charts), _strata(runs), _gallery(runs)]
    title = f"cxrcad evaluate: {' and '.join(names)}"
    filled = [one for one in sections if one.text or one.tables or one.charts or one.sections or one.paragraphs]
    write_page(path, title, [f"{scope(runs[0].results)}.".capitalize()], [], filled)


def _scored(runs: Sequence[RunShown], resamples: int) -> Section:
    """What the figures rest on: data, protocol, hit rule, and each fold's model and threshold."""
    drawn = (
        "Brackets and bands hold 95 % intervals: Wilson's for Table 2's recall, strata and whiskers; for all other "
        f"figures the percentiles of {resamples:,} bootstrap resamples of the images, at the folds' own thresholds."
        if resamples
        else "Other intervals than Wilson's are left out: no resamples were asked for."
    )
    columns = ("fold", "images", "nodules", "model", "threshold", "chosen from", "run by", "model's sha256")
    tables = tuple(Table(run.name, columns, tuple(_fold_row(result) for result in run.results)) for run in runs)
    warnings = tuple(
        f"NOT A TEST: {len(seen)} of the scored images of {run.name} stand in the model's training list: "
        + ", ".join(seen)
        for run in runs
        if (seen := [name for result in run.results for name in result.trained_on])
    )
    return Section("What was scored", (*terms_lines(runs[0].results[0].terms), drawn, RANKING), warnings, tables=tables)


def _fold_row(result: FoldResult) -> tuple[str, ...]:
    terms = result.terms
    return (
        "all cases" if terms.fold is None else str(terms.fold),
        str(len(result.matches)),
        str(sum(match.n_nodules for match in result.matches)),
        terms.model.name,
        f"{terms.model.threshold:.4g}",
        terms.threshold_from,
        terms.model.provider or "not known",
        terms.model.sha256,
    )


def _table2(runs: Sequence[RunShown]) -> Section:
    order = f"Runs, in this order: {', '.join(run.name for run in runs)}.\n" if len(runs) > 1 else ""
    _, _, table = table2_text([run.results for run in runs]).partition("\n\n")  # without the terms, which stand above
    return Section("F1, recall and precision", text=order + table)


def _figures(runs: Sequence[RunShown], resamples: int) -> Section:
    """A row a figure; those that no run defines (no normals, no lung task) are left out."""
    columns = ["figure"]
    for run in runs:
        columns += [run.name if len(runs) > 1 else "value", "95 % interval"]
    rows = []
    for name in runs[0].figures:
        found = [run.figures[name] for run in runs]
        if all(one.value is None for one in found) and not name.startswith("sensitivity at"):
            continue
        cells = [cell for one in found for cell in (figure_shown(name, one.value), interval_shown(name, one))]
        rows.append((name, *cells))
    last = f"sensitivity at {rate_name(RATES[-1])}"
    notes = ["Sensitivities are those at so many false positives an image."]
    if any(run.figures[last].value is None for run in runs):
        notes.append(
            "Not reached: the curve ends before that rate. CPM then is a lower bound, for it takes the last one."
        )
    heading = "Figures with their 95 % intervals" if resamples else "Figures"
    return Section(heading, (" ".join(notes),), tables=(Table("", tuple(columns), tuple(rows)),))


def _charts(runs: Sequence[RunShown], charts: Sequence[Picture]) -> Section:
    pictures = (*charts, *(chart for run in runs for chart in run.charts))
    drawn, left_out = comparable_with(runs[0].results)
    points = ", ".join(point.label for point in drawn) or "none"
    rows = tuple((f"{point.label}", reason) for point, reason in left_out)
    tables = (Table("Published results that do not compare", ("result", "reason"), rows),) if rows else ()
    inner = (Section("Published results", (f"Drawn behind the curve: {points}.",), tables=tables),)
    return Section("Charts", charts=pictures, sections=inner)


def _strata(runs: Sequence[RunShown]) -> Section:
    rates = tuple(f"at {rate_name(rate)}" for rate in STRATUM_RATES)
    columns = ("stratum", "images", "nodules", "recall", "95 % interval", "false positives an image", *rates)
    tables = []
    for run in runs:
        for kind in dict.fromkeys(one.kind for one in run.strata):
            caption = f"{kind}, {run.name}" if len(runs) > 1 else kind
            rows = tuple(_stratum_row(one) for one in run.strata if one.kind == kind)
            tables.append(Table(caption, columns, rows))
    words = (
        "Recall at the threshold with Wilson's 95 % interval, then sensitivity at 1/4 to 4 false positives an image; "
        "-: not reached, or the stratum has no image over which false positives are counted. A stratum of nodules "
        f"counts those of {AXIS_WORDS[runs[0].results[0].terms.fp_axis]}."
    )
    return Section("Strata", (words,) if tables else (), tables=tuple(tables))


def _stratum_row(one: Stratum) -> tuple[str, ...]:
    low, high = one.interval
    reached = ("-" if value is None else f"{100 * value:.1f} %" for value in one.sensitivities)
    recall, bounds = f"{100 * one.recall:.1f} %", f"[{100 * low:.1f}, {100 * high:.1f}]"
    wrong = "-" if one.fp_per_image is None else f"{one.fp_per_image:.2f}"
    return (one.name, str(one.n_images), str(one.n_nodules), recall, bounds, wrong, *reached)


def _gallery(runs: Sequence[RunShown]) -> Section:
    parts = []
    for run in runs:
        start = f"{run.name}: " if len(runs) > 1 else ""
        groups = run.gallery.groups.items()
        parts += [Section(start + heading, pictures=pictures) for heading, pictures in groups]
        if run.gallery.notes:
            parts.append(Section(start + "Not shown", run.gallery.notes))
    return Section("Gallery", (GALLERY_WORDS,) if parts else (), sections=tuple(parts))


def _shared_charts(runs: Runs, folder: Path, resamples: int, seed: int) -> tuple[Picture, ...]:
    """FROC of all runs; ROC where there are normal images; folds where there are several points."""
    terms = next(iter(runs.values()))[0].terms
    caption = froc_caption(terms)
    curves = {name: froc(pooled_matches(results), terms.fp_axis) for name, results in runs.items()}
    bands: dict[str, Band] = {}
    for name, curve in curves.items():
        rates = band_rates(curve)
        if rates and resamples:
            bands[name] = (rates, *froc_band(runs[name], rates, resamples, seed))
    plot_froc(
        curves, _both(folder, "froc"), caption, bands, comparable_with(next(iter(runs.values())))[0], terms.fp_axis
    )
    told = "; ".join(f"{name}: {_reached(curve)}" for name, curve in curves.items())
    charts = [Picture("FROC curve", folder / "froc.svg", f"Sensitivity against false positives an image. {told}.")]
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
        words = "Recall against false positives an image, each fold at its own threshold; large: the folds pooled."
        charts.append(Picture("Folds", folder / "folds.svg", words))
    return tuple(charts)


def _own_charts(
    name: str, results: Sequence[FoldResult], own: Sequence[Stratum], folder: Path, mark: str
) -> tuple[Picture, ...]:
    """Recall by subtlety and by size where they are known, and the reliability of the scores, of one run."""
    caption = f"{name}\n{froc_caption(results[0].terms)}"
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
    """A curve in words, for who does not see it: "45.2 % at 1"."""
    known = [(rate, sensitivity_at(curve, rate)) for rate in RATES]
    told = ", ".join(f"{100 * value:.1f} % at {rate_name(rate)}" for rate, value in known if value is not None)
    return told or f"ends at {curve.final_fp_per_image:.2g} false positives an image"
