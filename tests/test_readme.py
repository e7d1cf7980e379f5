"""README and docs: what they tell a reader to type works. What they name is checked in test_docs.py.

The pages whose commands take longest are in test_pages.py.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cxrcad.config import TrainConfig, build
from cxrcad.interchange.boxes import read_boxes
from cxrcad.synthesis.projection import load_projections
from tests.reader import DOCS, README, blocks, code_spans, none, run, typed


@pytest.mark.slow
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
