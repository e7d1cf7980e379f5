"""Backgrounds: the NIH layout and JSRT's, brought to one grid; those without a lung mask are named and left out."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import DataError
from cxrcad.synthesis.backgrounds import read_background, read_backgrounds, to_jsrt_grid


def test_a_folder_in_the_nih_layout(nih_folder):
    found = read_backgrounds(nih_folder)
    assert [background.image.name for background in found.backgrounds] == ["00.png", "01.png", "02.png", "03.png"]
    assert found.notes == ("left out, without a usable lung mask: 04.png, 05.png (2 of 6)",)
    assert found.column == "nih_file"
    second = found.backgrounds[1]
    assert (second.patient, second.age, second.sex, second.view, second.role) == ("101", "41", "Female", "PA", "normal")
    assert second.spacing_mm == (5.6, 5.6)


def test_the_radiograph_and_its_lungs_come_to_1024_pixels_of_035_mm(nih_folder):
    image, lung = read_background(read_backgrounds(nih_folder).backgrounds[2])
    assert image.shape == lung.shape == (1024, 1024)
    assert (image.dtype, lung.dtype) == (np.float32, np.bool_)
    rows, cols = np.nonzero(lung)  # 64 pixels of 5.6 mm are 1024 of 0.35 mm: 16 to each
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (8 * 16, 56 * 16 - 1, 6 * 16, 58 * 16 - 1)
    assert image[500, 250] == 62
    assert image[500, 20] == 150


def test_the_normals_of_a_folder_in_jsrts_layout(disc_data):
    found = read_backgrounds(disc_data)
    assert [background.image.stem for background in found.backgrounds] == [f"JPCNN{i:03d}" for i in range(1, 6)]
    assert (found.column, found.notes) == ("background", ())
    assert (found.backgrounds[0].patient, found.backgrounds[0].sex, found.backgrounds[0].age) == (
        *("JPCNN001", "Female"),
        "50",
    )
    image, lung = read_background(found.backgrounds[1])
    assert lung.sum() == 44 * 40 * 16**2  # the union of both masks
    assert image[500, 10] == 200
    assert image[500, 500] == 40


@pytest.mark.parametrize(
    ("shape", "spacing", "rows", "cols"), [((512, 512), (0.7, 0.7), 1024, 1024), ((512, 512), (0.35, 0.7), 512, 1024)]
)
def test_the_grid_pads_what_is_smaller_about_the_centre(shape, spacing, rows, cols):
    mask = to_jsrt_grid(np.ones(shape, bool), spacing, order=0) > 0.5
    assert (mask.any(1).sum(), mask.any(0).sum()) == (rows, cols)
    assert np.flatnonzero(mask.any(1))[0] == (1024 - rows) // 2
    assert (to_jsrt_grid(np.full(shape, 7.0), spacing) == 7).all()  # an image repeats its edge


def test_the_grid_cuts_what_is_larger_about_the_centre():
    image = np.zeros((2048, 2048), np.uint8)
    image[1024, 1024] = 1
    assert np.argwhere(to_jsrt_grid(image, (0.35, 0.35), order=0)).tolist() == [[512, 512]]


def test_without_a_mask_at_all(nih_folder):
    shutil.rmtree(nih_folder / "lungs")
    with pytest.raises(DataError, match=r"nih: none of its 6 backgrounds has a usable lung mask; put masks of the"):
        read_backgrounds(nih_folder)


def test_a_mask_of_another_form(nih_folder):
    Image.fromarray(np.full((64, 40), 255, np.uint8)).save(nih_folder / "lungs" / "01.png")
    with pytest.raises(DataError, match=r"01\.png: its sides are not in proportion to its image's; draw it on"):
        read_backgrounds(nih_folder)


def test_images_that_are_missing(nih_folder):
    (nih_folder / "02.png").unlink()
    with pytest.raises(DataError, match=r"nih: 1 of 4 images are missing: 02\.png; copy them there \(docs/DATA\.md"):
        read_backgrounds(nih_folder)


def test_folders_and_tables_that_are_none(nih_folder, tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere: there is no such folder; --backgrounds takes one in the NIH layout"):
        read_backgrounds(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: neither metadata\.csv \(the NIH layout\) nor CLNDAT_EN\.txt \(JSRT's"):
        read_backgrounds(tmp_path / "empty")
    table = nih_folder / "metadata.csv"
    table.write_text(table.read_text().replace("5.6,5.6,good", "5.6,wide,good", 1))
    with pytest.raises(DataError, match=r"metadata\.csv, row 1 \(line 2\): spacing_col_mm is 'wide', where a pixel's"):
        read_backgrounds(nih_folder)
    table.write_text("file,role\n00.png,normal\n")
    with pytest.raises(DataError, match=r"metadata\.csv: no column patient, view, age, sex, spacing_row_mm"):
        read_backgrounds(nih_folder)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (
            "01.png",
            r"row 3 \(line 4\): 01\.png stands in row 2 \(line 3\) already, where one row is needed; remove one",
        ),
        ("./01.png", r"row 3 \(line 4\): \./01\.png stands in row 2 \(line 3\) already"),
        (
            "../nih/02.png",
            r"row 3 \(line 4\): file is '\.\./nih/02\.png', where a file's path inside its folder \(not abs",
        ),
        ("/etc/02.png", r"row 3 \(line 4\): file is '/etc/02\.png', where a file's path inside its folder \(not abs"),
    ],
)
def test_each_row_names_a_file_of_its_own_inside_the_folder(nih_folder: Path, file: str, sentence: str) -> None:
    table = nih_folder / "metadata.csv"
    table.write_text(table.read_text().replace("\n02.png", f"\n{file}"))
    with pytest.raises(DataError, match=rf"metadata\.csv, {sentence}"):
        read_backgrounds(nih_folder)


def test_the_packaged_table_serves_where_the_folder_has_none(nih_folder, tmp_path):
    table = (nih_folder / "metadata.csv").rename(tmp_path / "packaged.csv")
    assert len(read_backgrounds(nih_folder, table).backgrounds) == 4
