"""Bars and fold points: the numbers that are drawn, counted by hand, and the files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cxrcad.core import UsageError
from cxrcad.evaluation.statistics import wilson
from cxrcad.evaluation.subgroups import strata
from cxrcad.report.drawing.subgroups import Point, drawn_folds, plot_bars, plot_folds


def of_kind(fold, kind):
    return [one for one in strata([fold]) if one.kind == kind]


def test_a_bar_is_recall_at_the_threshold_with_wilson_s_interval(crafted, tmp_path):
    """Subtlety 1: one of two found at 0.5; subtlety 5: one of one."""
    bars = of_kind(crafted.fold(), "subtlety")
    assert [(bar.name, bar.recall, bar.interval, bar.hits, bar.n_nodules) for bar in bars] == [
        ("1", 0.5, wilson(1, 2), 1, 2),
        ("5", 1.0, wilson(1, 1), 1, 1),
    ]
    assert [round(end, 4) for end in bars[0].interval] == [0.0945, 0.9055]


def test_a_kind_of_which_nothing_is_known_is_refused(crafted, tmp_path):
    assert of_kind(crafted.fold(), "malignancy") == []
    with pytest.raises(UsageError, match="there is no stratum of kind malignancy to draw"):
        plot_bars([], [tmp_path / "a.png"], "", "malignancy")


def test_folds_are_points_and_the_pooled_counts_the_last_one(crafted):
    """Each fold: 2 of 3 nodules, 2 false positives in 4 images; at 0.85 one of 3 and none."""
    model = replace(crafted.fold().context.model, threshold=0.85)
    points = drawn_folds({"run": [crafted.fold(1), crafted.fold(2, model=model)], "single": [crafted.fold()]})
    assert points == (
        Point("run", 1, 0.5, 2 / 3, *wilson(2, 3)),
        Point("run", 2, 0.0, 1 / 3, *wilson(1, 3)),
        Point("run", None, 0.25, 0.5, *wilson(3, 6)),
        Point("single", 3, 0.5, 2 / 3, *wilson(2, 3)),
    )


def test_false_positives_of_the_normals_axis_are_counted_over_normal_images(crafted):
    (point,) = drawn_folds({"run": [crafted.fold(fp_axis="normals")]})
    assert point.fp_per_image == 1.0


def test_both_plots_hold_their_words_and_give_the_same_bytes_twice(crafted, tmp_path):
    folds = {"run": [crafted.fold(1), crafted.fold(2)], "other": [crafted.fold()]}
    strata_drawn = of_kind(crafted.fold(), "subtlety")
    for name in ("a", "b"):
        plot_bars(strata_drawn, [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"], "what it rests on")
        plot_folds(folds, [tmp_path / f"{name}-folds.svg", tmp_path / f"{name}-folds.png"], "what it rests on")
    for ending in (".svg", ".png", "-folds.svg", "-folds.png"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    bars, points = (tmp_path / "a.svg").read_text(), (tmp_path / "a-folds.svg").read_text()
    for words in ("n = 2", "n = 1", "50 %", "subtlety (1 extremely subtle, 5 obvious)", "what it rests on"):
        assert f"<!-- {words} -->" in bars
    assert "<!-- dashed: all 3 nodules, 66.7 %; whiskers: Wilson's 95 % interval -->" in bars
    assert "<!-- run (large: all folds pooled, with Wilson's 95 % interval) -->" in points
    assert "<!-- other (one fold, with Wilson's 95 % interval) -->" in points
    assert "<!-- fold 1, 2 -->" in points, "both stand in one place"


def test_no_fold_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no fold to draw"):
        plot_folds({}, [tmp_path / "a.png"], "")
