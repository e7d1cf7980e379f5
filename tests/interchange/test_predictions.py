"""One crafted story in every format of truth and predictions, and the sentence that each fault gets.

Three images of 1024 x 1024 pixels. a.png has a nodule, which a box overlaps with an IoU of 0.6, and a box on nothing.
b.png has two nodules: the first has an exact box and a duplicate over half of it; of the second a box covers a ninth,
so that it is missed. c.png is normal and has one box.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.config import EvaluateConfig
from cxrcad.core import Box, Case, CxrcadError, EvaluationError, Finding, UsageError
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch, match_image
from cxrcad.files import sha256_of
from cxrcad.interchange.predictions import read_predictions
from cxrcad.interchange.truth import TruthSet, read_truth
from cxrcad.scoring.predictions import score_predictions
from tests.interchange.any_json import ANYTHING, change, places

NODULES = {"a.png": [(100, 200, 140, 240)], "b.png": [(300, 400, 360, 440), (700, 100, 730, 130)], "c.png": []}
IDS = {"a.png": 30, "b.png": 20, "c.png": 10}
BOXES = [
    ("a.png", 0.9, (110, 200, 150, 240)),
    ("a.png", 0.3, (500, 500, 520, 520)),
    ("b.png", 0.5, (300, 400, 330, 440)),
    ("b.png", 0.8, (300, 400, 360, 440)),
    ("b.png", 0.7, (700, 100, 710, 110)),
    ("c.png", 0.2, (0, 0, 10, 10.5)),
]
MATCHES = [
    ImageMatch("a.png", 1, (Hit(0.9, 0),), (FalsePositive(0.3),)),
    ImageMatch("b.png", 2, (Hit(0.8, 0),), (FalsePositive(0.7),), (0.5,)),
    ImageMatch("c.png", 0, (), (FalsePositive(0.2),)),
]


def corners_of(box: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))


def sized(box: tuple[float, ...]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def truth_ours() -> Any:
    images = [
        {"name": name, "rows": 1024, "cols": 1024, "nodules": [{"box_px": corners_of(b)} for b in at]}
        for name, at in NODULES.items()
    ]
    return {"schema": "cxrcad/truth/1", "images": images}


def truth_coco() -> Any:
    return {
        "images": [{"id": IDS[name], "file_name": name, "width": 1024, "height": 1024} for name in NODULES],
        "annotations": [
            {"id": 1, "image_id": IDS[name], "category_id": 1, "bbox": sized(box)}
            for name, at in NODULES.items()
            for box in at
        ],
        "categories": [{"id": 1, "name": "nodule"}, {"id": 2, "name": "rib"}],
    }


def truth_node21() -> str:
    lines = ["img_name,label,x,y,width,height"]
    for name, at in NODULES.items():
        lines += [f"{name},1,{','.join(map(str, sized(box)))}" for box in at] or [f"{name},0,0,0,0,0"]
    return "\n".join(lines) + "\n"


def boxes() -> Any:
    def finding(score: float, box: tuple[float, ...]) -> Any:
        middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
        return {"label": "nodule", "score": score, "box_px": corners_of(box), "center_px": middle, "area_mm2": None}

    images = [
        {"path": f"/data/{name}", "rows": 1024, "cols": 1024, "spacing_mm": None,
         "findings": [finding(score, box) for image, score, box in BOXES if image == name]}
        for name in NODULES
    ]  # fmt: skip
    return {"schema": "cxrcad/boxes/1", "model": {}, "images": images, "failures": []}


def coco(ids: bool = False) -> Any:
    return [
        {"image_id": IDS[name] if ids else name, "category_id": 1, "bbox": sized(box), "score": score}
        for name, score, box in BOXES
    ]


def node21_boxes(only: str | None = None) -> Any:
    """A box's corners run round it; z is the image's number, and 0 in an entry of one image."""
    made = []
    for name, score, (x0, y0, x1, y1) in BOXES:
        z = list(NODULES).index(name) if only is None else 0
        corners = [[x1, y1, z], [x0, y1, z], [x0, y0, z], [x1, y0, z]]
        if only in (None, name):
            made.append({"corners": corners, "probability": score})
    return {"type": "Multiple 2D bounding boxes", "boxes": made, "version": {"major": 1, "minor": 0}}


def challenge() -> Any:
    return [
        {
            "pk": f"pk-{name}",
            "inputs": [{"interface": {"slug": "generic-medical-image"}, "image": {"name": name.replace("png", "mha")}}],
            "outputs": [
                {"interface": {"slug": "seconds"}, "value": 3},
                {"interface": {"slug": "nodules"}, "value": node21_boxes(name)},
            ],
        }
        for name in NODULES
    ]


def table(columns: str = "img_name,x,y,width,height,probability") -> str:
    place = (lambda box: sized(box)) if "width" in columns else (lambda box: list(box))
    rows = [",".join(map(str, (name, *place(box), score))) for name, score, box in BOXES]
    return "\n".join([columns, *rows]) + "\n"


TRUTHS = {"ours": truth_ours(), "coco": truth_coco(), "node21": truth_node21()}
PREDICTIONS = {
    "boxes": boxes(),
    "coco": coco(),
    "node21": node21_boxes(),
    "challenge": challenge(),
    "sides": table(),
    "extents": table("name,x_min,y_min,x_max,y_max,score"),
}
FINDINGS = {
    name: tuple(
        Finding("nodule", score, Box(*box), Box(*box).center, Box(*box).area)
        for image, score, box in BOXES
        if image == name
    )
    for name in NODULES
}

Written = Callable[..., Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """`written(content, name)` -> a file that holds it: JSON of a document, text or bytes as they are."""
    folder = tmp_path_factory.mktemp("scored")

    def write(content: Any, name: str = "predictions.json") -> Path:
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return folder / name

    return write


def truth_of(written: Written, kind: str = "ours") -> TruthSet:
    return read_truth(written(TRUTHS[kind], "truth.json"))


@pytest.mark.parametrize("truth_kind", TRUTHS)
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_story_is_the_same_in_every_format(written: Written, truth_kind: str, kind: str) -> None:
    truth = truth_of(written, truth_kind)
    content = coco(ids=True) if (truth_kind, kind) == ("coco", "coco") else PREDICTIONS[kind]
    found = read_predictions(written(content), truth)
    assert found == FINDINGS
    assert list(found) == list(NODULES)
    assert [match_image(case, found[case.name], HitRule("iou", 0.2)) for case in truth.cases] == MATCHES
    assert [match.misses for match in MATCHES] == [0, 1, 0]


@pytest.mark.parametrize("ending", ["", ".txt", ".csv", ".json"])
@pytest.mark.parametrize("truth_kind", TRUTHS)
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_content_decides_and_never_the_ending(written: Written, truth_kind: str, kind: str, ending: str) -> None:
    """A boxes.json of another ending has its threshold and the score at which it was cut, too; others have none."""
    content = coco(ids=True) if (truth_kind, kind) == ("coco", "coco") else PREDICTIONS[kind]
    if kind == "boxes":
        content = {**content, "model": {"threshold": 0.75}, "find": {"min_score": 0.15}}
    predictions, truth = written(content, f"found{ending}"), written(TRUTHS[truth_kind], f"true{ending}")
    notes: list[str] = []
    result = score_predictions(EvaluateConfig(predictions=predictions, truth_file=truth, hit_rule="iou"), notes.append)
    assert result.matches == tuple(MATCHES)
    told = (0.75, "the file of the boxes") if kind == "boxes" else (0.5, "half, as the file names none; --threshold")
    assert result.context.model.threshold == told[0]
    assert result.context.threshold_from.startswith(told[1])
    cut = [note for note in notes if f"found{ending}: holds no boxes below a score of 0.15; its curve ends" in note]
    assert len(cut) == (kind == "boxes")


def test_a_threshold_that_is_none_is_refused(written: Written) -> None:
    truth = written(TRUTHS["ours"], "true.json")
    for changes, sentence in (
        ({"model": {"threshold": "0.5"}}, ", model: threshold is '0.5', where a number from 0 to 1 is needed"),
        ({"model": {"threshold": 1.5}}, ", model: threshold is 1.5, where a number from 0 to 1 is needed"),
        ({"model": 3}, ": model is 3, where a JSON object is needed"),
        ({"find": {"min_score": float("nan")}}, ", find: min_score is NaN, where a number from 0 to 1 is needed"),
    ):
        path = written({**boxes(), **changes})
        with pytest.raises(EvaluationError) as caught:
            score_predictions(EvaluateConfig(predictions=path, truth_file=truth))
        assert str(caught.value).startswith(f"{path}{sentence}")


def test_a_tables_image_id_is_cocos_id_and_else_a_name(written: Written) -> None:
    text = table("image_id,x,y,width,height,score")
    assert read_predictions(written(text), truth_of(written)) == FINDINGS
    for name, key in IDS.items():
        text = text.replace(name, str(key))
    assert read_predictions(written(text), truth_of(written, "coco")) == FINDINGS


def test_a_finding_of_our_own_keeps_the_centre_and_area_of_its_file(written: Written) -> None:
    """Half a millimetre a row and a column: 25 mm2 are 100 pixels."""
    finding = {"score": 0.5, "box_px": corners_of((0, 0, 20, 20)), "center_px": [9, 11], "area_mm2": 25.0}
    made = change(boxes(), ["images", 2, "findings"], [finding])
    made["images"][2]["spacing_mm"] = [0.5, 0.5]
    expected = Finding("nodule", 0.5, Box(0, 0, 20, 20), (9.0, 11.0), 100.0)
    assert read_predictions(written(made), truth_of(written))["c.png"] == (expected,)


def test_an_image_that_was_looked_at_in_vain_is_not_missing(written: Written) -> None:
    none = change(boxes(), ["images", 2, "findings"], [])
    assert read_predictions(written(none), truth_of(written))["c.png"] == ()
    entry = change(challenge(), [2, "outputs", 1, "value", "boxes"], [])
    assert read_predictions(written(entry), truth_of(written))["c.png"] == ()
    rib = change(coco(ids=True), [5, "category_id"], 2)
    assert read_predictions(written(rib), truth_of(written, "coco"))["c.png"] == ()


@pytest.mark.parametrize(
    "content", [coco()[:2], table().split("b.png")[0], change(boxes(), ["images"], boxes()["images"][:1])]
)
def test_a_missing_image_is_refused_or_counts_as_nothing_found(written: Written, content: Any) -> None:
    truth, path = truth_of(written), written(content)
    with pytest.raises(EvaluationError) as caught:
        read_predictions(path, truth)
    assert str(caught.value) == (
        f"{path}: it holds no prediction for 2 of the 3 images of the truth: b.png, c.png; predict them too, or "
        "--missing empty counts them as images in which nothing was found"
    )
    assert read_predictions(path, truth, missing="empty") == {"a.png": FINDINGS["a.png"], "b.png": (), "c.png": ()}
    with pytest.raises(UsageError, match="missing is 'drop'; choose from refuse, empty"):
        read_predictions(path, truth, missing="drop")


def test_names_join_by_path_then_by_file_name_then_without_ending(written: Written) -> None:
    """A UID is a name without ending; JSRT's cases have their file's name without it, and may be called by either."""
    names = ["old/a.png", "new/a.png", "b.dcm", "1.2.840.113", "1.2.840.115", "JPCLN001"]
    cases = [Case(name, Path(name), 64, 64) for name in names]
    cases[5] = Case("JPCLN001", Path("/data/images/jpcln001-left.img"), 64, 64)
    called = ["old/a.png", "new/a.png", "C:\\out\\b.nii.gz", "x/1.2.840.113.dcm", "1.2.840.115", "jpcln001-left.png"]
    entries = [{"image_id": name, "bbox": [number, 0, 5, 5], "score": -3.5} for number, name in enumerate(called)]
    found = read_predictions(written(entries), TruthSet(tuple(cases)))
    assert [found[name][0].box_px.x0 for name in names] == [0, 1, 2, 3, 4, 5]
    assert found["b.dcm"][0].score == -3.5
    with pytest.raises(EvaluationError, match=r"entry 1: 'a.png' may be any of new/a.png, old/a.png of the truth"):
        read_predictions(written([{**entries[0], "image_id": "a.png"}]), TruthSet(tuple(cases)))


def test_a_case_that_was_skipped_is_refused_and_a_table_beside_it_is_not(written: Written) -> None:
    document, truth = boxes(), truth_of(written)
    document["skipped"] = [{"path": "x/a.csv", "reason": "x/a.csv: a table; name it"}]
    assert read_predictions(written(document), truth)["a.png"]
    path = document["images"].pop()["path"]
    document["skipped"] += [{"path": path, "reason": "text"}]
    with pytest.raises(
        EvaluationError, match=r"skipped entry 2: the image '.\.png' of the truth was skipped \('text'\)"
    ):
        read_predictions(written(document), truth, missing="empty")


FIRST: list[Any] = ["images", 0]
FINDING: list[Any] = ["images", 1, "findings", 2]
OFF_BOXES: list[tuple[list[Any], Any, str]] = [
    (["schema"], "cxrcad/truth/1", ": its schema is 'cxrcad/truth/1', where cxrcad/boxes/1 is needed; give JSON with"),
    (["schema"], ..., """: its fields are ["model", "images", "failures"], which are no predictions'; give JSON"""),
    (["failures"], [{"path": "x/b.dcm", "error": "cut"}],
     ", failures entry 1: the image 'b.png' of the truth failed ('cut'), where a result is needed; detect in it again"),
    ([*FIRST, "path"], "d.png", ", images entry 1: 'd.png' is no image of the truth, which has 3: a.png, b.png,"),
    ([*FIRST, "path"], "x/b.dcm",
     ", images entry 2: '/data/b.png' and 'x/b.dcm' (images entry 1) both join the image 'b.png' of the truth, where"),
    ([*FIRST, "rows"], 512, "entry 1: its 512 rows and 1024 columns are not the 1024 rows and 1024 columns that the"),
    ([*FIRST, "cols"], None, ", images entry 1: cols is null, where the image's side in pixels, a whole number"),
    ([*FIRST, "spacing_mm"], "0.2", ", images entry 1: spacing_mm is '0.2', where a pixel's row and column"),
    ([*FIRST, "findings"], ..., ", images entry 1: findings is absent, where a list of JSON objects is needed"),
    ([*FINDING, "score"], ..., ", images entry 2, findings entry 3: score is absent, where a number from 0 to 1 is"),
    ([*FINDING, "score"], 1.01, ", findings entry 3: score is 1.01, where a number from 0 to 1 is needed"),
    ([*FINDING, "score"], float("inf"), ", findings entry 3: score is Infinity, where a number from 0 to 1 is needed"),
    ([*FINDING, "box_px", "x1"], 690, "its box runs from x 700 to 690 and y 100 to 110, where each must rise (x1"),
    ([*FINDING, "box_px", "y0"], -1.5, "y -1.5 to 110, outside its image of 1024 x 1024 pixels (columns x rows) by"),
    ([*FINDING, "center_px"], [700], ", findings entry 3: center_px is [700], where [x, y], 2 numbers, is needed"),
    ([*FINDING, "center_px"], [2000, 5], "center_px is [2000, 5], where a point in the image of 1024 x 1024 pixels is"),
    ([*FINDING, "area_mm2"], -1, ", findings entry 3: area_mm2 is -1, where an area in mm2 from 0 to 1000000 is"),
    (FINDING, boxes()["images"][1]["findings"][0],
     "findings entry 3: the same box and score 0.5 on 'b.png' stand in images entry 2, findings entry 1 already;"),
]  # fmt: skip

