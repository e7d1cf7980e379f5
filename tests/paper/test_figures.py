"""Figures 6-8: rules and counts on crafted folds, answers by hand; pages and pictures from toy models on phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.commands.reproduce import reproduce
from cxrcad.config import FindConfig, ReproduceConfig, TrainConfig, build, to_toml
from cxrcad.core import Box, Case, Finding, ModelIdentity, Nodule
from cxrcad.datasets.folds import make_folds, save_folds
from cxrcad.datasets.read import read_dataset
from cxrcad.evaluation.matching import HitRule, match_image
from cxrcad.evaluation.records import FoldResult, ScoredImage, ScoringContext
from cxrcad.paper.case_selection import (
    Outside,
    count_found,
    count_outside,
    first_seed,
    least_overlapping,
    most_outside,
    overlaps,
    scenes_of,
    sides_of,
    surest,
)
from cxrcad.paper.cells import ITEMS
from cxrcad.paper.figures import draw_item
from cxrcad.paper.jobs import DONE, Job, Record, ScoredJob, plan
from cxrcad.paper.results import cell_results, pairs_of
from cxrcad.report.drawing.case_views import OUTLINE, WRONG
from cxrcad.report.drawing.marks import BELOW, REPORTED, TRUTH

SINGLE, MULTI = "mo-segnet-single", "mo-segnet-multi"
THRESHOLDS = {SINGLE: 0.8, MULTI: 0.5}

LEFT = 200.0
"""The crafted lungs: what lies left of this column, pixels."""


def found(score: float, x: float, y: float = 100, side: float = 20) -> Finding:
    box = Box(x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return Finding("nodule", score, box, (x, y), side * side)


def fold(cell: str, images: dict[str, tuple[tuple[Nodule, ...], tuple[Finding, ...]]], masked: bool = True):
    """A fold of images of 400 x 400 pixels of 0.5 mm, at the cell's threshold."""
    context = ScoringContext(
        "DATA", "paper", HitRule(), ModelIdentity(cell, "0" * 64, THRESHOLDS[cell], "CPU"), "net", "x", "v", 1
    )
    scored_images, matches = [], []
    for name, (nodules, findings) in images.items():
        case = Case(name, Path(f"{name}.png"), 400, 400, (0.5, 0.5), nodules)
        places = tuple(finding.center_px[0] < LEFT if masked else None for finding in findings)
        scored_images.append(ScoredImage(case, "", findings, places))
        matches.append(match_image(case, findings, context.rule, (lambda x, y: x < LEFT) if masked else None))
    return FoldResult(context, tuple(matches), (None,) * len(matches), (), tuple(scored_images))


def scored(cell: str, result: FoldResult | None, seed: int = 0, number: int = 1) -> ScoredJob:
    return ScoredJob(Job((cell,), number, seed, Path(f"out/{cell}-s{seed}"), TrainConfig()), Record(DONE), result)


def scenes(single, multi, **kind):
    results = (scored(SINGLE, fold(SINGLE, single, **kind)), scored(MULTI, fold(MULTI, multi, **kind)))
    first, second = cell_results(ITEMS["figure6"], results, 0, 0)
    return scenes_of(first, second, 0)


NODULE = (Nodule(100, 100, 20.0, subtlety=2),)


# Which folds face each other


def test_the_lowest_seed_that_every_cell_has_and_the_folds_that_both_have():
    def result(cell, name):
        return fold(cell, {name: (NODULE, ())})

    results = [
        scored(SINGLE, result(SINGLE, "A"), 0, 1),
        scored(SINGLE, result(SINGLE, "B"), 1, 2),
        scored(SINGLE, result(SINGLE, "C"), 1, 1),
        scored(MULTI, result(MULTI, "C"), 1, 1),
        scored(MULTI, None, 0, 1),
    ]
    single, multi = cell_results(ITEMS["figure6"], results, 0, 0)
    assert first_seed([single, multi]) == 1
    assert [side.scored_image.case.name for side in sides_of(single, 1)] == ["C", "B"]
    assert [scene.case.name for scene in scenes_of(single, multi, 1)] == ["C"]
    assert first_seed([single]) == 0
    assert first_seed(cell_results(ITEMS["figure6"], results[:3], 0, 0)) is None


# Figure 6

# Reported from 0.8 (single) and 0.5 (multiple): outside the lungs 1, 2, 0, 1, 2 against 1, 0, 1, 0, 0.
SINGLES = {
    "E": (NODULE, (found(0.9, 300), found(0.95, 40))),
    "D": (NODULE, (found(0.9, 300), found(0.8, 380), found(0.79, 340))),
    "C": (NODULE, (found(0.7, 300),)),
    "B": (NODULE, (found(0.9, 300), found(0.99, 100))),
    "A": (NODULE, (found(0.9, 300), found(0.9, 360))),
}
MULTIS = {
    "E": (NODULE, (found(0.5, 300),)),
    "D": (NODULE, (found(0.9, 40),)),
    "C": (NODULE, (found(0.6, 300),)),
    "B": (NODULE, ()),
    "A": (NODULE, ()),
}


