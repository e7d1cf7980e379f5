"""Cases through a detector, matched with their truth and kept: what `evaluate` and `froc` draw their figures from.

What is saved (matches.json) is the raw matches with the terms under which they were made, so that every figure can be
drawn again without the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Case, CxrcadError, EvaluationError, ModelIdentity, Result
from cxrcad.evaluation.froc import Operating, best_f1_threshold, score_at_threshold
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch, match_image
from cxrcad.evaluation.published import Percent, paper_row
from cxrcad.evaluation.statistics import dice, pool, spread, wilson
from cxrcad.imaging.read import read_mask
from cxrcad.jobs import read_json, write_json

__all__ = [
    "PROTOCOLS",
    "Detect",
    "Detection",
    "FoldResult",
    "Terms",
    "choose_threshold",
    "evaluate_cases",
    "from_document",
    "pooled_matches",
    "read_matches",
    "read_true_lung",
    "scope",
    "table2_text",
    "terms_lines",
    "to_document",
    "write_matches",
]

SCHEMA = "cxrcad/matches/1"

PROTOCOLS: Mapping[str, str] = {
    "paper": "images with a nodule only",
    "jsrt-140": "images whose every nodule lies in the lung fields only",
    "jsrt-247": "images with a nodule and normal images",
}
"""Which images a protocol scores, and so what stands under "false positives per image"."""

NETWORK_NAMES = {"mo-segnet": "MO-SegNet", "u-net": "U-net", "deeplabv3plus": "Deeplab V3+", "pspnet": "PSPNet"}
TASK_NAMES = {"single": "Single", "multi": "Multiple"}

LUNG_FROM = 0.5
"""Probability from which a pixel of a lung map is lung, when its Dice is taken."""


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector gave for one case: `result` holds every candidate, no threshold applied.

    `lung` is its lung map: probabilities 0-1 or a mask, of any size over exactly the image's extent (padding of the
    model's grid cut off); None for a model without a lung task.
    """

    result: Result
    lung: NDArray[np.float32] | NDArray[np.bool_] | None = None


class Detect(Protocol):
    """Anything that reads a case's image and finds in it; a packaged model, or a test's own answers."""

    def __call__(self, case: Case, /) -> Detection:
        """Every candidate in the case's image."""


@dataclass(frozen=True)
class Terms:
    """What a figure rests on besides the matches; printed with it.

    `data` names the data set, `model.threshold` is the operating point and `threshold_from` says in words where it was
    chosen; `network` and `tasks` are settings' names. `fold` is None where the cases are no fold.
    """

    data: str
    protocol: str
    rule: HitRule
    model: ModelIdentity
    network: str
    tasks: str
    threshold_from: str
    fold: int | None = None


@dataclass(frozen=True)
class FoldResult:
    """The raw matches of one fold's scored cases, each image's lung Dice (None without map or mask), and the terms.

    `trained_on` names scored cases whose image stands in the model's training list: figures with any are no test.
    """

    terms: Terms
    matches: tuple[ImageMatch, ...]
    lung_dice: tuple[float | None, ...]
    trained_on: tuple[str, ...] = ()

    @property
    def operating(self) -> Operating:
        """Counts and figures at the model's threshold. Raises EvaluationError where there is no nodule."""
        return score_at_threshold(self.matches, self.terms.model.threshold)

    @property
    def known_dice(self) -> tuple[float, ...]:
        """Lung Dice of the images that have one."""
        return tuple(value for value in self.lung_dice if value is not None)


def read_true_lung(case: Case) -> NDArray[np.bool_] | None:
    """The union of the case's lung masks on their own grid, or None where it has none.

    Raises:
        ReadError: A mask cannot be read.
        EvaluationError: The case's masks differ in size.
    """
    masks = [read_mask(path) for path in case.lung_masks]
    if len({mask.shape for mask in masks}) > 1:
        raise EvaluationError(f"{case.name}: its lung masks differ in size; export them on one grid")
    return np.logical_or.reduce(masks) if masks else None


