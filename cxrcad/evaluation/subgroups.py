"""The same findings, counted for some nodules or some images only.

Strata of nodules (label, subtlety, size, malignancy, side, location, in or outside the lung fields) keep every image
and every false positive and drop the other nodules: a finding on a dropped nodule is then neither hit nor false
positive. Strata of images (data set, age, sex, view) keep their images only, with the false positives in them.

Both are counted as the whole is: each image at its own fold's threshold, false positives over the images of the
context's axis. With the axis "normals" an image whose nodules are dropped is no normal one, so a stratum of nodules has
the normals of the whole; a stratum of images without any normal one has no false positives per image (None), and so no
rate is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cxrcad.config import NODULE
from cxrcad.core import Case, Nodule
from cxrcad.evaluation.froc import froc, is_counted, score_at_thresholds, sensitivity_at
from cxrcad.evaluation.matching import HitRule, ImageMatch, nodule_under
from cxrcad.evaluation.records import FoldResult, ScoredImage
from cxrcad.evaluation.statistics import wilson

__all__ = ["STRATUM_RATES", "Stratum", "has_counted", "has_nodules", "nodules_of", "of_each_set", "strata"]

STRATUM_RATES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""False positives per image at which a stratum's sensitivity is given."""

SIZES_MM = ((0.0, 10.0), (10.0, 15.0), (15.0, 20.0), (20.0, 30.0), (30.0, float("inf")))
AGES_YEARS = ((0, 50), (50, 65), (65, 200))


@dataclass(frozen=True)
class Stratum:
    """Some nodules or images: hits of `n_nodules` at the threshold, Wilson's 95 % interval, sensitivity at rates.

    `sensitivities` goes with STRATUM_RATES; None: not reached. `fp_per_image` is at the threshold, over the images of
    the axis; None where the stratum has none of them.
    """

    kind: str
    name: str
    n_images: int
    n_nodules: int
    hits: int
    interval: tuple[float, float]
    fp_per_image: float | None
    sensitivities: tuple[float | None, ...]

    @property
    def recall(self) -> float:
        """Part of the nodules that is hit at the threshold, 0-1."""
        return self.hits / self.n_nodules


@dataclass(frozen=True)
class _Image:
    """One image's match, at its own fold's threshold; `further` is what `nodules_of` takes."""

    match: ImageMatch
    case: Case
    threshold: float
    further: Mapping[int | None, int]


def strata(results: Sequence[FoldResult]) -> tuple[Stratum, ...]:
    """Every stratum that holds a nodule, by kind, in a fixed order; what is unknown is a stratum of its own.

    A stratum of everything has the figures of the whole.
    """
    images = [
        _Image(match, one.case, result.context.model.threshold, _further(result.context.rule, one, match))
        for result in results
        for one, match in zip(result.scored, result.matches, strict=False)
    ]
    found: list[Stratum] = []
    for kind, of_nodule, order in NODULE_KINDS:
        names = [[of_nodule(nodule) for nodule in image.case.nodules] for image in images]
        if kind == LABEL and len({own for mine in names for own in mine}) < 2:
            continue
        for name in _present([own for mine in names for own in mine], order):
            matches = [
                nodules_of(image.match, [own == name for own in mine], image.further)
                for image, mine in zip(images, names, strict=True)
            ]
            parts = [replace(image, match=match) for image, match in zip(images, matches, strict=True)]
            found.append(_stratum(kind, name, parts, results[0].context.fp_axis))
    for kind, of_case, order in IMAGE_KINDS:
        for name in _present([of_case(image.case) for image in images if image.case.nodules], order):
            parts = [image for image in images if of_case(image.case) == name]
            found.append(_stratum(kind, name, parts, results[0].context.fp_axis))
    return tuple(found)


def of_each_set(results: Sequence[FoldResult]) -> dict[str, tuple[FoldResult, ...]]:
    """The folds' results by data set, for each of several joined sets; none where there is one set.

    Folds keep those images of the set that they scored; a fold without any is left out.
    """
    titles = sorted({one.case.data_set for result in results for one in result.scored if one.case.data_set})
    parts = {title: tuple(filter(None, (_of_set(result, title) for result in results))) for title in titles}
    return {title: its for title, its in parts.items() if its}


def has_nodules(results: Sequence[FoldResult]) -> bool:
    """Whether a nodule is among what the folds scored."""
    return any(match.n_nodules for result in results for match in result.matches)


def has_counted(results: Sequence[FoldResult]) -> bool:
    """Whether an image is among what the folds scored over which false positives are counted; else it has no curve."""
    return any(is_counted(match, result.context.fp_axis) for result in results for match in result.matches)


def _of_set(result: FoldResult, title: str) -> FoldResult | None:
    images = zip(result.matches, result.lung_dice, result.scored, strict=False)
    kept = [image for image in images if image[2].case.data_set == title]
    if not kept:
        return None
    matches, overlaps, scored = zip(*kept, strict=True)
    names = {match.case for match in matches}
    trained_on = tuple(name for name in result.trained_on if name in names)
    return replace(result, matches=matches, lung_dice=overlaps, scored=scored, trained_on=trained_on)


