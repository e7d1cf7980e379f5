"""PATHS of a command: named, listed on standard input (-) or in files (--list), or matched by a pattern."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from cxrcad.core import DataError, UsageError

__all__ = ["with_paths"]

Function = Callable[..., Any]

STDIN = "-"
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
LONGEST_PATH = 4096
"""Bytes: no file system takes a longer one."""


def with_paths(name: str, *, found: bool = False, unless: str = "") -> Callable[[Function], Function]:
    """A decorator that gives a command the argument `name`, `--list` and `--null`, and calls it with all its paths.

    A pattern that the shell did not expand is replaced by what it matches, and is refused where that is nothing; with
    `found` it stays a `Pattern`, which `find_inputs` takes. What stands in a list is no pattern. The option `unless`
    takes the place of them all.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(lists: tuple[str, ...], null: bool, **values: Any) -> Any:
            named = values.pop(name)
            if null and not lists and STDIN not in named:
                raise UsageError("--null: is for lists; give one on standard input (-), or with --list FILE")
            if unless and values.get(unless) is not None:
                if named or lists:
                    raise UsageError(f"--{unless}: takes the place of {name.upper()}; leave out one of them")
            elif not named and not lists:
                raise click.UsageError(f"Missing argument '{name.upper()}...'.")
            paths = tuple(path for text in named for path in _paths_of(text, null, found))
            listed = tuple(path for text in lists for path in _listed(text, null))
            return function(**{name: paths + listed}, **values)

        argument = click.argument(name, nargs=-1, metavar=f"{name.upper()}...")
        null_help = "Lists are NUL-separated, as of find -print0; one that holds a NUL is taken so anyway."
        for option in (
            click.option("--null", "-0", is_flag=True, help=null_help),
            click.option(
                "--list", "lists", multiple=True, metavar="FILE",
                help=f"Take {name.upper()} from a file too, one a line; - for standard input. Repeat it for several.",
            ),
        ):  # fmt: skip
            call = option(call)
        return argument(call)

    return decorate


def _paths_of(text: str, null: bool, found: bool) -> Iterator[Path]:
    """The paths that one argument stands for."""
    from cxrcad.imaging.remote import RemoteFolder
    from cxrcad.inference.folders import Pattern, expanded, named

    if text == STDIN:
        yield from _listed(text, null)
        return
    if not text:
        raise UsageError("PATHS: an empty name, as of a variable that is not set; name a file or folder")
    path = named(text)
    yield from expanded(path) if isinstance(path, Pattern | RemoteFolder) and not found else (path,)


def _listed(text: str, null: bool) -> list[Path]:
    """The paths of a list. Raises UsageError where it cannot be read or is none, DataError for an empty one."""
    from cxrcad.imaging.remote import path_of

    where = "standard input" if text == STDIN else f"--list {text}"
    try:
        if text == STDIN:
            if sys.stdin is None:
                raise UsageError("standard input: is closed; give the list with --list FILE")
            data = sys.stdin.buffer.read()
        else:
            data = Path(text).read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{where}: there is no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{where}: cannot be read ({reason}); name a file that holds a path a line") from None
    names = _names_in(data, null)
    if b"" in names or any(len(name) > LONGEST_PATH for name in names):
        raise UsageError(f"{where}: holds no list of paths but other data; give a path a line, or NUL-separated paths")
    if not names:
        raise DataError(f"{where}: an empty list; check what wrote it")
    return [path_of(os.fsdecode(name)) for name in names]


def _names_in(data: bytes, null: bool) -> list[bytes]:
    """The names of a list, its byte order mark, empty lines and the CR of line ends left out."""
    if data.startswith(UTF16_MARKS) and len(data) % 2 == 0:  # PowerShell's >
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(UTF8_MARK)
    if null or b"\0" in data:
        return data.removesuffix(b"\0").split(b"\0") if data else []
    return [line for line in (line.removesuffix(b"\r") for line in data.split(b"\n")) if line]
