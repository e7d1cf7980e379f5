"""Bones and vessels of a phantom: tubes in space, sampled over surface or width, and projected by summing the samples.

Every function returns what the structure adds to the path of the beam on the frame's grid, in mm of water.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from cxrcad.synthesis.phantom.anatomy import LEFT, RIGHT, Anatomy, Frame, curve, wall_half_width

__all__ = ["draw_clavicles", "draw_ribs", "draw_scapulae", "draw_spine", "draw_vessels", "splat", "vessel_tree"]

Array = NDArray[np.float64]
Image32 = NDArray[np.float32]

CORTEX_MM = 3.0  # water that a rib's cortical shell displaces and adds, mm of water per crossing
GOLDEN = 0.6180339887


def splat(side: int, x_px: Array, y_px: Array, weight: Array) -> Image32:
    """Samples summed into a side x side image, each shared linearly between its four nearest pixels."""
    x, y = x_px.ravel() - 0.5, y_px.ravel() - 0.5
    weight = np.broadcast_to(weight, x_px.shape).ravel()
    keep = (x > 0) & (y > 0) & (x < side - 1) & (y < side - 1)
    x, y, weight = x[keep], y[keep], weight[keep]
    col, row = x.astype(np.int64), y.astype(np.int64)
    right, below = x - col, y - row
    image = np.zeros(side * side)
    for down in (0, 1):
        for across in (0, 1):
            part = weight * (below if down else 1 - below) * (right if across else 1 - right)
            image += np.bincount((row + down) * side + col + across, part, minlength=side * side)
    return image.reshape(side, side).astype(np.float32)


def _shell(frame: Frame, spine: Array, high_mm: Array, thick_mm: Array, cortex_mm: float) -> tuple[Array, Array, Array]:
    """Samples (x_px, y_px, mm of water) of an elliptic bony tube with marrow along `spine` (n, 3: x, y, z mm)."""
    step = np.gradient(spine, axis=0)
    length = np.linalg.norm(step, axis=1, keepdims=True)
    tangent = step / length
    upright = np.array([0.0, 1.0, 0.0]) - tangent * tangent[:, 1:2]
    upright /= np.linalg.norm(upright, axis=1, keepdims=True)
    outward = np.cross(tangent, upright)
    shell, marrow = 32, 20
    offset = (np.arange(len(spine)) * GOLDEN % 1)[:, None]
    angle = 2 * np.pi * np.concatenate([(np.arange(shell) + offset) / shell, (np.arange(marrow) + offset) / marrow], 1)
    radius = np.concatenate([np.ones(shell), np.tile([0.8, 0.6], marrow // 2)])
    across = radius * np.cos(angle) * high_mm[:, None] / 2
    along = radius * np.sin(angle) * thick_mm[:, None] / 2
    x = spine[:, :1] + across * upright[:, :1] + along * outward[:, :1]
    y = spine[:, 1:2] + across * upright[:, 1:2] + along * outward[:, 1:2]
    around = np.pi * (high_mm + thick_mm)[:, None] / 2 * length / frame.spacing_mm**2
    share = np.repeat([cortex_mm / shell, 1.0 * cortex_mm / marrow], [shell, marrow])
    x_px, y_px = frame.to_px(x, y)
    return x_px, y_px, around * share


def _rib_line(anatomy: Anatomy, number: int, side: int, rng: np.random.Generator, step_mm: float) -> Array:
    """Middle line (n, 3) of rib `number` (1-12) in mm: from the spine around the chest to its cartilage."""
    shape = anatomy.shape
    height = shape.height_mm
    start = height * (0.035 + 0.0905 * (number - 1)) + rng.normal(0, 1.2)
    drop = min(0.13 * height + 0.085 * height * (number - 1), 0.37 * height) * shape.rib_slope + rng.normal(0, 3)
    wide = float(wall_half_width(shape, np.array([min(max(start + 0.5 * drop, 0.10 * height), height)]))[0]) + 2.5
    wide *= 0.80 if number == 1 else 0.98 if number == 2 else 1.0
    end = np.deg2rad({1: 165, 11: 105, 12: 80}.get(number, 134) + rng.normal(0, 4))
    angle = np.linspace(0.02, end, max(60, int(1.25 * end * 115 / step_mm)))
    foot = 12.0
    x = foot + (wide - foot) * np.sin(angle) ** 0.92
    y = start - 0.018 * height * np.sin(2 * np.clip(angle, 0, np.pi / 2)) ** 2 + drop * (1 - np.cos(angle)) / 2
    z = -0.40 * shape.depth_mm * np.cos(angle)
    return np.column_stack([side * x, y, z])


def draw_ribs(frame: Frame, rng: np.random.Generator) -> Image32:
    """Twelve pairs of ribs: posterior arcs falling sideways, anterior arcs falling back to the midline."""
    samples = []
    step = max(0.55, 1.3 * frame.spacing_mm)
    for number in range(1, 13):
        for side in (RIGHT, LEFT):
            line = _rib_line(frame.anatomy, number, side, rng, step)
            share = np.linspace(0, 1, len(line))
            high = 10.5 + 2.6 * share + rng.normal(0, 0.4)
            fade = np.clip((1 - share) / (0.25 if number == 1 else 0.08), 0, 1) * np.clip(share / 0.06, 0, 1)
            # thinner where it is seen end on, and in front, where bone gives way to cartilage
            fade *= (0.12 + 0.88 * np.abs(line[:, 2]) / np.abs(line[:, 2]).max()) * (1 - 0.3 * share)
            x, y, weight = _shell(
                frame, line, high, np.full(len(line), 5.5), CORTEX_MM * (0.7 if number in (1, 11, 12) else 1)
            )
            samples.append((x.ravel(), y.ravel(), (weight * fade[:, None]).ravel()))
    x, y, weight = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    return np.asarray(
        ndi.gaussian_filter(splat(frame.side, x, y, weight), 0.40 / frame.spacing_mm, truncate=3), np.float32
    )


def draw_clavicles(frame: Frame, rng: np.random.Generator) -> Image32:
    """Both collar bones: S-shaped tubes from the sternum up and out over the apices."""
    shape = frame.anatomy.shape
    wide, height = shape.half_width_mm, shape.height_mm
    image = np.zeros((frame.side, frame.side), np.float32)
    level, rise = 0.155 * height + rng.normal(0, 6), 0.145 * height + rng.normal(0, 8)
    for side in (RIGHT, LEFT):
        drift = rng.normal(0, 2.5)
        knots = [
            (18, level),
            (0.38 * wide, level - 0.20 * rise),
            (0.72 * wide, level - 0.75 * rise + drift),
            (1.0 * wide, level - rise + drift),
            (1.22 * wide, level - 0.94 * rise),
        ]
        flat = curve(knots, int(1.25 * wide / max(0.5, frame.spacing_mm)))
        line = np.column_stack([side * flat[:, 0], flat[:, 1], np.linspace(60, 0, len(flat))])
        share = np.linspace(0, 1, len(line))
        high = 10.0 + 6 * np.clip(1 - share / 0.15, 0, 1) + 4 * np.clip((share - 0.8) / 0.2, 0, 1)
        x, y, weight = _shell(frame, line, high, high * 0.9, 2.6)
        image += splat(frame.side, x, y, weight * np.clip(share / 0.07, 0, 1)[:, None])
    return np.asarray(ndi.gaussian_filter(image, 0.45 / frame.spacing_mm, truncate=3), np.float32)


def draw_scapulae(frame: Frame, rng: np.random.Generator) -> Image32:
    """Shoulder blades, turned out of the lung fields, with the heads of the humeri."""
    shape = frame.anatomy.shape
    wide, height = shape.half_width_mm, shape.height_mm
    image = np.zeros((frame.side, frame.side), np.float32)
    for side in (RIGHT, LEFT):
        out = rng.uniform(0.0, 0.12)
        rim = [
            (1.16 + out, 0.02),
            (0.99 + out, 0.08),
            (0.93 + out, 0.18),
            (0.95 + out, 0.32),
            (0.99 + out, 0.42),
            (1.05 + out, 0.36),
            (1.12 + out, 0.24),
            (1.22 + out, 0.13),
            (1.16 + out, 0.02),
        ]
        flat = curve([(side * x * wide, y * height) for x, y in rim], 400)
        line = np.column_stack([flat, np.zeros(len(flat))])
        x, y, weight = _shell(frame, line, np.full(len(flat), 5.0), np.full(len(flat), 5.0), 1.3)
        image += splat(frame.side, x, y, weight) + 4.0 * frame.fill(flat)
        spine = curve([(side * (0.97 + out) * wide, 0.13 * height), (side * (1.25 + out) * wide, -0.01 * height)], 200)
        x, y, weight = _shell(frame, np.column_stack([spine, np.zeros(200)]), np.full(200, 9.0), np.full(200, 8.0), 1.3)
        image += splat(frame.side, x, y, weight)
        shaft = curve(
            [
                (side * (1.24 + out) * wide, 0.05 * height),
                (side * (1.33 + out) * wide, 0.12 * height),
                (side * (1.44 + out) * wide, 0.38 * height),
            ],
            300,
        )
        thick = np.interp(np.linspace(0, 1, 300), [0, 0.06, 0.2, 0.4, 1], [20, 36, 44, 28, 22])
        x, y, weight = _shell(frame, np.column_stack([shaft, np.zeros(300)]), thick, thick, 1.8)
        image += splat(frame.side, x, y, weight)
    return np.asarray(ndi.gaussian_filter(image, 0.6 / frame.spacing_mm, truncate=3), np.float32)


def draw_spine(frame: Frame, rng: np.random.Generator) -> Image32:
    """Vertebral bodies with end plates, discs, pedicles and spinous processes."""
    bodies, details, samples = [], [], []
    level, bend = -115.0, rng.normal(0, 3)
    turn = np.linspace(0, 2 * np.pi, 24)
    rim = np.array(
        [(-1, 0.03), (-0.90, 0.5), (-1, 0.97), (0, 0.93), (1, 0.97), (0.90, 0.5), (1, 0.03), (0, 0.07), (-1, 0.03)]
    )
    while level < 340:
        high = 19 + 8 * np.clip((level + 70) / 400, -0.1, 1)
        wide = 14.5 + 4 * np.clip((level + 40) / 380, 0, 1) + rng.normal(0, 0.3)
        middle = bend * np.sin((level + 60) / 110)
        corners = np.column_stack([middle + wide * rim[:, 0], level + (high - 1.8) * rim[:, 1]])
        closed = curve([(float(x), float(y)) for x, y in corners], 160)
        bodies.append(closed)
        samples.append(
            _shell(frame, np.column_stack([closed, np.zeros(160)]), np.full(160, 2.5), np.full(160, 2.5), 1.1)
        )
        for offset, rx, ry in ((-0.6 * wide, 2.6, 4.2), (0.6 * wide, 2.6, 4.2), (0.0, 3.0, 6.5)):
            down = 0.32 * high if offset else 0.85 * high
            details.append(np.column_stack([middle + offset + rx * np.cos(turn), level + down + ry * np.sin(turn)]))
        level += high
    x, y, weight = (np.concatenate([part.ravel() for part in parts]) for parts in zip(*samples, strict=True))
    image = splat(frame.side, x, y, weight) + 5 * frame.fill_all(bodies) + 5 * frame.fill_all(details)
    return np.asarray(ndi.gaussian_filter(image, 1.3 / frame.spacing_mm, truncate=3), np.float32)


def vessel_tree(anatomy: Anatomy, side: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Branches of one lung's vessels: starts (n, 2) mm, ends (n, 2) mm, radii (n,) mm, from the hilum outward."""
    shape = anatomy.shape
    level = (0.46 if side == RIGHT else 0.43) * shape.height_mm
    angles = np.deg2rad(np.array([-76, -56, -34, -12, 8, 26, 43, 58, 74]) + rng.normal(0, 7, 9))
    count = len(angles)
    spread = np.linspace(-1, 1, count)
    position = np.column_stack(
        [side * (0.17 * shape.half_width_mm + rng.normal(3, 2, count)), level + 21 * spread + rng.normal(0, 4, count)]
    )
    radius = np.where(angles > 0.1, 4.0, 3.1) * rng.uniform(0.8, 1.15, count)
    starts, ends, radii = [], [], []
    for _ in range(10):
        length = (8.5 + 5.2 * radius) * rng.uniform(0.6, 1.4, len(radius))
        tip = position + length[:, None] * np.column_stack([side * np.cos(angles), np.sin(angles)]) * rng.uniform(
            0.75, 1.0, (len(radius), 1)
        )
        starts.append(position)
        ends.append(tip)
        radii.append(radius)
        turn = rng.normal(0, 0.09, len(radius))
        fork = rng.uniform(0.22, 0.65, len(radius))
        keep = rng.uniform(0.76, 0.90, len(radius))
        angles = np.concatenate(
            [angles + turn - 0.35 * fork, angles + turn + 0.8 * fork * rng.choice([-1, 1], len(radius))]
        )
        radius = np.concatenate([radius * keep, radius * rng.uniform(0.48, 0.74, len(radius))])
        position = np.concatenate([tip, tip])
        alive = radius > 0.24
        angles, radius, position = angles[alive], radius[alive], position[alive]
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(radii)


