"""The patch classifier: a patch and a place of a whole image are one thing, and the looks' logits are averaged."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from cxrcad.config import NetworkConfig, build
from cxrcad.networks.ensemble import AWAY, Ensemble, near_lungs
from cxrcad.networks.patch_classifier import LAYERS, STRIDE, PatchClassifier
from cxrcad.networks.registry import build_network, present_names


@pytest.fixture(scope="module", params=LAYERS)
def classifier(request) -> PatchClassifier:
    torch.manual_seed(0)
    made = PatchClassifier(3, request.param)
    for _ in range(3):  # running statistics of their own
        made(torch.rand(16, 3, made.patch, made.patch))
    return made.eval()


@pytest.mark.parametrize(("row", "col"), [(12, 13), (14, 21), (19, 12)])
def test_a_place_of_an_image_is_judged_as_the_patch_about_it(classifier, row, col):
    image = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        places = classifier.judge_all(image)
        y, x, half = STRIDE * row + 2, STRIDE * col + 2, classifier.patch // 2
        patch = image[:, :, y - half : y + half + 1, x - half : x + half + 1]
        alone = classifier(patch)
    assert places.shape == (1, 32, 40)
    assert float(alone) == pytest.approx(float(places[0, row, col]), abs=1e-4)


def test_at_the_edge_the_image_goes_on_as_its_last_pixels(classifier):
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    half, side = classifier.patch // 2, classifier.patch
    with torch.inference_mode():
        corner = functional.pad(image, (half, half, half, half), mode="replicate")[:, :, 2 : 2 + side, 2 : 2 + side]
        assert float(classifier(corner)) == pytest.approx(float(classifier.judge_all(image)[0, 0, 0]), abs=1e-4)


def ensemble(share: float) -> Ensemble:
    torch.manual_seed(1)
    net = build_network(build(NetworkConfig, {"norm": "group", "channels": "raw,local", "patch_classifier": True}), 128)
    assert isinstance(net, Ensemble)
    net.weight.fill_(share)
    return net.eval()


def margin(outputs: dict[str, torch.Tensor]) -> np.ndarray:
    return (outputs["lesion"][:, 1] - outputs["lesion"][:, 0]).numpy()


def test_the_segmentation_network_alone_is_the_network_at_half_the_side():
    net, image = ensemble(0.0), torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        alone, outputs = net.segmentation(functional.avg_pool2d(image, 2)), net(image)
    enlarged = {
        task: functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        for task, x in alone.items()
    }
    np.testing.assert_allclose(margin(outputs), margin(enlarged), atol=1e-5)
    np.testing.assert_allclose(outputs["lung"].numpy(), enlarged["lung"].numpy(), atol=1e-5)


def test_unless_it_is_halved_the_segmentation_network_sees_the_image_as_it_is():
    torch.manual_seed(1)
    net = build_network(
        build(NetworkConfig, {"norm": "group", "patch_classifier": True, "half_side": False}), 128
    ).eval()
    assert isinstance(net, Ensemble)
    net.weight.fill_(0.0)
    image = torch.rand(1, 1, 96, 112, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        np.testing.assert_allclose(margin(net(image)), margin(net.segmentation(image)), atol=1e-5)
    assert net.multiple == 16


def test_the_logits_are_averaged_by_the_weight():
    image = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(6))
    with torch.inference_mode():
        first, second, both = (margin(ensemble(share)(image)) for share in (0.0, 1.0, 0.25))
    np.testing.assert_allclose(both, 0.75 * first + 0.25 * second, atol=1e-5)
    assert np.abs(first - second).max() > 0.01


def test_the_classifiers_map_lies_where_it_judged():
    net = ensemble(1.0)

    def ramp(image: torch.Tensor) -> torch.Tensor:
        """What a judge of the column would give: its pixel, 2, 6, 10 ..."""
        rows, cols = image.shape[2] // STRIDE, image.shape[3] // STRIDE
        return (torch.arange(cols) * STRIDE + 2.0).expand(1, rows, cols)

    net.classifier.judge_all = ramp  # type: ignore[method-assign]
    with torch.inference_mode():
        logits = margin(net(torch.rand(1, 1, 96, 128)))[0]
    np.testing.assert_allclose(logits[40, 8:120], np.arange(8, 120), atol=1e-4)


def test_weights_under_their_former_names_are_read():
    torch.manual_seed(2)
    net, other = ensemble(0.3), ensemble(0.7)
    former = {"segmentation": "first", "classifier": "second", "weight": "share"}
    state = {}
    for name, value in net.state_dict().items():
        start, *rest = name.split(".")
        state[".".join([former.get(start, start), *rest])] = value
    assert set(state) != set(net.state_dict())
    other.load_state_dict(present_names(state))
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in other.state_dict().items())


def test_the_lesion_s_weights_were_called_nodule():
    former = ["first.heads.nodule.weight", "heads.nodule.bias", "log_variance.nodule", "encoder.nodule"]
    now = ["segmentation.heads.lesion.weight", "heads.lesion.bias", "log_variance.lesion", "encoder.nodule"]
    assert list(present_names({name: torch.zeros(1) for name in former})) == now


def lungs(rows: slice, cols: slice, sides: tuple[int, int] = (20, 24)) -> torch.Tensor:
    places = torch.zeros(1, *sides, dtype=torch.bool)
    places[0, rows, cols] = True
    return places


@pytest.mark.parametrize(
    ("rows", "cols", "near_rows", "near_cols"),
    [
        (slice(5, 17), slice(4, 20), slice(3, 19), slice(2, 22)),
        (slice(0, 12), slice(10, 24), slice(0, 14), slice(8, 24)),  # no farther than the image
        (slice(5, 17), slice(4, 14), slice(3, 19), slice(0, 24)),  # one lung: all columns
        (slice(5, 12), slice(4, 20), slice(0, 20), slice(2, 22)),
        (slice(0, 0), slice(0, 0), slice(0, 20), slice(0, 24)),  # no lung at all
    ],
)
def test_near_the_lungs_is_their_grown_box_but_never_half_a_chest(rows, cols, near_rows, near_cols):
    torch.testing.assert_close(near_lungs(lungs(rows, cols), 2), lungs(near_rows, near_cols))


def test_stray_places_are_no_lung():
    one = lungs(slice(40, 100), slice(4, 40), (128, 128))
    one[0, 70, 100] = True  # else the second lung would seem to end there
    one[0, 3:5, 20] = True
    torch.testing.assert_close(near_lungs(one, 2), lungs(slice(0, 128), slice(0, 128), (128, 128)))
    both = lungs(slice(30, 110), slice(4, 110), (128, 128))
    both[0, 3:5, 20] = True
    torch.testing.assert_close(near_lungs(both, 2), lungs(slice(28, 112), slice(2, 112), (128, 128)))


def test_lungs_with_a_gap_between_have_one_box():
    two = lungs(slice(5, 17), slice(3, 9)) | lungs(slice(4, 16), slice(15, 21))
    torch.testing.assert_close(near_lungs(two, 0), lungs(slice(4, 17), slice(3, 21)))


def test_away_from_the_lungs_the_classifier_is_sure_of_no_nodule():
    net = ensemble(0.5)
    image = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(8))
    lung = torch.zeros(1, 2, 128, 128)
    lung[:, 0], lung[:, 1, 32:104, 24:120] = 1.0, 2.0
    net.margin = 8
    with torch.inference_mode():
        everywhere, near = net.classify(image)[0, 0], net.classify(image, lung)[0, 0]
    inside = slice(30, 106), slice(22, 122)  # bilinear: places at the edge of the box mix with their neighbours
    torch.testing.assert_close(near[inside], everywhere[inside])
    assert (near[:18] == AWAY).all()
    assert (near[118:] == AWAY).all()
    assert (near[:, :10] == AWAY).all()