OFF_COCO: list[tuple[list[Any], Any, str]] = [
    ([2], 5, ", entry 3: it is 5, where a JSON object is needed; correct the entry"),
    ([2, "image_id"], 20, ", entry 3: image_id is 20, where the truth, which is no COCO file, knows its images by"),
    ([2, "image_id"], True, ", entry 3: image_id is true, where a whole number or a text is needed"),
    ([2, "image_id"], "d.png", ", entry 3: 'd.png' is no image of the truth, which has 3: a.png, b.png, c.png; score"),
    ([2, "image_id"], "b", ", entry 4: 'b.png' and 'b' (entry 3) both join the image 'b.png' of the truth, where one"),
    ([2, "bbox"], [1, 2, 3], ", entry 3: bbox is [1, 2, 3], where [x, y, width, height], 4 numbers, is needed"),
    ([2, "bbox"], [5, 5, -2, 5], ", entry 3: its box runs from x 5 to 3 and y 5 to 10, where each must rise"),
    ([2, "bbox"], [1020, 5, 6, 5], "x 1020 to 1026 and y 5 to 10, outside its image of 1024 x 1024 pixels"),
    ([2, "score"], ..., ", entry 3: score is absent, where a finite number is needed; correct the entry"),
    ([2, "score"], float("nan"), ", entry 3: score is NaN, where a finite number is needed"),
    ([2], coco()[0], ", entry 3: the same box and score 0.9 on 'a.png' stand in entry 1 already; remove one of them"),
]