def test_false_positives_outside_the_lungs_are_counted_over_all_images():
    assert count_outside(scenes(SINGLES, MULTIS)) == Outside(
        images=5, single=6, multi=2, single_images=4, multi_images=2, fewer=3, more=1, unplaced=0
    )


def test_the_picture_takes_the_largest_reductions_first_and_hides_no_case_without_one():
    shown = most_outside(scenes(SINGLES, MULTIS), 6)
    assert [scene.case.name for scene in shown] == ["A", "D", "B", "E"], (
        "2, 2, 1, 0 fewer; in C the single task has none"
    )
    assert [scene.case.name for scene in most_outside(scenes(SINGLES, MULTIS), 2)] == ["A", "D"]


def test_without_lung_masks_nothing_is_outside_and_it_is_told():
    counts = count_outside(scenes(SINGLES, MULTIS, masked=False))
    assert (counts.single, counts.multi, counts.unplaced) == (0, 0, 7 + 3)
    assert most_outside(scenes(SINGLES, MULTIS, masked=False), 6) == ()


def page(name: str, single, multi, tmp_path) -> tuple[str, dict]:
    item = ITEMS[name]
    results = (scored(SINGLE, fold(SINGLE, single)), scored(MULTI, fold(MULTI, multi)))
    rows = cell_results(item, [one for one in results if one.job.cells[0] in {c.name for c in item.cells}], 200, 0)
    drawn = draw_item(item, rows, pairs_of(item, rows, 200, 0), tmp_path / "f.png")
    json.dumps(drawn.document, allow_nan=False)
    return "\n".join(drawn.lines), drawn.document["picture"]


def test_figure_6_says_its_rule_and_both_directions(tmp_path):
    text, document = page("figure6", SINGLES, MULTIS, tmp_path)
    assert "(seed 0, fold 1: 5 images)" in text
    assert "fewer than the single-task one in 3 images, more in 1, as many in 1." in text
    assert "Multiple less single, per image: -0.80 [" in text
    assert "Selection rule: of the 4 images with a false positive of the single-task network outside" in text
    row = next([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:4] == "| E ")
    assert row == ["E", "1", "20 mm, subtlety 2", "1", "1", "0", "1", "0", "0"]
    assert [one["case"] for one in document["drawn"]] == ["A", "D", "B", "E"]
    assert document["counts"]["more"] == 1
    assert document["multi_less_single_an_image"]["difference"]["value"] == pytest.approx(-0.8)
    # The crafted images are not on the disk: each case is named, and there is no picture.
    assert text.count(" is left out of the picture: ") == 4
    assert text.endswith("No picture: no case can be read.")
    assert document["file"] is None


# Figure 7

TWO = (Nodule(100, 100, 20.0, subtlety=3), Nodule(300, 300, 10.0))
ON, ON_SECOND = 100, 300


def test_nodules_are_counted_by_who_hits_them_at_its_threshold():
    """The first nodule of A: both; its second: single. B: multiple only, single at 0.79. C: neither. D: multiple."""
    single = {
        "A": (TWO, (found(0.9, ON), found(0.8, ON_SECOND, 300))),
        "B": (NODULE, (found(0.79, ON),)),
        "C": (NODULE, (found(0.99, 300),)),
        "D": (NODULE, ()),
    }
    multi = {
        "A": (TWO, (found(0.9, ON), found(0.4, ON_SECOND, 300))),
        "B": (NODULE, (found(0.5, ON),)),
        "C": (NODULE, (found(0.49, ON),)),
        "D": (NODULE, (found(0.6, ON),)),
    }
    counts = count_found(scenes(single, multi))
    assert (counts.both, counts.neither) == (1, 1)
    assert [(one.scene.case.name, one.nodule) for one in counts.single_only] == [("A", 1)]
    assert [one.scene.case.name for one in counts.multi_only] == ["B", "D"]
    assert counts.p == 1.0, "2 against 1 of 3: P(0..3) = 1"
    assert [one.scene.case.name for one in surest(counts.multi_only, 6)] == ["D", "B"]
    assert [one.scene.case.name for one in surest(counts.multi_only, 1)] == ["D"]


