"""A model scored on the same test cases as they are and under each alteration, with paired differences.

An altered case goes the way of any other: the detector finds in the altered radiograph, and its findings are matched
with the truth where the alteration put it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cxrcad.config import LESIONS, EvaluateConfig, RobustnessConfig
from cxrcad.core import Case, DataError, EvaluationError
from cxrcad.datasets.folds import make_folds
from cxrcad.datasets.images import read_case
from cxrcad.datasets.jsrt.reader import Dataset, how_to_get_data, read_jsrt
from cxrcad.evaluation.bootstrap import Comparison, Interval, compare
from cxrcad.evaluation.kept import bound_to
from cxrcad.evaluation.protocols import protocol_of
from cxrcad.evaluation.records import FoldResult, Terms, scope, terms_lines, write_matches
from cxrcad.evaluation.scoring import Detection, evaluate_cases
from cxrcad.files import Progress, Silent, check_out, write_atomically, write_json
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import DEFAULT_MODEL, resolve_model
from cxrcad.report.markdown import grid
from cxrcad.synthesis.perturbations import UNPERTURBED, Perturbation, perturbations_named

__all__ = ["Altered", "measure_robustness", "score_altered"]

SCHEMA = "cxrcad/robustness/1"
SHOWN: Mapping[str, str] = {
    "sensitivity at 1/2": "at 1/2",
    "sensitivity at 1": "at 1",
    "F1": "F1",
}
"""The figures of the table, with their headings."""


@dataclass(frozen=True)
class Altered:
    """One alteration's scored cases, and every figure of them compared with the unaltered: altered less unaltered."""

    alteration: Perturbation
    result: FoldResult
    compared: Mapping[str, Comparison]


def measure_robustness(config: RobustnessConfig, progress: Progress | None = None) -> str:
    """The table of alterations, as Markdown; robustness.md, robustness.json and raw matches are written beside it.

    Files go to `config.out`, by default to the model's folder in `config.runs`, there to the fold's. Raises UsageError
    for an alteration that does not exist, ModelError, DataError, ReadError, WriteError, and EvaluationError where there
    is no nodule to score.
    """
    check_out(config.out)
    chosen = perturbations_named(config.perturbations)
    bundle = resolve_model(config.model or DEFAULT_MODEL, LESIONS[0])
    if config.data.data is None:
        raise DataError(how_to_get_data())
    dataset = read_jsrt(config.data.data, protocol=config.data.protocol)
    cases = _limited(_tested(dataset, config), config.limit)
    if not any(case.nodules for case in cases):
        raise EvaluationError(
            f"{dataset.folder}: none of the {len(cases)} test cases has a nodule, so sensitivity has no meaning; take "
            "another --fold, or data with nodules"
        )
    detector = Detector.open(bundle, config.scoring.device, config.scoring.threads)
    out = config.out or config.runs / bundle.name / ("" if config.fold == "all" else f"fold{config.fold}")
    found = score_altered(cases, chosen, detector, _terms(dataset, detector, config), config, out, progress)
    text = _text(found, config)
    write_atomically(out / "robustness.md", text)
    write_json(out / "robustness.json", {**_document(found, config), **bound_to(bundle, cases)})
    return text


def score_altered(
    cases: Sequence[Case],
    chosen: Sequence[Perturbation],
    detector: Detector,
    terms: Terms,
    config: RobustnessConfig,
    out: Path,
    progress: Progress | None = None,
) -> tuple[Altered, ...]:
    """The cases scored as they are, which comes first, and under each of the chosen alterations.

    The matches of an alteration are written to `out`/robustness when it is done. Raises as `measure_robustness`.
    """
    progress = progress or Silent()
    progress.start("robustness", len(cases) * (len(chosen) + 1), 0)
    done: list[str] = []

    def count(name: str) -> None:
        done.append(name)
        progress.step(len(done))

    resamples = (
        config.scoring.resamples if sum(case.positive for case in cases) > 1 else 0
    )  # one tells nothing of others
    found: list[Altered] = []
    for alteration in (UNPERTURBED, *chosen):
        result = evaluate_cases(
            [alteration.of_case(case) for case in cases],
            _detect_altered(cases, detector, alteration, config.seed),
            terms,
            true_lung=lambda case: None,
            trained_on=detector.bundle.training_images,
            on_done=count,
        )
        write_matches(out / "robustness" / f"matches-{alteration.name}.json", result)
        unaltered = found[0].result if found else result
        compared = compare([result], [unaltered], resamples, config.scoring.bootstrap_seed)
        found.append(Altered(alteration, result, compared))
    return tuple(found)


