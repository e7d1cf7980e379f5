"""`cxrcad evaluate`: every figure of the scored folds, as a text to print and as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrcad.config import AREA, LESIONS, EvaluateConfig, command_line
from cxrcad.evaluation.bootstrap import (
    Comparison,
    Interval,
    bootstrap,
    check_same_images,
    compare,
    false_positives,
)
from cxrcad.evaluation.metrics import figures, tally
from cxrcad.evaluation.records import check_alike
from cxrcad.evaluation.segmentation import measured
from cxrcad.evaluation.subgroups import Stratum, has_counted, has_nodules, of_each_set, strata
from cxrcad.files import write_atomically, write_json
from cxrcad.report.effusion import segmentation_document, segmentation_text
from cxrcad.report.html import Made
from cxrcad.report.page import write_evaluation_report
from cxrcad.report.table2 import table2_text
from cxrcad.report.tables import (
    CURVE,
    comparison_text,
    figures_document,
    figures_text,
    seeds_text,
    strata_document,
    strata_text,
)
from cxrcad.scoring.runs import Scored, score
from cxrcad.scoring.segmentation import score_segmentation

__all__ = ["comparison_document", "place_of", "report_evaluation", "titles_of"]

SCHEMA = "cxrcad/evaluation/1"

Note = Callable[[str], None]


def report_evaluation(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Table 2's figures of the folds, every other figure with its interval, and the strata, as a text.

    It is also written to evaluation.txt, with evaluation.json and (`config.report`) report/report.html beside it, in
    the fold's folder of the run (or `config.out`). A lesion that is measured by its area has evaluation-effusion.txt
    and .json instead. Raises what `scoring.runs.score` and `scoring.segmentation.score_segmentation` do.
    """
    if LESIONS[config.data.lesion] == AREA:
        return _report_segmentation(config, note)
    scored = score(config, note)
    titles = titles_of(scored)
    parts = [table2_text([one.results for one in scored])]
    if len(scored) > 1:
        parts[0] = f"Runs, in this order: {', '.join(titles)}.\n{parts[0]}"
    found = [bootstrap(one.results, config.scoring.resamples, config.scoring.bootstrap_seed) for one in scored]
    parted = [strata(one.results) for one in scored]
    sets = {title: _figures_of_sets(one, config) for title, one in zip(titles, scored, strict=True)}
    for title, mine, parts_of in zip(titles, found, parted, strict=True):
        own = f"{title}\n" if len(scored) > 1 else ""
        parts.append(own + figures_text(mine, config.scoring.resamples))
        if parts_of:
            parts.append(own + strata_text(parts_of))
        parts += [
            f"{own}Data set {name}. {figures_text(its, config.scoring.resamples)}" for name, its in sets[title].items()
        ]
    if config.seeds is not None:
        parts.append(_seeds_text(scored[0], config, note))
    compared = _compared(scored, config)
    if compared is not None:
        parts.append(comparison_text(compared, (titles[0], titles[1]), config.scoring.resamples))
    text = "\n".join(parts)
    place = place_of(scored[0], config)
    write_atomically(place / "evaluation.txt", text)
    document = _document(scored, list(zip(found, parted, strict=True)), sets, compared, config)
    write_json(place / "evaluation.json", document)
    if config.report:
        by_name = {title: one.results for title, one in zip(titles, scored, strict=True)}
        newest = config.out is None and not (config.run or config.model or config.predictions)
        named = replace(config, run=scored[0].folder) if newest else config
        made = Made.today(command_line("cxrcad evaluate", named))
        drawn = config.scoring.resamples, config.scoring.bootstrap_seed
        page = write_evaluation_report(by_name, place / "report", *drawn, made, found, compared)
        note(f"written: {place / 'evaluation.txt'}, {place / 'evaluation.json'}, {page}")
    elif (place / "report" / "report.html").is_file():
        (place / "report" / "report.html").unlink()  # it shows the figures of an earlier evaluation
        note(f"removed: {place / 'report' / 'report.html'}, which was of an earlier evaluation")
    return text


