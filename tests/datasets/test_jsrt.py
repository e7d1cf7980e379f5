from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import Box, DataError, UsageError
from cxrcad.datasets.read import how_to_get, read_dataset
from cxrcad.imaging.read import read_mask, read_radiograph

from .conftest import NODULES, NORMALS, Write, write_dicom, write_mask, write_png

ROW = "JPCLN001.IMG\t5\t15\t53\tFemale\t512\t1024\tmalignant\tl.upper lobe\tlung cancer"


def test_a_case_holds_image_truth_masks_and_person(jsrt: Write) -> None:
    folder = jsrt()
    dataset = read_dataset(folder)
    assert [case.name for case in dataset.cases] == ["JPCLN001", "JPCLN002", "JPCNN001", "JPCNN002"]
    assert (dataset.folder, dataset.protocol, dataset.notes) == (folder, "paper", ())
    case = dataset.cases[0]
    assert (case.image, case.rows, case.cols) == (folder / "images" / "JPCLN001.png", 64, 64)
    assert (case.age_years, case.sex, case.groups, case.view) == (53, "Female", (), None)
    assert case.lung_masks == tuple(folder / f"scr/fold1/masks/{side} lung/JPCLN001.gif" for side in ("left", "right"))
    (nodule,) = case.nodules
    assert (nodule.x_px, nodule.y_px) == (16.0, 32.0)  # 512 and 1024 of 2048, on 64
    assert (nodule.diameter_mm, nodule.subtlety, nodule.malignancy) == (15.0, 5, "malignant")
    assert (nodule.location, nodule.diagnosis) == ("l.upper lobe", "lung cancer")
    assert (nodule.box_px, nodule.in_lung) == (None, None)


def test_a_pixel_is_0175_mm_at_2048_and_grows_as_the_image_shrinks(jsrt: Write) -> None:
    assert read_dataset(jsrt()).cases[0].spacing_mm == pytest.approx((0.175 * 2048 / 64,) * 2)


def test_positives_normals_and_select(jsrt: Write) -> None:
    dataset = read_dataset(jsrt())
    assert [case.name for case in dataset.positives] == ["JPCLN001", "JPCLN002"]
    assert [case.name for case in dataset.normals] == ["JPCNN001", "JPCNN002"]
    assert [case.name for case in dataset.select(["JPCNN002", "JPCLN001"])] == ["JPCNN002", "JPCLN001"]
    with pytest.raises(DataError, match=r"no case JPCLN009; read the data"):
        dataset.select(["JPCLN001", "JPCLN009"])


def test_normals_table_takes_tabs_blanks_and_unknown_age(jsrt: Write) -> None:
    first, second = read_dataset(jsrt()).normals
    assert (first.age_years, first.sex, first.nodules) == (33, "Female", ())
    assert (second.age_years, second.sex) == (None, "Male")


@pytest.mark.parametrize(
    "row",
    [
        ROW.replace("JPCLN001.IMG", "jpcln001.img"),
        ROW.replace("JPCLN001.IMG", "Nodule154images\\JPCLN001.IMG"),
        ROW.replace("\t", "\t\t", 1),
        ROW + "\t\t",
        "\ufeff" + ROW,
        ROW.replace("\t", " \t "),
        ROW.replace("\t15\t", "\t15 mm\t"),
        ROW.replace("\t5\t", "\tobvious\t"),
        ROW.replace("Female", "F"),
        ROW.replace("lung cancer", '"lung cancer"'),
    ],
    ids=["lower case", "folder", "stray tab", "tabs at end", "mark", "blanks", "unit", "words", "letter", "quotes"],
)
def test_untidy_rows_say_the_same(jsrt: Write, row: str) -> None:
    tidy = read_dataset(jsrt()).cases[0]
    assert read_dataset(jsrt(nodules=(row, NODULES[1]))).cases[0] == tidy


def test_unknown_values_are_none(jsrt: Write) -> None:
    row = "JPCLN001.IMG\t?\t?\t?\t?\t512\t1024\t?\t?\t?"
    dataset = read_dataset(jsrt(nodules=(row, NODULES[1])))
    case = dataset.cases[0]
    (nodule,) = case.nodules
    assert (nodule.subtlety, nodule.diameter_mm, nodule.malignancy, nodule.location, nodule.diagnosis) == (None,) * 5
    assert (case.age_years, case.sex) == (None, None)
    assert dataset.notes == ("1 of 4 cases have a nodule of unknown size: JPCLN001",)


