"""`cxrcad evaluate`, `cxrcad froc` and `cxrcad compare` as library calls: a text to print, and files to keep."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrcad.config import LESIONS, EvaluateConfig, settings_of, to_dict
from cxrcad.core import EvaluationError, UsageError
from cxrcad.evaluation.bootstrap import Comparison, Interval, bootstrap, compare, froc_band
from cxrcad.evaluation.froc import froc
from cxrcad.evaluation.metrics import figures, tally
from cxrcad.evaluation.records import check_alike, pooled_matches, scope, terms_lines
from cxrcad.evaluation.runs import Scored, data_of_run, folds_of_run, score
from cxrcad.evaluation.subgroups import Stratum, strata
from cxrcad.files import check_out, write_atomically, write_json
from cxrcad.report.drawing.froc import band_rates, plot_froc
from cxrcad.report.effusion import report_segmentation
from cxrcad.report.froc import froc_caption, froc_text, write_froc
from cxrcad.report.html import Made
from cxrcad.report.page import write_evaluation_report
from cxrcad.report.table2 import table2_text
from cxrcad.report.tables import (
    comparison_text,
    figures_document,
    figures_text,
    seeds_text,
    strata_document,
    strata_text,
)

__all__ = ["command_line", "report_comparison", "report_evaluation", "report_froc"]

SCHEMA = "cxrcad/evaluation/1"

Note = Callable[[str], None]


def report_evaluation(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Table 2's figures of the folds, every other figure with its interval, and the strata, as a text.

    It is also written to evaluation.txt, with evaluation.json and (`config.report`) report/report.html beside it, in
    the fold's folder of the run (or `config.out`). A lesion that is measured by its area gives what
    `report.segmentation` says instead. Raises what `evaluation.runs.score` does.
    """
    if config.data.lesion != LESIONS[0]:
        return report_segmentation(config, note)
    scored = score(config, note)
    titles = _titles(scored)
    parts = [table2_text([one.results for one in scored])]
    if len(scored) > 1:
        parts[0] = f"Runs, in this order: {', '.join(titles)}.\n{parts[0]}"
    found = [bootstrap(one.results, config.scoring.resamples, config.scoring.bootstrap_seed) for one in scored]
    parted = [strata(one.results) for one in scored]
    for title, mine, parts_of in zip(titles, found, parted, strict=True):
        own = f"{title}\n" if len(scored) > 1 else ""
        parts += [own + figures_text(mine, config.scoring.resamples), own + strata_text(parts_of)]
    if config.seeds is not None:
        parts.append(_seeds_text(scored[0], config, note))
    compared = _compared(scored, config)
    if compared is not None:
        parts.append(comparison_text(compared, (titles[0], titles[1]), config.scoring.resamples))
    text = "\n".join(parts)
    place = _place(scored[0], config)
    write_atomically(place / "evaluation.txt", text)
    write_json(
        place / "evaluation.json", _document(scored, titles, list(zip(found, parted, strict=True)), compared, config)
    )
    if config.report:
        by_name = {title: one.results for title, one in zip(titles, scored, strict=True)}
        newest = config.out is None and not (config.run or config.model or config.predictions)
        made = Made.today(command_line(replace(config, run=scored[0].folder) if newest else config))
        drawn = config.scoring.resamples, config.scoring.bootstrap_seed
        page = write_evaluation_report(by_name, place / "report", *drawn, made, found, compared)
        note(f"written: {place / 'evaluation.txt'}, {place / 'evaluation.json'}, {page}")
    elif (place / "report" / "report.html").is_file():
        (place / "report" / "report.html").unlink()  # it shows the figures of an earlier evaluation
        note(f"removed: {place / 'report' / 'report.html'}, which was of an earlier evaluation")
    return text


def command_line(config: EvaluateConfig) -> str:
    """The command that gives the same figures wherever no settings file and no variable is set."""
    usual, given = to_dict(EvaluateConfig()), to_dict(config)
    words = ["cxrcad", "evaluate"]
    for one in settings_of(EvaluateConfig):
        value = given[one.name]
        if value != usual[one.name] and value is not None:
            words += [one.flag if value else f"--no-{one.flag[2:]}"] if one.type is bool else [one.flag, str(value)]
    return shlex.join(words)


