"""What the benchmarks measure, on inputs whose answer is known; what they print is for a reader."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from cxrcad.config import LossConfig, NetworkConfig
from cxrcad.core import Case
from cxrcad.imaging.preprocess import Geometry
from cxrcad.networks.registry import build_network
from cxrcad.training.loader import Sample

ROOT = Path(__file__).resolve().parent.parent
SIDE = 64


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def batch_norm() -> ModuleType:
    return benchmark("batch_norm")


@pytest.fixture
def samples() -> list[Sample]:
    """Two images of noise about two levels; a nodule of 4 x 4 pixels, lungs in the left half."""
    rng = np.random.default_rng(0)
    nodules, lung = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    nodules[8:12, 8:12], lung[:, : SIDE // 2] = True, True
    images = [rng.integers(level, level + 90, (SIDE, SIDE), np.uint8) for level in (10, 150)]
    geometry = Geometry.__new__(Geometry)  # not looked at
    return [Sample(Case("a", Path("a"), SIDE, SIDE), image, nodules, lung, geometry, "") for image in images]


def test_a_batch_norm_takes_the_statistics_that_it_is_told_and_keeps_its_running_ones(batch_norm):
    norm = torch.nn.BatchNorm2d(1, eps=1e-12)
    norm.running_mean[:], norm.running_var[:] = 1.0, 4.0
    network = torch.nn.Sequential(torch.nn.ReLU(), norm)
    values = torch.tensor([[[[2.0, 4.0], [6.0, 8.0]]]])  # mean 5, variance 5
    assert batch_norm.use_statistics(network, own=False) == 1
    assert network(values).flatten().tolist() == pytest.approx([0.5, 1.5, 2.5, 3.5])
    batch_norm.use_statistics(network, own=True)
    assert network(values).flatten().tolist() == pytest.approx([x / math.sqrt(5) for x in (-3, -1, 1, 3)])
    assert (norm.running_mean.item(), norm.running_var.item()) == (1.0, 4.0)


def test_a_network_that_knows_nothing_has_a_nodule_loss_of_ln_2(batch_norm, samples):
    class Blank(torch.nn.Module):
        def forward(self, image):
            return {task: torch.zeros(len(image), 2, *image.shape[2:]) for task in ("nodule", "lung")}

    found = batch_norm.measure(Blank(), samples, LossConfig())
    assert found.nodule_loss == pytest.approx(math.log(2), abs=1e-6)
    assert found.lung_dice == 0.0
    assert [float(one.max()) for one in found.nodule_maps] == [0.5, 0.5]


@pytest.mark.parametrize(("norm", "same"), [("group", True), ("table1", False), ("batch", False)])
def test_only_group_norm_gives_the_same_with_both_statistics(batch_norm, samples, norm, same):
    torch.manual_seed(0)
    network = build_network(NetworkConfig(norm=norm), SIDE).eval()
    found = []
    for own in (False, True):
        assert (batch_norm.use_statistics(network, own) == 0) == same
        found.append(batch_norm.measure(network, samples, LossConfig()))
    assert (found[0].nodule_loss == found[1].nodule_loss) == same
    assert np.array_equal(found[0].nodule_maps[0], found[1].nodule_maps[0]) == same


def test_the_looks_are_told_apart_and_the_share_is_left_as_it_was():
    looks = benchmark("looks")
    torch.manual_seed(0)
    network = build_network(NetworkConfig(norm="group", look=True), SIDE).eval()
    network.share.fill_(0.3)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    first, second = looks.both_looks(network, image.astype(np.float32) / 255)
    with torch.inference_mode():
        nodule = network(torch.from_numpy(image.astype(np.float32) / 255)[None, None])["nodule"]
    assert float(network.share) == pytest.approx(0.3)
    np.testing.assert_allclose(0.7 * first + 0.3 * second, (nodule[:, 1] - nodule[:, 0])[0].numpy(), atol=1e-5)


def test_a_rate_that_is_not_reached_counts_as_nothing():
    from cxrcad.config import TrainConfig
    from cxrcad.core import Nodule

    looks = benchmark("looks")
    geometry = Geometry.fit(SIDE, SIDE, SIDE, 16, (1.0, 1.0))
    case = Case("A", Path("A.png"), SIDE, SIDE, nodules=(Nodule(20.5, 30.5, 10.0),), spacing_mm=(1.0, 1.0))
    rows, cols = np.mgrid[:SIDE, :SIDE]
    other = 3 - np.hypot(rows - 30, cols - 50).astype(np.float32)
    nodule = 6 - np.hypot(rows - 30, cols - 20).astype(np.float32)
    both, alone = np.maximum(nodule, other), other
    assert looks.reached([both], [(case, geometry)], TrainConfig()) == [1, 1, 1, 0, 0, 0.6, 1]  # one false positive
    assert looks.reached([alone], [(case, geometry)], TrainConfig())[-2:] == [0, 0]
