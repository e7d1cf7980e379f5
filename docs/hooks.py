"""What the site's build adds to the pages: lists made from the code, and links out of docs/ that work there too."""

from __future__ import annotations

import importlib
import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cxrcad.cli.main import COMMANDS
from cxrcad.cli.options import GENERAL, OWN, heading
from cxrcad.config import ALL_CONFIGS, settings_of

MARK = re.compile(r"<!-- generated: (.+?) -->")
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#\s]+)[^)\s]*\)")
SCHEMA = Path(__file__).parents[1] / "cxrcad" / "interchange" / "boxes.schema.json"


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The page's Markdown with its generated parts, and without links to files that are not on the site."""
    del files
    markdown = MARK.sub(lambda mark: PARTS[mark[1]](), markdown)
    folder = posixpath.dirname(page.file.src_uri)

    def outside(link: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if place.startswith("docs/"):
            return link[0]
        if config.repo_url:
            return f"[{link[1]}]({config.repo_url.rstrip('/')}/blob/main/{place})"
        return link[1] if link[1].startswith("`") else f"`{place}`"

    return LINK.sub(outside, markdown)


def commands() -> str:
    """A heading and the tables of options, one for each group, of every command."""
    return "\n\n".join(_command(name) for name in COMMANDS)


def _command(name: str) -> str:
    command: click.Command = importlib.import_module(f"cxrcad.cli.{name.replace('-', '_')}").command
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    told = (command.help or "").split("\f")[0]
    paragraphs = (" ".join(part.split()) for part in told.split("\n\n"))
    text = "\n\n".join(_plain(part.replace("\b ", "")) for part in paragraphs)
    options = [item for item in command.params if isinstance(item, click.Option) and not item.hidden]
    groups: dict[str, list[click.Option]] = {OWN: []}
    for item in options:
        groups.setdefault(heading(item), []).append(item)
    general = groups.pop(GENERAL, [])
    tables = [_table(title, items) for title, items in (*groups.items(), (GENERAL, general)) if items]
    return "\n\n".join([f"## {name}", f"`cxrcad {name} {usage}`", text, *tables])


def _table(title: str, options: Sequence[click.Option]) -> str:
    """The options of a group, the advanced ones last and marked."""
    ordered = sorted(options, key=_is_advanced)
    rows = [f"| {_flags(item)} | {_cell(item.help or '')}{' *Advanced.*' * _is_advanced(item)} |" for item in ordered]
    return "\n".join([f"| {title} | meaning |", "|---|---|", *rows])


def _is_advanced(option: click.Option) -> bool:
    return bool(getattr(option, "advanced", False))


def _flags(option: click.Option) -> str:
    """The option's spellings, and its values."""
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    values = " or ".join(f"`{value}`" for value in (option.metavar or "").split("|") if value)
    return f"{flags} {values}" if values and not option.is_flag else flags


def _cell(text: str) -> str:
    return _plain(" ".join(text.split()))


def _plain(text: str) -> str:
    """`text` as Markdown that shows it as it is."""
    return re.sub(r"([|*_<\[\]])", r"\\\1", text)


def variables() -> str:
    """Every setting with its environment variable, type and default, once."""
    seen: dict[str, str] = {}
    for kind in ALL_CONFIGS:
        for item in settings_of(kind):
            default = "" if item.default is None else f"`{item.default}`"
            values = ", ".join(f"`{value}`" for value in item.choices) or _bounds(item.type, item.low, item.high)
            seen.setdefault(item.name, f"| `{item.name}` | {values} | {default} |")
    return "\n".join(["| setting | values | default |", "|---|---|---|", *(seen[name] for name in sorted(seen))])


def _bounds(kind: type, low: float | None, high: float | None) -> str:
    word = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}[kind]
    ends = [f"from {low:g}"] if low is not None else []
    return " ".join([word, *ends, *([f"to {high:g}"] if high is not None else [])])


def boxes_schema() -> str:
    """The JSON Schema of boxes.json as a table: place, type, meaning."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    rows = [f"| `{place}` | {kind} | {_cell(told)} |" for place, kind, told in _fields(schema, schema, "")]
    return "\n".join(["| place | type | meaning |", "|---|---|---|", *rows])


def _fields(node: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[tuple[str, str, str]]:
    for name, raw in node.get("properties", {}).items():
        field = _resolved(raw, root)
        kind, inner, here = _kind(field, root), field, f"{place}.{name}" if place else name
        yield here, kind, str(raw.get("description", field.get("description", "")))
        while "items" in inner and isinstance(inner["items"], dict):
            inner, here = _resolved(inner["items"], root), f"{here}[]"
        for option in (inner, *inner.get("oneOf", ()), *inner.get("anyOf", ())):
            yield from _fields(_resolved(option, root), root, here)


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """`node`, or what its $ref points to."""
    while "$ref" in node:
        target: Any = root
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node


def _kind(field: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    options = [_resolved(item, root) for key in ("oneOf", "anyOf") for item in field.get(key, ())]
    if options:
        return " or ".join(dict.fromkeys(_kind(item, root) for item in options))
    kind = field.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


PARTS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "settings": variables,
    "boxes schema": boxes_schema,
}
"""The generated parts by the name in their mark."""