def test_empty_fields_in_place_are_unknown_values(jsrt: Write) -> None:
    row = "JPCLN001.IMG\t\t15\t\tFemale\t512\t1024\tbenign"
    (nodule,) = read_dataset(jsrt(nodules=(row, NODULES[1]))).cases[0].nodules
    assert (nodule.subtlety, nodule.diameter_mm, nodule.malignancy, nodule.location) == (None, 15.0, "benign", None)


def test_titles_and_empty_lines_are_skipped(jsrt: Write) -> None:
    titles = "file\tsubtlety\tsize\tage\tsex\tx\ty\tmalignancy\tlocation\tdiagnosis"
    dataset = read_dataset(jsrt(nodules=(titles, "", *NODULES, "\t"), normals=("file age sex", *NORMALS)))
    assert len(dataset.cases) == 4


def test_two_rows_of_one_file_are_two_nodules(jsrt: Write) -> None:
    second = ROW.replace("\t512\t1024", "\t1536\t256")
    nodules = read_dataset(jsrt(nodules=(ROW, second, NODULES[1]))).cases[0].nodules
    assert [(nodule.x_px, nodule.y_px) for nodule in nodules] == [(16.0, 32.0), (48.0, 8.0)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("JPCLN001.IMG\t5\t15", r"CLNDAT_EN\.txt, row 1: 'JPCLN001\.IMG\\t5\\t15' is not file, subtlety"),
        (ROW.replace("\t512\t", "\t?\t"), r"row 1: .*with numbers for x and y; correct the row"),
        (
            ROW.replace("\t512\t", "\t2500\t"),
            r"row 1: JPCLN001 has its nodule at x 2500, y 1024; both lie between 0 and",
        ),
        (ROW.replace("\t5\t", "\t7\t"), r"row 1: JPCLN001 has the subtlety '7'; write 1 \(extremely subtle\) to 5"),
        (ROW.replace("\t5\t", "\tfaint\t"), r"row 1: JPCLN001 has the subtlety 'faint'"),
        (ROW.replace("\t15\t", "\tbig\t"), r"row 1: JPCLN001 has the size 'big'; write the diameter in mm, or \?"),
        (ROW.replace("\t15\t", "\t-3\t"), r"row 1: JPCLN001 has the size '-3'"),
    ],
    ids=["short", "no x", "x off the grid", "subtlety 7", "subtlety in other words", "size in words", "negative size"],
)
def test_a_wrong_row_is_named(jsrt: Write, row: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(jsrt(nodules=(row, NODULES[1])))


def test_a_nodule_in_two_rows_is_an_error_however_it_is_written(jsrt: Write) -> None:
    """It could be hit once only, and missed ever after."""
    again = ROW.replace("JPCLN001.IMG", "jpcln001.img").replace("\t512\t", "\t512.0\t")
    sentence = r"CLNDAT_EN\.txt, row 3: the nodule of JPCLN001 at x 512, y 1024 stands in row 1 already; remove one of"
    with pytest.raises(DataError, match=sentence):
        read_dataset(jsrt(nodules=(ROW, NODULES[1], again)))


def test_a_file_in_both_tables_or_twice_is_an_error(jsrt: Write) -> None:
    with pytest.raises(DataError, match=r"JPCLN001 stand in CLNDAT_EN\.txt and in CNNDAT_EN\.TXT; remove"):
        read_dataset(jsrt(normals=(*NORMALS, "JPCLN001.IMG 50 Male normal")))
    with pytest.raises(DataError, match=r"CNNDAT_EN\.TXT, row 3: JPCNN001 stands in row 1 already"):
        read_dataset(jsrt(normals=(*NORMALS, NORMALS[0])))


@pytest.mark.parametrize("place", [".", "All247images", "JSRT/Nodule154images", "Images"])
@pytest.mark.parametrize("lower", [False, True], ids=["upper", "lower"])
def test_images_are_found_wherever_they_lie(jsrt: Write, place: str, lower: bool) -> None:
    folder = jsrt()
    (folder / "images").rename(folder / "aside")
    (folder / place).mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "aside").iterdir()):
        path.rename(folder / place / (path.name.lower() if lower else path.name.replace(".png", ".PNG")))
    expected = "jpcln001.png" if lower else "JPCLN001.PNG"
    assert read_dataset(folder).cases[0].image == folder / place / expected


