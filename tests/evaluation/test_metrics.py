"""Every figure on crafted images with answers by hand, and against independent implementations on random sets."""

from __future__ import annotations

import contextlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.core import Box, Case, EvaluationError, Finding, ModelIdentity, Nodule
from cxrcad.evaluation.froc import RATES, froc, score_at_threshold, sensitivity_at
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch, match_image
from cxrcad.evaluation.metrics import figures, rate_name, tally
from cxrcad.evaluation.records import FoldResult, ScoringContext


def fold(
    *matches: ImageMatch, threshold: float = 0.5, fp_axis: str = "all", lung_dice: float | None = None
) -> FoldResult:
    model = ModelIdentity("m", "ab", threshold, "CPUExecutionProvider")
    context = ScoringContext(
        "data", "jsrt-247", HitRule(), model, "mo-segnet", "multi", "validation", 1, fp_axis=fp_axis
    )
    return FoldResult(context, matches, (lung_dice,) * len(matches))


def image(
    name: str, nodules: int, hits: tuple[float, ...] = (), fps: tuple[float, ...] = (), inside: bool = True
) -> ImageMatch:
    return ImageMatch(
        name,
        nodules,
        tuple(Hit(score, index, 2.0) for index, score in enumerate(sorted(hits, reverse=True))),
        tuple(FalsePositive(score, inside) for score in sorted(fps, reverse=True)),
    )


def values(result: FoldResult) -> dict[str, float]:
    return {
        name: float(found[0]) for name, found in figures(tally([result]), np.ones((1, len(result.matches)))).items()
    }


STORY = fold(
    image("A", 1, hits=(0.9,)),
    image("B", 1, hits=(0.6,), fps=(0.7,), inside=False),
    image("C", 1, fps=(0.3,)),
    image("N", 0, fps=(0.6, 0.2)),
    image("M", 0),
)
"""Three nodules, one missed; image scores .9, .7, .3 against .6 and none."""


def test_the_figures_of_the_story_by_hand() -> None:
    found = values(STORY)
    assert (found["F1"], found["recall"], found["precision"]) == (4 / 7, 2 / 3, 1 / 2)
    assert found["false positives an image"] == 2 / 5
    assert (found["false positives in the lung fields"], found["false positives outside the lung fields"]) == (0.2, 0.2)
    assert [found[f"sensitivity at {rate}"] for rate in ("1/8", "1/4", "1/2")] == [1 / 3, 1 / 3, 2 / 3]
    assert math.isnan(found["sensitivity at 1"])  # the curve ends at 4 false positives in 5 images
    assert found["CPM"] == pytest.approx((1 / 3 + 1 / 3 + 5 * 2 / 3) / 7)
    assert found["image AUC"] == 5 / 6  # .9 and .7 beat both; .3 beats only the image without a finding
    assert found["JAFROC"] == pytest.approx((2 + 1.5 + 0.5) / 6)  # .6 ties with .6; missed against nothing: half
    assert found["NODE21 score"] == pytest.approx(0.75 * 5 / 6 + 0.25 / 3)
    assert found["average precision"] == pytest.approx((34 * 1.0 + 33 * 2 / 4) / 101)  # .6: 2 hits, 2 false positives
    assert found["localisation error, mm"] == 2.0
    assert math.isnan(found["lung Dice"])


def test_false_positives_over_normals_only() -> None:
    normals = fold(*STORY.matches, fp_axis="normals")
    found = values(normals)
    assert found["false positives an image"] == 1 / 2
    assert found["F1"] == 4 / 7  # counts the false positives of all images
    assert found["sensitivity at 1/2"] == 2 / 3
    assert found["sensitivity at 1/8"] == 1 / 3
    assert found["sensitivity at 1"] == 2 / 3  # two in two normal images
    curve = froc(normals.matches, "normals")
    assert (curve.n_images, curve.final_fp_per_image) == (2, 1.0)


def test_without_normal_images_what_needs_them_is_undefined() -> None:
    found = values(fold(*STORY.matches[:3]))
    assert math.isnan(found["image AUC"])
    assert math.isnan(found["JAFROC"])
    over_none = values(fold(*STORY.matches[:3], fp_axis="normals"))
    assert all(math.isnan(over_none[name]) for name in ("sensitivity at 1/8", "sensitivity at 8", "CPM"))
    with pytest.raises(EvaluationError, match="none of the 3 images is without a nodule, over which --fp-axis normals"):
        score_at_threshold(STORY.matches[:3], 0.5, "normals")


def test_a_set_without_a_nodule_has_no_figures() -> None:
    with pytest.raises(EvaluationError, match="none of the 2 images holds a nodule"):
        tally([fold(*STORY.matches[3:])])