def choose_threshold(cases: Sequence[Case], detect: Detect, rule: HitRule) -> float:
    """The score with the best F1 on these cases; ties: the higher. Give validation cases, not those to be scored."""
    return best_f1_threshold([match_image(case, _detected(case, detect).result.findings, rule) for case in cases])


def evaluate_cases(
    cases: Sequence[Case],
    detect: Detect,
    terms: Terms,
    *,
    true_lung: Callable[[Case], NDArray[np.bool_] | None] = read_true_lung,
    trained_on: frozenset[str] = frozenset(),
    on_done: Callable[[str], None] | None = None,
) -> FoldResult:
    """The matches of every case, in the order given. One case that cannot be read or matched fails the whole.

    Args:
        cases: Exactly the cases that the protocol scores; all of them are the denominator.
        detect: Gives every candidate of a case.
        terms: Kept with the matches; `terms.rule` decides hits.
        true_lung: The true lung mask over the image's extent, or None; for lung Dice and false positives outside lungs.
        trained_on: SHA-256 of the model's training images; cases whose image is among them are named in the result.
        on_done: Called with each case's name when it is done.

    Raises:
        EvaluationError: A case stands twice, a result is of another image size, or a score or truth cannot be used.
        CxrcadError: What `detect` and `true_lung` raise.
    """
    _check_once([case.name for case in cases])
    matches, overlaps, seen = [], [], []
    for case in cases:
        found = _detected(case, detect)
        lung = true_lung(case)
        matches.append(match_image(case, found.result.findings, terms.rule, lung))
        overlaps.append(None if lung is None or found.lung is None else _lung_dice(found.lung, lung))
        if found.result.sha256 in trained_on:
            seen.append(case.name)
        if on_done is not None:
            on_done(case.name)
    return FoldResult(terms, tuple(matches), tuple(overlaps), tuple(seen))


def pooled_matches(results: Sequence[FoldResult]) -> tuple[ImageMatch, ...]:
    """The matches of several folds in one row.

    Raises:
        EvaluationError: None given, an image stands in two of them, or they differ in data, protocol or hit rule.
    """
    _check_alike(results)
    matches = tuple(match for result in results for match in result.matches)
    _check_once([match.case for match in matches])
    return matches


def to_document(result: FoldResult) -> dict[str, Any]:
    """The result as the JSON document of matches.json; `from_document` gives it back bit for bit."""
    terms = result.terms
    images = [
        {
            "case": match.case,
            "nodules": match.n_nodules,
            "hits": [asdict(hit) for hit in match.hits],
            "false_positives": [asdict(positive) for positive in match.false_positives],
            "duplicates": list(match.duplicates),
            "lung_dice": overlap,
        }
        for match, overlap in zip(result.matches, result.lung_dice, strict=True)
    ]
    return {
        "schema": SCHEMA,
        "data": terms.data,
        "protocol": terms.protocol,
        "fold": terms.fold,
        "hit_rule": {**asdict(terms.rule), "sentence": terms.rule.describe()},
        "model": asdict(terms.model),
        "network": terms.network,
        "tasks": terms.tasks,
        "threshold_from": terms.threshold_from,
        "trained_on": list(result.trained_on),
        "images": images,
    }


