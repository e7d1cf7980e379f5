"""README and docs: what they tell a reader to type works, and what they name exists."""

from __future__ import annotations

import configparser
import importlib
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

import click
import pytest

from cxrcad.cli.main import COMMANDS, cli
from cxrcad.config import (
    ALL_CONFIGS,
    DetectConfig,
    EvaluateConfig,
    ExportConfig,
    FingerprintConfig,
    PhantomConfig,
    ReproduceConfig,
    RobustnessConfig,
    SimulateConfig,
    TrainConfig,
    build,
    settings_of,
)
from cxrcad.datasets.jsrt.reader import read_jsrt
from cxrcad.inference.model import write_card
from cxrcad.interchange.boxes import json_schema, read_boxes
from cxrcad.synthesis.phantom.dataset import write_phantoms
from cxrcad.synthesis.projection import load_projections

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, *sorted(DOCS.glob("*.md")))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

CONFIGS = {
    **{"detect": DetectConfig, "train": TrainConfig, "evaluate": EvaluateConfig, "froc": EvaluateConfig},
    **{"compare": EvaluateConfig, "reproduce": ReproduceConfig},
    **{"robustness": RobustnessConfig, "fingerprint": FingerprintConfig},
    **{"export": ExportConfig, "phantom": PhantomConfig, "simulate": SimulateConfig},
}

NOT_RUN = {
    "make demo": "installs into an environment of its own; `cxrcad demo` has its own test",
    "make test": "it is what runs this",
    "pip install .": "tests/test_package.py builds the wheel and uses it",
    "pip install '.[train]'": "downloads torch",
}

# The commands stay the reader's; these settings, which flags would overrule, make them small.
SMALL = {
    **{"CXRCAD_MAX_STEPS": "1", "CXRCAD_SIDE": "64", "CXRCAD_PRECISION": "fp32", "CXRCAD_COMPARE": "1"},
    **{"CXRCAD_IMAGE_SIDE": "256", "CXRCAD_FORMAT": "png", "OMP_NUM_THREADS": "1"},
    **{"CXRCAD_FOLDS": "3", "CXRCAD_CELLS": "u-net-single"},
}


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCED.findall(page.read_text(encoding="utf-8")) if kind == language]


def lines_of(block: str) -> list[str]:
    """The commands of a shell block, comments cut."""
    lines = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in block.splitlines())
    return [line for line in lines if line]


def code_spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", page.read_text(encoding="utf-8")))


def none(faults: Iterator[str]) -> None:
    found = list(faults)
    assert not found, "\n".join(["", *found])


def write_stand_in(folder: Path) -> None:
    """A package `cxrcad_models` whose deeplabv3plus-open finds whatever is bright: small, and always the same."""
    file = ROOT / "tests" / "inference" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_model", file)
    assert spec is not None
    assert spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    model = folder / "cxrcad_models" / "deeplabv3plus-open"
    tiny.write_onnx(model / "model.onnx")
    write_card(model, tiny.tiny_card(name="deeplabv3plus-open"))
    (folder / "cxrcad_models" / "__init__.py").touch()


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command done in the reader's folder, with `cxrcad` on the path and the stand-in as packaged model."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CXRCAD_")}
    path = os.pathsep.join((str(folder / "bin"), own.get("PATH", os.defpath)))
    packages = os.pathsep.join((str(folder / "packages"), str(ROOT)))
    environment = {**own, **SMALL, "PATH": path, "PYTHONPATH": packages}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=1800
    )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader who has what the README takes for granted: DATA, scans, scan.dcm, recipe.toml."""
    folder = tmp_path_factory.mktemp("reader")
    write_phantoms(folder / "DATA", build(PhantomConfig, {"cases": 20, "image_side": 256, "format": "png"}))
    write_phantoms(folder / "clinic", build(PhantomConfig, {"cases": 1, "image_side": 512, "format": "dcm"}))
    shutil.copy(folder / "clinic" / "images" / "JPCLN001.dcm", folder / "scan.dcm")
    (case,) = read_jsrt(folder / "clinic").cases
    (nodule,) = case.nodules
    true = {"x_px": nodule.x_px, "y_px": nodule.y_px, "diameter_mm": nodule.diameter_mm}
    scan = {"name": "scan.dcm", "rows": case.rows, "cols": case.cols, "spacing_mm": case.spacing_mm, "nodules": [true]}
    (folder / "TRUTH.json").write_text(json.dumps({"schema": "cxrcad/truth/1", "images": [scan]}))
    (folder / "scans").mkdir()
    shutil.copy(folder / "scan.dcm", folder / "scans")
    shutil.copy(folder / "DATA" / "images" / "JPCLN002.png", folder / "scans")
    (folder / "recipe.toml").write_text(blocks(README, "toml")[0], encoding="utf-8")
    write_stand_in(folder / "packages")
    (folder / "bin").mkdir()
    (folder / "bin" / "cxrcad").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cxrcad "$@"\n')
    (folder / "bin" / "cxrcad").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def typed(reader: Path) -> Path:
    """The reader's folder when every shell block of the README was typed, from top to bottom."""
    pytest.importorskip("torch")
    for block in blocks(README, "sh"):
        commands = [line for line in lines_of(block) if line not in NOT_RUN]
        if shutil.which("jq") is None:
            commands = [line for line in commands if "| jq" not in line]
        done = run(["bash", "-euo", "pipefail", "-c", "\n".join(commands)], reader)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return reader


