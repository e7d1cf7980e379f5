"""Random changes to a training image, on its device, to image and masks together (paper, section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cxrcad.config import AugmentConfig

__all__ = ["augment"]


def augment(
    images: Tensor, masks: Tensor, config: AugmentConfig, rng: np.random.Generator, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`images` (B, 1, H, W), 0-1, and `masks` (B, M, H, W), 0/1, after one random change each; shapes are kept.

    Order: crop or margin, translation, rotation and mirror in one resampling (kornia), brightness, contrast and gamma,
    Poisson noise, Gaussian noise. What is drawn in from outside is black and in no mask. `rng` decides the changes,
    `generator` (on the images' device) the noise, so that a step is the same however often it is run.
    """
    images, masks = _move(images, masks, config, rng)
    images = _expose(images, config, rng)
    if config.poisson_counts > 0:
        counts = config.poisson_counts / float(rng.uniform(0.02, 1))
        images = torch.poisson(images.clamp(0, 1) * counts, generator=generator) / counts
    if config.gaussian_noise > 0:
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        images = images + noise * float(rng.uniform(0, config.gaussian_noise))
    return images.clamp(0, 1), masks


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
    matrix = get_affine_matrix2d(*tensors)[:, :2].to(images.device)
    moved = warp_affine(torch.cat([images, masks], dim=1), matrix, (height, width), align_corners=True)
    return moved[:, :1], (moved[:, 1:] > 0.5).to(masks.dtype)


def _expose(images: Tensor, config: AugmentConfig, rng: np.random.Generator) -> Tensor:
    size = (len(images), 1, 1, 1)
    contrast, brightness, gamma = (
        torch.as_tensor(rng.uniform(-limit, limit, size), dtype=images.dtype, device=images.device)
        for limit in (config.brightness, config.brightness / 2, config.gamma)
    )
    images = ((images - 0.5) * (1 + contrast) + 0.5 + brightness).clamp(0, 1)
    return images if config.gamma == 0 else images ** torch.exp2(gamma)
