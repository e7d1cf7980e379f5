"""Patterns and folders: what they match, in which order, and links and folders that cannot be read."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from cxrcad.inference.folders import Pattern, expanded, files_in, matches, named


class Told:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def unreadable(self, folder: Path, sentence: str) -> None:
        self.faults.append(sentence)

    def read_elsewhere(self, folder: Path, sentence: str) -> None:
        self.faults.append(sentence)


FILES = ("a.dcm", "b.png", "x/a.dcm", "x/y/a.dcm", "x/y/b.dcm", "z [1]/a.dcm", ".hidden/a.dcm", "x/.a.dcm", "z 1/c.dcm")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


PATTERNS = (
    *("*.dcm", "**/*.dcm", "x/**/*.dcm", "*/a.dcm", "**/y/*", "x/*/[ab].dcm", "x/y/[!a]*", "**/**/a.dcm", "x/.*.dcm"),
    *("no/*", "*.none", "a.dcm/*", "a.dcm/**/*", "*/../a.dcm", "**/?/b.dcm"),
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_python_s_glob_matches(folder, pattern):
    told = Told()
    expected = {Path(name) for name in glob.glob(pattern, recursive=True)}
    found = list(matches(Pattern(pattern), told))
    assert set(found) == expected
    assert {folder / path for path in found} == set(matches(Pattern(folder / pattern), told))
    assert told.faults == []


def test_matches_come_in_order_and_the_order_is_that_of_names(folder):
    names = [str(path) for path in matches(Pattern("**/*.dcm"), Told())]
    assert names == ["a.dcm", "x/a.dcm", "x/y/a.dcm", "x/y/b.dcm", "z 1/c.dcm", "z [1]/a.dcm"]


def test_a_part_that_is_there_by_its_very_name_is_no_pattern(folder):
    assert [str(path) for path in expanded(Pattern("z [1]/*.dcm"))] == ["z [1]/a.dcm"]
    assert [str(path) for path in expanded(Pattern("z ?/*.dcm"))] == ["z 1/c.dcm"]
    assert not isinstance(named("z [1]/a.dcm"), Pattern)
    assert isinstance(named("z [1]/b*.dcm"), Pattern)


def test_a_last_double_star_is_the_folder_with_all_in_it(folder):
    assert [str(path) for path in matches(Pattern("x/**"), Told())] == ["x"]


def test_links_in_a_circle_do_not_double_what_is_found(folder):
    for name in ("one", "two", "three"):
        (folder / "x" / name).symlink_to(folder / "x", target_is_directory=True)
    told = Told()
    assert [str(path) for path in matches(Pattern("x/**/*.dcm"), told)] == ["x/a.dcm", "x/y/a.dcm", "x/y/b.dcm"]
    assert sorted(told.faults)[0].startswith(f"x/one: leads to {folder / 'x'}, whose files are read there")
    assert [str(path) for path in files_in(Path("x"), Told())] == ["x/a.dcm", "x/y/a.dcm", "x/y/b.dcm"]


def test_a_folder_that_may_not_be_listed_is_told_and_not_passed_over(folder, monkeypatch):
    real = os.listdir

    def listdir(path):
        if str(path) == "x":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)  # root may read every folder
    told = Told()
    assert [str(path) for path in matches(Pattern("*/a*"), told)] == ["z [1]/a.dcm"]
    assert told.faults == ["x: a folder that cannot be read (Permission denied); check its permissions"]
