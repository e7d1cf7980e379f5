"""A config from its layers: default < recipe < cxrcad.toml < --config < environment < flag."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from cxrcad.config import ALL_CONFIGS
from cxrcad.core import UsageError
from cxrcad.documents import toml_value
from cxrcad.settings import ENVIRONMENT_PREFIX, Setting, assemble, settings_of, unknown_setting

__all__ = ["OTHER_VARIABLES", "PROJECT_FILE", "given_names", "layered"]

PROJECT_FILE = "cxrcad.toml"

OTHER_VARIABLES = ("CXRCAD_OPEN_DATA",)
"""Environment variables with our prefix that are no settings: where the tests find open data."""

T = TypeVar("T")


def layered(
    config: type[T],
    flags: Mapping[str, Any],
    config_file: Path | None = None,
    folder: Path | None = None,
    recipe: Path | None = None,
) -> T:
    """A `config` from all layers: default < `recipe` < `folder`/cxrcad.toml < `config_file` < environment < `flags`.

    `flags` holds only those that were given; `recipe` is a settings file that lies below all others.
    A key of a file and a variable of the environment may belong to any command; one that belongs to none is a
    UsageError with the nearest name.
    """
    _check_environment()
    known = {item.name: item for item in settings_of(config)}
    project = (folder or Path.cwd()) / PROJECT_FILE
    values: dict[str, Any] = {}
    for path in filter(None, (recipe, project if project.is_file() else None, config_file)):
        for name, value in _read_toml(path).items():
            if name in known:
                values[name] = known[name].parse(value, str(path))
    for name, item in known.items():
        if os.environ.get(item.variable):
            values[name] = item.parse(os.environ[item.variable], f"environment variable {item.variable}")
    for name, value in flags.items():
        values[name] = known[name].parse(value, known[name].flag)
    return assemble(config, values)


def given_names(config: type, flags: Mapping[str, Any], config_file: Path | None = None) -> frozenset[str]:
    """The settings of `config` that `flags`, the environment or `config_file` give, whatever their value.

    Not those of cxrcad.toml, which stands in a folder whatever is done there. Raises UsageError for the file.
    """
    named = _read_toml(config_file) if config_file is not None else {}
    return frozenset(
        item.name
        for item in settings_of(config)
        if item.name in flags or item.name in named or os.environ.get(item.variable)
    )


def _everything() -> dict[str, Setting]:
    """The settings of all commands by name."""
    return {item.name: item for kind in ALL_CONFIGS for item in settings_of(kind)}


def _check_environment() -> None:
    """Raise UsageError for a variable that has our prefix and a value, and is no setting of any command."""
    everything = _everything()
    allowed = {*OTHER_VARIABLES, *(item.variable for item in everything.values())}
    for variable, value in sorted(os.environ.items()):
        if not value or not variable.startswith(ENVIRONMENT_PREFIX) or variable in allowed:
            continue
        name, origin = variable.removeprefix(ENVIRONMENT_PREFIX).lower(), f"environment variable {variable}"
        if name in everything:
            raise UsageError(f"{origin}: the variable of the setting {name} is {everything[name].variable}; rename it")
        raise UsageError(unknown_setting(name, origin, everything))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        content = toml_value(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such settings file; check --config") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not readable as TOML ({error}); correct it or leave it out") from None
    everything = _everything()
    leaves: dict[str, Any] = {}
    for name, value in content.items():
        for key, leaf in value.items() if isinstance(value, dict) else [(name, value)]:
            if key not in everything:
                raise UsageError(unknown_setting(key, str(path), everything))
            if key in leaves:
                raise UsageError(f"{path}: {key} stands in it twice; tables only group settings, so leave one out")
            leaves[key] = leaf
    return leaves