def draw_vessels(frame: Frame, rng: np.random.Generator) -> Image32:
    """Both lungs' vessels as solid tubes of blood, tapering outward; to be weighed with the lung around them."""
    parts = []
    for side in (RIGHT, LEFT):
        start, end, radius = vessel_tree(frame.anatomy, side, rng)
        bow = rng.normal(0, 0.09, len(radius)) * np.hypot(*(end - start).T)
        thick = radius > 1.0
        for chosen, across in ((thick, 13), (~thick, 4)):
            parts.append(_vessel_samples(frame, start[chosen], end[chosen], radius[chosen], bow[chosen], across))
    x, y, weight = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    return np.asarray(
        ndi.gaussian_filter(splat(frame.side, x, y, weight), 0.22 / frame.spacing_mm, truncate=3), np.float32
    )


def _vessel_samples(
    frame: Frame, start: Array, end: Array, radius: Array, bow: Array, across: int
) -> tuple[Array, Array, Array]:
    """Samples (x_px, y_px, mm of water) of bowed tubes, `across` of them over each cross-section."""
    length = np.hypot(*(end - start).T)
    normal = np.column_stack([start[:, 1] - end[:, 1], end[:, 0] - start[:, 0]]) / length[:, None]
    counts = np.maximum(3, np.ceil(length / max(0.30, frame.spacing_mm))).astype(int)
    which = np.repeat(np.arange(len(radius)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    along = (np.arange(len(which)) - first + 0.5) / counts[which]
    middle = (
        start[which]
        + along[:, None] * (end - start)[which]
        + (bow[which] * 4 * along * (1 - along))[:, None] * normal[which]
    )
    thick = (radius[which] * (1 - 0.14 * along))[:, None]
    stagger = 0.9 * (np.arange(len(which)) * GOLDEN % 1 - 0.5)[:, None]
    u = np.clip((np.arange(across) + 0.5 + stagger) * 2 / across - 1, -0.99, 0.99)
    area = 2 * thick / across * (length / counts)[which, None]
    weight = 2 * thick * np.sqrt(1 - u**2) * area / frame.spacing_mm**2
    x_px, y_px = frame.to_px(
        middle[:, :1] + u * thick * normal[which, :1], middle[:, 1:] + u * thick * normal[which, 1:]
    )
    return x_px.ravel(), y_px.ravel(), weight.ravel()
