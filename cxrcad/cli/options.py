"""Click options made from the fields of a config, in groups; the layers are joined when the command is called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cxrcad.cli.progress import note
from cxrcad.config import Setting, settings_of
from cxrcad.config.sources import given_names, resolve_config

__all__ = [
    "GENERAL", "OF_BATCHES", "OWN", "TABLES", "Command", "Option", "given_files", "heading", "with_settings",
    "with_tables",
]  # fmt: skip

Function = Callable[..., Any]

OWN, GENERAL = "Options", "General"
"""Headings of the options that no setting groups: the command's own, which come first; those of all come last."""
OF_BATCHES = ("inference_batch", "identifiers", "resume", "shard", "engine", "address")
"""Settings of a detection that one which takes a radiograph at a time does not have."""
OF_ALL = {"--config", "--help-all", "--help"}

LONGEST_METAVAR = 40  # characters
FORMER = "former_"  # begins the parameter name of a flag's former spelling


class Option(click.Option):
    """An option under a heading of its command's help; an advanced one is listed by --help-all only."""

    def __init__(self, *arguments: Any, group: str, advanced: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.group, self.advanced = group, advanced


class Command(click.Command):
    """A command whose help lists its options group by group."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if any(getattr(option, "advanced", False) for option in self.params):
            shown = click.Option(
                ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_help_all,
                help="Show this message with the advanced options, and exit.",
            )  # fmt: skip
            self.params.append(shown)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings: the command's own, then the groups, then those of all commands."""
        listed: dict[str, list[tuple[str, str]]] = {OWN: []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None and (ctx.meta.get("all") or not getattr(option, "advanced", False)):
                listed.setdefault(heading(option), []).append(record)
        general = listed.pop(GENERAL)
        for title, records in [*listed.items(), (GENERAL, general)]:
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def heading(option: click.Parameter) -> str:
    """What an option is listed under."""
    return GENERAL if OF_ALL.intersection(option.opts) else getattr(option, "group", "") or OWN


def _help_all(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["all"] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


TABLES = {
    "csv": "Write a table with a row a box too (CSV).",
    "coco": "Write the boxes as COCO too: images, annotations with a score, categories.",
    "node21": "Write the boxes as NODE21's nodules.json too.",
}


def with_tables(command: Function) -> Function:
    """An option for each format that is written beside --out."""
    for name, words in reversed(TABLES.items()):
        kind = click.Path(path_type=Path)
        command = click.option(f"--{name}", type=kind, metavar="FILE", help=words)(command)
    return command


def given_files(files: Mapping[str, Path | None]) -> dict[str, Path]:
    """The files that were named, by their option."""
    return {f"--{name}": path for name, path in files.items() if path is not None}


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
    settings that a flag, the environment or --config gave. A setting's former flag still works, with a note that names
    the new one.
    """
    chosen = [item for item in settings_of(config) if item.name not in leave_out]

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(config_file: Path | None, **values: Any) -> Any:
            given = _given(chosen, values)
            built: Any = resolve_config(config, given, config_file, note=note)
            if recipe is not None:
                built = resolve_config(config, given, config_file, recipe=recipe(built))
            if tell_given:
                values["given"] = given_names(config, given, config_file)
            return function(built, **values)

        wrapped: Function = call
        for item in reversed(chosen):
            wrapped = _option(item, (also or {}).get(item.name))(wrapped)
            if item.was:
                wrapped = _former_option(item)(wrapped)
        kind = click.Path(path_type=Path)
        help_text = "Settings file (TOML); it overrides cxrcad.toml here, and environment and flags override it."
        return click.option("--config", "config_file", type=kind, metavar="FILE", help=help_text)(wrapped)

    return decorate


def _given(chosen: Sequence[Setting], values: dict[str, Any]) -> dict[str, Any]:
    """The settings whose flags were given, taken out of `values`; of two spellings of one flag the present one."""
    given = {}
    for item in chosen:
        former, value = values.pop(FORMER + item.name, None), values.pop(item.name)
        if former is not None:
            note(f"{_spelling(item.was)} is now {item.flag}")
            value = former if value is None else value
        if value not in (None, ()):
            given[item.name] = value
    return given


def _option(item: Setting, also: str | None = None) -> Callable[[Function], Function]:
    default = "" if item.default is None else f"  [default: {_shown(item.default)}]"
    help_text = item.help[0].upper() + item.help[1:] + "." + default
    told: dict[str, Any] = {
        "default": None,
        "help": help_text,
        "cls": Option,
        "group": item.group,
        "advanced": item.advanced,
    }
    if item.type is bool:
        return click.option(f"{item.flag}/--no-{item.flag[2:]}", item.name, **told)
    metavar = "|".join(item.choices) or {int: "N", float: "X", str: "TEXT", Path: "PATH"}[item.type]
    if len(metavar) > LONGEST_METAVAR:
        metavar = "NAME"  # the help lists the choices
    flags = [item.flag, also] if also else [item.flag]
    return click.option(*flags, item.name, metavar=metavar, multiple=item.several, **told)


def _former_option(item: Setting) -> Callable[[Function], Function]:
    flag = _spelling(item.was)
    if item.type is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", FORMER + item.name, default=None, hidden=True)
    return click.option(flag, FORMER + item.name, default=None, hidden=True)


def _spelling(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