def from_document(document: Any, origin: str) -> FoldResult:
    """The result that a matches document holds; EvaluationError names `origin` and what is wrong with it."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise EvaluationError(f"{origin}: not a document of schema {SCHEMA}; make it again with `cxrcad evaluate`")
    try:
        rule = {key: value for key, value in document["hit_rule"].items() if key != "sentence"}
        terms = Terms(
            rule=HitRule(**rule),
            model=ModelIdentity(**document["model"]),
            **{key: document[key] for key in ("data", "protocol", "network", "tasks", "threshold_from", "fold")},
        )
        matches = tuple(_match_from(image) for image in document["images"])
        overlaps = tuple(image["lung_dice"] for image in document["images"])
        _check_once([match.case for match in matches])
        return FoldResult(terms, matches, overlaps, tuple(document["trained_on"]))
    except (KeyError, TypeError, ValueError, AttributeError, CxrcadError) as fault:
        reason = f"{fault.args[0]!r} is missing" if isinstance(fault, KeyError) else str(fault)
        raise EvaluationError(f"{origin}: damaged matches ({reason}); make it again with `cxrcad evaluate`") from None


def write_matches(path: Path, result: FoldResult) -> None:
    """Write matches.json, atomically. Raises WriteError."""
    write_json(path, to_document(result))


def read_matches(path: Path) -> FoldResult:
    """The result that `write_matches` wrote. Raises EvaluationError."""
    return from_document(read_json(path, EvaluationError), str(path))


def table2_text(groups: Sequence[Sequence[FoldResult]]) -> str:
    """F1, recall and precision in the layout of the paper's Table 2, its rows beside ours, with what they rest on.

    Each group holds the folds of one network. The mean over folds has the standard deviation with n - 1; the pooled row
    adds up the folds' counts, each at its own threshold. Brackets hold Wilson's 95 % interval of a recall.

    Raises:
        EvaluationError: No fold, two folds with the same image, or terms that differ.
    """
    _check_alike([result for group in groups for result in group])
    lines = list(terms_lines(groups[0][0].terms))
    lines += ["", _table_line("Task", "Model", "figures", "F1", "Recall", "Precision")]
    notes: list[str] = []
    for group in groups:
        lines += _group_lines(group)
        notes += _group_notes(group)
    lines += ["", *notes]
    lines.append("± is the standard deviation over folds (n - 1); brackets hold Wilson's 95 % interval.")
    lines.append("The paper's rows are JSRT's 154 positives; it states neither hit rule nor threshold protocol.")
    return "\n".join(lines) + "\n"


def terms_lines(terms: Terms) -> tuple[str, str]:
    """What a figure rests on, in two lines: data and protocol; the hit rule."""
    images = PROTOCOLS.get(terms.protocol, "as given")
    return f"Data {terms.data}, protocol {terms.protocol} ({images}).", terms.rule.describe()


def scope(results: Sequence[FoldResult]) -> str:
    """How much these folds hold: "folds 1, 2: 62 images, 62 nodules". Raises EvaluationError as `pooled_matches`."""
    matches = pooled_matches(results)
    folds = [str(result.terms.fold) for result in results if result.terms.fold is not None]
    name = {0: "all cases", 1: "fold "}.get(len(folds), "folds ") + ", ".join(folds)
    return f"{name}: {len(matches)} images, {sum(match.n_nodules for match in matches)} nodules"


def _group_lines(group: Sequence[FoldResult]) -> list[str]:
    terms = group[0].terms
    names = TASK_NAMES.get(terms.tasks, terms.tasks), NETWORK_NAMES.get(terms.network, terms.network)
    lines = []
    paper = paper_row(terms.network, terms.tasks)
    if paper is not None:
        source = f"paper, Table {paper.table}"
        lines.append(_table_line(*names, source, str(paper.f1), str(paper.recall), str(paper.precision)))
    folds = [result.operating for result in group]
    for result, fold in zip(group, folds, strict=True):
        name = f"fold {result.terms.fold}" if result.terms.fold is not None else "all cases"
        lines.append(_table_line(*names, name, *_operating_cells(fold)))
    if len(folds) > 1:
        f1, recall = _spread_cell([fold.f1 for fold in folds]), _spread_cell([fold.recall for fold in folds])
        precision = _spread_cell([fold.precision for fold in folds])
        lines.append(_table_line(*names, f"mean of {len(folds)} folds", f1, recall, precision))
        lines.append(_table_line(*names, "pooled", *_operating_cells(pool(folds))))
    return lines


def _group_notes(group: Sequence[FoldResult]) -> list[str]:
    """Threshold, false positives by place, lung Dice and training cases of one network's folds, a line each."""
    terms = group[0].terms
    counts = pool([result.operating for result in group])
    elsewhere = counts.fp - counts.fp_in_lung - counts.fp_outside_lung
    places = f"{counts.fp_in_lung} inside the lung fields, {counts.fp_outside_lung} outside"
    places += f", {elsewhere} in images without a lung mask" if elsewhere else ""
    thresholds = ", ".join(f"{result.terms.model.threshold:.4g}" for result in group)
    origins = "; ".join(dict.fromkeys(result.terms.threshold_from for result in group))
    task = TASK_NAMES.get(terms.tasks, terms.tasks).lower()
    lines = [
        f"{NETWORK_NAMES.get(terms.network, terms.network)}, {task} task, {scope(group)}",
        f"  threshold {thresholds} ({origins})",
        f"  false positives {counts.fp} ({counts.fp_per_image:.2f} per image): {places}",
    ]
    overlaps = [value for result in group for value in result.known_dice]
    if overlaps:
        lines.append(f"  lung Dice {sum(overlaps) / len(overlaps):.3f}, mean of {len(overlaps)} images")
    else:
        lines.append("  lung Dice: none (no lung task, or no lung mask)")
    seen = [name for result in group for name in result.trained_on]
    if seen:
        lines.append(
            f"  NOT A TEST: {len(seen)} of the scored images stand in the model's training list: {', '.join(seen)}"
        )
    return lines


