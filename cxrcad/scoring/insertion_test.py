"""Whether a detector responds to insertion artefacts: its scores where a background patch was inserted, not a nodule.

One place in each radiograph is scored four times: untouched, with a background patch of each kind (a negative
insertion), and with a nodule. Place, shape and blur are the same in all of them. A detector of nodules gives a
background patch the score of the untouched place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrcad.core import Case, DataError, Radiograph, Source
from cxrcad.datasets.masks import truth_mask
from cxrcad.evaluation.bootstrap import Interval, draw_images, with_intervals
from cxrcad.evaluation.metrics import Figures, image_auc
from cxrcad.inference.detector import Detector
from cxrcad.synthesis.backgrounds import GRID_MM, GRID_SIDE, Background, read_background
from cxrcad.synthesis.insertion import PATCHES, Candidates, Inserted, insert_nodule, reinsert_background
from cxrcad.synthesis.nodules import SUBTLETY_COUNTS

__all__ = [
    "INSERTIONS",
    "VERSIONS",
    "ScoredPlace",
    "insertion_figures",
    "patch_differences",
    "score_place",
    "verdict",
]

INSERTIONS = {f"sham {patch}": patch for patch in PATCHES}
"""The negative insertions, by the names that they have in insertion_test.json."""

VERSIONS = ("untouched", *INSERTIONS, "nodule")
"""What one place of a radiograph is scored as."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class ScoredPlace:
    """One radiograph's place, and the model's highest score in the nodule's disc there by version, 0-1."""

    background: Background
    inserted: Inserted
    subtlety: int
    scores: Mapping[str, float]


def score_place(
    detector: Detector, background: Background, candidates: Candidates, seed: int, index: int
) -> ScoredPlace:
    """The scores at one random place in the lung fields; the subtlety of its nodule is drawn as often as in JSRT.

    `seed` and `index`, the radiograph's number, decide place, nodule and subtlety. Raises DataError where no place is
    large enough, ReadError.
    """
    image, lung = read_background(background)
    counts = np.array(list(SUBTLETY_COUNTS.values()), np.float64)
    subtlety = int(np.random.default_rng([seed, index, 1]).choice(list(SUBTLETY_COUNTS), p=counts / counts.sum()))
    versions, places = {"untouched": image}, []
    try:
        for name, patch in INSERTIONS.items():
            rng = np.random.default_rng([seed, index])
            versions[name], place = reinsert_background(
                image, lung, rng, candidates=candidates, outside=False, patch=patch
            )
            places.append(place)
        rng = np.random.default_rng([seed, index])
        versions["nodule"], place = insert_nodule(image, lung, candidates, subtlety, False, rng)
    except DataError as error:
        raise DataError(f"{background.image}: {error}") from None
    assert all(other == place for other in places), "background patches and nodule are drawn from one state"
    scores = {name: _score(detector, versions[name], background, place) for name in VERSIONS}
    return ScoredPlace(background, place, subtlety, scores)


def _score(detector: Detector, image: Pixels, background: Background, place: Inserted) -> float:
    """The highest score of the nodule map in the place's disc, of the image rounded to 8 bits as a file would be."""
    pixels = (np.clip(np.rint(image), 0, 255) / 255).astype(np.float32)
    spacing = (GRID_MM, GRID_MM)
    radiograph = Radiograph(pixels, spacing, "data set", None, Source(str(background.image), "background", ""))
    examined = detector.examine(radiograph)
    nodule = place.nodule
    case = Case(background.image.stem, background.image, GRID_SIDE, GRID_SIDE, spacing, (nodule,))
    return float(examined.maps["lesion"][truth_mask(case, examined.geometry, "disc")].max())


def insertion_figures(scored: Sequence[ScoredPlace], resamples: int, seed: int) -> dict[str, Interval]:
    """Means, differences from the untouched place and AUCs against it, with intervals over patients."""
    scores = {name: np.array([one.scores[name] for one in scored]) for name in VERSIONS}
    patients = [one.background.patient for one in scored]
    several = resamples and len(set(patients)) > 1
    weights = draw_images(patients, np.zeros(len(scored), bool), resamples, seed) if several else None

    def measure(counts: NDArray[np.float64]) -> Figures:
        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            result: NDArray[np.float64] = (counts @ values) / counts.sum(1)
            return result

        found = {f"mean {name}": mean(scores[name]) for name in VERSIONS}
        changed = np.repeat([False, True], len(scored))
        for name in VERSIONS[1:]:
            found[f"difference {name}"] = mean(scores[name] - scores["untouched"])
            both = np.concatenate([scores["untouched"], scores[name]])
            found[f"AUC {name}"] = image_auc(both, changed, np.hstack([counts, counts]))
        return found

    return with_intervals(measure, len(scored), weights)


def patch_differences(figures: Mapping[str, Interval]) -> dict[str, Interval]:
    """The differences of the background patches' mean scores from the untouched place's, by kind of patch."""
    return {patch: figures[f"difference {name}"] for name, patch in INSERTIONS.items()}


def verdict(differences: Mapping[str, Interval], bound: float) -> str:
    """below, beyond or undecided, from `patch_differences`.

    Below: every interval lies within -bound to bound. Beyond: one lies wholly outside of it.
    """
    intervals = [(one.low, one.high) for one in differences.values() if one.low is not None and one.high is not None]
    if any(low > bound or high < -bound for low, high in intervals):
        return "beyond"
    inside = all(-bound < low and high < bound for low, high in intervals)
    return "below" if inside and len(intervals) == len(differences) else "undecided"
