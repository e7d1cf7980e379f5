"""What networks share computes what its plain form does."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxrcad.networks import blocks


@pytest.mark.parametrize(("channels", "layout"), [(16, torch.channels_last), (64, torch.channels_last), (16, None)])
def test_group_norm_in_bf16_has_the_outputs_and_gradients_of_the_plain_one(channels, layout):
    torch.manual_seed(0)
    own, plain = blocks.GroupNorm(8, channels), nn.GroupNorm(8, channels)
    values, slopes = torch.randn(2, channels, 24, 20), torch.randn(2, channels, 24, 20)
    found = []
    nn.init.uniform_(own.weight), nn.init.uniform_(own.bias)
    plain.load_state_dict(own.state_dict())
    for norm, kind in ((own, torch.bfloat16), (plain, torch.float32)):
        x = values.to(kind)
        x = (x if layout is None else x.contiguous(memory_format=layout)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=norm is own):
            y = norm(x)
        assert layout is None or y.is_contiguous(memory_format=layout)
        found.append((y, *torch.autograd.grad(y, (x, norm.weight, norm.bias), slopes.to(kind))))
    for mine, true in zip(*found, strict=True):
        assert (mine.float() - true).abs().max() < 0.02 * true.abs().max()


def pooled(x: Tensor, size: int) -> Tensor:
    """Three box means in a row by pools that leave out what lies beyond the border."""
    factor = 4 if size >= 16 else 2 if size >= 8 else 1
    y = functional.avg_pool2d(x, factor) if factor > 1 else x
    box = max(3, size // factor | 1)
    for _ in range(3):
        y = functional.avg_pool2d(y, (box, box), stride=1, padding=box // 2, count_include_pad=False)
    return functional.interpolate(y, scale_factor=factor, mode="bilinear", align_corners=False) if factor > 1 else y


@pytest.mark.parametrize(
    ("size", "side"), [*((size, 96) for size in (3, 5, 7, 13, 21, 31, 43, 85)), (171, 64), (43, 16)]
)
def test_a_blur_is_three_box_means_of_what_lies_inside(size, side):
    x = torch.rand(2, 1, side, side + 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(blocks._blur(x, size), pooled(x, size), atol=1e-6, rtol=0)
