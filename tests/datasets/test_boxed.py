"""Public sets of boxed radiographs as they are published: what is read of each, what is left out, each sentence."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import Box, DataError, Nodule
from cxrcad.datasets.read import read_dataset
from tests.datasets.conftest import write_dicom

BOXES = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
ENTRIES = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)
VINDR = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
NODE21 = ",height,img_name,label,width,x,y\n"


def write_images(folder: Path, *names: str, side: int = 64) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((side, side), np.uint8)).save(folder / name)


def entry(name: str, labels: str, patient: str, age: str = "58") -> str:
    return f"{name},{labels},1,{patient},{age},M,PA,2000,3000,0.1,0.2,\n"


@pytest.fixture
def nih(tmp_path: Path) -> Path:
    """A part of NIH's set: a boxed mass, a boxed effusion, a normal, a nodule that nobody boxed; one image lacks."""
    write_images(tmp_path, "images_001/images/00000001_000.png", "images_001/images/00000001_001.png", side=128)
    write_images(tmp_path, "images_002/images/00000002_000.png", "images_002/images/00000003_000.png")
    (tmp_path / "BBox_List_2017.csv").write_text(
        BOXES + "00000001_000.png,Mass,512.5,256,128,64,,,\n00000001_001.png,Effusion,1,2,3,4,,,\n"
    )
    (tmp_path / "Data_Entry_2017.csv").write_text(
        ENTRIES
        + entry("00000001_000.png", "Effusion|Mass", "1")
        + entry("00000001_001.png", "Effusion", "1", "058Y")
        + entry("00000002_000.png", "No Finding", "2", "414")
        + entry("00000003_000.png", "Nodule", "3")
        + entry("00000004_000.png", "No Finding", "4")
    )
    return tmp_path


def test_nihs_boxes_are_lesions_and_its_labels_tell_the_negatives(nih: Path) -> None:
    dataset = read_dataset(nih)
    assert [case.name for case in dataset.cases] == ["00000001_000", "00000001_001", "00000002_000"]
    mass, effusion, normal = dataset.cases
    assert mass.image == nih / "images_001" / "images" / "00000001_000.png"
    assert (mass.rows, mass.groups, mass.age_years, mass.sex, mass.view) == (128, ("patient:1",), 58, "Male", "PA")
    assert mass.spacing_mm == pytest.approx((0.2 * 3000 / 128, 0.1 * 2000 / 128))
    assert mass.nodules[0].box_px == Box(64.0625, 32, 80.0625, 40)
    assert (mass.nodules[0].label, mass.nodules[0].diameter_mm) == ("mass", pytest.approx(31.25))
    assert (effusion.positive, effusion.age_years, normal.positive, normal.age_years) == (False, 58, False, None)
    assert (mass.role, effusion.role, normal.role) == (None, "other_finding", "normal")
    assert dataset.notes[:2] == (
        "called nodule or mass and not boxed, left out: 00000003_000.png (1 image)",
        "in Data_Entry_2017.csv and not in the folder, left out: 00000004_000.png (1 image)",
    )


def test_a_later_table_of_nih_is_read_too(nih: Path) -> None:
    text = (nih / "Data_Entry_2017.csv").read_text().replace("Gender", "Sex").replace(",\n", "\n")
    (nih / "Data_Entry_2017.csv").rename(nih / "Data_Entry_2017_v2020.csv").write_text(text)
    assert read_dataset(nih).cases[0].sex == "Male"


def vindr_rows(*drawn: tuple[str, str, str]) -> str:
    return VINDR + "".join(f"a,{label},0,{reader},{corners}\n" for reader, label, corners in drawn)


@pytest.mark.parametrize(
    ("drawn", "boxes"),
    [
        # two readers of one lesion: the mean
        ([("R1", "10,10,30,30"), ("R2", "12,12,32,32")], [Box(11, 11, 31, 31)]),
        # too far apart, 100 of 700 pixels: two lesions
        ([("R1", "10,10,30,30"), ("R2", "20,20,40,40")], [Box(10, 10, 30, 30), Box(20, 20, 40, 40)]),
        # one reader's two boxes are two lesions, however near, and the other's joins the nearer one
        (
            [("R2", "11,10,31,30"), ("R1", "10,10,30,30"), ("R1", "14,10,34,30")],
            [Box(10.5, 10, 30.5, 30), Box(14, 10, 34, 30)],
        ),
        # a reader's box that stands twice counts once
        ([("R1", "10,10,30,30"), ("R1", "10,10,30,30"), ("R3", "16,10,36,30")], [Box(13, 10, 33, 30)]),
        # three readers
        ([("R1", "10,10,30,30"), ("R2", "13,10,33,30"), ("R3", "16,10,36,30")], [Box(13, 10, 33, 30)]),
    ],
)
def test_vindrs_readers_are_merged(tmp_path: Path, drawn: list[tuple[str, str]], boxes: list[Box]) -> None:
    write_images(tmp_path, "a.png")
    for rows in (drawn, drawn[::-1]):
        (tmp_path / "train.csv").write_text(vindr_rows(*((one, "Nodule/Mass", corners) for one, corners in rows)))
        nodules = read_dataset(tmp_path).cases[0].nodules
        assert [nodule.box_px for nodule in nodules] == boxes
        assert {nodule.label for nodule in nodules} == {"nodule/mass"}