def test_of_two_files_the_img_counts(jsrt: Write) -> None:
    folder = jsrt()
    (folder / "originals").mkdir()
    (folder / "originals" / "JPCLN001.IMG").write_bytes(bytes(2048 * 2048 * 2))
    case = read_dataset(folder).cases[0]
    assert (case.image.name, case.rows, case.spacing_mm) == ("JPCLN001.IMG", 2048, (0.175, 0.175))
    assert (case.nodules[0].x_px, case.nodules[0].y_px) == (512.0, 1024.0)


def test_images_as_dicom(jsrt: Write) -> None:
    folder = jsrt()
    (folder / "images" / "JPCLN001.png").unlink()
    write_dicom(folder / "images" / "jpcln001.dcm", 128)
    case = read_dataset(folder).cases[0]
    assert (case.image.name, case.rows, case.cols) == ("jpcln001.dcm", 128, 128)
    assert (case.nodules[0].x_px, case.nodules[0].y_px) == (32.0, 64.0)
    assert case.spacing_mm == pytest.approx((2.8, 2.8))


def test_missing_images_are_counted_and_named(jsrt: Write) -> None:
    folder = jsrt()
    shutil.rmtree(folder / "images")
    write_png(folder / "images" / "JPCLN002.png")
    message = (
        r"data: 3 of 4 images are missing: JPCLN001, JPCNN001, JPCNN002 "
        r"\(looked in \., images\); copy them there or correct the tables$"
    )
    with pytest.raises(DataError, match=message):
        read_dataset(folder)


def test_of_many_missing_images_three_are_named(jsrt: Write) -> None:
    nodules = tuple(ROW.replace("001", f"{number:03d}") for number in range(1, 8))
    with pytest.raises(DataError, match=r"5 of 9 images are missing: JPCLN003, JPCLN004, JPCLN005 and 2 more \("):
        read_dataset(jsrt(nodules=nodules))


def test_an_image_that_is_not_square_is_refused(jsrt: Write) -> None:
    folder = jsrt()
    Image.fromarray(np.zeros((64, 60), np.uint8)).save(folder / "images" / "JPCLN002.png")
    with pytest.raises(DataError, match=r"JPCLN002\.png: 64 rows and 60 columns; JSRT's images are square"):
        read_dataset(folder)


@pytest.mark.parametrize("scr", ["SCR", "scr/scratch", ".", "Scr_Masks"])
def test_masks_are_found_in_any_letter_case(jsrt: Write, scr: str) -> None:
    folder = jsrt()
    (folder / "scr").rename(folder / "aside")
    for fold in sorted((folder / "aside").iterdir()):
        for mask in sorted(fold.rglob("*.gif")):
            place = folder / scr / fold.name.capitalize() / "masks" / mask.parent.name.title() / mask.name.lower()
            place.parent.mkdir(parents=True, exist_ok=True)
            mask.rename(place)
    dataset = read_dataset(folder)
    assert dataset.notes == ()
    assert [[path.parent.name for path in case.lung_masks] for case in dataset.cases] == [
        ["Left Lung", "Right Lung"]
    ] * 4


def test_missing_masks_are_a_note_with_counts(jsrt: Write) -> None:
    folder = jsrt()
    shutil.rmtree(folder / "scr" / "fold1")
    (folder / "scr/fold2/masks/left lung/JPCNN002.gif").unlink()
    dataset = read_dataset(folder)
    assert dataset.notes == (
        "2 of 4 cases have no lung mask: JPCLN001, JPCNN001: they add no lung loss",
        "1 of 4 cases have one lung's mask only: JPCNN002: they add no lung loss",
    )
    assert [bool(case.lung_masks) for case in dataset.cases] == [False, True, False, False]


def test_no_tables_no_folder(jsrt: Write, tmp_path: Path) -> None:
    folder = jsrt()
    (folder / "CNNDAT_EN.TXT").unlink()
    dataset = read_dataset(folder)
    assert len(dataset.cases) == 2
    assert dataset.notes == ("no CNNDAT_EN.TXT: no radiographs without a nodule",)
    with pytest.raises(
        DataError, match=r"no radiograph without a nodule in it, which protocol jsrt-247 scores; .* CNNDAT_EN\.TXT"
    ):
        read_dataset(folder, protocol="jsrt-247")
    (folder / "CLNDAT_EN.txt").write_text("\n")
    with pytest.raises(DataError, match=r"CLNDAT_EN\.txt: no nodule in it"):
        read_dataset(folder)
    (folder / "CLNDAT_EN.txt").write_text("file\tsubtlety\tsize\tage\tsex\tx\ty\n")
    assert read_dataset(folder).cases == ()  # titles alone: a data set without nodules
    (folder / "CLNDAT_EN.txt").unlink()
    with pytest.raises(
        DataError, match=r"no CLNDAT_EN\.txt \(JSRT's table of nodules\) .* in it; copy it there or name"
    ):
        read_dataset(folder)
    with pytest.raises(DataError, match=r"nowhere: there is no such folder"):
        read_dataset(tmp_path / "nowhere")


