"""Truth files of every format, written by hand, with the cases they must become and the sentence each fault gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.core import Box, Case, CxrcadError, DataError, Nodule
from cxrcad.interchange.truth import TruthSet, read_truth
from tests.interchange.any_json import ANYTHING, change, places

OURS: dict[str, Any] = {
    "schema": "cxrcad/truth/1",
    "images": [
        {
            "name": "b.png",
            "rows": 1024,
            "cols": 512,
            "spacing_mm": [0.4, 0.2],
            "nodules": [
                {"x_px": 100, "y_px": 200.5, "diameter_mm": 12.0, "box_px": None, "subtlety": 3, "in_lung": True},
                {
                    "box_px": {"x0": 300, "y0": 400, "x1": 360, "y1": 440},
                    "malignancy": "malignant",
                    "location": "r.upper lobe",
                },
            ],
            "age_years": 61,
            "sex": "Female",
            "view": "PA",
        },
        {"name": "a.png", "rows": 64, "cols": 64, "spacing_mm": None, "nodules": []},
    ],
}

COCO: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "b.png", "width": 512, "height": 1024},
        {"id": "x", "file_name": "a.png", "width": 64, "height": 64},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [300, 400, 60, 40], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 20, 10]},
    ],
    "categories": [{"id": 1, "name": "Nodule"}, {"id": 2, "name": "rib"}],
}

NODE21 = """,height,img_name,label,width,x,y
0,40,b.mha,1,60,300,400
1,0,a.mha,0,0,0,0
2,10,b.mha,1,20,0,0
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`written(content)` -> a file that holds it: JSON of a document, text or bytes as they are."""
    path = tmp_path_factory.mktemp("truth") / "truth.json"

    def write(content: Any) -> Path:
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_our_own_json_holds_every_field_and_its_cases_are_sorted(written: Callable[..., Path]) -> None:
    """The box of 60 x 40 pixels is 12 mm (columns of 0.2) by 16 mm (rows of 0.4): 14 mm in the mean."""
    a, b = read_truth(written(OURS)).cases
    assert a == Case("a.png", Path("a.png"), 64, 64)
    assert b == Case(
        name="b.png",
        image=Path("b.png"),
        rows=1024,
        cols=512,
        spacing_mm=(0.4, 0.2),
        nodules=(
            Nodule(100, 200.5, diameter_mm=12.0, subtlety=3, in_lung=True),
            Nodule(330, 420, 14.0, malignancy="malignant", location="r.upper lobe", box_px=Box(300, 400, 360, 440)),
        ),
        age_years=61,
        sex="Female",
        view="PA",
    )


def test_a_diameter_that_is_given_and_a_centre_that_is_given_stand_beside_the_box(written: Callable[..., Path]) -> None:
    box = {"x0": 0, "y0": 0, "x1": 20, "y1": 20}
    made = change(OURS, ["images", 0, "nodules"], [{"x_px": 9, "y_px": 8, "diameter_mm": 5, "box_px": box}])
    assert read_truth(written(made)).cases[1].nodules == (Nodule(9, 8, 5.0, box_px=Box(0, 0, 20, 20)),)
    unknown = change(change(made, ["images", 0, "spacing_mm"], None), ["images", 0, "nodules", 0, "diameter_mm"], ...)
    assert read_truth(written(unknown)).cases[1].nodules[0].diameter_mm is None


def test_of_coco_the_ids_are_kept_and_the_one_category_nodule_counts_alone(written: Callable[..., Path]) -> None:
    nodule = Nodule(330, 420, box_px=Box(300, 400, 360, 440))
    assert read_truth(written(COCO)) == TruthSet(
        cases=(Case("a.png", Path("a.png"), 64, 64), Case("b.png", Path("b.png"), 1024, 512, nodules=(nodule,))),
        ids={7: "b.png", "x": "a.png"},
        categories={1: True, 2: False},
    )


@pytest.mark.parametrize(
    "categories",
    [
        [{"id": 1, "name": "solid"}, {"id": 2, "name": "subsolid"}],
        [{"id": 1, "name": "nodule"}, {"id": 2, "name": "NODULE"}],
        [],
        ...,
    ],
)
def test_without_one_category_nodule_all_of_coco_counts(written: Callable[..., Path], categories: Any) -> None:
    truth = read_truth(written(change(COCO, ["categories"], categories)))
    assert [nodule.box_px for nodule in truth.cases[1].nodules] == [Box(300, 400, 360, 440), Box(0, 0, 20, 10)]


def test_node21s_table_has_images_of_1024_without_spacing(written: Callable[..., Path]) -> None:
    boxes = (Nodule(330, 420, box_px=Box(300, 400, 360, 440)), Nodule(10, 5, box_px=Box(0, 0, 20, 10)))
    expected = (
        Case("a.mha", Path("a.mha"), 1024, 1024),
        Case("b.mha", Path("b.mha"), 1024, 1024, nodules=boxes),
    )
    assert read_truth(written(NODE21)) == TruthSet(expected)
    plain = "IMG_NAME,x,y,width,height,label\r\nb.mha,300,400,60,40,1.0\r\n\r\nb.mha,0,0,20,10,1\r\na.mha,,,,,0\r\n"
    assert read_truth(written(plain)) == TruthSet(expected)
    assert read_truth(written(b"\xef\xbb\xbf" + NODE21.encode())) == TruthSet(expected)


def test_a_folder_in_jsrts_layout_is_read_as_ever(disc_data: Path) -> None:
    truth = read_truth(disc_data)
    names = [*(f"JPCLN{number:03d}" for number in range(1, 11)), *(f"JPCNN{number:03d}" for number in range(1, 6))]
    assert [(case.name, len(case.nodules)) for case in truth.cases] == [(name, int("L" in name)) for name in names]
    assert truth.ids == {}


IMAGE: list[Any] = ["images", 0]
NODULE: list[Any] = ["images", 0, "nodules", 0]
SECOND: list[Any] = ["images", 0, "nodules", 1]
OFF_OURS: list[tuple[list[Any], Any, str]] = [
    (["schema"], "cxrcad/boxes/1", ": its schema is 'cxrcad/boxes/1', which is no truth; give JSON with the schema"),
    (["images"], 5, ": images is 5, where a list of JSON objects is needed; correct the entry"),
    (["images"], [], ": no image in it, where at least one is needed; give JSON with the schema"),
    (["images", 1], None, ", images entry 2: it is null, where a JSON object is needed; correct the entry"),
    ([*IMAGE, "name"], "", ", images entry 1: name is empty, where a text is needed; correct the entry"),
    ([*IMAGE, "name"], "a.png", ", images entry 2: 'a.png' stands in images entry 1 already; put all its nodules"),
    ([*IMAGE, "name"], "x/../../a.png", ", images entry 1: name is 'x/../../a.png', where a file's path inside its"),
    ([*IMAGE, "name"], "/etc/a.png", ", images entry 1: name is '/etc/a.png', where a file's path inside its folder"),
    ([*IMAGE, "rows"], 0, ", images entry 1: rows is 0, where the image's side in pixels, a whole number from 1 to"),
    ([*IMAGE, "rows"], 10**400, ", images entry 1: rows is 1000"),
    ([*IMAGE, "cols"], ..., ", images entry 1: cols is absent, where the image's side"),
    ([*IMAGE, "cols"], True, ", images entry 1: cols is true, where"),
    ([*IMAGE, "spacing_mm"], [0.3], ", images entry 1: spacing_mm is [0.3], where a pixel's row and column distance"),
    ([*IMAGE, "spacing_mm"], [0.3, 0], ", images entry 1: spacing_mm is [0.3, 0], where"),
    ([*IMAGE, "nodules"], ..., ", images entry 1: nodules is absent, where a list of JSON objects is needed"),
    ([*IMAGE, "nodule"], [], ", images entry 1: it has the field 'nodule', where name, rows, cols, spacing_mm"),
    ([*IMAGE, "age_years"], 151, ", images entry 1: age_years is 151, where an age, a whole number from 0 to 150,"),
    ([*IMAGE, "sex"], 1, ", images entry 1: sex is 1, where a text is needed"),
    ([*NODULE, "x_px"], 514, ", images entry 1, nodules entry 1: x_px is 514, where a position within the image's"),
    ([*NODULE, "x_px"], "9", ", nodules entry 1: x_px is '9', where"),
    ([*NODULE, "x_px"], float("nan"), ", nodules entry 1: x_px is NaN, where"),
    ([*NODULE, "y_px"], ..., ", nodules entry 1: y_px is absent, where a position within the image's height, 0 to"),
    ([*NODULE, "diameter_mm"], 0, ", nodules entry 1: diameter_mm is 0, where a length in mm from 0.01 to 1000 is"),
    ([*NODULE, "subtlety"], 6, ", nodules entry 1: subtlety is 6, where JSRT's degree, a whole number from 1 to 5, is"),
    ([*NODULE, "in_lung"], "yes", ", nodules entry 1: in_lung is 'yes', where true, false or null is needed"),
    ([*NODULE, "diameter"], 9, ", nodules entry 1: it has the field 'diameter', where x_px, y_px, diameter_mm"),
    (SECOND, {}, ", nodules entry 2: neither x_px and y_px nor box_px are given, where a nodule needs a centre or a"),
    (SECOND, OURS["images"][0]["nodules"][0], "200.5 stands in images entry 1, nodules entry 1 already, where each is"),
    ([*SECOND, "box_px"], [1, 2], ", nodules entry 2: box_px is [1, 2], where a JSON object is needed"),
    ([*SECOND, "box_px", "x1"], ..., ", nodules entry 2, box_px: x1 is absent, where a finite number is needed"),
    ([*SECOND, "box_px", "x1"], 300, "box_px: its box runs from x 300 to 300 and y 400 to 440, where each must rise"),
    ([*SECOND, "box_px", "y1"], 1025.5, "outside its image of 512 x 1024 pixels (columns x rows) by more than 1"),
]

ANNOTATION: list[Any] = ["annotations", 1]
OFF_COCO: list[tuple[list[Any], Any, str]] = [
    (["annotations"], ..., """: its fields are ["images", "categories"], which are no truth's; give JSON with"""),
    (["images", 1, "id"], 7, ", images entry 2: its id 7 stands in images entry 1 already, where each is needed once"),
    (["images", 1, "id"], "7", ", images entry 2: its id '7' stands in images entry 1 already"),
    (["images", 1, "id"], 1.5, ", images entry 2: id is 1.5, where a whole number or a text is needed"),
    (["images", 1, "file_name"], "..\\b.png", """, images entry 2: file_name is '..\\\\b.png', where a file's path"""),
    (["images", 1, "file_name"], "b.png", ", images entry 2: 'b.png' stands in images entry 1 already"),
    (["images", 0, "width"], None, ", images entry 1: width is null, where the image's side in pixels"),
    ([*ANNOTATION, "image_id"], 8, ", annotations entry 2: image_id is 8, where the id of an image in images is"),
    ([*ANNOTATION, "bbox"], ..., ", annotations entry 2: bbox is absent, where [x, y, width, height], 4 numbers, is"),
    ([*ANNOTATION, "bbox"], [1, 2, 3], ", annotations entry 2: bbox is [1, 2, 3], where [x, y, width, height]"),
    ([*ANNOTATION, "bbox"], [9, 9, -3, 2], ", annotations entry 2: its box runs from x 9 to 6 and y 9 to 11, where"),
    ([*ANNOTATION, "bbox"], [500, 0, 14, 5], "x 500 to 514 and y 0 to 5, outside its image of 512 x 1024 pixels"),
    ([*ANNOTATION, "bbox"], [0, 0, 1e308, 1e308], "outside its image of 512 x 1024 pixels"),
    ([*ANNOTATION, "iscrowd"], 1, ", annotations entry 2: iscrowd is 1, where 0 (one nodule, not a crowd of them) is"),
    ([*ANNOTATION, "category_id"], 3, ", annotations entry 2: category_id is 3, where the id of a category in"),
    (ANNOTATION, COCO["annotations"][0], "the nodule of 'b.png' at x 330, y 420 stands in annotations entry 1 already"),
    (["categories", 1, "id"], 1, ", categories entry 2: its id 1 is that of another category already"),
    (["categories", 1, "name"], 4, ", categories entry 2: name is 4, where a text is needed"),
]

