"""`cxrcad reproduce`: a tiny table is trained, scored and written; nothing is trained twice, and faults are told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cxrcad.core import TrainingError

pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    *("--profile", "cpu", "--side", 64, "--max-steps", 2, "--folds", 3, "--threads", 1, "--precision", "fp32"),
    *("--min-area-mm2", 30, "--peak-distance-mm", 20),
)


@pytest.fixture(scope="module")
def made(tiny_data, command_line, tmp_path_factory):
    """The folder where two cells of Table 2 were trained, and what the command said."""
    out = tmp_path_factory.mktemp("reproduction")
    arguments = ["reproduce", "table2", "--data", tiny_data, *FLAGS, "--cells", "u-net-single,u-net-multi"]
    done = command_line(out, *arguments, "--out", "out")
    assert done.code == 0, done.err
    return out / "out", done


@pytest.fixture
def trained(monkeypatch):
    """The jobs for which the training was called; nothing is trained."""
    asked = []

    def train(config, progress):
        asked.append(config)
        raise TrainingError("the loss is nan at step 1; lower --learning-rate")

    monkeypatch.setattr("cxrcad.training.plan.train", train)
    return asked


def test_a_tiny_table_is_trained_scored_and_written(made):
    out, done = made
    assert (out / "table2.md").read_text() == done.out
    lines = done.out.splitlines()
    ours = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "| ours" in line]
    assert [line[:3] for line in ours] == [
        ["Single", "U-net", "ours, fold 3"],
        ["Single", "MO-SegNet", "ours"],
        ["Multiple", "U-net", "ours, fold 3"],
        ["Multiple", "MO-SegNet", "ours"],
    ]
    assert [line[3] for line in (ours[1], ours[3])] == ["not run", "not run"]
    assert "%" in ours[0][3]
    assert "Multiple U-net less Single U-net on the same images (fold 3, seed 0)" in done.out
    command = lines[-1].strip()
    assert command.startswith("cxrcad reproduce table2 --data /")
    assert "--side 64" in command
    assert command.endswith("--profile cpu --folds 3 --cells u-net-single,u-net-multi --out out")
    assert "job 1 of 2: u-net-single, fold 3, seed 0" in done.err
    document = json.loads((out / "table2.json").read_text())
    assert [[job["state"] for job in cell["jobs"]] for cell in document["cells"]] == [["done"], [], ["done"], []]


def test_jobs_and_runs_are_kept(made, tiny_data):
    out, _ = made
    ledger = json.loads((out / "jobs.json").read_text())
    assert ledger["data"] == str(tiny_data)
    assert [(job["cells"], job["fold"], job["state"], job["device"]) for job in ledger["jobs"].values()] == [
        (["u-net-single"], 3, "done", "CPU, 1 thread"),
        (["u-net-multi"], 3, "done", "CPU, 1 thread"),
    ]
    runs = sorted(path.parent.name for path in (out / "runs").glob("*/folds.json"))
    assert runs == sorted(key.split("/")[0] for key in ledger["jobs"])
    for run in runs:
        card = json.loads((out / "runs" / run / "fold3" / "model" / "card.json").read_text())
        assert card["training"]["steps"] == 2


def test_finished_folds_are_not_trained_again(cxrcad, made, trained, tiny_data):
    out, done = made
    arguments = ["table2", "--data", tiny_data, *FLAGS, "--out", out]
    again = cxrcad("reproduce", *arguments, "--cells", "u-net-single")
    assert (again.code, trained) == (0, [])
    assert "job 2 of 2: u-net-multi, fold 3, seed 0; trained before" in again.err
    before, now = (text.split("Made by")[0] for text in (done.out, again.out))
    assert now == before
    shared = cxrcad("reproduce", "figure3", "--data", tiny_data, *FLAGS, "--out", out, "--cells", "skips")
    assert (shared.code, trained) == (0, [])  # Figure 3 b is Table 2's U-net
    assert "| b     | skips: U-net      | ours, fold 3 |" in shared.out


def test_a_list_of_finished_jobs_needs_no_torch_and_no_data(made):
    out, _ = made
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom cxrcad.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "assert not {'torch', 'onnxruntime', 'matplotlib'} & set(sys.modules)"
    )
    arguments = ["reproduce", "table2", "--list", *FLAGS, "--cells", "u-net-single,u-net-multi", "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=out, env={},
        capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line[:8].strip() for line in lines[:-1]] == ["done", "done"]
    assert lines[-1] == "2 jobs: 2 done, 0 failed, 0 not run"


def test_the_list_says_how_long_the_jobs_take_that_are_left(cxrcad, made, tmp_path):
    answer = cxrcad("reproduce", "table2", "--list", *FLAGS, "--out", made[0])
    assert (answer.code, answer.err) == (0, "timing a few steps of each network\n")
    lines = answer.out.splitlines()
    assert [line[:8].strip() for line in lines[:-2]] == ["done", "not run", "done", "not run"]
    assert lines[-2] == "4 jobs: 2 done, 0 failed, 2 not run"
    assert lines[-1].startswith("2 jobs are left, with 4 training steps: about ")
    assert "Measured with 2 steps of each of 2 networks on random images." in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_list_is_given_where_the_time_is_not_known(cxrcad):
    answer = cxrcad("reproduce", "effusion", "--list", *FLAGS)
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == (
        "How long training takes is not known: how many cases with effusion there are is not known; name them with "
        "--data"
    )


def test_a_former_name_of_an_item_works_and_the_new_one_is_told(cxrcad):
    answer = cxrcad("reproduce", "look-ablations", "--list")
    assert answer.code == 2
    assert answer.err == (
        "look-ablations is now classifier-ablations\n"
        "Error: classifier-ablations: needs --patch-classifier and --initial-weights; give them, or a recipe with "
        "--config\n"
    )


def test_a_run_in_a_folder_of_any_name_is_used_again(cxrcad, kept, trained):
    out, _, arguments = kept
    run_of(out).rename(out / "runs" / "the first one")
    assert (cxrcad(*arguments).code, trained) == (0, [])
    ledger = json.loads((out / "jobs.json").read_text())
    assert ledger["jobs"]["the first one/fold3"]["state"] == "done"
    assert cxrcad(*arguments, "--ema", 0.5).code == 1
    assert [one.ema for one in trained] == [0.5]


def test_a_failed_job_is_recorded_and_the_others_are_done(cxrcad, made, trained, tiny_data):
    out, _ = made
    arguments = ["table2", *FLAGS, "--out", out]
    answer = cxrcad("reproduce", *arguments, "--data", tiny_data)
    assert answer.code == 1
    assert answer.err.splitlines()[-1] == "2 of 4 jobs failed; run the same command to try them again"
    assert [config.network.network for config in trained] == ["mo-segnet", "mo-segnet"]
    assert [config.network.tasks for config in trained] == ["single", "multi"]
    assert not trained[0].resume
    assert "Failed (2):" in answer.out
    assert "(mo-segnet-multi): the loss is nan at step 1; lower --learning-rate\n" in answer.out
    assert [line.split("|")[4].strip() for line in answer.out.splitlines() if "| ours  " in line] == ["failed"] * 2
    listed = cxrcad("reproduce", *arguments, "--list").out.splitlines()
    assert [line[:8].strip() for line in listed[:-2]] == ["done", "failed", "done", "failed"]
    assert listed[1].endswith("the loss is nan at step 1; lower --learning-rate")
    assert listed[-2] == "4 jobs: 2 done, 2 failed, 0 not run"


def test_nodules_from_formulas_are_no_file(cxrcad, trained, tiny_data):
    cells = ["--cells", "u-net-single", "--out", "other"]
    cxrcad("reproduce", "table2", "--data", tiny_data, *FLAGS, *cells, "--simulate", "analytic")
    assert [one.synthesis.simulate for one in trained] == [Path("analytic")]


def test_a_fault_of_another_kind_is_a_failed_job_too(cxrcad, monkeypatch, tiny_data):
    def train(config, progress):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("cxrcad.training.plan.train", train)
    monkeypatch.setattr("cxrcad.paper.jobs.log.exception", lambda *arguments: None)
    answer = cxrcad("reproduce", "table5", "--data", tiny_data, *FLAGS, "--cells", "pspnet")
    assert answer.code == 1
    assert "failed: RuntimeError: CUDA out of memory" in answer.err


def test_a_plot_of_an_earlier_call_goes_where_nothing_is_there_to_plot(cxrcad, trained, tiny_data, tmp_path):
    (tmp_path / "out").mkdir()
    for name in ("figure5.png", "figure5.svg"):
        (tmp_path / "out" / name).write_text("earlier")
    cells = ("--cells", "lambda-1.0", "--seeds", 1, "--out", "out")
    assert cxrcad("reproduce", "figure5", "--data", tiny_data, *FLAGS, *cells).code == 1
    assert not list((tmp_path / "out").glob("figure5.[ps]*g"))


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(cxrcad, monkeypatch, tiny_data, tmp_path):
    def stop(config, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr("cxrcad.training.plan.train", stop)
    answer = cxrcad("reproduce", "table5", "--data", tiny_data, *FLAGS)
    assert (answer.code, answer.out) == (130, "")
    assert "stopped; run the same command to continue" in answer.err
    ledger = json.loads((tmp_path / "reproduction" / "jobs.json").read_text())
    assert [job["state"] for job in ledger["jobs"].values()] == ["not run"] * 3


def test_without_data_it_says_in_three_lines_how_to_get_it(cxrcad, tmp_path):
    answer = cxrcad("reproduce", "table2")
    assert (answer.code, answer.out) == (1, "")
    assert len(answer.err.splitlines()) == 3
    assert "cxrcad phantom" in answer.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def kept(made, tiny_data, tmp_path):
    """Copies of the folder of trainings and of their data, and the command line on them."""
    out, data = shutil.copytree(made[0], tmp_path / "kept"), shutil.copytree(tiny_data, tmp_path / "moved")
    return out, data, ("reproduce", "table2", "--data", data, *FLAGS, "--cells", "u-net-single", "--out", out)


def run_of(out: Path, cell: str = "u-net-single") -> Path:
    jobs = json.loads((out / "jobs.json").read_text())["jobs"]
    return next(out / "runs" / key.split("/")[0] for key, job in jobs.items() if cell in job["cells"])


def test_the_same_data_in_another_folder_is_the_same(cxrcad, made, kept, trained):
    _, data, arguments = kept
    again = cxrcad(*arguments)
    assert (again.code, trained) == (0, [])
    ours = [[line for line in text.splitlines() if "| ours" in line] for text in (made[1].out, again.out)]
    assert ours[0] == ours[1]
    assert f"Data {data}, protocol paper" in again.out


def repaint(data: Path) -> None:
    with Image.open(data / "images" / "OXLN002.png") as picture:
        picture.rotate(180).save(data / "images" / "OXLN002.png")


def remask(data: Path) -> None:
    masks = data / "scr" / "fold1" / "masks"
    shutil.copy(masks / "left lung" / "OXLN002.gif", masks / "right lung" / "OXLN002.gif")


def move_the_nodule(data: Path) -> None:
    lines = (data / "CLNDAT_EN.txt").read_text().splitlines()
    fields = lines[1].split("\t")
    fields[5] = "1000"
    (data / "CLNDAT_EN.txt").write_text("\n".join([lines[0], "\t".join(fields), *lines[2:]]) + "\n")


@pytest.mark.parametrize(("change", "what"), [(repaint, "image"), (remask, "lung masks"), (move_the_nodule, "truth")])
def test_a_changed_case_is_named_and_its_trainings_are_not_used(cxrcad, kept, trained, change, what):
    out, data, arguments = kept
    change(data)
    answer = cxrcad(*arguments)
    assert (answer.code, answer.out, trained) == (2, "", [])
    named = answer.err.removeprefix("Error: ")
    run = next(run for run in (out / "runs").iterdir() if named.startswith(str(run)))
    assert named == (
        f"{run}/content.json: made from other data than {data} holds: OXLN002 has another {what}; remove the folder "
        f"{run} to train it again, or name another folder with --out\n"
    )
    for run in (out / "runs").iterdir():
        shutil.rmtree(run)
    assert cxrcad(*arguments).code == 1  # the remedy leads to a training, which here fails
    assert len(trained) == 1


def test_a_case_more_or_less_is_other_data(cxrcad, kept, trained):
    _, data, arguments = kept
    (data / "CNNDAT_EN.TXT").write_text("".join((data / "CNNDAT_EN.TXT").read_text().splitlines(keepends=True)[:-2]))
    for name in ("OXNN009", "OXNN010"):
        (data / "images" / f"{name}.png").unlink()
    answer = cxrcad(*arguments)
    assert (answer.code, trained) == (2, [])
    assert f"than {data} holds: OXNN009 is not in it, and 1 more case differ; remove the folder" in answer.err


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("side = 64", "side = 32", "side is 32, and this training has 64"),
        ("seed = 0", "seed = 5", "seed is 5, and this training has 0"),
        ('fold = "3"', 'fold = "2"', "fold is '2', and this training has '3'"),
        ('tasks = "single"', 'tasks = "multi"', "tasks is 'multi', and this training has 'single'"),
        ("side = 64", "sides = 64", "there is no setting sides; did you mean side?"),
        ("side = 64", "side = ", "cannot be read ("),
    ],
)
def test_a_run_of_the_name_and_other_settings_is_not_used(cxrcad, kept, trained, before, after, words):
    out, _, arguments = kept
    file = run_of(out) / "fold3" / "config.toml"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(f"{before}\n", f"{after}\n"))
    for more in ((), ("--list",)):
        answer = cxrcad(*arguments, *more)
        assert (answer.code, answer.out, trained) == (2, "", [])
        assert answer.err.startswith(f"Error: {file}: {words}")
        assert answer.err.endswith(
            f"; remove the folder {file.parent} to train it again, or name another folder with --out\n"
        )


def test_a_finished_fold_without_settings_is_not_used(cxrcad, kept, trained):
    out, _, arguments = kept
    (run_of(out) / "fold3" / "config.toml").unlink()
    answer = cxrcad(*arguments)
    assert (answer.code, trained) == (2, [])
    assert "config.toml: cannot be read (" in answer.err


def test_a_finished_fold_whose_model_does_not_fit_its_card_gives_no_figures(cxrcad, kept, trained):
    out, _, arguments = kept
    shutil.copy(run_of(out, "u-net-multi") / "fold3" / "model" / "model.onnx", run_of(out) / "fold3" / "model")
    answer = cxrcad(*arguments)
    assert (answer.code, trained) == (1, [])
    assert "(u-net-single): " in answer.out
    assert "model.onnx: its SHA-256 is " in answer.out


def test_runs_that_do_not_keep_their_content_are_known_by_their_data_s_folder(cxrcad, kept, trained, tiny_data):
    out, data, arguments = kept
    for file in (out / "runs").glob("*/content.json"):
        file.unlink()
    again = cxrcad(*("reproduce", "table2", "--data", tiny_data, *FLAGS, "--cells", "u-net-single", "--out", out))
    assert (again.code, trained) == (0, [])
    assert "trained before, and it is not known whether on these images and this truth: " in again.err
    assert str(run_of(out)) in again.err
    moved = cxrcad(*arguments)
    assert (moved.code, moved.out, trained) == (2, "", [])
    assert (
        f"--out {out}: holds trainings on {tiny_data}, not on {data}, and only the folder's name is known of their data"
        in moved.err
    )


def test_an_item_that_does_not_exist_is_wrong_usage(cxrcad):
    answer = cxrcad("reproduce", "table9")
    assert answer.code == 2
    assert "table2" in answer.err


def test_a_setting_that_the_cells_set_themselves_is_told(cxrcad, trained, tiny_data):
    answer = cxrcad("reproduce", "table4", "--data", tiny_data, *FLAGS, "--norm", "group", "--cells", "u-net-bn")
    assert "norm group is not used: the cells of table4 set it themselves" in answer.err
    assert trained[0].network.norm == "batch"
