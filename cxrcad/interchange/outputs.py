"""What `cxrcad detect` writes: a format for each ending of --out, all from the same results.

A new format is a module with `write`, and its row in `OUTPUTS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cxrcad.core import Failure, ModelIdentity, Result, Skipped, UsageError
from cxrcad.interchange import boxes, boxes_csv

__all__ = ["OUTPUTS", "PAGE", "Output", "check_ending", "output_for"]

PAGE = (".html", ".htm")
OTHER_ENDINGS = {
    *(".jsonl", ".xml", ".xlsx", ".xls", ".ods", ".tsv", ".parquet", ".pdf", ".md", ".toml", ".yaml", ".yml", *PAGE),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svg", ".dcm", ".mha", ".nii", ".img", ".zip", ".gz", ".npz", ".onnx"),
}
"""Endings of other formats than ours: no file of ours gets one."""


class Write(Protocol):
    """Results, inputs that failed, settings, files skipped, whether that is all -> the file's text, piece by piece."""

    def __call__(
        self,
        identity: ModelIdentity,
        results: Iterable[Result],
        failures: Sequence[Failure] = (),
        find: Mapping[str, Any] | None = None,
        skipped: Sequence[Skipped] | None = None,
        complete: bool = True,
    ) -> Iterable[str]:
        """The content of a file that holds all of it, or what the format can hold."""


@dataclass(frozen=True)
class Output:
    """One format, taken where --out ends in `ending`, in small letters."""

    name: str
    ending: str
    write: Write


OUTPUTS = (
    Output("boxes.json", ".json", boxes.write),
    Output("CSV", ".csv", boxes_csv.write),
)
"""The first is also that of any other ending."""


def output_for(path: Path) -> Output:
    """The format that is written to `path`."""
    return next((output for output in OUTPUTS if output.ending == path.suffix.lower()), OUTPUTS[0])


def check_ending(option: str, path: Path, endings: Sequence[str]) -> None:
    """Raise UsageError where the name of a file that an option gives ends as another format's than those of `endings`.

    A name with no ending, or with one that is no format's, is anybody's.
    """
    ending, known = path.suffix.lower(), {output.ending for output in OUTPUTS} | OTHER_ENDINGS
    if ending in known.difference(endings):
        raise UsageError(f"{option} {path}: its ending is {ending}; end the name in {' or '.join(endings)}")