def test_tables_lie_in_a_folder_of_their_own_too(jsrt: Write) -> None:
    folder = jsrt()
    (folder / "Clinical_Information").mkdir()
    for name in ("CLNDAT_EN.txt", "CNNDAT_EN.TXT"):
        (folder / name).rename(folder / "Clinical_Information" / name.swapcase())
    assert len(read_dataset(folder).cases) == 4


BOXES = "file,x,y,x0,y0,x1,y1,diameter_mm,subtlety,outside_lung\n"


def test_boxes_are_scaled_from_the_1024_grid(jsrt: Write) -> None:
    rows = "JPCLN001,256,512,240,496,288,528,15,5,0\njpcln002.img,800,320,784,304,816,336,30,3,1\n"
    first, second = read_dataset(jsrt(boxes=BOXES + rows)).positives
    assert (first.nodules[0].box_px, first.nodules[0].in_lung) == (Box(15.0, 31.0, 18.0, 33.0), True)
    assert (second.nodules[0].box_px, second.nodules[0].in_lung) == (Box(49.0, 19.0, 51.0, 21.0), False)
    assert (first.nodules[0].x_px, first.nodules[0].diameter_mm) == (16.0, 15.0)  # still those of CLNDAT_EN.txt


def test_each_of_two_nodules_has_its_own_box(jsrt: Write) -> None:
    other = ROW.replace("\t512\t1024", "\t544\t1024")
    rows = "JPCLN001,272,512,256,496,288,528,5,5,0\nJPCLN001,256,512,240,496,272,528,5,5,0\n"
    first, second = read_dataset(jsrt(nodules=(ROW, other, NODULES[1]), boxes=BOXES + rows)).cases[0].nodules
    assert first.box_px == Box(15.0, 31.0, 17.0, 33.0)
    assert second.box_px == Box(16.0, 31.0, 18.0, 33.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            BOXES + "JPCLN001,256,512,300,496,340,528,15,5,0\n",
            r"boxes\.csv, row 2: the box of JPCLN001 does not hold its",
        ),
        (
            BOXES + 2 * "JPCLN001,256,512,240,496,288,528,15,5,0\n",
            r"boxes\.csv, row 3: the box of JPCLN001 from x 240, y 496 to x 288, y 528 stands in row 2 already; remove",
        ),
        (BOXES + "JPCLN001,256,512,?,496,340,528,15,5,0\n", r"row 2: JPCLN001 lacks a number for x0"),
        (BOXES + "JPCLN001,256,512,240,496,240,528,15,5,0\n", r"row 2: the box of JPCLN001 is empty"),
        (BOXES + "JPCLN001,256,512,240\n", r"row 2: JPCLN001 lacks a number for x0, y0, x1 or y1; correct"),
        ("", r"boxes\.csv: no column file, x0, y0, x1, y1; its first row"),
        ("file,x0\n" + "9" * 200000, r"boxes\.csv, row 2: not a CSV table \(field larger than field limit"),
        ("file,x0,y0\n", r"boxes\.csv: no column x1, y1; its first row must name at least file, x0, y0, x1, y1"),
    ],
    ids=["elsewhere", "twice", "no number", "empty", "short", "nothing", "no table", "columns"],
)
def test_boxes_that_contradict_are_errors(jsrt: Write, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(jsrt(boxes=content))


def test_sources_give_groups_and_view(jsrt: Write) -> None:
    content = "file,patient,view,series_uid\nJPCLN001,17,PA,1.2.3\njpcnn001,17,AP,\nJPCNN002,?,,\n"
    dataset = read_dataset(jsrt(sources=content))
    groups = {case.name: case.groups for case in dataset.cases}
    assert groups == {
        "JPCLN001": ("patient:17", "series:1.2.3"),
        "JPCLN002": (),
        "JPCNN001": ("patient:17",),
        "JPCNN002": (),
    }
    assert [case.view for case in dataset.cases] == ["PA", None, "AP", None]
    assert dataset.notes == ("1 of 4 cases are not in sources.csv: JPCLN002: no group is known of them",)


def test_protocols_score_their_cases_and_keep_all(jsrt: Write) -> None:
    # JPCLN001's nodule lies at (16, 32), in the right lung; JPCLN002's goes to (32, 32), between the lungs
    nodules = (ROW, NODULES[1].replace("\t1600\t640", "\t1024\t1024"))
    folder = jsrt(nodules=nodules)
    expected = {
        "paper": ["JPCLN001", "JPCLN002"],
        "jsrt-140": ["JPCLN001"],
        "jsrt-247": ["JPCLN001", "JPCLN002", "JPCNN001", "JPCNN002"],
    }
    for protocol, names in expected.items():
        dataset = read_dataset(folder, protocol=protocol)
        assert len(dataset.cases) == 4
        assert [case.name for case in dataset.scored()] == names
        assert [case.name for case in read_dataset(folder).scored(protocol)] == names
    in_lung = [case.nodules[0].in_lung for case in read_dataset(folder, protocol="jsrt-140").positives]
    assert in_lung == [True, False]


def test_boxes_csv_decides_before_the_mask(jsrt: Write) -> None:
    folder = jsrt(boxes=BOXES + "JPCLN001,256,512,240,496,272,528,15,5,1\nJPCLN002,800,320,784,304,816,336,30,3,0\n")
    shutil.rmtree(folder / "scr")
    assert [case.name for case in read_dataset(folder, protocol="jsrt-140").scored()] == ["JPCLN002"]


def test_jsrt_140_without_masks_says_what_is_needed(jsrt: Write) -> None:
    folder = jsrt()
    shutil.rmtree(folder / "scr" / "fold1")
    with pytest.raises(DataError, match=r"jsrt-140 needs to know .*JPCLN001 have no lung mask; add SCR's masks"):
        read_dataset(folder, protocol="jsrt-140")
    assert len(read_dataset(folder).scored()) == 2


def test_a_protocol_that_does_not_exist(jsrt: Write) -> None:
    with pytest.raises(UsageError, match=r"protocol is 'jsrt'; choose from paper, jsrt-140, jsrt-247"):
        read_dataset(jsrt(), protocol="jsrt")


def test_how_to_get_data_in_three_lines() -> None:
    lines = how_to_get("nodule").splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 120 for line in lines)
    assert "db.jsrt.or.jp" in lines[0]
    assert "--data FOLDER" in lines[1]
    assert "`cxrcad phantom OUT`" in lines[2]
    assert "--data OUT" in lines[2]


