"""`cxrcad evaluate`: the figures of Table 2 from a run, or from a packaged model; what is kept and used again."""

from __future__ import annotations

import json

import pytest

from cxrcad.evaluation.statistics import wilson


def row(text: str, name: str) -> str:
    """The table's line of these figures, after its name."""
    return next(line.split(name, 1)[1].strip() for line in text.splitlines() if name in line and "%" in line)


@pytest.fixture(autouse=True)
def without_report(cxrcad, monkeypatch):
    """The HTML report has its own tests, and is asked for where a test here looks at it."""
    monkeypatch.setenv("CXRCAD_REPORT", "no")


@pytest.fixture
def run(make_run, tmp_path):
    return make_run(tmp_path / "runs" / "toy")


def test_a_fold_is_scored_as_table_2(cxrcad, run, disc_data):
    answer = cxrcad("evaluate", "--fold", "3")
    assert answer.code == 0, answer.err
    assert f"Data {disc_data}, protocol paper (images with a nodule only)." in answer.out
    assert "A hit is a finding whose centre lies in the nodule's disc" in answer.out
    assert row(answer.out, "paper, Table 2").split()[:3] == ["74.0", "±", "2.5"]
    assert row(answer.out, "fold 3  ") == "100.0 %         100.0 % [34.2, 100.0]  100.0 %"
    assert "threshold 0.9 (the model's card)" in answer.out
    assert "false positives 0 (0.00 per image): 0 inside the lung fields, 0 outside" in answer.out
    assert "lung Dice 0.601, mean of 2 images" in answer.out  # 2 x 1760 / (1760 + 4096): all of it is called lung
    assert (run / "fold3" / "evaluation.txt").read_text() == answer.out


def test_false_positives_outside_the_lungs_are_counted(cxrcad, make_run, fold_names, tmp_path):
    run = make_run(tmp_path / "runs" / "low", threshold=0.3)
    fainter = [name for name in fold_names(run, 3, "JPCLN") if int(name[-1]) % 2 == 0]
    answer = cxrcad("evaluate", "--fold", "3")
    count, rate = len(fainter), len(fainter) / 2
    assert f"false positives {count} ({rate:.2f} per image): 0 inside the lung fields, {count} outside" in answer.out


def test_all_folds_have_a_mean_with_its_deviation_and_pooled_figures(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "runs" / "five", folds=(1, 2, 3, 4, 5))
    answer = cxrcad("evaluate")
    assert answer.code == 0, answer.err
    assert row(answer.out, "mean of 5 folds") == "100.0 ± 0.0 %   100.0 ± 0.0 %          100.0 ± 0.0 %"
    assert row(answer.out, "pooled") == "100.0 %         100.0 % [72.2, 100.0]  100.0 %"
    assert "folds 1, 2, 3, 4, 5: 10 images, 10 nodules" in answer.out


def test_folds_that_are_missing_are_named(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "runs" / "two", folds=(2, 4))
    answer = cxrcad("evaluate")
    assert "folds 1, 3, 5 are not finished and not in the figures" in answer.err
    assert "mean of 2 folds" in answer.out


def test_the_newest_run_that_holds_the_fold_is_named_on_stderr(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "runs" / "b-old", finished=1_000)
    make_run(tmp_path / "runs" / "a-newer", finished=2_000)
    make_run(tmp_path / "runs" / "c-newest-of-another-fold", folds=(1,), finished=3_000)
    answer = cxrcad("evaluate", "--fold", "3")
    assert answer.err.startswith("run runs/a-newer: the newest that holds the fold\n")
    named = cxrcad("evaluate", "--fold", "3", "--run", "runs/b-old")
    assert "newest" not in named.err
    assert named.out == answer.out
    other = cxrcad("evaluate", "--fold", "3", "--runs", "elsewhere")
    assert (other.code, other.out) == (1, "")