HEAD = "img_name,label,x,y,width,height\n"
OFF_TEXTS: list[tuple[Any, str]] = [
    (b"", ": empty, neither JSON nor CSV in it; write the file again"),
    (b" \n", ": empty, neither JSON nor CSV in it"),
    (b"img_name\xe9", ": byte 9 is no UTF-8 text; save it as JSON or CSV in UTF-8"),
    ("{", ": not JSON (Expecting property name"),
    ("[" * 100_000, ": not JSON ("),
    ('{"schema": ' + "1" * 5000 + "}", ": not JSON ("),
    ([], ": a JSON list, where truth is a JSON object; give JSON with the schema cxrcad/truth/1, COCO"),
    ("hello", ": no JSON, and as CSV it has no column img_name, label, x, y, width, height (its columns are"),
    (HEAD.replace("label,", ""), ": no JSON, and as CSV it has no column label (its columns are"),
    (HEAD.replace("\n", ",x\n"), ": two columns are named 'x', where each name is needed once; rename one"),
    (HEAD, ": no image in it, where at least one is needed"),
    (HEAD + '"a', ", line 2: not CSV (unexpected end of data); write the table again"),
    (HEAD + "a,1,2\n", ", row 1 (line 2): 3 fields, where the first row names 6 columns, separated by commas; correct"),
    (HEAD + "a,0,0,0,0,0\n\nb,2,0,0,5,5\n", ", row 2 (line 4): label is '2', where 0 for no nodule or 1 for a nodule,"),
    (HEAD + "C:a.mha,1,0,0,5,5\n", ", row 1 (line 2): img_name is 'C:a.mha', where a file's path inside its folder"),
    (HEAD + ",1,0,0,5,5\n", ", row 1 (line 2): img_name is empty, where a text is needed; correct the row"),
    (HEAD + "a,1,0,nan,5,5\n", ", row 1 (line 2): y is 'nan', where a finite number is needed; correct the row"),
    (HEAD + "a,1,0,,5,5\n", ", row 1 (line 2): y is empty, where a finite number is needed"),
    (HEAD + "a,1,1_0,0,5,5\n", ", row 1 (line 2): x is '1_0', where a finite number is needed"),
    (HEAD + "a,1,0,0,0,5\n", ", row 1 (line 2): its box runs from x 0 to 0 and y 0 to 5, where each must rise"),
    (HEAD + "a,1,1020,0,6,5\n", "its box runs from x 1020 to 1026 and y 0 to 5, outside its image of 1024 x 1024"),
    (HEAD + "a,1,0,0,5,5\na,1,0,0,5,5\n", ", row 2 (line 3): the nodule of 'a' at x 2.5, y 2.5 stands in row 1 (line"),
    (HEAD + "a,1,0,0,5,5\na,0,0,0,0,0\n", ", row 2 (line 3): label is 0, but 'a' stands in row 1 (line 2) already"),
    (HEAD + "a,0,0,0,0,0\na,1,0,0,5,5\n", ", row 2 (line 3): label is 1, but 'a' stands in row 1 (line 2) already"),
    (HEAD + "a,0,0,0,5,5\n", ", row 1 (line 2): label is 0 (no nodule), but width is 5, where 0 or nothing is allowed"),
]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        *((change(OURS, where, value), sentence) for where, value, sentence in OFF_OURS),
        *((change(COCO, where, value), sentence) for where, value, sentence in OFF_COCO),
        *OFF_TEXTS,
    ],
)
def test_what_is_off_is_refused_in_one_sentence(written: Callable[..., Path], content: Any, sentence: str) -> None:
    path = written(content)
    with pytest.raises(DataError) as caught:
        read_truth(path)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder_that_is_no_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.json: there is no such file; check the path"):
        read_truth(tmp_path / "no.json")
    with pytest.raises(DataError, match=r"no CLNDAT_EN\.txt .* or boxes\.csv .* in it; copy it there"):
        read_truth(tmp_path)


def refusal_of(path: Path) -> str | None:
    """The sentence that the reader gives, None where it reads the file."""
    try:
        assert isinstance(read_truth(path), TruthSet)
    except CxrcadError as error:
        return str(error)
    return None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_in_any_field_is_read_or_refused(written: Callable[..., Path], data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([OURS, COCO]))
    where = data.draw(st.sampled_from(list(places(document))[1:]))
    path = written(change(document, list(where), data.draw(ANYTHING)))
    refusal = refusal_of(path)
    assert refusal is None or refusal.startswith(str(path))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 27), st.text(max_size=8) | st.floats().map(str))
def test_any_text_in_any_cell_is_read_or_refused(written: Callable[..., Path], number: int, text: str) -> None:
    cells = NODE21.replace("\n", ",\n,").split(",")
    cells[number] = text
    path = written(",".join(cells).replace(",\n,", "\n").encode("utf-8", "surrogatepass"))
    refusal = refusal_of(path)
    assert refusal is None or refusal.startswith(str(path))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_refused(written: Callable[..., Path], content: bytes) -> None:
    with pytest.raises(DataError):
        read_truth(written(content))
