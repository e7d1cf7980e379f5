"""What `cxrcad detect` writes: a format for each ending of --out and for each option beside it, from the same results.

A new format is a module with `write`, and its row in `OUTPUTS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrcad.core import CxrcadError, UsageError, WriteError
from cxrcad.files import check_folder, write_atomically
from cxrcad.interchange import boxes, boxes_csv, coco, node21
from cxrcad.interchange.boxes import Found
from cxrcad.interchange.journal import BEFORE

__all__ = [
    "OUTPUTS", "OUT_ENDINGS", "PAGE", "Output", "check_ending", "check_places", "output_for", "put_aside",
    "write_outputs",
]  # fmt: skip

PAGE = (".html", ".htm")
OTHER_ENDINGS = {
    *(".jsonl", ".xml", ".xlsx", ".xls", ".ods", ".tsv", ".parquet", ".pdf", ".md", ".toml", ".yaml", ".yml", *PAGE),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svg", ".dcm", ".mha", ".nii", ".img", ".zip", ".gz", ".npz", ".onnx"),
}
"""Endings of other formats than ours: no file of ours gets one."""


@dataclass(frozen=True)
class Output:
    """One format, in files that end in `ending`, in small letters; its option beside --out is --NAME.

    `write` gives the content of a file that holds all of it, or what the format can hold, piece by piece.
    """

    name: str
    ending: str
    write: Callable[[Found], Iterable[str]]

    @property
    def option(self) -> str:
        """The option that names its file."""
        return f"--{self.name.lower()}"


BOXES = Output("boxes.json", ".json", boxes.write)
OUTPUTS = (
    BOXES,
    Output("CSV", ".csv", boxes_csv.write),
    Output("COCO", ".json", coco.write),
    Output("NODE21", ".json", node21.write),
)
"""--out takes the first with its ending; boxes.json, which has no option, is also that of any other ending."""
OUT_ENDINGS = tuple(dict.fromkeys(output.ending for output in OUTPUTS))
ENDINGS = {"--out": OUT_ENDINGS, "--html": PAGE, **{one.option: (one.ending,) for one in OUTPUTS if one is not BOXES}}
"""What the file of each option may end in."""


def output_for(path: Path) -> Output:
    """The format that --out writes to `path`."""
    return next((output for output in OUTPUTS if output.ending == path.suffix.lower()), BOXES)


def check_ending(option: str, path: Path, endings: Sequence[str]) -> None:
    """Raise UsageError where the name of a file that an option gives ends as another format's than those of `endings`.

    A name with no ending, or with one that is no format's, is anybody's.
    """
    ending, known = path.suffix.lower(), {*OUT_ENDINGS, *OTHER_ENDINGS}
    if ending in known.difference(endings):
        raise UsageError(f"{option} {path}: its ending is {ending}; end the name in {' or '.join(endings)}")


def check_places(places: Mapping[str, Path], inputs: Iterable[Path], kind: str = "radiographs") -> None:
    """Raise before any work where the file of an option of `ENDINGS` cannot be written; UsageError, WriteError.

    It may be no folder, no other option's file and none of `inputs`, the `kind`, and must end as its format.
    """
    kept, taken = set(map(os.path.realpath, inputs)), dict[str, str]()
    for option, path in places.items():
        if str(path) == "-":
            what = "the page" if option == "--html" else "the file"
            raise UsageError(f"{option} -: {what} is not written to standard output; name a file")
        if path.is_dir():
            example = path / ("boxes" if option == "--out" else "page" if option == "--html" else option[2:])
            raise UsageError(f"{option} {path}: is a folder; name the file, for example {example}{ENDINGS[option][0]}")
        real = os.path.realpath(path)
        if real in taken:
            raise UsageError(f"{option} {path}: is also the file of {taken[real]}; name another file")
        if real in kept:
            raise UsageError(f"{option} {path}: is one of the {kind} and would be overwritten; name another file")
        check_folder(path.parent, f"{option} {path}")
        check_ending(option, path, ENDINGS[option])
        taken[real] = option


def put_aside(places: Mapping[str, Path], images: int) -> list[Path]:
    """Keep as NAME.before a finished boxes.json of more than `images`, which one with only so many will replace.

    With it the files of the other options. Where they are kept; none without such a boxes.json. Raises WriteError.
    """
    document = places.get("--out")
    try:
        before = boxes.read_boxes(document) if document is not None and document.is_file() else None
    except CxrcadError:  # a table, or no file of ours
        return []
    if before is None or before.head.get("complete") is False or len(before.results) <= images:
        return []
    return [_put_aside(option, path) for option, path in places.items() if path.is_file()]


def _put_aside(option: str, path: Path) -> Path:
    if path.is_symlink():  # beside the file that it leads to, which may be on another disk
        path = path.resolve()
    kept = path.with_name(path.name + BEFORE)
    try:
        os.replace(path, kept)
    except OSError as error:
        raise WriteError(f"{kept}: cannot be written ({error.strerror}); name another {option}") from None
    return kept


def write_outputs(places: Mapping[str, Path], found: Found) -> None:
    """Write the file of each option, whole or not at all; of --html, which is no output, none. Raises WriteError."""
    formats = {output.option: output for output in OUTPUTS}
    for option, path in places.items():
        output = output_for(path) if option == "--out" else formats.get(option)
        if output is not None:
            write_atomically(path, output.write(found))
