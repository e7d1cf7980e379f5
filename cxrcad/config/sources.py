"""A config from its layers: default < recipe < cxrcad.toml < --config < environment < flag."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cxrcad.config import ALL_CONFIGS
from cxrcad.config.schema import (
    ANY,
    ENVIRONMENT_PREFIX,
    REMOVED,
    Setting,
    assemble,
    former_names,
    present_names,
    settings_of,
    unknown_setting,
)
from cxrcad.core import UsageError
from cxrcad.documents import toml_value

__all__ = ["OTHER_VARIABLES", "PROJECT_FILE", "given_names", "resolve_config"]

PROJECT_FILE = "cxrcad.toml"

OTHER_VARIABLES = ("CXRCAD_OPEN_DATA",)
"""Environment variables with our prefix that are no settings: where the tests find open data."""

T = TypeVar("T")


def resolve_config(
    config: type[T],
    flags: Mapping[str, Any],
    config_file: Path | None = None,
    folder: Path | None = None,
    recipe: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> T:
    """A `config` from all sources: default < `recipe` < `folder`/cxrcad.toml < `config_file` < environment < `flags`.

    `flags` holds only those that were given; `recipe` is a settings file that lies below all others.
    A key of a file and a variable of the environment may belong to any command; one that belongs to none is a
    UsageError with the nearest name. `note` is told of each setting that is given under a former name.
    """
    known = {item.name: item for item in settings_of(config)}
    project = (folder or Path.cwd()) / PROJECT_FILE
    values: dict[str, Any] = {}
    for path in filter(None, (recipe, project if project.is_file() else None, config_file)):
        for name, value in _read_toml(path, note).items():
            if name in known:
                values[name] = known[name].parse(value, str(path))
    for name, (variable, text) in _environment(note).items():
        if name in known:
            values[name] = known[name].parse(text, f"environment variable {variable}", text=True)
    for name, value in flags.items():
        values[name] = known[name].parse(value, known[name].flag, text=True)
    return assemble(config, values)


def given_names(config: type, flags: Mapping[str, Any], config_file: Path | None = None) -> frozenset[str]:
    """The settings of `config` that `flags`, the environment or `config_file` give, whatever their value.

    Not those of cxrcad.toml, which stands in a folder whatever is done there. Raises UsageError for the file.
    """
    silent = lambda _: None  # noqa: E731
    named = _read_toml(config_file, silent) if config_file is not None else {}
    given = {*flags, *named, *_environment(silent)}
    return frozenset(item.name for item in settings_of(config) if item.name in given)


def _everything() -> dict[str, Setting]:
    """The settings of all commands by name; the one that was renamed, where commands differ in that."""
    found: dict[str, Setting] = {}
    for kind in ALL_CONFIGS:
        for item in settings_of(kind):
            if item.name not in found or item.was:
                found[item.name] = item
    return found


def _environment(note: Callable[[str], None]) -> dict[str, tuple[str, str]]:
    """Variable and text of each setting of any command that the environment holds, by the setting's present name.

    Raises UsageError for a variable that has our prefix and a value, and is no setting of any command.
    """
    everything = _everything()
    former = {item.was: name for name, item in everything.items() if item.was}
    found: dict[str, tuple[str, str]] = {}
    for variable, text in sorted(os.environ.items()):
        if not text or not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        name, origin = variable.removeprefix(ENVIRONMENT_PREFIX).lower(), f"environment variable {variable}"
        if REMOVED.get(name) is ANY:
            continue
        if name not in everything and name not in former:
            raise UsageError(unknown_setting(name, origin, everything))
        present = former.get(name, name)
        expected = ENVIRONMENT_PREFIX + name.upper()
        if variable != expected:
            raise UsageError(f"{origin}: the variable of the setting {name} is {expected}; rename it")
        if present != name:
            note(f"{variable} is now {everything[present].variable}")
        if present == name or present not in found:
            found[present] = variable, text
    return found


def _read_toml(path: Path, note: Callable[[str], None]) -> dict[str, Any]:
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
            if key in leaves:
                raise UsageError(f"{path}: {key} stands in it twice; tables only group settings, so leave one out")
            leaves[key] = leaf
    for key, now in former_names(leaves, everything).items():
        note(f"{path}: {key} is now {now}")
    return present_names(leaves, everything, str(path))
