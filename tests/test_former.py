"""What the version before wrote is still read: a run's settings, a card's, weights, kept matches.

The files in tests/former/ were written by revision 3ffdb85, before settings were renamed and some removed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from cxrcad.cli.main import FORMER
from cxrcad.config import (
    ALL_CONFIGS,
    ExportConfig,
    NetworkConfig,
    PatchClassifierConfig,
    ReproduceConfig,
    RobustnessConfig,
    Setting,
    SimulateConfig,
    TrainConfig,
    build,
    settings_of,
)
from cxrcad.config.sources import resolve_config
from cxrcad.core import CxrcadError
from cxrcad.evaluation.records import read_matches
from cxrcad.inference.model import resolve_model
from cxrcad.paper.cells import FORMER_ITEMS

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


COMMANDS = {  # those with renamed settings: what they call, and what they must be given
    TrainConfig: ("train.train_run", ["train"]),
    ExportConfig: ("export.export", ["export", "run", "--out", "model"]),
    SimulateConfig: ("simulate.simulate", ["simulate", "set"]),
    RobustnessConfig: ("robustness.measure_robustness", ["robustness"]),
    ReproduceConfig: ("reproduce.reproduce", ["reproduce", "table2"]),
}
RENAMED = [(kind, item) for kind in ALL_CONFIGS for item in settings_of(kind) if item.was]


def _stop(*_: object) -> None:
    raise CxrcadError("called")


def _value(item: Setting) -> str:
    low = item.low or 0
    return item.choices[0] if item.choices else {int: f"{low:g}", float: f"{low:g}", bool: "true"}.get(item.type, "x")


@pytest.mark.parametrize(("kind", "item"), RENAMED, ids=lambda value: getattr(value, "was", ""))
def test_each_former_option_variable_and_key_names_the_present_one_once(
    cxrcad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type, item: Setting
) -> None:
    called, command = COMMANDS[kind]
    monkeypatch.setattr(f"cxrcad.commands.{called}", _stop)
    value, former = _value(item), "--" + item.was.replace("_", "-")
    flags = [former] if item.type is bool else [former, value]
    assert cxrcad(*command, *flags).err == f"{former} is now {item.flag}\nError: called\n"
    monkeypatch.setenv(f"CXRCAD_{item.was.upper()}", value)
    assert cxrcad(*command).err == f"CXRCAD_{item.was.upper()} is now {item.variable}\nError: called\n"
    monkeypatch.delenv(f"CXRCAD_{item.was.upper()}")
    file = tmp_path / "cxrcad.toml"
    file.write_text(f"{item.was} = {value if item.type in (bool, int, float) else repr(value)}\n")
    assert cxrcad(*command).err == f"{file}: {item.was} is now {item.name}\nError: called\n"


def test_each_former_command_and_item_of_reproduce_names_the_present_one_once(cxrcad, monkeypatch) -> None:
    for former, present in FORMER.items():
        assert cxrcad(former, "--help").err == f"cxrcad {former} is now cxrcad {present}\n"
    monkeypatch.setattr("cxrcad.commands.reproduce.reproduce", _stop)
    for former, present in FORMER_ITEMS.items():
        assert cxrcad("reproduce", former).err == f"{former} is now {present}\nError: called\n"


OF_BEFORE = [resolve_model(name) for name in ("deeplabv3plus-real", "mo-segnet-open")]
"""Packaged models whose weights, and of one the card, are from before names changed."""


@pytest.mark.parametrize("bundle", OF_BEFORE, ids=lambda bundle: bundle.name)
def test_a_card_of_before_has_its_settings_under_their_present_names(bundle) -> None:
    assert bundle.network.patch_classifier
    assert not bundle.network.half_side
    assert {"look", "halve", "patch", "second_init", "minings"}.isdisjoint(
        {**bundle.card["network"], **bundle.training_config}
    )
    assert bundle.training_config["mining_rounds"] in (2, 10)


@pytest.mark.parametrize("bundle", OF_BEFORE, ids=lambda bundle: bundle.name)
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
