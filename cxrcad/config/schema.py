"""What a setting is: a leaf field of a frozen dataclass with default, unit and help; parsing, checking and saving.

The configs themselves, and the layers that their values come from, are in `cxrcad.config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import shlex
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cxrcad.core import UsageError

__all__ = [
    "REMOVED",
    "Setting",
    "assemble",
    "build",
    "command_line",
    "former_names",
    "part",
    "present_names",
    "renamed",
    "setting",
    "settings_of",
    "to_dict",
    "to_toml",
    "unknown_setting",
]

ENVIRONMENT_PREFIX = "CXRCAD_"

T = TypeVar("T")


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    **more: Any,
) -> Any:
    """A leaf field of a config: `help` is one phrase with the unit; `choices` or `low`..`high` bound the value.

    `more` may hold: `flag`, the command-line spelling where it is not the name's (a name means one thing in every
    command); `group`, its heading in the command's help; `advanced`, True where the help does not list it (the flag
    works all the same, and the reference has it); `was`, the name that it had before, which is still read; `several`,
    True where the flag may be repeated and a file may give a list: a tuple of two values or more.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high, "setting": True, **more}
    return dataclasses.field(default=default, metadata=metadata)


def part(kind: type[T], group: str = "") -> T:
    """A field that holds another config; `group` heads those of its settings that name no group themselves."""
    return dataclasses.field(default_factory=kind, metadata={"group": group})


@dataclass(frozen=True)
class Setting:
    """One leaf field: where it sits in its config (`path`), its type, and what `setting` was told."""

    name: str
    path: tuple[str, ...]
    type: type
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    spelling: str = ""  # of the flag, where it is not the name's
    group: str = ""
    advanced: bool = False
    was: str = ""
    several: bool = False

    @property
    def flag(self) -> str:
        """The command-line spelling, with its two dashes."""
        return self.spelling or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()

    def parse(self, value: Any, origin: str, *, text: bool = False) -> Any:
        """`value` as this setting's type; `text` where it is one whatever it means (a flag, the environment).

        UsageError names `origin` and what is allowed.
        """
        if self.several and isinstance(value, list | tuple) and value:
            parsed = tuple(self.parse(one, origin, text=text) for one in value)
            return parsed if len(parsed) > 1 else parsed[0]
        result = None if value is None else _converted(value, self.type, text)
        if result is None:
            bad = value is not None or not self.optional
        elif self.choices:
            bad = str(result) not in self.choices
        elif self.type in (int, float):
            bad = (self.low is not None and result < self.low) or (self.high is not None and result > self.high)
        else:
            bad = False
        if bad:
            what = f" {value}:" if origin == self.flag else f": {self.name} is {value!r};"
            raise UsageError(f"{origin}{what} {self._allowed()}")
        return result

    def _allowed(self) -> str:
        if self.choices:
            return "choose from " + ", ".join(self.choices)
        if self.type is bool:
            return "write true or false"
        kind = {int: "a whole number", float: "a number", str: "text", Path: "a path"}[self.type]
        bounds = [f"at least {self.low:g}"] if self.low is not None else []
        bounds += [f"at most {self.high:g}"] if self.high is not None else []
        kind += " or a list of them" if self.several else ""
        return " ".join(["it takes", kind, *([", ".join(bounds)] if bounds else [])])


TAKEN: Mapping[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int, float),
    float: (int, float),
    str: (str, int, float, Path),  # fold = 3; a model by its folder
    Path: (str, Path),
}
"""The types of a TOML or JSON value that a setting's type takes."""


