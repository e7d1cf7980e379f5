"""The published points against a table typed by hand, and which of them may be drawn behind which curve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cxrcad.core import UsageError
from cxrcad.evaluation.literature import PUBLISHED, PublishedPoint, comparable, derived_fp_per_image
from cxrcad.evaluation.protocols import TABLE

# label | sensitivity | false positives an image | nodules | images | protocol | read in the source's own text
TYPED = """
Radiologists (Shiraishi et al. 2000) | 0.7 | None | 154 | 247 | jsrt-247 | False
Schilham et al. 2006 | 0.51 | 2.0 | None | None | None | True
Schilham et al. 2006 | 0.67 | 4.0 | None | None | None | True
Hardie et al. 2008 | 0.781 | 4.0 | 140 | None | jsrt-140 | False
Chen and Suzuki 2013 | 0.85 | 5.0 | 140 | 233 | None | True
Wang et al. 2017 | 0.693 | 1.19 | None | None | None | True
Shimazaki et al. 2022 | 0.73 | 0.13 | 159 | 151 | None | True
NODE21 baseline | None | None | None | None | node21 | False
Park et al. 2020 | 0.813 | None | 154 | 154 | paper | True
"""

POINT = PublishedPoint(
    label="Someone 2010",
    year=2010,
    source="a journal",
    data="JSRT",
    on_jsrt=True,
    sensitivity=0.7,
    fp_per_image=2.0,
    verified=True,
    protocol="jsrt-140",
    hit_rule="a centre within 25 mm",
    hit_rule_kind="distance",
    max_distance_mm=25.0,
    n_nodules=140,
    n_images=140,
)


def reasons(protocol: str, kind: str = "center", jsrt: bool = True) -> dict[str, str]:
    return {point.label: reason for point, reason in comparable(protocol, kind, 25.0, jsrt)[1]}


def reason(point: PublishedPoint, protocol: str = "distance-25mm", kind: str = "distance", mm: float = 25.0) -> str:
    """Why the one point is left out; drawn points have none."""
    drawn, left_out = comparable(protocol, kind, mm, True, (point,))
    assert len(drawn) + len(left_out) == 1
    return left_out[0][1] if left_out else ""


def test_the_points_are_as_typed_by_hand() -> None:
    lines = [
        f"{p.label} | {p.sensitivity} | {p.fp_per_image} | {p.n_nodules} | {p.n_images} | {p.protocol} | {p.verified}"
        for p in PUBLISHED
    ]
    assert lines == TYPED.strip().splitlines()


@pytest.mark.parametrize("point", PUBLISHED, ids=lambda point: f"{point.label} {point.fp_per_image}")
def test_each_point_is_one_that_can_be(point: PublishedPoint) -> None:
    assert str(point.year) in point.source or point.label == "NODE21 baseline"
    assert point.sensitivity is None or 0 < point.sensitivity < 1
    assert point.protocol is None or point.protocol in {row.name for row in TABLE}
    assert (point.hit_rule is None) == (point.hit_rule_kind is None)
    assert (point.max_distance_mm is not None) == (point.hit_rule_kind == "distance")
    if not point.verified or point.hit_rule is None:
        assert "not verified here" in point.note or "was not seen" in point.note or "states no hit rule" in point.note


def test_chen_and_suzukis_figure_is_their_counts() -> None:
    chen = next(point for point in PUBLISHED if point.label.startswith("Chen"))
    assert chen.sensitivity == 119 / 140
    assert chen.fp_per_image == 1165 / 233


def test_the_papers_false_positives_are_derived_in_the_note_and_not_stated_as_printed() -> None:
    """0.813 of 154 are 125.2 hits; at a precision of 0.864, 144.9 findings; 19.7 false positives in 154 images."""
    paper = PUBLISHED[-1]
    assert derived_fp_per_image(0.813, 0.864, 154, 154) == pytest.approx(19.71 / 154, abs=1e-4)
    assert derived_fp_per_image(0.5, 0.25, 10, 30) == pytest.approx(0.5)
    assert paper.fp_per_image is None
    assert "F1 83.8 %, precision 86.4 %" in paper.note
    assert "imply 0.128" in paper.note


def test_behind_a_curve_on_jsrts_positives() -> None:
    drawn, left_out = comparable("paper", "center", 25.0, True)
    assert drawn == []
    assert len(left_out) == len(PUBLISHED)
    assert reasons("paper") == {
        "Radiologists (Shiraishi et al. 2000)": "no false positives an image given",
        "Schilham et al. 2006": "images not verified",
        "Hardie et al. 2008": "other images: 140 of JSRT's nodules",
        "Chen and Suzuki 2013": "other images: 140 of JSRT's nodules, false positives over 233 images",
        "Wang et al. 2017": "data set not verified",
        "Shimazaki et al. 2022": "own data",
        "NODE21 baseline": "own data",
        "Park et al. 2020": "no false positives an image given",
    }


def test_on_the_140_nodules_hardie_waits_for_its_hit_rule() -> None:
    assert reasons("jsrt-140")["Hardie et al. 2008"] == "hit rule not stated or not verified"
    assert reasons("distance-25mm", "distance")["Hardie et al. 2008"] == "hit rule not stated or not verified"


@pytest.mark.parametrize("protocol", [row.name for row in TABLE])
def test_on_other_data_nothing_compares(protocol: str) -> None:
    drawn, left_out = comparable(protocol, "center", 25.0, False)
    assert drawn == []
    assert {why for _, why in left_out} == {"on JSRT, not on this data", "own data", "data set not verified"}
    assert comparable(protocol, "distance", 25.0, False, (POINT,)) == ([], [(POINT, "on JSRT, not on this data")])


def test_a_point_on_the_same_images_under_the_same_rule_is_drawn() -> None:
    assert comparable("distance-25mm", "distance", 25.0, True, (POINT,)) == ([POINT], [])
    assert comparable("jsrt-140", "distance", 25.0, True, (POINT,)) == ([POINT], [])
    centred = replace(POINT, hit_rule="inside the nodule", hit_rule_kind="center", max_distance_mm=None)
    assert comparable("jsrt-140", "center", 25.0, True, (centred,)) == ([centred], [])


def test_each_single_difference_keeps_a_point_out() -> None:
    assert reason(POINT) == ""
    assert reason(POINT, mm=22.0) == "other hit rule: a centre within 25 mm"
    assert reason(POINT, kind="center") == "other hit rule: a centre within 25 mm"
    assert reason(POINT, protocol="paper") == "other images: 140 of JSRT's nodules"
    assert reason(replace(POINT, hit_rule=None, hit_rule_kind=None)) == "hit rule not stated or not verified"
    assert reason(replace(POINT, fp_per_image=None)) == "no false positives an image given"
    assert reason(replace(POINT, sensitivity=None)) == "no figure known"
    assert reason(replace(POINT, on_jsrt=False)) == "own data"
    assert reason(replace(POINT, on_jsrt=None)) == "data set not verified"
    assert reason(replace(POINT, protocol=None, n_nodules=None)) == "images not verified"
    whole = replace(POINT, protocol="jsrt-247")
    assert reason(whole, protocol="jafroc") == "false positives over other images"
    boxes = replace(POINT, hit_rule="IoU above 0.2", hit_rule_kind="iou", max_distance_mm=None)
    assert reason(boxes, kind="iou") == "IoU limits not compared"


def test_a_protocol_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="protocol is 'jsrt'; choose from paper, jsrt-140"):
        comparable("jsrt", "center", 25.0, True)
