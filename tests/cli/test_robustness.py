"""`cxrcad robustness`: a table on stdout, files beside it, and one sentence when it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrcad.config import RobustnessConfig, settings_of
from cxrcad.synthesis.perturbations import PERTURBATIONS


@pytest.fixture
def toy(make_toy, tmp_path):
    return make_toy(tmp_path / "toy")


def test_two_cases_under_some_perturbations(cxrcad, toy, disc_data, tmp_path):
    flags = ("--data", disc_data, "--fold", 3, "--perturbations", "border-black,inverted,pacemaker", "--resamples", 100)
    answer = cxrcad("robustness", "--model", "toy", *flags, "--out", "out", "--threads", 1)
    assert answer.code == 0, answer.err
    assert answer.err == "robustness: 8 images\n"
    assert answer.out == (tmp_path / "out" / "robustness.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in answer.out.splitlines() if line.startswith("| ")
    ]
    assert rows[0] == ["perturbation", "at 1/2", "difference", "at 1", "difference", "F1", "difference"]
    assert [row[0] for row in rows[1:]] == [
        "as it is",
        "black border of 10 % of the sides added all round",
        "inverted: dense is dark",
        "a pacemaker with two leads",
    ]
    assert [row[1] for row in rows[1:4]] == ["100.0", "100.0", "0.0"]
    assert [row[6] for row in rows[1:4:2]] == ["", "-100.0 [-100.0, -100.0]"]
    document = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert [one["name"] for one in document["alterations"]] == ["unaltered", "border-black", "inverted", "pacemaker"]
    assert len(document["images"]) == 2


def test_the_former_name_of_perturbations_still_works(cxrcad, toy, disc_data):
    flags = ("--model", "toy", "--data", disc_data, "--limit", 1, "--resamples", 0, "--threads", 1)
    former = cxrcad("robustness", *flags, "--alterations", "text")
    assert (former.code, former.err.splitlines()[0]) == (0, "--alterations is now --perturbations")
    assert former.out == cxrcad("robustness", *flags, "--perturbations", "text").out


def test_help_shows_every_setting_but_what_is_looked_for(cxrcad):
    answer = cxrcad("robustness", "--help-all")
    flags = {item.flag for item in settings_of(RobustnessConfig)} - {"--lesion"}
    assert all(f"{flag} " in answer.out for flag in flags)
    assert "--lesion TEXT" not in answer.out
    assert "--lesion nodule" not in answer.out


def test_the_page_that_help_names_has_every_perturbation():
    page = (Path(__file__).parents[2] / "docs" / "ROBUSTNESS.md").read_text(encoding="utf-8")
    assert [name for name in PERTURBATIONS if f"`{name}`" not in page] == []
    assert f"With {len(PERTURBATIONS)} perturbations" in page


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--model", "none"], 1, "none: no packaged model has this name"),
        (["--data", "none"], 1, "none: there is no such folder; --data takes a folder with CLNDAT_EN.txt"),
        (
            ["--data", "empty"],
            1,
            "empty: no CLNDAT_EN.txt (JSRT's table of nodules) or boxes.csv with file, x0, y0, x1, y1, label",
        ),
        (
            ["--perturbations", "noise"],
            2,
            "--perturbations: there is no 'noise'; did you mean noise-low? choose from window",
        ),
        (["--limit", "0"], 2, "--limit 0: it takes a whole number at least 1"),
        (["--fold", "7"], 2, "--fold 7: choose from 1, 2, 3, 4, 5, all"),
        (
            ["--out", "file", "--perturbations", "text"],
            2,
            "--out file: file is a file, not a folder; name another place",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(cxrcad, toy, disc_data, tmp_path, flags, code, sentence):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    answer = cxrcad("robustness", "--model", "toy", "--data", disc_data, *flags)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert sentence in answer.err.splitlines()[-1]


def test_without_data_three_lines_say_how_to_get_it(cxrcad, toy):
    answer = cxrcad("robustness", "--model", "toy")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (1, "", 3)
    assert "`cxrcad phantom OUT`" in answer.err