def test_weights_are_how_often_an_image_counts() -> None:
    """B twice and A not at all is a set with B, B again, C, N and M."""
    again = ImageMatch("B2", 1, STORY.matches[1].hits, STORY.matches[1].false_positives)
    written_out = values(fold(STORY.matches[1], again, *STORY.matches[2:]))
    weighted = figures(tally([STORY]), np.array([[0.0, 2.0, 1.0, 1.0, 1.0]]))
    assert {name: float(found[0]) for name, found in weighted.items()} == pytest.approx(written_out, nan_ok=True)


SCORES = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
IMAGES = st.tuples(st.integers(0, 2), st.lists(SCORES, max_size=2), st.lists(SCORES, max_size=4))


def drawn(rows: list[tuple[int, list[float], list[float]]]) -> tuple[ImageMatch, ...]:
    """Images with a nodule more for each hit; the first holds one at least."""
    return tuple(
        image(str(index), extra + len(hits) + (index == 0), tuple(hits), tuple(fps))
        for index, (extra, hits, fps) in enumerate(rows)
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(IMAGES, min_size=1, max_size=8), st.sampled_from([0.3, 0.5]))
def test_figures_of_weight_one_are_those_of_the_curve_and_the_operating_point(rows, threshold) -> None:  # type: ignore[no-untyped-def]
    matches = drawn(rows)
    found = values(fold(*matches, threshold=threshold))
    curve, point = froc(matches), score_at_threshold(matches, threshold)
    assert found["F1"] == pytest.approx(point.f1)
    assert found["recall"] == pytest.approx(point.recall)
    assert found["false positives an image"] == pytest.approx(point.fp_per_image)
    assert (
        math.isnan(found["precision"])
        if point.precision is None
        else found["precision"] == pytest.approx(point.precision)
    )
    for rate in RATES:
        mine, theirs = found[f"sensitivity at {rate_name(rate)}"], sensitivity_at(curve, rate)
        assert math.isnan(mine) if theirs is None else mine == pytest.approx(theirs)


