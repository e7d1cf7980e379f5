"""Polarity told by the pixels: a chest and its inverse, turned or not, and pictures that are no chest."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cxrcad.imaging.polarity import DOUBTFUL, INVERTED, MEAN_CHEST, RIGHT, TURNED_BACK, UNSURE, UNTOLD, polarity
from cxrcad.imaging.read import read_radiograph


def chest(side: int = 200) -> np.ndarray:
    """The mean chest as a picture, 0.1-0.9, with a fine pattern over it."""
    half = np.array(MEAN_CHEST) / 99 * 0.35 + 0.5
    image = Image.fromarray(np.hstack([half, half[:, ::-1]]).astype(np.float32)).resize((side, side), Image.BILINEAR)
    return np.asarray(image) + 0.02 * np.sin(np.arange(side) / 2).astype(np.float32)


def framed(pixels: np.ndarray, level: float) -> np.ndarray:
    return np.pad(pixels, ((30, 60), (40, 10)), constant_values=level)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x[:, ::-1],
        lambda x: x**3,
        lambda x: np.sqrt(x),
        lambda x: framed(x, 0.0),
        lambda x: framed(x, 1.0),
        lambda x: x[20:, 10:180],
        lambda x: np.repeat(x, 2, axis=0)[:230],
    ],
)
def test_a_chest_and_its_inverse(change):
    pixels = np.ascontiguousarray(change(chest()), dtype=np.float32)
    assert polarity(pixels) == RIGHT
    assert polarity(1 - pixels) == INVERTED


@pytest.mark.parametrize("turn", [lambda x: x[::-1], np.rot90, lambda x: np.rot90(x, 3)])
def test_a_chest_that_lies_turned_without_a_tag_is_never_inverted(turn):
    assert polarity(np.ascontiguousarray(turn(chest()))) != INVERTED


def test_slopes_noise_and_shapes_are_no_chests(stored):
    y, x = np.mgrid[:200, :200] / 200
    shapes = (y, 1 - y, x, np.hypot(x - 0.5, y - 0.5), np.exp(-20 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)), stored / 4095)
    noise = np.random.default_rng(0).random((200, 200))
    for shape in (*shapes, *(1 - shape for shape in shapes), noise):
        assert polarity(shape.astype(np.float32)) != INVERTED
    assert polarity(noise.astype(np.float32)) == UNTOLD
    assert polarity(y.astype(np.float32)[::-1]) == UNSURE


@pytest.mark.parametrize("name", ["a.png", "a.dcm"])
def test_an_inverted_file_is_turned_back_and_a_right_one_untouched(make_dicom, tmp_path, name):
    right = np.rint(chest() * 4095).astype(np.uint16)
    found = []
    for values in (right, 4095 - right):
        if name == "a.dcm":
            path = make_dicom(values, name, WindowCenter=2048, WindowWidth=4096)
        else:
            path = tmp_path / name
            Image.fromarray(values).save(path)
        found.append(read_radiograph(path))
    np.testing.assert_array_equal(found[0].pixels, (right.astype(np.float32) / np.float32(4095)))
    np.testing.assert_allclose(found[1].pixels, found[0].pixels, atol=1e-6)
    assert found[1].source.notes == (*found[0].source.notes, TURNED_BACK)


def test_a_header_that_tells_how_the_chest_lies_is_heeded(make_dicom):
    right = np.rint(chest() * 4095).astype(np.uint16)
    path = make_dicom(4095 - right[::-1, ::-1], PatientOrientation=["R", "H"])
    assert TURNED_BACK in read_radiograph(path).source.notes


def test_doubt_is_told_and_changes_nothing(tmp_path):
    values = np.rint(np.linspace(4095, 0, 200)[:, None].repeat(200, axis=1)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    radiograph = read_radiograph(tmp_path / "a.png")
    np.testing.assert_array_equal(radiograph.pixels, values.astype(np.float32) / np.float32(4095))
    assert radiograph.source.notes[-1] == DOUBTFUL


def test_real_radiographs_and_their_inverses(open_data):
    """Every 60th here; benchmarks/polarity.py takes all."""
    paths = sorted((open_data / "nih").glob("*.png"))[::60]
    for path in paths:
        pixels = read_radiograph(path).pixels
        assert (polarity(pixels), polarity(1 - pixels)) == (RIGHT, INVERTED), path.name
    assert len(paths) >= 3