def _detect_altered(
    cases: Sequence[Case], detector: Detector, alteration: Perturbation, seed: int
) -> Callable[[Case], Detection]:
    """What finds in an altered case's image: that of the case itself, read with its own spacing, then altered."""
    unaltered = {case.name: case for case in cases}
    return lambda case: Detection(detector.detect(alteration.of(read_case(unaltered[case.name]), case.name, seed)))


def _tested(dataset: Dataset, config: RobustnessConfig) -> tuple[Case, ...]:
    """The cases that the protocol scores, of the fold's test cases."""
    splits = make_folds(dataset, config.data.fold_seed)
    tested = {name for split in splits if config.fold in ("all", str(split.fold)) for name in split.test}
    return tuple(case for case in dataset.scored() if case.name in tested)


def _limited(cases: Sequence[Case], limit: int | None) -> tuple[Case, ...]:
    """So many of the cases, evenly spread over their order; all of them without a limit."""
    if limit is None or limit >= len(cases):
        return tuple(cases)
    return tuple(cases[index * len(cases) // limit] for index in range(limit))


def _terms(dataset: Dataset, detector: Detector, config: RobustnessConfig) -> Terms:
    protocol, _ = protocol_of(EvaluateConfig(data=config.data))
    network = detector.bundle.card.get("network", {})
    return Terms(
        data=str(dataset.folder),
        protocol=protocol.name,
        rule=protocol.rule,
        model=detector.identity,
        network=str(network.get("network", detector.bundle.name)),
        tasks=str(network.get("tasks", "multi")),
        threshold_from="the model's card",
        fold=None if config.fold == "all" else int(config.fold),
        fp_axis=protocol.fp_axis,
        settings_sha256=detector.bundle.settings_sha256,
    )


def _text(found: Sequence[Altered], config: RobustnessConfig) -> str:
    unaltered = found[0].result
    model = unaltered.terms.model
    seen = ", ".join(unaltered.trained_on)
    drawn = (
        f"{config.scoring.resamples:,} resamples of the images"
        if config.scoring.resamples
        else "no resamples, no interval"
    )
    rows = [("alteration", *(part for title in SHOWN.values() for part in (title, "difference")))]
    rows += [_row(one) for one in found]
    lines = grid(rows[0], rows[1:])
    limited = "" if config.limit is None else f" (--limit {config.limit})"
    head = [
        f"# Robustness of {model.name}",
        "",
        *terms_lines(unaltered.terms),
        f"Scored: {scope([unaltered])}{limited}, each as it is and under each alteration.",
        *(
            [f"NOT A TEST: {len(unaltered.trained_on)} of the images stand in the model's training list: {seen}"]
            * bool(seen)
        ),
        "",
        "Sensitivity, %, at 1/2 and at 1 false positive an image; F1, %, at the model's threshold, "
        f"{model.threshold:.4g}.",
        f"Difference: altered less unaltered, points of percent; brackets: 95 % paired bootstrap, {drawn}.",
        "",
    ]
    return "\n".join([*head, *lines]) + "\n"


def _row(one: Altered) -> tuple[str, ...]:
    cells = [one.alteration.words]
    for name in SHOWN:
        figure = one.compared[name]
        cells.append("not reached" if figure.first is None else f"{100 * figure.first:.1f}")
        cells.append("" if one.alteration is UNPERTURBED else _shown(figure.difference))
    return tuple(cells)


def _shown(difference: Interval) -> str:
    if difference.value is None:
        return "undefined"
    value = f"{_points(difference.value):+.1f}"
    if difference.low is None or difference.high is None:
        return value
    return f"{value} [{_points(difference.low):.1f}, {_points(difference.high):.1f}]"


def _points(value: float) -> float:
    return round(100 * value, 1) + 0.0  # + 0.0: no -0.0


def _document(found: Sequence[Altered], config: RobustnessConfig) -> dict[str, Any]:
    unaltered = found[0].result
    terms = unaltered.terms
    alterations = [
        {
            "name": one.alteration.name,
            "words": one.alteration.words,
            "figures": {
                name: {
                    "altered": figure.first,
                    "unaltered": figure.second,
                    "difference": asdict(figure.difference),
                    "p": figure.p,
                }
                for name, figure in one.compared.items()
                if figure.first is not None or figure.second is not None
            },
        }
        for one in found
    ]
    return {
        **{"schema": SCHEMA, "model": asdict(terms.model), "data": terms.data, "fold": terms.fold},
        **{"protocol": terms.protocol, "hit_rule": terms.rule.describe(), "fp_axis": terms.fp_axis},
        "images": [match.case for match in unaltered.matches],
        "trained_on": list(unaltered.trained_on),
        **{"seed": config.seed, "limit": config.limit},
        "bootstrap": {"resamples": config.scoring.resamples, "seed": config.scoring.bootstrap_seed, "confidence": 0.95},
        "alterations": alterations,
    }