def test_kept_matches_are_used_again_until_model_rule_or_data_change(cxrcad, run, make_toy):
    kept = run / "fold3" / "matches-paper-center.json"
    first = cxrcad("evaluate", "--fold", "3")
    assert "fold 3: detecting in 2 images" in first.err
    second = cxrcad("evaluate", "--fold", "3")
    assert "fold 3: 2 images, matches of runs/toy/fold3/matches-paper-center.json used again" in second.err
    assert second.out == first.out
    document = json.loads(kept.read_text())
    assert [image["case"][:5] for image in document["images"]] == ["JPCLN", "JPCLN"]
    iou = cxrcad("evaluate", "--fold", "3", "--hit-rule", "iou", "--min-iou", "0.3")
    assert "2 images, matches of runs/toy/fold3/matches-paper-center.json matched again under this hit rule" in iou.err
    assert "IoU of at least 0.3" in iou.out
    make_toy(run / "fold3" / "model", threshold=0.8)
    changed = cxrcad("evaluate", "--fold", "3")
    assert "detecting in 2 images" in changed.err
    assert "threshold 0.8 " in changed.out
    kept.write_text("{")
    assert cxrcad("evaluate", "--fold", "3").out == changed.out


def test_images_that_the_model_was_trained_on_are_no_test(cxrcad, make_run, disc_data, tmp_path, fold_names):
    from cxrcad.files import sha256_of

    name = fold_names(make_run(tmp_path / "names"), 3, "JPCLN")[0]
    seen = sha256_of(disc_data / "images" / f"{name}.png")
    make_run(tmp_path / "runs" / "leak", training={"images": [seen]})
    answer = cxrcad("evaluate", "--fold", "3")
    assert f"NOT A TEST: 1 of the scored images stand in the model's training list: {name}" in answer.out
    curve = cxrcad("froc", "--fold", "3")
    assert f"NOT A TEST: 1 of the scored images stand in the model's training list: {name}" in curve.out


def test_the_protocol_decides_which_images_are_scored(cxrcad, run):
    assert "fold 3: 3 images, 2 nodules" in cxrcad("evaluate", "--fold", "3", "--protocol", "jsrt-247").out
    assert "fold 3: 2 images, 2 nodules" in cxrcad("evaluate", "--fold", "3", "--protocol", "jsrt-140").out


def test_a_packaged_model_is_scored_on_the_folds_of_the_data(cxrcad, make_toy, disc_data, tmp_path):
    make_toy(tmp_path / "packed")
    answer = cxrcad("evaluate", "--model", "packed", "--data", disc_data, "--fold", "2", "--out", "figures")
    assert answer.code == 0, answer.err
    assert "threshold 0.9 (the model's card)" in answer.out
    assert (tmp_path / "figures" / "fold2" / "matches-paper-center.json").is_file()
    assert (tmp_path / "figures" / "fold2" / "evaluation.txt").read_text() == answer.out
    both = cxrcad("evaluate", "--model", "packed", "--data", disc_data, "--fold", "2", "--run", "runs/x")
    assert "model packed is scored, and run runs/x is not" in both.err


def test_the_origin_of_the_threshold_is_the_card_s(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "runs" / "given", threshold_from="given for the training")
    assert "threshold 0.9 (given for the training)" in cxrcad("evaluate", "--fold", "3").out


def test_a_second_run_stands_beside_the_first(cxrcad, run, make_run, tmp_path):
    make_run(tmp_path / "other", outputs=("lesion",))
    answer = cxrcad("evaluate", "--fold", "3", "--beside", "other")
    assert answer.out.startswith("Runs, in this order: u-net, multi-task (toy), u-net, single-task (other).\n")
    assert [line.split()[0] for line in answer.out.splitlines() if " fold 3  " in line] == ["Multiple", "Single"]
    assert answer.out.count("lung Dice: none") == 1


def test_a_real_run_finds_discs_through_its_onnx_file(cxrcad, tiny_run):
    run, _ = tiny_run
    answer = cxrcad("evaluate", "--fold", "3", "--run", run, "--device", "cpu", "--threads", "1")
    assert answer.code == 0, answer.err
    assert "U-net, multiple task, fold 3: 4 images, 4 nodules" in answer.out
    recall = float(row(answer.out, "fold 3  ").split("%")[1].split()[0])
    assert recall >= 25


