"""The nouns: the mathematics of boxes, and one tree of errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrcad import core
from cxrcad.core import Box, Case, CxrcadError, Nodule, Radiograph, Source, UsageError, counted

SIDES = st.integers(-50, 50)
BOXES = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), SIDES, SIDES, st.integers(1, 40), st.integers(1, 40))


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [(0, "finding", "0 findings"), (1, "image", "1 image"), (2, "phantom scan", "2 phantom scans")],
)
def test_one_is_counted_without_an_s(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_a_box_has_the_area_between_its_edges() -> None:
    assert Box(2, 3, 5, 7).area == 12
    assert Box(2.5, 3, 3, 3.5).area == 0.25


def test_an_empty_or_turned_box_has_no_area() -> None:
    assert Box(2, 3, 2, 7).area == 0
    assert Box(5, 3, 2, 7).area == 0
    assert Box(5, 7, 2, 3).area == 0


def test_the_centre_lies_between_the_edges() -> None:
    assert Box(0, 0, 1, 1).center == (0.5, 0.5)
    assert Box(812, 640, 903, 733).center == (857.5, 686.5)


def test_overlap_of_two_boxes_that_share_a_third() -> None:
    # 2 x 2 boxes one column apart: 2 shared of 6 covered.
    assert Box(0, 0, 2, 2).iou(Box(1, 0, 3, 2)) == pytest.approx(1 / 3)


def test_a_box_inside_another_overlaps_by_its_part_of_the_area() -> None:
    assert Box(0, 0, 10, 10).iou(Box(2, 2, 7, 4)) == pytest.approx(0.1)


def test_boxes_that_only_touch_do_not_overlap() -> None:
    assert Box(0, 0, 2, 2).iou(Box(2, 0, 4, 2)) == 0
    assert Box(0, 0, 2, 2).iou(Box(2, 2, 4, 4)) == 0


def test_boxes_apart_on_both_axes_do_not_overlap() -> None:
    # Both differences are negative: their product must not pass for a shared area.
    assert Box(0, 0, 1, 1).iou(Box(5, 5, 6, 6)) == 0


def test_an_empty_box_overlaps_nothing_not_even_itself() -> None:
    assert Box(1, 1, 1, 1).iou(Box(1, 1, 1, 1)) == 0
    assert Box(1, 1, 1, 1).iou(Box(0, 0, 2, 2)) == 0


@given(BOXES, BOXES)
def test_overlap_is_symmetric_between_0_and_1_and_1_for_equal_boxes_only(one: Box, other: Box) -> None:
    assert one.iou(other) == other.iou(one)
    assert 0 <= one.iou(other) <= 1
    assert (one.iou(other) == 1) == (one == other)


def test_a_radiograph_has_the_rows_and_columns_of_its_pixels() -> None:
    source = Source(path="a.png", format="PNG", sha256="0" * 64)
    radiograph = Radiograph(np.zeros((3, 5), np.float32), None, None, None, source)
    assert (radiograph.rows, radiograph.cols) == (3, 5)
    assert (source.uids, source.notes) == ({}, ())


def test_a_case_is_positive_when_it_holds_a_nodule() -> None:
    normal = Case(name="JPCNN001", image=Path("JPCNN001.IMG"), rows=2048, cols=2048)
    assert not normal.positive
    assert dataclasses.replace(normal, nodules=(Nodule(x_px=1.5, y_px=2.5),)).positive


def test_nouns_are_frozen() -> None:
    nouns = [item for item in vars(core).values() if dataclasses.is_dataclass(item)]
    assert {"Radiograph", "Case", "Nodule", "Finding", "Result"} <= {item.__name__ for item in nouns}
    assert all(item.__dataclass_params__.frozen for item in nouns)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Box(0, 0, 1, 1).x0 = 2  # type: ignore[misc]


def test_every_error_is_of_one_tree_and_only_usage_exits_with_2() -> None:
    errors = [item for item in vars(core).values() if isinstance(item, type) and issubclass(item, Exception)]
    assert len(errors) == 14
    assert all(issubclass(item, CxrcadError) for item in errors)
    assert [item for item in errors if item.exit_code != 1] == [UsageError]


def test_all_names_everything_public() -> None:
    defined = {name for name, item in vars(core).items() if getattr(item, "__module__", None) == core.__name__}
    assert defined | {"Outcome"} == set(core.__all__)  # a union has no module of its own
