"""A packaged model's scores: calibrated, and its operating points, on real images that the folds of a run held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxrcad.config import OperatingPointsConfig, ScoringConfig
from cxrcad.core import EvaluationError, counted
from cxrcad.evaluation.bootstrap import bootstrap, draw
from cxrcad.evaluation.calibration import (
    BINS,
    ERROR_RATE,
    Bin,
    calibration_error,
    cross_fitted,
    fit_calibration,
    image_weights,
    reliability,
    threshold_at,
)
from cxrcad.evaluation.froc import froc
from cxrcad.evaluation.records import FoldResult, context_flags, context_words, pooled_matches
from cxrcad.evaluation.statistics import wilson
from cxrcad.inference.calibration import Calibration
from cxrcad.inference.model import Bundle
from cxrcad.packaging.series import GROUP

__all__ = ["PICTURE", "TITLE", "calibrated_fields", "drawn_bins", "score_lines"]

TITLE = "scores, out of fold"
PICTURE = "reliability.svg"

LEAST_FINDINGS = 20
"""Lesions found, and others, from which a calibration is fitted: ten for each of its two parameters (Peduzzi 1996)."""

LEAST_FALSE_POSITIVES = 10
"""False positives on the normal images that an operating point must allow: of fewer its rate is not known."""

DEFAULT_POINT = "balanced"
"""The operating point whose threshold becomes the model's own."""


def calibrated_fields(
    folds: Mapping[str, Sequence[FoldResult]], run: Path, source: Bundle, config: OperatingPointsConfig
) -> dict[str, Any]:
    """What the card of `source` says of its scores: calibration, operating_points, find, threshold_from.

    `folds` has, by file name, the matches that all folds of `run` keep. Those with the most real images are taken, with
    lesions and normals among them; images into which a nodule was inserted are left out. The card's figures say why
    there is none, or fewer operating points than three. Raises UsageError for rates that do not fall.
    """
    rates = config.rates()
    real = {name: [one for one in map(_real, folds[name]) if one.matches] for name in sorted(folds)}
    fitting = {name: results for name, results in real.items() if _kinds(results) == {True, False}}
    if not fitting:
        none = "no protocol scored real images both with and without a lesion, as jsrt-247 does"
        return {"figures": {TITLE: {"not calibrated": none}}}
    name = max(fitting, key=lambda one: _count(fitting[one]))
    results, left_out = fitting[name], _count(folds[name]) - _count(fitting[name])
    on, normals = _on(results, run), replace(results[0].context, fp_axis="normals")
    command = f"cxrcad evaluate --run {run.name} --fold all {context_flags(normals)}"
    fields, why = _calibration(results, config.prevalence, on, command)
    calibration = Calibration(fields["slope"], fields["intercept"]) if fields else None
    points, unmade = _points(results, rates, calibration, on, command)
    before = source.card.get("training_threshold", {"score": source.threshold, "from": _threshold_from(source)})
    threshold = before["score"] if calibration is None else calibration.applied(before["score"])
    told = {"not calibrated": why, "no operating point": "; ".join(unmade)}
    told |= {"left out": f"{counted(left_out, 'image')} with inserted nodules"} if left_out else {}
    own = points.get(DEFAULT_POINT)
    found: dict[str, Any] = {"calibration": fields} if fields else {}
    found |= {"operating_points": points} if points else {}
    if any(told.values()):
        found["figures"] = {TITLE: {name: words for name, words in told.items() if words}}
    if not fields and not points:
        return found
    found["find"] = {**source.card["find"], "threshold": threshold if own is None else own["threshold"]}
    chosen = f"operating point {DEFAULT_POINT}, at most {_rate_words(rates[DEFAULT_POINT])}: {on}"
    found["threshold_from"] = before["from"] if own is None else chosen
    return {**found, "training_threshold": {**before, "threshold": threshold}}


def _real(result: FoldResult) -> FoldResult:
    """The fold's images into which no CT nodule was inserted."""
    kept = [
        index
        for index, one in enumerate(result.scored)
        if not any(group.startswith(GROUP) for group in one.case.groups)
    ]
    return replace(
        result,
        matches=tuple(result.matches[index] for index in kept),
        lung_dice=tuple(result.lung_dice[index] for index in kept),
        scored=tuple(result.scored[index] for index in kept),
    )


def _kinds(results: Sequence[FoldResult]) -> set[bool]:
    return {match.normal for result in results for match in result.matches}


def _count(results: Sequence[FoldResult]) -> int:
    return sum(len(result.matches) for result in results)


def _on(results: Sequence[FoldResult], run: Path) -> str:
    """What was measured on, in words."""
    matches = pooled_matches(results)
    normal = sum(match.normal for match in matches)
    folds = ", ".join(str(result.context.fold) for result in results)
    return (
        f"{counted(len(matches), 'real image')} ({len(matches) - normal} with a lesion, {normal} without) that folds "
        f"{folds} of {run.name} held out, {context_words(results[0].context)}"
    )


def _threshold_from(source: Bundle) -> str:
    return str(source.card.get("threshold_from", "unknown"))


