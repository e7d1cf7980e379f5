"""What anybody may have written into a file: JSON and TOML text, names, and the values of a record.

A fault is a ValueError in words, of which the reader of the file makes its sentence.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
import unicodedata
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
    "printable",
    "shown",
    "toml_value",
]

T = TypeVar("T")

WORDS = {
    **{"float": "a number", "int": "a whole number", "str": "a text", "bool": "true or false"},
    **{"array": "a list", "object": "an object", "null": "null"},
}
"""What msgspec's names of types are called in a sentence."""

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
    if isinstance(fault, TypeError | AttributeError):  # Python's own words for null where an object is needed, say
        return "a value in it is of another type than is needed"
    if isinstance(fault, IndexError):
        return "a list in it is too short"
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


def printable(text: str) -> str:
    """The text on one line: control characters and bytes that are not UTF-8, as names may hold, as Python escapes."""
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text
    )


def made(kind: type[T], value: Any) -> T:
    """A dataclass from the JSON object of its fields (`dataclasses.asdict` gives it).

    ValueError, which names the place, for a field that is missing or not known, and for a value that is not of the
    field's type.
    """
    import msgspec

    try:
        result = msgspec.convert(value, kind, dec_hook=_path)
    except msgspec.ValidationError as fault:
        raise ValueError(_fault_of(str(fault), value)) from None
    _check_known(value, msgspec.to_builtins(result, enc_hook=str), "")
    return result


def _path(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("Expected `str`")
    return kind(value)


def _fault_of(fault: str, value: Any) -> str:
    """What msgspec told ("Expected `float`, got `bool` - at `$.box.x0`"), in our words and with the value there."""
    told, _, place = fault.partition(" - at `$")
    place = place.strip(".`")
    expected = re.match("Expected `(.*?)`( of length [0-9]+)?", told)
    if expected is None:  # "Object missing required field `score`"
        return told.replace("Object missing required", "no").replace("`", "'") + (f" in {place}" if place else "")
    needed = " or ".join(WORDS.get(kind, kind) for kind in expected[1].split(" | ")) + (expected[2] or "")
    if "[...]" in place:  # in a mapping, of which msgspec does not tell the key
        return f"{place} is of another type, where {needed} is needed"
    for key in re.findall(r"[^.\[\]]+", place):
        value = value[int(key) if isinstance(value, (list, tuple)) else key]
    return f"{place} is {shown(value)}, where {needed} is needed".lstrip()


def _check_known(value: Any, known: Any, place: str) -> None:
    """Refuse a field that a record of the value has not kept: msgspec drops what a dataclass does not know."""
    if isinstance(value, dict):
        for name in value:
            if name not in known:
                raise ValueError(f"{place} has the field {shown(name)}, which is not known".strip())
            _check_known(value[name], known[name], f"{place}.{name}".strip("."))
    elif isinstance(value, (list, tuple)):
        for number, (one, other) in enumerate(zip(value, known, strict=True)):
            _check_known(one, other, f"{place}[{number}]")


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