def test_vindr_is_read_from_dicom_with_its_spacing(tmp_path: Path) -> None:
    import pydicom

    (tmp_path / "annotations").mkdir()
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    write_dicom(tmp_path / "train" / "a.dicom", 64)
    write_dicom(tmp_path / "test" / "b.dicom", 64)
    dicom = pydicom.dcmread(tmp_path / "train" / "a.dicom")
    dicom.PixelSpacing = [0.5, 0.25]
    dicom.save_as(tmp_path / "train" / "a.dicom")
    rows = [("R8", "Nodule/Mass", "10,10,30,20"), ("R9", "Aortic enlargement", "1,1,9,9"), ("R10", "No finding", ",,,")]
    (tmp_path / "annotations" / "annotations_train.csv").write_text(vindr_rows(*rows))
    (tmp_path / "annotations" / "annotations_test.csv").write_text(
        "image_id,class_name,x_min,y_min,x_max,y_max\nb,No finding,,,,\n"
    )
    dataset = read_dataset(tmp_path)
    a, b = dataset.cases
    assert (a.image, a.spacing_mm, b.spacing_mm) == (tmp_path / "train" / "a.dicom", (0.5, 0.25), None)
    assert a.nodules == (Nodule(20, 15, 5.0, box_px=Box(10, 10, 30, 20), label="nodule/mass"),)
    assert (b.positive, b.groups) == (False, ())
    assert dataset.notes == (
        "a lesion that one of the readers alone drew: a (1 image)",
        "no patient is named, each image counts as one: a, b (2 images)",
        "no lung mask, and no lung loss of: a, b (2 images)",
    )


def test_node21_is_read_from_mha_with_its_spacing(tmp_path: Path) -> None:
    import SimpleITK

    (tmp_path / "images").mkdir()
    for name in ("n0001", "c0001"):
        image = SimpleITK.GetImageFromArray(np.zeros((64, 96), np.uint16))
        image.SetSpacing((0.5, 0.25))
        SimpleITK.WriteImage(image, str(tmp_path / "images" / f"{name}.mha"))
    (tmp_path / "metadata.csv").write_text(NODE21 + "0,10,n0001.mha,1,20,70,30\n1,0,c0001.mha,0,0,0,0\n")
    normal, positive = read_dataset(tmp_path).cases
    assert (normal.positive, positive.rows, positive.cols, positive.spacing_mm) == (False, 64, 96, (0.25, 0.5))
    assert positive.nodules == (Nodule(80, 35, 6.25, box_px=Box(70, 30, 90, 40), label="nodule"),)


def test_of_chestx_det_diffuse_nodules_are_left_out(tmp_path: Path) -> None:
    write_images(tmp_path, "train/1.png", "train/2.png", "test/3.png", side=512)
    mass = {
        "file_name": "1.png",
        "syms": ["Mass", "Effusion"],
        "boxes": [[2, 4, 22, 44], [9, 9, 99, 99]],
        "polygons": [],
    }
    diffuse = {"file_name": "2.png", "syms": ["Diffuse Nodule"], "boxes": [[2, 4, 22, 44]]}
    (tmp_path / "ChestX_Det_train.json").write_text(json.dumps([mass, diffuse]))
    (tmp_path / "ChestX_Det_test.json").write_text(json.dumps([{"file_name": "3.png", "syms": [], "boxes": []}]))
    dataset = read_dataset(tmp_path)
    assert [(case.name, case.nodules) for case in dataset.cases] == [
        ("1", (Nodule(6, 12, box_px=Box(1, 2, 11, 22), label="mass"),)),
        ("3", ()),
    ]
    assert dataset.notes[0] == "Diffuse Nodule, left out: 2.png (1 image)"


def coco(categories: list[str], **image: object) -> str:
    images = [{"id": "x", "file_name": "a.png", "height": 64, "width": 64, **image}]
    boxes = [{"id": n, "image_id": "x", "category_id": n, "bbox": [n, 2, 3, 4]} for n in range(len(categories))]
    named = [{"id": number, "name": name} for number, name in enumerate(categories)]
    return json.dumps({"images": images, "annotations": boxes, "categories": named})


