"""The paper's tables as jobs: cells against values typed by hand, names, order, and the page of crafted results."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from cxrcad.commands.reproduce import list_jobs, reproduce, shown_command
from cxrcad.config import ReproduceConfig, TrainConfig, build, to_dict
from cxrcad.config.sources import resolve_config
from cxrcad.core import DataError, ModelIdentity, UsageError
from cxrcad.evaluation.matching import FalsePositive, Hit, HitRule, ImageMatch
from cxrcad.evaluation.records import FoldResult, ScoringContext
from cxrcad.paper.cells import ITEMS, fitted, profile_file, resolved
from cxrcad.paper.jobs import DONE, FAILED, Job, Record, ScoredJob, plan, rounds
from cxrcad.paper.layout import Setup, document, text
from cxrcad.paper.learning import learning_curves, learning_text, plot_learning
from cxrcad.paper.results import cell_results, pairs_of
from cxrcad.paper.runs import run_name
from cxrcad.report.drawing import learning

ROOT = Path(__file__).resolve().parents[2]


def config(**values) -> ReproduceConfig:
    return build(ReproduceConfig, values)


# Cells

PLAIN = ("mo-segnet", "multi", "table1", "0.99", None)

LAMBDAS = {
    "lambda-1.0": ("mo-segnet", "multi", "table1", "1.0", 76.0),
    "lambda-0.99": ("mo-segnet", "multi", "table1", "0.99", 83.8),
    "lambda-0.95": ("mo-segnet", "multi", "table1", "0.95", 82.5),
    "lambda-0.9": ("mo-segnet", "multi", "table1", "0.9", 78.5),
    "lambda-0.8": ("mo-segnet", "multi", "table1", "0.8", 71.2),
    "lambda-0.7": ("mo-segnet", "multi", "table1", "0.7", 75.1),
    "lambda-0.5": ("mo-segnet", "multi", "table1", "0.5", 14.7),
}

BOTH_TASKS = {
    "mo-segnet-single": ("mo-segnet", "single", "table1", "0.99", 64.5),
    "mo-segnet-multi": ("mo-segnet", "multi", "table1", "0.99", 83.8),
}

# item: cell -> (network, tasks, norm, lambda, F1 that the paper prints)
TYPED = {
    "table2": {
        "u-net-single": ("u-net", "single", "table1", "0.99", 66.6),
        "mo-segnet-single": ("mo-segnet", "single", "table1", "0.99", 64.5),
        "u-net-multi": ("u-net", "multi", "table1", "0.99", 74.0),
        "mo-segnet-multi": ("mo-segnet", "multi", "table1", "0.99", 83.8),
    },
    "table3": {
        **LAMBDAS,
        "learned-0.5": ("mo-segnet", "multi", "table1", "learned", None),
        "learned-0.9": ("mo-segnet", "multi", "table1", "learned", None),
        "learned-0.99": ("mo-segnet", "multi", "table1", "learned", None),
    },
    "table4": {
        "u-net-bn": ("u-net", "multi", "batch", "0.99", 72.3),
        "u-net-gn": ("u-net", "multi", "table1", "0.99", 74.0),
        "mo-segnet-bn": ("mo-segnet", "multi", "batch", "0.99", 81.9),
        "mo-segnet-gn": ("mo-segnet", "multi", "table1", "0.99", 83.8),
        "u-net-group": ("u-net", "multi", "group", "0.99", None),
        "mo-segnet-group": ("mo-segnet", "multi", "group", "0.99", None),
    },
    "table5": {
        "deeplabv3plus": ("deeplabv3plus", "single", "table1", "0.99", 81.2),
        "pspnet": ("pspnet", "single", "table1", "0.99", 77.7),
        "mo-segnet": ("mo-segnet", "multi", "table1", "0.99", 83.8),
    },
    "figure3": {
        "neither": ("mo-segnet", "multi", "table1", "0.99", None),
        "skips": ("u-net", "multi", "table1", "0.99", None),
        "aspp": ("mo-segnet", "multi", "table1", "0.99", None),
        "both": ("mo-segnet", "multi", "table1", "0.99", None),
    },
    "figure5": LAMBDAS,
    "ablations": dict.fromkeys(
        (
            "recipe",
            "raw",
            "local",
            "blob",
            "not-simulated",
            "positives",
            "not-easy",
            "not-focal",
            "wide",
            "finer",
            "not-averaged",
            "not-augmented",
            "constant",
        ),
        PLAIN,
    ),
    "classifier-ablations": dict.fromkeys(
        (
            "recipe",
            "ct-only",
            "no-negative-insertions",
            "no-hardware",
            "not-mined",
            "not-easy",
            "exposure",
            "not-turned",
        ),
        PLAIN,
    ),
    "training-size": dict.fromkeys(("part-0.25", "part-0.5", "part-1"), PLAIN),
    "figure6": BOTH_TASKS,
    "figure7": BOTH_TASKS,
    "figure8": {"mo-segnet-multi": ("mo-segnet", "multi", "table1", "0.99", 83.8)},
    "effusion": {
        "mo-segnet-multi": ("mo-segnet", "multi", "table1", "0.99", None),
        "u-net-multi": ("u-net", "multi", "table1", "0.99", None),
    },
}


def test_the_cells_are_what_the_paper_compares():
    assert list(TYPED) == list(ITEMS)
    for name, item in ITEMS.items():
        found = {}
        for cell in item.cells:
            own = resolved(cell, TrainConfig())
            printed = None if cell.paper is None else cell.paper.f1.mean
            network = own.network
            found[cell.name] = (network.network, network.tasks, network.norm, own.loss.balance, printed)
            assert len(cell.label) == len(item.columns)
        assert list(found.items()) == list(TYPED[name].items())


def test_the_variants_that_the_table_does_not_show():
    starts = {cell.name: cell.overrides.get("balance_start") for cell in ITEMS["table3"].cells}
    assert [starts[f"learned-{start}"] for start in ("0.5", "0.9", "0.99")] == [0.5, 0.9, 0.99]
    shapes = [(cell.overrides["skips"], cell.overrides["aspp"]) for cell in ITEMS["figure3"].cells]
    assert shapes == [(False, False), (True, True), (False, True), (True, True)]  # b is u-net: it has no ASPP anyway
    assert {resolved(cell, TrainConfig()).validate_epochs for cell in ITEMS["figure5"].cells} == {1}
    assert (ITEMS["figure5"].times, ITEMS["figure5"].folds) == (10, "1")


@pytest.mark.parametrize(
    ("item", "recipe"),
    [("ablations", "open-256"), ("classifier-ablations", "open-512-classifier"), ("training-size", "open-256")],
)
def test_each_ablation_changes_the_recipe_that_is_in_the_docs(item, recipe):
    values = tomllib.loads((ROOT / "docs" / "recipes" / f"{recipe}.toml").read_text())
    shared = build(TrainConfig, {**values, "simulate": "analytic"})
    runs = {cell.name: run_name(resolved(cell, shared)) for cell in ITEMS[item].cells}
    assert len(set(runs.values())) == len(runs), "a cell changes nothing"
    assert run_name(shared) in runs.values(), "no cell is the recipe itself"


def test_a_cell_that_changes_nothing_of_the_settings_is_left_out():
    shared = build(TrainConfig, {"simulate": "analytic", "ema": 0.99, "focal": 2.0, "max_steps": 9})
    names = [cell.name for cell in fitted(ITEMS["ablations"], shared).cells]
    assert names == ["recipe", "local", "blob", "not-simulated", "not-easy", "not-focal", "finer", "not-averaged",
                     "not-augmented"]  # fmt: skip
    deep = build(TrainConfig, {"simulate": "analytic", "network": "deeplabv3plus", "side": 512})
    names = {cell.name for cell in fitted(ITEMS["ablations"], deep).cells}
    assert "wide" in names
    assert "finer" not in names
    assert ("recipe", "raw") not in fitted(ITEMS["ablations"], shared).pairs
    assert fitted(ITEMS["table3"], shared) is ITEMS["table3"]
    assert fitted(ITEMS["training-size"], shared) == ITEMS["training-size"]


@pytest.mark.parametrize(
    ("item", "values", "words"),
    [
        (
            "classifier-ablations",
            {},
            "classifier-ablations: needs --patch-classifier and --initial-weights; give them, or a recipe",
        ),
        ("classifier-ablations", {"patch_classifier": True}, "classifier-ablations: needs --initial-weights; give"),
        ("training-size", {}, "training-size: needs --max-steps; give"),
    ],
)
def test_settings_that_an_item_cannot_do_without_are_asked_for(item, values, words):
    with pytest.raises(UsageError, match=words):
        fitted(ITEMS[item], build(TrainConfig, values))


def test_parts_of_the_training_cases_are_trained_for_as_many_steps():
    shared = build(TrainConfig, {"max_steps": 300, "epochs": 1})
    assert {resolved(cell, shared).epochs for cell in ITEMS["training-size"].cells} == {1000}


def test_cells_that_are_one_training_share_a_run():
    def name(item, cell):
        return run_name(resolved(next(one for one in ITEMS[item].cells if one.name == cell), TrainConfig()))

    proposed = [("table2", "mo-segnet-multi"), ("table3", "lambda-0.99"), ("table4", "mo-segnet-gn")]
    proposed += [("table5", "mo-segnet"), ("figure3", "both")]
    assert len({name(*one) for one in proposed}) == 1
    unet = [("table2", "u-net-multi"), ("table4", "u-net-gn"), ("figure3", "skips")]
    assert len({name(*one) for one in unet}) == 1
    every = {run_name(resolved(cell, TrainConfig())) for item in ITEMS.values() for cell in item.cells}
    # 4 of table 2; 9 more of table 3; 4 of table 4; 2 of table 5; 2 of figure 3; figure 5 validates more often: 7;
    # 2 of effusion; 13 of our own that are not the default already.
    assert len(every) == 43


# Jobs


def test_every_cell_gets_its_first_fold_before_any_gets_its_second():
    jobs = plan(ITEMS["table2"], config(folds="3,1", repeats=2, cells="mo-segnet-multi,u-net-single"))
    cells = ["u-net-single", "mo-segnet-multi"]
    assert [(job.seed, job.fold, *job.cells) for job in jobs] == [
        (seed, fold, cell) for seed in (0, 1) for fold in (3, 1) for cell in cells
    ]
    assert [len(part) for part in rounds(jobs)] == [2, 2, 2, 2]
    assert {job.config.fold for job in jobs} == {"1", "3"}
    assert all(job.config.run == job.run == Path("reproduction/runs") / job.run.name for job in jobs)
    assert len(plan(ITEMS["table2"], config())) == 20
    assert len(plan(ITEMS["figure5"], config(seed=4))) == 70
    assert {job.seed for job in plan(ITEMS["figure5"], config(seed=4, repeats=2))} == {4, 5}


def test_cells_with_the_same_settings_are_one_job():
    twice = replace(ITEMS["table5"].cells[2], name="again")
    item = replace(ITEMS["table5"], cells=(*ITEMS["table5"].cells, twice))
    assert [job.cells for job in plan(item, config(folds="2"))] == [
        ("deeplabv3plus",),
        ("pspnet",),
        ("mo-segnet", "again"),
    ]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"folds": "7"}, "--folds 7: it takes numbers of 1-5, comma-separated, or all"),
        ({"folds": "1,,2"}, "--folds 1,,2: it takes"),
        ({"cells": " "}, "--cells: table2 has no cell ' '; its cells"),
        (
            {"cells": "u-net,pspnet"},
            "--cells: table2 has no cell pspnet, u-net; its cells: u-net-single, mo-segnet-single",
        ),
    ],
)
def test_what_does_not_exist_is_refused(values, sentence):
    with pytest.raises(UsageError) as error:
        plan(ITEMS["table2"], config(**values))
    assert str(error.value).startswith(sentence)


def test_without_data_it_says_how_to_get_it_and_still_lists(tmp_path):
    with pytest.raises(DataError) as error:
        reproduce("table2", config(out=tmp_path))
    assert len(str(error.value).splitlines()) == 3
    lines = list_jobs("table2", config(out=tmp_path, folds="3", side=64, max_steps=5)).splitlines()
    assert lines[-2] == "4 jobs: 0 done, 0 failed, 4 not run"
    assert lines[-1].startswith("4 jobs are left, with 20 training steps: about ")
    assert lines[-1].endswith(" on random images. The number of training cases is JSRT's; --data counts your own.")
    assert lines[0].startswith("not run  u-net-single-v2-")
    assert lines[0].endswith("-s0/fold3      seed 0  u-net-single")
    assert len({line.index("  seed 0  ") for line in lines[:4]}) == 1
    assert list(tmp_path.iterdir()) == []


# Profiles


def test_the_profiles_are_settings_files_of_the_package(tmp_path):
    def profile(name):
        return resolve_config(ReproduceConfig, {}, None, tmp_path, profile_file(name)).train

    paper, gpu, cpu = profile("paper"), profile("gpu"), profile("cpu")
    assert (paper.grid.side, paper.epochs, paper.max_steps, paper.precision) == (1024, 100, None, "fp32")
    assert (gpu.grid.side, gpu.epochs, gpu.max_steps, gpu.precision, gpu.device) == (1024, 100, None, "bf16", "cuda")
    assert (cpu.grid.side, cpu.max_steps, cpu.device) == (512, 3000, "cpu")
    assert "paper/profiles/*.toml" in (ROOT / "setup.cfg").read_text()


def test_a_profile_lies_below_every_other_layer(tmp_path, monkeypatch):
    def side(**flags):
        return resolve_config(ReproduceConfig, flags, None, tmp_path, profile_file("cpu")).train.grid.side

    assert side() == 512
    (tmp_path / "cxrcad.toml").write_text("side = 256\n")
    assert side() == 256
    monkeypatch.setenv("CXRCAD_SIDE", "128")
    assert side() == 128
    assert side(side=64) == 64


def test_the_command_names_what_was_given_and_what_a_file_or_variable_changed():
    recipe = tomllib.loads(profile_file("cpu").read_text())
    given = config(**{**recipe, "profile": "cpu", "data": "my data", "side": 64, "folds": "3", "mirror": True})
    assert shown_command("table4", given) == (
        "cxrcad reproduce table4 --data 'my data' --side 64 --mirror --profile cpu --folds 3"
    )
    assert shown_command("figure5", config(**tomllib.loads(profile_file("paper").read_text()), repeats=2)) == (
        "cxrcad reproduce figure5 --profile paper --seeds 2"
    )


# The page of crafted results


def fold_result(fold: int, hits: int, outside: int, inside: int = 0, tasks: str = "multi") -> FoldResult:
    """Four images with one nodule each: the first `hits` are found; false positives in the first image."""
    places = [False] * outside + [True] * inside
    matches = [
        ImageMatch(
            case=f"F{fold}C{number}",
            n_nodules=1,
            hits=(Hit(nodule=0, score=0.9, distance_mm=1.0),) if number < hits else (),
            false_positives=tuple(FalsePositive(score=0.8, in_lung=place) for place in places) if number == 0 else (),
            duplicates=(),
        )
        for number in range(4)
    ]
    model = ModelIdentity("toy", "0" * 64, 0.5, "CPU")
    context = ScoringContext("DATA", "paper", HitRule(), model, "u-net", tasks, "validation", fold)
    return FoldResult(context, tuple(matches), (0.9,) * 4 if tasks == "multi" else (None,) * 4)


def scored(cell: str, fold: int, result: FoldResult | None, seed: int = 0, record: Record | None = None) -> ScoredJob:
    job = Job((cell,), fold, seed, Path(f"out/runs/{cell}-s{seed}"), TrainConfig())
    return ScoredJob(job, record or Record(DONE, 90.0, "CPU, 1 thread"), result)


SETUP = Setup(("Data DATA.", "A hit is a hit.", "Best F1."), "cpu", {"side": 64}, "cxrcad reproduce table2", 200, "9.9")


@pytest.fixture(scope="module")
def table2():
    found = (
        scored("u-net-multi", 1, fold_result(1, hits=4, outside=0)),
        scored("u-net-multi", 2, fold_result(2, hits=2, outside=0, inside=2)),
        scored("u-net-single", 1, fold_result(1, hits=2, outside=2, tasks="single")),
        scored("mo-segnet-multi", 1, None, record=Record(FAILED, None, None, "the loss is nan; lower it")),
    )
    item = ITEMS["table2"]
    rows = cell_results(item, found, 200, 0)
    return item, rows, pairs_of(item, rows, 200, 0)


def cells_of(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:2] == "| "]


def test_the_page_has_the_papers_rows_and_ours(table2):
    page = text(*table2, SETUP)
    lines = page.splitlines()
    assert lines[0] == "# Table 2: single and multiple task"
    assert len({len(line) for line in lines[2:12]}) == 1  # columns are padded
    table = cells_of(page)
    assert table[0] == ["Task", "Model", "figures", "F1", "Recall", "Precision"]
    assert table[1] == ["Single", "U-net", "paper, Table 2", "66.6 ± 3.5 %", "68.7 ± 1.8 %", "64.6 ± 2.9 %"]
    assert table[2][:3] == ["Single", "U-net", "ours, fold 1"]
    assert table[2][3].startswith("50.0 % [")
    assert table[4] == ["Single", "MO-SegNet", "ours", "not run", "", ""]
    # fold 1: 4 of 4 and no false positive; fold 2: 2 of 4 and two: F1 100 and 50 %, pooled 2 x 6 / (12 + 2 + 2).
    mean, pooled = table[6], table[7]
    assert mean[2:] == ["ours, mean of 2 folds", "75.0 ± 35.4 %", "75.0 ± 35.4 %", "75.0 ± 35.4 %"]
    assert pooled[2] == "ours, pooled"
    assert [cell.split(" [")[0] for cell in pooled[3:]] == ["75.0 %", "75.0 %", "75.0 %"]
    assert table[9] == ["Multiple", "MO-SegNet", "ours", "failed", "", ""]


def test_the_page_counts_false_positives_by_place_and_says_where_it_ran(table2):
    other = [line for line in cells_of(text(*table2, SETUP)) if len(line) == 9]
    assert other[0][2:] == [
        *("seed", "folds", "FP per image in the lungs", "outside the lungs", "lung Dice", "minutes", "device")
    ]
    assert [cell.split(" [")[0] for cell in other[1]] == [
        *("Single", "U-net", "0", "1 (1)", "0.00", "0.50", "none", "1.5", "CPU, 1 thread")
    ]
    assert [cell.split(" [")[0] for cell in other[3]] == [
        *("Multiple", "U-net", "0", "2 (1, 2)", "0.25", "0.00", "0.900", "3.0", "CPU, 1 thread")
    ]
    assert other[2][4] == "not run"
    assert other[4][4] == "failed"


def test_the_page_compares_multi_with_single_on_the_folds_that_both_hold(table2):
    page = text(*table2, SETUP)
    assert page.count("on the same images") == 1
    assert "Multiple U-net less Single U-net on the same images (fold 1, seed 0)" in page
    table = [line for line in cells_of(page) if len(line) == 5]
    assert table[0] == ["figure", "Multiple U-net", "Single U-net", "difference", "p"]
    assert table[1][:3] == ["F1", "100.0 %", "50.0 %"]
    assert table[1][3].startswith("+50.0 [")
    assert table[4][:3] == ["CPM", "undefined", "50.0 %"]  # without a false positive there is no curve
    assert table[6][:3] == ["false positives outside the lung fields", "0.00", "0.50"]
    assert table[6][3].startswith("-0.50 [")


def test_the_page_says_what_it_rests_on_and_what_failed(table2):
    page = text(*table2, SETUP)
    assert "- mo-segnet-multi-s0/fold1 (mo-segnet-multi): the loss is nan; lower it\n" in page
    for line in ("- Data DATA.", "- A hit is a hit.", "- Best F1.", "- Profile cpu: side 64."):
        assert f"\n{line}\n" in page
    assert page.endswith("Made by cxrcad 9.9 with:\n\n    cxrcad reproduce table2\n")


def test_the_document_holds_the_same(table2):
    found = json.loads(json.dumps(document(*table2, SETUP), allow_nan=False))
    assert (found["schema"], found["item"], found["command"]) == (
        "cxrcad/reproduction/1", "table2", "cxrcad reproduce table2",
    )  # fmt: skip
    unet = found["cells"][2]
    assert unet["paper_percent"]["f1"] == {"mean": 74.0, "sd": 2.5}
    assert unet["mean"]["F1"]["n"] == 2
    assert unet["pooled"][0]["figures"]["F1"]["value"] == 0.75
    assert (unet["jobs"][1]["counts"]["tp"], unet["jobs"][1]["counts"]["fp_in_lung"]) == (2, 2)
    assert found["cells"][3]["jobs"][0]["error"] == "the loss is nan; lower it"
    assert found["cells"][1]["jobs"] == []
    assert found["comparisons"][0]["figures"]["F1"]["difference"]["value"] == 0.5


def test_the_page_compares_the_mean_of_several_seeds_too():
    item = ITEMS["table2"]
    found = [
        scored(cell, 1, fold_result(1, hits=hits[seed], outside=0), seed)
        for cell, hits in (("u-net-multi", (4, 3)), ("u-net-single", (2, 3)))
        for seed in (0, 1)
    ]
    rows = cell_results(item, found, 100, 0)
    pairs = pairs_of(item, rows, 100, 0)
    assert [pair.seeds for pair in pairs] == [(0,), (1,), (0, 1)]
    page = text(item, rows, pairs, SETUP)
    assert "Multiple U-net less Single U-net on the same images (fold 1, mean of 2 seeds)" in page
    assert pairs[2].figures["recall"].difference.value == 0.25
    assert document(item, rows, pairs, SETUP)["comparisons"][2]["seeds"] == [0, 1]
    apart = [one for one in found if (one.job.seed, one.job.cells) != (1, ("u-net-single",))]
    assert [pair.seeds for pair in pairs_of(item, cell_results(item, apart, 100, 0), 100, 0)] == [(0,)]


def test_several_seeds_have_a_mean_over_seeds_and_a_pooled_row_each():
    item = ITEMS["table3"]
    found = [
        scored("lambda-0.9", fold, fold_result(fold, hits=seed + 2, outside=0), seed)
        for seed in (0, 1)
        for fold in (1, 2)
    ]
    table = cells_of(text(item, cell_results(item, found, 100, 0), (), SETUP))
    ours = [line[1:] for line in table if line[0] == "0.9" and line[1].startswith("ours")]
    # recalls 50, 50, 75, 75 %; pooled 50 and 75 %
    assert ours[0][0] == "ours, mean of 4 trainings (2 folds, 2 seeds)"
    assert ours[0][2] == "62.5 ± 14.4 %"
    assert [line[0] for line in ours[1:3]] == ["ours, pooled, seed 0", "ours, pooled, seed 1"]
    assert (ours[3][0], ours[3][2]) == ("ours, pooled, mean of 2 seeds", "62.5 ± 17.7 %")


# Figure 5


def test_learning_curves_are_the_mean_and_range_over_trainings(tmp_path):
    item = ITEMS["figure5"]
    found = []
    for seed, values in enumerate(([0.1, 0.3, 0.2], [0.3, 0.5, 0.4, 0.9])):
        one = scored("lambda-0.99", 1, fold_result(1, 3, 0), seed)
        job = replace(one.job, run=tmp_path / f"s{seed}")
        job.folder.mkdir(parents=True)
        history = [{"epoch": epoch + 1, "f1": value, "seconds": 1} for epoch, value in enumerate(values)]
        (job.folder / "history.json").write_text(json.dumps(history))
        found.append(replace(one, job=job))
    (curve,) = learning_curves(cell_results(item, found, 0, 0))
    assert (curve.name, curve.n, curve.epochs) == ("0.99", 2, (1, 2, 3))
    assert curve.mean == pytest.approx((0.2, 0.4, 0.3))
    assert (curve.low, curve.high) == ((0.1, 0.3, 0.2), (0.3, 0.5, 0.4))
    row = cells_of("\n".join(learning_text([curve], "Lambda")))[1]
    assert row == ["0.99", "2", "40.0 % (epoch 2)", "30.0 % [20.0, 40.0] (epoch 3)"]
    plot_learning([curve], "lambda", [tmp_path / "f.png", tmp_path / "f.svg"], "Crafted.")
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in (tmp_path / "f.svg").read_text()


def test_settings_of_a_cell_are_the_shared_ones_with_its_own():
    shared = build(TrainConfig, {"side": 64, "norm": "group", "tasks": "single"})
    own = to_dict(resolved(ITEMS["table2"].cells[2], shared))
    assert own == {**to_dict(shared), "network": "u-net", "tasks": "multi"}


@pytest.mark.parametrize("epochs", [(0,), (5, 6), (5, 9)])
def test_a_learning_curve_has_whole_epochs_on_its_axis(monkeypatch, epochs):
    made = []
    monkeypatch.setattr(learning, "save", lambda make, paths: made.append(make()))
    f1 = tuple(0.5 for _ in epochs)
    plot_learning([learning.LearningCurve("0.99", 1, epochs, f1, f1, f1)], "lambda", [Path("a.png")], "caption")
    (axes,) = made[0].axes
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert set(epochs) <= set(ticks)
    assert all(tick == round(tick) for tick in ticks)
