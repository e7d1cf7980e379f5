"""README and docs: what they tell a reader to type works. What they name is checked in test_docs.py."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxrcad.config import PhantomConfig, TrainConfig, build
from cxrcad.datasets.read import read_dataset
from cxrcad.inference.model import write_card
from cxrcad.interchange.boxes import read_boxes
from cxrcad.synthesis.phantom.dataset import write_phantoms
from cxrcad.synthesis.projection import load_projections

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
FENCED = re.compile(r"^(<!-- run -->\n)?```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

NOT_RUN = {
    "python3 -m venv .venv": "tests/test_package.py makes an environment",
    ". .venv/bin/activate": "there is none",
    "pip install .": "tests/test_package.py builds the wheel and uses it",
    "pip install torch --index-url https://download.pytorch.org/whl/cpu": "downloads torch",
    "pip install '.[train]'": "downloads torch",
}

# The commands stay the reader's; these settings, which flags would overrule, make them small.
SMALL = {
    **{"CXRCAD_MAX_STEPS": "1", "CXRCAD_SIDE": "64", "CXRCAD_PRECISION": "fp32", "CXRCAD_COMPARE": "1"},
    **{"CXRCAD_IMAGE_SIDE": "256", "CXRCAD_FORMAT": "png", "OMP_NUM_THREADS": "1", "CXRCAD_RESAMPLES": "100"},
    **{"CXRCAD_FOLDS": "3", "CXRCAD_CELLS": "u-net-single"},
}
SMALLER = {"--max-steps 400": "--max-steps 1", "--side 256": "--side 64", "--image-side 1024": "--image-side 256"}


def blocks(page: Path, language: str, runnable: bool = False) -> list[str]:
    """The page's fenced blocks of a language; only those marked to run, where that is asked."""
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [text for mark, kind, text in found if kind == language and (mark or not runnable)]


def code_spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text(encoding="utf-8")))


def none(faults: Iterator[str]) -> None:
    found = list(faults)
    assert not found, "\n".join(["", *found])


