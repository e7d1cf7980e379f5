"""Pages of the docs whose commands take long: what they tell a reader to type works."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from cxrcad.interchange.boxes import read_boxes
from tests.reader import DOCS, code_spans, none, typed


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_settings_pages_commands_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "reference" / "settings.md", reader, tmp_path / "settings")
    settings = tomllib.loads((folder / "runs" / "group" / "fold3" / "config.toml").read_text())
    assert (settings["norm"], settings["epochs"], settings["side"]) == ("group", 50, 64)  # the environment's side
    assert read_boxes(folder / "boxes.json").identity.threshold == 0.3


@pytest.mark.slow
def test_the_commands_of_evaluate_and_compare_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "EVALUATION.md", reader, tmp_path / "evaluate")
    kept = json.loads((folder / "runs" / "multi" / "fold3" / "matches-paper-center.json").read_text())
    spans = code_spans(DOCS / "reference" / "files.md")
    none(f"docs/reference/files.md: no word of {key}" for key in (*kept, *kept["images"][0]) if key not in spans)


@pytest.mark.slow
def test_the_commands_of_reproduce_work(reader: Path, tmp_path: Path) -> None:
    folder = typed(DOCS / "REPRODUCTION.md", reader, tmp_path / "reproduce")
    assert "| ours, fold 3" in (folder / "reproduction" / "table2.md").read_text(encoding="utf-8")