def test_open_jsrt_in_jsrts_own_format(open_jsrt_img: Path) -> None:
    dataset = read_dataset(open_jsrt_img)
    assert (len(dataset.positives), len(dataset.normals), dataset.notes) == (6, 6, ())
    for case in dataset.cases:
        assert re.fullmatch(r"OX(LN|NN)00[1-6]", case.name)
        assert (case.image.suffix, case.rows, case.cols, case.spacing_mm) == (".IMG", 2048, 2048, (0.175, 0.175))
        assert case.groups[0].startswith("patient:")
        assert len(case.lung_masks) == 2
    for case in dataset.positives:
        (nodule,) = case.nodules
        assert nodule.box_px is not None
        assert nodule.box_px.center == pytest.approx((nodule.x_px, nodule.y_px), abs=20)
        assert nodule.subtlety in range(1, 6)
    radiograph = read_radiograph(dataset.cases[0].image)
    assert (radiograph.rows, radiograph.spacing_mm) == (2048, (0.175, 0.175))
    assert read_mask(dataset.cases[0].lung_masks[0]).shape == (1024, 1024)


def test_masks_and_boxes_agree_on_who_lies_in_the_lungs(open_jsrt_img: Path) -> None:
    told = read_dataset(open_jsrt_img, protocol="jsrt-140").scored()
    (open_jsrt_img / "boxes.csv").rename(open_jsrt_img / "boxes.aside")
    try:
        assert [case.name for case in read_dataset(open_jsrt_img, protocol="jsrt-140").scored()] == [
            c.name for c in told
        ]
    finally:
        (open_jsrt_img / "boxes.aside").rename(open_jsrt_img / "boxes.csv")


def test_write_mask_is_read_back(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.gif", (8, 4, 28, 56))
    assert read_mask(tmp_path / "mask.gif").sum() == 20 * 52