def write_stand_in(folder: Path) -> None:
    """A package `cxrcad_models` whose deeplabv3plus-real finds whatever is bright: small, and always the same."""
    file = ROOT / "tests" / "inference" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_model", file)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    model = folder / "cxrcad_models" / "deeplabv3plus-real"
    tiny.write_onnx(model / "model.onnx")
    write_card(model, tiny.tiny_card(name="deeplabv3plus-real"))
    (folder / "cxrcad_models" / "__init__.py").touch()


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command done in the reader's folder, with `cxrcad` on the path and the stand-in as packaged model."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CXRCAD_")}
    path = os.pathsep.join((str(folder / "bin"), own.get("PATH", os.defpath)))
    packages = os.pathsep.join((str(folder / "packages"), str(ROOT)))
    environment = {**own, **SMALL, "PATH": path, "PYTHONPATH": packages}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def typed(page: Path, reader: Path, folder: Path) -> Path:
    """A folder like the reader's in which the page's blocks were typed, from top to bottom."""
    pytest.importorskip("torch")
    shutil.copytree(reader, folder)
    shown = blocks(page, "sh", runnable=page != README)
    assert shown
    for block in shown:
        lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in block.splitlines()]
        commands = [line for line in lines if line and line not in NOT_RUN]
        if shutil.which("jq") is None:
            commands = [line for line in commands if "| jq" not in line]
        text = "\n".join(commands)
        for large, small in SMALLER.items():
            text = text.replace(large, small)
        done = run(["bash", "-euo", "pipefail", "-c", text], folder)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has what the pages take for granted: DATA, scans, scan.dcm, recipe.toml, recipes."""
    folder = tmp_path_factory.mktemp("reader")
    write_phantoms(folder / "DATA", build(PhantomConfig, {"cases": 20, "image_side": 256, "format": "png"}))
    write_phantoms(folder / "clinic", build(PhantomConfig, {"cases": 1, "image_side": 512, "format": "dcm"}))
    shutil.copy(folder / "clinic" / "images" / "JPCLN001.dcm", folder / "scan.dcm")
    (case,) = read_dataset(folder / "clinic").cases
    (nodule,) = case.nodules
    true = {"x_px": nodule.x_px, "y_px": nodule.y_px, "diameter_mm": nodule.diameter_mm}
    scan = {"name": "scan.dcm", "rows": case.rows, "cols": case.cols, "spacing_mm": case.spacing_mm, "nodules": [true]}
    (folder / "TRUTH.json").write_text(json.dumps({"schema": "cxrcad/truth/1", "images": [scan]}))
    (folder / "scans").mkdir()
    shutil.copy(folder / "scan.dcm", folder / "scans")
    shutil.copy(folder / "DATA" / "images" / "JPCLN002.png", folder / "scans")
    (folder / "recipe.toml").write_text(blocks(DOCS / "reference" / "settings.md", "toml")[0], encoding="utf-8")
    shutil.copytree(DOCS / "recipes", folder / "docs" / "recipes")
    write_stand_in(folder / "packages")
    (folder / "bin").mkdir()
    (folder / "bin" / "cxrcad").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cxrcad "$@"\n')
    (folder / "bin" / "cxrcad").chmod(0o755)
    return folder


def test_the_readmes_commands_detect_train_and_evaluate(reader: Path, tmp_path: Path) -> None:
    folder = typed(README, reader, tmp_path / "readme")
    read = read_boxes(folder / "boxes.json")
    assert (read.identity.name, len(read.results), read.failures) == ("deeplabv3plus-real", 2, ())
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["JPCLN002.png", "scan.png"]
    (first,) = (folder / "runs").glob("*-mo-segnet-multi")
    assert "MO-SegNet" in (first / "fold3" / "evaluation.txt").read_text()
    assert {path.name for path in first.glob("fold3/froc.*")} == {"froc.json", "froc.csv", "froc.png", "froc.svg"}
    card = json.loads((folder / "runs" / "quick" / "fold3" / "model" / "card.json").read_text())
    assert (card["network"]["width"], card["training"]["steps"]) == (24, 1)


def test_the_commands_of_detect_in_batch_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "DETECT.md", reader, tmp_path / "detect")
    every = read_boxes(folder / "all.json").results
    assert len(every[0].findings) > 0
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["JPCLN002.png", "scan.png"]


def test_the_tutorials_commands_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "TUTORIAL.md", reader, tmp_path / "tutorial")
    assert len(list((folder / "PHANTOMS" / "images").iterdir())) == 40
    assert len(list((folder / "pictures").iterdir())) == 40
    assert (folder / "runs" / "tutorial" / "fold3" / "report" / "report.html").is_file()
    exported = json.loads((folder / "tutorial-model" / "card.json").read_text())
    trained = json.loads((folder / "runs" / "tutorial" / "fold3" / "model" / "card.json").read_text())
    assert (exported["name"], exported["tasks"]) == ("tutorial-model", ["lesion", "lung"])
    assert exported["files"]["model.safetensors"] == trained["files"]["model.safetensors"]
    read = read_boxes(folder / "mine.json")
    assert (read.identity.name, len(read.results)) == ("tutorial-model", 40)
    none(f"docs/MODELS.md: no word of {key}" for key in exported if key not in code_spans(DOCS / "MODELS.md"))


def test_the_settings_pages_commands_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "reference" / "settings.md", reader, tmp_path / "settings")
    settings = tomllib.loads((folder / "runs" / "group" / "fold3" / "config.toml").read_text())
    assert (settings["norm"], settings["epochs"], settings["side"]) == ("group", 50, 64)  # the environment's side
    assert read_boxes(folder / "boxes.json").identity.threshold == 0.3


def test_the_commands_of_evaluate_and_compare_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "EVALUATION.md", reader, tmp_path / "evaluate")
    kept = json.loads((folder / "runs" / "multi" / "fold3" / "matches-paper-center.json").read_text())
    spans = code_spans(DOCS / "reference" / "files.md")
    none(f"docs/reference/files.md: no word of {key}" for key in (*kept, *kept["images"][0]) if key not in spans)


def test_the_commands_of_reproduce_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "REPRODUCTION.md", reader, tmp_path / "reproduce")
    assert "| ours, fold 3" in (folder / "reproduction" / "table2.md").read_text(encoding="utf-8")


def test_docs_describe_every_field_of_boxes_json(boxes_schema: dict[str, Any]) -> None:
    defined = boxes_schema["$defs"]
    fields = {*defined["image"]["properties"], *defined["finding"]["properties"], "model", "failures", "skipped"}
    named = set(code_spans(DOCS / "DETECT.md"))
    none(f"docs/DETECT.md: no word of {field}" for field in sorted(fields - named))


def test_the_library_use_of_the_docs_runs(reader: Path) -> None:
    (code,) = blocks(DOCS / "DETECT.md", "python")
    done = run([sys.executable, "-c", code], reader)
    assert done.returncode == 0, done.stderr
    assert re.match(r"[01]\.\d\d Box\(x0=", done.stdout)


def test_the_layout_of_ct_nodules_is_what_is_read(reader: Path) -> None:
    (code,) = blocks(DOCS / "DATA.md", "python")
    done = run([sys.executable, "-c", code], reader)
    assert done.returncode == 0, done.stderr
    (made,) = load_projections(reader / "NODULES.npz", exclude_series=(), spacing_mm=1.0, count=1, seed=0)
    assert made.series_uid == "1.2.3"


def test_the_boxes_that_the_docs_show_follow_the_schema(boxes_schema: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    (shown,) = blocks(DOCS / "DETECT.md", "json")
    jsonschema.validate(json.loads(shown), boxes_schema)


def test_the_settings_file_that_the_docs_show_is_one() -> None:
    (shown,) = blocks(DOCS / "reference" / "settings.md", "toml")
    leaves = {key: value for section in tomllib.loads(shown).values() for key, value in section.items()}
    assert build(TrainConfig, leaves).network.norm == "group"


def test_the_readme_fits_on_a_hundred_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 100