def test_the_readmes_commands_detect(typed: Path) -> None:
    identity, results, failures = read_boxes(typed / "boxes.json")
    assert (identity.name, len(results), failures) == ("deeplabv3plus-open", 1, ())
    assert identity.threshold == 0.3  # CXRCAD_THRESHOLD, of the last command that wrote the file
    _, every, _ = read_boxes(typed / "all.json")
    assert len(every[0].findings) > 0
    assert sorted(path.name for path in (typed / "pictures").iterdir()) == ["JPCLN002.png", "scan.png"]


def test_the_readmes_commands_train_evaluate_and_export(typed: Path) -> None:
    runs = {path.name.split("-", 2)[-1]: path for path in (typed / "runs").iterdir() if (path / "folds.json").is_file()}
    assert sorted(runs) == ["group", "mo-segnet-multi", "multi", "single"]
    for path in runs.values():
        assert json.loads((path / "fold3" / "model" / "card.json").read_text())["training"]["steps"] == 1
    single = runs["single"]
    for multi in (runs["mo-segnet-multi"], runs["multi"]):
        assert "MO-SegNet" in (multi / "fold3" / "evaluation.txt").read_text()
        assert {path.name for path in multi.glob("fold3/froc.*")} == {"froc.json", "froc.csv", "froc.png", "froc.svg"}
    settings = tomllib.loads((runs["group"] / "fold3" / "config.toml").read_text())
    assert (settings["norm"], settings["epochs"], settings["side"]) == ("group", 50, 64)  # the environment's side
    exported = json.loads((typed / "single-model" / "card.json").read_text())
    assert (exported["name"], exported["tasks"]) == ("single-model", ["nodule"])
    assert (
        exported["files"]["model.safetensors"]
        == json.loads((single / "fold3/model/card.json").read_text())["files"]["model.safetensors"]
    )


def test_the_readmes_commands_reproduce_a_table(typed: Path) -> None:
    assert "| ours, fold 3" in (typed / "reproduction" / "table2.md").read_text(encoding="utf-8")


def test_docs_describe_every_field_that_is_written(typed: Path) -> None:
    card = json.loads((typed / "single-model" / "card.json").read_text())
    none(f"docs/MODELS.md: no word of {key}" for key in card if key not in code_spans(DOCS / "MODELS.md"))
    kept = json.loads(next(typed.glob("runs/*-multi/fold3/matches-paper-center.json")).read_text())
    spans = code_spans(DOCS / "EVALUATION.md")
    none(f"docs/EVALUATION.md: no word of {key}" for key in (*kept, *kept["images"][0]) if key not in spans)
    defined = json_schema()["$defs"]
    fields = {*defined["image"]["properties"], *defined["finding"]["properties"], "model", "failures"}
    named = set(code_spans(README)) | {"rows", "cols", "label"}  # these say themselves
    none(f"README.md: no word of {field} in boxes.json" for field in sorted(fields - named))


def test_the_readmes_library_use_runs(reader: Path) -> None:
    (code,) = blocks(README, "python")
    done = run([sys.executable, "-c", code], reader)
    assert done.returncode == 0, done.stderr
    assert re.match(r"[01]\.\d\d Box\(x0=", done.stdout)


def test_the_layout_of_ct_nodules_is_what_is_read(reader: Path) -> None:
    (code,) = blocks(DOCS / "DATA.md", "python")
    done = run([sys.executable, "-c", code], reader)
    assert done.returncode == 0, done.stderr
    (made,) = load_projections(reader / "NODULES.npz", exclude_series=(), spacing_mm=1.0, count=1, seed=0)
    assert made.series_uid == "1.2.3"