BOX: list[Any] = ["boxes", 1]
RING = [[1, 1, 0], [5, 1, 0], [5, 5, 0], [1, 5, 0]]
OFF_NODE21: list[tuple[list[Any], Any, str]] = [
    (["type"], "Point", ": type is 'Point', where 'Multiple 2D bounding boxes' is needed; correct the entry"),
    (["boxes"], {}, ": boxes is {}, where a list of JSON objects is needed"),
    ([*BOX, "probability"], ..., ", boxes entry 2: probability is absent, where a number from 0 to 1 is needed"),
    ([*BOX, "probability"], -0.1, ", boxes entry 2: probability is -0.1, where a number from 0 to 1 is needed"),
    ([*BOX, "name"], "c.png", ", boxes entry 2: its name is 'c.png', but its z 0 means 'a.png', the image of this"),
    ([*BOX, "corners"], RING[:3], ", boxes entry 2: corners is [[1, 1, 0], [5, 1, 0], [5, 5, 0]], where four corners"),
    ([*BOX, "corners", 1], [1, 2], ", boxes entry 2: corner 2 is [1, 2], where [x, y, z], 3 numbers, is needed"),
    ([*BOX, "corners"], [*RING[:3], [2, 5, 0]], ", where four corners [x, y, z] of an upright rectangle, all with one"),
    ([*BOX, "corners"], [*RING[:3], [1, 5, 1]], ", where four corners [x, y, z] of an upright rectangle, all with one"),
    ([*BOX, "corners"], [RING[0], RING[3], *RING[:1], RING[3]], ", where each must rise"),
    ([*BOX, "corners"], [[x, y, 3] for x, y, _ in RING], "z is 3, where the number of one of the truth's 3 images is"),
    ([*BOX, "corners"], [[x, y, 0.5] for x, y, _ in RING], "z is 0.5, where the number of one of the truth's 3 images"),
    ([*BOX, "corners"], [[x * 300, y, 0] for x, y, _ in RING], "x 300 to 1500 and y 1 to 5, outside its image of 1024"),
    (BOX, node21_boxes()["boxes"][0], ", boxes entry 2: the same box and score 0.9 on 'a.png' stand in boxes entry 1"),
]