def _report_segmentation(config: EvaluateConfig, note: Note) -> str:
    """Dice and the figures of images of the folds, as a text."""
    scored = score_segmentation(config, note)
    found = measured(scored.folds, config.scoring.resamples, config.scoring.bootstrap_seed)
    text = segmentation_text(scored.folds, found, config.scoring.resamples)
    place = scored.folder if config.fold == "all" else scored.folder / f"fold{config.fold}"
    written = place / "evaluation-effusion.txt", place / "evaluation-effusion.json"
    write_atomically(written[0], text)
    write_json(written[1], segmentation_document(scored, found, config))
    note(f"written: {written[0]}, {written[1]}")
    return text


def _seeds_text(first: Scored, config: EvaluateConfig, note: Note) -> str:
    """Mean and standard deviation of each figure over the first run and those of --seeds, folds pooled."""
    runs = [first]
    for name in (config.seeds or "").split(","):
        own = replace(config, run=Path(name.strip()), model=None, beside=None, out=None)
        runs.append(score(own, note)[0])
    check_alike([result for run in runs for result in run.results])
    for run in runs[1:]:
        check_same_images(runs[0].results, run.results)
    count = sum(len(result.matches) for result in first.results)
    found = [figures(tally(run.results), np.ones((1, count))) for run in runs]
    values = {name: [float(one[name][0]) for one in found] for name in found[0]}
    return seeds_text(values, [run.name for run in runs])


def _figures_of_sets(one: Scored, config: EvaluateConfig) -> dict[str, dict[str, Interval]]:
    """Every figure of each of several joined sets; of one without a nodule, its false positives an image.

    One without an image over which false positives are counted has no curve.
    """
    drawn = config.scoring.resamples, config.scoring.bootstrap_seed
    found = {}
    for name, its in of_each_set(one.results).items():
        figures_of = (bootstrap if has_nodules(its) else false_positives)(its, *drawn)
        counted = has_counted(its)
        found[name] = {key: value for key, value in figures_of.items() if counted or not key.startswith(CURVE)}
    return found


def _compared(scored: Sequence[Scored], config: EvaluateConfig) -> Mapping[str, Comparison] | None:
    """The second run less the first, where there are two on the same images and intervals are wanted."""
    if len(scored) < 2 or not config.scoring.resamples:
        return None
    return compare(scored[0].results, scored[1].results, config.scoring.resamples, config.scoring.bootstrap_seed)


def _document(
    scored: Sequence[Scored],
    counted: Sequence[tuple[Mapping[str, Interval], Sequence[Stratum]]],
    sets: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    compared: Mapping[str, Comparison] | None,
    config: EvaluateConfig,
) -> dict[str, Any]:
    runs = []
    for one, title, (found, parted) in zip(scored, sets, counted, strict=True):
        context = one.results[0].context
        folds = [
            {
                "fold": result.context.fold,
                "model": asdict(result.context.model),
                **asdict(result.operating),
                "trained_on": list(result.trained_on),
            }
            for result in one.results
        ]
        run = {
            "name": title,
            "data": context.data,
            "protocol": context.protocol,
            "images": context.image_set,
            "fp_axis": context.fp_axis,
            "hit_rule": context.rule.describe(),
            "threshold_from": context.threshold_from,
            "folds": folds,
            "figures": figures_document(found),
            "strata": strata_document(parted),
        }
        if sets[title]:
            run["data_sets"] = {name: figures_document(its) for name, its in sets[title].items()}
        runs.append(run)
    drawn = {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95}
    document = {"schema": SCHEMA, "bootstrap": drawn, "runs": runs}
    return document if compared is None else {**document, "comparison": comparison_document(compared)}


def comparison_document(compared: Mapping[str, Comparison]) -> dict[str, Any]:
    """A comparison as JSON."""
    return {name: asdict(one) for name, one in compared.items()}


def place_of(one: Scored, config: EvaluateConfig) -> Path:
    """Where the figures are written: the folder of the only fold, or the one of all."""
    return one.folder if config.fold == "all" or config.predictions else one.folder / f"fold{config.fold}"


def titles_of(scored: Sequence[Scored]) -> list[str]:
    """Network, tasks and the run's name, or its folder where two have one name."""
    names = {"multi": "multi-task", "single": "single-task"}
    same = len({one.name for one in scored}) < len(scored)
    titles = []
    for one in scored:
        context = one.results[0].context
        title = f"{context.network}, {names.get(context.tasks, context.tasks)} ({one.folder if same else one.name})"
        title = title if context.tasks else context.network
        titles.append(f"{title}, again" if title in titles else title)
    return titles
