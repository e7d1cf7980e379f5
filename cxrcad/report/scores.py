"""`cxrcad evaluate` and `cxrcad froc` as library calls: scored folds -> a text to print and files to keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cxrcad.config import EvaluateConfig
from cxrcad.evaluation.evaluate import pooled_matches, table2_text
from cxrcad.evaluation.froc import froc
from cxrcad.evaluation.runs import Scored, score
from cxrcad.jobs import write_atomically
from cxrcad.report.curves import froc_caption, froc_text, write_froc
from cxrcad.report.plots import plot_froc

__all__ = ["report_evaluation", "report_froc"]

Note = Callable[[str], None]


def report_evaluation(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """F1, recall, precision, lung Dice and threshold of the folds, in the layout of the paper's Table 2.

    The text is also written to evaluation.txt in the run's folder (or `config.out`). Raises what
    `evaluation.runs.score` does.
    """
    scored = score(config, note)
    text = table2_text([one.results for one in scored])
    write_atomically(scored[0].folder / "evaluation.txt", text)
    return text


def report_froc(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Sensitivity at 1/8 ... 8 false positives an image, as a text; froc.json, .csv, .png and .svg beside it.

    Files go to the fold's folder of the run (or `config.out`). Raises what `evaluation.runs.score` does.
    """
    scored = score(config, note)
    texts = []
    for one in scored:
        place = _place(one, config)
        write_froc(place / "froc.json", place / "froc.csv", one.results)
        texts.append(froc_text(one.results))
    place = _place(scored[0], config)
    curves = {_title(one): froc(pooled_matches(one.results)) for one in scored}
    pictures = [place / "froc.png", place / "froc.svg"]
    plot_froc(curves, pictures, froc_caption(scored[0].results[0].terms))
    written = ", ".join(str(place / f"froc.{ending}") for ending in ("json", "csv", "png", "svg"))
    return "\n".join([*texts, f"written: {written}\n"])


def _place(one: Scored, config: EvaluateConfig) -> Path:
    return one.folder if config.fold == "all" else one.folder / f"fold{config.fold}"


def _title(one: Scored) -> str:
    terms = one.results[0].terms
    names = {"multi": "multi-task", "single": "single-task"}
    return f"{terms.network}, {names.get(terms.tasks, terms.tasks)} ({one.name})"