def nodules_of(match: ImageMatch, kept: Sequence[bool], further: Mapping[int | None, int] | None = None) -> ImageMatch:
    """The match with only those nodules whose `kept` is true; findings on the others vanish.

    `further` gives the nodule of each false positive that is a further finding on one, by the finding's number.
    """
    on = further or {}
    return replace(
        match,
        n_nodules=sum(kept),
        hits=tuple(hit for hit in match.hits if kept[hit.nodule]),
        false_positives=tuple(fp for fp in match.false_positives if fp.finding not in on or kept[on[fp.finding]]),
        duplicates=match.duplicates if all(kept) else (),
        left_out=match.left_out + len(kept) - sum(kept),
    )


def _further(rule: HitRule, scored_image: ScoredImage, match: ImageMatch) -> dict[int | None, int]:
    """Which nodules the image's false positives lie on: only a further finding on a hit nodule lies on one."""
    if rule.duplicates == "ignored":
        return {}
    numbers = [fp.finding for fp in match.false_positives if fp.finding is not None]
    places = {number: nodule_under(scored_image.case, scored_image.findings[number], rule) for number in numbers}
    return {number: nodule for number, nodule in places.items() if nodule is not None}


def _present(values: Sequence[str], order: Sequence[str]) -> list[str]:
    """The strata that occur: in `order`, then others by name, unknown last; none where nothing is known."""
    there = set(values)
    if there <= {UNKNOWN}:
        return []
    return [name for name in [*order, *sorted(there - {*order, UNKNOWN}), UNKNOWN] if name in there]


def _stratum(kind: str, name: str, images: Sequence[_Image], fp_axis: str) -> Stratum:
    matches, thresholds = [image.match for image in images], [image.threshold for image in images]
    counted = any(is_counted(match, fp_axis) for match in matches)
    counts = score_at_thresholds(matches, thresholds, fp_axis if counted else "all")
    fp_per_image: float | None = None
    reached: tuple[float | None, ...] = (None,) * len(STRATUM_RATES)
    if counted:
        curve = froc(matches, fp_axis)
        fp_per_image, reached = counts.fp_per_image, tuple(sensitivity_at(curve, rate) for rate in STRATUM_RATES)
    n_nodules = counts.tp + counts.fn
    interval = wilson(counts.tp, n_nodules)
    return Stratum(kind, name, len(matches), n_nodules, counts.tp, interval, fp_per_image, reached)


UNKNOWN = "unknown"


def _range(value: float | None, ranges: Sequence[tuple[float, float]], unit: str) -> str:
    if value is None:
        return UNKNOWN
    low, high = next(pair for pair in ranges if pair[0] <= value < pair[1])
    if low == 0:
        return f"below {high:g} {unit}"
    return f"{low:g} {unit} and more" if high >= 200 else f"{low:g}-{high:g} {unit}"


def _names(ranges: Sequence[tuple[float, float]], unit: str) -> tuple[str, ...]:
    return tuple(_range(low, ranges, unit) for low, _ in ranges)


def _side(nodule: Nodule) -> str:
    """Right or left, from JSRT's location ("r.upper lobe", "left lower lobe")."""
    text = (nodule.location or "").strip().lower()
    return "right" if text.startswith("r") else "left" if text.startswith("l") else UNKNOWN


def _location(nodule: Nodule) -> str:
    """The location without its side."""
    text = (nodule.location or "").strip().lower()
    for start in ("right", "left", "r.", "l.", "r ", "l "):
        if text.startswith(start):
            return text[len(start) :].strip(" .") or UNKNOWN
    return text or UNKNOWN


LABEL = "label"
"""The kind of a subgroup that every data set has; of one label alone it would be the whole."""

NODULE_KINDS: tuple[tuple[str, Callable[[Nodule], str], tuple[str, ...]], ...] = (
    (LABEL, lambda n: n.label or NODULE, (NODULE,)),
    ("subtlety", lambda n: UNKNOWN if n.subtlety is None else str(n.subtlety), ("1", "2", "3", "4", "5")),
    ("size", lambda n: _range(n.diameter_mm, SIZES_MM, "mm"), _names(SIZES_MM, "mm")),
    ("malignancy", lambda n: (n.malignancy or UNKNOWN).lower(), ("malignant", "benign")),
    ("lung field", lambda n: {True: "inside", False: "outside", None: UNKNOWN}[n.in_lung], ("inside", "outside")),
    ("side", _side, ("right", "left")),
    ("location", _location, ()),
)
IMAGE_KINDS: tuple[tuple[str, Callable[[Case], str], tuple[str, ...]], ...] = (
    ("data set", lambda c: c.data_set or UNKNOWN, ()),
    ("age", lambda c: _range(c.age_years, AGES_YEARS, "years"), _names(AGES_YEARS, "years")),
    ("sex", lambda c: (c.sex or UNKNOWN).lower(), ("female", "male")),
    ("view", lambda c: c.view or UNKNOWN, ("PA", "AP")),
)
