"""Equations 1 and 2 and the learned balance, with answers by hand."""

import math

import numpy as np
import pytest
import torch

from cxrcad.config import LossConfig, TrainConfig, build
from cxrcad.core import UsageError
from cxrcad.training.data import Batch
from cxrcad.training.losses import (
    LearnedBalance,
    class_weights,
    make_balance,
    weighted_cross_entropy,
)
from cxrcad.training.segmentation import _losses


def labels(nodule_pixels: int, of: int = 100) -> torch.Tensor:
    flat = torch.zeros(of, dtype=torch.int64)
    flat[:nodule_pixels] = 1
    return flat.reshape(1, 10, of // 10)


def test_weights_are_the_other_pixels_over_the_class_s_own():
    assert class_weights(labels(20), 0, 1000).tolist() == [20 / 80, 80 / 20]


def test_weights_stay_within_their_bounds():
    assert class_weights(labels(1), 1, 10).tolist() == [1, 10]


def test_an_image_without_a_nodule_has_a_finite_weight():
    assert class_weights(labels(0), 0, 1000).tolist() == [0, 100]
    loss = weighted_cross_entropy(torch.zeros(1, 2, 10, 10), labels(0), 0.5, 1000, 0)
    assert loss.item() == pytest.approx(0.5 * math.log(2))


def test_equation_1_is_the_mean_of_weighted_log_losses():
    loss = weighted_cross_entropy(torch.zeros(1, 2, 10, 10), labels(20), 0, 1000, 0)
    assert loss.item() == pytest.approx((20 * 4 + 80 * 0.25) / 100 * math.log(2))


def test_a_focal_loss_leaves_what_is_sure_and_keeps_what_is_wrong():
    logits = torch.zeros(1, 2, 10, 10)
    logits[0, 0] = 4.0  # sure that nothing is a nodule: right for 80 pixels, wrong for 20
    sure = 1 / (1 + math.exp(-4))
    loss = weighted_cross_entropy(logits, labels(20), 1, 1, 2)
    expected = 0.8 * -math.log(sure) * (1 - sure) ** 2 + 0.2 * -math.log(1 - sure) * sure**2
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert weighted_cross_entropy(logits, labels(20), 1, 1, 0).item() > loss.item()


def test_equation_2_weighs_nodules_with_lambda():
    balance = make_balance(build(LossConfig, {"balance": "0.99"}))
    both = {"lesion": torch.tensor(2.0), "lung": torch.tensor(1.0)}
    assert balance(both).item() == pytest.approx(0.99 * 2 + 0.01 * 1)
    assert balance({"lesion": torch.tensor(2.0)}).item() == 2.0
    assert balance.state() == 0.99


@pytest.mark.parametrize("value", ["1.5", "-0.1", "much", "nan"])
def test_a_balance_that_is_none_is_refused(value):
    with pytest.raises(UsageError, match="takes a number of 0-1, or learned"):
        make_balance(build(LossConfig, {"balance": value}))


@pytest.mark.parametrize("start", [0.5, 0.9, 0.99])
def test_a_learned_balance_starts_at_lambda_and_is_learned_to_the_same_end(start):
    balance = make_balance(build(LossConfig, {"balance": "learned", "balance_start": start}))
    assert isinstance(balance, LearnedBalance)
    assert balance.state() == pytest.approx(start)
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(600):  # with losses fixed at L, exp(-s) L + s / 2 is least at exp(-s) = 1 / (2 L)
        loss = balance({"lesion": torch.tensor(0.1), "lung": torch.tensor(0.4)})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = {task: math.exp(-s.item()) for task, s in balance.log_variance.items()}
    assert weights == pytest.approx({"lesion": 5.0, "lung": 1.25}, rel=0.01)
    assert balance.state() == pytest.approx(0.8, abs=0.005)


def test_the_lung_loss_counts_only_images_that_have_a_mask():
    """Equation 1 of the images with masks: those without change neither its mean nor its class weights."""
    outputs = {task: torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)) for task in ("lesion", "lung")}
    masks = torch.zeros(3, 2, 8, 8)
    masks[:, :, 2:4, 2:5] = 1
    masks[1, 1] = 0  # what a sample without a mask is drawn with
    known = torch.tensor([True, False, True])
    batch = Batch(torch.zeros(3, 1, 8, 8), masks.bool(), known, np.random.default_rng(0))
    config = TrainConfig()
    found = _losses(outputs, masks, batch.has_lung, config)
    weights = config.loss.min_class_weight, config.loss.max_class_weight
    alone = weighted_cross_entropy(outputs["lung"][[0, 2]], masks[[0, 2], 1].long(), *weights, 0.0)
    assert float(found["lung"]) == pytest.approx(float(alone))
    everything = weighted_cross_entropy(outputs["lung"], masks[:, 1].long(), *weights, 0.0)
    assert float(found["lung"]) != pytest.approx(float(everything))
    none = Batch(batch.images, batch.masks, torch.tensor([False] * 3), batch.rng)
    assert set(_losses(outputs, masks, none.has_lung, config)) == {"lesion"}