def test_without_data_or_run_three_lines_say_how_to_get_it(cxrcad):
    answer = cxrcad("evaluate", "--fold", "3")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (1, "", 3)
    assert "`cxrcad phantom OUT`" in answer.err


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--fold", "9"], 2, "--fold 9: choose from 1, 2, 3, 4, 5, all"),
        (["--min-iou", "nan"], 2, "--min-iou nan: it takes a number at least 0, at most 1"),
        (["--hit-rule", "near"], 2, "--hit-rule near: choose from center, iou, box, distance"),
        (["--run", "none"], 1, "none: there is no such run; name a folder that `cxrcad train` wrote"),
        (["--fold", "1"], 1, "no run holds fold 1 finished; `cxrcad train --fold 1` makes one"),
        (["--run", "runs/toy", "--fold", "1"], 1, "holds no finished fold 1 (finished: 3)"),
        (["--run", "runs/toy/fold3"], 1, "one fold of a run; name the run, --run runs/toy, and choose with --fold"),
        (["--beside", "none"], 1, "none: there is no such run"),
        (["--model", "none"], 1, "none: no packaged model has this name"),
        (["--data", "file"], 1, "file: is a file; --data takes a folder with CLNDAT_EN.txt (JSRT's table of nodules)"),
        (
            ["--data", "none"],
            1,
            "none: there is no such folder; --data takes a folder with CLNDAT_EN.txt (JSRT's table of nodules)",
        ),
        (["--out", "file"], 2, "--out file: file is a file, not a folder; name another place"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(cxrcad, run, disc_data, tmp_path, flags, code, sentence):
    (tmp_path / "file").write_text("")
    given = flags if "--data" in flags else [*flags, "--data", disc_data]
    answer = cxrcad("evaluate", *given)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.splitlines()[-1].startswith("Error: ")
    assert sentence in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("folds.json", "not JSON"),
        ("fold3/model/card.json", "not JSON"),
        ("fold3/model/model.onnx", "the file was changed or cut"),
        ("fold3/config.toml", "does not say which data"),
    ],
)
def test_a_damaged_run_is_one_sentence(cxrcad, run, file, sentence):
    (run / file).write_text("{")
    answer = cxrcad("evaluate", "--fold", "3")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1].startswith(f"Error: runs/toy/{file}: ")
    assert sentence in answer.err
    (run / file).unlink()
    assert cxrcad("evaluate", "--fold", "3").code == 1


def test_every_figure_has_its_interval_and_strata_follow(cxrcad, make_run, tmp_path):
    make_run(tmp_path / "runs" / "five", folds=(1, 2, 3, 4, 5))
    answer = cxrcad("evaluate", "--protocol", "jsrt-247", "--resamples", "200")
    assert answer.code == 0, answer.err
    assert (
        "brackets hold the 95 % bootstrap interval (200 resamples of the images); that of recall is Wilson's"
        in answer.out
    )
    lines = {line.strip()[:38].strip(): line[40:].strip() for line in answer.out.splitlines() if line.startswith("  ")}
    assert lines["image AUC"].startswith("70.0 %  [")  # 3 of 5 normals have a finding of 1.0 too: (2 + 3 / 2) / 5
    assert lines["false positives per image"].startswith("0.20  [")  # those 3 of 15
    rows = [line.split() for line in answer.out.splitlines()]
    (row,) = [row for row in rows if row[:3] == ["subtlety", "1", "2"]]
    assert row[3:6] == ["100.0", "[34.2,", "100.0]"]  # 2 of 2, Wilson's interval
    document = json.loads((tmp_path / "runs" / "five" / "evaluation.json").read_text())
    (mine,) = document["runs"]
    assert document["bootstrap"] == {"resamples": 200, "seed": 0, "confidence": 0.95}
    assert [fold["fold"] for fold in mine["folds"]] == [1, 2, 3, 4, 5]
    assert mine["figures"]["recall"] == {"value": 1.0, "low": wilson(10, 10)[0], "high": 1.0}
    assert {one["name"]: one["n_nodules"] for one in mine["strata"] if one["kind"] == "subtlety"} == dict.fromkeys(
        "12345", 2
    )


