"""`cxrcad lungs`: masks on each image's own grid, where data sets find them, marked as a model's to the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrcad.core import DataError
from cxrcad.datasets.read import read_dataset
from cxrcad.imaging.raster import read_mask
from cxrcad.inference.detector import Detector
from cxrcad.inference.model import load_bundle


@pytest.fixture
def model(make_toy, tmp_path, monkeypatch):
    """A model whose lung map is the image itself: what is bright is lung."""
    folder = make_toy(tmp_path / "toy")
    real = Detector.run

    def run(self, images):
        return [{**maps, "lung": image} for maps, image in zip(real(self, images), images, strict=True)]

    monkeypatch.setattr(Detector, "run", run)
    return folder


LUNGS = {"a.jpg": (120, 90), "b.png": (64, 64), "c.png": (90, 128)}


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Three images of other sizes (cols x rows), each bright in two rectangles; c.png has a drawn mask."""
    folder = tmp_path / "SET"
    (folder / "lungs").mkdir(parents=True)
    for name, size in LUNGS.items():
        image = np.full(size[::-1], 40, np.uint8) + np.arange(size[0], dtype=np.uint8) % 8
        image[true_lungs(size)] = 220
        Image.fromarray(image).save(folder / name, quality=98)
    (folder / "boxes.csv").write_text(
        "file,x0,y0,x1,y1,label,patient\n" + "".join(f"{n},20,20,30,30,nodule,{i}\n" for i, n in enumerate(LUNGS))
    )
    Image.fromarray(np.full((128, 90), 255, np.uint8)).save(folder / "lungs" / "c.png")
    return folder


