"""Reliability bins, ROC and AFROC: counted by hand, and equal to the figures of the same name."""

from __future__ import annotations

import pytest

from cxrcad.core import UsageError
from cxrcad.evaluation.bootstrap import bootstrap
from cxrcad.evaluation.statistics import wilson
from cxrcad.report.drawing.roc import (
    RANKING,
    Bin,
    Roc,
    area,
    drawn_afroc,
    drawn_reliability,
    drawn_roc,
    plot_reliability,
    plot_roc,
)


def test_findings_fall_into_tenths_of_the_score(crafted):
    """Hits at 0.9, 0.7 and 0.4, false positives at 0.8, 0.6 and 0.2; a score of 1 belongs to the last tenth."""
    assert [(one.low, one.n, one.hits, one.mean_score) for one in drawn_reliability([crafted.fold()])] == [
        (0.2, 1, 0, 0.2),
        (0.4, 1, 1, 0.4),
        (0.6, 1, 0, 0.6),
        (0.7, 1, 1, 0.7),
        (0.8, 1, 0, 0.8),
        (0.9, 1, 1, 0.9),
    ]
    nodule = crafted.fold().scored[0].case.nodules
    found = crafted.scored("D", nodule, *(crafted.finding(score, 250, 250) for score in (0.92, 0.98, 1.0)))
    hit = crafted.scored("E", nodule, crafted.finding(0.9, 100, 100), crafted.finding(0.85, 100, 101))
    assert drawn_reliability([crafted.result(found, hit)]) == (
        Bin(0.9, 1.0, 4, 1, pytest.approx(0.95), wilson(1, 4)),
    ), "the second finding on a nodule is neither"


def test_a_curve_goes_from_0_to_1_by_falling_score(crafted):
    """Images: 0.9, 0.7, 0.6 with a nodule, 0.8 without. Nodules: 0.9, 0.7, 0.4 against the normal's 0.8."""
    third = 1 / 3
    assert drawn_roc([crafted.fold()]) == Roc((0.0, 0.0, 1.0, 1.0, 1.0), (0.0, third, third, 2 * third, 1.0))
    assert drawn_afroc([crafted.fold()]) == drawn_roc([crafted.fold()])


def test_the_areas_are_the_figures_auc_and_jafroc(crafted):
    """A normal image without a finding ties with a nodule that is missed: half."""
    fold = crafted.fold()
    quiet, missed = crafted.scored("Q", ()), crafted.scored("M", fold.scored[1].case.nodules)
    result = crafted.result(*fold.scored, quiet, missed)
    figures = bootstrap([result], 0, 0)
    assert area(drawn_roc([result])) == pytest.approx(figures["image AUC"].value)
    assert area(drawn_afroc([result])) == pytest.approx(figures["JAFROC"].value)
    assert area(drawn_afroc([result])) == pytest.approx((1 + 0 + 0 + 0 + 1 + 1 + 1 + 0.5) / 8)


def test_without_normal_images_there_is_no_curve(crafted, tmp_path):
    result = crafted.result(*crafted.fold().scored[:3])
    assert drawn_roc([result]) is None
    with pytest.raises(UsageError, match="there is no ROC curve without normal images"):
        plot_roc({"run": [result]}, [tmp_path / "a.png"], "")


def test_nothing_found_is_nothing_to_draw(crafted, tmp_path):
    result = crafted.result(crafted.scored("M", crafted.fold().scored[0].case.nodules))
    assert drawn_reliability([result]) == ()
    with pytest.raises(UsageError, match="there is no finding whose score could be drawn"):
        plot_reliability([result], [tmp_path / "a.png"], "")


def test_the_plots_say_that_a_score_is_a_ranking_and_give_the_same_bytes_twice(crafted, tmp_path):
    for name in ("a", "b"):
        plot_reliability([crafted.fold()], [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"], "caption")
        plot_roc({"run": [crafted.fold()]}, [tmp_path / f"{name}-roc.svg"], "caption")
    for ending in (".svg", ".png", "-roc.svg"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    assert f"<!-- {RANKING} -->" in (tmp_path / "a.svg").read_text()
    assert "<!-- run: AFROC, nodules (area 0.333) -->" in (tmp_path / "a-roc.svg").read_text()