def _converted(value: Any, kind: type, text: bool) -> Any:
    """`value` as a `kind`, or None where it is none: 1.5 is no whole number, nan no number, "1" no number but in text.

    A path and a name hold no NUL.
    """
    if kind is bool and text:
        return value if isinstance(value, bool) else _WORDS.get(str(value).lower())
    taken = (*TAKEN[kind], str) if text else TAKEN[kind]
    if not isinstance(value, taken) or (isinstance(value, bool) and kind is not bool):
        return None
    if isinstance(value, str) and "\0" in value:
        return None
    if kind is int and isinstance(value, float) and not value.is_integer():
        return None
    try:
        result = kind(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if isinstance(result, float) and not math.isfinite(result) else result


_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def settings_of(config: type, path: tuple[str, ...] = (), group: str = "") -> Iterator[Setting]:
    """Every leaf field of a config class, depth first, in the order in which they are written."""
    hints = typing.get_type_hints(config)
    for item in dataclasses.fields(config):
        kind, told = hints[item.name], dict(item.metadata)
        if not told.pop("setting", False):
            yield from settings_of(kind, (*path, item.name), told.get("group", "") or group)
            continue
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        plain = next(option for option in options if option is not type(None))
        told = {"group": group, "spelling": told.pop("flag", ""), **told}
        yield Setting(item.name, (*path, item.name), plain, type(None) in options, item.default, **told)


ANY = object()
REMOVED: Mapping[str, Any] = {
    "image_head": False,
    "tversky": 0.0,
    "image_level": 0.0,
    "elastic": 0.0,
    "simulate_share": 1.0,
    "simulate_outside": 14 / 154,
    "simulate_shams": 0,
    "checkpoint_steps": ANY,
}
"""Settings that left the product, with the value that did nothing; ANY where none changed a result."""


def former_names(values: Mapping[str, Any], known: Mapping[str, Setting]) -> dict[str, str]:
    """The names in `values` that settings had before, each with the present one."""
    return {item.was: name for name, item in known.items() if item.was and item.was in values}


def present_names(values: Mapping[str, Any], known: Mapping[str, Setting], origin: str) -> dict[str, Any]:
    """`values` under the names that `known` settings have now; what a removed setting left undone is left out.

    UsageError for a name that is none, for one setting under two names, and for a removed one that did something.
    """
    was = former_names(values, known)
    found: dict[str, Any] = {}
    for old, value in values.items():
        name = was.get(old, old)
        if name not in known:
            if old in REMOVED and REMOVED[old] in (value, ANY):
                continue
            raise UsageError(unknown_setting(old, origin, known))
        if name in found:
            raise UsageError(f"{origin}: {name} stands in it twice (it was called {known[name].was}); leave one out")
        found[name] = value
    return found


def renamed(values: Mapping[str, Any], config: type) -> dict[str, Any]:
    """`values` with each former name of a setting of `config` replaced by the present one; the rest as it is."""
    was = {item.was: item.name for item in settings_of(config) if item.was}
    return {was.get(name, name): value for name, value in values.items()}


def build(config: type[T], values: Mapping[str, Any], origin: str = "settings") -> T:
    """A `config` from leaf values by name, present or former; what is not named keeps its default.

    UsageError for a name or value that is off.
    """
    known = {item.name: item for item in settings_of(config)}
    present = present_names(values, known, origin)
    return assemble(config, {name: known[name].parse(value, origin) for name, value in present.items()})


def assemble(config: type[T], values: Mapping[str, Any]) -> T:
    """A `config` from parsed leaf values by name; what is not named keeps its default."""
    hints = typing.get_type_hints(config)
    given: dict[str, Any] = {}
    for item in dataclasses.fields(config):  # type: ignore[arg-type]
        if not item.metadata.get("setting"):
            given[item.name] = assemble(hints[item.name], values)
        elif item.name in values:
            given[item.name] = values[item.name]
    return config(**given)


def unknown_setting(name: str, origin: str, known: Mapping[str, Setting]) -> str:
    """The sentence that `origin` names a setting that does not exist, with the nearest one of `known`."""
    if name in REMOVED:
        return f"{origin}: the setting {name} is gone (docs/GLOSSARY.md says why); leave it out"
    near = difflib.get_close_matches(name.replace("-", "_"), known, 1, 0.5)
    return f"{origin}: there is no setting {name}" + (
        f"; did you mean {near[0]}?" if near else "; `cxrcad COMMAND --help` lists them"
    )


def to_dict(config: Any) -> dict[str, Any]:
    """Leaf values by name, ready for JSON; `build` makes the config of them again."""
    values: dict[str, Any] = {}
    for item in settings_of(type(config)):
        value = config
        for name in item.path:
            value = getattr(value, name)
        several = [str(one) for one in value] if isinstance(value, tuple) else value
        values[item.name] = str(value) if isinstance(value, Path) else several
    return values


def to_toml(config: Any) -> str:
    """The config as a TOML file that `--config` takes; settings that are None are left out."""
    values = to_dict(config)
    return "".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items() if value is not None
    )


def command_line(command: str, config: Any, usual: Mapping[str, Any] | None = None) -> str:
    """The command with the flags of all settings that differ from the `usual` values, by default the defaults.

    It gives this config wherever no settings file and no variable is set.
    """
    values = to_dict(type(config)()) if usual is None else usual
    words, given = command.split(), to_dict(config)
    for one in settings_of(type(config)):
        value = given[one.name]
        if value != values[one.name] and value is not None:
            if one.type is bool:
                words.append(one.flag if value else f"--no-{one.flag[2:]}")
                continue
            for each in value if isinstance(value, list) else (value,):
                words += [one.flag, str(each)]
    return shlex.join(words)