def true_lungs(size: tuple[int, int]) -> np.ndarray:
    cols, rows = size
    mask = np.zeros((rows, cols), bool)
    mask[rows // 4 : 3 * rows // 4, cols // 8 : 3 * cols // 8] = True
    mask[rows // 4 : 3 * rows // 4, 5 * cols // 8 : 7 * cols // 8] = True
    return mask


def overlap(path: Path, size: tuple[int, int]) -> float:
    found, true = read_mask(path), true_lungs(size)
    assert found.shape == true.shape
    return float((found & true).sum() / (found | true).sum())


def test_a_data_set_gets_the_masks_it_lacks_and_says_whose_they_are(cxrcad, model, boxes):
    drawn = (boxes / "lungs" / "c.png").read_bytes()
    answer = cxrcad("lungs", boxes, "--model", model)
    assert answer.code == 0, answer.err
    assert answer.out == f"2 lung masks of toy written to {boxes / 'lungs'}\n"
    for name in ("a.jpg", "b.png"):
        path = boxes / "lungs" / f"{name[0]}.png"
        assert overlap(path, LUNGS[name]) > 0.9
        assert set(np.unique(np.asarray(Image.open(path)))) == {0, 255}
    assert (boxes / "lungs" / "c.png").read_bytes() == drawn
    dataset = read_dataset(boxes)
    assert all(case.lung_masks for case in dataset.cases)
    sha256 = load_bundle(model).sha256
    assert dataset.notes == (f"2 lung masks made by the model toy (SHA-256 {sha256[:12]}), not drawn",)
    document = json.loads((boxes / "lungs" / "model.json").read_text())
    assert (document["schema"], sorted(document["masks"])) == ("cxrcad/lungs/1", ["a.png", "b.png"])
    assert document["model"]["sha256"] == sha256


def test_what_is_there_is_left_and_a_changed_image_is_done_again(cxrcad, model, boxes):
    cxrcad("lungs", boxes, "--model", model)
    (boxes / "lungs" / "b.png").unlink()
    answer = cxrcad("lungs", boxes, "--model", model)
    assert answer.out == f"1 lung mask of toy written to {boxes / 'lungs'}, 1 there already\n"
    Image.fromarray(np.asarray(Image.open(boxes / "b.png"))[:, ::-1]).save(boxes / "b.png")
    assert "1 there already" in cxrcad("lungs", boxes, "--model", model).out


def test_any_folder_of_images_and_another_place(cxrcad, model, boxes, tmp_path):
    (boxes / "boxes.csv").unlink()
    (boxes / "sub").mkdir()
    (boxes / "b.png").rename(boxes / "sub" / "b.png")
    (boxes / "sub" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    (boxes / "gone").symlink_to("nowhere")
    answer = cxrcad("lungs", boxes, "--out", "masks", "--model", model)
    assert answer.code == 1
    assert answer.out == "3 lung masks of toy written to masks, 2 failed\n"
    assert f"failed: {boxes / 'gone'}: a link to nowhere, which is not there" in answer.err
    assert f"failed: {boxes / 'sub' / 'x.png'}" in answer.err
    files = sorted(path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png"))
    assert files == ["a.png", "c.png", "sub/b.png"]


def test_masks_in_lungs_are_read_in_jsrt_s_layout_too(cxrcad, make_toy, disc_data, tmp_path):
    folder = shutil.copytree(disc_data, tmp_path / "jsrt")
    shutil.rmtree(folder / "scr")
    assert not any(case.lung_masks for case in read_dataset(folder).cases)
    answer = cxrcad("lungs", folder, "--model", make_toy(tmp_path / "toy"))
    assert answer.code == 0, answer.err
    dataset = read_dataset(folder)
    assert [len(case.lung_masks) for case in dataset.cases] == [1] * 15
    assert [case.image.parent for case in dataset.cases] == [folder / "images"] * 15
    assert dataset.notes[-1].startswith("15 lung masks made by the model toy")


def test_nothing_is_overwritten_that_the_model_did_not_make(cxrcad, model, make_toy, boxes, tmp_path):
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(boxes / "lungs" / "a.png")
    table = (boxes / "boxes.csv").read_text()
    (boxes / "boxes.csv").unlink()
    answer = cxrcad("lungs", boxes, "--model", model)
    assert (answer.code, "is there already and not named in model.json" in answer.err) == (2, True)
    (boxes / "boxes.csv").write_text(table)
    (boxes / "lungs" / "a.png").unlink()
    cxrcad("lungs", boxes, "--model", model)
    other = make_toy(tmp_path / "other", name="other")
    answer = cxrcad("lungs", boxes, "--model", other)
    assert (answer.code, "holds lung masks of the model toy; name another --out" in answer.err) == (2, True)
    (boxes / "lungs" / "model.json").write_text('{"schema": "cxrcad/lungs/1", "model": {"name": 3}, "masks": {}}')
    with pytest.raises(DataError, match=r"model.json: damaged \(.*\); write the masks again with `cxrcad lungs`"):
        read_dataset(boxes)


def test_what_cannot_be_done_is_a_sentence(cxrcad, model, make_toy, boxes, tmp_path, monkeypatch):
    single = make_toy(tmp_path / "single", outputs=("lesion",))
    answer = cxrcad("lungs", boxes, "--model", single)
    assert (answer.code, "single: has no lung task; name a model of --tasks multi" in answer.err) == (1, True)
    assert "there is no such folder" in cxrcad("lungs", tmp_path / "none", "--model", model).err
    (tmp_path / "empty").mkdir()
    assert "holds no radiograph without a lung mask" in cxrcad("lungs", tmp_path / "empty", "--model", model).err
    dark = tmp_path / "dark"
    dark.mkdir()
    image = np.zeros((64, 64), np.uint8)
    image[:4, :4] = np.arange(16).reshape(4, 4)
    Image.fromarray(image).save(dark / "d.png")
    blind = make_toy(tmp_path / "blind")
    monkeypatch.setattr(Detector, "run", lambda self, images: [dict.fromkeys(("lesion", "lung"), 0 * images[0])])
    answer = cxrcad("lungs", dark, "--model", blind)
    assert (answer.code, "the model finds no lungs in it" in answer.err) == (1, True)
    assert not (dark / "lungs" / "d.png").exists()


def test_the_card_says_that_a_model_made_the_masks(cxrcad, make_toy, disc_data, tmp_path):
    pytest.importorskip("torch")
    folder = shutil.copytree(disc_data, tmp_path / "jsrt")
    shutil.rmtree(folder / "scr")
    toy = make_toy(tmp_path / "toy")
    assert cxrcad("lungs", folder, "--model", toy).code == 0
    answer = cxrcad(
        *("train", "--data", folder, "--run", "run", "--fold", 1, "--network", "u-net", "--norm", "group"),
        *("--side", 64, "--max-steps", 2, "--precision", "fp32", "--threads", 1, "--device", "cpu"),
    )
    assert answer.code == 0, answer.err
    assert "15 lung masks made by the model toy" in answer.err
    card = json.loads((tmp_path / "run" / "fold1" / "model" / "card.json").read_text())
    (masks,) = card["training"]["lung_masks_from"]
    assert (masks["name"], masks["sha256"], masks["masks"]) == ("toy", load_bundle(toy).sha256, 6)
    from cxrcad.packaging.package import card_text

    assert "- lung masks: 6 training images with masks of the model toy, not drawn" in card_text(card)


def test_a_mask_lies_as_its_file_does_turned_and_with_pixels_that_are_not_square(cxrcad, model, boxes):
    """b.png has the table's spacing of 1 x 2 mm; a.jpg is turned by EXIF in a folder of images."""
    table = (boxes / "boxes.csv").read_text().splitlines()
    rows = [f"{line},{'1,2' if line.startswith('b') else ','}" for line in table[1:]]
    head = f"{table[0]},spacing_row_mm,spacing_col_mm"
    (boxes / "boxes.csv").write_text("\n".join([head, *rows]) + "\n")
    assert cxrcad("lungs", boxes, "--model", model).code == 0
    assert overlap(boxes / "lungs" / "b.png", LUNGS["b.png"]) > 0.9
    (boxes / "boxes.csv").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(boxes / "a.jpg") as image:
        image.load()
        image.save(boxes / "a.jpg", quality=98, exif=exif)
    answer = cxrcad("lungs", boxes, "--out", "masks", "--model", model)
    assert answer.code == 0, answer.err
    assert overlap(Path("masks") / "a.png", LUNGS["a.jpg"]) > 0.9


def test_a_mask_that_was_changed_by_hand_is_a_drawn_one(cxrcad, model, boxes):
    cxrcad("lungs", boxes, "--model", model)
    path = boxes / "lungs" / "a.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    drawn = path.read_bytes()
    assert read_dataset(boxes).notes[0].startswith("1 lung mask made by the model toy")
    assert cxrcad("lungs", boxes, "--model", model).out.endswith(", 1 there already\n")
    assert path.read_bytes() == drawn
    (boxes / "boxes.csv").unlink()
    answer = cxrcad("lungs", boxes, "--model", model)
    words = f"{path}: is there already and was changed since the model made it; name another --out, or remove it"
    assert (answer.code, words in answer.err) == (2, True)


def test_a_mask_of_an_image_before_is_refused_until_it_is_made_again(cxrcad, model, boxes, monkeypatch):
    cxrcad("lungs", boxes, "--model", model)
    Image.fromarray(np.asarray(Image.open(boxes / "a.jpg"))[::-1]).save(boxes / "a.jpg", quality=98)
    words = "a.png: the model toy made it of another image than .*a.jpg is now; run `cxrcad lungs` again"
    with pytest.raises(DataError, match=words):
        read_dataset(boxes)

    def killed(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cxrcad.commands.lungs.write_atomically", killed)
        cxrcad("lungs", boxes, "--model", model)
    assert len(read_dataset(boxes).notes) == 2  # a.jpg has no mask now
    assert cxrcad("lungs", boxes, "--model", model).out.startswith("1 lung mask of toy written")
    assert read_dataset(boxes).notes[0].startswith("2 lung masks made by the model toy")


def test_masks_are_of_one_grid_and_those_of_an_earlier_version_are_gone_on_with(cxrcad, model, boxes):
    cxrcad("lungs", boxes, "--model", model)
    document = boxes / "lungs" / "model.json"
    now = json.loads(document.read_text())
    older = {**now, "model": {name: value for name, value in now["model"].items() if name != "grid"}}
    del older["files"]
    document.write_text(json.dumps(older))
    (boxes / "lungs" / "b.png").unlink()
    assert cxrcad("lungs", boxes, "--model", model).out.endswith(", 1 there already\n")
    card = json.loads((model / "card.json").read_text())
    (model / "card.json").write_text(json.dumps({**card, "grid": {**card["grid"], "side": 128}}))
    answer = cxrcad("lungs", boxes, "--model", model)
    assert (answer.code, "holds lung masks with other settings; name another --out" in answer.err) == (2, True)
