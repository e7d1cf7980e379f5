"""Scored folds as texts and files: where they go, and that two runs are told apart."""

from __future__ import annotations

import json

import pytest

from cxrcad.commands.evaluate import report_evaluation
from cxrcad.commands.froc import report_froc
from cxrcad.config import EvaluateConfig, build, command_line


@pytest.fixture
def run(make_run, tmp_path):
    return make_run(tmp_path / "run", folds=(1, 3))


def config(run, **values) -> EvaluateConfig:
    return build(EvaluateConfig, {"run": run, "device": "cpu", "threads": 1, **values})


def test_one_fold_s_text_lies_in_its_folder_and_all_folds_in_the_run_s(run):
    text = report_evaluation(config(run, fold="3"))
    assert (run / "fold3" / "evaluation.txt").read_text() == text
    assert "fold 3: 2 images, 2 nodules" in text
    everything = report_evaluation(config(run))
    assert (run / "evaluation.txt").read_text() == everything
    assert "folds 1, 3: 4 images, 4 nodules" in everything


def test_a_curve_is_written_beside_its_run(run, make_run, tmp_path):
    other = make_run(tmp_path / "other", outputs=("lesion",), threshold=0.3)
    text = report_froc(config(run, fold="3", beside=other))
    blocks = [line for line in text.splitlines() if line.endswith(("(run)", "(other)"))]
    assert blocks == ["u-net, multi-task (run)", "u-net, single-task (other)"]
    for place in (run, other):
        assert json.loads((place / "fold3" / "froc.json").read_text())["nodules"] == 2
    assert not (other / "fold3" / "froc.png").exists()
    svg = (run / "fold3" / "froc.svg").read_text()
    assert svg.startswith("<?xml")


def test_one_run_beside_itself_is_called_again(run):
    text = report_evaluation(config(run, fold="3", beside=run))
    assert text.startswith(f"Runs, in this order: u-net, multi-task ({run}), u-net, multi-task ({run}), again.\n")


def test_the_command_of_a_page_gives_what_is_not_usual():
    given = {"run": "my runs/a", "fold": "3", "resamples": 50, "report": False}
    found = command_line("cxrcad evaluate", build(EvaluateConfig, given))
    assert found == "cxrcad evaluate --fold 3 --run 'my runs/a' --no-report --resamples 50"
    assert command_line("cxrcad evaluate", EvaluateConfig()) == "cxrcad evaluate"
