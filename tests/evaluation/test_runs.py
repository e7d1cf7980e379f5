"""Which run is scored, on which cases, and when kept matches are used again."""

from __future__ import annotations

import json
import os

import pytest

from cxrcad.config import EvaluateConfig, build
from cxrcad.core import DataError, EvaluationError, ModelError
from cxrcad.evaluation.runs import find_run, folds_of_run, score


def config(**values) -> EvaluateConfig:
    return build(EvaluateConfig, {"device": "cpu", "threads": 1, **values})


def test_finished_folds_are_those_with_a_card(make_run, tmp_path):
    run = make_run(tmp_path / "run", folds=(1, 4))
    (run / "fold5").mkdir()
    (run / "fold4" / "model" / "card.json").unlink()
    assert folds_of_run(run) == (1,)
    assert folds_of_run(tmp_path / "none") == ()


def test_the_newest_run_is_the_one_that_finished_the_fold_last(make_run, tmp_path):
    first = make_run(tmp_path / "runs" / "first", folds=(1, 3), finished=1_000)
    second = make_run(tmp_path / "runs" / "second", folds=(1,), finished=2_000)
    assert find_run(tmp_path / "runs", "1") == second
    assert find_run(tmp_path / "runs", "3") == first
    assert find_run(tmp_path / "runs", "5") is None
    os.utime(first / "fold3" / "model" / "card.json", (3_000, 3_000))
    assert find_run(tmp_path / "runs", "1") == second
    assert find_run(tmp_path / "runs", "all") == first


def test_what_is_no_run_is_passed_over(make_run, tmp_path):
    (tmp_path / "runs" / "begun").mkdir(parents=True)
    (tmp_path / "runs" / "note.txt").write_text("")
    assert find_run(tmp_path / "runs", "all") is None
    assert find_run(tmp_path / "none", "all") is None
    run = make_run(tmp_path / "runs" / "whole")
    (run / "folds.json").unlink()
    assert find_run(tmp_path / "runs", "3") == run
    with pytest.raises(DataError, match=r"folds\.json: there is no such file"):
        score(config(run=run))


def test_a_scored_run_has_its_name_place_and_folds(make_run, fold_names, disc_data, tmp_path):
    run = make_run(tmp_path / "run", folds=(2, 3))
    said = []
    (scored,) = score(config(run=run), said.append)
    assert (scored.name, scored.folder, [result.terms.fold for result in scored.results]) == ("run", run, [2, 3])
    for result in scored.results:
        assert [match.case for match in result.matches] == fold_names(run, result.terms.fold, "JPCLN")
        assert [len(match.hits) for match in result.matches] == [1, 1]
        assert (result.terms.data, result.terms.network, result.terms.tasks) == (str(disc_data), "u-net", "multi")
    assert said[0] == f"{run}: folds 1, 4, 5 are not finished and not in the figures"
    said.clear()
    assert score(config(run=run, fold="2"), said.append)[0].results == (scored.results[0],)
    assert said == [f"fold 2: 2 images, matches of {run / 'fold2' / 'matches-paper-center.json'} used again"]


def test_each_protocol_and_hit_rule_keeps_its_own_matches(make_run, tmp_path):
    run = make_run(tmp_path / "run")
    for protocol, rule in (("paper", "center"), ("jsrt-247", "center"), ("paper", "distance")):
        score(config(run=run, fold="3", protocol=protocol, hit_rule=rule))
    assert sorted(path.name for path in (run / "fold3").glob("*.json")) == [
        *("matches-jsrt-247-center.json", "matches-paper-center.json", "matches-paper-distance.json")
    ]
    said = []
    score(config(run=run, fold="3", hit_rule="distance", max_distance_mm=10), said.append)
    kept = run / "fold3" / "matches-paper-distance.json"
    assert said == [f"fold 3: 2 images, matches of {kept} matched again under this hit rule"]


def test_beside_has_the_first_run_s_folds_only(make_run, tmp_path):
    first = make_run(tmp_path / "first", folds=(2,))
    second = make_run(tmp_path / "second", folds=(1, 2), outputs=("nodule",))
    one, two = score(config(run=first, beside=second, out=tmp_path / "out"))
    assert [[result.terms.fold for result in scored.results] for scored in (one, two)] == [[2], [2]]
    assert (one.folder, two.folder) == (tmp_path / "out", tmp_path / "out" / "second")


def test_a_run_called_by_its_place_and_a_file_of_dots_are_written_inside_out(make_run, tmp_path, monkeypatch):
    """`..` is where a run lies, and no name of a folder; neither is what is left of ...json without its ending."""
    first, second = make_run(tmp_path / "first", folds=(2,)), make_run(tmp_path / "second", folds=(2,))
    (second / "here").mkdir()
    monkeypatch.chdir(second / "here")
    _, two = score(config(run=first, beside="..", out=tmp_path / "out"))
    assert two.folder == tmp_path / "out" / "second"
    assert (tmp_path / "out" / "second" / "fold2").is_dir()
    truth = {"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}], "annotations": []}
    truth["annotations"].append({"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]})
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "...json").write_text("[]")
    flags = {"predictions": tmp_path / "...json", "truth_file": tmp_path / "truth.json", "missing": "empty"}
    (scored,) = score(build(EvaluateConfig, flags))
    assert (scored.name, scored.folder) == ("_", EvaluateConfig().runs / "_")


def test_a_model_whose_name_is_a_path_writes_nothing(make_run, disc_data, tmp_path):
    run = make_run(tmp_path / "run", folds=(2,))
    card = run / "fold2" / "model" / "card.json"
    card.write_text(card.read_text().replace('"run-fold2"', '"../../evil"'))
    model = str(run / "fold2" / "model")
    with pytest.raises(ModelError, match=r"card\.json: name is '\.\./\.\./evil', where a name .* is needed; export"):
        score(config(model=model, data=disc_data, fold="2", runs=tmp_path / "a" / "b" / "runs"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_run_without_the_fold_says_which_it_holds(make_run, tmp_path):
    run = make_run(tmp_path / "run", folds=(2, 4))
    with pytest.raises(EvaluationError, match=r"holds no finished fold 1 \(finished: 2, 4\); train it"):
        score(config(run=run, fold="1"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"holds no finished fold \(finished: none\)"):
        score(config(run=tmp_path / "empty"))