def test_ignored_pixels_count_neither_in_the_mean_nor_in_the_class_weights():
    logits = torch.zeros(1, 2, 10, 10)
    ignored = torch.zeros(1, 10, 10, dtype=torch.bool)
    ignored[0, 5:] = True  # of 80 pixels without, 50: 20 and 30 are left
    assert weighted_cross_entropy(logits, labels(20), 0, 1000, 0, ignored).item() == pytest.approx(
        (20 * 30 / 20 + 30 * 20 / 30) / 50 * math.log(2)
    )


@pytest.mark.parametrize("focal", [0.0, 2.0])
def test_ignored_pixels_have_no_gradient_and_the_others_have(focal):
    logits = torch.randn(1, 2, 10, 10, generator=torch.Generator().manual_seed(2)).requires_grad_()
    ignored = torch.zeros(1, 10, 10, dtype=torch.bool)
    ignored[0, 1:4, 2:7] = True
    weighted_cross_entropy(logits, labels(20), 1, 10, focal, ignored).backward()
    gradient = logits.grad.abs().sum(1)
    assert gradient[ignored].max() == 0
    assert gradient[~ignored].min() > 0


@pytest.mark.parametrize("focal", [0.0, 2.0])
def test_a_loss_that_ignores_nothing_is_the_same_to_the_bit(focal):
    logits = torch.randn(1, 2, 10, 10, generator=torch.Generator().manual_seed(3))
    none = torch.zeros(1, 10, 10, dtype=torch.bool)
    plain = weighted_cross_entropy(logits, labels(20), 1, 10, focal)
    assert torch.equal(weighted_cross_entropy(logits, labels(20), 1, 10, focal, none), plain)
    alone = class_weights(labels(20), 1, 10)[labels(20)] * torch.nn.functional.cross_entropy(
        logits, labels(20), reduction="none"
    )
    assert focal or torch.equal(plain, alone.mean())


def test_a_batch_with_a_rim_ignores_it_in_the_lesion_loss_alone():
    masks = torch.zeros(1, 3, 8, 8)
    masks[:, 0, 3:5, 3:5] = 1
    masks[:, 2, 2:6, 2:6] = 1  # the lesion with its rim
    outputs = {task: torch.zeros(1, 2, 8, 8, requires_grad=True) for task in ("lesion", "lung")}
    batch = Batch(torch.zeros(1, 1, 8, 8), masks.bool(), torch.tensor([True]), np.random.default_rng(0))
    config = build(TrainConfig, {"min_class_weight": 1.0})
    sum(_losses(outputs, masks, batch.has_lung, config).values()).backward()
    seen = {task: logits.grad.abs().sum(1)[0] > 0 for task, logits in outputs.items()}
    rim = (masks[0, 2] > 0) & (masks[0, 0] == 0)
    assert torch.equal(seen["lesion"], ~rim)
    assert seen["lung"].all()