@pytest.mark.parametrize(("multi", "single", "p"), [(6, 0, 0.03125), (4, 1, 0.375), (0, 0, None)])
def test_mcnemars_exact_p(multi, single, p):
    """Two-sided binomial tails: 2 / 2^6; 2 (1 + 5) / 2^5."""
    hit, none = (NODULE, (found(0.9, ON),)), (NODULE, ())
    names = [f"M{i}" for i in range(multi)], [f"S{i}" for i in range(single)]
    mine = {**dict.fromkeys(names[0], none), **dict.fromkeys(names[1], hit), "X": none}
    theirs = {**dict.fromkeys(names[0], hit), **dict.fromkeys(names[1], none), "X": none}
    counts = count_found(scenes(mine, theirs))
    assert (len(counts.multi_only), len(counts.single_only), counts.neither) == (multi, single, 1)
    assert counts.p == (None if p is None else pytest.approx(p))


def test_figure_7_lists_every_nodule_that_tells_the_two_apart(tmp_path):
    hit, none = (NODULE, (found(0.9, ON),)), (NODULE, ())
    single = {**{f"M{i}": none for i in range(7)}, "S": hit}
    multi = {**{f"M{i}": hit for i in range(7)}, "S": (NODULE, (found(0.3, ON),))}
    text, document = page("figure7", single, multi, tmp_path)
    assert "both 0, neither 0, the multi-task network alone 7, the single-task network alone 1; McNemar's" in text
    assert "McNemar's exact p 0.0703." in text, "2 (1 + 8) / 2^8"
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if " only " in line]
    assert lines[0] == [*("multiple only", "M0", "1", "20 mm, subtlety 2", "no finding (0.80)", "0.90 (0.50)", "yes")]
    assert [line[-1] for line in lines] == ["yes"] * 6 + ["no", "no"]
    assert lines[-1][:2] == ["single only", "S"]
    assert lines[-1][4:6] == ["0.90 (0.80)", "0.30 (0.50)"]
    assert [one["drawn"] for one in document["multi_only"]] == [True] * 6 + [False]


# Figure 8


def test_overlaps_are_those_of_reported_hits_and_the_least_are_drawn():
    """True boxes of 40 x 40 (discs of 20 mm): our squares inside them of 20, 40 and 10 pixels have 1/4, 1 and 1/16."""
    multi = {
        "A": (NODULE, (found(0.9, ON, side=20),)),
        "B": (NODULE, (found(0.9, ON, side=40), found(0.8, 300))),
        "C": (NODULE, (found(0.6, ON, side=10),)),
        "D": (NODULE, (found(0.4, ON, side=5),)),
        "E": ((Nodule(100, 100, 20.0, box_px=Box(90, 90, 110, 110)),), (found(0.7, ON, side=20),)),
    }
    (row,) = cell_results(ITEMS["figure8"], [scored(MULTI, fold(MULTI, multi))], 0, 0)
    values, unknown = overlaps(sides_of(row, 0))
    assert [(one.side.scored_image.case.name, one.iou, one.exact) for one in values] == [
        ("A", 0.25, False),
        ("B", 1.0, False),
        ("C", 0.0625, False),
        ("E", 1.0, True),
    ]
    assert unknown == 0
    assert [one.side.scored_image.case.name for one in least_overlapping(values, 3)] == ["C", "A", "B"]


def test_figure_8_says_what_the_truth_is(tmp_path):
    exact = (Nodule(100, 100, 20.0, box_px=Box(90, 90, 110, 110)),)
    disc, box = {"A": (NODULE, (found(0.9, ON),))}, {"A": (exact, (found(0.9, ON, side=10),))}
    text, document = page("figure8", disc, disc, tmp_path)
    assert "gives centre and size of 1 of these nodules and no box: theirs is that of a disc" in text
    assert "the network errs" not in text
    assert document["iou"]["mean"] == 0.25
    text, document = page("figure8", box, box, tmp_path)
    assert "boxes.csv gives the nodules' extent, so the true boxes are exact" in text
    assert "the network errs, not the label" in text
    assert document["iou"]["median_area_ratio"] == 0.25
    text, _ = page("figure8", {}, {"A": (NODULE, ())}, tmp_path)
    assert "There is no hit on a nodule of known size" in text
    assert text.endswith("No picture: there is no such case.")


@pytest.mark.parametrize(("columns", "told"), [("file,patient,nodule", True), ("file,patient,view", False)])
def test_a_simulated_set_is_known_by_its_sources(tmp_path, columns, told):
    (tmp_path / "sources.csv").write_text(f"{columns}\n1,2,3\n")
    exact = (Nodule(100, 100, 20.0, box_px=Box(90, 90, 110, 110)),)
    result = fold(MULTI, {"A": (exact, (found(0.9, ON),))})
    own = Job((MULTI,), 1, 0, Path("out/x"), build(TrainConfig, {"data": str(tmp_path)}))
    rows = cell_results(ITEMS["figure8"], [ScoredJob(own, Record(DONE), result)], 0, 0)
    text = "\n".join(draw_item(ITEMS["figure8"], rows, (), tmp_path / "f.png").lines)
    assert ("The nodules were put into these images (sources.csv)" in text) is told


