"""Real boxed lesions and projected nodules in one training: which image shows which, and what is neither."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxrcad.config import TrainConfig, build
from cxrcad.core import Case, TrainingError
from cxrcad.datasets.read import read_dataset
from cxrcad.datasets.samples import load_samples
from cxrcad.training.data import has_real, make_source, mixed, projected_into
from cxrcad.training.patch_classifier.patches import PatchSource, make_grounds
from cxrcad.training.plan import train

SIDE = 96
MIX = {"ellipse_scale": 0.8, "ignore_rim": 0.2, "real_fraction": 0.5, "normals": True, "simulate": "analytic"}
SMALL = {
    "side": SIDE, "fold": "1", "threads": 1, "precision": "fp32", "norm": "group", "channels": "raw,local",
    "batch": 4, "checkpoint_minutes": 0, "max_steps": 2, "simulate_masses": 0.2, "simulate_count": 2,
}  # fmt: skip


@pytest.mark.parametrize(("fraction", "real"), [(0.25, 1), (0.5, 2), (1.0, 4), (0.0, 0)])
def test_each_batch_has_its_part_of_real_lesions_and_all_come_in_turn(fraction, real):
    positive = [True] * 3 + [False] * 5
    steps = [mixed(positive, fraction, 4, step, seed=7) for step in range(60)]
    assert {sum(positive[index] for index in step) for step in steps} == {real}
    counts = Counter(index for step in steps for index in step)
    for kind, share in ((True, fraction), (False, 1 - fraction)):
        shown = [counts[index] for index in range(8) if positive[index] is kind]
        assert sum(shown) == 240 * share
        assert max(shown) - min(shown) <= 1
    assert steps == [mixed(positive, fraction, 4, step, seed=7) for step in range(60)]
    assert steps != [mixed(positive, fraction, 4, step, seed=8) for step in range(60)]


def test_each_time_through_is_in_another_order():
    """Real lesions and others alike: the first, second and third time each of eight is shown."""
    real = [True] * 8 + [False] * 8
    dealt = [index for step in range(12) for index in mixed(real, 0.5, 4, step, seed=7)]
    for kind in (True, False):
        shown = [index for index in dealt if real[index] is kind]
        turns = [tuple(shown[start : start + 8]) for start in (0, 8, 16)]
        assert all(len(set(turn)) == 8 for turn in turns)
        assert len(set(turns)) == 3


def test_nodules_are_projected_into_normals_and_beside_real_lesions_only_without_a_fraction(boxed):
    cases = read_dataset(boxed).by_name
    assert [projected_into(cases[name], 0.5) for name in ("i00", "i10", "i20")] == [False, True, False]
    assert [projected_into(cases[name], None) for name in ("i00", "i10", "i20")] == [True, True, False]
    assert projected_into(Case("A", Path("A.png"), 8, 8), 0.5)


def test_a_nodule_inserted_from_ct_is_not_real(boxed):
    real = read_dataset(boxed).by_name["i00"]
    inserted = replace(real, groups=("patient:1", "series:1.2.3"))
    assert [has_real(case) for case in (real, inserted)] == [True, False]
    assert projected_into(inserted, 0.5)


def test_real_lesions_are_shown_as_they_are_with_their_rim(boxed):
    config = build(TrainConfig, {**SMALL, **MIX, "augment": False})
    dataset = read_dataset(boxed)
    samples = load_samples(dataset.cases, config, 16)
    source = make_source(samples, config, dataset, [case.name for case in dataset.cases])
    projected = 0
    for step in range(6):
        batch, chosen = source.draw(step), source._chosen(step)
        assert batch.masks.shape == (4, 3, SIDE, SIDE)
        assert batch.has_lung.tolist() == [samples[index].lung is not None for index in chosen]
        for index, image, masks in zip(chosen, batch.images, batch.masks.numpy(), strict=True):
            one = samples[index]
            if one.case.positive or one.case.role == "other_finding" or one.lung is None:
                np.testing.assert_array_equal(image[0].numpy(), one.pixels)
                np.testing.assert_array_equal(masks[0], one.lesion)
            else:
                projected += bool(masks[0].any())
            rim = masks[2] & ~masks[0]
            np.testing.assert_array_equal(rim, np.zeros_like(rim) if one.unknown is None else one.unknown)
            assert rim.any() == one.case.positive
    assert projected >= 2


def test_patches_show_the_core_of_a_lesion_and_never_its_rim(boxed):
    config = build(
        TrainConfig,
        {**SMALL, **MIX, "patch_classifier": True, "patches_per_image": 40, "lesion_core": 0.6, "real_fraction": 1.0,
         "simulate": None, "rotate_degrees": 0, "zoom": 0},
    )  # fmt: skip
    dataset = read_dataset(boxed)
    samples = load_samples(dataset.cases, config, 16)
    source = make_source(samples, config, dataset, [case.name for case in dataset.cases])
    grounds = make_grounds(source.samples, source.zones)
    drawn = PatchSource(grounds, (), config)
    offs = []
    for step in range(8):
        places = drawn.draw(step)
        chosen = mixed([ground.sample.case.positive for ground in grounds], 1.0, 4, step, config.seed)
        matrices = places.matrices.numpy()
        labels = places.labels.numpy().reshape(4, 40)
        for index, matrix, label in zip(chosen, matrices, labels, strict=True):
            one = grounds[index].sample
            assert one.unknown is not None
            cols, rows = ((matrix[:, axis, 2] + 1) * (SIDE - 1) / 2 for axis in (0, 1))
            at = tuple(np.rint(axis).astype(int).clip(0, SIDE - 1) for axis in (rows, cols))
            assert label.sum() == 12
            assert one.lesion[at][label == 1].all()
            assert not (one.lesion | one.unknown)[at][label == 0].any()
            offs += list(np.abs(cols - one.case.nodules[0].x_px)[label == 1])
    assert 3.5 < max(offs) <= 0.6 * 8 + 1  # the ellipse is 16 pixels wide: 0.3 of it each way


def test_hard_negatives_keep_off_the_rim(boxed):
    config = build(TrainConfig, {**SMALL, **MIX, "patch_classifier": True, "ignore_rim": 1.0})
    dataset = read_dataset(boxed)
    (one,) = load_samples(dataset.select(["i01"]), config, 16)
    (ground,) = make_grounds(
        [one], make_source((one,), build(TrainConfig, {"patch_classifier": True}), dataset, ()).zones
    )
    assert one.unknown is not None
    judged = np.zeros((SIDE, SIDE), np.float32)
    nodule = one.case.nodules[0]
    beside = int(nodule.y_px), int(nodule.x_px + 17)  # beyond the lesion, in the box grown to twice its sides
    judged[beside], judged[70, 70] = 9, 8
    assert one.unknown[beside]
    ground.take(judged)
    assert [70, 70] in ground.hard.tolist()
    assert not one.unknown[tuple(ground.hard.astype(int).T)].any()


def test_a_training_mixes_both_and_so_does_its_patch_classifier(boxed, tmp_path):
    first = train(build(TrainConfig, {**SMALL, **MIX, "data": boxed, "run": tmp_path / "first"}))
    second = train(
        build(TrainConfig, {
            **SMALL, **MIX, "data": boxed, "run": tmp_path / "second", "side": 2 * SIDE, "patch_classifier": True,
            "initial_weights": str(first), "patches_per_image": 12, "mining_rounds": 1, "lesion_core": 0.5,
        })
    )  # fmt: skip
    assert (second / "fold1" / "model" / "card.json").is_file()


def test_a_mix_without_images_of_one_kind_is_refused(boxed, tmp_path):
    with pytest.raises(
        TrainingError, match=r"--real-fraction 0.5: of 6 training images each has a real lesion, .*--normals"
    ):
        train(build(TrainConfig, {**SMALL, **MIX, "normals": False, "data": boxed, "run": tmp_path / "run"}))
