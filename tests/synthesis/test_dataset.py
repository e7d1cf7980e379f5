"""A simulated data set: which background becomes what, what is written, and open-jsrt as its tool wrote it."""

import csv
from pathlib import Path

import numpy as np
import pytest

from cxrcad.config import SimulateConfig, build
from cxrcad.core import DataError, UsageError
from cxrcad.datasets.read import read_dataset
from cxrcad.imaging.read import read_mask, read_radiograph
from cxrcad.synthesis.backgrounds import Background, BackgroundSet
from cxrcad.synthesis.dataset import PACKAGED_TABLE, PRESETS, plan_set, write_simulated


def config(nih_folder: Path, nodules: Path | str, **given: object) -> SimulateConfig:
    return build(SimulateConfig, {"backgrounds": nih_folder, "nodules": nodules, **given})


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def backgrounds(count: int, others: int = 0) -> BackgroundSet:
    made = [
        Background(Path(f"{i}.png"), (), (1, 1), "normal" if i < count else "other_finding", str(i), "PA", "50", "Male")
        for i in range(count + others)
    ]
    return BackgroundSet(Path("nih"), tuple(made), "nih_file", ())


def test_the_presets_plan_has_jsrts_counts():
    plans = plan_set(backgrounds(200, 60), SimulateConfig(preset="open-jsrt", seed=2000), PRESETS["open-jsrt"])
    levels = [plan.subtlety for plan in plans if plan.subtlety is not None]
    assert (len(plans), len(levels)) == (247, 154)
    assert [levels.count(level) for level in range(1, 6)] == [25, 29, 50, 38, 12]
    assert sum(plan.outside for plan in plans) == 14
    assert (plans[0].name, plans[153].name, plans[154].name, plans[-1].name) == (
        *("OXLN001", "OXLN154", "OXNN001"),
        "OXNN093",
    )
    assert len({plan.background.patient for plan in plans}) == 247
    roles = [[plan.background.role == "normal" for plan in part] for part in (plans[:154], plans[154:])]
    assert [sum(part) for part in roles] == [124, 76]  # all 200 normals, over both parts


def test_the_default_counts_are_5_in_8_and_the_rest():
    plans = plan_set(backgrounds(16), SimulateConfig(seed=0), PRESETS[None])
    assert [plan.name[:4] for plan in plans] == ["SXLN"] * 10 + ["SXNN"] * 6


def test_too_few_backgrounds_are_said():
    with pytest.raises(DataError, match=r"nih: 16 backgrounds with a lung mask, and 154 \+ 93 are asked for; add"):
        plan_set(backgrounds(16), SimulateConfig(preset="open-jsrt", seed=0), PRESETS["open-jsrt"])


def test_a_set_is_written_in_jsrts_layout_and_read_back(nih_folder, ball_nodules, tmp_path):
    made = write_simulated(tmp_path / "out", config(nih_folder, ball_nodules, positives=2, negatives=1))
    assert made == (3, 2)
    dataset = read_dataset(tmp_path / "out")
    assert [case.name for case in dataset.cases] == ["SXLN001", "SXLN002", "SXNN001"]
    assert dataset.notes == ()
    sources = {row["file"]: row for row in rows_of(tmp_path / "out" / "sources.csv")}
    assert {sources[name]["series_uid"] for name in ("SXLN001", "SXLN002")} == {"1.1", "1.2"}  # each once
    for case in dataset.cases:
        source = sources[case.name]
        number = int(source["nih_file"][:2])
        sex = ("Male", "Female")[number % 2]
        assert (source["patient"], case.age_years, case.sex) == (str(100 + number), 40 + number, sex)
        image = read_radiograph(case.image).pixels * 255
        right, left = (read_mask(path) for path in sorted(case.lung_masks, reverse=True))
        assert (right[:, :512].sum(), right[:, 512:].sum()) == (768 * 368, 0)
        assert (left[:, :512].sum(), left[:, 512:].sum()) == (0, 768 * 368)
        if not case.positive:
            continue
        (nodule,) = case.nodules
        assert nodule.in_lung
        assert nodule.diagnosis == "simulated nodule"
        assert image[int(nodule.y_px), int(nodule.x_px)] >= 60 + number + 6
        assert nodule.box_px is not None
        assert nodule.box_px.center == pytest.approx((nodule.x_px, nodule.y_px), abs=2)