def test_the_boxes_that_the_readme_shows_follow_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    (shown,) = blocks(README, "json")
    jsonschema.validate(json.loads(shown), json_schema())


def test_the_settings_file_that_the_readme_shows_is_one() -> None:
    (shown,) = blocks(README, "toml")
    leaves = {key: value for section in tomllib.loads(shown).values() for key, value in section.items()}
    assert build(TrainConfig, leaves).network.norm == "group"


def commands_named() -> list[tuple[str, str]]:
    """(page, command line) of every `cxrcad COMMAND ...` in the pages' shell blocks and code spans."""
    found = []
    for page in PAGES:
        lines = [line for block in blocks(page, "sh") for line in lines_of(block)]
        for line in [*lines, *code_spans(page)]:
            match = re.match(r"(?:CXRCAD_\w+=\S+ )?cxrcad (\S.*)", line)
            if match:
                found.append((page.name, match[1].split(" | ")[0]))
    return found


@pytest.mark.parametrize(("page", "line"), commands_named())
def test_a_command_that_is_named_is_one(page: str, line: str) -> None:
    """The command exists, takes these options, and each value is allowed; placeholders stand for paths only."""
    name, *arguments = shlex.split(line)
    if name.startswith("--"):
        assert name in {"--help", "--version"}
        return
    assert name in COMMANDS, page
    command: click.Command = importlib.import_module(f"cxrcad.cli.{name}").command
    values, _, _ = command.make_parser(click.Context(command)).parse_args(list(arguments))
    known = {item.name: item for item in settings_of(CONFIGS[name])} if name in CONFIGS else {}
    for key, value in values.items():
        if key in known and isinstance(value, str):
            known[key].parse(value, f"{page}: {line}")


def test_flags_and_variables_that_are_named_exist() -> None:
    commands = [importlib.import_module(f"cxrcad.cli.{name}").command for name in COMMANDS]
    options = [item for command in (cli, *commands) for item in command.params]
    flags = {flag for item in options for flag in (*item.opts, *item.secondary_opts)} | {"--help"}
    variables = {item.variable for kind in ALL_CONFIGS for item in settings_of(kind)}
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    none(
        f"{name}: there is no {flag}"
        for name, text in texts.items()
        for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)
        if flag not in flags
    )
    none(
        f"{name}: there is no variable {variable}"
        for name, text in texts.items()
        for variable in re.findall(r"\bCXRCAD_[A-Z0-9_]+", text)
        if variable not in variables
    )


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for Markdown."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    def broken(page: Path) -> Iterator[str]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"https?://", target):
                continue
            file, _, anchor = target.partition("#")
            place = (page.parent / file).resolve() if file else page
            if not place.exists() or (anchor and anchor not in slugs(place)):
                yield f"{page.name}: {target} leads nowhere"

    none(fault for page in PAGES for fault in broken(page))


def test_files_that_are_named_exist() -> None:
    """Code spans that begin with a folder of the project, schemas (cxrcad/boxes/1) apart; and its own files."""
    own = r"(?:cxrcad|docs|examples|models|tests)/\S*|(?:constraints\.txt|setup\.cfg|Makefile|LICENSE|\w+\.md)"
    none(
        f"{page.name}: there is no {span}"
        for page in PAGES
        for span in code_spans(page)
        if re.fullmatch(own, span) and not re.fullmatch(r"cxrcad/\w+/\d+", span)
        if not (ROOT / span).exists() and not (DOCS / span).exists()
    )


def test_the_layers_of_the_docs_are_the_packages() -> None:
    rows = re.findall(r"^\| `(\w+)/` \|", (DOCS / "DESIGN.md").read_text(encoding="utf-8"), re.MULTILINE)
    there = {path.parent.name for path in (ROOT / "cxrcad").glob("*/*.py")}
    assert sorted(rows) == sorted(there)


def test_the_table_of_dependencies_is_setup_cfgs() -> None:
    """Every requirement stands there with a reason, and nothing else."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    required = {re.split(r"[\s\[<>=;]", line)[0] for line in lines if line and not line.startswith("#")} - {"cxrcad"}
    section = README.read_text(encoding="utf-8").split("## Dependencies")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| (\S+) \| (.*?) *\|$", section, re.MULTILINE))
    assert {name for name in rows if name != "package" and not name.startswith("---")} == required
    assert all(len(rows[name].split()) >= 2 for name in required)
