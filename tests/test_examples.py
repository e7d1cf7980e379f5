"""Each example does what it says, with a toy model."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"


def test_every_example_is_run_here() -> None:
    told = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.iterdir() if path.is_file() and f'"{path.name}"' not in told] == []


@pytest.fixture
def scans(disc_data, tmp_path):
    """Five scans in two folders, one name with a blank, and one cut short."""
    folder = tmp_path / "scans"
    (folder / "more here").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "c.png", "more here/d d.png", "more here/e.png"), 1):
        shutil.copy(disc_data / "images" / f"JPCLN{2 * number - 1:03d}.png", folder / name)
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:80])
    (folder / "notes.txt").write_text("not a scan")
    return folder


@pytest.fixture
def run(make_toy, tmp_path):
    """`run(name, ..., **environment)` -> the finished process of an example, with `cxrcad` on the path."""
    make_toy(tmp_path / "toy")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "cxrcad"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cxrcad "$@"\n')
    command.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CXRCAD_", "SLURM_"))}
    path = os.pathsep.join((str(tmp_path / "bin"), own.get("PATH", os.defpath)))

    def call(name, *arguments, **environment):
        snake = ["snakemake", "--cores", "2", "--snakefile"]
        start = [sys.executable] if name.endswith(".py") else snake if name == "Snakefile" else ["bash"]
        return subprocess.run(
            [*start, str(EXAMPLES / name), *map(str, arguments)],
            cwd=tmp_path, env={**own, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    return call


def names(part: Path, key: str = "images") -> list[str]:
    return [Path(one["path"]).name for one in json.loads(part.read_text())[key]]


def test_the_batch_goes_on_after_a_bad_scan_and_does_again_what_failed(run, scans, tmp_path):
    part = tmp_path / "results" / "part-1-of-1.json"
    done = run("batch.sh", scans, "results", "--model", "toy")
    assert done.returncode == 1, done.stderr
    assert "failed: " in done.stderr
    assert names(part) == ["a.png", "c.png", "d d.png", "e.png"]
    assert (names(part, "failures"), names(part, "skipped")) == (["b.png"], ["notes.txt"])
    shutil.copy(scans / "a.png", scans / "b.png")
    again = run("batch.sh", scans, "results", "--model", "toy")
    assert again.returncode == 0, again.stderr
    assert "4 of 5 files done before" in again.stderr
    assert names(part) == ["a.png", "b.png", "c.png", "d d.png", "e.png"]


def test_a_task_of_an_array_trains_the_fold_of_its_number_and_goes_on_with_it(run, disc_data, tmp_path):
    (tmp_path / "bin" / "cxrcad").write_text('#!/bin/sh\necho "$@" >> calls\n')
    for task in ("2", "5"):
        assert run("train.sh", "runs/a", "--data", disc_data, SLURM_ARRAY_TASK_ID=task).returncode == 0
    (tmp_path / "runs" / "a" / "fold2").mkdir(parents=True)
    assert run("train.sh", "runs/a", "--data", disc_data, SLURM_ARRAY_TASK_ID="2").returncode == 0
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"train --fold 2 --run runs/a --data {disc_data}",
        f"train --fold 5 --run runs/a --data {disc_data}",
        f"train --fold 2 --run runs/a --resume --data {disc_data}",
    ]
    assert run("train.sh", "runs/a").returncode == 2


TINY = ("--side", "64", "--threads", "1", "--precision", "fp32", "--device", "cpu", "--min-area-mm2", "30", "--norm",
        "group", "--peak-distance-mm", "20", "--network", "u-net", "--tasks", "single", "--max-steps", "1")  # fmt: skip

TRAINS = """
import sys
sys.path.insert(0, {root!r})
from tests.toys import main
main()
"""


def test_the_fold_of_an_array_s_task_is_that_of_a_single_run(run, disc_data, tmp_path, toy_exporter, command_line):
    load = pytest.importorskip("safetensors.numpy").load_file
    (tmp_path / "bin" / "cxrcad").write_text(f"#!{sys.executable}{TRAINS.format(root=str(ROOT))}")
    done = run("train.sh", "run", "--data", disc_data, *TINY, SLURM_ARRAY_TASK_ID="4", SLURM_NTASKS="1")
    assert done.returncode == 0, done.stderr
    single = command_line(tmp_path, "train", "--data", disc_data, *TINY, "--fold", "4", "--run", "single")
    assert single.code == 0, single.err
    one, other = (load(tmp_path / name / "fold4" / "checkpoint.safetensors") for name in ("run", "single"))
    assert all((value == other[name]).all() for name, value in one.items())


def test_the_tasks_of_an_array_share_the_scans(run, scans, tmp_path):
    (scans / "b.png").unlink()
    for task in ("1", "2"):
        done = run("batch.sh", scans, "results", "--model", "toy", SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="2")
        assert done.returncode == 0, done.stderr
    parts = [names(tmp_path / "results" / f"part-{task}-of-2.json") for task in (1, 2)]
    assert sorted(parts[0] + parts[1]) == ["a.png", "c.png", "d d.png", "e.png"]
    assert all(parts)


def test_some_tasks_of_an_array_alone_need_the_number_of_all(run, scans, tmp_path):
    (scans / "b.png").unlink()
    alone = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MAX": "2"}
    refused = run("batch.sh", scans, "results", "--model", "toy", **alone)
    assert refused.returncode == 2
    assert refused.stderr.endswith(": the array is not 1 to 1; give the number of all tasks, as PARTS=8\n")
    done = run("batch.sh", scans, "results", "--model", "toy", PARTS="2", **alone)
    assert done.returncode == 0, done.stderr
    assert 0 < len(names(tmp_path / "results" / "part-2-of-2.json")) < 4


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["scans"], 2, "usage: "),
        (["none", "results", "--model", "toy"], 1, "none: there is no such file"),
        (["scans", "results", "--treshold", "1"], 2, "Error: No such option '--treshold'"),
        (["scans", "results", "--model", "none"], 1, "Error: none: no packaged model has this name"),
    ],
)
def test_a_batch_that_cannot_work_says_why(run, scans, arguments, code, sentence):
    done = run("batch.sh", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr


def test_the_batch_tells_its_line_for_a_cluster():
    text = (EXAMPLES / "batch.sh").read_text(encoding="utf-8")
    assert "#   sbatch --array=1-8 " in text
    assert os.access(EXAMPLES / "batch.sh", os.X_OK)
    subprocess.run(["bash", "-n", str(EXAMPLES / "batch.sh")], check=True)


def test_detection_from_python_prints_a_line_a_finding(run, scans):
    done = run("detect_in_python.py", scans, "--model", "toy")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == f"{scans / 'a.png'}: 64 x 64 pixels, 1 findings"
    assert lines[1] == "  nodule at (18, 28), score 1.00, size unknown"
    assert len(lines) == 8
    assert done.stderr.startswith(f"{scans / 'b.png'}: ")
    missing = run("detect_in_python.py", scans, "--model", "none")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("none: no packaged model has this name")


needs_flock = pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
needs_parallel = pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not installed")
needs_snakemake = pytest.mark.skipif(shutil.which("snakemake") is None, reason="Snakemake is not installed")


@needs_flock
def test_a_job_of_cron_prints_only_where_something_failed(run, scans, tmp_path):
    damaged = (scans / "b.png").read_bytes()
    (scans / "b.png").unlink()
    done = run("cron.sh", scans, "results", "--model", "toy")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert names(tmp_path / "results" / "boxes.json") == ["a.png", "c.png", "d d.png", "e.png"]
    (scans / "b.png").write_bytes(damaged)
    failed = run("cron.sh", scans, "results", "--model", "toy")
    assert (failed.returncode, failed.stderr) == (1, "")
    assert "4 of 5 files done before\n" in failed.stdout
    assert f"failed: {scans / 'b.png'}: " in failed.stdout


@needs_flock
def test_a_job_of_cron_leaves_one_that_is_at_work_to_it(run, scans, tmp_path):
    (tmp_path / "results").mkdir()
    with subprocess.Popen(["flock", "results/lock", "cat"], cwd=tmp_path, stdin=subprocess.PIPE) as other:
        while subprocess.run(["flock", "-n", "results/lock", "true"], cwd=tmp_path, check=False).returncode == 0:
            assert other.poll() is None
        done = run("cron.sh", scans, "results", "--model", "toy")
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        assert not (tmp_path / "results" / "boxes.json").exists()
        other.communicate()


@needs_parallel
def test_parts_in_parallel_are_joined_though_a_scan_failed(run, scans, tmp_path):
    for code in (1, 0):
        done = run("parallel.sh", scans, "the results", "--model", "toy", PARTS="2")
        assert done.returncode == code, done.stderr
        shutil.copy(scans / "a.png", scans / "b.png")
    assert names(tmp_path / "the results" / "boxes.json") == ["a.png", "b.png", "c.png", "d d.png", "e.png"]
    assert len(list((tmp_path / "the results").glob("part-*-of-2.json"))) == 2


@needs_snakemake
def test_snakemake_joins_the_parts_and_tells_what_failed(run, scans, tmp_path):
    done = run("Snakefile", "--config", f"scans={scans}", "parts=2", "model=toy")
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "boxes.json") == ["a.png", "c.png", "d d.png", "e.png"]
    assert names(tmp_path / "boxes.json", "failures") == ["b.png"]


@pytest.mark.parametrize("name", ["cron.sh", "parallel.sh"])
def test_an_example_without_arguments_says_how_it_is_used(run, name):
    done = run(name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
    assert os.access(EXAMPLES / name, os.X_OK)
