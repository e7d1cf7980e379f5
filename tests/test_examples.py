"""Each example does what it says, with a toy model."""

from __future__ import annotations

import csv
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
        start = [sys.executable] if name.endswith(".py") else ["bash"]
        return subprocess.run(
            [*start, str(EXAMPLES / name), *map(str, arguments)],
            cwd=tmp_path, env={**own, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    return call


needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


@needs_jq
def test_the_batch_goes_on_after_a_bad_scan_and_lists_the_findings(run, scans, tmp_path):
    done = run("batch.sh", scans, "results", "--model", "toy")
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"{scans / 'b.png'}: ")
    assert done.stdout == "4 scans done, 1 failed; 4 findings in results/findings-0.csv\n"
    found = rows(tmp_path / "results" / "findings-0.csv")
    assert [Path(row["path"]).name for row in found] == ["a.png", "c.png", "d d.png", "e.png"]
    assert (float(found[0]["x_px"]), float(found[0]["y_px"])) == pytest.approx((18.5, 27.5), abs=0.2)
    assert found[0]["diameter_mm"] == ""
    boxes = json.loads((tmp_path / "results" / "more here__d d.png.json").read_text())
    assert boxes["schema"] == "cxrcad/boxes/1"
    kept = tmp_path / "results" / "a.png.json"
    before = kept.stat().st_mtime_ns
    shutil.copy(scans / "a.png", scans / "b.png")
    again = run("batch.sh", scans, "results", "--model", "toy")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "5 scans done, 0 failed; 5 findings in results/findings-0.csv\n"
    assert kept.stat().st_mtime_ns == before


@needs_jq
def test_the_tasks_of_an_array_share_the_scans(run, scans, tmp_path):
    array = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1"}
    first = run("batch.sh", scans, "results", "--model", "toy", SLURM_ARRAY_TASK_ID="1", **array)
    second = run("batch.sh", scans, "results", "--model", "toy", SLURM_ARRAY_TASK_ID="2", **array)
    assert (first.returncode, second.returncode) == (0, 1)
    assert first.stdout.startswith("3 scans done, 0 failed; ")
    assert second.stdout.startswith("1 scans done, 1 failed; ")
    names = [[Path(row["path"]).name for row in rows(tmp_path / "results" / f"findings-{i}.csv")] for i in (0, 1)]
    assert names == [["a.png", "c.png", "e.png"], ["d d.png"]]


@needs_jq
@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["none", "results"], 2, "usage: "),
        (["scans"], 2, "usage: "),
        (["scans", "results", "--treshold", "1"], 2, "Error: No such option '--treshold'"),
        (["scans", "results", "--model", "none"], 1, "Error: none: no packaged model has this name"),
    ],
)
def test_a_batch_that_cannot_work_stops_at_once(run, scans, tmp_path, arguments, code, sentence):
    done = run("batch.sh", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert not list(tmp_path.glob("results/*.csv"))


def test_the_batch_tells_its_line_for_a_cluster():
    text = (EXAMPLES / "batch.sh").read_text(encoding="utf-8")
    assert "#   sbatch --array=0-7 " in text
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
