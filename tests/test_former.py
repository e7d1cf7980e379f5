"""What the version before wrote is still read: a run's settings, a card's, weights, kept matches.

The files in tests/former/ were written by revision 3ffdb85, before settings were renamed and some removed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cxrcad.config import NetworkConfig, PatchClassifierConfig, TrainConfig, build
from cxrcad.config.sources import resolve_config
from cxrcad.evaluation.records import read_matches
from cxrcad.inference.model import packaged_models

CONFIG = Path(__file__).parent / "former" / "config.toml"


def test_a_run_s_settings_under_their_former_names() -> None:
    config = build(TrainConfig, tomllib.loads(CONFIG.read_text()), str(CONFIG))
    assert config.network == NetworkConfig(
        network="deeplabv3plus", norm="group", width=24, channels="raw,local,blob", patch_classifier=True,
        half_side=False, patch_side=97,
    )  # fmt: skip
    assert config.classifier == PatchClassifierConfig(
        patches_per_image=32, analytic_fraction=0.25, negative_insertions=2, mining_rounds=6,
        classifier_weights="runs/second", ensemble_weight=0.64,
    )  # fmt: skip
    assert (config.initial_weights, config.train_fraction, config.fold) == ("runs/first", 0.5, "3")
    assert (config.synthesis.simulate, config.synthesis.simulate_count) == (Path("nodules.npz"), 7)


def test_as_a_settings_file_each_former_name_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    config = resolve_config(TrainConfig, {}, CONFIG, tmp_path, note=said.append)
    assert config.network.patch_classifier
    assert sorted(line.removeprefix(f"{CONFIG}: ") for line in said) == [
        "analytic_share is now analytic_fraction",
        "halve is now half_side",
        "init is now initial_weights",
        "look is now patch_classifier",
        "minings is now mining_rounds",
        "patch is now patch_side",
        "patches is now patches_per_image",
        "second_init is now classifier_weights",
        "second_share is now ensemble_weight",
        "shams is now negative_insertions",
        "train_share is now train_fraction",
    ]


@pytest.mark.parametrize("bundle", packaged_models(), ids=lambda bundle: bundle.name)
def test_a_card_of_before_has_its_settings_under_their_present_names(bundle) -> None:
    assert bundle.network.patch_classifier
    assert not bundle.network.half_side
    assert {"look", "halve", "patch", "second_init", "minings"}.isdisjoint(
        {**bundle.card["network"], **bundle.training_config}
    )
    assert bundle.training_config["mining_rounds"] in (6, 10)


@pytest.mark.parametrize("bundle", packaged_models(), ids=lambda bundle: bundle.name)
def test_weights_of_before_are_loaded(bundle) -> None:
    pytest.importorskip("torch")
    from cxrcad.networks.ensemble import Ensemble
    from cxrcad.packaging.parity import load_network

    network = load_network(bundle.folder)
    assert isinstance(network, Ensemble)
    assert 0 < float(network.weight) < 1


def test_kept_matches_of_before_are_read() -> None:
    result = read_matches(CONFIG.with_name("matches.json"))
    assert (result.context.protocol, result.context.settings_sha256, result.context.fold) == ("jsrt-247", "", 3)
    assert [(one.case.name, one.masks_sha256, len(one.findings)) for one in result.scored] == [
        ("JPCLN001", None, 2),
        ("JPCNN001", None, 1),
    ]
    assert (result.operating.tp, result.operating.fp) == (1, 0)
