"""Random changes to a training image, on its device, to image and masks together (paper, section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cxrcad.config import AugmentConfig

__all__ = ["augment", "expose"]

BLURRED_FRACTION = 0.5  # of the images are blurred


def augment(
    images: Tensor, masks: Tensor, config: AugmentConfig, rng: np.random.Generator, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`images` (B, 1, H, W), 0-1, and `masks` (B, M, H, W), 0/1, after one random change each; shapes are kept.

    Order: crop or margin, translation, rotation and mirror in one resampling, then what `expose` does. What is
    drawn in from outside is black and in no mask. `rng` decides the changes, `generator` (on the images' device) the
    noise, so that a step is the same however often it is run.
    """
    images, masks = _move(images, masks, config, rng)
    return expose(images, config, rng, generator), masks


def expose(images: Tensor, config: AugmentConfig, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """`images` (B, 1, H, W), 0-1, each with brightness, contrast, gamma and sharpness changed, and noise.

    Order: brightness, contrast and gamma, blur, Poisson noise, Gaussian noise.
    """
    images = _blurred(_toned(images, config, rng), config, rng)
    if config.poisson_counts > 0:
        counts = config.poisson_counts / _each(rng.uniform(0.02, 1, len(images)), images)
        images = torch.poisson(images.clamp(0, 1) * counts, generator=generator) / counts
    if config.gaussian_noise > 0:
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        images = images + noise * _each(rng.uniform(0, config.gaussian_noise, len(images)), images)
    return images.clamp(0, 1)


def _move(images: Tensor, masks: Tensor, config: AugmentConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    from kornia.geometry.transform import get_affine_matrix2d, warp_affine

    batch, _, height, width = images.shape
    shift = rng.uniform(-config.translate, config.translate, (batch, 2)) * (width, height)
    zoom = rng.uniform(1 - config.zoom, 1 + config.zoom, (batch, 1)).repeat(2, axis=1)
    if config.mirror:
        zoom[:, 0] *= rng.choice((-1.0, 1.0), batch)
    angle = rng.uniform(-config.rotate_degrees, config.rotate_degrees, batch)
    center = np.tile([(width - 1) / 2, (height - 1) / 2], (batch, 1))
    tensors = (torch.as_tensor(values, dtype=torch.float32) for values in (shift, center, zoom, angle))
    matrix = get_affine_matrix2d(*tensors).to(images.device)
    both = torch.cat([images, masks], dim=1)
    moved = warp_affine(both, matrix[:, :2], (height, width), align_corners=True)
    return moved[:, :1], (moved[:, 1:] > 0.5).to(masks.dtype)


def _toned(images: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    contrast, brightness, gamma = (
        _each(rng.uniform(-limit, limit, len(images)), images)
        for limit in (config.brightness, config.brightness / 2, config.gamma)
    )
    images = ((images - 0.5) * (1 + contrast) + 0.5 + brightness).clamp(0, 1)
    return images if config.gamma == 0 else images ** torch.exp2(gamma)


def _blurred(images: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    """Each image blurred by a Gaussian of its own, or not at all; the border goes on as it is."""
    if config.blur == 0:
        return images
    sigma = rng.uniform(0, config.blur, len(images)) * (rng.random(len(images)) < BLURRED_FRACTION)
    reach = int(np.ceil(3 * config.blur))
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (steps / np.maximum(sigma, 1e-3)[:, None]) ** 2)
    weights = torch.as_tensor(kernel / kernel.sum(1, keepdims=True), dtype=images.dtype, device=images.device)
    x = functional.pad(images.transpose(0, 1), (reach,) * 4, mode="replicate")
    x = functional.conv2d(x, weights[:, None, None, :], groups=len(images))
    return functional.conv2d(x, weights[:, None, :, None], groups=len(images)).transpose(0, 1)


def _each(values: NDArray[np.float64], images: Tensor) -> Tensor:
    """A value an image, (B, 1, 1, 1), beside the images."""
    return torch.as_tensor(values, dtype=images.dtype, device=images.device)[:, None, None, None]