OFF_CHALLENGE: list[tuple[list[Any], Any, str]] = [
    ([1, "inputs"], [], ", entry 2: it has 0 inputs with an image, where one is needed"),
    ([1, "inputs", 0, "image", "name"], "a", ", entry 2, inputs entry 1, image: 'a' and 'a.mha' (entry 1, inputs"),
    ([1, "inputs", 0, "image", "name"], "d", "entry 2, inputs entry 1, image: 'd' is no image of the truth, which has"),
    ([1, "outputs"], ..., ", entry 2: outputs is absent, where a list of JSON objects is needed"),
    ([1, "outputs", 1, "interface", "slug"], "boxes", ", entry 2: it has 0 outputs with the slug 'nodules', where one"),
    ([1, "outputs", 1, "value"], None, ", entry 2, outputs entry 2: value is null, where a JSON object is needed"),
    ([1, "outputs", 1, "value", "boxes", 0, "corners"], [[x, y, 1] for x, y, _ in RING],
     ", entry 2, outputs entry 2, value, boxes entry 1: z is 1, where 0 is needed: the entry is of one image, not of"),
]  # fmt: skip

HEAD = "img_name,x,y,width,height,probability\n"
OFF_TEXTS: list[tuple[Any, str]] = [
    (b"", ": empty, neither JSON nor CSV in it; write the file again"),
    (b"\xff\xfei\x00", ": byte 1 is no UTF-8 text; save it as JSON or CSV in UTF-8"),
    ("{}", ": its fields are [], which are no predictions'; give JSON with the schema cxrcad/boxes/1, COCO results"),
    ("[1", ": not JSON (Expecting ',' delimiter: line 1 column 3 (char 2)); write the file again"),
    ("some words\n", """: no JSON, and as CSV its columns ["some words"] hold none of img_name or name or image_id,"""),
    (HEAD.replace("width", "w"), "hold none of x, y, width, height or x_min, y_min, x_max, y_max, where one is needed"),
    (HEAD.replace("\n", ",score\n"), "hold 2 of probability or score, where one is needed; give JSON with the schema"),
    (HEAD + "a.png,1,1,5,5\n", ", row 1 (line 2): 5 fields, where the first row names 6 columns, separated by commas"),
    (HEAD + "\na.png,1,1,5,5,\n", ", row 1 (line 3): probability is empty, where a number from 0 to 1 is needed;"),
    (HEAD + "a.png,1,1,5,5,1.5\n", ", row 1 (line 2): probability is '1.5', where a number from 0 to 1 is needed"),
    (HEAD + "a.png,1,x,5,5,1\n", ", row 1 (line 2): y is 'x', where a finite number is needed; correct the row"),
    (HEAD + "d.png,1,1,5,5,1\n", ", row 1 (line 2): 'd.png' is no image of the truth, which has 3: a.png, b.png,"),
    (HEAD + "a.png,1,1,5,0,1\n", ", row 1 (line 2): its box runs from x 1 to 6 and y 1 to 1, where each must rise"),
    (HEAD + "a.png,1,1,5,1e308,1\n", ", outside its image of 1024 x 1024 pixels (columns x rows) by more than 1 pixel"),
    (HEAD + "a.png,1,1,5,5,1\n" * 2, ", row 2 (line 3): the same box and score 1 on 'a.png' stand in row 1 (line 2)"),
    ("name,x_min,y_min,x_max,y_max,score\na,9,1,5,5,7\n", "its box runs from x 9 to 5 and y 1 to 5, where each must"),
]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        *((change(boxes(), where, value), sentence) for where, value, sentence in OFF_BOXES),
        *((change(coco(), where, value), sentence) for where, value, sentence in OFF_COCO),
        *((change(node21_boxes(), where, value), sentence) for where, value, sentence in OFF_NODE21),
        *((change(challenge(), where, value), sentence) for where, value, sentence in OFF_CHALLENGE),
        *OFF_TEXTS,
    ],
)
def test_what_is_off_is_refused_in_one_sentence(written: Written, content: Any, sentence: str) -> None:
    truth, path = truth_of(written), written(content)
    with pytest.raises(EvaluationError) as caught:
        read_predictions(path, truth, missing="empty")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "value", "sentence"),
    [
        ([0, "image_id"], 31, ", entry 1: image_id is 31, where one of the 3 ids of the COCO truth is needed; score"),
        ([0, "image_id"], "30", ", entry 1: image_id is '30', where one of the 3 ids of the COCO truth is needed"),
        ([0, "category_id"], 3, ", entry 1: category_id is 3, where the id of one of the categories is needed"),
    ],
)
def test_an_id_that_coco_truth_lacks_is_refused(written: Written, where: Any, value: Any, sentence: str) -> None:
    truth, path = truth_of(written, "coco"), written(change(coco(ids=True), where, value))
    with pytest.raises(EvaluationError) as caught:
        read_predictions(path, truth)
    assert sentence in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"no\.json: there is no such file; check the path"):
        read_predictions(tmp_path / "no.json", TruthSet(()))
    with pytest.raises(EvaluationError, match="a folder, not a file; name the file in it"):
        read_predictions(tmp_path, TruthSet(()))


