"""What every network keeps: shapes, gradients to every parameter, the size it asks for, ONNX parity, determinism."""

import numpy as np
import pytest
import torch

from cxrcad.config import NETWORKS, NetworkConfig, build
from cxrcad.core import NetworkError
from cxrcad.networks.blocks import tasks_of
from cxrcad.networks.deeplabv3plus import SeparableUnit
from cxrcad.networks.registry import build_network
from cxrcad.packaging.onnx_export import write_onnx

VARIANTS = [
    {"network": "mo-segnet"},
    {"network": "mo-segnet", "norm": "group", "channels": "raw,local,blob", "tasks": "single"},
    {"network": "mo-segnet", "norm": "batch", "skips": False, "aspp": False},
    {"network": "u-net"},
    {"network": "u-net", "tasks": "single"},
    {"network": "deeplabv3plus"},
    {"network": "deeplabv3plus", "norm": "group", "tasks": "single"},
    {"network": "pspnet"},
    {"network": "pspnet", "norm": "group", "tasks": "single", "width": 16},
    {"network": "mo-segnet", "norm": "group", "channels": "raw,local,blob", "patch_classifier": True},
    {"network": "u-net", "tasks": "single", "patch_classifier": True, "half_side": False},
    {"network": "deeplabv3plus", "norm": "group", "channels": "raw,local,blob", "width": 24, "patch_classifier": True},
]


PADDED = {
    "mo-segnet": (16, "112 x 112"),
    "u-net": (16, "112 x 112"),
    "deeplabv3plus": (16, "112 x 112"),
    "pspnet": (8, "104 x 104"),
}
"""What 100 x 97 pixels are to be padded to."""


def made(values: dict) -> tuple[NetworkConfig, torch.nn.Module]:
    torch.manual_seed(0)
    config = build(NetworkConfig, values)
    return config, build_network(config, 128)


def test_the_variants_cover_the_registry():
    assert {values["network"] for values in VARIANTS} == set(NETWORKS)


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_two_logits_a_task_at_the_input_size_and_gradients_everywhere(values):
    config, net = made(values)
    images = torch.rand(2, 1, 96, 128, generator=torch.Generator().manual_seed(1))
    outputs = net(images)
    assert {task: tuple(out.shape) for task, out in outputs.items()} == dict.fromkeys(tasks_of(config), (2, 2, 96, 128))
    sum(out.square().mean() for out in outputs.values()).backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_one_image_a_batch_can_be_trained_on(values):
    _, net = made(values)
    assert all(torch.isfinite(out).all() for out in net.train()(torch.rand(1, 1, 64, 64)).values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wrong_size_names_the_size_to_pad_to(name):
    _, net = made({"network": name})
    multiple, padded = PADDED[name]
    told = f"^input is 100 x 97; sides must be multiples of {multiple}: pad to {padded}$"
    with pytest.raises(NetworkError, match=told):
        net(torch.rand(1, 1, 100, 97))
    with pytest.raises(NetworkError, match=r"takes \(batch, 1, height, width\)"):
        net(torch.rand(1, 3, 96, 96))


@pytest.mark.slow
@pytest.mark.parametrize("values", [VARIANTS[place] for place in (0, 1, 5, 7, 8, 10)], ids=str)
def test_onnx_gives_the_same_probabilities_at_another_size_and_batch(values, tmp_path):
    import onnxruntime

    config, net = made(values)
    net.train()
    for _ in range(3):  # running statistics of their own, so that a norm left behind shows
        net(torch.rand(2, 1, 128, 128))
    net.eval()
    write_onnx(net, tasks_of(config), net.multiple, tmp_path / "model.onnx")
    assert b'File "' not in (tmp_path / "model.onnx").read_bytes()  # no traces of the machine that wrote it
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 128, 160), (3, 1, 96, 64)):
        image = torch.rand(*shape, generator=torch.Generator().manual_seed(2))
        served = session.run(list(tasks_of(config)), {"image": image.numpy()})
        with torch.inference_mode():
            outputs = net(image)
        for task, probabilities in zip(tasks_of(config), served, strict=True):
            expected = outputs[task].softmax(1)[:, 1].numpy()
            np.testing.assert_allclose(probabilities, expected, atol=1e-4)
            assert probabilities.std() > 1e-4


@pytest.mark.parametrize(("name", "weights"), [("deeplabv3plus", 11_642_884), ("pspnet", 12_613_828)])
def test_the_width_is_the_published_one_unless_told(name, weights):
    def count(**values):
        return sum(p.numel() for p in made({"network": name, **values})[1].parameters())

    assert count() == count(width=64) == weights
    assert 0.13 < count(width=24) / weights < 0.16  # (24/64)^2 = 0.14


def test_what_cannot_be_built_is_said():
    with pytest.raises(NetworkError, match="--width 20: is no multiple of 8 and of the 8 groups"):
        made({"network": "pspnet", "width": 20})
    for network in ("mo-segnet", "u-net"):
        with pytest.raises(NetworkError, match="--groups 3: does not divide the network's 16 channels; take 8, or 4"):
            made({"network": network, "norm": "group", "groups": 3})
    with pytest.raises(NetworkError, match="input channels \\['red'\\] are not known; choose from raw, local, blob"):
        made({"channels": "raw,red"})
    with pytest.raises(NetworkError, match="--channels raw,local,raw: a channel is named twice; name each once"):
        made({"channels": "raw,local,raw"})
    with pytest.raises(NetworkError, match="pspnet has no variant without ASPP or skips"):
        made({"network": "pspnet", "aspp": False})


def test_local_channels_do_not_see_brightness_and_contrast():
    from cxrcad.networks.blocks import InputChannels

    image = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(3))
    views = InputChannels(("local", "blob"), 512)
    np.testing.assert_allclose(views(image * 0.5 + 0.25), views(image), atol=0.01)
    assert InputChannels(("raw",), 512)(torch.full((1, 1, 8, 8), 0.75)).unique().tolist() == [1.0]


def test_a_dilated_unit_learns_the_same_in_bf16_on_a_cpu() -> None:
    """torch 2.13 gives dilated depthwise convolutions gradients of chance there, on CPUs with AMX (see the unit)."""
    torch.manual_seed(0)
    unit = SeparableUnit(192, 48, rate=6, norm="group", groups=8).to(memory_format=torch.channels_last)
    features = torch.randn(2, 192, 32, 32).contiguous(memory_format=torch.channels_last)
    gradients = []
    for bf16 in (False, True):
        unit.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = unit(features).float().square().mean()
        loss.backward()
        gradients.append(unit.depthwise.weight.grad.clone())
    exact, rounded = gradients
    assert (exact - rounded).abs().max() < 0.1 * exact.abs().max()
