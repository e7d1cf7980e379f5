"""`cxrcad froc` and `evaluate` with --predictions and --truth: every protocol on one crafted story, in every format.

Five images of 1000 x 1000 pixels of 0.5 mm. A, B and C have a nodule of 20 mm, B's outside the lung fields; N and M
are normal. The predictions: on A's nodule exactly (0.9) and a little beside it (0.5); on B with the centre on the rim
of the disc (0.8; boxes overlap by 1/3); on C 25 mm off (0.7); one on N (0.6); none on M.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

NODULES = {"A": (200, 200, True), "B": (500, 500, False), "C": (800, 300, True)}
BOXES = {
    "A": [(200, 200, 0.9), (205, 200, 0.5)],
    "B": [(520, 500, 0.8)],
    "C": [(850, 300, 0.7)],
    "N": [(100, 700, 0.6)],
    "M": [],
}
IDS = {name: number for number, name in enumerate(BOXES, 1)}


def corners(x: float, y: float) -> dict[str, float]:
    return {"x0": x - 20.0, "y0": y - 20.0, "x1": x + 20.0, "y1": y + 20.0}


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def ours(folder: Path) -> tuple[Path, Path]:
    images = [
        {
            "name": f"{name}.png",
            **{"rows": 1000, "cols": 1000, "spacing_mm": [0.5, 0.5]},
            "nodules": [
                {"x_px": x, "y_px": y, "diameter_mm": 20.0, "box_px": corners(x, y), "in_lung": inside}
                for x, y, inside in [NODULES[name]]
            ]
            if name in NODULES
            else [],
        }
        for name in BOXES
    ]
    found = [
        {
            "path": f"elsewhere/{name}.png",
            **{"sha256": "0" * 64, "rows": 1000, "cols": 1000, "spacing_mm": None, "spacing_from": None},
            "findings": [
                {
                    **{"label": "nodule", "score": score, "box_px": corners(x, y), "box_mm": None, "center_px": [x, y]},
                    **{"area_mm2": None, "diameter_mm": None, "lung_probability": None},
                }
                for x, y, score in boxes
            ],
            **{"notes": [], "seconds": {}},
        }
        for name, boxes in BOXES.items()
    ]
    model = {"name": "m", "sha256": "0" * 64, "threshold": 0.5, "provider": "CPUExecutionProvider"}
    truth = write(folder / "truth.json", {"schema": "cxrcad/truth/1", "images": images})
    return write(
        folder / "boxes.json", {"schema": "cxrcad/boxes/1", "model": model, "images": found, "failures": []}
    ), truth


def coco(folder: Path) -> tuple[Path, Path]:
    truth = {
        "images": [{"id": IDS[name], "file_name": f"{name}.png", "width": 1000, "height": 1000} for name in BOXES],
        "categories": [{"id": 1, "name": "nodule"}],
        "annotations": [
            {
                "id": n,
                "image_id": IDS[name],
                "category_id": 1,
                "bbox": [x - 20, y - 20, 40, 40],
                "iscrowd": 0,
                "area": 1600,
            }
            for n, (name, (x, y, _)) in enumerate(NODULES.items(), 1)
        ],
    }
    found = [
        {"image_id": IDS[name], "category_id": 1, "bbox": [x - 20, y - 20, 40, 40], "score": score}
        for name, boxes in BOXES.items()
        for x, y, score in boxes
    ]
    return write(folder / "results.json", found), write(folder / "instances.json", truth)


def node21(folder: Path) -> tuple[Path, Path]:
    truth, found = folder / "metadata.csv", folder / "predictions.csv"
    with truth.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["img_name", "label", "x", "y", "width", "height"])
        for name in BOXES:
            x, y, label = (*NODULES[name][:2], 1) if name in NODULES else (0, 0, 0)
            rows.writerow([f"{name}.mha", label, *((x - 20, y - 20, 40, 40) if label else (0, 0, 0, 0))])
    with found.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["img_name", "x", "y", "width", "height", "probability"])
        rows.writerows(
            [f"{n}.mha", x - 20, y - 20, 40, 40, score] for n, boxes in BOXES.items() for x, y, score in boxes
        )
    return found, truth


FORMATS = {"ours": ours, "coco": coco, "node21": node21}

R = "sensitivity at "
ANSWERS = {
    # found: A and B; false positive: C's. TP 2, FP 1, FN 1 at 0.5; the second box on A is neither
    ("paper", "positives"): {"F1": 2 / 3, "recall": 2 / 3, "precision": 2 / 3, R + "1/4": 2 / 3, R + "1": None},
    # A and C only: C's box is the one false positive in two images
    ("jsrt-140", None): {R + "1/8": 1 / 2, R + "1/4": 1 / 2, R + "1/2": 1 / 2, R + "1": None},
    # two false positives in five images: the curve ends at 0.4
    ("jsrt-247", None): {R + "1/8": 2 / 3, R + "1/4": 2 / 3, R + "1/2": None, "image AUC": 1.0},
    # all positives' best boxes score above N's 0.6; B's box overlaps by a third
    ("node21", None): {"image AUC": 1.0, R + "1/4": 2 / 3, "NODE21 score": 0.75 + 0.25 * 2 / 3},
    # on the rim is no hit: only A is found, and the curve ends at 3 in 5
    ("luna16", None): {R + "1/8": 1 / 3, R + "1/2": 1 / 3, R + "1": None, "CPM": 1 / 3},
    # 25 mm is within 25 mm: A and C found, no false positive at all
    ("distance-25mm", None): {"recall": 1.0, "precision": 1.0, R + "1/8": None, "CPM": None},
    ("distance-22mm", None): {"recall": 1 / 2, "precision": 1 / 2, R + "1/2": 1 / 2},
    # lesions 0.9, 0.8, missed against normals 0.6, nothing: (2 + 2 + 0.5) of 6; 0.6 is one in two normals
    ("jafroc", None): {"JAFROC": 4.5 / 6, "false positives an image": 1 / 2, R + "1/2": 2 / 3, R + "1": None},
}
NEEDS = {"jsrt-140": "lung", "distance-25mm": "lung", "distance-22mm": "lung"}


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(("protocol", "images"), ANSWERS)
def test_every_protocol_by_hand_in_every_format(cxrcad, tmp_path, protocol, images, file_format):
    boxes, truth = FORMATS[file_format](tmp_path)
    flags = ["--predictions", boxes, "--truth", truth, "--protocol", protocol, "--resamples", 0, "--out", "figures"]
    flags += ["--images", images] if images else []
    flags += ["--missing", "empty"] if file_format != "ours" else []  # M stands in no list of boxes
    answer = cxrcad("evaluate", *flags, "--no-report")
    if file_format != "ours" and protocol in NEEDS:
        assert answer.code == 1
        assert "needs to know which nodules lie in the lung fields" in answer.err
        return
    assert answer.code == 0, answer.err
    figures = json.loads((tmp_path / "figures" / "evaluation.json").read_text())["runs"][0]["figures"]
    found = {name: figures[name]["value"] for name in ANSWERS[protocol, images]}
    assert found == pytest.approx(ANSWERS[protocol, images])


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_curve_is_the_same_from_every_format(cxrcad, tmp_path, file_format):
    boxes, truth = FORMATS[file_format](tmp_path)
    flags = ["--hit-rule", "iou", "--missing", "empty", "--out", "figures"]
    answer = cxrcad("froc", "--predictions", boxes, "--truth", truth, *flags)
    assert answer.code == 0, answer.err
    assert "protocol paper (images with a nodule and normal images)" in answer.out
    assert "IoU of at least 0.2" in answer.out
    document = json.loads((tmp_path / "figures" / "froc.json").read_text())
    assert [(point["threshold"], point["hits"], point["false_positives"]) for point in document["points"]] == [
        *((0.9, 1, 0), (0.8, 2, 0), (0.7, 2, 1), (0.6, 2, 2))
    ]
    assert (tmp_path / "figures" / "froc.png").is_file()


def test_duplicates_can_be_false_positives_and_the_threshold_can_be_set(cxrcad, tmp_path):
    boxes, truth = ours(tmp_path)
    flags = ["--predictions", boxes, "--truth", truth, "--resamples", 0, "--no-report", "--out", "figures"]
    cxrcad("evaluate", *flags, "--duplicates", "false-positives")
    runs = json.loads((tmp_path / "figures" / "evaluation.json").read_text())["runs"]
    assert (runs[0]["folds"][0]["tp"], runs[0]["folds"][0]["fp"]) == (2, 3)
    assert runs[0]["hit_rule"].endswith("further findings on it are false positives.")
    assert runs[0]["threshold_from"] == "the file of the boxes"
    cxrcad("evaluate", *flags, "--threshold", "0.85")
    runs = json.loads((tmp_path / "figures" / "evaluation.json").read_text())["runs"]
    assert (runs[0]["folds"][0]["tp"], runs[0]["folds"][0]["fp"], runs[0]["threshold_from"]) == (1, 0, "--threshold")


def test_boxes_that_were_cut_at_a_score_say_so(cxrcad, tmp_path):
    boxes, truth = ours(tmp_path)
    whole = json.loads(boxes.read_text())
    sides = ["--predictions", boxes, "--truth", truth]
    assert "holds no boxes below" not in cxrcad("froc", *sides).err
    write(boxes, {**whole, "find": {"min_score": 0.5}})
    said = cxrcad("froc", *sides).err
    assert (
        "boxes.json: holds no boxes below a score of 0.5; its curve ends there. `cxrcad detect --min-score 0`" in said
    )
    said = cxrcad("evaluate", *sides, "--threshold", "0.2").err
    assert "its curve ends there, so figures at the threshold of 0.2 are those at that score. `cxrcad" in said
    write(boxes, {**whole, "find": {"min_score": 0.0}})
    assert "holds no boxes below" not in cxrcad("froc", *sides).err


def test_two_files_are_compared_on_the_same_truth(cxrcad, tmp_path):
    boxes, truth = ours(tmp_path)
    other, _ = coco(tmp_path)
    poor = json.loads(boxes.read_text())
    poor["images"][1]["findings"] = []
    write(tmp_path / "poor.json", poor)
    answer = cxrcad("compare", boxes, "poor.json", "--truth", truth, "--resamples", 500, "--out", "compared")
    assert answer.code == 0, answer.err
    assert "First: " in answer.out
    document = json.loads((tmp_path / "compared" / "comparison.json").read_text())["figures"]
    assert (document["recall"]["first"], document["recall"]["second"]) == (2 / 3, 1 / 3)
    assert document["recall"]["difference"]["value"] == pytest.approx(1 / 3)
    assert document["recall"]["p"] == 1.0  # one image differs: every draw is as far apart
    assert cxrcad("compare", boxes, other, "--truth", tmp_path / "instances.json", "--missing", "empty").code == 0
    mixed = cxrcad("compare", "runs/toy", boxes, "--truth", truth)
    assert mixed.code == 2
    assert (
        "is compared with another file of them; write runs/toy's boxes with `cxrcad detect --min-score 0" in mixed.err
    )


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--predictions", "boxes.json"], 2, "--predictions and --truth go together"),
        (["--truth", "truth.json"], 2, "--predictions and --truth go together"),
        (
            ["--predictions", "boxes.json", "--truth", "truth.json", "--model", "x"],
            2,
            "--predictions scores a file alone",
        ),
        (["--predictions", "boxes.json", "--truth", "truth.json", "--resamples", "1e9"], 2, "at most 100000"),
        (["--predictions", "none.json", "--truth", "truth.json"], 1, "none.json"),
        (["--predictions", "boxes.json", "--truth", "none.json"], 1, "none.json"),
        (["--predictions", "few.json", "--truth", "truth.json"], 1, "--missing empty"),
        (["--predictions", "boxes.json", "--truth", "truth.json", "--min-iou", "0.5"], 2, "add --hit-rule iou"),
        (
            ["--predictions", "boxes.json", "--truth", "truth.json", "--images", "positives", "--fp-axis", "normals"],
            1,
            "is without a nodule, over which --fp-axis normals counts",
        ),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(cxrcad, tmp_path, flags, code, sentence):
    boxes, _ = ours(tmp_path)
    few = json.loads(boxes.read_text())
    few["images"] = few["images"][:3]
    write(tmp_path / "few.json", few)
    answer = cxrcad("froc", *flags)
    assert (answer.code, answer.out) == (code, "")
    assert sentence in answer.err.splitlines()[-1]


def test_images_without_a_prediction_can_count_as_nothing_found(cxrcad, tmp_path):
    boxes, truth = ours(tmp_path)
    few = json.loads(boxes.read_text())
    few["images"] = few["images"][:3]
    write(tmp_path / "few.json", few)
    answer = cxrcad("froc", "--predictions", "few.json", "--truth", truth, "--missing", "empty", "--resamples", 0)
    assert answer.code == 0, answer.err
    assert "5 images, 3 nodules" in answer.out


def test_boxes_have_no_task_and_without_masks_no_place(cxrcad, tmp_path):
    boxes, truth = ours(tmp_path)
    answer = cxrcad("evaluate", "--predictions", boxes, "--truth", truth, "--no-report", "--resamples", 100)
    assert answer.code == 0, answer.err
    assert " task, all cases" not in answer.out
    assert "-task" not in answer.out
    assert "paper" not in answer.out.replace("protocol paper", "")
    assert "in the lung fields" not in answer.out.split("Subgroups")[0].split("Figures")[1]
    nothing = cxrcad("compare", boxes, "nothing.json", "--truth", truth)
    assert (nothing.code, "nothing.json" in nothing.err) == (1, True)
    bare = cxrcad("compare", boxes, boxes)
    assert (bare.code, "is scored with --truth FILE" in bare.err) == (2, True)
