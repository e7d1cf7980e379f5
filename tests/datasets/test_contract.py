"""The contract of all layouts: two patients of three radiographs, two lesions and a normal, come back as one data set.

A new layout is a function that writes the three and its row in MEMBERS.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cxrcad.core import CxrcadError, DataError
from cxrcad.datasets.content import content_of
from cxrcad.datasets.masks import truth_mask
from cxrcad.datasets.read import LAYOUTS, read_dataset
from cxrcad.imaging.preprocess import Geometry
from tests.interchange.any_json import ANYTHING, places

NAMES = ("A1", "A2", "B1")
CENTRES = {"A1": (16.0, 32.0), "A2": (40.0, 20.0), "B1": None}
SIDE = 64


def write_jsrt(folder: Path) -> Path:
    rows = [
        f"{name}.IMG\t3\t50\t60\tMale\t{32 * at[0]:g}\t{32 * at[1]:g}\tbenign\tl\tx\n"
        for name, at in CENTRES.items()
        if at
    ]
    (folder / "CNNDAT_EN.TXT").write_text("B1.IMG 50 Male\n")
    (folder / "sources.csv").write_text("file,patient\nA1,A\nA2,A\nB1,B\n")
    (folder / "CLNDAT_EN.txt").write_text("".join(rows))
    return folder / "CLNDAT_EN.txt"


def write_effusions(folder: Path) -> Path:
    corners = ((-60, -60), (60, -60), (60, 60), (-60, 60))
    lesions = {name: (at[0] * 1024 / SIDE, at[1] * 1024 / SIDE) for name, at in CENTRES.items() if at}
    around = {name: [(x + a, y + b) for a, b in corners] for name, (x, y) in lesions.items()}
    roles = [f"{name}.png,{'effusion' if name in around else 'normal'},{name[0]}\n" for name in NAMES]
    (folder / "metadata.csv").write_text("file,role,patient\n" + "".join(roles))
    (folder / "effusion.json").write_text(json.dumps({f"{name}.png": [{"polygon": at}] for name, at in around.items()}))
    return folder / "metadata.csv"


def write_boxes(folder: Path) -> Path:
    rows = [
        f"{name}.png,{at[0] - 4},{at[1] - 4},{at[0] + 4},{at[1] + 4},Mass,A\n" if at else f"{name}.png,,,,,,B\n"
        for name, at in CENTRES.items()
    ]
    (folder / "boxes.csv").write_text("file,x0,y0,x1,y1,label,patient\n" + "".join(rows))
    return folder / "boxes.csv"


def write_nih(folder: Path) -> Path:
    """NIH's tables, with the commas that they have at the end of their first rows."""
    grown = 1024 / SIDE
    boxes = [
        f"{name}.png,Mass,{(at[0] - 4) * grown},{(at[1] - 4) * grown},{8 * grown},{8 * grown}\n"
        for name, at in CENTRES.items()
        if at
    ]
    (folder / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n" + "".join(boxes))
    people = [f"{name}.png,{'Mass' if at else 'No Finding'},{name[0]}\n" for name, at in CENTRES.items()]
    (folder / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels,Patient ID,\n" + "".join(people))
    return folder / "BBox_List_2017.csv"


def write_vindr(folder: Path) -> Path:
    """Two readers, whose boxes of the lesion are a pixel apart."""
    rows = [
        f"{name},R{reader},Nodule/Mass,{at[0] - 5 + reader},{at[1] - 4},{at[0] + 2 + reader},{at[1] + 4},A\n"
        if at
        else f"{name},R{reader},No finding,,,,,B\n"
        for name, at in CENTRES.items()
        for reader in (1, 2)
    ]
    (folder / "train.csv").write_text("image_id,rad_id,class_name,x_min,y_min,x_max,y_max,patient\n" + "".join(rows))
    return folder / "train.csv"


def write_node21(folder: Path) -> Path:
    rows = [
        f",8,{name}.mha,1,8,{at[0] - 4},{at[1] - 4},A\n" if at else f",0,{name}.mha,0,0,0,0,B\n"
        for name, at in CENTRES.items()
    ]
    (folder / "metadata.csv").write_text(",height,img_name,label,width,x,y,patient\n" + "".join(rows))
    return folder / "metadata.csv"


def write_chestx_det(folder: Path) -> Path:
    def box(x: float, y: float) -> list[float]:
        return [1024 / SIDE * corner for corner in (x - 4, y - 4, x + 4, y + 4)]

    entries = [
        {"file_name": f"{name}.png", "syms": ["Nodule"], "boxes": [box(*at)], "patient": "A"}
        if at
        else {"file_name": f"{name}.png", "syms": ["Effusion"], "boxes": [box(9, 50)], "patient": "B"}
        for name, at in CENTRES.items()
    ]
    (folder / "ChestX_Det_train.json").write_text(json.dumps(entries))
    return folder / "ChestX_Det_train.json"


def write_coco(folder: Path) -> Path:
    images = [
        {"id": n, "file_name": f"{name}.png", "height": SIDE, "width": SIDE, "patient": name[0]}
        for n, name in enumerate(NAMES)
    ]
    boxes = [
        {"id": n, "image_id": n, "category_id": 3, "bbox": [at[0] - 4, at[1] - 4, 8, 8]}
        for n, at in enumerate(CENTRES.values())
        if at
    ]
    whole = {"images": images, "annotations": boxes, "categories": [{"id": 3, "name": "Nodule"}]}
    (folder / "instances.json").write_text(json.dumps(whole))
    return folder / "instances.json"


MEMBERS = {
    "JSRT": write_jsrt,
    "NIH effusion": write_effusions,
    "boxes": write_boxes,
    "NIH boxes": write_nih,
    "VinDr-CXR": write_vindr,
    "NODE21": write_node21,
    "ChestX-Det": write_chestx_det,
    "COCO": write_coco,
}


def refusal(read: Callable[[], object]) -> str | None:
    try:
        read()
    except CxrcadError as error:
        return str(error)
    return None


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.name)
def member(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path, str]:
    """The folder, its table, and the lesion."""
    for name in NAMES:
        Image.fromarray(np.full((SIDE, SIDE), 40 + len(name), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path, MEMBERS[request.param.name](tmp_path), request.param.lesion


def test_every_layout_gives_the_same_cases(member: tuple[Path, Path, str]) -> None:
    folder, _, lesion = member
    dataset = read_dataset(folder, lesion=lesion)
    assert (dataset.folder, dataset.protocol, dataset.lesion) == (folder, "paper", lesion)
    assert [case.name for case in dataset.cases] == list(NAMES)
    assert [case.groups for case in dataset.cases] == [("patient:A",), ("patient:A",), ("patient:B",)]
    assert [case.positive for case in dataset.cases] == [True, True, False]
    assert all(
        (case.rows, case.cols, case.image) == (SIDE, SIDE, folder / f"{case.name}.png") for case in dataset.cases
    )
    assert all(case.lung_masks == () for case in dataset.cases)
    assert any("no lung mask" in note for note in dataset.notes)
    assert len({content_of(case).truth for case in dataset.cases}) == 3


def test_every_layout_has_truth_where_the_lesions_are(member: tuple[Path, Path, str]) -> None:
    folder, _, lesion = member
    for case in read_dataset(folder, lesion=lesion).cases:
        mask, at = truth_mask(case, Geometry.fit(SIDE, SIDE, SIDE, 16), "disc"), CENTRES[case.name]
        assert mask.any() == (at is not None)
        if at is not None:
            down, across = np.argwhere(mask).mean(0) + 0.5
            assert (across, down) == pytest.approx(at, abs=0.6)
            assert 0.5 * 50 < mask.sum() < 2 * 65


def test_the_lesion_that_is_asked_for_must_be_the_layouts(member: tuple[Path, Path, str]) -> None:
    folder, _, lesion = member
    other = "nodule" if lesion == "effusion" else "effusion"
    with pytest.raises(DataError, match=rf"its layout is .*, for --lesion {lesion}; for {other} --data takes a folder"):
        read_dataset(folder, lesion=other)


def test_every_layout_refuses_what_is_missing_or_cut(member: tuple[Path, Path, str]) -> None:
    folder, table, lesion = member
    text = table.read_text()
    (folder / "A2.png").rename(folder / "aside")
    with pytest.raises(DataError, match=r"1 of [23] images are missing: A2.*; copy them there"):
        read_dataset(folder, lesion=lesion)
    (folder / "aside").rename(folder / "A2.png")
    for length in range(len(text)):
        table.write_text(text[:length])
        sentence = refusal(lambda: read_dataset(folder, lesion=lesion))
        assert sentence is None or ("; " in sentence and str(folder) in sentence), length
    (folder / "none").mkdir()
    with pytest.raises(DataError, match=r"no .* in it; copy it there or name another folder with --data"):
        read_dataset(folder / "none", lesion=lesion)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_layout_reads_or_refuses_any_value(member: tuple[Path, Path, str], data: st.DataObject) -> None:
    folder, table, lesion = member
    text = table.read_text()
    if table.suffix == ".json":
        document = json.loads(text)
        *above, last = data.draw(st.sampled_from(list(places(document))[1:]))
        functools.reduce(operator.getitem, above, document)[last] = data.draw(ANYTHING)
        table.write_text(json.dumps(document))
    else:
        cells = re.split(r"([,\t\n])", text)
        cells[2 * data.draw(st.integers(0, len(cells) // 2))] = data.draw(st.text(max_size=8) | st.floats().map(str))
        table.write_bytes("".join(cells).encode("utf-8", "surrogatepass"))
    sentence = refusal(lambda: read_dataset(folder, lesion=lesion))
    table.write_text(text)
    assert sentence is None or ("; " in sentence and str(folder) in sentence)


def test_every_layout_stands_once() -> None:
    assert sorted(MEMBERS) == sorted(layout.name for layout in LAYOUTS)
