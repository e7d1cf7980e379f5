"""`cxrcad info`: what a radiograph, a data set, a model or a run is, in lines for a reader or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrcad.commands.models import model_lines
from cxrcad.core import CxrcadError, UsageError
from cxrcad.datasets.dataset import Dataset
from cxrcad.datasets.folds import FOLDS_NAME, WHOLE
from cxrcad.datasets.read import layout_of, read_dataset
from cxrcad.datasets.summary import summary
from cxrcad.documents import printable
from cxrcad.imaging.read import read_radiograph
from cxrcad.inference.model import CARD_NAME, RUN_FOLDER, folds_of_run, packaged_models, resolve_model
from cxrcad.report.drawing.contact_sheet import write_contact_sheet

__all__ = ["Description", "describe_path", "describe_paths"]


@dataclass(frozen=True)
class Description:
    """What several paths are, as a text, and how many could not be described."""

    text: str
    failed: int


def describe_paths(
    paths: Sequence[Path], as_json: bool, note: Callable[[str], None], sheet: Path | None = None
) -> Description:
    """`describe_path` of each, with an empty line between them; `note` is told of those that fail.

    `sheet` is the file of a contact sheet, of a single data folder.
    Raises ReadError, DataError or ModelError where a single path fails; UsageError, WriteError for the sheet.
    """
    if sheet is not None:
        if len(paths) > 1 or not _is_data(paths[0]):
            named = ", ".join(map(str, paths))
            raise UsageError(f"--sheet {sheet}: is of one data folder (docs/DATA.md), and {named} is none; name one")
        write_contact_sheet(_read(paths[0])[1], sheet, note)
        note(f"written: {sheet}")
    text, failed = "", 0
    for place, path in enumerate(paths):
        try:
            text += ("\n" if place and not as_json else "") + describe_path(path, as_json) + "\n"
        except CxrcadError as error:
            if len(paths) == 1:
                raise
            note(f"failed: {error}")
            failed += 1
    return Description(text, failed)


def describe_path(path: Path, as_json: bool = False) -> str:
    """What `path` is: a model's card, a run's folds, a data set's counts, or a radiograph's size and treatment.

    Raises ReadError, DataError, ModelError.
    """
    packaged = not path.exists() and str(path) in [bundle.name for bundle in packaged_models()]
    folds = folds_of_run(path) if path.is_dir() else ()
    if folds or (path / FOLDS_NAME).is_file():
        whole = (path / WHOLE / RUN_FOLDER / CARD_NAME).is_file()
        states = [f"finished folds: {', '.join(map(str, folds))}"] * bool(folds)
        states += [f"a model trained on every case, {path / WHOLE}"] * whole
        state = "; ".join(states) or "no finished fold; go on with --resume"
        kind: dict[str, Any] = {"kind": "run", "path": str(path), "finished_folds": list(folds), "whole": whole}
        return json.dumps(kind, indent=1) if as_json else f"{path}: a run; {state}"
    if not packaged and _is_data(path):
        told = _data_facts(path)
        return json.dumps(told, indent=1, ensure_ascii=False) if as_json else _lines(told)
    if packaged or path.is_dir():
        bundle = resolve_model(str(path))
        card = json.dumps(dict(bundle.card), indent=1, ensure_ascii=False)
        return card if as_json else "\n".join(model_lines(bundle))
    if not path.exists() and str(path) == path.stem:
        resolve_model(str(path))  # a mistyped name: says which models there are
    facts = _radiograph_facts(path)
    if as_json:
        return json.dumps(facts, indent=1, ensure_ascii=False)
    return _lines(facts)


def _lines(facts: Mapping[str, Any]) -> str:
    wide = max(13, *map(len, facts))
    return "\n".join(f"{name.replace('_', ' '):<{wide}} {_shown(value)}" for name, value in facts.items())


def _is_data(path: Path) -> bool:
    """Whether the path is a data folder, and no model's."""
    model = (path / CARD_NAME).is_file() or (path / RUN_FOLDER / CARD_NAME).is_file()
    return path.is_dir() and not model and layout_of(path) is not None


def _read(folder: Path) -> tuple[str, Dataset]:
    """The name of the folder's layout, and its cases."""
    layout = layout_of(folder)
    assert layout is not None  # `_is_data`
    return layout.name, read_dataset(folder, lesion=layout.lesion)


def _data_facts(folder: Path) -> dict[str, Any]:
    name, dataset = _read(folder)
    return {"kind": "data set", "path": str(folder), "layout": name, "lesion": dataset.lesion, **summary(dataset)}


def _radiograph_facts(path: Path) -> dict[str, Any]:
    radiograph = read_radiograph(path, force=True)
    source = radiograph.source
    return {
        "kind": "radiograph",
        "path": str(path),
        "format": source.format,
        "rows": radiograph.rows,
        "cols": radiograph.cols,
        "spacing_mm": list(radiograph.spacing_mm) if radiograph.spacing_mm else None,
        "spacing_from": radiograph.spacing_from,
        "orientation": list(radiograph.orientation) if radiograph.orientation else None,
        "sha256": source.sha256,
        "uids": dict(source.uids),
        "notes": list(source.notes),
    }


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, dict) and "quantiles" in value:
        words = ("least", "quarter", "median", "three quarters", "largest")
        told = ", ".join(f"{word} {one:g}" for word, one in zip(words, value["quantiles"], strict=True))
        return f"{told} (of {value['known']})"
    if isinstance(value, dict):
        return "; ".join(f"{name} {item}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(str(item) for item in value) or "none"
    return printable(str(value))
