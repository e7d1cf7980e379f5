"""A reader of README and docs: the folder that the pages take for granted, and what it is to type their commands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrcad.config import PhantomConfig, build
from cxrcad.datasets.read import read_dataset
from cxrcad.inference.model import write_card
from cxrcad.synthesis.phantom.dataset import write_phantoms
from tests.toys import tiny_card, write_onnx

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
    model = folder / "cxrcad_models" / "deeplabv3plus-real"
    write_onnx(model / "model.onnx")
    write_card(model, tiny_card(name="deeplabv3plus-real"))
    (folder / "cxrcad_models" / "__init__.py").touch()


def run(command: list[str], folder: Path, programs: str = "toy") -> subprocess.CompletedProcess[str]:
    """The command done in the reader's folder, with `cxrcad` on the path and the stand-in as packaged model.

    With `programs` toy, trainings write the toy ONNX graph; with bin, all is real.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("CXRCAD_")}
    path = os.pathsep.join((str(folder / programs), own.get("PATH", os.defpath)))
    packages = os.pathsep.join((str(folder / "packages"), str(ROOT)))
    environment = {**own, **SMALL, "PATH": path, "PYTHONPATH": packages}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def typed(page: Path, reader: Path, folder: Path) -> Path:
    """A folder like the reader's in which the page's blocks were typed, from top to bottom.

    Those of the README are real throughout, in those of the docs trainings write the toy graph.
    """
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
        done = run(["bash", "-euo", "pipefail", "-c", text], folder, "bin" if page == README else "toy")
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return folder


def make_reader(folder: Path) -> Path:
    """The folder of a reader who has what the pages take for granted: DATA, scans, scan.dcm, recipe.toml, recipes."""
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
    for programs, module in (("bin", "cxrcad"), ("toy", "tests.toys")):
        (folder / programs).mkdir()
        (folder / programs / "cxrcad").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        (folder / programs / "cxrcad").chmod(0o755)
    return folder
