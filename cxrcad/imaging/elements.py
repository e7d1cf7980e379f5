"""The values of a DICOM header, whoever wrote them: decimal commas, padding, small letters, several where one belongs.

pydicom's own conversion is not asked for texts and numbers as text: it raises at some values and drops others.
"""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrcad.imaging.faults import refuse

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["code", "correct", "items", "number", "numbers", "stated", "texts", "unreadable", "whole"]

TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
SPECIFIC = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
"""Texts in the header's character set (PS3.5, 6.1.2.3)."""
BINARY = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}
"""Bytes of one number."""
PADDING = " \t\r\n\0"
DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(E[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""A DS or IS (DICOM PS3.5, 6.2): float() also takes nan, inf, 1_000 and other digits."""
COMMA = re.compile(r"[+-]?\d*,\d+(E[+-]?\d+)?", re.ASCII | re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
"""1,250 may be 1.25 or 1250: it is not read."""
COMMA_BETWEEN = re.compile(r"([^,]*\.[^,]*),([^,]*\.[^,]*)")
"""Two decimals with a comma where the backslash belongs."""


def texts(dataset: Dataset, name: str) -> tuple[str, ...]:
    """The values of an element as text, without the padding around them; () where it is absent or empty."""
    from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(name)
    assert tag is not None
    if tag not in dataset:
        return ()
    element: Any = dataset.get_item(tag)
    value = element.value
    known = element.VR if element.VR not in (None, "UN", "OB") else dictionary_VR(tag)
    if isinstance(value, bytes) and known in TEXT:
        value = _decoded(dataset, value, known).split("\\")
    elif isinstance(value, bytes) and dictionary_VM(tag) == "1" and _is_text(value, known):
        value = value.decode("ascii")
    elif isinstance(value, bytes):
        try:
            value = dataset[tag].value
        except Exception:  # pydicom raises whatever a damaged value leads to
            value = f"{len(value)} bytes"
    values = [value] if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__") else list(value)
    found = tuple("" if each is None else str(each).strip(PADDING) for each in values)
    return found if any(found) else ()


def _is_text(value: bytes, kind: str) -> bool:
    """Whether an element of one binary number holds text instead, by its length and its bytes: 12.0 as a US."""
    text = value.strip(PADDING.encode())
    padded = 0 < len(text) >= len(value) - 1  # else they are the zeros of a binary number
    return padded and len(value) != BINARY.get(kind) and text.isascii() and text.decode().isprintable()


def _decoded(dataset: Dataset, value: bytes, kind: str) -> str:
    """The text of an element by the header's character set; where it is not of that one as UTF-8, or as Latin 1."""
    if kind not in SPECIFIC or value.isascii():
        return value.decode("latin-1")
    from pydicom.charset import convert_encodings

    stated = texts(dataset, "SpecificCharacterSet")
    for encoding in (*(convert_encodings(list(stated)) if len(stated) == 1 else ()), "utf-8"):
        with contextlib.suppress(UnicodeError, LookupError):
            return value.decode(encoding)
    return value.decode("latin-1")


def number(text: str) -> float | None:
    """The finite number that a text is, with a point or a decimal comma; None for anything else."""
    if COMMA.fullmatch(text) and not THOUSANDS.fullmatch(text):
        text = text.replace(",", ".")
    value = float(text) if DECIMAL.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def numbers(dataset: Dataset, name: str) -> tuple[float | None, ...]:
    """The values of an element, None for those that are no finite number; () where it is absent or empty."""
    values = texts(dataset, name)
    if len(values) == 1 and (pair := COMMA_BETWEEN.fullmatch(values[0])):
        values = tuple(each.strip(PADDING) for each in pair.groups())
    return tuple(number(each) for each in values)


def stated(path: Path, dataset: Dataset, name: str, default: float) -> float:
    """The number of an element that decides the picture; `default` where it is absent or empty. Raises ReadError."""
    values = set(numbers(dataset, name))
    if not values:
        return default
    value = values.pop()
    if values or value is None:
        refuse(path, f"{unreadable(dataset, name)}, but one number is needed", correct(path, f"-m {name}=NUMBER"))
    return value


def whole(path: Path, dataset: Dataset, name: str, default: int | None = None) -> int:
    """The whole number of an element. Raises ReadError for another value, and where it is absent without a default."""
    if not texts(dataset, name) and default is not None:
        return default
    if not texts(dataset, name):
        refuse(path, f"no {name} in its header", "export the radiograph again")
    value = stated(path, dataset, name, 0)
    if value != int(value):
        refuse(path, f"{unreadable(dataset, name)}, but a whole number is needed", correct(path, f"-m {name}=NUMBER"))
    return int(value)


def correct(path: Path, changes: str) -> str:
    """The remedy for an element whose right value its reader may know. `changes` are dcmodify's options."""
    return f"export the radiograph again, or correct it: dcmodify {changes} {shlex.quote(path.name)}"


def unreadable(dataset: Dataset, name: str) -> str:
    """An element with its values as they stand, to begin a sentence."""
    return f"{name} is {chr(92).join(texts(dataset, name))[:40]!r}"


def code(dataset: Dataset, name: str) -> str:
    """The code of an element in capitals; several different ones joined by a backslash; "" where it states none."""
    values = (" ".join(each.split()).upper() for each in texts(dataset, name))
    return "\\".join(dict.fromkeys(each for each in values if each))


def items(dataset: Dataset, name: str) -> list[Dataset]:
    """The items of a sequence; [] where it is absent, empty, or no sequence."""
    from pydicom.sequence import Sequence

    try:
        value = dataset.get(name)
    except Exception:  # as above
        return []
    return list(value) if isinstance(value, Sequence) else []
