"""`cxrcad merge` as a library call: what parts of one detection wrote -> one boxes.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrcad.core import DataError, Failure, Result, Skipped, UsageError, counted
from cxrcad.files import check_folder, write_atomically
from cxrcad.interchange.boxes import differing, read_boxes
from cxrcad.interchange.outputs import OUTPUTS, check_ending, output_for

__all__ = ["merge"]


def merge(parts: Sequence[Path], out: Path) -> str:
    """Join the boxes.json of several shards in `out`, in the format of its ending; one sentence of what it holds.

    Images come in the order of their paths. A failure of a file that another part has done is left out. Raises
    UsageError for parts of other models or settings, for work that ended early, and for one image with two results;
    DataError, WriteError.
    """
    check_ending("--out", out, [output.ending for output in OUTPUTS])
    check_folder(out.parent, f"--out {out}")
    first = read_boxes(parts[0])
    results: dict[str, tuple[Result, Path]] = {}
    failures: dict[str, Failure] = {}
    skipped: dict[tuple[str, str], Skipped] = {}
    for part in parts:
        own = first if part == parts[0] else read_boxes(part)
        _check_part(part, own.head, parts[0], first.head)
        for result in own.results:
            before, place = results.setdefault(result.path, (result, part))
            if (before.sha256, before.findings) != (result.sha256, result.findings):
                raise DataError(f"{result.path}: has another result in {place} than in {part}; detect in it again")
        failures |= {failure.path: failure for failure in own.failures}
        skipped |= {(one.path, one.reason): one for one in own.skipped}
    images = [results[path][0] for path in sorted(results, key=lambda path: Path(path).parts)]
    left = [failure for path, failure in sorted(failures.items()) if path not in results]
    others = [one for _, one in sorted(skipped.items())]
    write_atomically(out, output_for(out).write(first.identity, images, left, first.head.get("find"), others))
    found_in_all = sum(len(result.findings) for result in images)
    text = f"{counted(len(parts), 'part')}: {counted(len(images), 'image')}, {counted(found_in_all, 'finding')}"
    return f"{text}, {len(left)} failed; {out}"


def _check_part(part: Path, its: Mapping[str, Any], first: Path, head: Mapping[str, Any]) -> None:
    if its.get("complete") is False:
        raise UsageError(f"{part}: its work ended early; finish it with cxrcad detect --resume, then merge again")
    if words := differing(head, its):
        raise UsageError(f"{part}: was made {words[1]}, and {first} {words[0]}; merge parts of one model and settings")
