"""A training that starts from a model: what stays as it was, what is ignored, and the mean of both weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cxrcad.config import TrainConfig, build
from cxrcad.core import UsageError
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.networks.registry import build_network
from cxrcad.packaging.parity import load_network
from cxrcad.training.device import open_backend, predict
from cxrcad.training.fine_tuning import blended, freeze_early, without_unboxed
from cxrcad.training.plan import train

SMALL = {
    "side": 96, "fold": "1", "threads": 1, "precision": "fp32", "norm": "group", "channels": "raw,local", "batch": 4,
    "max_steps": 2, "normals": True, "network": "deeplabv3plus", "width": 16,
}  # fmt: skip
CLASSIFIER = {
    **SMALL, "side": 192, "patch_classifier": True, "patches_per_image": 12, "mining_rounds": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def first(boxed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to start from."""
    return train(build(TrainConfig, {**SMALL, "data": boxed, "run": tmp_path_factory.mktemp("runs") / "first"}))


@pytest.fixture(scope="module")
def second(boxed: Path, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble to start from."""
    run = tmp_path_factory.mktemp("runs") / "second"
    return train(build(TrainConfig, {**CLASSIFIER, "data": boxed, "run": run, "initial_weights": str(first)}))


def _weights(run: Path) -> dict[str, Tensor]:
    return load_network(run / "fold1" / "model").state_dict()


def _moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> Iterator[str]:
    return (name for name, value in before.items() if not torch.equal(value, after[name]))


def test_early_layers_stay_and_the_others_learn(boxed, first, tmp_path):
    run = train(
        build(
            TrainConfig,
            {**SMALL, "data": boxed, "run": tmp_path / "run", "initial_weights": str(first), "freeze_early": True},
        )
    )
    moved = set(_moved(_weights(first), _weights(run)))
    assert not [name for name in moved if name.startswith(("encoder.stem.", "encoder.low."))]
    assert {"heads.lesion.weight", "point.conv.weight"} <= moved


def test_a_patch_classifier_keeps_its_early_layers_and_the_statistics_of_batch_norm(boxed, first, second, tmp_path):
    run = train(
        build(
            TrainConfig,
            {**CLASSIFIER, "data": boxed, "run": tmp_path / "run", "initial_weights": str(first),
             "classifier_weights": str(second), "freeze_early": True},
        )
    )  # fmt: skip
    moved = {name.removeprefix("classifier.") for name in _moved(_weights(second), _weights(run))}
    assert "last.weight" in moved
    assert not [name for name in moved if "running" in name or name.startswith(("convs.3.", "norms.0."))]


@pytest.mark.parametrize("network", ["mo-segnet", "u-net", "deeplabv3plus", "pspnet"])
def test_every_network_has_early_layers_and_later_ones(network):
    built = build_network(build(TrainConfig, {"network": network, "width": 16}).network, 64)
    freeze_early(built)
    learned = [parameter.requires_grad for parameter in built.parameters()]
    assert 0 < sum(learned) < len(learned)
    assert not learned[0]
    assert learned[-1]


def test_the_mean_lies_between_both_weights(boxed, first, tmp_path):
    trained = load_network(first / "fold1" / "model")
    initial = {name: torch.zeros_like(value) for name, value in trained.state_dict().items()}
    own = {name: value.clone() for name, value in trained.state_dict().items()}
    for name, value in blended(trained, initial, 0.25).state_dict().items():
        assert torch.allclose(value, 0.75 * own[name])


def test_a_run_that_keeps_a_part_of_its_start_lies_nearer_to_it(boxed, first, tmp_path):
    start, runs = _weights(first), {}
    for fraction in (0.0, 0.75):
        runs[fraction] = train(
            build(TrainConfig, {
                **SMALL, "data": boxed, "run": tmp_path / str(fraction), "initial_weights": str(first),
                "initial_fraction": fraction,
            })
        )  # fmt: skip
    name = "heads.lesion.weight"
    away = {fraction: _weights(run)[name] - start[name] for fraction, run in runs.items()}
    assert away[0.0].abs().max() > 0
    assert torch.allclose(away[0.75], 0.25 * away[0.0], atol=1e-6)


def test_what_the_start_finds_beside_a_box_is_neither_lesion_nor_none(boxed, first):
    config = build(
        TrainConfig,
        {**SMALL, "initial_weights": str(first / "fold1" / "model"), "ignore_unboxed": 0.5, "ignore_rim": 0.1},
    )
    samples = load_samples(read_dataset(boxed).cases, config, 16)
    backend = open_backend(config)
    ignored = 0
    for before, after in zip(samples, without_unboxed(samples, config, backend), strict=True):
        if not before.case.positive:
            assert after is before
            continue
        seen = predict(load_network(first / "fold1" / "model"), before.image, backend)["lesion"] >= 0.5
        assert before.unknown is not None
        assert after.unknown is not None
        np.testing.assert_array_equal(after.unknown, before.unknown | (seen & ~before.lesion))
        ignored += int((after.unknown & ~before.unknown).sum())
    assert ignored


@pytest.mark.parametrize(
    "setting", [{"freeze_early": True}, {"initial_fraction": 0.5}, {"ignore_unboxed": 0.5}], ids=str
)
def test_settings_of_a_fine_tuning_need_a_model_to_start_from(boxed, tmp_path, setting):
    with pytest.raises(UsageError, match=r"is for a training that starts from a model; name one with --initial-w"):
        train(build(TrainConfig, {**SMALL, **setting, "data": boxed, "run": tmp_path / "run"}))
