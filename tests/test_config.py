"""Settings: one name, one meaning, five layers, and a sentence for each value that cannot be right."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrcad.config import (
    ALL_CONFIGS,
    DataConfig,
    DetectConfig,
    EvaluateConfig,
    ExportConfig,
    FindConfig,
    GridConfig,
    NetworkConfig,
    PhantomConfig,
    Setting,
    TrainConfig,
    build,
    part,
    setting,
    settings_of,
    to_dict,
    to_toml,
)
from cxrcad.config.sources import OTHER_VARIABLES, resolve_config
from cxrcad.core import UsageError

# A name that two commands share stands for one thing, but its help speaks of the command: what else may differ is here.
FIND = {item.name for item in settings_of(FindConfig)}  # in detect, None: as the model's card says
DIFFERENT_HELP = {
    *("data", "device", "fold", "lesion", "model", "out", "resume", "run", "seed", "threads", "workers"),
    *FIND,
}
DIFFERENT_DEFAULT = {"fold", "format", "lesion", "seed", *FIND}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ALL_CONFIGS:
        for item in settings_of(kind):
            monkeypatch.delenv(item.variable, raising=False)


def setting_of(kind: type, name: str) -> Setting:
    return next(item for item in settings_of(kind) if item.name == name)


# Names


@pytest.mark.parametrize("kind", ALL_CONFIGS)
def test_a_name_stands_once_in_a_command(kind: type) -> None:
    names = [item.name for item in settings_of(kind)]
    assert len(names) == len(set(names))


def test_a_name_means_the_same_in_every_command() -> None:
    by_name: dict[str, list[Setting]] = {}
    for kind in ALL_CONFIGS:
        for item in settings_of(kind):
            by_name.setdefault(item.name, []).append(item)
    types = {name for name, items in by_name.items() if len({item.type for item in items}) > 1}
    helps = {name for name, items in by_name.items() if len({item.help for item in items}) > 1}
    defaults = {name for name, items in by_name.items() if len({item.default for item in items}) > 1}
    assert types == set()
    assert helps <= DIFFERENT_HELP
    assert defaults <= DIFFERENT_DEFAULT


@pytest.mark.parametrize("kind", ALL_CONFIGS)
def test_every_setting_is_typed_helped_and_has_a_default_that_it_allows(kind: type) -> None:
    for item in settings_of(kind):
        assert item.type in (bool, int, float, str, Path)
        assert item.help
        assert not item.help.endswith(".")
        assert item.parse(item.default, "default") == item.default


@pytest.mark.parametrize("kind", ALL_CONFIGS)
def test_configs_are_frozen(kind: type) -> None:
    assert kind.__dataclass_params__.frozen


def test_the_papers_values_are_the_defaults() -> None:
    config = TrainConfig()
    assert (config.grid.side, config.batch, config.learning_rate) == (1024, 1, 1e-3)
    assert (config.network.network, config.network.tasks, config.network.norm) == ("mo-segnet", "multi", "table1")
    assert (config.loss.balance, config.loss.truth, config.data.protocol) == ("0.99", "disc", "paper")


def test_a_setting_has_one_spelling_everywhere() -> None:
    item = setting_of(DetectConfig, "min_score")
    assert (item.flag, item.variable, item.path) == ("--min-score", "CXRCAD_MIN_SCORE", ("min_score",))
    assert setting_of(TrainConfig, "peak_distance_mm").path == ("find", "peak_distance_mm")


# Layers


def test_each_layer_overrides_the_one_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def epochs(**flags: Any) -> int:
        return resolve_config(TrainConfig, flags, config_file, tmp_path).epochs

    config_file = None
    assert epochs() == 100
    (tmp_path / "cxrcad.toml").write_text("epochs = 11\nbatch = 2\n")
    assert epochs() == 11
    config_file = tmp_path / "more.toml"
    config_file.write_text("epochs = 12\n")
    assert epochs() == 12
    monkeypatch.setenv("CXRCAD_EPOCHS", "13")
    assert epochs() == 13
    assert epochs(epochs=14) == 14
    assert resolve_config(TrainConfig, {}, config_file, tmp_path).batch == 2


def test_the_working_folder_holds_the_project_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cxrcad.toml").write_text('device = "cpu"\n')
    monkeypatch.chdir(tmp_path)
    assert resolve_config(DetectConfig, {}).device == "cpu"


def test_sections_only_group(tmp_path: Path) -> None:
    (tmp_path / "cxrcad.toml").write_text('[anything]\nside = 512\n[data]\ndata = "jsrt"\nprotocol = "jsrt-140"\n')
    config = resolve_config(TrainConfig, {}, None, tmp_path)
    assert config.grid.side == 512
    assert config.data == DataConfig(data=Path("jsrt"), protocol="jsrt-140")


def test_a_file_may_hold_settings_of_other_commands(tmp_path: Path) -> None:
    (tmp_path / "cxrcad.toml").write_text("epochs = 3\nmin_score = 0.25\n")
    assert resolve_config(DetectConfig, {}, None, tmp_path) == DetectConfig(min_score=0.25)


def test_an_empty_environment_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXRCAD_DATA", "")
    assert resolve_config(EvaluateConfig, {}, None, tmp_path).data.data is None


def test_text_from_the_environment_becomes_the_settings_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in {"DATA": "/d", "SIDE": "512", "GROW": "0.4", "ASPP": "no", "BALANCE": "learned"}.items():
        monkeypatch.setenv(f"CXRCAD_{name}", text)
    config = resolve_config(TrainConfig, {}, None, tmp_path)
    assert (config.data.data, config.grid.side, config.find.grow) == (Path("/d"), 512, 0.4)
    assert (config.network.aspp, config.loss.balance) == (False, "learned")


def test_the_environment_may_hold_settings_of_other_commands_and_what_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert OTHER_VARIABLES == ("CXRCAD_OPEN_DATA",)
    for variable in ("CXRCAD_EPOCHS", *OTHER_VARIABLES, "CXRCADE", "NOT_CXRCAD_SIDE"):
        monkeypatch.setenv(variable, "3")
    monkeypatch.setenv("CXRCAD_THRESHHOLD", "")
    assert resolve_config(DetectConfig, {}, None, tmp_path) == DetectConfig()


# Faults


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("CXRCAD_THRESHHOLD", "there is no setting threshhold; did you mean threshold?"),
        ("CXRCAD_MIN_SCOR", "there is no setting min_scor; did you mean min_score?"),
        ("CXRCAD_XYZZY", "there is no setting xyzzy; `cxrcad COMMAND --help` lists them"),
        ("CXRCAD_Threshold", "the variable of the setting threshold is CXRCAD_THRESHOLD; rename it"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="Windows knows variables in capitals only")
def test_a_variable_that_is_no_setting_of_any_command_is_met_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, "0.3")
    with pytest.raises(UsageError) as error:
        resolve_config(DetectConfig, {"threshold": 0.5}, None, tmp_path)
    assert str(error.value) == f"environment variable {variable}: {sentence}"


def test_an_unknown_name_is_met_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("epoch = 3\n")
    with pytest.raises(UsageError) as error:
        resolve_config(TrainConfig, {}, path, tmp_path)
    assert str(error.value) == f"{path}: there is no setting epoch; did you mean epochs?"
    with pytest.raises(UsageError, match="no setting min-scor; did you mean min_score"):
        build(DetectConfig, {"min-scor": 1})


def test_a_name_like_no_other_is_met_with_where_they_are_listed() -> None:
    with pytest.raises(UsageError, match="there is no setting xyzzy; `cxrcad COMMAND --help` lists them"):
        build(DetectConfig, {"xyzzy": 1})


@pytest.mark.parametrize(
    ("kind", "name", "value", "allowed"),
    [
        (TrainConfig, "fold", "6", "choose from 1, 2, 3, 4, 5, all, none"),
        (TrainConfig, "side", 31, "it takes a whole number at least 32, at most 4096"),
        (TrainConfig, "side", 5000, "it takes a whole number at least 32, at most 4096"),
        (TrainConfig, "epochs", 1.5, "it takes a whole number at least 1"),
        (TrainConfig, "epochs", "many", "it takes a whole number at least 1"),
        (TrainConfig, "epochs", True, "it takes a whole number at least 1"),
        (TrainConfig, "epochs", None, "it takes a whole number at least 1"),
        (TrainConfig, "learning_rate", "nan", "it takes a number at least 0"),
        (TrainConfig, "learning_rate", float("inf"), "it takes a number at least 0"),
        (TrainConfig, "aspp", "perhaps", "write true or false"),
        (TrainConfig, "channels", ["raw", "local"], "it takes text"),
        (TrainConfig, "runs", 3, "it takes a path"),
        (DetectConfig, "min_score", 1.01, "it takes a number at least 0, at most 1"),
        (DetectConfig, "device", "gpu", "choose from auto, cpu, cuda"),
    ],
)
def test_a_value_that_cannot_be_right_is_met_with_what_can(kind: type, name: str, value: Any, allowed: str) -> None:
    with pytest.raises(UsageError) as error:
        build(kind, {name: value}, "here")
    assert str(error.value) == f"here: {name} is {value!r}; {allowed}"
    assert error.value.exit_code == 2


def test_the_fault_names_the_layer_that_it_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^--min-score 2: it takes"):
        resolve_config(DetectConfig, {"min_score": 2}, None, tmp_path)
    monkeypatch.setenv("CXRCAD_DEVICE", "tpu")
    with pytest.raises(UsageError, match=r"^environment variable CXRCAD_DEVICE: device is 'tpu'; choose from"):
        resolve_config(DetectConfig, {}, None, tmp_path)
    (tmp_path / "cxrcad.toml").write_text("grow = 7\n")
    with pytest.raises(UsageError, match=r"cxrcad\.toml: grow is 7; it takes a number at least 0\.05, at most 0\.95"):
        resolve_config(DetectConfig, {}, None, tmp_path)


def test_bounds_and_choices_themselves_are_allowed() -> None:
    assert build(GridConfig, {"side": 32}).side == 32
    assert build(GridConfig, {"side": 4096}).side == 4096
    assert build(FindConfig, {"threshold": 0}).threshold == 0.0
    assert build(TrainConfig, {"fold": 3}).fold == "3"
    assert build(TrainConfig, {"balance": 0.7}).loss.balance == "0.7"
    assert build(TrainConfig, {"epochs": 3.0}).epochs == 3
    assert build(DetectConfig, {"min_score": None}).min_score is None


@pytest.mark.parametrize(
    ("content", "fault"), [(b"a = = 1", "not readable as TOML"), (b"\xff\xfe", "not readable as TOML")]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=fault) as error:
        resolve_config(TrainConfig, {}, path, tmp_path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_setting_that_stands_in_a_file_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("min_score = 0.1\n[find]\nmin_score = 0.2\n")
    with pytest.raises(UsageError, match=r"c\.toml: min_score stands in it twice; tables only group settings"):
        resolve_config(DetectConfig, {}, path, tmp_path)


def test_a_missing_config_file_is_named_and_a_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml: there is no such settings file"):
        resolve_config(TrainConfig, {}, tmp_path / "gone.toml", tmp_path)
    with pytest.raises(UsageError, match="not readable as TOML"):
        resolve_config(TrainConfig, {}, tmp_path, tmp_path)


# Saving


def values_of(kind: type) -> st.SearchStrategy[dict[str, Any]]:
    """Any values that the settings of a config allow."""

    def value(item: Setting) -> st.SearchStrategy[Any]:
        text = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=8)
        low, high = item.low if item.low is not None else -1000, item.high if item.high is not None else 1000
        allowed = {
            bool: st.booleans(),
            int: st.integers(int(low), int(max(high, low))),
            float: st.floats(low, max(high, low)),
            Path: text.map(Path),
            str: text,
        }[item.type]
        if item.choices:
            allowed = st.sampled_from([item.type(choice) for choice in item.choices])
        return st.none() | allowed if item.optional else allowed

    return st.fixed_dictionaries({}, optional={item.name: value(item) for item in settings_of(kind)})


@pytest.mark.parametrize("kind", ALL_CONFIGS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_config_comes_back_from_its_dict_and_its_toml(kind: type, data: st.DataObject) -> None:
    config = build(kind, data.draw(values_of(kind)))
    assert build(kind, to_dict(config)) == config
    assert build(kind, tomllib.loads(to_toml(config))) == config


def test_the_saved_config_is_a_config_file(tmp_path: Path) -> None:
    config = build(TrainConfig, {"side": 512, "data": "/über/\U0001f4c1", "skips": False, "learning_rate": 1e-5})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert resolve_config(TrainConfig, {}, path, tmp_path) == config


def test_to_dict_holds_plain_values_by_name() -> None:
    assert to_dict(PhantomConfig()) == {name: getattr(PhantomConfig(), name) for name in to_dict(PhantomConfig())}
    rates = {"sensitive_rate": 1.0, "balanced_rate": 0.25, "specific_rate": 0.125, "prevalence": None}
    defaults = {"name": None, "fold": "all", "data": None, "compare": 3, "sources": None, "overwrite": False}
    defaults |= {"calibrate": True, "lung_margin": None, **rates}
    assert to_dict(ExportConfig()) == {**defaults, "out_of_fold": None, "without_nodules": None, "weights": "fp32"}
    assert to_dict(EvaluateConfig())["runs"] == "runs"
    assert to_dict(dataclasses.replace(TrainConfig(), network=NetworkConfig(norm="group")))["norm"] == "group"


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[1] / "docs" / "recipes").glob("*.toml")), ids=str)
def test_a_recipe_of_the_docs_is_a_config_file(recipe: Path, tmp_path: Path) -> None:
    config = resolve_config(TrainConfig, {}, recipe, tmp_path)
    assert str(config.grid.side) in recipe.stem
    assert config.network.patch_classifier is ("classifier" in recipe.stem)
    assert config != TrainConfig()


# Former names, removed settings, groups


@dataclasses.dataclass(frozen=True)
class Inner:
    width: int = setting(3, "width, pixels", low=1, was="breadth", advanced=True)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = part(Inner, "Shape")
    loud: bool = setting(False, "say more", group="Output")


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> type:
    """A config whose setting `width` was called `breadth`, and from which `depth` was removed."""
    monkeypatch.setattr("cxrcad.config.sources.ALL_CONFIGS", (Outer,))
    monkeypatch.setattr("cxrcad.config.schema.REMOVED", {"depth": 0.0})
    return Outer


def test_settings_know_their_group() -> None:
    assert [(item.name, item.group, item.advanced) for item in settings_of(Outer)] == [
        ("width", "Shape", True),
        ("loud", "Output", False),
    ]


def test_a_former_name_is_read_everywhere_and_said_once(
    renamed: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(renamed, {"breadth": 4}) == Outer(Inner(4))
    said: list[str] = []
    file = tmp_path / "cxrcad.toml"
    file.write_text("breadth = 5\n")
    assert resolve_config(renamed, {}, None, tmp_path, note=said.append) == Outer(Inner(5))
    monkeypatch.setenv("CXRCAD_BREADTH", "6")
    assert resolve_config(renamed, {}, None, tmp_path, note=said.append) == Outer(Inner(6))
    assert said == [
        f"{file}: breadth is now width",
        f"{file}: breadth is now width",
        "CXRCAD_BREADTH is now CXRCAD_WIDTH",
    ]
    monkeypatch.setenv("CXRCAD_WIDTH", "7")
    assert resolve_config(renamed, {}, None, tmp_path) == Outer(Inner(7))


def test_both_names_of_a_setting_at_once_are_refused(renamed: type, tmp_path: Path) -> None:
    (tmp_path / "cxrcad.toml").write_text("breadth = 5\nwidth = 6\n")
    with pytest.raises(UsageError, match=r"width stands in it twice \(it was called breadth\); leave one out"):
        resolve_config(renamed, {}, None, tmp_path)


def test_a_removed_setting_is_read_where_it_did_nothing_and_refused_where_it_did(renamed: type) -> None:
    assert build(renamed, {"depth": 0.0}) == Outer()
    with pytest.raises(UsageError, match="the setting depth is gone"):
        build(renamed, {"depth": 0.5})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("side = true", "side is True; it takes a whole number"),
        ('side = "512"', "side is '512'; it takes a whole number"),
        ('threshold = "0.3"', "threshold is '0.3'; it takes a number"),
        ('augment = "yes"', "augment is 'yes'; write true or false"),
        ("augment = 1", "augment is 1; write true or false"),
        ("runs = 3", "runs is 3; it takes a path"),
    ],
)
def test_a_file_s_value_has_the_setting_s_type(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "cxrcad.toml").write_text(content + "\n")
    with pytest.raises(UsageError, match=re.escape(sentence)):
        resolve_config(TrainConfig, {}, None, tmp_path)


def test_a_fold_may_be_written_as_a_number(tmp_path: Path) -> None:
    (tmp_path / "cxrcad.toml").write_text("fold = 3\n")
    assert resolve_config(TrainConfig, {}, None, tmp_path).fold == "3"
