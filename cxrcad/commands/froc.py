"""`cxrcad froc`: sensitivity against false positives per image, as a table, a plot and files."""

from __future__ import annotations

from collections.abc import Callable

from cxrcad.commands.evaluate import place_of, titles_of
from cxrcad.config import AREA, LESIONS, EvaluateConfig
from cxrcad.core import UsageError
from cxrcad.evaluation.bootstrap import bootstrap, froc_band
from cxrcad.evaluation.froc import froc
from cxrcad.evaluation.records import pooled_matches
from cxrcad.evaluation.subgroups import has_counted, has_nodules, of_each_set
from cxrcad.report.drawing.froc import band_rates, plot_froc
from cxrcad.report.froc import froc_caption, froc_text, write_froc
from cxrcad.scoring.runs import score

__all__ = ["check_counted", "report_froc"]

Note = Callable[[str], None]


def report_froc(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Sensitivity at 1/8 ... 8 false positives per image, as a text; froc.json, .csv, .png and .svg beside it.

    Files go to the fold's folder of the run (or `config.out`). Raises what `scoring.runs.score` does, and UsageError
    for a lesion that has no FROC.
    """
    check_counted(config)
    scored = score(config, note)
    texts, bands, curves = [], {}, {}
    titles = titles_of(scored)
    for title, one in zip(titles, scored, strict=True):
        place = place_of(one, config)
        found = bootstrap(one.results, config.scoring.resamples, config.scoring.bootstrap_seed)
        drawn = config.scoring.resamples, config.scoring.bootstrap_seed
        sets = {name: its for name, its in of_each_set(one.results).items() if has_nodules(its) and has_counted(its)}
        by_set = {name: (its, bootstrap(its, *drawn)) for name, its in sets.items()}
        write_froc(place / "froc.json", place / "froc.csv", one.results, found, by_set)
        texts.append(f"{title}\n{froc_text(one.results, found)}")
        texts += [f"{title}, data set {name}\n{froc_text(*its)}" for name, its in by_set.items()]
        curves[title] = froc(pooled_matches(one.results), one.results[0].context.fp_axis)
        rates = band_rates(curves[title])
        if config.scoring.resamples and rates:
            bands[title] = (
                rates,
                *froc_band(one.results, rates, config.scoring.resamples, config.scoring.bootstrap_seed),
            )
    context = scored[0].results[0].context
    place = place_of(scored[0], config)
    pictures = [place / "froc.png", place / "froc.svg"]
    plot_froc(curves, pictures, froc_caption(context), bands, context.fp_axis)
    written = ", ".join(str(place / f"froc.{ending}") for ending in ("json", "csv", "png", "svg"))
    return "\n".join([*texts, f"written: {written}\n"])


def check_counted(config: EvaluateConfig) -> None:
    """Raise UsageError for a lesion whose findings are not counted."""
    lesion = config.data.lesion
    if LESIONS[lesion] == AREA:
        raise UsageError(
            f"--lesion {lesion}: it is measured by Dice, and no findings are counted; `cxrcad evaluate --lesion "
            f"{lesion}` prints its figures"
        )
