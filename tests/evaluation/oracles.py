"""How public scorers count, written again from their rules in words, as plain and slow as can be.

An image is (number of lesions, [(score, number of the lesion that the candidate is on, or None)]). Each rule's source:

- LUNA16: luna16.grand-challenge.org/Evaluation and its noduleCADEvaluationLUNA16.py (as kept in wentaozhu/DeepLung,
  commit fe40fc7).
- MONAI: monai/metrics/froc.py of version 1.6.1, itself after CAMELYON16's script.
- picai_eval: src/picai_eval/eval.py and metrics.py of version 1.4.13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Image = tuple[int, list[tuple[float, int | None]]]
Points = tuple[list[float], list[float]]

LUNA16_RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
CAMELYON_RATES = (1 / 4, 1 / 2, 1, 2, 4, 8)


def luna16_froc(images: Sequence[Image]) -> Points:
    """LUNA16: (0, 0), then one point a distinct score, with all candidates that score at least that.

    A lesion's score is the best on it; its other candidates are nothing at all. A missed lesion stands in the list with
    -1000000000 and is taken out before the curve is made, so it is only counted. When no lesion at all is hit,
    scikit-learn's true positive rate is 0/0: the sensitivities are nan. Its roc_curve leaves out points on a straight
    line, which changes no interpolated value; here they are kept.
    """
    hits, false_positives, n_lesions = _best_on_each_lesion(images)
    rates, sensitivities = [0.0], [0.0]
    for threshold in sorted({*hits, *false_positives}, reverse=True):
        rates.append(sum(score >= threshold for score in false_positives) / len(images))
        sensitivities.append(sum(score >= threshold for score in hits) / n_lesions)
    return rates, sensitivities if hits else [math.nan] * len(rates)


def luna16_cpm(images: Sequence[Image]) -> float:
    """LUNA16's score: mean sensitivity at seven rates, on straight lines between points, held beyond the last."""
    return _mean_on_lines(luna16_froc(images), LUNA16_RATES)


def monai_froc_score(images: Sequence[Image], rates: Sequence[float] = CAMELYON_RATES) -> float:
    """MONAI: mean sensitivity at the rates, on straight lines between points, held beyond the last.

    A lesion's score is the best on it, in single precision; 0 when it is missed. False positives keep double precision.
    Each distinct score but the lowest gives a point; the lowest is taken for the zeros of missed lesions, which is
    wrong where there is none.
    """
    hits, false_positives, n_lesions = _best_on_each_lesion(images)
    singles = [float(np.float32(score)) for score in hits] + [0.0] * (n_lesions - len(hits))
    points: Points = ([0.0], [0.0])
    for threshold in sorted({*singles, *false_positives}, reverse=True)[:-1]:
        points[0].append(sum(score >= threshold for score in false_positives) / len(images))
        points[1].append(sum(score >= threshold for score in singles) / n_lesions)
    return _mean_on_lines(points, rates)


def picai_froc(images: Sequence[Image]) -> Points:
    """picai_eval: one point a distinct score, the last one written over with (infinity, sensitivity before it).

    A missed lesion is a detection with score 0, which gives a last point that has to go. Where no lesion is missed, a
    true point goes. A single distinct score gives (0, 0) and (infinity, 0). picai_eval gives a lesion the candidate
    with the largest overlap, whatever its score: here the first in the list; others on the lesion are left out.
    """
    detections: list[tuple[float, bool]] = []
    for n_lesions, candidates in images:
        first: dict[int, float] = {}
        for score, lesion in candidates:
            if lesion is None:
                detections.append((score, False))
            else:
                first.setdefault(lesion, score)
        detections += [(first.get(lesion, 0.0), True) for lesion in range(n_lesions)]
    thresholds = sorted({score for score, _ in detections}, reverse=True)
    if len(thresholds) < 2:
        return [0.0, math.inf], [0.0, 0.0]
    n_true = sum(on_lesion for _, on_lesion in detections)
    rates = [sum(s >= t and not on for s, on in detections) / len(images) for t in thresholds]
    sensitivities = [sum(s >= t and on for s, on in detections) / n_true for t in thresholds]
    return [*rates[:-1], math.inf], [*sensitivities[:-1], sensitivities[-2]]


def picai_sensitivity_at(images: Sequence[Image], rate: float) -> float:
    """picai_eval's lesion_TPR_at_FPR: the last point with at most the rate; 0 where the first is already beyond."""
    rates, sensitivities = picai_froc(images)
    return [0.0, *(s for fp, s in zip(rates, sensitivities, strict=True) if fp <= rate)][-1]


def _best_on_each_lesion(images: Sequence[Image]) -> tuple[list[float], list[float], int]:
    """Best scores of the hit lesions, scores of the false positives, and the number of lesions."""
    hits: list[float] = []
    false_positives: list[float] = []
    for _, candidates in images:
        on = {lesion: max(s for s, other in candidates if other == lesion) for _, lesion in candidates}
        hits += [best for lesion, best in on.items() if lesion is not None]
        false_positives += [score for score, lesion in candidates if lesion is None]
    return hits, false_positives, sum(n_lesions for n_lesions, _ in images)


def _mean_on_lines(points: Points, at: Sequence[float]) -> float:
    return sum(_on_line(points, rate) for rate in at) / len(at)


def _on_line(points: Points, rate: float) -> float:
    """Linear interpolation as numpy.interp does it: of points above one another the last, beyond the end the last."""
    rates, sensitivities = points
    last = max(index for index, fp in enumerate(rates) if fp <= rate)
    if last == len(rates) - 1 or rates[last] == rate:
        return sensitivities[last]
    part = (rate - rates[last]) / (rates[last + 1] - rates[last])
    return sensitivities[last] + part * (sensitivities[last + 1] - sensitivities[last])
