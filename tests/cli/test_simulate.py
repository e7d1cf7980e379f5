"""`cxrcad simulate`: one line when done, one sentence when not, and a folder that `--data` takes."""

from __future__ import annotations

import pytest

from cxrcad.datasets.read import read_dataset


def test_a_set_with_ct_nodules(cxrcad, nih_folder, ball_nodules, tmp_path):
    answer = cxrcad("simulate", "out", "--backgrounds", nih_folder, "--nodules", ball_nodules, "--cases", 1)
    assert (answer.code, answer.out) == (0, "out: 4 radiographs, 1 with a nodule\n")
    assert answer.err.splitlines() == [
        "left out, without a usable lung mask: 04.png, 05.png (2 of 6)",
        "simulate: 4 radiographs",
    ]
    assert len(read_dataset(tmp_path / "out").positives) == 1


def test_cases_and_normals_are_positives_and_negatives(cxrcad, nih_folder, monkeypatch):
    flags = ("--backgrounds", nih_folder, "--nodules", "analytic")
    assert "2 radiographs, 1 with" in cxrcad("simulate", "a", *flags, "--cases", 1, "--normals", 1).out
    assert "2 radiographs, 1 with" in cxrcad("simulate", "b", *flags, "--positives", 1, "--negatives", 1).out
    monkeypatch.setenv("CXRCAD_NEGATIVES", "0")
    assert "1 radiograph, 1 with" in cxrcad("simulate", "c", *flags, "--cases", 1).out


def test_a_set_of_negative_insertions(cxrcad, nih_folder, tmp_path):
    flags = ("--backgrounds", nih_folder, "--nodules", "analytic", "--cases", 1, "--normals", 1, "--background-patches")
    assert (
        cxrcad("simulate", "out", *flags).out == "out: 2 radiographs, 1 with a negative insertion, none with a nodule\n"
    )
    assert (tmp_path / "out" / "shams.csv").is_file()


def test_the_presets_table_is_packaged(cxrcad, nih_folder, ball_nodules):
    (nih_folder / "metadata.csv").unlink()
    answer = cxrcad(
        *("simulate", "out", "--preset", "open-jsrt", "--backgrounds", nih_folder, "--nodules", ball_nodules)
    )
    assert (answer.code, answer.out) == (1, "")
    assert "none of its 288 backgrounds has a usable lung mask; put masks of the images' names" in answer.err


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        ((), 2, "no backgrounds are named; give --backgrounds DIR, or --data-root DIR with nih/ in it"),
        (("--backgrounds", "nih"), 2, "no nodules are named; give --nodules FILE.npz, or --nodules analytic"),
        (
            ("--data-root", "nowhere"),
            1,
            "nowhere/nih: there is no such folder; --backgrounds takes one in the NIH layout or in JSRT's",
        ),
        (("--preset", "closed-jsrt"), 2, "--preset closed-jsrt: choose from open-jsrt"),
        (("--format", "gif"), 2, "--format gif: choose from img, dcm, png"),
        (("--cases", "0"), 2, "--positives 0: it takes a whole number at least 1"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing(cxrcad, nih_folder, tmp_path, flags, code, sentence):
    answer = cxrcad("simulate", "out", *flags)
    assert (answer.code, answer.out, answer.err) == (code, "", f"Error: {sentence}\n")
    assert not (tmp_path / "out").exists()


def test_a_full_folder_is_refused(cxrcad, nih_folder):
    answer = cxrcad("simulate", nih_folder, "--backgrounds", nih_folder, "--nodules", "analytic")
    assert (answer.code, answer.err.endswith("is a file or holds files already; name a new folder\n")) == (2, True)