def _operating_cells(counts: Operating) -> tuple[str, str, str]:
    low, high = wilson(counts.tp, counts.tp + counts.fn)
    precision = "undefined" if counts.precision is None else f"{100 * counts.precision:.1f} %"
    return f"{100 * counts.f1:.1f} %", f"{100 * counts.recall:.1f} % [{100 * low:.1f}, {100 * high:.1f}]", precision


def _spread_cell(values: Sequence[float | None]) -> str:
    found = spread(values)
    if found is None:
        return "undefined"
    return str(Percent(100 * found.mean, None if found.sd is None else 100 * found.sd))


def _table_line(task: str, model: str, figures: str, f1: str, recall: str, precision: str) -> str:
    return f"{task:<9} {model:<12} {figures:<16} {f1:<15} {recall:<22} {precision}".rstrip()


def _detected(case: Case, detect: Detect) -> Detection:
    found = detect(case)
    if (found.result.rows, found.result.cols) != (case.rows, case.cols):
        raise EvaluationError(
            f"{case.name}: the result is of an image with {found.result.rows} x {found.result.cols} pixels "
            f"and the case has {case.rows} x {case.cols}; detect in the case's own image"
        )
    return found


def _lung_dice(lung: NDArray[np.float32] | NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice on the true mask's own grid; the map's pixel under the centre of each of its pixels is compared."""
    rows = ((np.arange(truth.shape[0]) + 0.5) * lung.shape[0] / truth.shape[0]).astype(np.intp)
    cols = ((np.arange(truth.shape[1]) + 0.5) * lung.shape[1] / truth.shape[1]).astype(np.intp)
    found = lung if lung.dtype == np.bool_ else lung >= LUNG_FROM
    return dice(np.asarray(found[np.ix_(rows, cols)], dtype=np.bool_), truth)


def _match_from(image: Mapping[str, Any]) -> ImageMatch:
    match = ImageMatch(
        case=image["case"],
        n_nodules=image["nodules"],
        hits=tuple(Hit(**hit) for hit in image["hits"]),
        false_positives=tuple(FalsePositive(**positive) for positive in image["false_positives"]),
        duplicates=tuple(image["duplicates"]),
    )
    scores = [hit.score for hit in match.hits] + [positive.score for positive in match.false_positives]
    if not all(math.isfinite(score) for score in [*scores, *match.duplicates]):
        raise ValueError(f"{match.case} has a score that is no finite number")
    taken = {hit.nodule for hit in match.hits}
    if len(taken) < len(match.hits) or not taken <= set(range(match.n_nodules)):
        raise ValueError(f"{match.case} has {match.n_nodules} nodules and hits on {[hit.nodule for hit in match.hits]}")
    return match


def _check_once(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise EvaluationError(f"{twice[0]}: the image is scored {names.count(twice[0])} times; score each image once")


def _check_alike(results: Sequence[FoldResult]) -> None:
    if not results:
        raise EvaluationError("there is no scored fold; evaluate one first")
    for name in ("data", "protocol", "rule"):
        if len({getattr(result.terms, name) for result in results}) > 1:
            raise EvaluationError(f"the folds differ in their {name}, so they do not compare; score them alike")
