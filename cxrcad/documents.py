"""What anybody may have written into a file: JSON and TOML text, names, and the values of a record.

A fault is a ValueError in words, of which the reader of the file makes its sentence.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
import tomllib
import types
import typing
import unicodedata
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

__all__ = [
    "ABSENT",
    "INSIDE",
    "MALFORMED",
    "NAME",
    "as_name",
    "fault_words",
    "is_inside",
    "is_name",
    "json_value",
    "made",
    "shown",
    "toml_value",
]

T = TypeVar("T")

LONGEST_NAME = 200  # bytes: file systems take 255, and endings and numbers are added
NAME = f"a name (at most {LONGEST_NAME} bytes, no / or \\, no control character, no drive, not . or ..)"
INSIDE = "a file's path inside its folder (not absolute, no drive, no .., no control character)"
"""What `is_name` and `is_inside` allow, to stand in a sentence."""

DEEPEST = 100
"""Levels of lists and objects in each other: more than any document has, and few enough to be written again."""

LARGEST = 2**63
"""A whole number from which on no count, size or id of ours can be."""

LONGEST_SHOWN = 60
ABSENT = object()

MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading a document of another shape raises."""


def fault_words(fault: BaseException) -> str:
    """What one of MALFORMED says, in words."""
    if isinstance(fault, KeyError):
        return f"{fault.args[0]!r} is missing"
    return "it is not text in UTF-8" if isinstance(fault, UnicodeDecodeError) else str(fault)


def json_value(text: str, *, endless: bool = False) -> Any:
    """The value that the JSON text holds; `endless` lets NaN and Infinity through, for a reader that refuses them.

    ValueError for damaged text, for 100 levels in each other, a name given twice in one object, and a number that no
    computer word holds.
    """
    hooks: dict[str, Any] = {} if endless else {"parse_constant": _endless, "parse_float": _finite, "parse_int": _whole}
    try:
        value = json.loads(text, object_pairs_hook=_once, **hooks)
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels in each other") from None
    return _not_too_deep(value)


def toml_value(text: str) -> dict[str, Any]:
    """The tables and values that the TOML text holds.

    ValueError for damaged text, for 100 levels in each other, and for a number that no computer word holds.
    """
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"more than {DEEPEST} levels in each other") from None
    _not_too_deep(value, LARGEST)
    return value


def is_name(text: str) -> bool:
    """Whether a file or folder may be called so wherever it is put: a name is never a path. See NAME."""
    if text in ("", ".", "..") or re.match("[A-Za-z]:", text):
        return False
    if any(letter in "/\\" or unicodedata.category(letter) == "Cc" for letter in text):
        return False
    try:
        return len(os.fsencode(text)) <= LONGEST_NAME
    except UnicodeEncodeError:
        return False


def is_inside(text: str) -> bool:
    """Whether a path, joined with a folder, stays inside of it. See INSIDE."""
    parts = re.split(r"[/\\]", text)
    return is_name(parts[0] if parts[0] != "." else "_") and all(
        part in ("", ".") or is_name(part) for part in parts[1:]
    )


def as_name(text: str) -> str:
    """The nearest text that `is_name` takes: what a name may not hold becomes _, and a long one is cut."""
    clean = "".join(
        "_" if letter in "/\\:" or unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text
    )
    cut = clean.encode()[:LONGEST_NAME].decode(errors="ignore")
    return cut if is_name(cut) else "_"


def shown(value: Any) -> str:
    """A value as JSON writes it (a text in single quotes), on one line and short, to stand in a sentence."""
    if value is ABSENT or value == "":
        return "absent" if value is ABSENT else "empty"
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value)
    except RecursionError:
        return "nested too deeply to be shown"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def made(kind: type[T], value: Any) -> T:
    """A dataclass from the JSON object of its fields (`dataclasses.asdict` gives it).

    ValueError for a field that is missing or not known, and for a value that is not of the field's type.
    """
    result: T = _reader(typing.cast(Hashable, kind))(value)
    return result


def _endless(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    return _endless(digits) if number in (float("inf"), float("-inf")) else number


def _whole(digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else LARGEST
    if abs(number) >= LARGEST:
        raise ValueError(f"the number {shown(digits)[1:-1]} is too large")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{shown(next(name for name in names if names.count(name) > 1))} stands twice in one object")
    return values


def _not_too_deep(value: Any, largest: float = math.inf) -> Any:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST + 1):
        if not level:
            return value
        inner = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        if largest < math.inf and any(isinstance(item, int) and abs(item) >= largest for item in inner):
            raise ValueError("a number is too large")
        level = [item for item in inner if isinstance(item, (dict, list))]
    raise ValueError(f"more than {DEEPEST} levels in each other")


Reader = Callable[[Any], Any]
SCALARS: Mapping[Any, tuple[tuple[type, ...], str]] = {
    float: ((int, float), "a number"),
    int: ((int,), "a whole number"),
    str: ((str,), "a text"),
    bool: ((bool,), "true or false"),
    Path: ((str,), "a path"),
}


@functools.cache
def _reader(hint: Any) -> Reader:
    """What makes a value of this type of its JSON."""
    inner = typing.get_args(hint)
    if hint is Any:
        return lambda value: value
    if dataclasses.is_dataclass(hint):
        return _record(hint)
    if isinstance(hint, types.UnionType):
        plain = _reader(next(kind for kind in inner if kind is not type(None)))
        return lambda value: None if value is None else plain(value)
    if typing.get_origin(hint) is tuple:
        return _row(inner)
    if isinstance(typing.get_origin(hint), type) and issubclass(typing.get_origin(hint), Mapping):
        item = _reader(inner[1])
        return lambda value: {key: item(one) for key, one in _checked(value, (dict,), "an object").items()}
    kinds, words = SCALARS[hint]
    if hint is Path:
        return lambda value: Path(_checked(value, kinds, words))
    return lambda value: _checked(value, kinds, words)


def _checked(value: Any, kinds: tuple[type, ...], words: str) -> Any:
    if type(value) not in kinds:  # not isinstance: true is no number
        raise ValueError(f"is {shown(value)}, where {words} is needed")
    return value


def _row(kinds: tuple[Any, ...]) -> Reader:
    if kinds[-1] is Ellipsis:
        item = _reader(kinds[0])
        return lambda values: tuple([item(value) for value in _checked(values, (list,), "a list")])
    items = [_reader(kind) for kind in kinds]
    words = f"a list of {len(items)}"

    def read(values: Any) -> Any:
        if len(_checked(values, (list, tuple), words)) != len(items):
            raise ValueError(f"is {shown(values)}, where {words} is needed")
        return tuple([item(value) for item, value in zip(items, values, strict=True)])

    return read


def _record(kind: Any) -> Reader:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    defaults = (dataclasses.MISSING, dataclasses.MISSING)
    needed = [field.name for field in dataclasses.fields(kind) if (field.default, field.default_factory) == defaults]

    def read(values: Any) -> Any:
        for name in needed:
            if name not in _checked(values, (dict,), "an object"):
                raise ValueError(f"{name!r} is missing")
        given = {}
        for name, value in _checked(values, (dict,), "an object").items():
            if name not in readers:
                raise ValueError(f"has the field {shown(name)}, which is not known")
            try:
                given[name] = readers[name](value)
            except ValueError as fault:
                raise ValueError(f"{name} {fault}") from None
        return kind(**given)

    return read