@pytest.mark.parametrize(
    ("categories", "labels"),
    [
        (["Nodule", "heart", "Mass"], ["nodule", "mass"]),
        (["solid", "Subsolid"], ["solid", "subsolid"]),
    ],
)
def test_of_coco_nodules_and_masses_are_lesions_or_all_is(
    tmp_path: Path, categories: list[str], labels: list[str]
) -> None:
    write_images(tmp_path, "train/a.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text(coco(categories, file_name="train/a.png", patient=7))
    case = read_dataset(tmp_path).cases[0]
    assert ([nodule.label for nodule in case.nodules], case.groups) == (labels, ("patient:7",))


def test_of_two_images_of_one_name_the_one_that_the_file_says_is_read(tmp_path: Path) -> None:
    write_images(tmp_path, "lungs/a.png", "overlays/a.png", "train/a.png")
    (tmp_path / "coco.json").write_text(coco(["nodule"], file_name="train/a.png"))
    case = read_dataset(tmp_path).cases[0]
    assert (case.image, case.lung_masks) == (tmp_path / "train" / "a.png", (tmp_path / "lungs" / "a.png",))
    (tmp_path / "coco.json").write_text(coco(["nodule"]))
    with pytest.raises(
        DataError, match=r"overlays/a\.png and .*train/a\.png: two images have one name, .*; remove one"
    ):
        read_dataset(tmp_path)


MASS = BOXES + "00000001_000.png,Mass,1,2,3,4\n"
PERSON = entry("00000001_000.png", "Mass", "1")
DRAWN = vindr_rows(("R", "Nodule/Mass", "1,2,3,400"))


def det(boxes: str, syms: str = '"Mass"', name: str = "a.png") -> str:
    return f'{{"file_name": "{name}", "syms": [{syms}], "boxes": [{boxes}]}}'


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"B.csv": MASS}, "no table with Image Index and Finding Labels; copy Data_Entry_2017.csv there"),
        ({"B.csv": MASS, "D.csv": ENTRIES}, r"row 1 .*: 00000001_000\.png has no row in D\.csv; copy the whole"),
        ({"B.csv": MASS.replace("h]", "d]"), "D.csv": ENTRIES}, r"B\.csv: no column h\]; its first row must name"),
        ({"B.csv": MASS, "D.csv": ENTRIES + PERSON}, r"1 of 1 images are missing: 00000001_000\.png; copy them"),
        ({"t.csv": DRAWN}, r"t\.csv, row 1 .* y 2 to 400, outside its image of 64"),
        ({"t.csv": DRAWN.replace(",2,", ",,")}, "y_min is empty, where a finite number is needed"),
        ({"t.csv": DRAWN.replace("x_max", "x")}, r"t\.csv: no column x_max; its first row must name image_id"),
        ({"t.csv": DRAWN.replace("a,", "b,")}, r"1 of 1 images are missing: b; copy them there"),
        ({"m.csv": NODE21 + "0,1,a.mha,1,1,70,2\n"}, r"from x 70 to 71 and y 2 to 3, outside its image of 64 x 64"),
        ({"m.csv": NODE21.replace("width", "w") + "0,1,a.mha,1,1,7,2\n"}, r"m\.csv: no column width; its first row"),
        ({"m.csv": NODE21 + 2 * "0,0,a.mha,0,0,0,0\n"}, r"label is 0, but 'a\.mha' stands in row 1 \(line 2\) already"),
        ({"m.csv": NODE21 + "0,0,../a.mha,0,0,0,0\n"}, r"img_name is '\.\./a\.mha', where a file's path inside"),
        ({"c.json": f"[{det('')}]"}, "1 syms, where boxes needs one box for each"),
        ({"c.json": f"[{det('[1, 2, 3]')}]"}, r"entry 1, box 1: box is \[1, 2, 3\], where .*, 4 numbers, is needed"),
        ({"c.json": f"[{det('[1, 2, 3, 1400]')}]"}, "y 2 to 1400, outside its image of 1024 x 1024"),
        ({"c.json": f"[{det('', '')}, {det('', '')}]"}, r"entry 2: a\.png stands in entry 1 already, where one"),
        ({"c.json": f"[{det('', '', 'b.png')}]"}, r"1 of 1 images are missing: b\.png; copy them there"),
        ({"c.json": coco(["nodule"], width=128)}, r"its height and width are 64 and 128, but .*a\.png has 64 rows"),
        ({"c.json": coco(["nodule"], file_name="b.png")}, r"1 of 1 images are missing: b\.png; copy them there"),
        ({"c.json": coco(["nodule"], id="y")}, "image_id is 'x', where the id of an image in images is needed"),
        ({"c.json": coco(["nodule"]), "d.json": coco(["nodule"])}, "two files have one name apart from their endings"),
    ],
)
def test_what_is_off_is_named(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    write_images(tmp_path, "a.png")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=sentence):
        read_dataset(tmp_path)


def test_a_hundred_thousand_rows_are_read_at_once(tmp_path: Path) -> None:
    """A part of the images of a whole table: the rows of the others cost next to nothing, and no header is read."""
    write_images(tmp_path, "images/00000001_000.png")
    (tmp_path / "BBox_List_2017.csv").write_text(MASS)
    people = [entry(f"{number:08d}_000.png", "No Finding", str(number)) for number in range(2, 100_001)]
    (tmp_path / "Data_Entry_2017.csv").write_text(ENTRIES + PERSON + "".join(people))
    started = time.process_time()
    dataset = read_dataset(tmp_path)
    assert time.process_time() - started < 30
    assert len(dataset.cases) == 1
    assert dataset.notes[0].endswith("and 99996 more (99999 images)")
