"""How a network is judged on its validation cases, and its threshold chosen: by its findings, or by their area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxrcad.config import AREA, FINDINGS, FindConfig
from cxrcad.datasets.samples import Sample
from cxrcad.evaluation.froc import Operating, best_f1_threshold, froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.matching import HitRule, ImageMatch, match_image
from cxrcad.evaluation.segmentation import BEST_DICE, Overlap, best_dice, overlap
from cxrcad.inference.candidates import find
from cxrcad.inference.examining import Examined

__all__ = ["CRITERIA", "LEVELS", "AreaCriterion", "FindingsCriterion"]

Maps = Mapping[str, NDArray[np.float32]]

LEVELS = tuple(step / 20 for step in range(19, 0, -1))
"""Thresholds that are tried where not each score can be."""


class FindingsCriterion:
    """Findings on nodules are counted: F1, and the sensitivity at a few rates of false positives."""

    figure = "f1"
    threshold_from = "best F1 on the validation cases"

    def find(self, config: FindConfig) -> FindConfig:
        """How findings are cut from the map."""
        return config

    def image(self, sample: Sample, maps: Maps, config: FindConfig) -> ImageMatch:
        """One image's findings, matched."""
        findings = find(maps["lesion"], maps.get("lung"), sample.geometry, config)
        return match_image(sample.case, findings, HitRule())

    def figures(self, images: Sequence[Any]) -> dict[str, Any]:
        """F1 at the best threshold, and sensitivities, of the images that `image` gave."""
        curve = froc(images)
        operating = score_at_threshold(images, best_f1_threshold(images))
        rates = (0.5, 1.0, 2.0, 4.0)
        return {"f1": round(operating.f1, 4), "sensitivity": {str(rate): sensitivity_at(curve, rate) for rate in rates}}

    def threshold(self, config: FindConfig, examined: Sequence[tuple[Sample, Examined]]) -> tuple[float, float]:
        """The threshold with the best F1, and that F1.

        Peaks are scored once and their scores are the candidates; components depend on the level at which the map is
        cut, so each level of 0.05 ... 0.95 is tried.
        """
        if config.method == "peaks":
            matches = [match_image(sample.case, one.result.findings, HitRule()) for sample, one in examined]
            best = score_at_threshold(matches, best_f1_threshold(matches))
        else:
            best = max((self._at(level, config, examined) for level in LEVELS), key=lambda one: one.f1)
        assert best.threshold is not None
        return best.threshold, round(best.f1, 4)

    def _at(self, level: float, config: FindConfig, examined: Sequence[tuple[Sample, Examined]]) -> Operating:
        cut = replace(config, threshold=level)
        return score_at_threshold([self.image(sample, one.maps, cut) for sample, one in examined], level)


class AreaCriterion:
    """The area of an outlined lesion is measured: Dice."""

    figure = "dice"
    threshold_from = BEST_DICE

    def find(self, config: FindConfig) -> FindConfig:
        """How findings are cut from the map: an area has no peaks."""
        return replace(config, method="components")

    def image(self, sample: Sample, maps: Maps, config: FindConfig) -> Overlap:
        """How one image's map overlaps its lesion."""
        return overlap(maps["lesion"], sample.lesion, sample.geometry)

    def figures(self, images: Sequence[Any]) -> dict[str, Any]:
        """The best mean Dice of the images that `image` gave."""
        return {"f1": None, "dice": round(best_dice(images)[1], 4)}

    def threshold(self, config: FindConfig, examined: Sequence[tuple[Sample, Examined]]) -> tuple[float, float]:
        """The threshold with the best mean Dice over the cases that have the lesion, and that mean."""
        threshold, best = best_dice([self.image(sample, one.maps, config) for sample, one in examined])
        return threshold, round(best, 4)


CRITERIA: Mapping[str, FindingsCriterion | AreaCriterion] = {FINDINGS: FindingsCriterion(), AREA: AreaCriterion()}
"""By what a lesion is measured by, in `config.LESIONS`."""
