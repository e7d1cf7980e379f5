"""`cxrcad info DATA`: the facts of a data set by hand, and its contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.commands.info import describe_path, describe_paths
from cxrcad.core import UsageError
from cxrcad.datasets.read import read_dataset
from cxrcad.report.drawing.contact_sheet import MOST, chosen_for_sheet
from cxrcad.report.drawing.marks import TRUTH


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Two patients, one unknown; boxes of 10 x 10, 20 x 30 and 40 x 40 pixels, one image with a spacing of 0.5 mm."""
    folder = tmp_path / "SET"
    folder.mkdir()
    for name, size in (("a.png", (100, 80)), ("b.png", (100, 80)), ("c.png", (64, 64)), ("d.png", (64, 64))):
        image = np.full(size[::-1], 90, np.uint8)
        image[-1, -4:] += np.arange(1, 5, dtype=np.uint8)  # of one value it would be taken for a mask
        Image.fromarray(image).save(folder / name)
    rows = (
        "a.png,10,10,20,20,nodule,1,0.5,0.5",
        "a.png,30,30,50,60,mass,1,0.5,0.5",
        "b.png,,,,,,1,,",
        "c.png,10,10,50,50,nodule,2,,",
        "d.png,,,,,,,,",
    )
    head = "file,x0,y0,x1,y1,label,patient,spacing_row_mm,spacing_col_mm"
    (folder / "boxes.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "lungs").mkdir()
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(folder / "lungs" / "c.png")
    return folder


def test_the_facts_of_a_data_set(boxes):
    facts = json.loads(describe_path(boxes, as_json=True))
    notes = facts.pop("notes")
    assert facts == {
        "kind": "data set",
        "path": str(boxes),
        "layout": "boxes",
        "lesion": "nodule",
        "images": 4,
        "with_lesion": 2,
        "without_lesion": 2,
        "lesions": {"nodule": 2, "mass": 1},
        "diameter_mm": {"known": 2, "quantiles": [5.0, 6.9, 8.8, 10.6, 12.5]},
        "diameter_px": {"known": 3, "quantiles": [10.0, 17.5, 25.0, 32.5, 40.0]},
        "patients": 2,
        "of_unknown_patient": 1,
        "image_sizes": {"100 x 80": 2, "64 x 64": 2},
        "formats": {"png": 4},
        "views": {"unknown": 4},
        "spacing_mm": {"known": 1, "least": 0.5, "largest": 0.5},
        "lung_masks": 1,
    }
    assert any("no lung mask" in note for note in notes)
    lines = describe_path(boxes).splitlines()
    assert "lesions            nodule 2; mass 1" in lines
    assert "diameter px        least 10, quarter 17.5, median 25, three quarters 32.5, largest 40 (of 3)" in lines


def test_other_layouts_are_told_too(disc_data, effusion_data):
    facts = json.loads(describe_path(disc_data, as_json=True))
    assert (facts["layout"], facts["images"], facts["lesions"], facts["lung_masks"]) == ("JSRT", 15, {"nodule": 10}, 15)
    assert facts["diameter_mm"] == {"known": 10, "quantiles": [36.0] * 5}
    facts = json.loads(describe_path(effusion_data, as_json=True))
    assert (facts["lesion"], facts["lesions"], facts["diameter_px"]) == ("effusion", {"effusion": 10}, None)


def test_a_sheet_shows_each_image_with_its_lesions(boxes, tmp_path, cxrcad):
    answer = cxrcad("info", boxes, "--sheet", "sheet.png")
    assert answer.code == 0, answer.err
    assert answer.err == "written: sheet.png\n"
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    assert sheet.shape == (4 + 292, 4 + 4 * 292, 3)
    green = [(sheet[:, 4 + 292 * tile : 292 * (tile + 1)] == TRUTH).all(-1).any() for tile in range(4)]
    assert green == [True, True, False, False]  # a and c have lesions, b and d come after them


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_drawn(boxes, tmp_path, cxrcad):
    whole = (boxes / "c.png").read_bytes()
    (boxes / "c.png").write_bytes(whole[: len(whole) // 2])
    answer = cxrcad("info", boxes, "--sheet", "sheet.png")
    assert answer.code == 0, answer.err
    assert f"not on the sheet: {boxes / 'c.png'}" in answer.err
    assert (tmp_path / "sheet.png").is_file()


def test_a_sheet_is_of_one_data_folder_and_a_png(boxes, tmp_path):
    with pytest.raises(UsageError, match=r"--sheet s.png: is of one data folder .*, and .*c.png is none; name one"):
        describe_paths([boxes / "c.png"], False, print, Path("s.png"))
    with pytest.raises(UsageError, match=r"--sheet s.jpg: a contact sheet is a PNG file"):
        describe_paths([boxes], False, print, tmp_path.relative_to(tmp_path) / "s.jpg")


def test_of_many_images_a_sheet_takes_both_kinds_evenly(tiny_data, monkeypatch):
    dataset = read_dataset(tiny_data)
    assert len(chosen_for_sheet(dataset)) == len(dataset.cases) < MOST
    monkeypatch.setattr("cxrcad.report.drawing.contact_sheet.MOST", 12)
    names = [case.name for case in chosen_for_sheet(dataset)]
    assert [name[:4] for name in names] == ["OXLN"] * 8 + ["OXNN"] * 4
    assert names[0] == "OXLN001"
    assert names[7] == "OXLN018"
