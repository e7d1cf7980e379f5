"""`cxrcad insertion-test`: scores on background patches with a verdict, and one sentence when it cannot be."""

from __future__ import annotations

import json
import re

import pytest

from cxrcad.config import InsertionTestConfig, settings_of


@pytest.fixture
def toy(make_toy, tmp_path):
    return make_toy(tmp_path / "toy")


def test_two_radiographs(cxrcad, toy, nih_folder, ball_nodules, tmp_path):
    flags = ("--backgrounds", nih_folder, "--nodules", ball_nodules, "--limit", 2, "--resamples", 100, "--threads", 1)
    answer = cxrcad("insertion-test", "--model", "toy", *flags, "--out", "out")
    assert answer.code == 0, answer.err
    assert answer.err.splitlines() == [
        "left out, without a usable lung mask: 04.png, 05.png (2 of 6)",
        "insertion-test: 2 radiographs",
    ]
    assert answer.out == (tmp_path / "out" / "insertion_test.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in answer.out.splitlines() if line.startswith("| ")
    ]
    assert [row[0] for row in rows] == [
        *("place", "untouched", "background patch, contralateral", "background patch, blurred", "nodule")
    ]
    assert rows[1][2:] == ["", ""]
    assert all(re.fullmatch(r"[+-]\d\.\d{3} \[-?\d\.\d{3}, \d\.\d{3}\]", row[2]) for row in rows[2:])
    assert float(rows[4][2].split()[0]) > 0.05  # bright nodules on dark lungs
    assert answer.out.rstrip().endswith("below the bound of 0.05.")
    document = json.loads((tmp_path / "out" / "insertion_test.json").read_text())
    assert (document["verdict"], len(document["radiographs"])) == ("below", 2)
    strict = cxrcad("insertion-test", "--model", "toy", *flags, "--out", "out", "--bound", 0)
    assert "the bound of 0; take more radiographs" in strict.out


def test_the_former_name_still_works(cxrcad, toy, nih_folder):
    flags = ("--model", "toy", "--backgrounds", nih_folder, "--nodules", "analytic", "--limit", 1, "--threads", 1)
    former = cxrcad("fingerprint", *flags)
    assert (former.code, former.err.splitlines()[0]) == (0, "cxrcad fingerprint is now cxrcad insertion-test")
    assert former.out == cxrcad("insertion-test", *flags).out
    help_text = cxrcad("fingerprint", "--help")
    assert (help_text.code, help_text.err) == (0, "cxrcad fingerprint is now cxrcad insertion-test\n")
    assert help_text.out == cxrcad("insertion-test", "--help").out
    assert "fingerprint" not in cxrcad("--help").out


def test_help_shows_every_setting_but_protocol_and_what_is_looked_for(cxrcad):
    answer = cxrcad("insertion-test", "--help-all")
    flags = {item.flag for item in settings_of(InsertionTestConfig)} - {"--lesion", "--protocol"}
    assert all(f"{flag} " in answer.out for flag in flags)
    assert "--protocol" not in answer.out


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        ([], 2, "no backgrounds are named; give --backgrounds DIR"),
        (["--backgrounds", "nih"], 2, "no nodules are named; give --nodules FILE.npz, or --nodules analytic"),
        (["--backgrounds", "none", "--nodules", "analytic"], 1, "none: there is no such folder; --backgrounds takes"),
        (["--backgrounds", "empty", "--nodules", "analytic"], 1, "empty: neither metadata.csv (the NIH layout) nor"),
        (["--backgrounds", "nih", "--nodules", "none.npz"], 1, "none.npz: not a file of CT nodules"),
        (
            ["--backgrounds", "nih", "--nodules", "analytic", "--model", "none"],
            1,
            "none: no packaged model has this name",
        ),
        (
            ["--backgrounds", "nih", "--nodules", "analytic", "--fold", "3"],
            2,
            "--fold 3: needs the data that the model was trained on; add --data DATA",
        ),
        (["--bound", "2"], 2, "--bound 2: it takes a number at least 0, at most 1"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(cxrcad, toy, nih_folder, tmp_path, flags, code, sentence):
    (tmp_path / "empty").mkdir()
    answer = cxrcad("insertion-test", "--model", "toy", *flags)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert sentence in answer.err.splitlines()[-1]
