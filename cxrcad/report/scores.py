"""`cxrcad evaluate` and `cxrcad froc` as library calls: scored folds -> a text to print and files to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    The text is also written to evaluation.txt in the fold's folder of the run (or `config.out`). Raises what
    `evaluation.runs.score` does.
    """
    scored = score(config, note)
    text = table2_text([one.results for one in scored])
    if len(scored) > 1:
        text = f"Runs, in this order: {', '.join(_titles(scored))}.\n{text}"
    write_atomically(_place(scored[0], config) / "evaluation.txt", text)
    return text


def report_froc(config: EvaluateConfig, note: Note = lambda _: None) -> str:
    """Sensitivity at 1/8 ... 8 false positives an image, as a text; froc.json, .csv, .png and .svg beside it.

    Files go to the fold's folder of the run (or `config.out`). Raises what `evaluation.runs.score` does.
    """
    scored = score(config, note)
    texts = []
    titles = _titles(scored)
    for title, one in zip(titles, scored, strict=True):
        place = _place(one, config)
        write_froc(place / "froc.json", place / "froc.csv", one.results)
        texts.append(f"{title}\n{froc_text(one.results)}")
    place = _place(scored[0], config)
    curves = {title: froc(pooled_matches(one.results)) for title, one in zip(titles, scored, strict=True)}
    pictures = [place / "froc.png", place / "froc.svg"]
    plot_froc(curves, pictures, froc_caption(scored[0].results[0].terms))
    written = ", ".join(str(place / f"froc.{ending}") for ending in ("json", "csv", "png", "svg"))
    return "\n".join([*texts, f"written: {written}\n"])


def _place(one: Scored, config: EvaluateConfig) -> Path:
    return one.folder if config.fold == "all" else one.folder / f"fold{config.fold}"


def _titles(scored: Sequence[Scored]) -> list[str]:
    """Network, tasks and the run's name, or its folder where two have one name."""
    names = {"multi": "multi-task", "single": "single-task"}
    same = len({one.name for one in scored}) < len(scored)
    titles = []
    for one in scored:
        terms = one.results[0].terms
        title = f"{terms.network}, {names.get(terms.tasks, terms.tasks)} ({one.folder if same else one.name})"
        titles.append(f"{title}, again" if title in titles else title)
    return titles