def test_the_same_seed_writes_the_same_bytes(nih_folder, ball_nodules, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_simulated(tmp_path / name, config(nih_folder, ball_nodules, positives=1, negatives=0, seed=seed))
    files = {
        name: {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")
               if path.is_file()}
        for name in "abc"
    }  # fmt: skip
    assert files["a"] == files["b"]
    assert len(files["a"]) == 7  # one image, two masks, four tables
    assert files["a"] != files["c"]


def test_limit_writes_the_first_of_each_part(nih_folder, tmp_path):
    settings = {"positives": 2, "negatives": 2}
    write_simulated(tmp_path / "all", config(nih_folder, "analytic", **settings))
    made = write_simulated(tmp_path / "few", config(nih_folder, "analytic", **settings, limit=2))
    assert made == (2, 1)
    for name in ("SXLN001", "SXNN001"):
        image = f"images/{name}.png"
        assert (tmp_path / "few" / image).read_bytes() == (tmp_path / "all" / image).read_bytes()
    assert [row["file"] for row in rows_of(tmp_path / "few" / "sources.csv")] == ["SXLN001", "SXNN001"]


def test_analytic_nodules_stand_with_their_kind_and_without_a_series(nih_folder, tmp_path):
    write_simulated(tmp_path / "out", config(nih_folder, "analytic", positives=3, negatives=0))
    dataset = read_dataset(tmp_path / "out")
    kinds = "solid|spiculated|part-solid|calcified|cavitary"
    for case in dataset.cases:
        assert case.nodules[0].diagnosis is not None
        word, kind, last = case.nodules[0].diagnosis.split()
        assert (word, kind in kinds.split("|"), last) == ("simulated", True, "nodule")
        assert [group.split(":")[0] for group in case.groups] == ["patient"]


@pytest.mark.parametrize(("kind", "side"), [("img", 2048), ("dcm", 1024)])
def test_other_formats_hold_the_same_radiograph(nih_folder, ball_nodules, tmp_path, kind, side):
    settings = {"positives": 1, "negatives": 1}
    write_simulated(tmp_path / "png", config(nih_folder, ball_nodules, **settings))
    write_simulated(tmp_path / kind, config(nih_folder, ball_nodules, **settings, format=kind))
    for png, other in zip(read_dataset(tmp_path / "png").cases, read_dataset(tmp_path / kind).cases, strict=True):
        plain, same = read_radiograph(png.image), read_radiograph(other.image)
        assert same.pixels.shape == (side, side)
        assert same.spacing_mm == pytest.approx((0.35 * 1024 / side,) * 2)
        means = same.pixels.reshape(1024, side // 1024, 1024, side // 1024).mean((1, 3))
        assert np.abs(means - plain.pixels).max() < 0.025  # img doubles the side, and rounds to 12 bits


def test_a_dicom_says_what_was_done_and_of_whom(nih_folder, ball_nodules, tmp_path):
    from pydicom import dcmread

    write_simulated(tmp_path / "out", config(nih_folder, ball_nodules, positives=1, negatives=0, format="dcm"))
    file = dcmread(tmp_path / "out" / "images" / "SXLN001.dcm")
    assert str(file.PatientName) == "Simulated^001"
    assert (file.Manufacturer, file.DerivationDescription) == (
        *("cxrcad simulate",),
        "a nodule inserted by cxrcad simulate",
    )
    assert file.PatientAge[1:] in {f"{age}Y" for age in range(40, 44)}


def test_negative_insertions_are_written_as_normals_with_their_places(nih_folder, ball_nodules, tmp_path):
    settings = {"positives": 2, "negatives": 1, "seed": 5}
    write_simulated(tmp_path / "real", config(nih_folder, ball_nodules, **settings))
    made = write_simulated(tmp_path / "negative", config(nih_folder, ball_nodules, **settings, sham=True))
    assert made == (3, 2)
    dataset = read_dataset(tmp_path / "negative", protocol="jsrt-247")
    assert [case.name for case in dataset.cases] == ["SXNN001", "SXNN002", "SXNN003"]
    assert dataset.positives == ()
    inserted, boxes = rows_of(tmp_path / "negative" / "shams.csv"), rows_of(tmp_path / "real" / "boxes.csv")
    assert [row["patch"] for row in inserted] == ["contralateral", "blurred"]
    places = ("x", "y", "x0", "y0", "x1", "y1", "diameter_mm", "outside_lung")
    assert [[row[key] for key in places] for row in inserted] == [[row[key] for key in places] for row in boxes]
    assert rows_of(tmp_path / "negative" / "boxes.csv") == []


def test_normals_of_a_folder_in_jsrts_layout_are_backgrounds(disc_data, tmp_path):
    write_simulated(tmp_path / "out", config(disc_data, "analytic", positives=1, negatives=1))
    row, _ = rows_of(tmp_path / "out" / "sources.csv")
    assert row["background"].startswith("JPCNN")


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ({"nodules": None}, UsageError, r"no nodules are named; give --nodules FILE\.npz, or --nodules analytic"),
        ({"backgrounds": None}, UsageError, r"no backgrounds are named; give --backgrounds DIR, or --data-root DIR"),
        ({"limit": 3}, UsageError, r"--limit 3: it takes an even number"),
        ({"positives": 3, "negatives": 0}, DataError, r"nodules\.npz: 2 nodules of 6 mm or more, and 3 are needed, "),
        ({"positives": 5, "negatives": 0}, DataError, r"nih: 4 backgrounds with a lung mask, and 5 \+ 0 are asked for"),
        ({"nodules": "none.npz"}, DataError, r"none\.npz: not a file of CT nodules"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(nih_folder, ball_nodules, tmp_path, given, kind, sentence):
    with pytest.raises(kind, match=sentence):
        write_simulated(tmp_path / "out", config(nih_folder, **{"nodules": ball_nodules, **given}))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_files_is_left_alone(nih_folder, ball_nodules):
    with pytest.raises(UsageError, match=r"nih: is a file or holds files already; name a new folder"):
        write_simulated(nih_folder, config(nih_folder, ball_nodules))


def test_a_background_that_takes_no_nodule_is_named(nih_folder, ball_nodules, tmp_path):
    from PIL import Image

    speck = np.zeros((64, 64), np.uint8)
    speck[0, 0] = 255
    for mask in (nih_folder / "lungs").iterdir():
        Image.fromarray(speck).save(mask)
    with pytest.raises(DataError, match=r"0\d\.png: no place for a nodule in its lung fields, \d+ pixels; correct its"):
        write_simulated(tmp_path / "out", config(nih_folder, ball_nodules, positives=1, negatives=0))


# open-jsrt

FIRST_OF_OPEN_JSRT = {
    "CLNDAT_EN.txt": (
        "OXLN001.IMG\t3\t19\t74\tMale\t655\t1285\tbenign\tr.middle lobe\tsimulated nodule\r\n"
        "OXLN002.IMG\t3\t18\t50\tFemale\t1025\t622\tbenign\tl.upper lobe\tsimulated nodule\r\n"
    ),
    "CNNDAT_EN.TXT": "OXNN001.IMG 30 Female normal\nOXNN002.IMG 27 Male normal\n",
    "boxes.csv": (
        "file,x,y,x0,y0,x1,y1,diameter_mm,subtlety,outside_lung\r\n"
        "OXLN001,327.71,642.39,296.0,616.0,360.0,668.0,18.97,3,0\r\n"
        "OXLN002,512.58,311.11,490.0,281.0,539.0,343.0,18.49,3,0\r\n"
    ),
}
"""As make_open_jsrt.py, the tool with which open-jsrt was first made, writes them with the seed 2000."""


def test_open_jsrt_is_the_one_that_its_tool_made(open_data, tmp_path):
    settings = {"preset": "open-jsrt", "data_root": open_data, "limit": 4}
    write_simulated(tmp_path / "out", build(SimulateConfig, settings))
    for name, content in FIRST_OF_OPEN_JSRT.items():
        assert (tmp_path / "out" / name).read_bytes().decode() == content
    first, second, *_ = rows_of(tmp_path / "out" / "sources.csv")
    assert (first["nih_file"], first["nodule"], first["scale"]) == ("00002120_007.png", "178", "1.086")
    assert (second["nih_file"], second["view"], second["scale"]) == ("00003369_013.png", "AP", "1.159")


def test_the_packaged_table_names_open_jsrts_radiographs():
    rows = rows_of(PACKAGED_TABLE)
    assert len(rows) == len({row["file"] for row in rows}) == 288
    assert {row["role"] for row in rows} == {"normal", "other_finding"}
    assert {row["lung_mask"] for row in rows} == {"good", "fair"}
    assert PACKAGED_TABLE.stat().st_size < 60_000
