"""Values, names and records of files that anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from cxrcad.core import Box
from cxrcad.documents import as_name, is_inside, is_name, json_value, made, toml_value

GOOD_NAMES = ["a", "a b", "a.b.c", "..a", "...", ".hidden", "Müller 3 µm", "胸部", "C", "ab:c", "x" * 200, "é" * 100]
BAD_NAMES = ["", ".", "..", "/", "a/b", "../a", "/a", "a\\b", "\\\\host", "C:", "c:a", "a\0b", "a\nb", "\x7f", "\x85"]
BAD_NAMES += ["x" * 201, "é" * 101, "\ud800"]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_may_have_spaces_dots_and_any_letters(name: str) -> None:
    assert is_name(name)
    assert is_inside(name)
    assert as_name(name) == name.replace(":", "_")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_is_never_a_path_and_can_be_made_one(name: str) -> None:
    assert not is_name(name)
    assert is_name(as_name(name))


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        *(("a/b.png", True), ("a\\b.png", True), ("./a.png", True), ("a//b", True), ("a/./b", True), ("a/..b", True)),
        *(("../a", False), ("a/../../b", False), ("a/..", False), ("a\\..\\b", False), ("/a", False), ("\\a", False)),
        *(("C:/a", False), ("C:\\a", False), ("a/b\0", False), ("", False), ("..", False), ("./../a", False)),
    ],
)
def test_a_path_stays_inside_its_folder(path: str, inside: bool) -> None:
    assert is_inside(path) is inside


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 10_000, "more than 100 levels in each other"),
        ("[" * 101 + "]" * 101, "more than 100 levels in each other"),
        ('{"a":' * 101 + "1" + "}" * 101, "more than 100 levels in each other"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "1e999 is no number"),
        (str(2**63), "the number 9223372036854775808 is too large"),
        ("1" * 5000, "the number 1111"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' stands twice in one object"),
        ("[1", "Expecting ',' delimiter"),
    ],
)
def test_json_that_no_document_holds_is_a_fault_in_words(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        json_value(text)


def test_json_of_a_hundred_levels_and_of_64_bits_is_read() -> None:
    assert json_value("[" * 100 + "]" * 100)
    assert json_value(f"[{2**63 - 1}, {-(2**63) + 1}, 1e308]") == [2**63 - 1, -(2**63) + 1, 1e308]
    assert json_value("3") == 3
    assert str(json_value("[NaN]", endless=True)) == "[nan]"


@pytest.mark.parametrize("text", ["a = " + "[" * 10_000, "a = " + "[" * 101 + "]" * 101])
def test_toml_that_is_too_deep_is_a_fault_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="more than 100 levels in each other"):
        toml_value(text)


@dataclass(frozen=True)
class Inner:
    score: float
    count: int = 0


@dataclass(frozen=True)
class Outer:
    name: str
    inner: tuple[Inner, ...]
    point: tuple[float, float] | None = None
    box: Box | None = None
    flags: Mapping[str, bool] | None = None
    path: Path | None = None


WHOLE: dict[str, Any] = {
    "name": "a",
    "inner": [{"score": 0.5, "count": 2}, {"score": 1}],
    "point": [1, 2.5],
    "box": {"x0": 0, "y0": 1, "x1": 2, "y1": 3.5},
    "flags": {"x": True},
    "path": "a/b",
}


def test_a_record_comes_back_as_it_was_written() -> None:
    record = made(Outer, WHOLE)
    assert record == Outer("a", (Inner(0.5, 2), Inner(1)), (1, 2.5), Box(0, 1, 2, 3.5), {"x": True}, Path("a/b"))
    assert made(Inner, asdict(Inner(0.25, 7))) == Inner(0.25, 7)
    assert made(Outer, {"name": "a", "inner": [], "box": None}) == Outer("a", ())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": 3}, "name is 3, where a text is needed"),
        ({"inner": {}}, "inner is {}, where a list is needed"),
        ({"inner": [{"score": True}]}, r"inner\[0\]\.score is true, where a number is needed"),
        ({"inner": [{"score": 1, "count": 1.5}]}, r"inner\[0\]\.count is 1.5, where a whole number is needed"),
        ({"inner": [{}]}, r"no field 'score' in inner\[0\]"),
        ({"inner": [{"score": 1, "more": 2}]}, r"inner\[0\] has the field 'more', which is not known"),
        ({"inner": [None]}, r"inner\[0\] is null, where an object is needed"),
        ({"point": [1]}, r"point is \[1\], where a list of length 2 is needed"),
        ({"point": [1, None]}, r"point\[1\] is null, where a number is needed"),
        ({"box": {"x0": 0, "y0": 1, "x1": 2, "y1": 3.5, "z": 1}}, "box has the field 'z', which is not known"),
        ({"flags": {"x": 1}}, r"flags\[\.\.\.\] is of another type, where true or false is needed"),
        ({"path": 1}, "path is 1, where a text is needed"),
    ],
)
def test_a_value_of_another_type_is_a_fault_in_words(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        made(Outer, {**WHOLE, **change})
