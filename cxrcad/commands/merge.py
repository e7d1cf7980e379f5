"""`cxrcad merge` as a library call: what parts of one detection wrote -> one boxes.json."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrcad.core import DataError, Failure, Outcome, Result, Skipped, UsageError, counted
from cxrcad.inference.identifiers import Names
from cxrcad.inference.inputs import Inputs
from cxrcad.interchange.boxes import Detected, Found, differing, read_boxes
from cxrcad.interchange.outputs import check_places, write_outputs
from cxrcad.interchange.partitions import read_partitions

__all__ = ["merge"]


def merge(
    parts: Sequence[Path], out: Path, beside: Mapping[str, Path] | None = None, *, identifiers: bool = True
) -> str:
    """Join the boxes.json, or folders of partitions, of several shards in `out`; one sentence of what it holds.

    `beside` are other files of the same results by their option (--csv, --coco, --node21). Without `identifiers`
    paths, names and UIDs are left out, as `cxrcad detect --no-identifiers` does; otherwise `out` may replace a part.
    Images come in the order of their paths. A failure of a file that another part has done is left out. Raises
    UsageError for parts of other models or settings, for shards of which one lacks, for work that ended early, and for
    one image with two results; DataError, WriteError.
    """
    places = {"--out": out, **(beside or {})}
    kept = [path for path in parts if not identifiers or os.path.realpath(path) != os.path.realpath(out)]
    check_places(places, kept, "parts")
    first = _read(parts[0])
    results: dict[str, tuple[Result, Path]] = {}
    named = first.head.get("identifiers", True)
    failures: dict[tuple[str, Path | None], Failure] = {}
    skipped: dict[tuple[str, str], Skipped] = {}
    shards = list[str | None]()
    for part in parts:
        own = first if part == parts[0] else _read(part)
        _check_part(part, own.head, parts[0], first.head)
        shards.append(own.head.get("shard"))
        for result in own.results:
            before, place = results.setdefault(result.path, (result, part))
            if (before.sha256, before.findings) != (result.sha256, result.findings):
                raise DataError(f"{result.path}: has another result in {place} than in {part}; detect in it again")
        where = None if named else part  # input-7 may be another file in each
        failures |= {(failure.path, where): failure for failure in own.failures}
        skipped |= {(one.path, one.reason): one for one in own.skipped}
    if len(parts) > 1:
        _check_shards(shards)
    images = [results[path][0] for path in sorted(results, key=lambda path: Path(path).parts)]
    left = [one for one in sorted(failures.values(), key=lambda one: one.path) if one.path not in results]
    others = [one for _, one in sorted(skipped.items())]
    if named and not identifiers:
        images, left, others = _without_identifiers(images, left, others)
    find, named = first.head.get("find"), named and identifiers
    shard = shards[0] if len(parts) == 1 else None
    write_outputs(places, Found(first.identity, images, left, find, others, True, named, shard))
    found_in_all = sum(len(result.findings) for result in images)
    text = f"{counted(len(parts), 'part')}: {counted(len(images), 'image')}, {counted(found_in_all, 'finding')}"
    return f"{text}, {len(left)} failed; {out}"


def _read(part: Path) -> Detected:
    return read_partitions(part) if part.is_dir() else read_boxes(part)


def _without_identifiers(
    images: Sequence[Result], failures: Sequence[Failure], skipped: Sequence[Skipped]
) -> tuple[list[Result], list[Failure], list[Skipped]]:
    """Results, failures and skipped files without paths, names and UIDs, in the order of what they are called then."""
    files = tuple(Path(image.path) for image in images)
    names = Names(Inputs(files, {}, (), tuple(skipped), tuple(failures)), identifiers=False)
    told: list[Outcome] = [*images, *failures, *skipped]
    written = [names.written(one) for one in told]
    found = {one.path: one for one in written if isinstance(one, Result)}
    return (
        [found[path] for path in sorted(found)],
        names.ordered(one for one in written if isinstance(one, Failure)),
        names.ordered(one for one in written if isinstance(one, Skipped)),
    )


def _check_shards(shards: Sequence[str | None]) -> None:
    """Refuse parts of a whole that lack others; results that do not say which part they are may be any."""
    known = {shard for shard in shards if shard is not None}
    for count in {shard.split("/")[1] for shard in known}:
        if left := [name for one in range(1, int(count) + 1) if (name := f"{one}/{count}") not in known]:
            names = ", ".join(left[:8]) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
            raise UsageError(f"shard {names}: not among the parts; name all parts of the whole at once")


def _check_part(part: Path, its: Mapping[str, Any], first: Path, head: Mapping[str, Any]) -> None:
    if its.get("complete") is False:
        raise UsageError(f"{part}: its work ended early; finish it with cxrcad detect --resume, then merge again")
    if words := differing(head, its):
        raise UsageError(f"{part}: was made {words[1]}, and {first} {words[0]}; merge parts of one model and settings")
