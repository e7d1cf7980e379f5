"""The gallery: which crops are taken, their captions, and what becomes of an image that is gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import Box, Case, Nodule
from cxrcad.report.drawing.crops import crop_px, truth_box_px, write_crop
from cxrcad.report.drawing.marks import BELOW, REPORTED, TRUTH
from cxrcad.report.gallery import chosen, gallery


def shown(crops):
    return [(crop.group, crop.title, crop.caption) for crop in crops]


def test_hits_misses_and_false_positives_with_what_is_known_of_them(crafted):
    assert shown(chosen([crafted.fold()], 12)) == [
        (
            "Missed nodules, most obvious first",
            "Miss",
            "C3: nodule of 10 mm, subtlety 1; found with 0.40, below the threshold 0.50",
        ),
        (
            "False positives, highest score first",
            "False positive, 0.80",
            "N3: score 0.80, 10 mm across, in the lung fields; an image without a nodule",
        ),
        (
            "False positives, highest score first",
            "False positive, 0.60",
            "C3: score 0.60, 10 mm across, in the lung fields; nearest nodule (10 mm, subtlety 1) 20.0 mm away",
        ),
        (
            "Found nodules, best score first",
            "Hit, 0.90",
            "A3: score 0.90, 2.0 mm from the nodule's centre, IoU of the boxes 0.25; "
            "nodule: 20 mm, subtlety 5, l.upper lobe",
        ),
        (
            "Found nodules, best score first",
            "Hit, 0.70",
            "B3: score 0.70, 3.0 mm from the nodule's centre, IoU of the boxes 0.54; nodule: 10 mm, subtlety 1",
        ),
    ]


def test_of_many_hits_a_third_are_the_worst_localised_of_the_rest(crafted):
    """Six hits 0.9 ... 0.4, off by 1, 2, 3, 6, 4, 5 pixels of 0.5 mm; most 3: two best, then the 3 mm one."""
    nodule = (Nodule(200, 200, 40.0),)
    scored_images = [
        crafted.scored(f"H{number}", nodule, crafted.finding(0.9 - number / 10, 200 + off, 200))
        for number, off in enumerate((1, 2, 3, 6, 4, 5))
    ]
    model = replace(crafted.fold().context.model, threshold=0.3)
    crops = chosen([crafted.result(*scored_images, model=model)], 3)
    assert [(crop.group, crop.scored_image.case.name) for crop in crops] == [
        ("Found nodules, best score first", "H0"),
        ("Found nodules, best score first", "H1"),
        ("Found nodules, worst localised first", "H3"),
    ]


def test_a_miss_shows_the_best_finding_in_its_crop_if_there_is_one(crafted):
    """The crop reaches 60 pixels from the nodule: a finding 40 pixels off is near it, one 100 pixels off is not."""
    nodule, away, near = (Nodule(200, 200, 10.0),), crafted.finding(0.9, 300, 200), crafted.finding(0.2, 240, 200)
    scored_images = crafted.scored("far", nodule, away), crafted.scored("near", nodule, away, near)
    crops = [crop for crop in chosen([crafted.result(*scored_images)], 12) if crop.title == "Miss"]
    assert [(crop.caption, crop.finding) for crop in crops] == [
        ("far: nodule of 10 mm; nothing found near it", None),
        ("near: nodule of 10 mm; best finding near it 0.20, 20.0 mm away", near),
    ]
    assert crops[0].part == Box(140, 140, 260, 260)


def test_a_crop_is_60_mm_or_a_quarter_of_the_image_within_it_and_larger_for_large_boxes():
    case = Case("a", None, 400, 300, (0.5, 0.25))
    assert crop_px(case, [Box(148, 198, 152, 202)]) == Box(30, 140, 270, 260)
    assert crop_px(case, [Box(0, 0, 4, 4)]) == Box(0, 0, 240, 120)
    assert crop_px(replace(case, spacing_mm=None), [Box(148, 198, 152, 202)]) == Box(100, 150, 200, 250)
    assert crop_px(case, [Box(100, 150, 200, 250)]) == Box(0, 125, 300, 275), "150 x 150 pixels of 0.5 mm"
    assert truth_box_px(case, Nodule(100, 100)) is None


def test_what_is_drawn_lies_where_it_lies_in_the_crop(crafted, tmp_path):
    """120 pixels become 384: the finding's box of 20 pixels is 64 wide, its line 4 pixels off."""
    gallery([crafted.fold()], tmp_path / "out")
    with Image.open(tmp_path / "out" / "false-positive-02-C3.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape == (384, 384, 3)
    rows, cols = np.nonzero((pixels == REPORTED).all(axis=2))
    assert (cols.min(), cols.max()) == (192 - 32 - 4, 192 + 32 + 4)
    assert rows.max() == 192 + 32 + 4
    green = np.nonzero((pixels == TRUTH).all(axis=2))[1]
    assert green.max() < 192 - 40 * 3.2 + 32 + 4, "the nodule, 40 pixels to the left"
    with Image.open(tmp_path / "out" / "miss-01-C3.png") as picture:
        assert (np.asarray(picture.convert("RGB")) == BELOW).all(axis=2).any()


def test_pictures_carry_captions_and_those_of_an_earlier_call_go(crafted, tmp_path):
    (tmp_path / "hit-99-old.png").write_bytes(b"old")
    (tmp_path / "mine.png").write_bytes(b"kept")
    found = gallery([crafted.fold()], tmp_path)
    assert found.notes == []
    assert {name: [picture.path.name for picture in pictures] for name, pictures in found.groups.items()} == {
        "Found nodules, best score first": ["hit-01-A3.png", "hit-02-B3.png"],
        "Missed nodules, most obvious first": ["miss-01-C3.png"],
        "False positives, highest score first": ["false-positive-01-N3.png", "false-positive-02-C3.png"],
    }
    assert not (tmp_path / "hit-99-old.png").exists()
    assert (tmp_path / "mine.png").exists()
    first = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    gallery([crafted.fold()], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.png")} == first


def test_an_image_that_is_gone_or_changed_is_named_and_left_out(crafted, tmp_path):
    fold = crafted.fold()
    (crafted.folder / "A3.png").unlink()
    (crafted.folder / "B3.png").write_bytes(b"no picture")
    Image.linear_gradient("L").save(crafted.folder / "N3.png")
    scored_images = (*fold.scored[:2], replace(fold.scored[2], sha256="0" * 64), fold.scored[3])
    found = gallery([replace(fold, scored=scored_images)], tmp_path / "out")
    assert found.groups == {}
    changed, smaller, gone, damaged = found.notes
    assert gone.startswith("A3 is left out of the gallery: ")
    assert damaged.startswith("B3 is left out of the gallery: ")
    assert changed.endswith("C3.png: the file has changed since it was scored")
    assert smaller.endswith("N3.png: has 256 x 256 pixels, and 400 x 400 were scored")


def test_matches_without_findings_have_no_gallery(crafted, tmp_path):
    found = gallery([replace(crafted.fold(), scored=())], tmp_path)
    assert (found.groups, len(found.notes)) == ({}, 1)


@pytest.mark.parametrize("corner", [(0, 0), (399, 0), (0, 399), (399, 399)])
def test_a_score_stays_in_the_picture(crafted, tmp_path, corner):
    from cxrcad.datasets.images import read_case

    case = crafted.scored("E", ()).case
    found = crafted.finding(0.5, *corner)
    write_crop(
        read_case(case), crop_px(case, [found.box_px]), tmp_path / "a.png", finding=found, truth=(), threshold=0.5
    )
    with Image.open(tmp_path / "a.png") as picture:
        pixels = (np.asarray(picture.convert("RGB")) == REPORTED).all(axis=2)
    assert pixels.sum() > 200
