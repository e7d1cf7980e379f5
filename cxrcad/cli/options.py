"""Click options made from the fields of a config; the layers are joined when the command is called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cxrcad.config import Setting, settings_of
from cxrcad.layers import given_names, layered

__all__ = ["with_settings"]

Function = Callable[..., Any]


def with_settings(
    config: type,
    leave_out: Sequence[str] = (),
    recipe: Callable[[Any], Path] | None = None,
    also: Mapping[str, str] | None = None,
    tell_given: bool = False,
) -> Callable[[Function], Function]:
    """A decorator that gives a command `--config` and an option for each setting, and calls it with the built config.

    Settings named in `leave_out` have no flag (they are still read from files and the environment). `recipe` names a
    settings file by the config itself; what stands there goes before the defaults only. `also` gives a
    second flag to a setting, by its name. With `tell_given` the command is also called with `given`, the names of the
    settings that a flag, the environment or --config gave.
    """
    chosen = [item for item in settings_of(config) if item.name not in leave_out]

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(config_file: Path | None, **values: Any) -> Any:
            flags = {item.name: values.pop(item.name) for item in chosen}
            given = {name: value for name, value in flags.items() if value is not None}
            built: Any = layered(config, given, config_file)
            if recipe is not None:
                built = layered(config, given, config_file, recipe=recipe(built))
            if tell_given:
                values["given"] = given_names(config, given, config_file)
            return function(built, **values)

        wrapped: Function = call
        for item in reversed(chosen):
            wrapped = _option(item, (also or {}).get(item.name))(wrapped)
        kind = click.Path(path_type=Path)
        help_text = "Settings file (TOML), before the environment and flags; cxrcad.toml in this folder is read first."
        return click.option("--config", "config_file", type=kind, metavar="FILE", help=help_text)(wrapped)

    return decorate


def _option(item: Setting, also: str | None = None) -> Callable[[Function], Function]:
    default = "" if item.default is None else f"  [default: {_shown(item.default)}]"
    help_text = item.help[0].upper() + item.help[1:] + "." + default
    if item.type is bool:
        return click.option(f"{item.flag}/--no-{item.flag[2:]}", item.name, default=None, help=help_text)
    metavar = "|".join(item.choices) or {int: "N", float: "X", str: "TEXT", Path: "PATH"}[item.type]
    flags = [item.flag, also] if also else [item.flag]
    return click.option(*flags, item.name, default=None, metavar=metavar, help=help_text)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