def _calibration(
    results: Sequence[FoldResult], prevalence: float | None, on: str, command: str
) -> tuple[dict[str, Any], str]:
    """The card's calibration and "", or {} and why there is none."""
    matches = pooled_matches(results)
    lesions, others = (sum(len(getattr(one, kind)) for one in matches) for kind in ("hits", "false_positives"))
    if min(lesions, others) < LEAST_FINDINGS:
        return {}, (
            f"{counted(lesions, 'finding')} on lesions and {others} others, where {LEAST_FINDINGS} of each are needed"
        )
    folds = [result.matches for result in results]
    try:
        fit, crossed = fit_calibration(matches, image_weights(matches, prevalence)), cross_fitted(folds)
    except EvaluationError as error:
        return {}, str(error)
    drawn = draw(results, ScoringConfig().resamples, ScoringConfig().bootstrap_seed)
    part = float(np.mean([not match.normal for match in matches]))
    mix = f"each image counts once; {part:.1%} have a lesion"
    weighted = "" if prevalence is None else f", weighted to {prevalence:.1%} for slope and intercept"
    bins = [
        {"low": one.low, "mean_score": round(one.mean_score, 4), "findings": one.n, "lesions": one.hits}
        for one in reliability(crossed)
    ]
    fitted = "each fold's findings by the fit to the other folds" if len(folds) > 1 else "by the fit to the same images"
    return {
        "method": "Platt's sigmoid on the logit of the score",
        "slope": fit.slope,
        "intercept": fit.intercept,
        "on": on,
        "case_mix": mix + weighted,
        "expected_calibration_error": f"{calibration_error(crossed, drawn)}, findings down to {ERROR_RATE:g} false "
        f"positive per image, {fitted}",
        "reliability": bins,
        "command": command,
    }, ""


def _points(
    results: Sequence[FoldResult], rates: Mapping[str, float], calibration: Calibration | None, on: str, command: str
) -> tuple[dict[str, Any], list[str]]:
    """The card's operating points by name, and a sentence for each that cannot be made."""
    matches = pooled_matches(results)
    normals = sum(match.normal for match in matches)
    scoring, points, unmade = ScoringConfig(), {}, []
    for name, rate in rates.items():
        if rate * normals < LEAST_FALSE_POSITIVES:
            unmade.append(
                f"{name}: {counted(normals, 'normal image')} at {rate:g} are fewer than {LEAST_FALSE_POSITIVES} false "
                "positives"
            )
            continue
        score = threshold_at(matches, rate)
        if score is None:
            end = froc(matches, "normals").final_fp_per_image
            why = (
                f"is not reached, the curve ends at {end:.3g}" if end < rate else "lies below the highest score's rate"
            )
            unmade.append(f"{name}: {rate:g} {why}")
            continue
        found = bootstrap([_at(result, score) for result in results], scoring.resamples, scoring.bootstrap_seed)
        points[name] = {
            "threshold": score if calibration is None else calibration.applied(score),
            "rule": f"lowest score with at most {_rate_words(rate)}",
            "false_positives_per_normal_image": str(found["false positives an image"]),
            "sensitivity": str(found["recall"]),
            "on": on,
            "command": f"{command} --threshold {score!r}",
        }
    return points, unmade


def _rate_words(rate: float) -> str:
    return f"{rate:g} false positive{'s' * (rate != 1)} per normal image"


def _at(result: FoldResult, threshold: float) -> FoldResult:
    """The fold at another threshold, false positives counted over its normal images."""
    context = result.context
    model = replace(context.model, threshold=threshold)
    return replace(result, context=replace(context, model=model, fp_axis="normals"))


def drawn_bins(card: Mapping[str, Any]) -> tuple[Bin, ...]:
    """The bins of a card's reliability plot; none of a card without a calibration."""
    return tuple(
        Bin(one["low"], one["low"] + 1 / BINS, count, lesions, one["mean_score"], wilson(lesions, count))
        for one in card.get("calibration", {}).get("reliability", ())
        for count, lesions in [(int(one["findings"]), int(one["lesions"]))]
    )


def score_lines(card: Mapping[str, Any]) -> list[str]:
    """A card's operating points and calibration as Markdown; none for a card without."""
    lines: list[str] = []
    points, fitted, before = (card.get(name) for name in ("operating_points", "calibration", "training_threshold"))
    if points:
        lines += ["", "## Operating points", ""]
        lines += ["| name | threshold | false positives per normal image | sensitivity |", "|---|---|---|---|"]
        for name, one in points.items():
            figures = f"{one['false_positives_per_normal_image']} | {one['sensitivity']}"
            lines.append(f"| {name} | {one['threshold']:.4g} | {figures} |")
        lines += ["", f"Measured on {next(iter(points.values()))['on']}. Brackets hold 95 % intervals.", ""]
        lines += [f"- {name}: {one['rule']}; `{one['command']}`" for name, one in points.items()]
    if before:
        lines += ["", f"The threshold that training chose ({before['from']}) is {before['threshold']:.4g} here."]
    if fitted:
        likely = "Of findings with a score of 0.8 about 80 % are lesions in images like those that it was fitted on"
        error = fitted["expected_calibration_error"]
        lines += ["", "## Calibration", "", f"{likely}: {fitted['on']}.", ""]
        lines += [
            f"- method: {fitted['method']}, times {fitted['slope']:.4f}, plus {fitted['intercept']:.4f}",
            "- commands in this card that name a run have its scores, before calibration",
            f"- case mix: {fitted['case_mix']}",
            f"- expected calibration error: {error}",
            "",
            f"![Part of the findings that are lesions, by score]({PICTURE})",
        ]
    return lines
