"""The graph of an ensemble that looks near the lungs alone gives what torch gives, and computes less."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx
import torch
from torch import Tensor, nn

from cxrcad.core import ModelError
from cxrcad.inference.detector import CPU, open_session
from cxrcad.networks.ensemble import Ensemble
from cxrcad.packaging.onnx_crop import crop_to_lungs
from cxrcad.packaging.onnx_export import write_onnx

PATCH = 69


class Bright(nn.Module):
    """A segmentation network to which lungs are what is bright."""

    multiple = 16

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"lesion": torch.cat([0 * x, x], 1), "lung": torch.cat([0 * x, 20 * (x - 0.8)], 1)}


@pytest.fixture(scope="module")
def network() -> Ensemble:
    torch.manual_seed(2)
    made = Ensemble(Bright(), ("raw",), 128, times=1, patch=PATCH)
    made.margin = 8
    return made.eval()


@pytest.fixture(scope="module")
def path(network, tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(network, ("lesion", "lung"), network.multiple, made)
    return made


def image(rows: slice, cols: slice, seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).uniform(0.0, 0.7, (128, 160)).astype(np.float32)
    pixels[rows, cols] += 0.3
    pixels[rows, cols][::3, ::3] = 0.9  # so that each of its places has lung
    return pixels


IMAGES = {
    "middle": image(slice(20, 100), slice(30, 130), 0),
    "corner": image(slice(0, 90), slice(60, 160), 1),
    "one lung": image(slice(20, 100), slice(30, 70), 2),
    "no lung": image(slice(0, 0), slice(0, 0), 3),
}


def lesions(path: Path, images: np.ndarray, outputs: tuple[str, ...] = ("lesion",)) -> list[np.ndarray]:
    found: list[np.ndarray] = open_session(path, [CPU], 1).run(list(outputs), {"image": images})
    return found


@pytest.mark.parametrize("name", IMAGES)
def test_the_cut_graph_gives_what_torch_gives(network, path, name):
    (served,) = lesions(path, IMAGES[name][None, None])
    with torch.inference_mode():
        expected = network(torch.from_numpy(IMAGES[name])[None, None])["lesion"].softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(served, expected, atol=1e-5)


@pytest.mark.parametrize("names", [("middle", "corner"), tuple(IMAGES)])
def test_a_batch_gives_what_its_images_give_alone(path, names):
    images = [IMAGES[name] for name in names]
    (together,) = lesions(path, np.stack(images)[:, None])
    for found, alone in zip(together, images, strict=True):
        np.testing.assert_allclose(found, lesions(path, alone[None, None])[0][0], atol=1e-6)


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (["middle"], (96, 120)),
        (["corner"], (100, 108)),
        (["middle", "corner"], (108, 140)),
        (["no lung"], (128, 160)),
    ],
)
def test_the_classifier_is_given_no_more_than_the_lungs(path, tmp_path, names, sides):
    model = onnx.load(path)
    (first,) = (node for node in model.graph.node if "network.classifier.convs.0.weight" in node.input)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(first.input[0]))
    onnx.save(model, tmp_path / "told.onnx")
    images = np.stack([IMAGES[name] for name in names])[:, None]
    (given,) = lesions(tmp_path / "told.onnx", images, (first.input[0],))
    assert given.shape == (len(names), 1, *(side + PATCH - 1 for side in sides))


def test_another_graph_is_refused_in_a_sentence():
    with pytest.raises(ModelError, match=r"0 operations take network\.classifier\.convs\.0\.weight, not 1"):
        crop_to_lungs(onnx.helper.make_graph([], "g", [], []), 4, PATCH)
