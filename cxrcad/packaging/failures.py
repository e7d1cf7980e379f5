"""A card's list of failures: the nodules that a model misses at its threshold, and what it takes for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxrcad.evaluation.records import FoldResult, context_flags, nodule_words

__all__ = ["failures"]

MOST = 12
"""False positives that a card lists; all are counted."""


def failures(results: Sequence[FoldResult], model: str) -> dict[str, Any] | None:
    """The failures of that evaluation of a fold which has the most images; None where there is none.

    `model` is the name under which it is packaged. Missed nodules come most obvious first, false positives highest
    score first; places are pixels of the image's file.
    """
    if not results:
        return None
    result = max(results, key=lambda one: len(one.matches))
    context, counts = result.context, result.operating
    wrong = _false_positives(result)
    return {
        "command": f"cxrcad evaluate --model {model} --fold {context.fold or 'all'} {context_flags(context)}",
        "threshold": context.model.threshold,
        "missed": _missed(result),
        "nodules": counts.tp + counts.fn,
        "false_positives": wrong[:MOST],
        "false_positives_in_all": len(wrong),
    }


def _missed(result: FoldResult) -> list[str]:
    threshold = result.context.model.threshold
    found: list[tuple[int, str]] = []
    for match, scored_image in zip(result.matches, result.scored, strict=True):
        scores = {hit.nodule: hit.score for hit in match.hits}
        for number, nodule in enumerate(scored_image.case.nodules):
            score = scores.get(number)
            if score is not None and score >= threshold:
                continue
            best = "no candidate on it" if score is None else f"its candidate has {score:.2f}"
            found.append((-(nodule.subtlety or 0), f"{scored_image.case.name}: {nodule_words(nodule)}; {best}"))
    return [line for _, line in sorted(found)]


def _false_positives(result: FoldResult) -> list[str]:
    found: list[tuple[float, str]] = []
    for match, scored_image in zip(result.matches, result.scored, strict=True):
        for wrong in match.false_positives:
            if wrong.score < result.context.model.threshold:
                continue
            where = {True: "in the lung fields", False: "outside the lung fields", None: "unknown whether in a lung"}
            place = ""
            if wrong.finding is not None:
                x, y = scored_image.findings[wrong.finding].center_px
                place = f" at x {x:.0f}, y {y:.0f}"
            kind = "with a nodule" if scored_image.case.positive else "without a nodule"
            line = f"{scored_image.case.name} ({kind}): {wrong.score:.2f}{place}, {where[wrong.in_lung]}"
            found.append((-wrong.score, line))
    return [line for _, line in sorted(found)]
