"""Phantoms: each structure has the contrast of a real one, the files are JSRT's, the truth is what was drawn."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage as ndi

from cxrcad.config import PhantomConfig
from cxrcad.core import Case, DataError, UsageError, WriteError
from cxrcad.datasets.read import read_dataset
from cxrcad.files import Silent, write_atomically
from cxrcad.synthesis.files import dicom_bytes, img_bytes, mask_bytes, png_bytes
from cxrcad.synthesis.phantom import dataset as phantom_module
from cxrcad.synthesis.phantom.dataset import plan_phantoms, write_phantoms
from cxrcad.synthesis.phantom.image import Phantom, phantom_image
from cxrcad.synthesis.projection import CONTRAST

SIDE = 512
MM = 358.4 / SIDE


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [phantom_image((11, index), SIDE) for index in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantoms")


@pytest.fixture(scope="module")
def cases(folder: Path) -> tuple[Case, ...]:
    return write_phantoms(folder, PhantomConfig(cases=8, seed=3, image_side=256, format="png"))


def grey(phantom: Phantom) -> NDArray[np.float32]:
    return phantom.pixels * 255


def lung_core(phantom: Phantom) -> NDArray[np.bool_]:
    return np.asarray(ndi.binary_erosion(phantom.chest.lungs, iterations=round(4 / MM)), bool)


def contrast_within(phantom: Phantom, layer: str, least_mm: float) -> float:
    """Grey level where `layer` adds `least_mm` of water or more in the lungs, less that of the pixels nearby."""
    inside = lung_core(phantom)
    there = (phantom.chest.layers[layer] > least_mm) & inside
    level = phantom.chest.layers[layer]
    bare = (level < 0.25 * least_mm) & inside & ndi.binary_dilation(there, iterations=round(6 / MM))
    assert there.sum() > 50
    assert bare.sum() > 50
    return float(grey(phantom)[there].mean() - grey(phantom)[bare].mean())


def test_lungs_are_dark_and_the_mediastinum_is_bright_as_in_real_radiographs(phantoms: list[Phantom]) -> None:
    # 24 real ones: lungs 59-138 (10th-90th percentile), mediastinum 164-225
    for phantom in phantoms:
        rows, cols = np.nonzero(phantom.chest.lungs)
        middle = round((cols.min() + cols.max()) / 2)
        level = slice(rows.min() + round(80 / MM), rows.min() + round(160 / MM))
        assert 59 < np.median(grey(phantom)[lung_core(phantom)]) < 150
        assert 155 < np.median(grey(phantom)[level, middle - 10 : middle + 10]) < 235


def test_ribs_are_brighter_than_the_lung_between_them(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert 8 < contrast_within(phantom, "ribs", 8.0) < 45


def test_ribs_cross_the_lungs_on_both_sides_many_times(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for lung in (phantom.chest.right_lung, phantom.chest.left_lung):
            column = round(np.nonzero(lung)[1].mean())
            bony = (phantom.chest.layers["ribs"][:, column] > 5) & lung[:, column]
            assert ndi.label(bony)[1] >= 5


def test_clavicles_cross_the_apices(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert contrast_within(phantom, "clavicles", 8.0) > 8
        bone_rows = np.nonzero((phantom.chest.layers["clavicles"] > 8) & phantom.chest.lungs)[0]
        lung_rows = np.nonzero(phantom.chest.lungs)[0]
        assert bone_rows.max() < lung_rows.min() + 0.35 * np.ptp(lung_rows)


def test_vessels_are_brighter_than_lung_and_taper_outward(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        assert 4 < contrast_within(phantom, "vessels", 5.0) < 45
        vessels = phantom.chest.layers["vessels"]
        for lung in (phantom.chest.right_lung, phantom.chest.left_lung):
            cols = np.arange(SIDE)[None] * np.ones((SIDE, 1))
            reach = np.abs(cols - SIDE / 2) / np.abs(cols[lung] - SIDE / 2).max()
            inner, outer = lung & (reach < 0.55), lung & (reach > 0.8)
            assert np.percentile(vessels[inner], 98) > 1.3 * np.percentile(vessels[outer], 98)


def test_the_heart_is_brighter_than_the_lung_and_lies_left(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        heart = phantom.chest.heart & ~phantom.chest.lungs
        assert np.median(grey(phantom)[heart]) > np.median(grey(phantom)[lung_core(phantom)]) + 40
        cols = np.nonzero(phantom.chest.lungs)[1]
        middle = (cols.min() + cols.max()) / 2
        assert np.nonzero(phantom.chest.heart)[1].mean() > middle  # the patient's left is image right


def test_the_diaphragm_is_an_edge_and_the_right_dome_is_higher(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        summits = []
        for lung, outward in ((phantom.chest.right_lung, -1), (phantom.chest.left_lung, 1)):
            cols = np.unique(np.nonzero(lung)[1])[::outward]
            lateral = cols[round(0.60 * len(cols)) : round(0.85 * len(cols))]  # beside the heart
            floors = [int(np.nonzero(lung[:, column])[0].max()) for column in lateral]
            above, below = round(8 / MM), round(6 / MM)
            image = grey(phantom)
            steps = [
                image[floor + below, col] - image[floor - above, col]
                for floor, col in zip(floors, lateral, strict=True)
            ]
            assert np.mean(steps) > 20
            summits.append(min(floors))
        assert summits[0] < summits[1]


def test_trachea_and_spine_stand_in_the_midline(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        air = phantom.chest.layers["airways"]
        bone = phantom.chest.layers["spine"]
        upper = slice(0, SIDE // 4)
        assert abs(np.argmin(air[upper].sum(0)) - SIDE / 2) < 20 / MM
        assert air.min() < -8
        assert abs(ndi.center_of_mass(bone)[1] - SIDE / 2) < 20 / MM


def test_noise_is_there_and_about_as_strong_as_in_real_radiographs() -> None:
    # 24 real ones at 0.35 mm: deviation from a 1.5 pixel blur 1.56-1.94 grey levels in the lungs
    phantom = phantom_image((11, 0), 1024)
    rough = grey(phantom) - ndi.gaussian_filter(grey(phantom), 1.5)
    assert 1.2 < rough[ndi.binary_erosion(phantom.chest.lungs, iterations=12)].std() < 2.5


def test_the_seed_decides_everything() -> None:
    once, again = (phantom_image(5, 256, subtlety=4) for _ in range(2))
    other = phantom_image(6, 256, subtlety=4)
    assert once.pixels.tobytes() == again.pixels.tobytes()
    assert once.nodule == again.nodule
    assert np.abs(once.pixels - other.pixels).mean() > 0.02


def test_patients_differ_in_size_sex_and_exposure() -> None:
    drawn = [phantom_image((4, index), 256) for index in range(8)]
    assert {phantom.anatomy.sex for phantom in drawn} == {"Male", "Female"}
    areas = [int(phantom.chest.lungs.sum()) for phantom in drawn]
    assert max(areas) > 1.15 * min(areas)
    levels = [float(np.median(phantom.pixels[phantom.chest.lungs])) for phantom in drawn]
    assert max(levels) - min(levels) > 0.05


@pytest.mark.parametrize("subtlety", [1, 2, 3, 4, 5])
def test_a_nodule_has_the_contrast_of_its_subtlety(subtlety: int) -> None:
    low, high = CONTRAST[subtlety]
    phantom = phantom_image((21, subtlety), 256, subtlety=subtlety)
    assert low - 0.01 <= phantom.contrast <= high + 0.01
    without = phantom_image((21, subtlety), 256)
    core = phantom.chest.layers["nodule"] > 0.5 * phantom.chest.layers["nodule"].max()
    measured = float((grey(phantom) - grey(without))[core].mean())
    assert measured == pytest.approx(phantom.contrast, abs=0.5)


def test_contrast_ranges_grow_with_subtlety() -> None:
    edges = [edge for level in range(1, 6) for edge in CONTRAST[level]]
    assert edges == sorted(edges)


@pytest.mark.parametrize("outside", [False, True])
def test_truth_agrees_with_what_was_drawn(outside: bool) -> None:
    for seed in (1, 2):
        phantom = phantom_image(seed, SIDE, subtlety=5, outside_lung=outside)
        nodule = phantom.nodule
        assert nodule is not None
        added = phantom.chest.layers["nodule"]
        visible = added > 0.2 * added.max()
        rows, cols = np.nonzero(visible)
        box = nodule.box_px
        assert (box.x0, box.y0, box.x1, box.y1) == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
        assert nodule.diameter_mm == pytest.approx(2 * np.sqrt(visible.sum() / np.pi) * MM)
        assert 6 * 0.8 < nodule.diameter_mm < 40 * 1.3
        # The image less the same image without the nodule; over dense tissue the display flattens one side more.
        difference = ndi.gaussian_filter(grey(phantom) - grey(phantom_image(seed, SIDE)), 1)
        y, x = ndi.center_of_mass(difference > 0.2 * difference.max())
        tolerance = 2.0 if outside else 1.0
        assert abs(x + 0.5 - nodule.x_px) < tolerance
        assert abs(y + 0.5 - nodule.y_px) < tolerance
        centre = phantom.chest.lungs[int(nodule.y_px), int(nodule.x_px)]
        assert bool(centre) is not outside
        assert nodule.in_lung is not outside


def test_five_in_eight_have_a_nodule_and_jsrt_has_154_of_247() -> None:
    assert [sum(plan.subtlety is not None for plan in plan_phantoms(n, 0)) for n in (1, 8, 20, 80, 247)] == [
        1,
        5,
        13,
        50,
        154,
    ]


def test_subtleties_and_places_have_jsrts_shares() -> None:
    plans = [plan for plan in plan_phantoms(247, 7) if plan.subtlety is not None]
    assert Counter(plan.subtlety for plan in plans) == {1: 25, 2: 29, 3: 50, 4: 38, 5: 12}
    assert sum(plan.outside_lung for plan in plans) == 14
    assert [plan.name for plan in plan_phantoms(3, 7)] == ["JPCLN001", "JPCLN002", "JPCNN001"]
    assert plan_phantoms(40, 7) == plan_phantoms(40, 7)
    assert plan_phantoms(40, 7) != plan_phantoms(40, 8)


def test_an_img_is_2048_square_12_bit_big_endian_and_dense_is_low() -> None:
    pixels = np.zeros((2048, 2048), np.float32)
    pixels[0, 0], pixels[0, 1] = 1.0, 0.5
    content = img_bytes(pixels)
    assert len(content) == 8_388_608
    assert np.frombuffer(content, ">u2")[:3].tolist() == [0, 2047, 4095]


def test_an_img_folder_holds_jsrts_files(tmp_path: Path) -> None:
    (case,) = write_phantoms(tmp_path, PhantomConfig(cases=1, seed=1))
    assert case.image.name == "JPCLN001.IMG"
    content = case.image.read_bytes()
    assert len(content) == 2048 * 2048 * 2
    counts = np.frombuffer(content, ">u2").reshape(2048, 2048)
    assert counts.max() <= 4095
    with Image.open(case.lung_masks[0]) as mask:
        assert mask.size == (1024, 1024)
        inside = np.asarray(mask.convert("L")) > 0
    assert np.median(counts[::2, ::2][inside]) > np.median(counts[::2, ::2][~inside])  # air high, tissue low
    nodule = case.nodules[0]
    row = (tmp_path / "CLNDAT_EN.txt").read_bytes().decode("ascii").split("\t")
    assert [int(row[5]), int(row[6])] == [round(nodule.x_px), round(nodule.y_px)]


def test_an_img_of_another_side_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--image-side 1024: a JSRT \.IMG is always 2048 x 2048"):
        write_phantoms(tmp_path, PhantomConfig(cases=1, image_side=1024))
    assert list(tmp_path.iterdir()) == []


def test_tables_are_jsrts(folder: Path, cases: tuple[Case, ...]) -> None:
    content = (folder / "CLNDAT_EN.txt").read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") == 5
    rows = [line.split("\t") for line in content.decode("ascii").splitlines()]
    assert [len(row) for row in rows] == [10] * 5
    assert [row[0] for row in rows] == [f"JPCLN{number:03d}.IMG" for number in range(1, 6)]
    for row, case in zip(rows, [case for case in cases if case.positive], strict=True):
        nodule = case.nodules[0]
        scale = 2048 / case.cols  # CLNDAT's grid
        assert [int(row[5]), int(row[6])] == [round(nodule.x_px * scale), round(nodule.y_px * scale)]
        assert (int(row[1]), int(row[2]), row[8]) == (nodule.subtlety, round(nodule.diameter_mm or 0), nodule.location)
    lines = (folder / "CNNDAT_EN.TXT").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["JPCNN001.IMG", "JPCNN002.IMG", "JPCNN003.IMG"]
    assert all(line.split()[2] in ("Male", "Female") and line.endswith(" normal") for line in lines)


def test_boxes_are_on_the_1024_grid(folder: Path, cases: tuple[Case, ...]) -> None:
    with open(folder / "boxes.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["file", "x", "y", "x0", "y0", "x1", "y1", "diameter_mm", "subtlety", "outside_lung"]
    for row, case in zip(rows, [case for case in cases if case.positive], strict=True):
        box = case.nodules[0].box_px
        assert box is not None
        scale = 1024 / case.cols
        assert [float(row[key]) for key in ("x0", "y0", "x1", "y1")] == [
            v * scale for v in (box.x0, box.y0, box.x1, box.y1)
        ]
        assert row["outside_lung"] == str(int(not case.nodules[0].in_lung))


def test_masks_lie_where_scr_has_them(folder: Path, cases: tuple[Case, ...]) -> None:
    names = {"fold1": set(), "fold2": set()}  # type: dict[str, set[str]]
    for path in folder.glob("scr/fold*/masks/*/*.gif"):
        names[path.parts[-4]].add(path.stem)
    assert names["fold1"].isdisjoint(names["fold2"])
    assert names["fold1"] | names["fold2"] == {case.name for case in cases}
    right, left = (np.asarray(Image.open(path).convert("L")) for path in cases[0].lung_masks)
    assert np.unique(right).tolist() == [0, 255]
    assert np.nonzero(right)[1].max() < np.nonzero(left)[1].min()  # the right lung lies at image left
    assert (cases[0].lung_masks[0].parent.parent / "heart" / "JPCLN001.gif").is_file()


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    def digest(name: str, kind: str) -> dict[str, str]:
        write_phantoms(tmp_path / name, PhantomConfig(cases=2, seed=3, image_side=256, format=kind))
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        return {str(path.relative_to(tmp_path / name)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digest("a", "dcm") == digest("b", "dcm")
    assert len(digest("c", "png")) == 2 + 2 * 3 + 3


def test_a_png_has_8_or_16_bits() -> None:
    pixels = np.array([[0, 0.5], [0.25, 1]], np.float32)
    for bits, kind in ((8, np.uint8), (16, np.uint16)):
        levels = np.asarray(Image.open(io.BytesIO(png_bytes(pixels, bits))))
        assert levels.dtype == kind
        assert levels.tolist() == np.rint(pixels * (2**bits - 1)).astype(int).tolist()


def test_dicom_files_show_the_same_image_with_both_photometric_interpretations() -> None:

    pydicom = pytest.importorskip("pydicom")
    pixels = phantom_image(2, 256).pixels
    shown = []
    for number in (1, 2):
        content = dicom_bytes(pixels, f"JPCNN{number:03d}", number, 7, "Female", 61)
        read = pydicom.dcmread(io.BytesIO(content))
        assert read.SOPClassUID.name == "Digital X-Ray Image Storage - For Presentation"
        assert (read.Rows, read.Columns, read.BitsStored, read.HighBit) == (256, 256, 12, 11)
        assert [float(value) for value in read.ImagerPixelSpacing] == [1.4, 1.4]
        assert list(read.PatientOrientation) == ["L", "F"]
        assert str(read.PatientName) == f"Phantom^{number:03d}"
        assert read.SOPInstanceUID.is_valid
        inverted = {"MONOCHROME1": True, "MONOCHROME2": False}[read.PhotometricInterpretation]
        assert inverted is (number == 1)
        shown.append(4095 - read.pixel_array.astype(int) if inverted else read.pixel_array.astype(int))
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[0], np.rint(pixels * 4095).astype(int))


def test_a_mask_is_enlarged_to_1024() -> None:

    mask = np.zeros((256, 256), bool)
    mask[64:128, 32:64] = True
    levels = np.asarray(Image.open(io.BytesIO(mask_bytes(mask))).convert("L"))
    assert levels.shape == (1024, 1024)
    assert int((levels == 255).sum()) == 16 * 64 * 32
    assert (levels[256:512, 128:256] == 255).all()


def test_a_set_that_is_cut_short_leaves_nothing(tmp_path, monkeypatch):
    def cut(*arguments):
        raise KeyboardInterrupt

    config = PhantomConfig(cases=1, image_side=256, format="png")
    with monkeypatch.context() as patched:
        patched.setattr(phantom_module, "write_tables", cut)
        with pytest.raises(KeyboardInterrupt):
            write_phantoms(tmp_path / "set", config)
    assert list((tmp_path / "set").iterdir()) == []
    write_phantoms(tmp_path / "set", config)


def test_a_folder_that_holds_anything_but_phantoms_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "CLNDAT_EN.txt").write_text("JPCLN001.IMG\t5\t15\t53\tMale\t1634\t692\tmalignant\tl.upper\tcancer\n")
    config = PhantomConfig(cases=1, image_side=256, format="png")
    with pytest.raises(UsageError, match="holds other files, which phantoms could overwrite; name a new folder"):
        write_phantoms(tmp_path, config)
    assert [path.name for path in tmp_path.iterdir()] == ["CLNDAT_EN.txt"]
    write_phantoms(tmp_path / "new", PhantomConfig(cases=1, image_side=256, format="dcm"))
    write_phantoms(tmp_path / "new", config)
    assert [path.name for path in (tmp_path / "new" / "images").iterdir()] == ["JPCLN001.png"]


def test_a_set_is_no_data_set_before_it_is_whole(tmp_path, monkeypatch):
    """CLNDAT_EN.txt comes last: what was killed before has none, is not read, and is not mixed with another set."""
    written: list[str] = []

    def stopped(path: Path, data: bytes | str) -> None:
        if path.name == "CLNDAT_EN.txt":
            raise KeyboardInterrupt
        written.append(path.name)
        write_atomically(path, data)

    monkeypatch.setattr("cxrcad.synthesis.files.write_atomically", stopped)
    monkeypatch.setattr(phantom_module, "_remove", lambda folder: None)  # as if it had been killed
    config = PhantomConfig(cases=1, image_side=256, format="png")
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "out", config)
    assert written[-2:] == ["CNNDAT_EN.TXT", "boxes.csv"]
    with pytest.raises(DataError, match="CLNDAT_EN"):
        read_dataset(tmp_path / "out")
    with pytest.raises(UsageError, match="holds other files"):
        write_phantoms(tmp_path / "out", config)


def test_an_earlier_set_that_cannot_be_removed_is_not_mixed_with_another(tmp_path, monkeypatch):
    write_phantoms(tmp_path / "out", PhantomConfig(cases=1, image_side=256, format="png"))
    before = sorted(path for path in (tmp_path / "out").rglob("*"))

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("cxrcad.synthesis.phantom.dataset.shutil.rmtree", refused)
    with pytest.raises(WriteError, match=r"images: of an earlier set of phantoms, and cannot be removed \(Permission"):
        write_phantoms(tmp_path / "out", PhantomConfig(cases=2, image_side=256, format="dcm"))
    assert sorted(path for path in (tmp_path / "out").rglob("*")) == before


def test_progress_is_told_and_after_a_few_phantoms_the_time_that_is_left(tmp_path, monkeypatch):
    class Told(Silent):
        def __init__(self):
            self.said = []

        def start(self, title, total_steps, done_steps):
            self.said.append((title, total_steps, done_steps))

        def step(self, done_steps, loss=None):
            self.said.append(done_steps)

        def note(self, text):
            self.said.append(text)

    drawn, told = phantom_image(5, 256, subtlety=4), Told()
    monkeypatch.setattr(phantom_module, "phantom_image", lambda *_, **__: drawn)
    write_phantoms(tmp_path, PhantomConfig(cases=10, image_side=256, format="png"), told)
    note = told.said.pop(5)
    assert told.said == [("phantom", 10, 0), *range(1, 11)]
    assert re.fullmatch(r"\d+ (s|min) for the 6 phantoms left at \S+ s each on this machine", note)


def test_one_subtlety_can_be_asked_for(tmp_path):
    config = PhantomConfig(cases=4, seed=1, subtlety=5, image_side=256, format="png")
    assert {nodule.subtlety for case in write_phantoms(tmp_path, config) for nodule in case.nodules} == {5}
