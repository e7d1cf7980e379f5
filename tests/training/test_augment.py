"""Augmentation: image and masks move together, what is off changes nothing, a seed repeats it."""

import numpy as np
import torch

from cxrcad.config import AugmentConfig, build
from cxrcad.training.augment import augment

FIELDS = ["translate", "rotate_degrees", "zoom", "brightness", "gamma", "blur", "gaussian_noise", "poisson_counts"]
OFF = dict.fromkeys(FIELDS, 0)


def run(images, masks, seed=1, **values):
    config = build(AugmentConfig, {**OFF, **values})
    return augment(images, masks, config, np.random.default_rng(seed), torch.Generator().manual_seed(seed))


def disc(row=20.0, col=40.0, side=64, radius=6.0):
    rows, cols = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return (((rows - row) ** 2 + (cols - col) ** 2) <= radius**2).float()[None, None]


def middle(mask):
    return torch.nonzero(mask[0, 0] > 0.5).float().mean(0)


def test_with_everything_off_nothing_changes():
    images, masks = torch.rand(2, 1, 64, 64), (torch.rand(2, 2, 64, 64) > 0.5).float()
    out, moved = run(images, masks)
    torch.testing.assert_close(out, images, atol=1e-4, rtol=0)
    assert torch.equal(moved, masks)


def test_image_and_mask_move_together():
    image = disc()
    for seed in range(5):
        out, moved = run(image, disc(), seed, translate=0.2, rotate_degrees=20, zoom=0.2, mirror=True)
        assert moved.unique().tolist() == [0, 1]
        assert torch.dist(middle(out), middle(moved)) < 0.3
        assert torch.dist(middle(moved), middle(image)) > 1


def test_mirror_swaps_left_and_right_in_half_of_the_images():
    images = disc().repeat(32, 1, 1, 1)
    _, moved = run(images, images.clone(), mirror=True)
    columns = torch.stack([middle(mask[None])[1] for mask in moved]).round().tolist()
    assert set(columns) == {40.0, 23.0}
    assert 8 <= columns.count(23.0) <= 24


def test_a_margin_is_black_and_in_no_mask():
    out, moved = run(torch.ones(1, 1, 64, 64), torch.ones(1, 1, 64, 64), translate=0.4)
    assert 0 < float((moved == 0).float().mean()) < 0.7
    assert float(out[moved == 0].mean()) < 0.1


def test_brightness_gamma_and_noise_change_the_image_alone():
    image, mask = torch.full((1, 1, 64, 64), 0.5), disc()
    for values in ({"brightness": 0.2}, {"gamma": 0.5}, {"gaussian_noise": 0.1}, {"poisson_counts": 50}):
        out, moved = run(image, mask, **values)
        assert torch.equal(moved, mask)
        assert not torch.equal(out, image)
        assert 0 <= out.min() <= out.max() <= 1


def test_poisson_noise_has_the_variance_of_its_counts():
    image = torch.full((1, 1, 256, 256), 0.5)
    rng = np.random.default_rng(1)
    rng.uniform(size=4)  # translation (2), zoom (1) and rotation (1) are drawn first
    for limit in range(3):
        rng.uniform(-limit, limit, (1, 1, 1, 1))
    counts = 100 / rng.uniform(0.02, 1)
    out, _ = run(image, torch.zeros(1, 1, 256, 256), poisson_counts=100)
    np.testing.assert_allclose(out.var().item(), 0.5 / counts, rtol=0.1)


def test_a_seed_repeats_the_change():
    images, masks = torch.rand(1, 1, 64, 64), disc()
    everything = {
        "translate": 0.1,
        "rotate_degrees": 5,
        "brightness": 0.1,
        "gaussian_noise": 0.1,
        "poisson_counts": 100,
    }
    first, second = run(images, masks, 3, **everything), run(images, masks, 3, **everything)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], run(images, masks, 4, **everything)[0])


def test_about_half_of_the_images_are_blurred_each_by_its_own_gaussian():
    """What is left of a spot's height tells its image's sigma; the blur keeps its mass."""
    images = torch.zeros(40, 1, 33, 33)
    images[:, :, 16, 16] = 1
    out, _ = run(images, torch.zeros(40, 1, 33, 33), blur=2)
    torch.testing.assert_close(out.sum((1, 2, 3)), torch.ones(40), atol=1e-4, rtol=0)
    heights = out[:, 0, 16, 16]
    sharp = heights > 0.999
    assert 10 <= int(sharp.sum()) <= 30
    sigma = (1 / (2 * torch.pi * heights[~sharp])).sqrt()
    assert float(sigma.max()) < 2.05
    assert len(sigma.round(decimals=4).unique()) == len(sigma)


def test_noise_differs_from_image_to_image():
    out, _ = run(torch.full((8, 1, 64, 64), 0.5), torch.zeros(8, 1, 64, 64), gaussian_noise=0.1)
    spread = out.std((1, 2, 3))
    assert float(spread.max()) > 2 * float(spread.min())