def test_runs_of_other_seeds_give_mean_and_deviation(cxrcad, run, make_run, tmp_path):
    make_run(tmp_path / "runs" / "low", threshold=0.3, finished=1_000)
    answer = cxrcad("evaluate", "--fold", "3", "--run", "runs/toy", "--seeds", "runs/low")
    assert answer.code == 0, answer.err
    assert "Seeds: mean ± standard deviation (n - 1) over 2 runs (toy, low)" in answer.out
    (recall,) = [line for line in answer.out[answer.out.index("Seeds:") :].splitlines() if "recall" in line]
    assert recall.split() == ["recall", "100.0", "±", "0.0", "%"]
    wrong = cxrcad("evaluate", "--fold", "3", "--run", "runs/toy", "--seeds", "runs/none")
    assert "there is no such run" in wrong.err


def test_the_report_is_one_page_beside_the_figures(cxrcad, run):
    answer = cxrcad("evaluate", "--fold", "3", "--report", "--resamples", "50")
    assert answer.code == 0, answer.err
    page = (run / "fold3" / "report" / "report.html").read_text()
    assert "report/report.html" in answer.err
    assert "100.0 %" in page
    assert "with <code>cxrcad evaluate --fold 3 --run runs/toy --resamples 50</code>" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    answer = cxrcad("evaluate", "--fold", "3", "--no-report", "--resamples", "50")
    assert "report.html, which was of an earlier evaluation" in answer.err
    assert not (run / "fold3" / "report" / "report.html").exists()


def test_two_runs_are_compared(cxrcad, run, make_run, tmp_path):
    make_run(tmp_path / "low", threshold=0.3)
    answer = cxrcad("compare", "runs/toy", "low", "--resamples", "100", "--out", "compared")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[2] == "Scored: fold 3: 2 images, 2 nodules."
    found = json.loads((tmp_path / "compared" / "comparison.json").read_text())["figures"]["recall"]
    assert found == {"first": 1.0, "second": 1.0, "difference": {"value": 0.0, "low": 0.0, "high": 0.0}, "p": 1.0}
    assert (tmp_path / "compared" / "comparison.txt").read_text() == answer.out
    beside_model = cxrcad("compare", "runs/toy", "low/fold3/model", "--resamples", "100")
    assert (beside_model.code, "recall" in beside_model.out) == (0, True), beside_model.err
    make_run(tmp_path / "other", folds=(2,))
    apart = cxrcad("compare", "runs/toy", "other")
    assert (apart.code, "have no fold in common" in apart.err) == (1, True)
    nothing = cxrcad("compare", "runs/toy", "nothing")
    assert (nothing.code, "nothing: no " in nothing.err) == (1, True)


def test_another_threshold_is_reported_from_the_same_matches(cxrcad, run):
    low = cxrcad("evaluate", "--fold", "3", "--threshold", "0.3")
    assert "threshold 0.3 (--threshold)" in low.out
    kept = json.loads((run / "fold3" / "matches-paper-center.json").read_text())
    assert (kept["model"]["threshold"], kept["threshold_from"]) == (0.9, "the model's card")
    again = cxrcad("evaluate", "--fold", "3")
    assert "used again" in again.err
    assert "threshold 0.9 (the model's card)" in again.out
    assert "nodule Dice" in again.out
    assert "nodule Dice" not in low.out


def test_comparing_without_resamples_gives_differences_alone(cxrcad, run, make_run, tmp_path):
    make_run(tmp_path / "low", threshold=0.3)
    answer = cxrcad("compare", "runs/toy", "low", "--resamples", "0", "--out", "compared")
    assert answer.code == 0, answer.err
    found = json.loads((tmp_path / "compared" / "comparison.json").read_text())["figures"]["recall"]
    assert found == {"first": 1.0, "second": 1.0, "difference": {"value": 0.0, "low": None, "high": None}, "p": None}
    assert "+0.0" in answer.out
    assert "-0.0" not in answer.out