# The command, with toy models


@pytest.fixture(scope="module")
def made(disc_data, make_toy, tmp_path_factory):
    """Finished runs of both cells on five folds of the discs: nodules are 240 and score 1, the fainter discs 0.8.

    The single-task model reports from 0.5, so it has the fainter discs too, which lie outside the lungs in every second
    case; the multi-task one reports from 0.9.
    """
    values = {"data": str(disc_data), "out": str(tmp_path_factory.mktemp("reproduction")), "threads": 1}
    config = build(ReproduceConfig, {**values, "device": "cpu"})
    dataset = read_dataset(disc_data)
    for job in plan(ITEMS["figure6"], config):
        save_folds(job.run / "folds.json", make_folds(dataset, 2020), dataset)
        single = job.cells == (SINGLE,)
        outputs = ("lesion",) if single else ("lesion", "lung")
        make_toy(job.folder / "model", outputs=outputs, threshold=0.5 if single else 0.9)
        (job.folder / "config.toml").write_text(to_toml(job.config))
    return config


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture)


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((pixels == colour).all(axis=2).any())


def test_figure_6_is_drawn_from_the_cells_of_table_2(made):
    done = reproduce("figure6", made)
    assert (done.jobs, done.failed) == (10, 0)
    assert {job.key for job in plan(ITEMS["figure6"], made)} < {job.key for job in plan(ITEMS["table2"], made)}
    assert "fewer than the single-task one in 5 images, more in 0, as many in 5." in done.text
    document = json.loads((made.out / "figure6.json").read_text())
    names = [f"JPCLN{number:03d}" for number in (2, 4, 6, 8, 10)]
    assert [one["case"] for one in document["picture"]["drawn"]] == names
    assert document["picture"]["left_out"] == []
    assert (made.out / "figure6.md").read_text() == done.text
    pixels = pixels_of(made.out / "figure6.png")
    assert pixels.shape[1] == 1500
    assert pixels.shape[0] > 5 * 480
    third = pixels.shape[1] // 3
    assert has(pixels[:480, third : 2 * third], WRONG), "the false positive of the single task"
    assert not has(pixels[:480, 2 * third :], WRONG)
    assert has(pixels[:480, 2 * third :], REPORTED), "the hit of the multiple task"
    assert has(pixels[:480, :third], TRUTH)
    assert has(pixels[:480, :third], OUTLINE)
    before = (made.out / "figure6.png").read_bytes()
    reproduce("figure6", made)
    assert (made.out / "figure6.png").read_bytes() == before


def test_figures_7_and_8_are_drawn_and_an_old_picture_goes(made, make_toy):
    """From now on the single-task model has no finding: all its candidates are smaller than the least area."""
    text = reproduce("figure7", made).text
    assert "both 10, neither 0, the multi-task network alone 0, the single-task network alone 0; no nodule" in text
    assert not (made.out / "figure7.png").exists()
    large = FindConfig(threshold=0.5, min_area_mm2=1e5)
    for job in plan(ITEMS["figure7"], made):
        if job.cells == (SINGLE,):
            make_toy(job.folder / "model", outputs=("lesion",), find=large)
    text = reproduce("figure7", made).text
    assert "the multi-task network alone 10, the single-task network alone 0; McNemar's exact p 0.0020." in text
    pixels = pixels_of(made.out / "figure7.png")
    assert has(pixels, REPORTED)
    assert not has(pixels, BELOW)
    assert "over 10 hits (seed 0, folds 1, 2, 3, 4, 5: 10 images)" in reproduce("figure8", made).text
    assert pixels_of(made.out / "figure8.png").shape[1] == 1500
    reproduce("figure6", made)
    assert not (made.out / "figure6.png").exists(), "there is no such case any more"


def test_a_cell_that_has_not_run_has_no_picture(disc_data, make_toy, tmp_path):
    values = {"data": str(disc_data), "out": str(tmp_path), "threads": 1, "device": "cpu", "folds": "3", "cells": MULTI}
    config = build(ReproduceConfig, values)
    (job,) = plan(ITEMS["figure6"], config)
    dataset = read_dataset(disc_data)
    save_folds(job.run / "folds.json", make_folds(dataset, 2020), dataset)
    make_toy(job.folder / "model")
    (job.folder / "config.toml").write_text(to_toml(job.config))
    for name in ("figure6", "figure7"):
        (tmp_path / f"{name}.png").write_bytes(b"old")
        done = reproduce(name, config)
        assert done.failed == 0
        assert "No picture: there is no result of mo-segnet-single." in done.text
        assert "| Single   | MO-SegNet | ours           | not run" in done.text
        assert not (tmp_path / f"{name}.png").exists()