DOCUMENTS = [content for content in PREDICTIONS.values() if not isinstance(content, str)]


def refusal_of(path: Path, truth: TruthSet) -> str | None:
    """The sentence that the reader gives, None where it has findings, or none, of every case."""
    try:
        assert set(read_predictions(path, truth, missing="empty")) == set(NODULES)
    except CxrcadError as error:
        return str(error)
    return None


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(TRUTHS)), st.data())
def test_any_value_in_any_field_is_read_or_refused(written: Written, kind: str, data: st.DataObject) -> None:
    truth, document = truth_of(written, kind), data.draw(st.sampled_from(DOCUMENTS))
    where = data.draw(st.sampled_from(list(places(document))[1:]))
    path = written(change(document, list(where), data.draw(ANYTHING)))
    refusal = refusal_of(path, truth)
    assert refusal is None or refusal.startswith(str(path))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 41), st.text(max_size=8) | st.floats().map(str))
def test_any_text_in_any_cell_is_read_or_refused(written: Written, number: int, text: str) -> None:
    cells = table().replace("\n", ",\n,").split(",")
    cells[number] = text
    path = written(",".join(cells).replace(",\n,", "\n").encode("utf-8", "surrogatepass"))
    refusal = refusal_of(path, truth_of(written))
    assert refusal is None or refusal.startswith(str(path))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_refused(written: Written, content: bytes) -> None:
    with pytest.raises(EvaluationError):
        read_predictions(written(content), truth_of(written))


def test_boxes_of_another_image_than_the_data_folder_holds_are_refused(disc_data, tmp_path):
    data = shutil.copytree(disc_data, tmp_path / "data")
    image = {"spacing_mm": None, "findings": []}
    found = [
        {"path": str(case.image), "sha256": sha256_of(case.image), "rows": case.rows, "cols": case.cols, **image}
        for case in read_truth(data).cases
    ]
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({**boxes(), "images": found}))
    assert set(read_predictions(file, read_truth(data)).values()) == {()}
    for name in ("JPCLN002.png", "JPCLN003.png"):  # the same pixels under each other's name
        shutil.copy(disc_data / "images" / name, data / "images" / ("JPCLN002.png" if "3" in name else "JPCLN003.png"))
    words = (
        r"images entry 2: its boxes were found in an image of SHA-256 \w{12}\.{3}, and .*JPCLN002.png has \w{12}\.{3}"
    )
    with pytest.raises(EvaluationError, match=words):
        read_predictions(file, read_truth(data))
    for entry in found:
        del entry["sha256"]
    file.write_text(json.dumps({**boxes(), "images": found}))
    assert set(read_predictions(file, read_truth(data)).values()) == {()}