def report_froc(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Sensitivity at 1/8 ... 8 false positives an image, as a text; froc.json, .csv, .png and .svg beside it.

    Files go to the fold's folder of the run (or `config.out`). Raises what `evaluation.runs.score` does, and UsageError
    for a lesion that has no FROC.
    """
    _check_counted(config)
    scored = score(config, note)
    texts, bands, curves = [], {}, {}
    titles = _titles(scored)
    for title, one in zip(titles, scored, strict=True):
        place = _place(one, config)
        found = bootstrap(one.results, config.scoring.resamples, config.scoring.bootstrap_seed)
        write_froc(place / "froc.json", place / "froc.csv", one.results, found)
        texts.append(f"{title}\n{froc_text(one.results, found)}")
        curves[title] = froc(pooled_matches(one.results), one.results[0].terms.fp_axis)
        rates = band_rates(curves[title])
        if config.scoring.resamples and rates:
            bands[title] = (
                rates,
                *froc_band(one.results, rates, config.scoring.resamples, config.scoring.bootstrap_seed),
            )
    terms = scored[0].results[0].terms
    place = _place(scored[0], config)
    pictures = [place / "froc.png", place / "froc.svg"]
    plot_froc(curves, pictures, froc_caption(terms), bands, terms.fp_axis)
    written = ", ".join(str(place / f"froc.{ending}") for ending in ("json", "csv", "png", "svg"))
    return "\n".join([*texts, f"written: {written}\n"])


def report_comparison(first: str, second: str, config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Every figure of two runs (models, files of predictions) on the same images, with the paired difference.

    With `config.out` the text and comparison.json are written there. Raises what `evaluation.runs.score` does, and
    EvaluationError where the images differ, UsageError for a lesion that is measured by its area.
    """
    _check_counted(config)
    _check_one_kind(first, second)
    check_out(config.out)
    config = _with_data((first, second), config)
    sides: list[Scored] = []
    for name in (first, second):
        own = None if config.out is None else config.out / str(len(sides) + 1)
        sides.append(score(replace(_named(name, config), out=own), note)[0])
    folds = [{result.terms.fold for result in side.results} for side in sides]
    shared = folds[0] & folds[1]
    if not shared:
        raise EvaluationError(f"{first} and {second} have no fold in common; score the same folds of both")
    if folds[0] != folds[1]:
        note(f"compared: folds {', '.join(str(fold) for fold in sorted(shared, key=str))}, which both hold")
    results = [[r for r in side.results if r.terms.fold in shared] for side in sides]
    compared = compare(results[0], results[1], config.scoring.resamples, config.scoring.bootstrap_seed)
    head = [*terms_lines(results[0][0].terms), f"Scored: {scope(results[0])}.", ""]
    text = "\n".join(head) + "\n" + comparison_text(compared, (first, second), config.scoring.resamples)
    if config.out is not None:
        write_atomically(config.out / "comparison.txt", text)
        document = {"schema": "cxrcad/comparison/1", "first": first, "second": second, "scored": head[:3]}
        write_json(config.out / "comparison.json", {**document, "figures": _compared_document(compared)})
    return text


def _check_counted(config: EvaluateConfig) -> None:
    """Raise UsageError for a lesion whose findings are not counted."""
    lesion = config.data.lesion
    if lesion != LESIONS[0]:
        raise UsageError(
            f"--lesion {lesion}: it is measured by Dice, and no findings are counted; `cxrcad evaluate --lesion "
            f"{lesion}` prints its figures"
        )


def _seeds_text(first: Scored, config: EvaluateConfig, note: Note) -> str:
    """Mean and standard deviation of each figure over the first run and those of --seeds, folds pooled."""
    runs = [first]
    for name in (config.seeds or "").split(","):
        own = replace(config, run=Path(name.strip()), model=None, beside=None, out=None)
        runs.append(score(own, note)[0])
    check_alike([result for run in runs for result in run.results])
    images = [[match.case for result in run.results for match in result.matches] for run in runs]
    if any(names != images[0] for names in images):
        raise EvaluationError(
            f"--seeds {config.seeds}: not scored on the same images; name runs that hold the same folds"
        )
    found = [figures(tally(run.results), np.ones((1, len(images[0])))) for run in runs]
    values = {name: [float(one[name][0]) for one in found] for name in found[0]}
    return seeds_text(values, [run.name for run in runs])


def _is_predictions(name: str) -> bool:
    return Path(name).is_file() or Path(name).suffix.lower() in (".json", ".csv")


def _check_one_kind(first: str, second: str) -> None:
    """Raise UsageError for a file of predictions beside a run or model: it has neither their data nor their folds."""
    if _is_predictions(first) != _is_predictions(second):
        other = second if _is_predictions(first) else first
        raise UsageError(
            f"{first}, {second}: a file of predictions is compared with another file of them; write {other}'s boxes "
            "with `cxrcad detect --min-score 0 --model MODEL --out FILE` on the same images"
        )


def _is_run(name: str) -> bool:
    path = Path(name)
    return path.is_dir() and bool(folds_of_run(path) or (path / "folds.json").is_file())


def _with_data(names: Sequence[str], config: EvaluateConfig) -> EvaluateConfig:
    """`config` on the data of the run among `names` where --data names none: a packaged model does not say its own."""
    runs = [Path(name) for name in names if _is_run(name)]
    if config.data.data is not None or len(runs) != 1:
        return config
    return replace(config, data=replace(config.data, data=data_of_run(runs[0])))


def _named(name: str, config: EvaluateConfig) -> EvaluateConfig:
    """`config` for one side of a comparison: a file of predictions, a run, or a packaged model."""
    path = Path(name)
    if _is_predictions(name):
        if config.truth_file is None:
            raise UsageError(f"{name}: a file of predictions is scored with --truth FILE, what is true of its images")
        return replace(config, predictions=path)
    config = replace(config, truth_file=None)
    if _is_run(name):
        return replace(config, run=path)
    return replace(config, model=name)


def _compared(scored: Sequence[Scored], config: EvaluateConfig) -> Mapping[str, Comparison] | None:
    """The second run less the first, where there are two on the same images and intervals are wanted."""
    if len(scored) < 2 or not config.scoring.resamples:
        return None
    return compare(scored[0].results, scored[1].results, config.scoring.resamples, config.scoring.bootstrap_seed)


def _document(
    scored: Sequence[Scored],
    titles: Sequence[str],
    counted: Sequence[tuple[Mapping[str, Interval], Sequence[Stratum]]],
    compared: Mapping[str, Comparison] | None,
    config: EvaluateConfig,
) -> dict[str, Any]:
    runs = []
    for one, title, (found, parted) in zip(scored, titles, counted, strict=True):
        terms = one.results[0].terms
        folds = [
            {
                "fold": r.terms.fold,
                "model": asdict(r.terms.model),
                **asdict(r.operating),
                "trained_on": list(r.trained_on),
            }
            for r in one.results
        ]
        runs.append(
            {
                **{"name": title, "data": terms.data, "protocol": terms.protocol, "images": terms.image_set},
                **{"fp_axis": terms.fp_axis, "hit_rule": terms.rule.describe(), "threshold_from": terms.threshold_from},
                **{"folds": folds, "figures": figures_document(found), "strata": strata_document(parted)},
            }
        )
    drawn = {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95}
    document = {"schema": SCHEMA, "bootstrap": drawn, "runs": runs}
    return document if compared is None else {**document, "comparison": _compared_document(compared)}


def _compared_document(compared: Mapping[str, Comparison]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in compared.items()}


def _place(one: Scored, config: EvaluateConfig) -> Path:
    return one.folder if config.fold == "all" or config.predictions else one.folder / f"fold{config.fold}"


def _titles(scored: Sequence[Scored]) -> list[str]:
    """Network, tasks and the run's name, or its folder where two have one name."""
    names = {"multi": "multi-task", "single": "single-task"}
    same = len({one.name for one in scored}) < len(scored)
    titles = []
    for one in scored:
        terms = one.results[0].terms
        title = f"{terms.network}, {names.get(terms.tasks, terms.tasks)} ({one.folder if same else one.name})"
        title = title if terms.tasks else terms.network
        titles.append(f"{title}, again" if title in titles else title)
    return titles
