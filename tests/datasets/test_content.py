"""A case's content changes with its image, its truth and its masks, and with nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.core import DataError
from cxrcad.datasets.content import CONTENT_NAME, content_of, differences, read_content, write_content
from cxrcad.datasets.read import read_dataset


@pytest.fixture
def moved(disc_data: Path, tmp_path: Path) -> Path:
    return shutil.copytree(disc_data, tmp_path / "elsewhere")


def test_the_same_data_set_in_another_folder_is_the_same(disc_data: Path, moved: Path, tmp_path: Path) -> None:
    write_content(tmp_path, read_dataset(disc_data))
    kept = read_content(tmp_path)
    assert kept == {case.name: content_of(case) for case in read_dataset(moved).cases}


def test_each_part_changes_with_its_own_files(disc_data: Path, moved: Path) -> None:
    before = {case.name: content_of(case) for case in read_dataset(disc_data).cases}
    image = moved / "images" / "JPCLN001.png"
    image.write_bytes(image.read_bytes() + b" ")
    shutil.copy(moved / "scr/fold1/masks/left lung/JPCLN002.gif", moved / "scr/fold1/masks/right lung/JPCLN002.gif")
    table = moved / "CLNDAT_EN.txt"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    lines[2][5] = "640"
    table.write_text("".join("\t".join(line) + "\n" for line in lines))
    now = {case.name: content_of(case) for case in read_dataset(moved).cases}
    changed = {name: differences(before[name], now[name]) for name in now if before[name] != now[name]}
    assert changed == {"JPCLN001": ("image",), "JPCLN002": ("lung masks",), "JPCLN003": ("truth",)}


def test_no_mask_and_an_empty_one_differ(disc_data: Path) -> None:
    case = read_dataset(disc_data).cases[0]
    assert content_of(replace(case, lung_masks=())).masks == ""
    assert content_of(case).masks != ""


def test_a_run_from_before_has_none_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert read_content(tmp_path) is None
    for text in ("{}", "[]", "null", '{"schema": "cxrcad/content/1", "cases": {"a": null}}', "{"):
        (tmp_path / CONTENT_NAME).write_text(text)
        with pytest.raises(DataError, match=CONTENT_NAME):
            read_content(tmp_path)


def test_an_image_that_is_gone_is_named(moved: Path) -> None:
    case = read_dataset(moved).cases[0]
    case.image.unlink()
    with pytest.raises(DataError, match=case.image.name):
        content_of(case)