@settings(max_examples=60, deadline=None)
@given(st.lists(IMAGES, min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_figures_do_not_depend_on_order_on_doubling_or_on_the_scale_of_scores(rows, random) -> None:  # type: ignore[no-untyped-def]
    matches = list(drawn(rows))
    before = values(fold(*matches))
    random.shuffle(matches)
    assert values(fold(*matches)) == pytest.approx(before, nan_ok=True)
    twice = [ImageMatch(f"{m.case} again", m.n_nodules, m.hits, m.false_positives) for m in matches]
    assert values(fold(*matches, *twice)) == pytest.approx(before, nan_ok=True)
    cubed = [
        ImageMatch(
            m.case,
            m.n_nodules,
            tuple(Hit(h.score**3, h.nodule, h.distance_mm) for h in m.hits),
            tuple(FalsePositive(p.score**3, p.in_lung) for p in m.false_positives),
        )
        for m in matches
    ]
    assert values(fold(*cubed, threshold=0.5**3)) == pytest.approx(before, nan_ok=True)


def random_matches(rng: np.random.Generator, images: int = 40) -> tuple[ImageMatch, ...]:
    """Images with and without nodules; scores on a coarse grid, so that many tie; one of each kind at least."""
    rows = []
    for index in range(images):
        nodules = int(rng.integers(1, 3)) if index == 0 or (index > 1 and rng.random() < 0.6) else 0
        hits = tuple(rng.integers(0, 21, int(rng.integers(0, nodules + 1))) / 20)
        rows.append(image(str(index), nodules, hits, tuple(rng.integers(0, 21, int(rng.integers(0, 5))) / 20)))
    return tuple(rows)


def test_image_auc_is_scikit_learn_s_on_200_random_sets() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    for seed in range(200):
        matches = random_matches(np.random.default_rng(seed))
        truth = [match.n_nodules > 0 for match in matches]
        every = [[h.score for h in m.hits] + [p.score for p in m.false_positives] for m in matches]
        scores = [max(found, default=-1.0) for found in every]
        assert values(fold(*matches))["image AUC"] == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)


def test_jafroc_is_the_area_under_the_afroc_curve_with_its_straight_end() -> None:
    for seed in range(50):
        matches = random_matches(np.random.default_rng(seed))
        normals = [max((p.score for p in m.false_positives), default=-1) for m in matches if not m.n_nodules]
        lesions = [h.score for m in matches for h in m.hits] + [-1.0] * sum(m.misses for m in matches)
        x, y = [0.0], [0.0]
        for threshold in sorted({*normals, *lesions} - {-1.0}, reverse=True):
            x.append(sum(score >= threshold for score in normals) / len(normals))
            y.append(sum(score >= threshold for score in lesions) / len(lesions))
        area = np.trapezoid([*y, 1.0], [*x, 1.0])
        assert values(fold(*matches))["JAFROC"] == pytest.approx(area, abs=1e-12)


def random_boxes(rng: np.random.Generator) -> list[tuple[Case, list[Finding]]]:
    """12 images of 100 x 100 with up to 3 true boxes and up to 6 findings, some of them moved truth; scores differ."""
    scores = iter(rng.permutation(200) / 200)
    images = []
    for index in range(12):
        corners = rng.integers(0, 60, (int(rng.integers(index == 0, 4)), 2))
        boxes = [
            Box(float(x), float(y), float(x + w), float(y + h))
            for (x, y), (w, h) in zip(corners, rng.integers(8, 40, corners.shape), strict=True)
        ]
        found = [
            Box(*(np.array([b.x0, b.y0, b.x1, b.y1]) + np.tile(rng.integers(-8, 9, 2), 2)).tolist())
            for b in boxes
            for _ in range(int(rng.integers(0, 3)))
        ]
        found += [
            Box(float(x), float(y), float(x + 20), float(y + 15))
            for x, y in rng.integers(0, 80, (int(rng.integers(0, 3)), 2))
        ]
        nodules = tuple(Nodule(*box.center, box_px=box) for box in boxes)
        case = Case(str(index + 1), Path(f"{index}.png"), 100, 100, nodules=nodules)
        images.append((case, [Finding("nodule", float(next(scores)), box, box.center, box.area) for box in found]))
    return images


def coco_ap(images: list[tuple[Case, list[Finding]]], min_iou: float) -> float:
    """pycocotools' AP at one IoU, all areas, up to 100 findings an image."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")

    def entry(number: int, case: Case, box: Box) -> dict[str, Any]:
        bbox = [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0]
        return {
            "id": number,
            "image_id": int(case.name),
            "category_id": 1,
            "bbox": bbox,
            "area": box.area,
            "iscrowd": 0,
        }

    boxes = [(case, nodule.box_px) for case, _ in images for nodule in case.nodules]
    found = [(case, finding) for case, findings in images for finding in findings]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": int(case.name)} for case, _ in images],
            "categories": [{"id": 1}],
            "annotations": [entry(number, case, box) for number, (case, box) in enumerate(boxes, 1) if box is not None],
        }
        truth.createIndex()
        results = coco.COCO()
        results.dataset = {
            **truth.dataset,
            "annotations": [{**entry(n, case, f.box_px), "score": f.score} for n, (case, f) in enumerate(found, 1)],
        }
        results.createIndex()
        run = cocoeval.COCOeval(truth, results, "bbox")
        run.params.iouThrs, run.params.areaRng, run.params.areaRngLbl = np.array([min_iou]), [[0, 1e10]], ["all"]
        run.params.maxDets = [100]
        run.evaluate()
        run.accumulate()
    return float(run.eval["precision"][0, :, 0, 0, 0].mean())


def test_average_precision_is_pycocotools_on_200_random_sets() -> None:
    rule = HitRule("iou", 0.4, duplicates="false-positives")
    for seed in range(200):
        images = random_boxes(np.random.default_rng(seed))
        matches = [match_image(case, findings, rule) for case, findings in images]
        assert values(fold(*matches))["average precision"] == pytest.approx(coco_ap(images, 0.4), abs=1e-9)


def test_a_finding_exactly_at_the_threshold_is_reported_in_every_figure() -> None:
    """A hit 2 mm off and one 6 mm off at the threshold itself; false positives in and outside the lungs at it."""
    found = ImageMatch(
        "A", 2, (Hit(0.9, 0, 2.0), Hit(0.5, 1, 6.0)), (FalsePositive(0.5, True), FalsePositive(0.5, False))
    )
    told = values(fold(found, threshold=0.5))
    assert (told["recall"], told["localisation error, mm"]) == (1.0, 4.0)
    assert (told["false positives in the lung fields"], told["false positives outside the lung fields"]) == (1.0, 1.0)


def test_where_no_false_positive_s_place_is_known_none_is_counted_as_elsewhere() -> None:
    nowhere = ImageMatch("A", 1, (Hit(0.9, 0, 2.0),), (FalsePositive(0.8, None),))
    told = values(fold(nowhere))
    assert np.isnan(told["false positives in the lung fields"])
    assert np.isnan(told["false positives outside the lung fields"])
    one_known = fold(nowhere, ImageMatch("B", 0, (), (FalsePositive(0.7, False),)))
    told = values(one_known)
    assert (told["false positives in the lung fields"], told["false positives outside the lung fields"]) == (0.0, 0.5)
